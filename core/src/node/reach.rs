//! How others reach this node: directly, where it is not behind address translation or its owner says how; else through
//! relays, whose only use is that two nodes agree through one when to dial each other, so that both routers let the other in
//! (libp2p's DCUtR). Decides; the actor listens and dials.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::discovery::{class_of, ip_of};
use super::event::Class;
use crate::limits;
use crate::options::Options;

/// A relay that let us go is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// Whether an address at which others reached us is gone with this one of ours: the same, or one that a router had passed on to
/// it, if there is none of its kind left.
pub(super) fn is_gone<'a>(
    addr: &Multiaddr,
    gone: IpAddr,
    listen: impl IntoIterator<Item = &'a Multiaddr>,
) -> bool {
    let like = |other: IpAddr| {
        other.is_ipv4() == gone.is_ipv4() && class_of(other) == class_of(gone) && other != gone
    };
    let passed_on = class_of(gone) != Class::Wan
        && ip_of(addr).is_some_and(|ip| ip.is_ipv4() == gone.is_ipv4())
        && !listen.into_iter().filter_map(ip_of).any(like);
    ip_of(addr) == Some(gone) || passed_on
}

/// A relay that a stranger named may let us go so often.
const NAMED_FAILS: u32 = 3;

/// A relay says within this where it sees us.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// A relay.
#[derive(Debug)]
struct Relay {
    address: Multiaddr,
    listener: Option<ListenerId>,
    /// Not before this.
    next: Instant,
    /// A stranger named it: it goes when it is none.
    named: bool,
    fails: u32,
    /// Its other addresses were tried, for what they tell of ours.
    looked: bool,
}

/// A relayed connection that is to become a direct one.
#[derive(Debug)]
pub(super) struct Punch {
    pub(super) peer: PeerId,
    pub(super) since: Instant,
    /// We came to the peer.
    pub(super) dialled: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reach {
    /// Where we are reached directly, as our owner says.
    external: Vec<Multiaddr>,
    /// The same, as our router says.
    mapped: Vec<Multiaddr>,
    /// The same, as others have tried.
    confirmed: Vec<Multiaddr>,
    /// Through relays.
    circuits: Vec<Multiaddr>,
    relays: BTreeMap<PeerId, Relay>,
    /// Where a tracker on the internet saw us last.
    seen: Option<IpAddr>,
    punching: BTreeMap<ConnectionId, Punch>,
    resident: bool,
    pub(super) allow_relayed: bool,
    /// Relays that have told where they see us, and since when there is one that should.
    told: u32,
    since: Option<Instant>,
    /// Direct ways found, and not found.
    pub(super) punched: (u64, u64),
}

impl Reach {
    /// Of a node that is told of these addresses of its own, and of these relays.
    pub(super) fn new(external: Vec<Multiaddr>, relays: Vec<Multiaddr>, options: &Options) -> Self {
        let mut new = Self {
            external,
            mapped: Vec::new(),
            confirmed: Vec::new(),
            circuits: Vec::new(),
            relays: BTreeMap::new(),
            seen: None,
            punching: BTreeMap::new(),
            resident: options.resident,
            allow_relayed: options.allow_relayed,
            told: 0,
            since: None,
            punched: (0, 0),
        };
        for address in relays {
            new.relay(address);
        }
        new
    }

    /// A relay that may be used, by its whole address. Returns who it is if it was not known.
    pub(super) fn relay(&mut self, address: Multiaddr) -> Option<PeerId> {
        self.add(address, false)
    }

    /// The same, as a stranger says.
    pub(super) fn named(&mut self, address: Multiaddr) -> Option<PeerId> {
        self.add(address, true)
    }

    fn add(&mut self, address: Multiaddr, named: bool) -> Option<PeerId> {
        let Some(Protocol::P2p(peer)) = address.iter().last() else { return None };
        if self.relays.contains_key(&peer) || self.relays.len() >= limits::TRACKERS {
            return None;
        }
        self.since.get_or_insert_with(Instant::now);
        self.relays.insert(
            peer,
            Relay { address, listener: None, next: Instant::now(), named, fails: 0, looked: false },
        );
        Some(peer)
    }

    /// Relays that are known.
    pub(super) fn relays(&self) -> impl Iterator<Item = PeerId> {
        self.relays.keys().copied()
    }

    /// A tracker saw us at this address.
    pub(super) fn seen(&mut self, ip: IpAddr) {
        if class_of(ip) == Class::Wan {
            self.seen = Some(ip);
        }
    }

    /// Nobody outside reaches us directly, as far as we know. Whoever was told of a relay, and of nothing else, takes it
    /// that he needs it.
    fn is_hidden(&self, listen: &[Multiaddr]) -> bool {
        if self.direct().next().is_some() {
            return false;
        }
        match self.seen {
            Some(seen) => !listen.iter().any(|addr| ip_of(addr) == Some(seen)),
            None => !listen.iter().filter_map(ip_of).any(|ip| class_of(ip) == Class::Wan),
        }
    }

    /// Where to let ourselves be reached through a relay from now on; [`Self::asked`] takes the listeners.
    pub(super) fn due(
        &mut self,
        wanting: bool,
        listen: &[Multiaddr],
        now: Instant,
    ) -> Vec<(PeerId, Multiaddr)> {
        if !(wanting || self.resident) || !self.is_hidden(listen) {
            return Vec::new();
        }
        let used = self.relays.values().filter(|relay| relay.listener.is_some()).count();
        let free = self.relays.iter_mut().filter(|(_, relay)| relay.listener.is_none() && now >= relay.next);
        let wanted = free.take(limits::RELAYS.saturating_sub(used));
        wanted
            .map(|(peer, relay)| {
                relay.next = now + ASK_AGAIN;
                (*peer, relay.address.clone().with(Protocol::P2pCircuit))
            })
            .collect()
    }

    /// A relay is asked to let us be reached.
    pub(super) fn asked(&mut self, peer: PeerId, listener: ListenerId) {
        if let Some(relay) = self.relays.get_mut(&peer) {
            relay.listener = Some(listener);
        }
    }

    /// We are reached through a relay. Of its addresses those count where it was found: others may mean somebody else.
    pub(super) fn reserved(&mut self, address: Multiaddr) {
        let found = self.relays.values().any(|relay| ip_of(&relay.address) == ip_of(&address));
        if found && self.circuits.len() < limits::PEER_ADDRS && !self.circuits.contains(&address) {
            self.circuits.push(address);
        }
    }

    /// Not any longer, at this address.
    pub(super) fn expired(&mut self, address: &Multiaddr) {
        self.circuits.retain(|known| known != address);
    }

    /// A relay lets us go, or has never let us in.
    pub(super) fn closed(&mut self, listener: ListenerId, now: Instant) {
        if let Some(relay) = self.relays.values_mut().find(|relay| relay.listener == Some(listener)) {
            relay.listener = None;
            relay.next = now + ASK_AGAIN;
            relay.fails += 1;
        }
        self.relays.retain(|_, relay| !relay.named || relay.fails < NAMED_FAILS);
    }

    /// We know where we are seen, or have waited long enough for it: without that a call through a relay leads to nothing,
    /// because the other end does not know whom to let in.
    pub(super) fn is_seen(&self, now: Instant) -> bool {
        self.told >= 2 || self.since.is_none_or(|since| now.duration_since(since) >= SEEN_WITHIN)
    }

    /// A relay tells where else it listens: at a QUIC address of the same host, which shows our own QUIC address from outside.
    pub(super) fn look(&mut self, peer: &PeerId, listens: &[Multiaddr]) -> Option<Multiaddr> {
        let relay = self.relays.get_mut(peer)?;
        self.told += 1;
        let quic = |addr: &Multiaddr| addr.iter().any(|part| part == Protocol::QuicV1);
        if std::mem::replace(&mut relay.looked, true) || quic(&relay.address) {
            self.told += 1;
            return None;
        }
        let ip = ip_of(&relay.address);
        listens.iter().find(|addr| quic(addr) && ip_of(addr) == ip).cloned()
    }

    /// Others have found that we are reached at this address.
    pub(super) fn confirmed(&mut self, address: Multiaddr) {
        if !self.confirmed.contains(&address) {
            self.confirmed.truncate(limits::PEER_ADDRS - 1);
            self.confirmed.insert(0, address);
        }
    }

    /// An address of ours is gone: what others have seen of it says nothing any longer.
    pub(super) fn moved(&mut self, gone: IpAddr, listen: &[Multiaddr]) {
        self.confirmed.retain(|addr| !is_gone(addr, gone, listen));
    }

    /// Not any longer.
    pub(super) fn refuted(&mut self, address: &Multiaddr) {
        self.confirmed.retain(|known| known != address);
    }

    /// Where we are reached from outside, besides where we listen: directly, then through relays.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.direct().chain(&self.circuits)
    }

    /// Where we are reached from outside, directly.
    pub(super) fn direct(&self) -> impl Iterator<Item = &Multiaddr> {
        let known = |addr: &&Multiaddr| !self.external.contains(addr) && !self.mapped.contains(addr);
        self.external.iter().chain(&self.mapped).chain(self.confirmed.iter().filter(known))
    }

    /// Our router lets others in at these addresses, and no others.
    pub(super) fn mapped(&mut self, addrs: Vec<Multiaddr>) {
        self.mapped = addrs;
    }

    /// Through relays.
    pub(super) fn circuits(&self) -> &[Multiaddr] {
        &self.circuits
    }

    /// Relays that we are reached through.
    fn used(&self) -> usize {
        self.relays.values().filter(|relay| relay.listener.is_some()).count()
    }

    /// A relayed connection is there.
    pub(super) fn begin(&mut self, connection: ConnectionId, peer: PeerId, dialled: bool, now: Instant) {
        self.punching.insert(connection, Punch { peer, since: now, dialled });
    }

    /// A direct connection with this peer is there: the relayed ones that it replaces.
    pub(super) fn succeeded(&mut self, peer: PeerId) -> Vec<ConnectionId> {
        let of_peer = self.punching.iter().filter(|(_, punch)| punch.peer == peer);
        let done: Vec<ConnectionId> = of_peer.map(|(id, _)| *id).collect();
        self.punching.retain(|id, _| !done.contains(id));
        self.punched.0 += u64::from(!done.is_empty());
        done
    }

    /// Relayed connections with which it took too long.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(ConnectionId, Punch)> {
        let late = |punch: &Punch| now.duration_since(punch.since) >= limits::PUNCH_WITHIN;
        let late: Vec<ConnectionId> =
            self.punching.iter().filter(|(_, punch)| late(punch)).map(|(id, _)| *id).collect();
        self.punched.1 += late.len() as u64;
        late.into_iter().filter_map(|id| Some((id, self.punching.remove(&id)?))).collect()
    }

    /// A relayed connection has ended.
    pub(super) fn ended(&mut self, connection: ConnectionId) -> Option<Punch> {
        let ended = self.punching.remove(&connection)?;
        self.punched.1 += 1;
        Some(ended)
    }

    /// For a person: through how many relays we are reached, or why none is needed.
    pub(super) fn state(&self, listen: &[Multiaddr]) -> String {
        let punched = match self.punched {
            (0, 0) => String::new(),
            (found, lost) => format!("; direct ways through routers: {found} found, {lost} not"),
        };
        let way = match (self.direct().next(), self.circuits.len()) {
            (Some(addr), _) => format!("directly, at {addr}"),
            (None, 0) if self.is_hidden(listen) => "not from outside, as far as is known".to_owned(),
            (None, 0) => "directly".to_owned(),
            (None, _) => format!("through {} of {} known relays", self.used(), self.relays.len()),
        };
        way + &punched
    }
}

/// An address that leads through a relay.
pub(super) fn is_relayed(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| part == Protocol::P2pCircuit)
}
