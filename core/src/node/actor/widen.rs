//! Further connections for sessions over a distance.
//!
//! The end that dialled a session opens further connections to the address at which it reached the peer,
//! while many bytes are to be moved. It opens none when chunks move over many connections with other peers
//! anyway. The other end accepts them while there are places to spare, in all and for the peer's address and
//! subnet, and ends them when there are not.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{PeerId, Stream};

use super::Actor;
use crate::limits;
use crate::net::address::{ip_of, is_relayed, subnet};
use crate::schedule::PeerKey;
use crate::transfer::peers::Peer;

/// Shortest round trip for which further connections are opened. Over longer paths one connection may not
/// fill a fast line: 4 MiB, the most that Linux buffers for one, make 50 MB/s at best. On shorter paths
/// several connections only take from each other.
const FAR: Duration = Duration::from_millis(80);
/// Fewest bytes still to be moved for which further connections are worth their handshakes.
const MUCH: u64 = 4 << 20;
/// Connections with all peers over which chunks move that suffice together, so that none is added.
const ENOUGH: usize = 8;
/// Time after which further connections are tried again with a peer that refused them or has ended them.
const PAUSE: Duration = Duration::from_secs(60);

impl Actor {
    /// Opens further connections with a peer if they are of use.
    pub(super) fn widen(&mut self, key: PeerKey) {
        let now = Instant::now();
        let width = |(key, peer): (PeerKey, &Peer)| peer.session.width() + self.dials.further_of(key);
        let Some(peer) = self.peers.get(key).filter(|peer| self.is_far(key, peer, now)) else { return };
        let (id, addr, own) = (peer.id, peer.addr.clone(), width((key, peer)));
        let all = self.peers.iter().filter(|(key, _)| self.moves_much(*key)).map(width).sum();
        for _ in 0..more(own, all) {
            let options = DialOpts::peer_id(id).condition(PeerCondition::Always);
            let options = options.addresses(vec![addr.clone()]).allocate_new_port().build();
            let connection = options.connection_id();
            self.network.behaviour_mut().gate.decided(connection);
            self.network.behaviour_mut().streams.widen(connection);
            self.dials.begin_further(connection, key);
            if let Err(error) = self.network.dial(options) {
                tracing::debug!(peer = %id, %error, "no further connection");
                self.not_widened(connection);
                break;
            }
        }
    }

    /// Returns true if further connections with a peer are worth their cost.
    fn is_far(&self, key: PeerKey, peer: &Peer, now: Instant) -> bool {
        let is_tcp = peer.addr.iter().any(|part| matches!(part, Protocol::Tcp(_))) && !is_relayed(&peer.addr);
        peer.called
            && is_tcp
            && peer.session.may_widen()
            && peer.nearest().is_some_and(|round_trip| round_trip >= FAR)
            && peer.not_widened.is_none_or(|at| now.duration_since(at) >= PAUSE)
            && self.moves_much(key)
    }

    /// Returns true if at least [`MUCH`] bytes are still to be moved in a session, in either direction.
    fn moves_much(&self, key: PeerKey) -> bool {
        self.downloads.lacks_of(key) >= MUCH || self.uploads.taken_of(key) >= MUCH
    }

    /// Handles the failure of a dial. Returns true if it was for a further connection.
    pub(super) fn not_widened(&mut self, connection: ConnectionId) -> bool {
        let Some(key) = self.dials.end_further(connection) else { return false };
        if let Some(peer) = self.peers.get_mut(key) {
            peer.not_widened = Some(Instant::now());
        }
        true
    }

    /// Adds a further data stream to the session with a peer.
    pub(super) fn widened(&mut self, peer: PeerId, connection: ConnectionId, data: Stream) {
        let ours = self.dials.end_further(connection).is_some();
        // Without a session the stream is dropped, and its connection ends.
        let Some(key) = self.peers.key_of(&peer) else { return };
        if let Some(peer) = self.peers.get_mut(key) {
            peer.session.widen(data);
            peer.width = peer.session.width();
        }
        if !ours && self.is_crowded() {
            self.narrow(key);
        } else if !ours {
            self.share_places(key);
        }
    }

    /// Returns true if so many inbound connections exist that each peer should have only one.
    fn is_crowded(&self) -> bool {
        let counters = self.network.network_info();
        counters.connection_counters().num_established_incoming() as usize > limits::INBOUND / 2
    }

    /// Ends further connections of peers that share an address or a subnet with this one, if they take more
    /// than half of the places there and several peers share those.
    fn share_places(&mut self, key: PeerKey) {
        let Some(ip) = self.peers.get(key).and_then(|peer| ip_of(&peer.addr)) else { return };
        let near = |of: IpAddr| (of == ip, subnet(of) == subnet(ip));
        let came = self.peers.iter().filter(|(_, peer)| !peer.called);
        let came: Vec<_> =
            came.filter_map(|(key, p)| Some((key, p.session.width(), near(ip_of(&p.addr)?)))).collect();
        let width = |of: fn((bool, bool)) -> bool| -> usize {
            came.iter().filter(|(.., near)| of(*near)).map(|(_, width, _)| width).sum()
        };
        let many = |of: fn((bool, bool)) -> bool, most: usize| {
            width(of) > most && came.iter().filter(|(.., near)| of(*near)).count() > 1
        };
        let host =
            many(|near| near.0, limits::PER_PUBLIC_IP.min(limits::PER_LAN_HOST) / 2) && !ip.is_loopback();
        let net = many(|near| near.1, limits::PER_SUBNET / 2) && !ip.is_loopback();
        let crowd = came.into_iter().filter(|(.., near)| (host && near.0) || (net && near.1));
        let crowd: Vec<PeerKey> = crowd.map(|(key, ..)| key).collect();
        crowd.into_iter().for_each(|key| self.narrow(key));
    }

    /// Ends the further connections of a session.
    fn narrow(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.session.width() > 1) {
            peer.session.narrow();
            peer.width = 1;
        }
    }

    /// Opens further connections in all sessions where they are of use, and ends them where they are not.
    pub(super) fn tend_widths(&mut self) {
        let crowded = self.is_crowded();
        for key in self.peers.those(|peer| peer.hello.is_some()) {
            let much = self.moves_much(key);
            let Some(peer) = self.peers.get_mut(key) else { continue };
            let width = peer.session.width();
            // The other end has ended further connections, and would end the next ones as well.
            if width < std::mem::replace(&mut peer.width, width) {
                peer.not_widened = Some(Instant::now());
            }
            match peer.called {
                true if much => self.widen(key),
                false if !crowded => self.share_places(key),
                _ => self.narrow(key),
            }
        }
    }
}

/// Returns the number of connections to open with a peer with which there are `own`, while chunks move over
/// `all` connections.
fn more(own: usize, all: usize) -> usize {
    limits::DATA_STREAMS.saturating_sub(own).min(ENOUGH.saturating_sub(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_holder_gets_all_and_many_get_none() {
        assert_eq!(more(1, 1), limits::DATA_STREAMS - 1);
        assert_eq!(more(limits::DATA_STREAMS, limits::DATA_STREAMS), 0);
        assert_eq!(more(1, ENOUGH - 2), 2);
        assert_eq!(more(1, ENOUGH), 0);
        assert_eq!(more(1, 3 * ENOUGH), 0);
    }
}
