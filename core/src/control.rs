//! One node per store: whoever opens the store first runs it, everyone else is its client.

pub mod client;
mod line;
pub mod server;
mod silence;

use std::time::{Duration, Instant};

use crate::node::command::Command;
use crate::node::event::Event;
use crate::node::{Node, StartError};
use crate::options::Options;
pub use client::Heard;
use client::{Client, NotReached};
pub use line::Greeting;
use server::Server;
pub use silence::Silence;

/// A way to talk to the node of a store: it runs in this process, or in another one that was first.
#[derive(Debug)]
pub enum Session {
    /// We hold the lock and run the node.
    Own {
        /// The node.
        node: Box<Node>,
        /// Answers others; not for a store that may not be written, where there is no place for the socket.
        server: Option<Server>,
    },
    /// Somebody else does.
    Remote(Client),
}

/// The answers to one command. Dropping it cancels the command; what was verified is kept.
#[derive(Debug)]
pub enum Replies {
    /// From our own node.
    Own(tokio::sync::mpsc::Receiver<Event>),
    /// Over the control socket.
    Remote(Box<client::Replies>),
}

/// The state of opening a store: what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The store, which is being opened.
    Store,
    /// A process that has the store, for its answer.
    Owner(u32),
    /// A process that has the store and is not on the network.
    Offline(u32),
}

/// A command that only looks at the store has it for a moment, one that ends for a little longer, and neither answers.
const BUSY: Duration = Duration::from_secs(7);
/// How often we look whether it has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Session {
    /// Opens the store of `options.home`: runs the node here, or connects to the one that is running. `tell`
    /// hears what is waited for, whenever that changes.
    ///
    /// # Errors
    /// [`StartError`] when neither works.
    pub async fn open(options: Options, mut tell: impl FnMut(Waiting)) -> Result<Self, StartError> {
        let home = options.home.clone();
        let read_only = options.read_only;
        let mut until = Instant::now() + BUSY;
        let mut waiting = Waiting::Store;
        tell(waiting);
        loop {
            let pid = match Node::start(options.clone()).await {
                Ok(node) => {
                    let greeting = Greeting::new(options.daemon, !options.offline);
                    let server = || Server::start(&home, node.caller(), greeting);
                    let server = (!read_only).then(server).transpose()?;
                    return Ok(Self::Own { node: Box::new(node), server });
                }
                Err(StartError::Busy { pid }) => pid,
                Err(error) => return Err(error),
            };
            if waiting == Waiting::Store {
                waiting = Waiting::Owner(pid);
                tell(waiting);
            }
            match Client::connect(&home).await {
                Ok(client) if client.node().online || options.offline => return Ok(Self::Remote(client)),
                // It would neither find anybody nor be found. Commands like that end by themselves.
                Ok(client) => {
                    waiting = Waiting::Offline(client.node().pid);
                    tell(waiting);
                    until = Instant::now() + BUSY;
                }
                Err(NotReached::Silent(silence)) => return Err(StartError::Refused(silence.failure())),
                Err(NotReached::Mismatch(failure)) => return Err(StartError::Refused(failure)),
                Err(NotReached::Nobody) if Instant::now() < until => {}
                Err(NotReached::Nobody) => {
                    let silence = Silence::of_owner(&home, pid);
                    return Err(StartError::Refused(silence.failure()));
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks the node for something.
    pub async fn call(&self, command: Command) -> Replies {
        match self {
            Self::Own { node, .. } => Replies::Own(node.call(command).await),
            Self::Remote(client) => Replies::Remote(Box::new(client.call(command).await)),
        }
    }

    /// True when the node runs in this process.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// The greeting of the node, if it is another process.
    #[must_use]
    pub const fn remote(&self) -> Option<&Greeting> {
        match self {
            Self::Own { .. } => None,
            Self::Remote(client) => Some(client.node()),
        }
    }

    /// Ends our own node in order (a remote one is left running). Commands of other processes that wait for
    /// holders go on in one of those, which becomes the node; the others are answered to their end, unless
    /// `now`.
    pub async fn close(self, now: bool) {
        if let Self::Own { node, server } = self {
            if let Some(server) = server {
                server.stop(now).await;
            }
            node.stop().await;
        }
    }
}

impl Replies {
    /// The next sign of life; `None` after the final event, or when the node has gone.
    pub async fn next(&mut self) -> Option<Heard> {
        match self {
            Self::Own(events) => events.recv().await.map(Heard::Event),
            Self::Remote(replies) => replies.next().await,
        }
    }
}
