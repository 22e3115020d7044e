//! The control socket: one node per store. The process that opens the store first runs the node and listens
//! on a socket in the home folder; every other process is its client. [`ControlSession`] hides which of the
//! two this process is.

pub mod client;
mod line;
pub mod server;
mod silence;

use std::time::{Duration, Instant};

use crate::api::call::Call;
use crate::api::command::Command;
use crate::api::event::Event;
use crate::api::job::Job;
use crate::net::error::StartError;
use crate::node::Node;
use crate::options::Options;
use crate::store::Store;
pub use client::ServerMessage;
use client::{ControlClient, NotReached};
pub use line::Greeting;
use server::Server;
pub use silence::Silence;

/// Access to the node of a store. The node runs in this process, or in another one that was first.
#[derive(Debug)]
pub enum ControlSession {
    /// This process holds the store's lock and runs the node.
    Own {
        /// The node.
        node: Box<Node>,
        /// The server for other processes; `None` for a read-only store that another node serves too, or
        /// for which there is no place for the socket.
        server: Option<Server>,
    },
    /// Another process runs the node.
    Remote(ControlClient),
}

/// The answers to one command. Dropping them cancels the command; verified chunks are kept.
#[derive(Debug)]
pub enum Replies {
    /// Answers of the node in this process.
    Own(tokio::sync::mpsc::Receiver<Event>),
    /// Answers over the control socket.
    Remote(Box<client::RemoteReplies>),
}

/// Stage of opening a store: what the open waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenStage {
    /// The store itself is being opened.
    Store,
    /// Another process has the store; its answer is awaited. Holds its process id.
    Owner(u32),
    /// Another process has the store and is not on the network. Holds its process id.
    Offline(u32),
}

/// Time for which an owner may stay silent. A command that only looks at the store owns it for a moment, a
/// command that ends for a little longer, and neither answers.
const BUSY: Duration = Duration::from_secs(7);
/// Interval between attempts to open the store.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl ControlSession {
    /// Opens the store of `options.home`: runs the node here, or connects to the node that is running. Calls
    /// `tell` with each stage as it begins.
    ///
    /// # Errors
    /// [`StartError`] when neither works.
    pub async fn open(options: Options, mut tell: impl FnMut(OpenStage)) -> Result<Self, StartError> {
        let home = options.home.clone();
        let read_only = options.read_only;
        let mut until = Instant::now() + BUSY;
        let mut waiting = OpenStage::Store;
        tell(waiting);
        // A read-only node holds no lock that keeps others out.
        if read_only
            && !options.daemon
            && Store::is_trusted_home(&home)
            && let Ok(client) = ControlClient::connect(&home).await
            && (client.node().online || options.offline)
        {
            return Ok(Self::Remote(client));
        }
        loop {
            let pid = match Node::start(options.clone()).await {
                Ok(node) => {
                    let greeting = Greeting::new(options.daemon, !options.offline);
                    let server = match Server::start(&home, node.caller(), greeting, read_only) {
                        Err(error) if read_only => {
                            tracing::info!(%error, "other processes cannot ask this node");
                            None
                        }
                        server => Some(server?),
                    };
                    return Ok(Self::Own { node: Box::new(node), server });
                }
                Err(StartError::Busy { pid }) => pid,
                Err(error) => return Err(error),
            };
            if waiting == OpenStage::Store {
                waiting = OpenStage::Owner(pid);
                tell(waiting);
            }
            match ControlClient::connect(&home).await {
                Ok(client) if client.node().online || options.offline => return Ok(Self::Remote(client)),
                // A node without a network neither finds peers nor is found. Commands that run one end by
                // themselves.
                Ok(client) => {
                    waiting = OpenStage::Offline(client.node().pid);
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

    /// Sends a command to the node.
    pub async fn call(&self, command: Command) -> Replies {
        match self {
            Self::Own { node, .. } => Replies::Own(node.call(command).await),
            Self::Remote(client) => Replies::Remote(Box::new(client.call(command).await)),
        }
    }

    /// Starts a typed call. If the node of another process ends or does not answer, the job fails.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use swarm_core::api::call::ListStore;
    /// use swarm_core::{ControlSession, Options, Publish};
    ///
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("a"), "abc")?;
    /// let options = Options::new(folder.path().join("home")).offline();
    /// swarm_core::runtime()?.block_on(async {
    ///     // The first to open the store runs the node. The second one, here or in any process, is its
    ///     // client.
    ///     let first = ControlSession::open(options.clone(), |_| {}).await?;
    ///     let second = ControlSession::open(options, |_| {}).await?;
    ///     assert!(first.is_own() && !second.is_own());
    ///     let published = second.ask(Publish::new(folder.path().join("a"))).await?;
    ///     assert_eq!(first.ask(ListStore).await?[0].id, published.blob.id);
    ///     second.close(false).await;
    ///     first.close(false).await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn ask<C: Call>(&self, call: C) -> Job<C::Answer> {
        match self {
            Self::Own { node, .. } => node.ask(call),
            Self::Remote(client) => Job::over::<C>(client.start(call.command())),
        }
    }

    /// True if the node runs in this process.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// The greeting of the node, if another process runs it.
    #[must_use]
    pub const fn remote(&self) -> Option<&Greeting> {
        match self {
            Self::Own { .. } => None,
            Self::Remote(client) => Some(client.node()),
        }
    }

    /// Ends the node of this process in order; a node of another process is left running. Commands of other
    /// processes that wait for holders go on in one of those processes, which becomes the node. All other
    /// commands are answered to their end, unless `now`.
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
    /// Returns the next message; `None` after the final event, or when the node has gone.
    pub async fn next(&mut self) -> Option<ServerMessage> {
        match self {
            Self::Own(events) => events.recv().await.map(ServerMessage::Event),
            Self::Remote(replies) => replies.next().await,
        }
    }
}
