//! The control socket: a command of each client in, its events as lines out. A client that goes away cancels
//! its command.
//!
//! No client keeps another one out: who has not said what it wants has little time and gives way to newer
//! ones; commands that wait for holders have places of their own, so that all others are answered whatever
//! waits.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::line::{Greeting, Line, encode, mismatch};
use crate::limits;
use crate::node::command::Command;
use crate::node::event::{Event, Failure, Fault};
use crate::node::{Caller, StartError};

/// A client that takes no line for so long is one that does not read at present.
const STALLED: Duration = Duration::from_millis(100);
/// After this the system is asked again for a connection that it could not give.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A client that has not said what it wants gives way to others after this.
const OPENING_LEAST: Duration = Duration::from_millis(250);
/// How long a client may take to hear that nothing more is said.
const FAREWELL: Duration = Duration::from_millis(500);

/// Answers until it is stopped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The socket of a home folder, by a path that is short enough for the system whatever the folder's.
pub(super) fn address(home: &Path, dir: &fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let direct = home.join("control.sock");
    // A socket's address has 108 bytes, with a final zero.
    if direct.as_os_str().len() < 100 {
        return direct;
    }
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", dir.as_raw_fd()))
}

impl Server {
    /// Binds the socket, readable by the owner alone. Whoever holds the store's lock may replace an old socket.
    ///
    /// # Errors
    /// [`StartError::Network`].
    pub fn start(home: &Path, caller: Caller, greeting: Greeting) -> Result<Self, StartError> {
        let failed =
            |source: io::Error| StartError::Network { verb: "open the control socket".to_owned(), source };
        let dir = fs::File::open(home).map_err(failed)?;
        let (path, address) = (home.join("control.sock"), address(home, &dir));
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&address).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let hall = Hall {
            caller,
            greeting,
            stopped: stopped.clone(),
            opening: JoinSet::new(),
            opened: VecDeque::new(),
            answering: JoinSet::new(),
            places: VecDeque::new(),
            waiting: JoinSet::new(),
        };
        let task = tokio::spawn(hall.run(listener, stopped));
        Ok(Self { path, stop, task })
    }

    /// Takes no new clients. Commands that wait for holders are left to whoever becomes the node next; the
    /// others are answered to their end, unless `now`.
    pub async fn stop(mut self, now: bool) {
        let _ = fs::remove_file(&self.path);
        let _ = self.stop.send(true);
        if now {
            let _ = timeout(FAREWELL, &mut self.task).await;
            self.task.abort();
        } else {
            let _ = self.task.await;
        }
    }
}

/// The clients.
struct Hall {
    caller: Caller,
    greeting: Greeting,
    stopped: watch::Receiver<bool>,
    /// Those that have not said what they want.
    opening: JoinSet<Option<Client>>,
    /// The tasks of those, and since when they are there, the oldest first.
    opened: VecDeque<(Instant, AbortHandle)>,
    /// Those that are answered without waiting for anybody else.
    answering: JoinSet<()>,
    /// The places of those, the oldest first.
    places: VecDeque<Place>,
    /// Those that wait for holders, or until the node ends.
    waiting: JoinSet<()>,
}

/// A client that is being answered.
struct Place {
    task: AbortHandle,
    /// It does not read.
    stalled: Arc<AtomicBool>,
}

/// A client that has said what it wants.
struct Client {
    command: Command,
    read: BufReader<Take<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Hall {
    async fn run(mut self, listener: UnixListener, mut stopped: watch::Receiver<bool>) {
        let mut accept_at = Instant::now();
        loop {
            let room = self.room();
            let accept = async {
                sleep_until(room.max(accept_at)).await;
                listener.accept().await
            };
            tokio::select! {
                accepted = accept => match accepted {
                    Ok((stream, _)) => self.enter(stream),
                    // No file is left for it, say: those that are there go on.
                    Err(error) => {
                        tracing::warn!(%error, "a client of the control socket cannot be taken");
                        accept_at = Instant::now() + ACCEPT_AGAIN;
                    }
                },
                Some(opened) = self.opening.join_next() => {
                    if let Ok(Some(client)) = opened {
                        self.place(client);
                    }
                }
                Some(_) = self.answering.join_next() => {}
                Some(_) = self.waiting.join_next() => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        drop(listener);
        self.end().await;
    }

    /// Waits for the answers that are being given. Who does not read is not waited for.
    async fn end(mut self) {
        let told = async { while self.waiting.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL, told).await;
        self.waiting.abort_all();
        loop {
            match timeout(FAREWELL, self.answering.join_next()).await {
                Ok(None) => return,
                Ok(Some(_)) => {}
                Err(_) => {
                    let stalled = |place: &&Place| place.stalled.load(Ordering::Relaxed);
                    self.places.iter().filter(stalled).for_each(|place| place.task.abort());
                }
            }
        }
    }

    /// When the next client can be taken: who has just come has a moment to say what it wants.
    fn room(&mut self) -> Instant {
        self.opened.retain(|(_, task)| !task.is_finished());
        match self.opened.front() {
            Some((since, _)) if self.opened.len() >= limits::CONTROL_OPENING => *since + OPENING_LEAST,
            _ => Instant::now(),
        }
    }

    fn enter(&mut self, stream: UnixStream) {
        while self.opened.len() >= limits::CONTROL_OPENING
            && let Some((_, oldest)) = self.opened.pop_front()
        {
            oldest.abort();
        }
        let greeting = self.greeting.clone();
        let opened = async move {
            let opened = timeout(limits::CONTROL_OPENING_TIME, open(stream, &greeting)).await;
            opened.ok().and_then(Result::ok).flatten()
        };
        self.opened.push_back((Instant::now(), self.opening.spawn(opened)));
    }

    fn place(&mut self, client: Client) {
        let stalled = Arc::new(AtomicBool::new(false));
        let serving = |client, stalled| serve(client, self.caller.clone(), stalled, self.stopped.clone());
        if client.command.waits() {
            let most = waiting_places();
            if self.waiting.len() < most {
                self.waiting.spawn(serving(client, stalled));
                return;
            }
            let message =
                format!("{most} commands wait at the node that runs for this store, as many as it takes");
            let hint = "wait until one of them is done, or stop one; swarm status shows what they fetch";
            self.refuse(client, busy(message, hint));
            return;
        }
        self.places.retain(|place| !place.task.is_finished());
        if self.places.len() >= limits::CONTROL_ANSWERING {
            // Who does not read what it asked for gives way.
            let stalled = self.places.iter().position(|place| place.stalled.load(Ordering::Relaxed));
            match stalled.and_then(|at| self.places.remove(at)) {
                Some(place) => place.task.abort(),
                None => {
                    let message =
                        format!("{} commands are being answered, and none gets on", self.places.len());
                    let hint = "the disk of the store may be slow or hang: run the command again in a while";
                    self.refuse(client, busy(message, hint));
                    return;
                }
            }
        }
        let task = self.answering.spawn(serving(client, Arc::clone(&stalled)));
        self.places.push_back(Place { task, stalled });
    }

    fn refuse(&mut self, mut client: Client, failure: Failure) {
        // One short line, which the system takes at once.
        self.answering.spawn(async move {
            let line = Line::Event(Box::new(Event::Failed(failure)));
            let _ = timeout(FAREWELL, put(&mut client.write, &line)).await;
        });
    }
}

/// Commands that may wait at once: each has a file, and half of what the system allows is for everything
/// else.
fn waiting_places() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limits::CONTROL_WAITING.min(usize::try_from(files / 2).unwrap_or(usize::MAX))
}

fn busy(message: String, hint: &str) -> Failure {
    Failure { fault: Fault::Busy, message, hint: Some(hint.to_owned()) }
}

/// Hears a greeting and a command. `None` when the client has gone, or does not speak as we do.
async fn open(stream: UnixStream, greeting: &Greeting) -> io::Result<Option<Client>> {
    let (read, mut write) = stream.into_split();
    // A greeting is far shorter than a command.
    let mut read = BufReader::new(read.take(2 * limits::CONTROL_LINE as u64));
    let mut line = Vec::new();
    read.read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    let other = match serde_json::from_slice(&line) {
        Ok(Line::Greeting(client)) => Some(client),
        _ => None,
    };
    let mismatch = |version| mismatch(version, Some(greeting.version.as_str()), Some(std::process::id()));
    match &other {
        Some(_) => put(&mut write, &Line::Greeting(greeting.clone())).await?,
        // As a version without greetings understands it.
        None => {
            put(&mut write, &Event::Failed(mismatch(None))).await?;
            return Ok(None);
        }
    }
    if let Some(client) = other.as_ref().filter(|client| !client.fits()) {
        let text = Event::Failed(mismatch(Some(client.version.as_str())));
        put(&mut write, &Line::Event(Box::new(text))).await?;
        return Ok(None);
    }
    line.clear();
    read.read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(&line) {
        Ok(command) => Ok(Some(Client { command, read, write })),
        Err(error) => {
            let client = other.as_ref().map(|client| client.version.as_str());
            let mut failure = mismatch(client);
            failure.message = format!("{} (not a command: {error})", failure.message);
            put(&mut write, &Line::Event(Box::new(Event::Failed(failure)))).await?;
            Ok(None)
        }
    }
}

/// Answers one command. It ends when the client goes away or, if it waits, when the node is stopped.
async fn serve(client: Client, caller: Caller, stalled: Arc<AtomicBool>, mut stopped: watch::Receiver<bool>) {
    let Client { command, mut read, mut write } = client;
    let waits = command.waits();
    let answer = async {
        tell(&mut write, &Line::Beat, &stalled).await?;
        let mut events = caller.call(command).await;
        loop {
            let line = tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => Line::Event(Box::new(event)),
                    None => return Ok(()),
                },
                _ = stopped.wait_for(|stopped| *stopped), if waits => Line::Leaving,
                () = sleep(limits::CONTROL_BEAT) => Line::Beat,
            };
            tell(&mut write, &line, &stalled).await?;
            if line == Line::Leaving {
                return Ok(());
            }
        }
    };
    let mut rest = [0; 1];
    tokio::select! {
        answered = answer => drop::<io::Result<()>>(answered),
        // A client says nothing more: this ends when it has gone.
        _ = read.read(&mut rest) => {}
    }
}

/// Sends a line, and notes when the client does not read.
async fn tell(write: &mut OwnedWriteHalf, line: &Line, stalled: &AtomicBool) -> io::Result<()> {
    let mut putting = std::pin::pin!(put(write, line));
    if let Ok(done) = timeout(STALLED, &mut putting).await {
        return done;
    }
    stalled.store(true, Ordering::Relaxed);
    let done = putting.await;
    stalled.store(false, Ordering::Relaxed);
    done
}

async fn put(write: &mut OwnedWriteHalf, line: &impl serde::Serialize) -> io::Result<()> {
    write.write_all(&encode(line)?).await
}
