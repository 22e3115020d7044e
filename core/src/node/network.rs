//! Access of a job to one network, and to blocking threads for the store.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::actor::NetworkCommand;
use crate::api::event;
use crate::api::status::Limits;
use crate::discovery::port_mapping::Mapped;
use crate::net::{Multiaddr, PeerId};

/// Access to the actor of one network.
#[derive(Debug, Clone)]
pub(super) struct Net {
    pub(crate) asks: mpsc::Sender<NetworkCommand>,
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    pub(crate) peer: PeerId,
    pub(crate) limits: watch::Receiver<Limits>,
    pub(crate) trackers: Arc<[String]>,
    /// Servers of the DHT for links.
    pub(crate) dht: Arc<[String]>,
    /// Configured addresses at which other nodes reach this one.
    pub(crate) external: Arc<[Multiaddr]>,
    /// Addresses that the router forwards.
    pub(crate) mapped: Option<watch::Receiver<Mapped>>,
    /// Relays that this node can be reached through.
    pub(crate) relays: Arc<[Multiaddr]>,
}

impl Net {
    pub(crate) async fn ask(&self, ask: NetworkCommand) {
        // The actor is gone only while the node stops; a job that waits for an answer then sees that.
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

/// Returns the failure of a job without a hint.
pub(crate) fn failure(fault: event::Fault, message: impl Into<String>) -> event::Failure {
    event::Failure { fault, message: message.into(), hint: None }
}

/// Runs work that blocks, such as the store's, on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, event::Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| failure(event::Fault::Disk, format!("a task of the store ended: {e}")))
}

/// Switch that ends blocking work.
pub(super) type Flag = Arc<std::sync::atomic::AtomicBool>;
