//! Talking to the node of another process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::line::{Greeting, Line, encode, mismatch};
use super::silence::Silence;
use crate::limits;
use crate::node::command::Command;
use crate::node::event::{Event, Failure, Fault};

/// How often a node that is silent is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A way to a running node; each command gets a connection of its own.
#[derive(Debug)]
pub struct Client {
    home: PathBuf,
    node: Greeting,
}

/// Why a node was not reached.
#[derive(Debug)]
pub(super) enum NotReached {
    /// Nobody is at the socket: the node is starting or ending, or has gone.
    Nobody,
    /// Somebody is, and says nothing.
    Silent(Silence),
    /// Its lines are not ours.
    Mismatch(Failure),
}

/// The answers to one command. Dropping it cancels the command.
#[derive(Debug)]
pub struct Replies {
    connection: Result<Connection, Option<Failure>>,
    home: PathBuf,
    ended: bool,
    /// When anything was heard last.
    heard: Instant,
    /// The sign that is told next.
    pending: Option<Heard>,
    /// It was told that the node is silent.
    silent: bool,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The command goes on.
    Event(Event),
    /// The node has been silent for so long that it does not answer at present. Told once, until it answers
    /// again.
    Silent(Silence),
    /// The node answers again.
    Again,
    /// The node ends in order, with the command unanswered: another process goes on with it.
    Leaving,
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<UnixStream>,
    /// The part of a line that has come.
    line: Vec<u8>,
    /// The process of the other end, as the system says.
    pid: Option<u32>,
    /// The greeting of the other end.
    node: Option<Greeting>,
    greeted: bool,
}

impl Client {
    /// Greets the node of a home folder.
    pub(super) async fn connect(home: &Path) -> Result<Self, NotReached> {
        let begun = Instant::now();
        let mut connection = loop {
            match Connection::open(home, None).await {
                Ok(connection) => break connection,
                // As many wait to be heard as the system lets wait.
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

    /// Sends a command.
    pub async fn call(&self, command: Command) -> Replies {
        let connection = Connection::open(&self.home, Some(command)).await.map_err(|e| {
            // A node that has gone is no answer: the caller may become the node itself.
            (e.kind() == io::ErrorKind::Other).then(|| Failure {
                fault: Fault::User,
                message: e.to_string(),
                hint: None,
            })
        });
        Replies {
            connection,
            home: self.home.clone(),
            ended: false,
            heard: Instant::now(),
            pending: None,
            silent: false,
        }
    }
}

impl Replies {
    /// The next sign of life; `None` after the final event, or when the node has gone.
    pub async fn next(&mut self) -> Option<Heard> {
        if let Some(heard) = self.pending.take() {
            return Some(heard);
        }
        let connection = match &mut self.connection {
            Ok(connection) => connection,
            Err(failure) => return failure.take().map(|failure| Heard::Event(Event::Failed(failure))),
        };
        while !self.ended {
            let Ok(got) = tokio::time::timeout(LOOK, connection.next()).await else {
                let silence = Silence::after(self.heard.elapsed(), &self.home, connection.pid);
                if let Some(silence) = silence.filter(|_| !self.silent) {
                    self.silent = true;
                    return Some(Heard::Silent(silence));
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
                    Some(Heard::Event(*event))
                }
                Got::Line(Line::Beat) => None,
                Got::Line(Line::Leaving) => Some(Heard::Leaving),
                Got::Line(Line::Greeting(_)) | Got::Strange => {
                    Some(Heard::Event(Event::Failed(connection.mismatch())))
                }
                // It came too late to be heard.
                Got::End if !connection.greeted => Some(Heard::Leaving),
                Got::End => None,
            };
            self.ended |= end || heard.as_ref().is_some_and(is_last);
            if std::mem::take(&mut self.silent) && !end && heard != Some(Heard::Leaving) {
                self.pending = heard;
                return Some(Heard::Again);
            }
            if heard.is_some() {
                return heard;
            }
        }
        None
    }
}

/// True when nothing follows.
const fn is_last(heard: &Heard) -> bool {
    match heard {
        Heard::Event(event) => event.is_final(),
        Heard::Leaving => true,
        Heard::Silent(_) | Heard::Again => false,
    }
}

/// Something that came over a connection.
enum Got {
    Line(Line),
    /// Something that is no line of ours.
    Strange,
    /// The end.
    End,
}

impl Connection {
    /// Connects, and sends a greeting and a command.
    async fn open(home: &Path, command: Option<Command>) -> io::Result<Self> {
        let mut bytes = encode(&Line::Greeting(Greeting::new(false, false)))?;
        if let Some(command) = command {
            let line = encode(&command)?;
            if line.len() > limits::CONTROL_LINE {
                return Err(io::Error::other("the command is longer than a node reads"));
            }
            bytes.extend(line);
        }
        let dir = fs::File::open(home)?;
        let mut stream = UnixStream::connect(super::server::address(home, &dir)).await?;
        let pid = stream.peer_cred().ok().and_then(|cred| u32::try_from(cred.pid()?).ok());
        stream.write_all(&bytes).await?;
        Ok(Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
            pid: pid.filter(|pid| *pid > 0),
            node: None,
            greeted: false,
        })
    }

    /// The next line. What has come of it is kept when this is dropped.
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

    /// The other end does not speak as we do.
    fn mismatch(&self) -> Failure {
        let node = self.node.as_ref();
        let pid = self.pid.or(node.map(|node| node.pid));
        mismatch(Some(env!("CARGO_PKG_VERSION")), node.map(|node| node.version.as_str()), pid)
    }
}
