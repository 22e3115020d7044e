//! The client side of the control socket: commands to the node of another process, and its answers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::line::{Greeting, Line, encode, mismatch};
use super::silence::Silence;
use crate::api::command::Command;
use crate::api::event::{Event, Failure, Fault};
use crate::limits;
use crate::platform::{ControlStream, connect, peer_process};

/// Interval at which the process of a silent node is examined.
const LOOK: Duration = Duration::from_millis(500);

/// A client of a running node. Each command gets a connection of its own.
#[derive(Debug, Clone)]
pub struct ControlClient {
    home: PathBuf,
    node: Greeting,
}

/// Reason why a node was not reached.
#[derive(Debug)]
pub(super) enum NotReached {
    /// Nobody listens at the socket: the node is starting or ending, or has gone.
    Nobody,
    /// The node is connected but says nothing.
    Silent(Silence),
    /// The node speaks another version of the lines.
    Mismatch(Failure),
}

/// The answers to one command. Dropping them cancels the command.
#[derive(Debug)]
pub struct RemoteReplies {
    connection: Result<ControlConnection, Option<Failure>>,
    home: PathBuf,
    ended: bool,
    /// Time of the last line.
    heard: Instant,
    /// Message that is returned next.
    pending: Option<ServerMessage>,
    /// True if the caller was told that the node is silent.
    silent: bool,
}

/// Message about a command.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// An event of the command.
    Event(Event),
    /// The node has been silent for so long that it does not answer at present. Sent once, until the node
    /// answers again.
    Silent(Silence),
    /// The node answers again.
    Again,
    /// The node ends in order, with the command unanswered: another process goes on with it.
    Leaving,
}

#[derive(Debug)]
struct ControlConnection {
    stream: BufReader<ControlStream>,
    /// Bytes of a line that has not arrived whole.
    line: Vec<u8>,
    /// Process id of the other end, as the system knows it.
    pid: Option<u32>,
    /// Greeting of the other end.
    node: Option<Greeting>,
    greeted: bool,
}

impl ControlClient {
    /// Connects to the node of a home folder and exchanges greetings.
    pub(super) async fn connect(home: &Path) -> Result<Self, NotReached> {
        let begun = Instant::now();
        let mut connection = loop {
            match ControlConnection::open(home, None).await {
                Ok(connection) => break connection,
                // The system lets no more clients wait to be accepted.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(silence) = Silence::after(begun.elapsed(), home, None) {
                        return Err(NotReached::Silent(silence));
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Err(_) => return Err(NotReached::Nobody),
            }
        };
        loop {
            match tokio::time::timeout(LOOK, connection.next()).await {
                Ok(Got::Line(Line::Greeting(node))) if node.fits() => {
                    return Ok(Self { home: home.to_owned(), node });
                }
                Ok(Got::Line(_) | Got::Strange) => {
                    return Err(NotReached::Mismatch(connection.mismatch()));
                }
                Ok(Got::End) => return Err(NotReached::Nobody),
                Err(_) => {
                    if let Some(silence) = Silence::after(begun.elapsed(), home, connection.pid) {
                        return Err(NotReached::Silent(silence));
                    }
                }
            }
        }
    }

    /// The greeting of the node.
    #[must_use]
    pub const fn node(&self) -> &Greeting {
        &self.node
    }

    /// Sends a command and returns its events, the final one last. Dropping the receiver cancels the command.
    pub(super) fn start(&self, command: Command) -> mpsc::Receiver<Event> {
        let (sender, events) = mpsc::channel(limits::EVENT_QUEUE);
        let client = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = client.forward(command, &sender) => {}
            }
        });
        events
    }

    /// Sends a command and passes its events on.
    async fn forward(&self, command: Command, events: &mpsc::Sender<Event>) {
        let quick = command.is_quick();
        let mut replies = self.call(command).await;
        while let Some(message) = replies.next().await {
            let event = match message {
                ServerMessage::Event(event) => event,
                ServerMessage::Silent(silence) if quick => Event::Failed(silence.failure()),
                ServerMessage::Silent(silence) => Event::Notice { text: silence.sentence() },
                ServerMessage::Again => continue,
                // The receiver sees the channel end.
                ServerMessage::Leaving => return,
            };
            let last = event.is_final();
            if events.send(event).await.is_err() || last {
                return;
            }
        }
    }

    /// Sends a command.
    pub async fn call(&self, command: Command) -> RemoteReplies {
        let connection = ControlConnection::open(&self.home, Some(command)).await.map_err(|e| {
            // A node that has gone gives no answer: the caller may become the node itself.
            (e.kind() == io::ErrorKind::Other).then(|| Failure {
                fault: Fault::User,
                message: e.to_string(),
                hint: None,
            })
        });
        RemoteReplies {
            connection,
            home: self.home.clone(),
            ended: false,
            heard: Instant::now(),
            pending: None,
            silent: false,
        }
    }
}

impl RemoteReplies {
    /// Returns the next message; `None` after the final event, or when the node has gone.
    pub async fn next(&mut self) -> Option<ServerMessage> {
        if let Some(heard) = self.pending.take() {
            return Some(heard);
        }
        let connection = match &mut self.connection {
            Ok(connection) => connection,
            Err(failure) => {
                return failure.take().map(|failure| ServerMessage::Event(Event::Failed(failure)));
            }
        };
        while !self.ended {
            let Ok(got) = tokio::time::timeout(LOOK, connection.next()).await else {
                let silence = Silence::after(self.heard.elapsed(), &self.home, connection.pid);
                if let Some(silence) = silence.filter(|_| !self.silent) {
                    self.silent = true;
                    return Some(ServerMessage::Silent(silence));
                }
                continue;
            };
            self.heard = Instant::now();
            let end = matches!(got, Got::End);
            let heard = match got {
                Got::Line(Line::Greeting(node)) if node.fits() => {
                    connection.greeted = true;
                    None
                }
                Got::Line(Line::Event(event)) => {
                    self.ended = event.is_final();
                    Some(ServerMessage::Event(*event))
                }
                Got::Line(Line::Beat) => None,
                Got::Line(Line::Leaving) => Some(ServerMessage::Leaving),
                Got::Line(Line::Greeting(_)) | Got::Strange => {
                    Some(ServerMessage::Event(Event::Failed(connection.mismatch())))
                }
                // The node ended before it read the command.
                Got::End if !connection.greeted => Some(ServerMessage::Leaving),
                Got::End => None,
            };
            self.ended |= end || heard.as_ref().is_some_and(is_last);
            if std::mem::take(&mut self.silent) && !end && heard != Some(ServerMessage::Leaving) {
                self.pending = heard;
                return Some(ServerMessage::Again);
            }
            if heard.is_some() {
                return heard;
            }
        }
        None
    }
}

/// True if no message follows.
const fn is_last(heard: &ServerMessage) -> bool {
    match heard {
        ServerMessage::Event(event) => event.is_final(),
        ServerMessage::Leaving => true,
        ServerMessage::Silent(_) | ServerMessage::Again => false,
    }
}

/// Result of reading a connection.
enum Got {
    Line(Line),
    /// A line that does not parse.
    Strange,
    /// The end of the connection.
    End,
}

impl ControlConnection {
    /// Connects, and sends a greeting and the command.
    async fn open(home: &Path, command: Option<Command>) -> io::Result<Self> {
        let mut bytes = encode(&Line::Greeting(Greeting::new(false, false)))?;
        if let Some(command) = command {
            let line = encode(&command)?;
            if line.len() > limits::CONTROL_LINE {
                return Err(io::Error::other("the command is longer than a node reads"));
            }
            bytes.extend(line);
        }
        let mut stream = connect(home).await?;
        let pid = peer_process(&stream);
        stream.write_all(&bytes).await?;
        Ok(Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
            pid: pid.filter(|pid| *pid > 0),
            node: None,
            greeted: false,
        })
    }

    /// Reads the next line. If this future is dropped, the bytes read so far are kept.
    async fn next(&mut self) -> Got {
        match self.stream.read_until(b'\n', &mut self.line).await {
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) | Err(_) => return Got::End,
        }
        let line = serde_json::from_slice(&std::mem::take(&mut self.line));
        if let Ok(Line::Greeting(node)) = &line {
            self.node = Some(node.clone());
        }
        line.map_or(Got::Strange, Got::Line)
    }

    /// Returns the failure for a node of another version.
    fn mismatch(&self) -> Failure {
        let node = self.node.as_ref();
        let pid = self.pid.or(node.map(|node| node.pid));
        mismatch(Some(env!("CARGO_PKG_VERSION")), node.map(|node| node.version.as_str()), pid)
    }
}
