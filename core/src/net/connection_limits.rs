//! Limits on connections: how many there may be, from which addresses, and with which peers.
//!
//! Rules about the address alone apply before the handshake, so that a crowd of strangers costs an
//! accepted socket each and no cryptography. Rules about the peer's identity apply when the handshake is
//! over.
//!
//! Each slot is booked under its connection's id in the pending callback. Exactly one of the events that
//! libp2p-swarm reports to *every* behaviour, whichever refused, gives it back:
//!
//! - `ListenFailure`, for an inbound connection: the handshake failed, or a behaviour refused it before or
//!   after.
//! - `DialFailure`, for an outbound connection: the dial failed, had no address, reached the wrong peer, or a
//!   behaviour refused it.
//! - `ConnectionEstablished` and later `ConnectionClosed`, for every other connection.
//!
//! A failure is also reported for connections that were refused here or never offered (a dial that its own
//! condition forbade). Those have no booking, so the event gives nothing back.

pub(crate) mod counts;
#[cfg(test)]
pub(super) mod counts_tests;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address::{ConnectionOrigin, remote_ip};
use super::filter::dcutr::is_for_others;
use crate::limits;
use counts::{BanTable, ConnectionSlot, GateCounts};
pub(crate) use counts::{GateLimits, Refused, RefusedCounts};

/// A ban that was just decided, for [`ConnectionLimits::ban`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) peer: PeerId,
    /// IP address whose peers are all refused as well.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) until: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Banned {
    Peer(PeerId),
    Ip(IpAddr),
}

#[derive(Debug)]
struct Booking {
    place: ConnectionSlot,
    /// Peer at the other end, once the connection is established; counts for [`GateLimits::per_peer`].
    peer: Option<PeerId>,
}

/// Refuses connections beyond the limits, and connections with banned peers. The [module](self) explains the
/// booking.
///
/// Put it first in a derived behaviour: the others are then never asked about a connection that it refuses.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    counts: GateCounts,
    bans: BanTable<Banned>,
    bookings: HashMap<ConnectionId, Booking>,
    refused: RefusedCounts,
    /// True if addresses that peers name are only dialled when they lead to the internet or, with `private`,
    /// the network.
    guarded: bool,
    /// Dials that the node itself decided on. All other dials come from behaviours because a peer named the
    /// addresses.
    own: HashSet<ConnectionId>,
    /// True if addresses named by peers may lead into private networks.
    pub(crate) private: bool,
}

impl ConnectionLimits {
    /// Makes limits with no connections yet.
    pub(crate) fn new(limits: GateLimits) -> Self {
        ConnectionLimits {
            bans: BanTable::new(limits.bans),
            counts: GateCounts::new(limits),
            bookings: HashMap::new(),
            refused: RefusedCounts::default(),
            guarded: false,
            own: HashSet::new(),
            private: false,
        }
    }

    /// Refuses this peer, and its address if given, until the ban ends. Existing connections stay open.
    pub(crate) fn ban(&mut self, decided: &Decided) {
        self.bans.ban(Banned::Peer(decided.peer), decided.until);
        if let Some(ip) = decided.ip {
            self.bans.ban(Banned::Ip(ip.to_canonical()), decided.until);
        }
    }

    /// Returns these limits with the rule that a dial not announced by [`Self::decided`] must lead to the
    /// internet.
    pub(crate) fn guarded(self) -> Self {
        ConnectionLimits { guarded: true, ..self }
    }

    /// Announces a dial that the node itself decided on.
    pub(crate) fn decided(&mut self, id: ConnectionId) {
        self.own.insert(id);
    }

    #[cfg(test)]
    /// True if this peer is banned.
    pub(crate) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        self.bans.is_banned(&Banned::Peer(*peer), now)
    }

    /// Returns the number of refused connections by reason.
    pub(crate) fn refused(&self) -> &RefusedCounts {
        &self.refused
    }

    fn begin_inbound(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), Refused> {
        let ip = remote_ip(from);
        self.check_ip(ip)?;
        let place = self.counts.admit_inbound(ConnectionOrigin::of(ip))?;
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
        // One good address makes the dial worthwhile. If it ends at a banned address, it is refused when
        // established.
        let mut to_banned = addresses.iter().map(|address| self.check_ip(remote_ip(address)));
        if !addresses.is_empty() && to_banned.all(|checked| checked.is_err()) {
            return Err(Refused::BannedIp);
        }
        let place = self.counts.admit_outbound()?;
        self.bookings.insert(id, Booking { place, peer: None });
        Ok(())
    }

    fn may_establish(&mut self, id: ConnectionId, peer: PeerId, remote: &Multiaddr) -> Result<(), Refused> {
        self.check_peer(peer)?;
        self.check_ip(remote_ip(remote))?;
        // At most 200 connections exist: counting them is cheaper than maintaining one more map.
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

impl NetworkBehaviour for ConnectionLimits {
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
