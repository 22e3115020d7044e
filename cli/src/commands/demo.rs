//! `swarm demo`: one publisher and five getters as real processes of this binary, with stores of their own,
//! over real sockets. All numbers shown are theirs; the copies are hashed again here.

mod process;
mod report;
mod source;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use swarm_core::api::call::GetStatus;
use swarm_core::api::event::{Done, Event, Failure};
use swarm_core::api::status::Status;
use swarm_core::control::ControlSession;
use swarm_core::options::Options;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::process::{Heard, Process};
use self::report::{Copied, GETTERS, Report};
use self::source::Source;
use crate::exit::{Code, Failed, Outcome, Stop};
use crate::json::About;
use crate::progress::{Gauge, Meter};
use crate::signals::Signals;
use crate::ui::Ui;
use crate::{size, summary};

/// A process that does not get on for this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the publisher is asked what it has sent.
const RENEW: Duration = Duration::from_millis(500);
/// How long a node may take to answer that.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Messages of the processes that wait to be read.
const QUEUE: usize = 256;

/// Plays it in a temporary folder, and leaves neither files nor processes behind.
pub(super) async fn run(ui: &Ui, file: Option<&Path>) -> Outcome {
    let mut signals = Signals::catch();
    let folder = tempfile::Builder::new().prefix("swarm-demo-").tempdir();
    let folder = folder.map_err(|error| Failed::io("create a folder in", &std::env::temp_dir(), &error))?;
    let mut demo = DemoRun::new(ui, folder.path());
    let played = tokio::select! {
        played = Box::pin(demo.play(file)) => played,
        () = signals.first() => {
            let failed = Failed::new(Code::Interrupted, "interrupted; the files and processes of the demo are gone");
            Err(failed.into())
        }
    };
    demo.end().await;
    let path = folder.path().to_owned();
    if let Err(error) = folder.close() {
        ui.warn(&format!("cannot remove {}: {error}", path.display()));
    }
    played
}

struct DemoRun<'a> {
    ui: &'a Ui,
    folder: &'a Path,
    /// The publisher, then the getters.
    players: Vec<Player>,
    sender: mpsc::Sender<(usize, Heard)>,
    heard: mpsc::Receiver<(usize, Heard)>,
}

/// A process and what is known of it.
struct Player {
    process: Process,
    meter: Meter,
    started: Instant,
    /// When it last got on, and how far.
    moved: (Instant, u64),
    done: Option<(Done, Duration)>,
    failure: Option<Failure>,
}

impl<'a> DemoRun<'a> {
    fn new(ui: &'a Ui, folder: &'a Path) -> Self {
        let (sender, heard) = mpsc::channel(QUEUE);
        Self { ui, folder, players: Vec::new(), sender, heard }
    }

    async fn play(&mut self, file: Option<&Path>) -> Outcome {
        let source = self.source(file).await?;
        self.start("publisher", &["publish".as_ref(), source.path.as_ref(), "--link".as_ref()])?;
        let link = self.published(&source).await?;
        for number in 1..=GETTERS {
            let name = format!("getter {number}");
            let copy = self.copy_path(number, &source);
            self.start(
                &name,
                &["get".as_ref(), link.as_ref(), "-o".as_ref(), copy.as_os_str(), "--seed".as_ref()],
            )?;
        }
        self.all_done(source.len).await?;
        let report = self.report(&source).await?;
        // Bars go before the table comes.
        self.players.iter_mut().for_each(|player| player.meter.hide());
        report.show(self.ui)?;
        if report.ok() { Ok(()) } else { Err(Failed::new(Code::Verification, "a copy is damaged").into()) }
    }

    async fn source(&self, file: Option<&Path>) -> Outcome<Source> {
        let mut meter = self.ui.meter("demo");
        meter.show(&Gauge::note(if file.is_some() {
            "hashing the file"
        } else {
            "making a random file of 64 MiB"
        }));
        let (file, folder) = (file.map(Path::to_owned), self.folder.to_owned());
        let made = tokio::task::spawn_blocking(move || match file {
            Some(file) => Source::of(&file),
            None => Source::make(&folder),
        });
        let broke_off = |error| Failed::new(Code::Disk, format!("cannot prepare the file: {error}"));
        let source = made.await.map_err(broke_off)??;
        self.ui.talk(&format!("spreading {} to {GETTERS} getters", size::bytes(source.len)));
        Ok(source)
    }

    fn copy_path(&self, number: usize, source: &Source) -> PathBuf {
        let name = source.path.file_name().unwrap_or("copy".as_ref());
        self.folder.join(format!("copy{number}")).join(name)
    }

    fn start(&mut self, name: &str, verb: &[&std::ffi::OsStr]) -> Outcome {
        let number = self.players.len();
        if number > 0 {
            let folder = self.folder.join(format!("copy{number}"));
            std::fs::create_dir(&folder).map_err(|error| Failed::io("create", &folder, &error))?;
        }
        let process = Process::start(name, self.folder, verb, number, self.sender.clone())?;
        let (meter, now) = (self.ui.meter(name), Instant::now());
        self.players.push(Player {
            process,
            meter,
            started: now,
            moved: (now, 0),
            done: None,
            failure: None,
        });
        Ok(())
    }

    /// Waits for the link of the publisher.
    async fn published(&mut self, source: &Source) -> Outcome<String> {
        loop {
            let heard = self.hear().await?;
            if let Some(Event::Published(published)) = self.take(heard).await? {
                if published.blob.id != source.id() {
                    let message = "the id from the publisher is not the BLAKE3 hash of the file";
                    return Err(Failed::new(Code::Verification, message).into());
                }
                return Ok(published.link);
            }
        }
    }

    /// Waits until every getter has its copy, showing how far they are.
    async fn all_done(&mut self, len: u64) -> Outcome {
        let publisher = self.session(0).await;
        let mut renew = interval(RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = Sent::default();
        while self.players.iter().skip(1).any(|player| player.done.is_none()) {
            let heard = tokio::select! {
                heard = self.hear() => Some(heard?),
                _ = renew.tick() => None,
            };
            if let Some(heard) = heard {
                self.take(heard).await?;
            } else if let Some(status) = status(publisher.as_ref()).await {
                let gauge = sent.gauge(&status, len);
                self.players[0].meter.show(&gauge);
            }
        }
        Ok(())
    }

    /// Hears one process, within the patience there is with each.
    async fn hear(&mut self) -> Outcome<(usize, Heard)> {
        let waiting = self.players.iter().filter(|player| !player.rests());
        let slowest = waiting.min_by_key(|player| player.moved.0);
        let since = slowest.map_or_else(Instant::now, |player| player.moved.0);
        let patience = (since + PATIENCE).saturating_duration_since(Instant::now());
        let heard = timeout(patience, self.heard.recv()).await;
        heard.ok().flatten().ok_or_else(|| {
            let name = slowest.map_or("nobody", |player| &player.process.name);
            let message = format!("{name} made no progress for {}", size::seconds(PATIENCE.as_secs()));
            Failed::new(Code::Timeout, message).into()
        })
    }

    /// Takes note of what a process said.
    async fn take(&mut self, (number, heard): (usize, Heard)) -> Outcome<Option<Event>> {
        let player = &mut self.players[number];
        let event = match heard {
            Heard::Event(event) => event,
            Heard::Ended => return Err(player.ended().await),
        };
        if !matches!(*event, Event::Failed(_)) {
            self.ui.event(About::Process(&player.process.name), &event)?;
        }
        player.see(self.ui, &event);
        Ok(Some(*event))
    }

    /// Hashes the copies and asks the nodes who they are, while they still run.
    async fn report(&mut self, source: &Source) -> Outcome<Report> {
        let mut peers = Vec::new();
        let mut publisher_sent = None;
        for number in 0..self.players.len() {
            let session = self.session(number).await;
            let status = status(session.as_ref()).await;
            publisher_sent = publisher_sent.or(status.as_ref().map(|status| status.uploaded));
            peers.push(status.map(|status| status.peer).unwrap_or_default());
        }
        let mut copies = Vec::new();
        for number in 1..self.players.len() {
            let path = self.copy_path(number, source);
            let player = &mut self.players[number];
            let hash = tokio::task::spawn_blocking(move || source::hash(&path)).await;
            let verified = matches!(hash, Ok(Ok(hash)) if hash == (source.hash, source.len));
            let Some((done, took)) = &player.done else { continue };
            let word = if verified { "verified" } else { "DAMAGED" };
            let notes = vec![format!("done in {}, {word}", size::millis(took.as_millis() as u64))];
            player.meter.show(&Gauge { done: done.len, total: Some(done.len), notes, ..Gauge::default() });
            copies.push(Copied::new(&player.process.name, *took, verified, &done.sources, &peers));
        }
        Ok(Report { id: source.id(), len: source.len, publisher_sent, copies })
    }

    /// The control socket of a process; `None` when it does not answer.
    async fn session(&self, number: usize) -> Option<ControlSession> {
        let home = self.players[number].process.home.clone();
        let options = Options::new(home).offline();
        match timeout(ANSWER_WITHIN, Box::pin(ControlSession::open(options, |_| {}))).await {
            Ok(Ok(session)) if !session.is_own() => Some(session),
            // The process has gone and we have become the node of its store: that tells nothing.
            Ok(Ok(own)) => {
                own.close(true).await;
                None
            }
            _ => None,
        }
    }

    /// Ends every process: asked first, killed when that does not help.
    async fn end(&mut self) {
        process::end(self.players.iter_mut().map(|player| &mut player.process)).await;
        self.players.clear();
    }
}

async fn status(session: Option<&ControlSession>) -> Option<Status> {
    timeout(ANSWER_WITHIN, session?.ask(GetStatus)).await.ok()?.ok()
}

impl Player {
    /// It has nothing left to do but to share.
    fn rests(&self) -> bool {
        self.done.is_some() || self.moved.1 == u64::MAX
    }

    fn see(&mut self, ui: &Ui, event: &Event) {
        match event {
            Event::Hashing { done, total } => {
                self.moved_to(*done);
                let notes = vec!["hashing".to_owned()];
                self.meter.show(&Gauge { done: *done, total: Some(*total), notes, ..Gauge::default() });
            }
            Event::Published(_) => self.moved_to(u64::MAX),
            Event::Searching { .. } => self.meter.show(&Gauge::note("looking for a source")),
            Event::Progress(progress) => {
                self.moved_to(progress.done);
                self.meter.show(&summary::gauge(progress));
            }
            Event::Done(done) => self.is_done(ui, done),
            Event::Failed(failure) => self.failure = Some(failure.clone()),
            _ => {}
        }
    }

    fn is_done(&mut self, ui: &Ui, done: &Done) {
        let took = self.started.elapsed();
        let notes = vec![format!("done in {}", size::millis(took.as_millis() as u64))];
        if !ui.is_watched() {
            ui.talk(&format!("{}: {}", self.process.name, notes[0]));
        }
        self.meter.show(&Gauge { done: done.len, total: Some(done.len), notes, ..Gauge::default() });
        self.done = Some((done.clone(), took));
    }

    fn moved_to(&mut self, done: u64) {
        if done > self.moved.1 {
            self.moved = (Instant::now(), done);
        }
    }

    /// Why it ended, which none of them should.
    async fn ended(&mut self) -> Stop {
        let (how, last_words) = self.process.last_words().await;
        let (code, why) = match self.failure.take() {
            Some(failure) => (failure.fault.into(), failure.message),
            None => (Code::User, last_words),
        };
        let message = format!("{} ended with {how}: {why}", self.process.name);
        Failed::new(code, message).hint("SWARM_LOG=debug swarm demo").into()
    }
}

/// The bytes that the publisher has sent, by its own count.
#[derive(Default)]
struct Sent {
    before: Option<(Instant, u64)>,
}

impl Sent {
    fn gauge(&mut self, status: &Status, len: u64) -> Gauge {
        let now = Instant::now();
        let rate = self.before.map(|(then, bytes)| {
            summary::average(
                status.uploaded.saturating_sub(bytes),
                now.duration_since(then).as_millis() as u64,
            )
        });
        self.before = Some((now, status.uploaded));
        let copies = status.uploaded as f64 / len.max(1) as f64;
        let mut note = format!("sent {} ({copies:.1} copies)", size::bytes(status.uploaded));
        if let Some(rate) = rate {
            note.push_str(&format!(" · {}", size::rate(rate)));
        }
        Gauge::note(format!("{note} · {}", size::plural(status.peers.into(), "peer")))
    }
}
