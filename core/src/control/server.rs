//! The server side of the control socket: each client sends one command and receives its events as lines. A
//! client that disconnects cancels its command.
//!
//! No client keeps another one out. A client that has not sent its command has little time and gives way to
//! newer ones. Commands that wait for holders have places of their own, so that all others are answered
//! meanwhile.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::line::{Greeting, Line, encode, mismatch};
use crate::api::command::Command;
use crate::api::event::{Event, Failure, Fault};
use crate::limits;
use crate::net::error::StartError;
use crate::node::Caller;
use crate::platform::{self, ControlEndpoint, ControlListener, ControlReader, ControlStream, ControlWriter};

/// Time after which a client that has not taken a line counts as not reading.
const STALLED: Duration = Duration::from_millis(100);
/// Pause after the system could not accept a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Time after which a client that has not sent its command may be displaced.
const OPENING_LEAST: Duration = Duration::from_millis(250);
/// Time that a client has to receive its last line.
const FAREWELL: Duration = Duration::from_millis(500);

/// The running server of a node; it answers until it is stopped.
#[derive(Debug)]
pub struct Server {
    endpoint: ControlEndpoint,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds the socket, accessible to the owner alone. The caller holds the store's lock, so an old socket
    /// is replaced. The socket of a `read_only` store lies outside the home folder.
    ///
    /// # Errors
    /// [`StartError::Network`] if the socket cannot be bound.
    pub fn start(
        home: &Path,
        caller: Caller,
        greeting: Greeting,
        read_only: bool,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Network { verb: "open the control socket".to_owned(), source };
        let listening = if read_only { platform::listen_outside(home) } else { platform::listen(home) };
        let (listener, endpoint) = listening.map_err(failed)?;
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
        Ok(Self { endpoint, stop, task })
    }

    /// Accepts no new clients. Commands that wait for holders are left to the process that becomes the node
    /// next; all others are answered to their end, unless `now`.
    pub async fn stop(mut self, now: bool) {
        platform::remove_endpoint(&self.endpoint);
        let _ = self.stop.send(true);
        if now {
            let _ = timeout(FAREWELL, &mut self.task).await;
            self.task.abort();
        } else {
            let _ = self.task.await;
        }
    }
}

/// The clients of a server.
struct Hall {
    caller: Caller,
    greeting: Greeting,
    stopped: watch::Receiver<bool>,
    /// Clients that have not sent their command.
    opening: JoinSet<Option<ClientRequest>>,
    /// Time of arrival and task of each client in `opening`, the oldest first.
    opened: VecDeque<(Instant, AbortHandle)>,
    /// Clients that are answered without waiting for other peers.
    answering: JoinSet<()>,
    /// Places of the clients in `answering`, the oldest first.
    places: VecDeque<ClientSlot>,
    /// Clients that wait for holders, or until the node ends.
    waiting: JoinSet<()>,
}

/// A client that is being answered.
struct ClientSlot {
    task: AbortHandle,
    /// True while the client does not read.
    stalled: Arc<AtomicBool>,
}

/// A client that has sent its command.
struct ClientRequest {
    command: Command,
    read: BufReader<Take<ControlReader>>,
    write: ControlWriter,
}

impl Hall {
    async fn run(mut self, listener: ControlListener, mut stopped: watch::Receiver<bool>) {
        let mut accept_at = Instant::now();
        loop {
            let room = self.room();
            let accept = async {
                sleep_until(room.max(accept_at)).await;
                listener.accept().await
            };
            tokio::select! {
                accepted = accept => match accepted {
                    Ok((stream, _)) if platform::is_trusted(&stream) => self.enter(stream),
                    Ok(_) => tracing::warn!("a client of another user is turned away"),
                    // The system may be out of file handles, for example: present clients go on.
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

    /// Waits for the answers under way, except for clients that do not read.
    async fn end(mut self) {
        let told = async { while self.waiting.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL, told).await;
        self.waiting.abort_all();
        loop {
            match timeout(FAREWELL, self.answering.join_next()).await {
                Ok(None) => return,
                Ok(Some(_)) => {}
                Err(_) => {
                    let stalled = |place: &&ClientSlot| place.stalled.load(Ordering::Relaxed);
                    self.places.iter().filter(stalled).for_each(|place| place.task.abort());
                }
            }
        }
    }

    /// Returns when the next client can be accepted: a client that has just connected has a moment to send
    /// its command.
    fn room(&mut self) -> Instant {
        self.opened.retain(|(_, task)| !task.is_finished());
        match self.opened.front() {
            Some((since, _)) if self.opened.len() >= limits::CONTROL_OPENING => *since + OPENING_LEAST,
            _ => Instant::now(),
        }
    }

    fn enter(&mut self, stream: ControlStream) {
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

    fn place(&mut self, client: ClientRequest) {
        let stalled = Arc::new(AtomicBool::new(false));
        let serving = |client, stalled| serve(client, self.caller.clone(), stalled, self.stopped.clone());
        if client.command.waits() {
            let most = waiting_places();
            if self.waiting.len() < most {
                self.waiting.spawn(serving(client, stalled));
                return;
            }
            let message = format!(
                "the running node of this store is busy: {most} commands are waiting, and no more fit"
            );
            let hint = "wait until one of them is done, or stop one; swarm status shows what they fetch";
            self.refuse(client, busy(message, hint));
            return;
        }
        self.places.retain(|place| !place.task.is_finished());
        if self.places.len() >= limits::CONTROL_ANSWERING {
            // A client that does not read its answers gives way.
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
        self.places.push_back(ClientSlot { task, stalled });
    }

    fn refuse(&mut self, mut client: ClientRequest, failure: Failure) {
        // The system takes one short line at once.
        self.answering.spawn(async move {
            let line = Line::Event(Box::new(Event::Failed(failure)));
            let _ = timeout(FAREWELL, put(&mut client.write, &line)).await;
        });
    }
}

/// Returns how many commands may wait at once: each has a file, and half of the files that the system allows
/// are for everything else.
fn waiting_places() -> usize {
    let files = platform::open_files_limit();
    limits::CONTROL_WAITING.min(usize::try_from(files / 2).unwrap_or(usize::MAX))
}

fn busy(message: String, hint: &str) -> Failure {
    Failure { fault: Fault::Busy, message, hint: Some(hint.to_owned()) }
}

/// Reads a greeting and a command. `None` when the client has gone, or speaks another version.
async fn open(stream: ControlStream, greeting: &Greeting) -> io::Result<Option<ClientRequest>> {
    let (read, mut write) = stream.into_split();
    // A greeting is far shorter than a command, so two lines' worth is room for both.
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
        // A client without a greeting is of an old version, which understands a bare event.
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
        Ok(command) => Ok(Some(ClientRequest { command, read, write })),
        Err(error) => {
            let client = other.as_ref().map(|client| client.version.as_str());
            let mut failure = mismatch(client);
            failure.message = format!("{} (not a command: {error})", failure.message);
            put(&mut write, &Line::Event(Box::new(Event::Failed(failure)))).await?;
            Ok(None)
        }
    }
}

/// Answers one command. It ends when the client goes away or, if the command waits, when the node is stopped.
async fn serve(
    client: ClientRequest,
    caller: Caller,
    stalled: Arc<AtomicBool>,
    mut stopped: watch::Receiver<bool>,
) {
    let ClientRequest { command, mut read, mut write } = client;
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
        // A client sends nothing after its command, so this read ends when the client has gone.
        _ = read.read(&mut rest) => {}
    }
}

/// Sends a line, and notes while the client does not read.
async fn tell(write: &mut ControlWriter, line: &Line, stalled: &AtomicBool) -> io::Result<()> {
    let mut putting = std::pin::pin!(put(write, line));
    if let Ok(done) = timeout(STALLED, &mut putting).await {
        return done;
    }
    stalled.store(true, Ordering::Relaxed);
    let done = putting.await;
    stalled.store(false, Ordering::Relaxed);
    done
}

async fn put(write: &mut ControlWriter, line: &impl serde::Serialize) -> io::Result<()> {
    write.write_all(&encode(line)?).await
}
