//! Sessions: two long-lived substreams on one connection per peer, `/swarm/chunk/1/control` and `.../data`.
//!
//! The node owns a session's substreams from [`StreamEvent::Ready`] on; dropping both ends the session, and
//! the connection with it. Bulk bytes therefore never pass through the swarm's task.
//!
//! # One session per peer
//! Two nodes that find each other dial each other, often in the same millisecond. A peer whose network has
//! changed dials again while this end still believes in the old connection. Both ends must then keep the
//! *same* connection without negotiating about it, and must never each close the connection that the other
//! keeps. Three rules ensure that:
//!
//! 1. **Rank.** A direct connection ranks before a relayed one; then the connection whose dialler has the
//!    smaller [`PeerId`] goes first. Both ends know both facts, so both see the same order. Among connections
//!    of one rank, all dialled by the same peer, the dialler keeps its oldest and opens no session on a later
//!    one. The other end cannot know that order (handshakes overtake each other), and need not: it takes the
//!    connection on which a session was opened.
//! 2. **Proof.** A connection is only given up for a better one *whose session is established*: the other end
//!    has that connection and accepts it. The end that accepts a session has this proof, because the other
//!    end has opened it. The end that opens a session waits for the answer of the other end, unless there is
//!    no other connection with this peer (see below). Then whichever end notices first may close the worse
//!    connection.
//! 3. **The dialler decides against its own.** A session that completes while a better one is established is
//!    closed by the end that dialled it, and only by that end. The other end parks the session. Normally the
//!    dialler is about to close it. If the dialler does not within [`GRACE`], it no longer has the better
//!    connection (its side of that connection died, and the news has not come through); otherwise it would
//!    not have kept this one. The parked session then replaces the better one.
//!
//! # Lazy sessions
//! Waiting for the answer costs a round trip. When the first connection with a peer comes up at the end that
//! dialled it, there is nothing to give up, and that end opens the session lazily: it treats the session as
//! ready at once, before the other end has it. A lazy session proves nothing, and nothing is given up for it:
//!
//! - A later connection that this end dialled has no session to lose: by rule 1 none is opened on it, or it
//!   ranks before the lazy one and waits for its own proof.
//! - A later connection that the other end dialled is parked if it ranks behind. The other end closes it when
//!   it has the lazy session. If the other end refuses the lazy session or has lost its connection, the
//!   parked session takes over as by rule 3. If the later connection ranks before, its session is proof, and
//!   the lazy one is closed.
//! - A lazy session that has not begun to serve when another one does is closed. The other end does not
//!   notice, because nothing of a session is sent until it serves.
//!
//! So at the end that dialled, [`StreamEvent::Ready`] does not mean that the peer speaks with us; the peer's
//! first message does.
//!
//! # Why this converges
//! By rule 2 both ends could close both connections only if each saw the session of the other's favourite and
//! not of its own, which the common order forbids. By rule 3 a dead connection that outranks all others
//! delays its successor by `GRACE` at most. One case remains: a node that is frozen for longer than that in
//! the midst of a simultaneous dial. There both connections may go, both ends report [`StreamEvent::Closed`],
//! and the node redials.

mod event;
pub(crate) mod handler;
pub(crate) mod rivals;

#[cfg(test)]
mod rivals_tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{AddressChange, ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionError, ConnectionId, FromSwarm, NetworkBehaviour,
    THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits;
pub(crate) use event::StreamEvent;
use handler::{ConnectionRole, HandlerEvent, StreamHandler};
use rivals::{ClosedPart, Rank, Rivals, Verdict};

/// Time that a session waits for its dialler to close it in favour of a better one. It is many round trips,
/// and far less than a person waits after changing networks.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Bounds of [`Streams`].
#[derive(Clone, Debug)]
pub(crate) struct StreamLimits {
    /// Time from a connection to its session.
    pub(crate) timeout: Duration,
    /// Time that a parked session waits, normally [`GRACE`].
    pub(crate) grace: Duration,
    /// Refused substreams after which their connection is closed.
    pub(crate) extra: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits { timeout: limits::STREAM_TIMEOUT, grace: GRACE, extra: limits::EXTRA_STREAMS }
    }
}

struct StreamPair {
    control: Stream,
    data: Stream,
}

/// True at the end that dialled a connection, as both ends see it. Two peers that dial each other at once
/// over TCP get one connection, and agreed beforehand which of them listens. QUIC gives one connection for
/// each dial.
pub(crate) fn is_caller(endpoint: &ConnectedPoint) -> bool {
    match endpoint {
        ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. } => true,
        ConnectedPoint::Dialer { address, .. } => address.iter().any(|part| part == Protocol::QuicV1),
        ConnectedPoint::Listener { .. } => false,
    }
}

struct PeerConnection {
    peer: PeerId,
    endpoint: ConnectedPoint,
    refused: usize,
}

/// Opens and accepts sessions; the [module](self) explains the rules.
pub(crate) struct Streams {
    local: PeerId,
    limits: StreamLimits,
    /// True if sessions may run through relays.
    relayed: bool,
    /// Peers with which no session is begun.
    others: HashSet<PeerId>,
    /// True if connections without a session may serve another purpose, so that other behaviours decide how
    /// long they live.
    shared: bool,
    /// Peers with whom connections may serve another purpose beside a session.
    beside: HashSet<PeerId>,
    /// Connections that are dialled for further data streams; they compete with no other.
    further: HashSet<ConnectionId>,
    peers: HashMap<PeerId, Rivals<StreamPair>>,
    connections: HashMap<ConnectionId, PeerConnection>,
    /// Parked sessions and the ends of their grace, the earliest first.
    parked: VecDeque<(Instant, PeerId, ConnectionId)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Events for the swarm: a handful per connection at most, since the swarm empties the queue before it
    /// looks at connections again.
    queue: VecDeque<ToSwarm<StreamEvent, Infallible>>,
    refused: u64,
    waker: Option<Waker>,
}

impl Streams {
    /// Makes a behaviour without sessions; `relayed` tells whether sessions may run through relays.
    pub(crate) fn new(local: PeerId, relayed: bool) -> Self {
        Self { relayed, ..Self::with_limits(local, StreamLimits::default()) }
    }

    /// Excludes a peer from sessions, because connections with it serve another purpose.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        self.others.insert(peer);
    }

    /// Leaves connections on which no session comes about to the other behaviours: each closes with the last
    /// use of it. A relay keeps the connections of its reservations in this way.
    #[must_use]
    pub(crate) fn sharing(self) -> Self {
        Self { shared: true, ..self }
    }

    /// Leaves connections with this peer on which no session comes about to the other behaviours.
    pub(crate) fn share(&mut self, peer: PeerId) {
        self.beside.insert(peer);
    }

    /// Announces that this connection is dialled for a further data stream of the session with its peer.
    pub(crate) fn widen(&mut self, connection: ConnectionId) {
        self.further.insert(connection);
    }

    /// Makes a behaviour with these bounds, whose sessions never run through relays.
    pub(crate) fn with_limits(local: PeerId, limits: StreamLimits) -> Self {
        Streams {
            local,
            limits,
            relayed: false,
            others: HashSet::new(),
            shared: false,
            beside: HashSet::new(),
            further: HashSet::new(),
            peers: HashMap::new(),
            connections: HashMap::new(),
            parked: VecDeque::new(),
            timer: None,
            queue: VecDeque::new(),
            refused: 0,
            waker: None,
        }
    }

    /// Closes a connection. The end of its session is reported now, without an error, although the connection
    /// may linger until a peer that has vanished is noticed to be gone.
    pub(crate) fn close(&mut self, peer: PeerId, connection: ConnectionId) {
        self.finish(peer, connection, None);
        self.disconnect(peer, connection);
    }

    /// Returns the number of refused substreams, on all connections so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    fn rank(&self, peer: PeerId, endpoint: &ConnectedPoint) -> (Rank, bool) {
        let ours = is_caller(endpoint);
        let dialler = if ours { self.local } else { peer };
        (Rank { relayed: endpoint.is_relayed(), dialler }, ours)
    }

    /// True if no session runs on a connection with this peer and rank.
    fn is_for_other(&self, peer: PeerId, rank: Rank) -> bool {
        (rank.relayed && !self.relayed) || self.others.contains(&peer)
    }

    /// True if a session on a new connection is begun lazily: we dialled, and there is no other connection
    /// with this peer, not even one for another purpose.
    fn is_lazy(&self, peer: PeerId, ours: bool) -> bool {
        ours && !self.connections.values().any(|other| other.peer == peer)
    }

    fn handler(&self, id: ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) -> StreamHandler {
        if self.further.contains(&id) {
            return StreamHandler::new(ConnectionRole::Widen, self.limits.timeout);
        }
        let (rank, ours) = self.rank(peer, endpoint);
        let duplicate = ours && self.peers.get(&peer).is_some_and(|rivals| rivals.outrank(rank));
        let for_other = self.is_for_other(peer, rank);
        let role = match (ours, duplicate || for_other) {
            (_, true) if for_other => ConnectionRole::Refuse,
            (true, true) => ConnectionRole::Refuse,
            (true, false) => ConnectionRole::Open { lazy: self.is_lazy(peer, ours) },
            (false, _) => ConnectionRole::Accept,
        };
        StreamHandler::new(role, self.limits.timeout)
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        let (peer, id) = (event.peer_id, event.connection_id);
        let (rank, ours) = self.rank(peer, event.endpoint);
        // The answer is the same as when the handler was made: nothing happens in between.
        let lazy = self.is_lazy(peer, ours);
        self.connections.insert(id, PeerConnection { peer, endpoint: event.endpoint.clone(), refused: 0 });
        if self.is_for_other(peer, rank) || self.further.contains(&id) {
            return;
        }
        let rivals = self.peers.entry(peer).or_default();
        let kept = rivals.add(id, rank, ours);
        if lazy {
            rivals.begun_lazily(id);
        }
        if !kept {
            self.disconnect(peer, id);
        }
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        let (peer, id) = (event.peer_id, event.connection_id);
        // Only our own keep-alive times out, after the node has dropped the substreams.
        let ours = |cause: &&ConnectionError| matches!(cause, ConnectionError::KeepAliveTimeout);
        let reason = event.cause.filter(|cause| !ours(cause)).map(ToString::to_string);
        self.finish(peer, id, reason);
        self.connections.remove(&id);
        self.further.remove(&id);
        self.forget(peer, id);
    }

    /// Removes a connection from the competition for the session.
    fn forget(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(rivals) = self.peers.get_mut(&peer) {
            rivals.forget(id);
            if rivals.is_empty() {
                self.peers.remove(&peer);
            }
        }
    }

    /// Handles a further data stream, which the other end has opened instead of a session, or of which it
    /// accepted ours.
    fn on_further(&mut self, peer: PeerId, connection: ConnectionId, data: Stream) {
        let verdicts = self.peers.get_mut(&peer).map(|rivals| rivals.end(connection).1);
        self.apply(peer, verdicts.unwrap_or_default());
        self.forget(peer, connection);
        self.emit(StreamEvent::Further { peer, connection, data });
    }

    fn on_refused(&mut self, peer: PeerId, id: ConnectionId, count: usize) {
        self.refused += count as u64;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let before = connection.refused;
        connection.refused += count;
        if before < self.limits.extra && connection.refused >= self.limits.extra {
            let reason = format!("{} substreams beyond the two of a session", connection.refused);
            self.finish(peer, id, Some(reason));
            self.disconnect(peer, id);
        }
    }

    /// Reports the end of the session that a connection carried, and lets the next connection take its place.
    fn finish(&mut self, peer: PeerId, connection: ConnectionId, reason: Option<String>) {
        let Some(rivals) = self.peers.get_mut(&peer) else { return };
        let (end, verdicts) = rivals.end(connection);
        self.unpark(connection);
        match end {
            ClosedPart::OfSession => {
                self.emit(StreamEvent::Closed { peer, connection, error: reason, replaced: false });
            }
            ClosedPart::OfHope => {
                let reason = reason.unwrap_or_else(|| "closed before there was a session".to_owned());
                self.emit(StreamEvent::Failed { peer, connection, reason });
            }
            ClosedPart::Unnoticed => {}
        }
        self.apply(peer, verdicts);
    }

    fn apply(&mut self, peer: PeerId, verdicts: Vec<Verdict<StreamPair>>) {
        for verdict in verdicts {
            match verdict {
                Verdict::Announce(connection, StreamPair { control, data }) => {
                    self.unpark(connection);
                    let Some(PeerConnection { endpoint, .. }) = self.connections.get(&connection) else {
                        continue;
                    };
                    let endpoint = endpoint.clone();
                    self.emit(StreamEvent::Ready { peer, connection, endpoint, control, data });
                }
                Verdict::Close { connection, announced } => {
                    self.unpark(connection);
                    if announced {
                        let error = Some("another connection with the same peer took its place".to_owned());
                        self.emit(StreamEvent::Closed { peer, connection, error, replaced: true });
                    }
                    self.disconnect(peer, connection);
                }
                Verdict::Park(connection) => {
                    self.unpark(connection);
                    self.parked.push_back((Instant::now() + self.limits.grace, peer, connection));
                }
            }
        }
    }

    fn unpark(&mut self, connection: ConnectionId) {
        self.parked.retain(|(_, _, parked)| *parked != connection);
    }

    fn emit(&mut self, event: StreamEvent) {
        self.push(ToSwarm::GenerateEvent(event));
    }

    fn disconnect(&mut self, peer_id: PeerId, connection: ConnectionId) {
        self.push(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
    }

    fn push(&mut self, event: ToSwarm<StreamEvent, Infallible>) {
        self.queue.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends the grace of the first parked session, if it is over.
    fn poll_parked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(&(until, peer, connection)) = self.parked.front() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.parked.pop_front();
        let verdicts = self.peers.get_mut(&peer).map(|rivals| rivals.grace_over(connection));
        self.apply(peer, verdicts.unwrap_or_default());
        Poll::Ready(())
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<StreamHandler, ConnectionDenied> {
        let endpoint = ConnectedPoint::Listener { local_addr: local.clone(), send_back_addr: remote.clone() };
        Ok(self.handler(id, peer, &endpoint))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<StreamHandler, ConnectionDenied> {
        let endpoint = ConnectedPoint::Dialer { address: address.clone(), role_override, port_use };
        Ok(self.handler(id, peer, &endpoint))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            FromSwarm::AddressChange(AddressChange { connection_id, new, .. }) => {
                if let Some(connection) = self.connections.get_mut(&connection_id) {
                    connection.endpoint = new.clone();
                }
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.further.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, report: HandlerEvent) {
        match report {
            HandlerEvent::Ready { control, data } => {
                let rivals = self.peers.get_mut(&peer);
                let verdicts = rivals.map(|rivals| rivals.complete(id, StreamPair { control, data }));
                self.apply(peer, verdicts.unwrap_or_default());
            }
            HandlerEvent::Further(data) => self.on_further(peer, id, data),
            HandlerEvent::Failed(reason) => {
                self.finish(peer, id, Some(reason));
                if !self.shared && !self.beside.contains(&peer) {
                    self.disconnect(peer, id);
                }
            }
            HandlerEvent::Refused(count) => self.on_refused(peer, id, count),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<StreamEvent, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Poll::Ready(event);
            }
            if self.poll_parked(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}
