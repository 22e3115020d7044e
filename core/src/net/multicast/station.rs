//! The loop of a node that speaks on the local network: it waits for packets, for new addresses, for somebody
//! to be looked for, and for the times of its own questions and announcements.

use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::timing::{Due, Timing};
use super::{LanAddress, Multicast};

/// Pause after an error, and before another look at interfaces that could not be used.
const AGAIN: Duration = Duration::from_secs(1);
/// Such looks in a row; later ones come with the announcements.
const LOOKS: u32 = 15;

/// Event on the local network.
#[derive(Debug)]
pub(crate) enum StationEvent {
    /// A packet of this length is in the buffer.
    Packet(usize, LanAddress),
    /// Something is to be sent.
    Due(Due),
}

/// Sockets and times of a node on the local network.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) multicast: Multicast,
    pub(crate) timing: Timing,
    /// Addresses on which the node listens.
    listen: watch::Receiver<Vec<Multiaddr>>,
    /// Notified when somebody is looked for.
    look: Arc<Notify>,
    /// Next look at the interfaces, and the number of looks in a row.
    again: Option<Instant>,
    looks: u32,
}

impl Station {
    /// Opens the sockets.
    pub(crate) fn open(timing: Timing, listen: watch::Receiver<Vec<Multiaddr>>, look: Arc<Notify>) -> Self {
        let multicast = Multicast::default();
        let mut new = Self { multicast, timing, listen, look, again: None, looks: 0 };
        new.look_around();
        new
    }

    /// Returns the addresses on which the node listens now.
    pub(crate) fn listen(&self) -> Vec<Multiaddr> {
        self.listen.borrow().clone()
    }

    /// Waits for the next event, in a network of so many nodes; `None` when the node ends.
    pub(crate) async fn next(&mut self, buffer: &mut [u8], nodes: usize) -> Option<StationEvent> {
        loop {
            let due = self.timing.next();
            let at = self.again.map_or(due, |again| due.min(again));
            let look = Arc::clone(&self.look);
            tokio::select! {
                got = self.multicast.receive(buffer) => match got {
                    Ok((len, from)) => return Some(StationEvent::Packet(len, from)),
                    Err(error) => {
                        tracing::debug!(%error, "hearing the local network");
                        tokio::time::sleep(AGAIN).await;
                    }
                },
                changed = self.listen.changed() => {
                    changed.ok()?;
                    self.looks = 0;
                    self.look_around();
                    self.timing.moved(Instant::now());
                }
                () = look.notified() => self.timing.look(Instant::now()),
                () = sleep_until(at) => {
                    if self.again.is_some_and(|again| again <= Instant::now()) {
                        self.look_around();
                    }
                    if let Some(due) = self.timing.due(nodes, Instant::now()) {
                        if due == Due::Tell {
                            self.look_around();
                        }
                        return Some(StationEvent::Due(due));
                    }
                }
            }
        }
    }

    /// Looks at the interfaces.
    fn look_around(&mut self) {
        if self.multicast.refresh() {
            self.timing.moved(Instant::now());
        }
        // An IPv6 address cannot be used in its first seconds, in which the system asks whether it is taken.
        self.looks += 1;
        self.again = (self.multicast.incomplete && self.looks < LOOKS).then(|| Instant::now() + AGAIN);
    }
}
