//! Candidates for a dial, from every source side by side, under the dial limits. This module decides which
//! peers to dial at which addresses and when; the actor dials.

mod room;
mod source;
mod tried;
mod tries;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::distance::Distance;
use crate::limits;
use crate::net::address::{Endpoint, class_of, endpoint, endpoint_on_link, host_of, split_peer, split_zone};
use source::By;
pub(crate) use source::{AddressSource, PeerSource, SERVICE_PORTS};
use tries::{Machine, Tries};

/// Ports of one host that are tried at once because a stranger named them, for TCP and QUIC each. A node has
/// one port for IPv4 and one for IPv6, and does not say which is which.
const PORTS_OF_HOST: usize = 2;
/// First pause after a failed dial; it doubles with each failure.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest pause between dials while something is wanted, so that a healed network is used within seconds.
const RETRY_WANTING: Duration = Duration::from_secs(4);
/// Longest pause between dials while nothing is wanted.
const RETRY_IDLE: Duration = Duration::from_secs(30);
/// Pause before another look at a candidate for which there is no room, or whose host is being tried enough.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Time that TCP is given before QUIC is tried beside it, as in RFC 8305. QUIC connects in one round trip and
/// TCP with TLS in two, but QUIC is slower ever after.
const HEAD_START: Duration = Duration::from_millis(400);

/// Place of a candidate among those of its machine: failures, time at which it was last heard of, name.
type DialTurn = (u32, Reverse<Instant>, Name);

#[derive(Debug)]
struct Candidate {
    /// Addresses, each with the best source that named it.
    addrs: Vec<(Multiaddr, AddressSource)>,
    source: AddressSource,
    fails: u32,
    /// Time at which a source last named it.
    heard: Instant,
    /// True if the peer has taken part in a session.
    proved: bool,
    next: Instant,
    state: DialState,
    /// Dials in progress.
    under_way: u32,
    /// Addresses that became known while the candidate was being dialled at others.
    further: Vec<(Multiaddr, AddressSource)>,
    /// Addresses of second choice (QUIC, link-local), and the time until which they wait for the others.
    later: (Instant, Vec<(Multiaddr, AddressSource)>),
    error: Option<String>,
    /// Time before which it is not dialled, whatever is wanted.
    rest: Option<Instant>,
}

impl Candidate {
    /// Returns the machines whose dials are counted, each once: TCP and QUIC of one host are one try.
    fn machines(&self) -> BTreeSet<Machine> {
        self.addrs.iter().filter_map(|(addr, source)| Machine::of(addr, *source)).collect()
    }

    /// Chooses the addresses to dial now, and counts them in `tries`.
    fn take_dials(&mut self, tries: &mut BTreeMap<Machine, usize>, now: Instant) -> Vec<Multiaddr> {
        let mut further = std::mem::take(&mut self.further);
        let mut addrs = if self.state == DialState::Dialling {
            further.append(&mut self.later.1);
            further
        } else {
            self.later.1.clear();
            self.addrs.clone()
        };
        // A candidate from a trusted source may still have addresses from others.
        addrs.retain(|(addr, source)| {
            Machine::of(addr, *source)
                .is_none_or(|machine| tries.get(&machine).copied().unwrap_or(0) < machine.limit())
        });
        // Few ports of each kind, so that nobody makes us scan a host by naming its ports.
        let mut ports: BTreeMap<(IpAddr, bool), usize> = BTreeMap::new();
        addrs.retain(|(addr, source)| {
            let Some(ip) = host_of(addr).filter(|_| source.is_hearsay()) else { return true };
            let quic = addr.iter().any(|part| part == Protocol::QuicV1);
            let count = ports.entry((ip, quic)).or_default();
            *count += 1;
            *count <= PORTS_OF_HOST
        });
        let machines: BTreeSet<Machine> =
            addrs.iter().filter_map(|(addr, source)| Machine::of(addr, *source)).collect();
        machines.into_iter().for_each(|machine| *tries.entry(machine).or_default() += 1);
        let is_second = |addr: &Multiaddr| {
            let quic = endpoint(addr).is_some_and(|end| end.quic && !end.relayed);
            quic || split_zone(addr).is_some()
        };
        if self.state == DialState::Idle && addrs.iter().any(|(addr, _)| !is_second(addr)) {
            let (second, first) = addrs.into_iter().partition(|(addr, _)| is_second(addr));
            self.later = (now + HEAD_START, second);
            addrs = first;
        }
        addrs.into_iter().map(|(addr, _)| addr).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DialState {
    Idle,
    Dialling,
    Connected,
}

/// Name of a candidate: its peer id, or its address if the id is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A known peer id.
    Peer(PeerId),
    /// An address whose peer id is not known.
    Addr(Multiaddr),
}

/// A dial to make now.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) name: Name,
    pub(crate) addrs: Vec<Multiaddr>,
}

/// Candidates for a dial, and the limits on dials that others cause.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    candidates: BTreeMap<Name, Candidate>,
    /// Times at which each source lately made us try a peer.
    named: BTreeMap<By, VecDeque<Instant>>,
    /// Recent dials to each machine that led to no session.
    tries: Tries,
    /// Peers that have banned us, and the ends of their bans.
    barred: BTreeMap<PeerId, Instant>,
}

impl Candidates {
    /// Adds an address to try. Address forms that the transports might read otherwise than we do are ignored.
    pub(crate) fn found(
        &mut self,
        addr: &Multiaddr,
        peer: Option<PeerId>,
        source: AddressSource,
        now: Instant,
    ) {
        let (bare, in_addr) = split_peer(addr);
        // Only whoever is on the same link as we are can name an address there.
        let hearsay = source.is_hearsay();
        let end = if hearsay { endpoint(&bare) } else { endpoint_on_link(&bare) };
        let Some(end) = end else { return };
        let name = peer.or(in_addr).map_or_else(|| Name::Addr(bare.clone()), Name::Peer);
        if !self.candidates.contains_key(&name) && !self.make_room(source, end.ip) {
            return;
        }
        let fresh = Candidate {
            addrs: Vec::new(),
            source,
            fails: 0,
            heard: now,
            proved: false,
            next: now,
            state: DialState::Idle,
            under_way: 0,
            further: Vec::new(),
            later: (now, Vec::new()),
            error: None,
            rest: None,
        };
        let candidate = self.candidates.entry(name).or_insert(fresh);
        candidate.source = candidate.source.min(source);
        candidate.heard = now;
        if let Some(known) = candidate.addrs.iter_mut().find(|(known, _)| *known == bare) {
            known.1 = known.1.min(source);
            return;
        }
        if candidate.state == DialState::Dialling && candidate.further.len() < limits::PEER_ADDRS {
            candidate.further.push((bare.clone(), source));
        }
        if candidate.addrs.len() >= limits::PEER_ADDRS {
            candidate.drop_address();
        }
        candidate.addrs.push((bare, source));
        // A new address is a new chance.
        candidate.next = candidate.next.min(now);
    }

    /// Adds an address that another peer named: only if that peer can itself have met it, and not too many at
    /// once.
    pub(crate) fn exchanged(&mut self, addr: &Multiaddr, peer: PeerId, by: (PeerId, Distance), now: Instant) {
        let Some(Endpoint { ip, .. }) = endpoint(addr) else { return };
        let other_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if other_link || class_of(ip) < by.1 || self.knows(peer, addr) {
            return;
        }
        if self.may_name(By::Peer(by.0), now) {
            self.found(addr, Some(peer), AddressSource::Exchange, now);
        }
    }

    /// Adds a peer that a tracker or the DHT named: only with addresses that the source may make us dial, and
    /// not too many at once.
    pub(crate) fn tracked(&mut self, addrs: &[Multiaddr], peer: PeerId, by: PeerSource, now: Instant) {
        let new = |addr: &&Multiaddr| by.may_name(addr) && !self.knows(peer, &split_peer(addr).0);
        let new: Vec<Multiaddr> = addrs.iter().filter(new).cloned().collect();
        if new.is_empty() || !self.may_name(By::Tracker(by.number), now) {
            return;
        }
        new.iter().for_each(|addr| self.found(addr, Some(peer), by.source, now));
    }

    fn knows(&self, peer: PeerId, addr: &Multiaddr) -> bool {
        let candidate = self.candidates.get(&Name::Peer(peer));
        candidate.is_some_and(|c| c.addrs.iter().any(|(known, _)| known == addr))
    }

    /// Counts one more peer that a source made us try; false if there were too many lately.
    fn may_name(&mut self, by: By, now: Instant) -> bool {
        let recent = |t: &Instant| now.duration_since(*t) < limits::DIAL_WINDOW;
        if self.named.len() > limits::CONNECTIONS {
            self.named.retain(|_, times| times.back().is_some_and(recent));
        }
        let named = self.named.entry(by).or_default();
        named.retain(recent);
        let may = named.len() < limits::DIALS_PER_SOURCE;
        if may {
            named.push_back(now);
        }
        may
    }

    /// Removes a peer that multicast no longer shows, unless it is in use.
    pub(crate) fn expired(&mut self, peer: PeerId) {
        let name = Name::Peer(peer);
        if self
            .candidates
            .get(&name)
            .is_some_and(|c| c.source == AddressSource::Lan && c.state == DialState::Idle)
        {
            self.candidates.remove(&name);
        }
    }

    /// Chooses the dials to make now: given peers always, all others while something is wanted and there is
    /// `room`. Peers in `urgent` are dialled in any case.
    pub(crate) fn due(
        &mut self,
        wanting: bool,
        room: impl FnOnce() -> usize,
        urgent: &BTreeSet<PeerId>,
        now: Instant,
    ) -> Vec<Dial> {
        let is_urgent = |name: &Name| matches!(name, Name::Peer(peer) if urgent.contains(peer));
        self.barred.retain(|_, until| now < *until);
        let barred = &self.barred;
        let is_barred = |name: &Name| matches!(name, Name::Peer(peer) if barred.contains_key(peer));
        let due = |name: &Name, c: &Candidate| {
            // New addresses are tried beside dials that may take long to fail, but not without end.
            let more = !c.further.is_empty() || (!c.later.1.is_empty() && now >= c.later.0);
            let again = c.state == DialState::Dialling && c.under_way < 2 && more;
            !is_barred(name)
                && c.rest.is_none_or(|rest| now >= rest)
                && (wanting || c.source == AddressSource::Given || is_urgent(name))
                && (again || (c.state == DialState::Idle && now >= c.next && !c.addrs.is_empty()))
        };
        let due: Vec<Name> =
            self.candidates.iter().filter(|(name, c)| due(name, c)).map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return Vec::new();
        }
        let dialling = self.candidates.values().filter(|c| c.state == DialState::Dialling).count();
        let (mut room, mut tries) = (room().saturating_sub(dialling), self.tries(now));
        let mut dials = Vec::new();
        for name in self.in_turn(due, &tries) {
            let Some(candidate) = self.candidates.get_mut(&name) else { continue };
            if candidate.source != AddressSource::Given && room == 0 && !is_urgent(&name) {
                candidate.next = now + LOOK_AGAIN;
                continue;
            }
            let addrs = candidate.take_dials(&mut tries, now);
            if addrs.is_empty() {
                candidate.next = now + LOOK_AGAIN;
                continue;
            }
            room = room.saturating_sub(1);
            candidate.under_way += 1;
            candidate.state = DialState::Dialling;
            dials.push(Dial { name, addrs });
        }
        dials
    }

    /// Orders candidates that are due: given peers first, then the machines in turn, the least tried one
    /// first. Of one machine's candidates those with the fewest failures come first, then those heard last.
    fn in_turn(&self, due: Vec<Name>, tries: &BTreeMap<Machine, usize>) -> Vec<Name> {
        let mut of_machine: BTreeMap<Option<Machine>, Vec<DialTurn>> = BTreeMap::new();
        for name in due {
            let Some(candidate) = self.candidates.get(&name) else { continue };
            let machine = candidate.machines().into_iter().next();
            let rank = (candidate.fails, Reverse(candidate.heard), name);
            of_machine.entry(machine).or_default().push(rank);
        }
        let mut all = Vec::new();
        for (machine, mut names) in of_machine {
            names.sort_unstable();
            let tried = machine.and_then(|machine| tries.get(&machine)).copied().unwrap_or(0);
            all.extend(
                names.into_iter().zip(tried..).map(|((fails, heard, name), turn)| {
                    (machine.is_some().then_some(turn), fails, heard, name)
                }),
            );
        }
        all.sort_unstable();
        all.into_iter().map(|(.., name)| name).collect()
    }

    /// Counts, for each machine, the dials in progress and the recent failures.
    fn tries(&self, now: Instant) -> BTreeMap<Machine, usize> {
        let mut tries = self.tries.recent(now);
        let dialling = |c: &&Candidate| c.state == DialState::Dialling;
        for machine in self.candidates.values().filter(dialling).flat_map(Candidate::machines) {
            *tries.entry(machine).or_default() += 1;
        }
        tries
    }

    /// Records a new session with this peer. If we dialled, the dial only succeeds when the peer speaks:
    /// until then whatever answers at this address may refuse us.
    pub(crate) fn connected(&mut self, peer: PeerId, addr: &Multiaddr, dialled: bool, now: Instant) {
        if !dialled {
            return self.met(peer, addr, dialled, now);
        }
        for name in names(peer, addr) {
            if let Some(candidate) = self.candidates.get_mut(&name) {
                candidate.state = DialState::Connected;
                candidate.under_way = 0;
                candidate.later.1.clear();
            }
        }
    }

    /// Records that a peer takes part in its session.
    pub(crate) fn met(&mut self, peer: PeerId, addr: &Multiaddr, dialled: bool, now: Instant) {
        let (bare, _) = split_peer(addr);
        // A candidate that was dialled by address alone has a name now.
        if let Some(candidate) = self.candidates.remove(&Name::Addr(bare.clone())) {
            self.candidates.entry(Name::Peer(peer)).or_insert(candidate);
        }
        if dialled {
            self.found(&bare, Some(peer), AddressSource::Exchange, now);
            self.tries.succeeded(&bare);
        }
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.state = DialState::Connected;
            candidate.under_way = 0;
            candidate.later.1.clear();
            candidate.fails = 0;
            candidate.proved = true;
            (candidate.error, candidate.rest) = (None, None);
        }
        self.barred.remove(&peer);
    }

    /// Records that a session which we dialled ended before the peer spoke: the dial has failed.
    pub(crate) fn unmet(&mut self, peer: PeerId, addr: &Multiaddr, error: &str, wanting: bool, now: Instant) {
        for name in names(peer, addr) {
            if let Some(candidate) = self.candidates.get_mut(&name)
                && candidate.state == DialState::Connected
            {
                candidate.state = DialState::Idle;
                self.failed(&name, error.to_owned(), wanting, now);
            }
        }
    }

    /// Records that a peer has banned us, with its reason: it is not dialled until the ban ends.
    pub(crate) fn bar(&mut self, peer: PeerId, until: Instant, why: String) {
        if self.barred.len() < limits::BANNED_BY || self.barred.contains_key(&peer) {
            self.barred.insert(peer, until);
        }
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.error = Some(why);
        }
    }

    /// Has a peer that cannot take part in a session now left alone for a while.
    pub(crate) fn rest(&mut self, peer: PeerId, addr: &Multiaddr, until: Instant) {
        for name in names(peer, addr) {
            if let Some(candidate) = self.candidates.get_mut(&name) {
                candidate.rest = Some(until);
            }
        }
    }

    /// Records that the session with this peer has ended, and why; `None` if another one takes its place.
    pub(crate) fn lost(&mut self, peer: PeerId, why: Option<&str>, now: Instant) {
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.state = DialState::Idle;
            candidate.under_way = 0;
            candidate.next = now + RETRY_FIRST;
            candidate.error = why.map(|why| format!("the session ended: {why}"));
        }
    }

    /// Records that a dial did not lead to a session.
    pub(crate) fn failed(&mut self, name: &Name, error: String, wanting: bool, now: Instant) {
        let Some(candidate) = self.candidates.get_mut(name) else { return };
        candidate.under_way = candidate.under_way.saturating_sub(1);
        if candidate.state == DialState::Connected || candidate.under_way > 0 {
            return;
        }
        candidate.error = Some(error);
        if candidate.state == DialState::Dialling && !candidate.later.1.is_empty() {
            candidate.later.0 = now;
            return;
        }
        candidate.state = DialState::Idle;
        let most = if wanting { RETRY_WANTING } else { RETRY_IDLE };
        // Peers that fail together must not all come back together: up to a quarter is taken off, depending
        // on the name.
        let pause = (RETRY_FIRST * (1 << candidate.fails.min(10))).min(most);
        let jitter = pause / 4 * (blake3::hash(format!("{name:?}").as_bytes()).as_bytes()[0].into()) / 256;
        candidate.next = now + pause - jitter;
        candidate.fails += 1;
        let machines = candidate.machines();
        self.tries.failed(machines, now);
    }

    /// Ends all pauses, because something is wanted again.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for candidate in self.candidates.values_mut().filter(|c| c.state == DialState::Idle) {
            candidate.next = candidate.next.min(now);
        }
    }
}

/// Returns the names under which a peer at this address may have been dialled.
fn names(peer: PeerId, addr: &Multiaddr) -> [Name; 2] {
    [Name::Peer(peer), Name::Addr(split_peer(addr).0)]
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
