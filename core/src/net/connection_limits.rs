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

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address::{ConnectionOrigin, remote_ip, subnet};
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
    /// True once the connection has carried a session.
    session: bool,
    /// Last time that the peer has given or taken something; at first, the start of the connection.
    used: Instant,
    /// True if the peer has ever given or taken something.
    useful: bool,
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
    /// Connections that give way to others, until they are closed.
    leaving: HashSet<ConnectionId>,
    /// Those of them of which the swarm has not been told.
    to_close: VecDeque<(PeerId, ConnectionId)>,
    waker: Option<Waker>,
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
            leaving: HashSet::new(),
            to_close: VecDeque::new(),
            waker: None,
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

    /// Records that a connection carries a session.
    pub(crate) fn carries_session(&mut self, id: ConnectionId) {
        if let Some(booking) = self.bookings.get_mut(&id) {
            booking.session = true;
        }
    }

    /// Records that a peer has given or taken something.
    pub(crate) fn used(&mut self, peer: PeerId, now: Instant) {
        for booking in self.bookings.values_mut().filter(|booking| booking.peer == Some(peer)) {
            (booking.used, booking.useful) = (now, true);
        }
    }

    /// Returns the inbound connection that gives way to another one: the one whose peer has neither given nor
    /// taken something for longest, of the neighbourhood (/24 or /64) with the most connections that are as
    /// idle. Sessions go before connections that serve another purpose, such as reservations at a relay.
    fn idlest(&self, now: Instant) -> Option<ConnectionId> {
        let idle_for = self.counts.limits().idle.filter(|_| self.leaving.len() < limits::GIVING_WAY)?;
        let neighbourhood = |booking: &Booking| match booking.place {
            ConnectionSlot::Inbound(origin) => Some(origin.host().map(subnet)),
            _ => None,
        };
        let is_idle = |booking: &Booking| {
            let patience = if booking.useful { idle_for } else { idle_for / 3 };
            now.saturating_duration_since(booking.used) >= patience
        };
        let idle: Vec<_> = self
            .bookings
            .iter()
            .filter(|(_, booking)| is_idle(booking))
            .filter_map(|(id, booking)| Some((*id, booking, neighbourhood(booking)?)))
            .collect();
        let mut crowds: HashMap<Option<IpAddr>, usize> = HashMap::new();
        idle.iter().for_each(|(.., from)| *crowds.entry(*from).or_default() += 1);
        let crowd = |from: &Option<IpAddr>| crowds.get(from).copied().unwrap_or(0);
        let rank = |(_, booking, from): &&(ConnectionId, &Booking, Option<IpAddr>)| {
            (booking.session, crowd(from), Reverse(booking.used))
        };
        idle.iter().max_by_key(rank).map(|(id, ..)| *id)
    }

    /// Has the idlest connection give way.
    fn give_way(&mut self, now: Instant) -> bool {
        let Some(id) = self.idlest(now) else { return false };
        let Some(Booking { place, peer: Some(peer), .. }) = self.bookings.remove(&id) else { return false };
        self.counts.release(place);
        self.refused.gave_way += 1;
        self.leaving.insert(id);
        self.to_close.push_back((peer, id));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
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
        let (origin, now) = (ConnectionOrigin::of(ip), Instant::now());
        let place = match self.counts.admit_inbound(origin, false) {
            // Nobody gives way before the handshake: that would cost a stranger nothing.
            Err(refused) if refused.is_of_all() && self.idlest(now).is_some() => {
                self.counts.admit_inbound(origin, true)?
            }
            place => place?,
        };
        self.bookings.insert(id, Booking { place, peer: None, session: false, used: now, useful: false });
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
        let used = Instant::now();
        self.bookings.insert(id, Booking { place, peer: None, session: false, used, useful: false });
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
        let Some(place) = self.bookings.get(&id).map(|booking| booking.place) else { return Ok(()) };
        loop {
            match self.counts.may_establish(place) {
                Err(refused) if refused.is_of_all() && self.give_way(Instant::now()) => {}
                done => return done,
            }
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
            booking.used = Instant::now();
        }
    }

    fn release(&mut self, id: ConnectionId) {
        self.leaving.remove(&id);
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

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        if let Some((peer_id, id)) = self.to_close.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
