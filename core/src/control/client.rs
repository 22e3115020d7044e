//! Talking to the node of another process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::limits;
use crate::node::command::Command;
use crate::node::event::{Event, Failure, Fault};

/// A node that has just been started may not have its socket yet.
const TRIES: u32 = 20;
/// See [`TRIES`].
const PAUSE: Duration = Duration::from_millis(50);

/// A way to a running node; each command gets a connection of its own.
#[derive(Debug)]
pub struct Client {
    home: PathBuf,
}

/// The events of one command. Dropping it cancels the command.
#[derive(Debug)]
pub struct Replies {
    stream: Result<BufReader<UnixStream>, Option<Failure>>,
    ended: bool,
}

impl Client {
    /// Finds the socket of a home folder.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn connect(home: &Path) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..TRIES {
            match open(home).await {
                Ok(_) => return Ok(Self { home: home.to_owned() }),
                Err(error) => last = error,
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last)
    }

    /// Sends a command.
    pub async fn call(&self, command: Command) -> Replies {
        let sent = async {
            let mut stream = open(&self.home).await?;
            let mut line = serde_json::to_vec(&command).map_err(io::Error::other)?;
            line.push(b'\n');
            if line.len() > limits::CONTROL_LINE {
                return Err(io::Error::other("the command is longer than a node reads"));
            }
            stream.write_all(&line).await?;
            Ok(BufReader::new(stream))
        };
        let stream = sent.await.map_err(|e: io::Error| {
            // A node that has gone is no answer: the caller may become the node itself.
            (e.kind() == io::ErrorKind::Other).then(|| Failure {
                fault: Fault::User,
                message: e.to_string(),
                hint: None,
            })
        });
        Replies { stream, ended: false }
    }
}

impl Replies {
    /// The next event; `None` after the final one, or when the node has gone.
    pub async fn next(&mut self) -> Option<Event> {
        let stream = match &mut self.stream {
            Ok(stream) => stream,
            Err(failure) => return failure.take().map(Event::Failed),
        };
        if self.ended {
            return None;
        }
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.ok()?;
        let event: Event = serde_json::from_slice(&line).ok()?;
        self.ended = event.is_final();
        Some(event)
    }
}

async fn open(home: &Path) -> io::Result<UnixStream> {
    let dir = fs::File::open(home)?;
    UnixStream::connect(super::server::address(home, &dir)).await
}
