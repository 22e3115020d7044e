//! A job's way to one network, and to the store's threads.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::actor::NetworkCommand;
use crate::api::event;
use crate::api::status::Limits;
use crate::discovery::port_mapping::Mapped;
use crate::net::{Multiaddr, PeerId};

/// A job's way to the network.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub(crate) asks: mpsc::Sender<NetworkCommand>,
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    pub(crate) peer: PeerId,
    pub(crate) limits: watch::Receiver<Limits>,
    pub(crate) trackers: Arc<[String]>,
    /// Servers of the DHT that links name.
    pub(crate) dht: Arc<[String]>,
    /// Where others reach us, as our owner says.
    pub(crate) external: Arc<[Multiaddr]>,
    /// The same, by its router.
    pub(crate) mapped: Option<watch::Receiver<Mapped>>,
    /// And through which relays.
    pub(crate) relays: Arc<[Multiaddr]>,
}

impl Net {
    pub(crate) async fn ask(&self, ask: NetworkCommand) {
        // The actor is gone only while the node stops; whoever waits for an answer then sees that.
        let _ = self.asks.send(ask).await;
    }

    pub(super) async fn question<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> NetworkCommand,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.ask(ask(reply)).await;
        answer.await.ok()
    }
}

/// A failure of a job, as its last event.
pub(crate) fn failure(fault: event::Fault, message: impl Into<String>) -> event::Failure {
    event::Failure { fault, message: message.into(), hint: None }
}

/// Runs a blocking piece of work of the store.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, event::Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| failure(event::Fault::Disk, format!("a task of the store ended: {e}")))
}

/// Shares a value with a blocking piece of work.
pub(super) type Flag = Arc<std::sync::atomic::AtomicBool>;
