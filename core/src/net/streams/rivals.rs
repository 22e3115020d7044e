//! Choice between the connections with one peer: which one carries the session, and which are closed. The
//! module [`streams`](super::super::streams) states the rules and why both ends come to the same choice. This
//! is the pure part, without substreams and without a clock.

use std::mem;

use libp2p::PeerId;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;

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

/// Rank of a connection in the order that both ends agree on; the smallest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// True if the connection runs through a relay.
    pub(crate) relayed: bool,
    /// Peer that dialled the connection.
    pub(crate) dialler: PeerId,
}

/// Decision about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<S> {
    /// The session of this connection serves from now on.
    Announce(ConnectionId, S),
    /// The connection is to be closed; `announced` tells whether its session had served until now.
    Close { connection: ConnectionId, announced: bool },
    /// The session waits: call [`Rivals::grace_over`] when the grace that begins now is over.
    Park(ConnectionId),
}

/// Loss that the end of a connection causes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClosedPart {
    /// A session that served.
    OfSession,
    /// The last chance of a session.
    OfHope,
    /// Nothing that anybody waits for.
    Unnoticed,
}

enum LinkState<S> {
    Opening,
    Parked(S),
    Serving,
    Closing,
}

struct RivalLink<S> {
    id: ConnectionId,
    rank: Rank,
    ours: bool,
    /// True if the other end may not have the session.
    lazy: bool,
    state: LinkState<S>,
}

impl<S> RivalLink<S> {
    fn is_live(&self) -> bool {
        !matches!(self.state, LinkState::Closing)
    }

    fn serves(&self) -> bool {
        matches!(self.state, LinkState::Serving)
    }

    /// True if nothing of the session has been sent, although it is open at this end or about to be.
    fn is_unsent(&self) -> bool {
        self.lazy && matches!(self.state, LinkState::Opening | LinkState::Parked(_))
    }
}

/// The connections with one peer, and the choice of the session's connection by the rules of
/// [`streams`](super::super::streams). `S` stands for the substreams.
pub(crate) struct Rivals<S> {
    /// Connections, the best first; of one rank the oldest first.
    links: Vec<RivalLink<S>>,
}

impl<S> Default for Rivals<S> {
    fn default() -> Self {
        Rivals { links: Vec::new() }
    }
}

impl<S> Rivals<S> {
    /// True if a new connection of ours with this rank would be of no use.
    pub(crate) fn outrank(&self, rank: Rank) -> bool {
        let useless =
            |link: &RivalLink<S>| link.rank <= rank && (link.serves() || (link.ours && link.is_live()));
        self.links.iter().any(useless)
    }

    /// Adds a new connection. False if it is to be closed at once, without a session.
    pub(crate) fn add(&mut self, id: ConnectionId, rank: Rank, ours: bool) -> bool {
        let kept = !(ours && self.outrank(rank));
        let state = if kept { LinkState::Opening } else { LinkState::Closing };
        self.links.push(RivalLink { id, rank, ours, lazy: false, state });
        self.links.sort_by_key(|link| link.rank);
        kept
    }

    /// Marks the session on this new connection of ours as lazy; it must be the only connection with this
    /// peer.
    pub(crate) fn begun_lazily(&mut self, id: ConnectionId) {
        if let Some(at) = self.find(id) {
            self.links[at].lazy = true;
        }
    }

    /// Takes both substreams of a connection; returns the decisions that follow.
    pub(crate) fn complete(&mut self, id: ConnectionId, session: S) -> Vec<Verdict<S>> {
        let Some(at) = self.find(id) else { return Vec::new() };
        if !matches!(self.links[at].state, LinkState::Opening) {
            return Vec::new();
        }
        self.links[at].state = LinkState::Parked(session);
        let mut verdicts = Vec::new();
        self.settle(&mut verdicts);
        verdicts
    }

    /// Ends the grace of a parked session: it serves, whatever ranks before it.
    pub(crate) fn grace_over(&mut self, id: ConnectionId) -> Vec<Verdict<S>> {
        let mut verdicts = Vec::new();
        if let Some(at) = self.find(id) {
            self.announce(at, &mut verdicts);
        }
        verdicts
    }

    /// Ends a connection that is closed or about to be. Returns what ends with it, and the decisions about
    /// its successors.
    pub(crate) fn end(&mut self, id: ConnectionId) -> (ClosedPart, Vec<Verdict<S>>) {
        let mut verdicts = Vec::new();
        let Some(at) = self.find(id) else { return (ClosedPart::Unnoticed, verdicts) };
        let before = mem::replace(&mut self.links[at].state, LinkState::Closing);
        let alone = !self.links.iter().any(RivalLink::is_live);
        let end = match before {
            LinkState::Serving => ClosedPart::OfSession,
            LinkState::Opening | LinkState::Parked(_) if alone => ClosedPart::OfHope,
            LinkState::Opening | LinkState::Parked(_) | LinkState::Closing => ClosedPart::Unnoticed,
        };
        self.settle(&mut verdicts);
        (end, verdicts)
    }

    /// Removes a connection that is gone.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.links.retain(|link| link.id != id);
    }

    /// True if there are no connections with this peer.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        self.links.iter().position(|link| link.id == id)
    }

    /// Applies rules 2 and 3, the best connection first: an announcement on the way decides about the
    /// connections after it.
    fn settle(&mut self, verdicts: &mut Vec<Verdict<S>>) {
        for at in 0..self.links.len() {
            let RivalLink { id, rank, ours, .. } = self.links[at];
            let better = || self.links.iter().filter(|link| link.rank < rank);
            let (served, contested) = (better().any(RivalLink::serves), better().any(RivalLink::is_live));
            match self.links[at].state {
                LinkState::Opening | LinkState::Parked(_) if ours && served => self.discard(at, verdicts),
                LinkState::Parked(_) if contested => verdicts.push(Verdict::Park(id)),
                LinkState::Parked(_) => self.announce(at, verdicts),
                LinkState::Opening | LinkState::Serving | LinkState::Closing => {}
            }
        }
    }

    fn announce(&mut self, at: usize, verdicts: &mut Vec<Verdict<S>>) {
        if !matches!(self.links[at].state, LinkState::Parked(_)) {
            return;
        }
        for other in 0..self.links.len() {
            let link = &self.links[other];
            if other != at && (link.serves() || link.is_unsent()) {
                self.discard(other, verdicts);
            }
        }
        let link = &mut self.links[at];
        if let LinkState::Parked(session) = mem::replace(&mut link.state, LinkState::Serving) {
            verdicts.push(Verdict::Announce(link.id, session));
        }
    }

    fn discard(&mut self, at: usize, verdicts: &mut Vec<Verdict<S>>) {
        let link = &mut self.links[at];
        let announced = matches!(mem::replace(&mut link.state, LinkState::Closing), LinkState::Serving);
        verdicts.push(Verdict::Close { connection: link.id, announced });
    }
}
