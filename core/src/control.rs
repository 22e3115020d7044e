//! One node per store: whoever opens the store first runs it, everyone else is its client.

pub mod client;
pub mod server;

use std::time::{Duration, Instant};

use crate::node::command::Command;
use crate::node::event::Event;
use crate::node::{Node, StartError};
use crate::options::Options;
use server::Server;

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
    Remote(client::Client),
}

/// The answers to one command. Dropping it cancels the command; what was verified is kept.
#[derive(Debug)]
pub enum Replies {
    /// From our own node.
    Own(tokio::sync::mpsc::Receiver<Event>),
    /// Over the control socket.
    Remote(client::Replies),
}

/// A command that only looks at the store has it for a moment, one that ends for a little longer, and neither answers.
const BUSY: Duration = Duration::from_secs(7);
/// How often we look whether it has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Session {
    /// Opens the store of `options.home`: runs the node here, or connects to the one that is running.
    ///
    /// # Errors
    /// [`StartError`] when neither works.
    pub async fn open(options: Options) -> Result<Self, StartError> {
        let home = options.home.clone();
        let read_only = options.read_only;
        let until = Instant::now() + BUSY;
        loop {
            match Node::start(options.clone()).await {
                Ok(node) => {
                    let server = (!read_only).then(|| Server::start(&home, node.caller())).transpose()?;
                    return Ok(Self::Own { node: Box::new(node), server });
                }
                Err(StartError::Busy { pid }) => match client::Client::connect(&home).await {
                    Ok(client) => return Ok(Self::Remote(client)),
                    Err(_) if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
                    Err(_) => return Err(StartError::Busy { pid }),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks the node for something.
    pub async fn call(&self, command: Command) -> Replies {
        match self {
            Self::Own { node, .. } => Replies::Own(node.call(command).await),
            Self::Remote(client) => Replies::Remote(client.call(command).await),
        }
    }

    /// True when the node runs in this process.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Ends our own node in order (a remote one is left running): clients of its control socket are served to the end
    /// of what they asked for, unless `now`.
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
    /// The next event; `None` after the final one, or when the node has gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Own(events) => events.recv().await,
            Self::Remote(replies) => replies.next().await,
        }
    }
}
