//! How others reach this node: directly, if it is not behind address translation or its owner names an
//! address; otherwise through relays. A relay only lets two nodes agree when to dial each other, so that both
//! routers let the other in (libp2p's DCUtR), unless relayed content is allowed. This module decides; the
//! actor listens and dials.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::distance::Distance;
use crate::limits;
use crate::net::address::{class_of, ip_of};
use crate::options::Options;

/// Pause before a relay that dropped us is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// True if an address at which others reached us is lost with our address `gone`: it is the same, or a router
/// forwarded it to `gone` and no address of that kind is left.
pub(super) fn is_gone<'a>(
    addr: &Multiaddr,
    gone: IpAddr,
    listen: impl IntoIterator<Item = &'a Multiaddr>,
) -> bool {
    let like = |other: IpAddr| {
        other.is_ipv4() == gone.is_ipv4() && class_of(other) == class_of(gone) && other != gone
    };
    let passed_on = class_of(gone) != Distance::Wan
        && ip_of(addr).is_some_and(|ip| ip.is_ipv4() == gone.is_ipv4())
        && !listen.into_iter().filter_map(ip_of).any(like);
    ip_of(addr) == Some(gone) || passed_on
}

/// Failures after which a relay that a stranger named is dropped.
const NAMED_FAILS: u32 = 3;

/// Time within which a relay tells us at which address it sees us.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// A relay and its use.
#[derive(Debug)]
struct Relay {
    address: Multiaddr,
    listener: Option<ListenerId>,
    /// Earliest time of the next request.
    next: Instant,
    /// True if a stranger named the relay, which is then dropped if it is not one.
    named: bool,
    fails: u32,
    /// True if its other addresses were tried, to learn our own address by QUIC.
    looked: bool,
}

/// A relayed connection that waits to be replaced by a direct one.
#[derive(Debug)]
pub(crate) struct PendingUpgrade {
    pub(crate) peer: PeerId,
    pub(crate) since: Instant,
    /// True if we dialled the peer.
    pub(crate) dialled: bool,
}

/// Addresses at which others reach this node, its relays, and its hole punching.
#[derive(Debug)]
pub(crate) struct Reachability {
    /// Addresses for direct connections, named by our owner.
    external: Vec<Multiaddr>,
    /// Addresses for direct connections, mapped by our router.
    mapped: Vec<Multiaddr>,
    /// Addresses for direct connections, confirmed by other nodes.
    confirmed: Vec<Multiaddr>,
    /// Addresses through relays.
    circuits: Vec<Multiaddr>,
    relays: BTreeMap<PeerId, Relay>,
    /// IP address at which a tracker on the internet saw us last.
    seen: Option<IpAddr>,
    punching: BTreeMap<ConnectionId, PendingUpgrade>,
    resident: bool,
    pub(crate) allow_relayed: bool,
    /// Reports from relays about where they see us, and the time since which a relay should have reported.
    told: u32,
    since: Option<Instant>,
    /// Hole punches that succeeded, and that failed.
    pub(super) punched: (u64, u64),
}

impl Reachability {
    /// Makes the state of a node with these external addresses and these relays.
    pub(crate) fn new(external: Vec<Multiaddr>, relays: Vec<Multiaddr>, options: &Options) -> Self {
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

    /// Adds a relay by its address with peer id. Returns the peer id if the relay is new.
    pub(crate) fn relay(&mut self, address: Multiaddr) -> Option<PeerId> {
        self.add(address, false)
    }

    /// Adds a relay that a stranger named. Returns the peer id if the relay is new.
    pub(crate) fn named(&mut self, address: Multiaddr) -> Option<PeerId> {
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

    /// Returns the known relays.
    pub(crate) fn relays(&self) -> impl Iterator<Item = PeerId> {
        self.relays.keys().copied()
    }

    /// Records the address at which a tracker saw us, if it is public.
    pub(crate) fn seen(&mut self, ip: IpAddr) {
        if class_of(ip) == Distance::Wan {
            self.seen = Some(ip);
        }
    }

    /// True if nobody outside reaches us directly, as far as we know. A node that knows nothing of its public
    /// address counts as hidden.
    fn is_hidden(&self, listen: &[Multiaddr]) -> bool {
        if self.direct().next().is_some() {
            return false;
        }
        match self.seen {
            Some(seen) => !listen.iter().any(|addr| ip_of(addr) == Some(seen)),
            None => !listen.iter().filter_map(ip_of).any(|ip| class_of(ip) == Distance::Wan),
        }
    }

    /// Chooses the relays to ask for a reservation now, with the addresses to listen on. [`Self::asked`]
    /// takes the listeners.
    pub(crate) fn due(
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

    /// Records that a relay was asked for a reservation.
    pub(crate) fn asked(&mut self, peer: PeerId, listener: ListenerId) {
        if let Some(relay) = self.relays.get_mut(&peer) {
            relay.listener = Some(listener);
        }
    }

    /// Records that we are reached through a relay. Only its addresses at a known relay's IP address count:
    /// others may belong to somebody else.
    pub(crate) fn reserved(&mut self, address: Multiaddr) {
        let found = self.relays.values().any(|relay| ip_of(&relay.address) == ip_of(&address));
        if found && self.circuits.len() < limits::PEER_ADDRS && !self.circuits.contains(&address) {
            self.circuits.push(address);
        }
    }

    /// Records that we are no longer reached at this relayed address.
    pub(crate) fn expired(&mut self, address: &Multiaddr) {
        self.circuits.retain(|known| known != address);
    }

    /// Records that a relay dropped us, or never accepted us.
    pub(crate) fn closed(&mut self, listener: ListenerId, now: Instant) {
        if let Some(relay) = self.relays.values_mut().find(|relay| relay.listener == Some(listener)) {
            relay.listener = None;
            relay.next = now + ASK_AGAIN;
            relay.fails += 1;
        }
        self.relays.retain(|_, relay| !relay.named || relay.fails < NAMED_FAILS);
    }

    /// True if we know at which address we are seen, or have waited long enough. Without that address, a
    /// relayed connection leads to nothing, because the other end does not know whom to let in.
    pub(crate) fn is_seen(&self, now: Instant) -> bool {
        self.told >= 2 || self.since.is_none_or(|since| now.duration_since(since) >= SEEN_WITHIN)
    }

    /// Records the listen addresses of a relay. Returns a QUIC address of the same host to dial, which shows
    /// our own QUIC address from outside.
    pub(crate) fn look(&mut self, peer: &PeerId, listens: &[Multiaddr]) -> Option<Multiaddr> {
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

    /// Records that others reached us at this address.
    pub(crate) fn confirmed(&mut self, address: Multiaddr) {
        if !self.confirmed.contains(&address) {
            self.confirmed.truncate(limits::PEER_ADDRS - 1);
            self.confirmed.insert(0, address);
        }
    }

    /// Forgets confirmed addresses that depended on the lost address `gone`.
    pub(crate) fn moved(&mut self, gone: IpAddr, listen: &[Multiaddr]) {
        self.confirmed.retain(|addr| !is_gone(addr, gone, listen));
    }

    /// Records that others did not reach us at this address.
    pub(crate) fn refuted(&mut self, address: &Multiaddr) {
        self.confirmed.retain(|known| known != address);
    }

    /// Returns the addresses at which we are reached from outside, beyond our listen addresses: direct ones,
    /// then relayed ones.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.direct().chain(&self.circuits)
    }

    /// Returns the addresses at which we are reached directly from outside.
    pub(crate) fn direct(&self) -> impl Iterator<Item = &Multiaddr> {
        let known = |addr: &&Multiaddr| !self.external.contains(addr) && !self.mapped.contains(addr);
        self.external.iter().chain(&self.mapped).chain(self.confirmed.iter().filter(known))
    }

    /// Replaces the addresses that our router forwards.
    pub(crate) fn mapped(&mut self, addrs: Vec<Multiaddr>) {
        self.mapped = addrs;
    }

    /// Returns our addresses through relays.
    pub(crate) fn circuits(&self) -> &[Multiaddr] {
        &self.circuits
    }

    /// Returns the number of relays that we are reached through.
    fn used(&self) -> usize {
        self.relays.values().filter(|relay| relay.listener.is_some()).count()
    }

    /// Records a relayed connection that should become direct.
    pub(crate) fn begin(&mut self, connection: ConnectionId, peer: PeerId, dialled: bool, now: Instant) {
        self.punching.insert(connection, PendingUpgrade { peer, since: now, dialled });
    }

    /// Records a direct connection with this peer. Returns the relayed connections that it replaces.
    pub(crate) fn succeeded(&mut self, peer: PeerId) -> Vec<ConnectionId> {
        let of_peer = self.punching.iter().filter(|(_, punch)| punch.peer == peer);
        let done: Vec<ConnectionId> = of_peer.map(|(id, _)| *id).collect();
        self.punching.retain(|id, _| !done.contains(id));
        self.punched.0 += u64::from(!done.is_empty());
        done
    }

    /// Takes out the relayed connections whose hole punching took too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<(ConnectionId, PendingUpgrade)> {
        let late = |punch: &PendingUpgrade| now.duration_since(punch.since) >= limits::PUNCH_WITHIN;
        let late: Vec<ConnectionId> =
            self.punching.iter().filter(|(_, punch)| late(punch)).map(|(id, _)| *id).collect();
        self.punched.1 += late.len() as u64;
        late.into_iter().filter_map(|id| Some((id, self.punching.remove(&id)?))).collect()
    }

    /// Records that a relayed connection ended. Returns its upgrade if that was still pending.
    pub(crate) fn ended(&mut self, connection: ConnectionId) -> Option<PendingUpgrade> {
        let ended = self.punching.remove(&connection)?;
        self.punched.1 += 1;
        Some(ended)
    }

    /// Describes how we are reached, for a person.
    pub(crate) fn state(&self, listen: &[Multiaddr]) -> String {
        let punched = match self.punched {
            (0, 0) => String::new(),
            (found, lost) => format!("; direct ways through routers: {found} found, {lost} not"),
        };
        let way = match (self.direct().next(), self.circuits.len()) {
            (Some(addr), _) => format!("directly, at {addr}"),
            (None, 0) if self.is_hidden(listen) => {
                "not reachable from the internet (as far as known)".to_owned()
            }
            (None, 0) => "directly".to_owned(),
            (None, _) => format!("through {} of {} known relays", self.used(), self.relays.len()),
        };
        way + &punched
    }
}
