//! The choice between the connections with one peer: which of them carries the session, and which are closed. The
//! rules, and why both ends come to the same choice, are the text of [`stream`](super::stream).

use std::mem;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

/// A connection's place in the order that both ends agree on; the smallest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// True when it runs through a relay.
    pub(crate) relayed: bool,
    /// The peer that dialled it.
    pub(crate) dialler: PeerId,
}

/// A verdict on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<S> {
    /// Its session serves from now on.
    Announce(ConnectionId, S),
    /// Close it; `announced` tells whether its session had served until now.
    Close { connection: ConnectionId, announced: bool },
    /// Ask again with [`Rivals::grace_over`] when the grace that begins now is over.
    Park(ConnectionId),
}

/// The thing that ends with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A session that served.
    OfSession,
    /// The last chance of one.
    OfHope,
    /// Nothing that anybody waits for.
    Unnoticed,
}

enum State<S> {
    Opening,
    Parked(S),
    Serving,
    Closing,
}

struct Link<S> {
    id: ConnectionId,
    rank: Rank,
    ours: bool,
    /// The other end may not have its session.
    lazy: bool,
    state: State<S>,
}

impl<S> Link<S> {
    fn is_live(&self) -> bool {
        !matches!(self.state, State::Closing)
    }

    fn serves(&self) -> bool {
        matches!(self.state, State::Serving)
    }

    /// Tells whether nothing of its session has been sent, although it is open at this end or is about to be.
    fn is_unsent(&self) -> bool {
        self.lazy && matches!(self.state, State::Opening | State::Parked(_))
    }
}

/// The connections with one peer and which of them carries the session: the rules of [`stream`](super::stream), with
/// any `S` for the substreams and without a clock.
pub(crate) struct Rivals<S> {
    /// The best first; of one rank the oldest first.
    links: Vec<Link<S>>,
}

impl<S> Default for Rivals<S> {
    fn default() -> Self {
        Rivals { links: Vec::new() }
    }
}

impl<S> Rivals<S> {
    /// True when a new connection of ours with this rank would be of no use.
    pub(crate) fn outrank(&self, rank: Rank) -> bool {
        let useless = |link: &Link<S>| link.rank <= rank && (link.serves() || (link.ours && link.is_live()));
        self.links.iter().any(useless)
    }

    /// Takes a new connection in. False if it is to be closed at once, with no session opened on it.
    pub(crate) fn add(&mut self, id: ConnectionId, rank: Rank, ours: bool) -> bool {
        let kept = !(ours && self.outrank(rank));
        let state = if kept { State::Opening } else { State::Closing };
        self.links.push(Link { id, rank, ours, lazy: false, state });
        self.links.sort_by_key(|link| link.rank);
        kept
    }

    /// The session on this new connection of ours, the only one with this peer, is begun lazily.
    pub(crate) fn begun_lazily(&mut self, id: ConnectionId) {
        if let Some(at) = self.find(id) {
            self.links[at].lazy = true;
        }
    }

    /// Both substreams of a connection are there.
    pub(crate) fn complete(&mut self, id: ConnectionId, session: S) -> Vec<Verdict<S>> {
        let Some(at) = self.find(id) else { return Vec::new() };
        if !matches!(self.links[at].state, State::Opening) {
            return Vec::new();
        }
        self.links[at].state = State::Parked(session);
        let mut verdicts = Vec::new();
        self.settle(&mut verdicts);
        verdicts
    }

    /// The grace of a parked session is over: it serves, whatever ranks before it.
    pub(crate) fn grace_over(&mut self, id: ConnectionId) -> Vec<Verdict<S>> {
        let mut verdicts = Vec::new();
        if let Some(at) = self.find(id) {
            self.announce(at, &mut verdicts);
        }
        verdicts
    }

    /// A connection is closed, or is about to be: what ends with it, and what takes its place.
    pub(crate) fn end(&mut self, id: ConnectionId) -> (End, Vec<Verdict<S>>) {
        let mut verdicts = Vec::new();
        let Some(at) = self.find(id) else { return (End::Unnoticed, verdicts) };
        let before = mem::replace(&mut self.links[at].state, State::Closing);
        let alone = !self.links.iter().any(Link::is_live);
        let end = match before {
            State::Serving => End::OfSession,
            State::Opening | State::Parked(_) if alone => End::OfHope,
            State::Opening | State::Parked(_) | State::Closing => End::Unnoticed,
        };
        self.settle(&mut verdicts);
        (end, verdicts)
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.links.retain(|link| link.id != id);
    }

    /// True when there are no connections with this peer.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        self.links.iter().position(|link| link.id == id)
    }

    /// Applies rules 2 and 3, best connection first: what is announced on the way decides about those after it.
    fn settle(&mut self, verdicts: &mut Vec<Verdict<S>>) {
        for at in 0..self.links.len() {
            let Link { id, rank, ours, .. } = self.links[at];
            let better = || self.links.iter().filter(|link| link.rank < rank);
            let (served, contested) = (better().any(Link::serves), better().any(Link::is_live));
            match self.links[at].state {
                State::Opening | State::Parked(_) if ours && served => self.discard(at, verdicts),
                State::Parked(_) if contested => verdicts.push(Verdict::Park(id)),
                State::Parked(_) => self.announce(at, verdicts),
                State::Opening | State::Serving | State::Closing => {}
            }
        }
    }

    fn announce(&mut self, at: usize, verdicts: &mut Vec<Verdict<S>>) {
        if !matches!(self.links[at].state, State::Parked(_)) {
            return;
        }
        for other in 0..self.links.len() {
            let link = &self.links[other];
            if other != at && (link.serves() || link.is_unsent()) {
                self.discard(other, verdicts);
            }
        }
        let link = &mut self.links[at];
        if let State::Parked(session) = mem::replace(&mut link.state, State::Serving) {
            verdicts.push(Verdict::Announce(link.id, session));
        }
    }

    fn discard(&mut self, at: usize, verdicts: &mut Vec<Verdict<S>>) {
        let link = &mut self.links[at];
        let announced = matches!(mem::replace(&mut link.state, State::Closing), State::Serving);
        verdicts.push(Verdict::Close { connection: link.id, announced });
    }
}
