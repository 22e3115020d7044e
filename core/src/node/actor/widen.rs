//! More than one connection for sessions over a distance.
//!
//! The end that dialled a session opens them, to the address at which it reached the peer, while much is to be moved.
//! Few peers get them: where many give, there are many connections anyway. The other end accepts them while there are
//! places to spare, in all and for the peer's address and subnet, and ends them when there are not.

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

/// Round trip from which on one connection may not fill a fast line: 4 MiB, the most that Linux buffers for one, are then
/// 50 MB/s at best. On shorter paths several connections only take from each other.
const FAR: Duration = Duration::from_millis(80);
/// Bytes still to be moved for which more connections are worth their handshakes.
const MUCH: u64 = 4 << 20;
/// Connections over which chunks are moved, to all far peers together, that are enough.
const ENOUGH: usize = 8;
/// Connections that could not be had, or that the other end has ended, are not tried again so soon.
const PAUSE: Duration = Duration::from_secs(60);

impl Actor {
    /// Opens further connections with a peer, if they are of use.
    pub(super) fn widen(&mut self, key: PeerKey) {
        let now = Instant::now();
        let under_way = |key| self.widening.values().filter(|of| **of == key).count();
        let width = |(key, peer): (PeerKey, &Peer)| peer.session.width() + under_way(key);
        let Some(peer) = self.peers.get(key).filter(|peer| self.is_far(key, peer, now)) else { return };
        let (id, addr, own) = (peer.id, peer.addr.clone(), width((key, peer)));
        let all = self.peers.iter().filter(|(key, _)| self.moves_much(*key)).map(width).sum();
        for _ in 0..more(own, all) {
            let options = DialOpts::peer_id(id).condition(PeerCondition::Always);
            let options = options.addresses(vec![addr.clone()]).allocate_new_port().build();
            let connection = options.connection_id();
            self.network.behaviour_mut().gate.decided(connection);
            self.network.behaviour_mut().streams.widen(connection);
            self.widening.insert(connection, key);
            if let Err(error) = self.network.dial(options) {
                tracing::debug!(peer = %id, %error, "no further connection");
                self.not_widened(connection);
                break;
            }
        }
    }

    /// Tells whether a peer is one with whom further connections are worth while.
    fn is_far(&self, key: PeerKey, peer: &Peer, now: Instant) -> bool {
        let is_tcp = peer.addr.iter().any(|part| matches!(part, Protocol::Tcp(_))) && !is_relayed(&peer.addr);
        peer.called
            && is_tcp
            && peer.session.may_widen()
            && peer.nearest().is_some_and(|round_trip| round_trip >= FAR)
            && peer.not_widened.is_none_or(|at| now.duration_since(at) >= PAUSE)
            && self.moves_much(key)
    }

    fn moves_much(&self, key: PeerKey) -> bool {
        self.downloads.lacks_of(key) >= MUCH || self.uploads.taken_of(key) >= MUCH
    }

    /// A dial for a further connection led nowhere. True if it was one.
    pub(super) fn not_widened(&mut self, connection: ConnectionId) -> bool {
        let Some(key) = self.widening.remove(&connection) else { return false };
        if let Some(peer) = self.peers.get_mut(key) {
            peer.not_widened = Some(Instant::now());
        }
        true
    }

    /// A further data stream has come about.
    pub(super) fn widened(&mut self, peer: PeerId, connection: ConnectionId, data: Stream) {
        let ours = self.widening.remove(&connection).is_some();
        // Where there is no session, it is dropped: the connection ends.
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

    /// Tells whether so many have come in that each should have one connection.
    fn is_crowded(&self) -> bool {
        let counters = self.network.network_info();
        counters.connection_counters().num_established_incoming() as usize > limits::INBOUND / 2
    }

    /// Ends further connections of peers that share an address or a subnet, where they would leave others no places.
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

    fn narrow(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.session.width() > 1) {
            peer.session.narrow();
            peer.width = 1;
        }
    }

    /// Looks after all sessions: opens further connections where they are of use, ends them where they are not any longer.
    pub(super) fn tend_widths(&mut self) {
        let crowded = self.is_crowded();
        for key in self.peers.those(|peer| peer.hello.is_some()) {
            let much = self.moves_much(key);
            let Some(peer) = self.peers.get_mut(key) else { continue };
            let width = peer.session.width();
            // The other end wants none: it would end the next ones as well.
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

/// Connections to open with a peer with which there are `own`, while chunks move over `all`.
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
