//! The door: how many connections there may be, from where and with whom.
//!
//! What can be decided from the address alone is decided before the handshake, so that a crowd of strangers costs
//! an accepted socket each and no cryptography. What needs the peer's identity is decided when the handshake is over.
//!
//! Every place is booked under its connection's id in the pending callback and given back by exactly one of the events
//! that libp2p-swarm reports to *every* behaviour, whoever decided:
//!
//! | what became of the connection | event |
//! |---|---|
//! | inbound: handshake failed, any behaviour refused it before or after | `ListenFailure` |
//! | outbound: dial failed, no address, wrong peer, any behaviour refused it | `DialFailure` |
//! | established, later gone | `ConnectionEstablished`, then `ConnectionClosed` |
//!
//! A failure is also reported for connections that were refused here, or never offered (a dial that its own
//! condition forbade): those have no booking, so the event finds nothing to give back.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::bans::Decided;
use super::gate_counts::{Bans, GateCounts, Origin, Place};
pub(crate) use super::gate_counts::{GateLimits, Refused, RefusedCounts};
use super::punch::is_for_others;
use crate::limits;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Banned {
    Peer(PeerId),
    Ip(IpAddr),
}

#[derive(Debug)]
struct Booking {
    place: Place,
    /// Known, and counted, once the connection is established.
    peer: Option<PeerId>,
}

/// Refuses connections beyond the limits and connections with whom is banned. See the [module](self).
///
/// Put it first in a derived behaviour: the others are then not asked about what it refuses.
#[derive(Debug)]
pub(crate) struct Gate {
    counts: GateCounts,
    bans: Bans<Banned>,
    bookings: HashMap<ConnectionId, Booking>,
    refused: RefusedCounts,
    /// What peers name is not dialled wherever it leads.
    guarded: bool,
    /// Dials that the node decided on. Others are begun by behaviours because a peer named addresses.
    own: HashSet<ConnectionId>,
    /// Those may lead into private networks.
    pub(crate) private: bool,
}

impl Gate {
    /// A gate with nobody inside.
    pub(crate) fn new(limits: GateLimits) -> Self {
        Gate {
            bans: Bans::new(limits.bans),
            counts: GateCounts::new(limits),
            bookings: HashMap::new(),
            refused: RefusedCounts::default(),
            guarded: false,
            own: HashSet::new(),
            private: false,
        }
    }

    /// Refuses this peer, and this address, until then. Connections that exist are not closed.
    pub(crate) fn ban(&mut self, decided: &Decided) {
        self.bans.ban(Banned::Peer(decided.peer), decided.until);
        if let Some(ip) = decided.ip {
            self.bans.ban(Banned::Ip(ip.to_canonical()), decided.until);
        }
    }

    /// The same, and from now on a dial that was not [decided](Self::decided) on here must lead to the internet.
    pub(crate) fn guarded(self) -> Self {
        Gate { guarded: true, ..self }
    }

    /// The node itself is about to dial so.
    pub(crate) fn decided(&mut self, id: ConnectionId) {
        self.own.insert(id);
    }

    #[cfg(test)]
    /// Whether this peer is banned.
    pub(crate) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        self.bans.is_banned(&Banned::Peer(*peer), now)
    }

    /// How many connections were refused, by reason.
    pub(crate) fn refused(&self) -> &RefusedCounts {
        &self.refused
    }

    fn begin_inbound(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), Refused> {
        let ip = ip_of(from);
        self.check_ip(ip)?;
        let place = self.counts.admit_inbound(Origin::of(ip))?;
        self.bookings.insert(id, Booking { place, peer: None });
        Ok(())
    }

    fn begin_outbound(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
    ) -> Result<(), Refused> {
        if let Some(peer) = peer {
            self.check_peer(peer)?;
        }
        let own = self.own.remove(&id);
        let harmless = |addr: &Multiaddr| is_for_others(addr, self.private);
        if self.guarded && !own && (addresses.len() > limits::PUNCH_ADDRS || !addresses.iter().all(harmless))
        {
            return Err(Refused::Address);
        }
        // A single good address is worth the dial: should it end at a banned one, that is refused when established.
        let mut to_banned = addresses.iter().map(|address| self.check_ip(ip_of(address)));
        if !addresses.is_empty() && to_banned.all(|checked| checked.is_err()) {
            return Err(Refused::BannedIp);
        }
        let place = self.counts.admit_outbound()?;
        self.bookings.insert(id, Booking { place, peer: None });
        Ok(())
    }

    fn may_establish(&mut self, id: ConnectionId, peer: PeerId, remote: &Multiaddr) -> Result<(), Refused> {
        self.check_peer(peer)?;
        self.check_ip(ip_of(remote))?;
        // At most 200 connections exist: counting them is cheaper than keeping one more map right.
        let with_peer = self.bookings.values().filter(|booking| booking.peer == Some(peer)).count();
        let limit = self.counts.limits().per_peer;
        if with_peer >= limit {
            return Err(Refused::PerPeer(limit));
        }
        match self.bookings.get(&id) {
            Some(booking) => self.counts.may_establish(booking.place),
            None => Ok(()),
        }
    }

    fn check_peer(&mut self, peer: PeerId) -> Result<(), Refused> {
        let banned = self.bans.visit(&Banned::Peer(peer), Instant::now());
        if banned { Err(Refused::BannedPeer) } else { Ok(()) }
    }

    fn check_ip(&mut self, ip: Option<IpAddr>) -> Result<(), Refused> {
        let banned = ip.is_some_and(|ip| self.bans.visit(&Banned::Ip(ip), Instant::now()));
        if banned { Err(Refused::BannedIp) } else { Ok(()) }
    }

    fn deny(&mut self, refused: Refused) -> ConnectionDenied {
        self.refused.count(refused);
        ConnectionDenied::new(refused)
    }

    fn established(&mut self, id: ConnectionId, peer: PeerId) {
        if let Some(booking) = self.bookings.get_mut(&id) {
            booking.place = self.counts.establish(booking.place);
            booking.peer = Some(peer);
        }
    }

    fn release(&mut self, id: ConnectionId) {
        if let Some(booking) = self.bookings.remove(&id) {
            self.counts.release(booking.place);
        }
    }
}

/// The address of the peer itself: none behind a relay, or when only a name is known.
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    if address.iter().any(|part| part == Protocol::P2pCircuit) {
        return None;
    }
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.begin_inbound(id, remote).map_err(|refused| self.deny(refused))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.may_establish(id, peer, remote).map_err(|refused| self.deny(refused))?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.begin_outbound(id, peer, addresses).map_err(|refused| self.deny(refused))?;
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.may_establish(id, peer, remote).map_err(|refused| self.deny(refused))?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, peer_id, .. }) => {
                self.established(connection_id, peer_id);
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.own.remove(&connection_id);
                self.release(connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => self.release(connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
