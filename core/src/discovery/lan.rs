//! Discovery of nodes on the local network by libp2p's multicast DNS (`_p2p._udp.local`), for IPv4 and IPv6.
//!
//! An announcement there is a stranger's word. A node believes of it only that a peer may be reached at the
//! address from which the packet came (`net/multicast.rs`), for two minutes at most, and every table is
//! bounded with a share for each source (`neighbours.rs`).

mod neighbours;
mod packet;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use self::neighbours::Neighbours;
use self::packet::{Heard, Packets};
use crate::limits;
use crate::net::multicast::station::{Station, StationEvent};
use crate::net::multicast::timing::{Due, Timing};
use crate::net::multicast::{LanAddress, Neighbour, PACKET, announced};
use crate::net::{Multiaddr, PeerId};

/// Discovery of nodes on the local network: a task that asks, answers and listens.
pub(crate) struct LanDiscovery {
    /// Id of this node.
    pub(crate) own: PeerId,
    /// Addresses on which this node listens.
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    /// Notified when somebody is looked for.
    pub(crate) look: Arc<Notify>,
    /// News of neighbours.
    pub(crate) found: mpsc::Sender<Neighbour>,
    /// Seed of the random waits and of the name in the announcements.
    pub(crate) seed: u64,
}

struct LanDiscoveryState {
    own: PeerId,
    found: mpsc::Sender<Neighbour>,
    packets: Packets,
    station: Station,
    neighbours: Neighbours,
}

impl LanDiscovery {
    /// Runs until the node ends or drops it. It must run within a tokio runtime.
    pub(crate) async fn run(self) {
        let Self { own, listen, look, found, seed } = self;
        let Some(packets) = Packets::new(own, seed) else { return };
        let timing = Timing::new(limits::LAN_ANSWERS, seed, Instant::now());
        let station = Station::open(timing, listen, look);
        let state = LanDiscoveryState { own, found, packets, station, neighbours: Neighbours::default() };
        state.run().await;
    }
}

impl LanDiscoveryState {
    async fn run(mut self) {
        let mut buffer = vec![0; PACKET];
        loop {
            let nodes = self.station.multicast.hosts();
            let ends = self.neighbours.next_end();
            let event = tokio::select! {
                event = self.station.next(&mut buffer, nodes) => event,
                () = sleep_until(ends) => {
                    if self.end(Instant::now()).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            let going = match event {
                Some(StationEvent::Packet(len, from)) => self.heard(&buffer[..len], from).await,
                Some(StationEvent::Due(due)) => {
                    self.due(due);
                    Some(())
                }
                None => None,
            };
            if going.is_none() {
                return;
            }
        }
    }

    fn due(&self, due: Due) {
        match due {
            Due::Ask { tell } => {
                let all = self.station.multicast.addresses();
                for at in &all {
                    self.station.multicast.send(*at, self.packets.question());
                }
                if tell {
                    self.tell(all);
                }
            }
            Due::Answer(from) => self.tell(from),
            Due::Tell => self.tell(self.station.multicast.addresses()),
        }
    }

    /// Announces this node from these local addresses.
    fn tell(&self, from: impl IntoIterator<Item = LanAddress>) {
        let listen = self.station.listen();
        for at in from {
            if let Some(packet) = self.packets.announcement(announced(at, &listen)) {
                self.station.multicast.send(at, &packet);
            }
        }
    }

    /// Takes in a packet; `None` if nobody wants news any more.
    async fn heard(&mut self, packet: &[u8], from: LanAddress) -> Option<()> {
        let now = Instant::now();
        let (found, ttl) = match self.packets.read(packet) {
            Heard::Question => {
                let multicast = &self.station.multicast;
                let (here, hosts) = (multicast.towards(from), multicast.hosts());
                self.station.timing.question(here, hosts, now);
                return Some(());
            }
            Heard::Announcement { found, ttl } => (found, ttl),
            Heard::Other => return Some(()),
        };
        self.station.timing.answered(from);
        for (peer, addrs) in found {
            let addrs = self.station.multicast.of_sender(from, addrs.into_iter());
            if peer == self.own || addrs.is_empty() || ttl.is_zero() {
                continue;
            }
            let heard = self.neighbours.heard(from, peer, &addrs, ttl, now);
            if heard.is_news {
                self.found.send(Neighbour::Found { peer, addrs, epoch: 0 }).await.ok()?;
            }
            if let Some(gone) = heard.gone {
                self.found.send(Neighbour::Gone(gone)).await.ok()?;
            }
        }
        Some(())
    }

    /// Forgets neighbours whose announcement has ended.
    async fn end(&mut self, now: Instant) -> Option<()> {
        for gone in self.neighbours.end(now) {
            self.found.send(Neighbour::Gone(gone)).await.ok()?;
        }
        Some(())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
