//! `swarm cat` and `swarm get -o -`: content on standard output while it arrives, every byte verified before.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use swarm_core::api::event::Event;
use swarm_core::content::kind::ContentKind;
use swarm_core::{Destination, Get};

use super::get::{self, Search};
use crate::args;
use crate::conversation::{Conversation, say_trouble};
use crate::deadline::{Deadline, DeadlineTimer};
use crate::exit::{Code, Failed, Outcome, unexpected};
use crate::json::About;
use crate::settings::Settings;
use crate::summary;
use crate::target::{self, Asked};
use crate::ui::{self, Ui};

/// How much is copied at once.
const BUFFER: u64 = 1 << 20;

/// `cat`.
pub(super) async fn run(ui: &Ui, settings: &Settings, args: &args::Cat, deadline: Deadline) -> Outcome {
    let watch = deadline.enforce(ui);
    let asked = Asked::read(ui, &target::given_one(&args.target)?, &args.secret)?;
    let get = get::fetch(settings, &asked, args.timeout, args.public);
    let (conversation, outcome) = stream(ui, settings, (&asked, get), (deadline, watch)).await?;
    conversation.finish(outcome.map(drop)).await
}

/// `get -o -`.
pub(super) async fn run_get(ui: &Ui, settings: &Settings, args: &args::Get, deadline: Deadline) -> Outcome {
    let watch = deadline.enforce(ui);
    let [target] = args.targets.as_slice() else {
        let failed = Failed::new(Code::Usage, "only one item can go to standard output");
        return Err(failed.hint("run swarm cat ID once for each").into());
    };
    let asked = Asked::read(ui, &target::given_one(target)?, &args.secret)?;
    let get = get::request(settings, args, &asked, Destination::Store);
    let (conversation, outcome) = stream(ui, settings, (&asked, get), (deadline, watch)).await?;
    match outcome {
        Ok(id) if args.seed => get::share(ui, conversation, vec![id]).await,
        outcome => conversation.finish(outcome.map(drop)).await,
    }
}

/// Streams; returns the conversation to be closed, and what came of it.
async fn stream<'a>(
    ui: &'a Ui,
    settings: &Settings,
    (asked, get): (&Asked, Get),
    (deadline, watch): (Deadline, DeadlineTimer),
) -> Outcome<(Conversation<'a>, Outcome<String>)> {
    let name = asked.name.clone();
    let options = settings.for_item(settings.options());
    let mut conversation = Conversation::open_within(ui, options, deadline).await?;
    conversation.ask(get).await;
    let mut copy = Copy { source: None, written: 0, watch: Some(watch) };
    let outcome = copy_events(ui, &mut conversation, name, &mut copy).await;
    Ok((conversation, outcome))
}

async fn copy_events(
    ui: &Ui,
    conversation: &mut Conversation<'_>,
    mut name: String,
    copy: &mut Copy,
) -> Outcome<String> {
    let mut meter = ui.meter(&name);
    let mut search = Search::new(ui);
    loop {
        let (_, event) = conversation.next().await?;
        if !matches!(event, Event::Failed(_)) {
            ui.event(About::It, &event)?;
        }
        say_trouble(ui, &event);
        match event {
            Event::Searching { waited_ms, tried } => meter.show(&search.see(&name, waited_ms, tried)),
            Event::Found(blob) if blob.kind == ContentKind::Directory => {
                return Err(is_directory(&blob.name, &blob.id).into());
            }
            Event::Found(blob) => {
                name = blob.name;
                meter.rename(&name);
            }
            Event::Progress(progress) => meter.show(&summary::gauge(&progress)),
            Event::Prefix { path, bytes } => conversation.unless_signalled(copy.up_to(path, bytes)).await??,
            Event::Done(done) => {
                // The last of the events about the prefix may have been dropped while our reader was slow.
                let path = copy.source.as_ref().map_or(done.path.clone(), |(path, _)| path.clone());
                conversation.unless_signalled(copy.up_to(path, done.len)).await??;
                drop(meter);
                ui.talk(&summary::done_line(&done));
                return Ok(done.id);
            }
            Event::Failed(failure) => return Err(Failed::from(failure).into()),
            event if event.is_final() => return Err(unexpected()),
            _ => {}
        }
    }
}

fn is_directory(name: &str, id: &str) -> Failed {
    let failed =
        Failed::new(Code::User, format!("{name} is a directory, and cannot be written to standard output"));
    failed.hint(format!("swarm get {id}"))
}

/// How much has reached standard output.
struct Copy {
    source: Option<(PathBuf, File)>,
    written: u64,
    /// Until content flows: from then on whoever reads it may take as long as he likes.
    watch: Option<DeadlineTimer>,
}

impl Copy {
    /// Copies from `path` what is verified and not yet written: up to `end`.
    async fn up_to(&mut self, path: PathBuf, end: u64) -> Outcome {
        self.watch = None;
        if end <= self.written {
            return Ok(());
        }
        let open = |path: PathBuf| match File::open(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(Failed { code: Code::Disk, ..Failed::io("read", &path, &error) }),
        };
        let (path, file) = match self.source.take() {
            Some((old, file)) if old == path => (old, file),
            _ => open(path)?,
        };
        let (start, shown) = (self.written, path.clone());
        // Both ends block: our reader may be slow, and the node runs on this thread.
        let copied = tokio::task::spawn_blocking(move || copy_range(&file, &path, start, end).map(|()| file));
        let broke_off = |error| Failed::new(Code::Disk, format!("cannot write to standard output: {error}"));
        let file = copied.await.map_err(broke_off)??;
        self.source = Some((shown, file));
        self.written = end;
        Ok(())
    }
}

fn copy_range(mut file: &File, path: &Path, start: u64, end: u64) -> Outcome {
    let failed = |error: std::io::Error| Failed { code: Code::Disk, ..Failed::io("read", path, &error) };
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut buffer = vec![0; BUFFER.min(end - start) as usize];
    let mut left = end - start;
    while left > 0 {
        let part = &mut buffer[..BUFFER.min(left) as usize];
        file.read_exact(part).map_err(failed)?;
        ui::content(part)?;
        left -= part.len() as u64;
    }
    Ok(())
}
