//! Candidates for a dial, from every source side by side, under the dial limits. This module decides which
//! peers to dial at which addresses and when; the actor dials.

mod source;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::distance::Distance;
use crate::limits;
use crate::net::address::{Endpoint, class_of, endpoint, host_of, ip_of, split_peer};
use source::By;
pub(crate) use source::{AddressSource, PeerSource, SERVICE_PORTS};

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

#[derive(Debug)]
struct Candidate {
    /// Addresses, each with the best source that named it.
    addrs: Vec<(Multiaddr, AddressSource)>,
    source: AddressSource,
    fails: u32,
    next: Instant,
    state: DialState,
    /// Dials in progress.
    under_way: u32,
    /// Addresses that became known while the candidate was being dialled at others.
    further: Vec<(Multiaddr, AddressSource)>,
    /// QUIC addresses, and the time until which they wait for the TCP addresses.
    later: (Instant, Vec<(Multiaddr, AddressSource)>),
    error: Option<String>,
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
    /// Times of recent dials to each IP address that led to no session.
    failed: BTreeMap<IpAddr, VecDeque<Instant>>,
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
        if endpoint(&bare).is_none() {
            return;
        }
        let name = peer.or(in_addr).map_or_else(|| Name::Addr(bare.clone()), Name::Peer);
        if !self.candidates.contains_key(&name) && !self.make_room(source) {
            return;
        }
        let fresh = Candidate {
            addrs: Vec::new(),
            source,
            fails: 0,
            next: now,
            state: DialState::Idle,
            under_way: 0,
            further: Vec::new(),
            later: (now, Vec::new()),
            error: None,
        };
        let candidate = self.candidates.entry(name).or_insert(fresh);
        candidate.source = candidate.source.min(source);
        if let Some(known) = candidate.addrs.iter_mut().find(|(known, _)| *known == bare) {
            known.1 = known.1.min(source);
            return;
        }
        if candidate.state == DialState::Dialling && candidate.further.len() < limits::PEER_ADDRS {
            candidate.further.push((bare.clone(), source));
        }
        candidate.addrs.truncate(limits::PEER_ADDRS - 1);
        candidate.addrs.push((bare, source));
        // A new address is a new chance.
        candidate.next = candidate.next.min(now);
    }

    /// Makes room for one more candidate; false if there is none. Hearsay gets half of the places, and the
    /// stalest hearsay gives way to other sources.
    fn make_room(&mut self, source: AddressSource) -> bool {
        let hearsay = self.candidates.values().filter(|c| c.source.is_hearsay()).count();
        let full = self.candidates.len() >= limits::DIAL_QUEUE
            || (source.is_hearsay() && hearsay >= limits::DIAL_QUEUE / 2);
        if !full {
            return true;
        }
        let idle = |c: &&Candidate| c.state == DialState::Idle && c.source.is_hearsay();
        let stale =
            self.candidates.iter().filter(|(_, c)| idle(c)).min_by_key(|(_, c)| (c.fails == 0, c.next));
        let Some(stale) = stale.map(|(name, _)| name.clone()) else {
            return !source.is_hearsay() && self.candidates.len() < 2 * limits::DIAL_QUEUE;
        };
        self.candidates.remove(&stale);
        true
    }

    /// Adds an address that another peer named: only if that peer can itself have met it, and not too many at
    /// once.
    pub(crate) fn exchanged(&mut self, addr: &Multiaddr, peer: PeerId, by: (PeerId, Distance), now: Instant) {
        let Some(Endpoint { ip, .. }) = endpoint(addr) else { return };
        if class_of(ip) < by.1 || self.knows(peer, addr) {
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
        for name in due {
            let Some(candidate) = self.candidates.get_mut(&name) else { continue };
            if candidate.source != AddressSource::Given && room == 0 && !is_urgent(&name) {
                candidate.next = now + LOOK_AGAIN;
                continue;
            }
            let addrs = addresses_to_dial(candidate, &mut tries, now);
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

    /// Counts, for each IP address, the dials in progress because of hearsay and the recent failures.
    fn tries(&self, now: Instant) -> BTreeMap<IpAddr, usize> {
        let recent = |t: &&Instant| now.duration_since(**t) < limits::DIAL_IP_WINDOW;
        let failed = self.failed.iter().map(|(ip, t)| (*ip, t.iter().filter(recent).count()));
        let mut tries: BTreeMap<IpAddr, usize> = failed.collect();
        let dialling = |c: &&Candidate| c.state == DialState::Dialling;
        for ip in self.candidates.values().filter(dialling).flat_map(|c| hearsay_hosts(&c.addrs)) {
            *tries.entry(ip).or_default() += 1;
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
            if let Some(ip) = ip_of(&bare) {
                self.failed.remove(&ip);
            }
        }
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.state = DialState::Connected;
            candidate.under_way = 0;
            candidate.later.1.clear();
            candidate.fails = 0;
            candidate.error = None;
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

    /// Records that the session with this peer has ended.
    pub(crate) fn lost(&mut self, peer: PeerId, now: Instant) {
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.state = DialState::Idle;
            candidate.under_way = 0;
            candidate.next = now + RETRY_FIRST;
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
        // Only addresses from hearsay count: a failure at an address that we knew ourselves is nobody's
        // fault.
        for ip in hearsay_hosts(&candidate.addrs) {
            let tried = self.failed.entry(ip).or_default();
            tried.push_back(now);
            if tried.len() > limits::DIALS_PER_ADDR {
                tried.pop_front();
            }
        }
        if self.failed.len() > limits::DIAL_QUEUE {
            self.failed.pop_first();
        }
    }

    /// Ends all pauses, because something is wanted again.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for candidate in self.candidates.values_mut().filter(|c| c.state == DialState::Idle) {
            candidate.next = candidate.next.min(now);
        }
    }

    /// Describes each source in one phrase, for a person who waits.
    pub(crate) fn tried(&self, mdns: bool) -> Vec<String> {
        let mut phrases = Vec::new();
        let of = |source| self.candidates.iter().filter(move |(_, c)| c.source == source);
        let connected = |source| of(source).filter(|(_, c)| c.state == DialState::Connected).count();
        if mdns {
            phrases.push(match (of(AddressSource::Lan).count(), connected(AddressSource::Lan)) {
                (0, _) => "LAN discovery: no other node answered".to_owned(),
                (found, up) => format!("LAN discovery: {found} nodes found, {up} connected"),
            });
        } else {
            phrases.push("LAN discovery: off".to_owned());
        }
        for (label, source) in [("--peer", AddressSource::Given), ("link", AddressSource::Link)] {
            for (name, candidate) in of(source).take(4) {
                let addr =
                    candidate.addrs.first().map_or_else(|| format!("{name:?}"), |(a, _)| a.to_string());
                // The last error holds until the peer speaks.
                let what = match (candidate.state, &candidate.error) {
                    (_, Some(error)) => error.clone(),
                    (DialState::Connected, None) => "connected".to_owned(),
                    (DialState::Dialling, None) => "connecting".to_owned(),
                    (DialState::Idle, None) => "not tried yet".to_owned(),
                };
                phrases.push(format!("{label} {addr}: {what}"));
            }
        }
        for (label, source) in [
            ("met before", AddressSource::Remembered),
            ("named by trackers", AddressSource::Tracker),
            ("named by the DHT", AddressSource::Dht),
            ("named by peers", AddressSource::Exchange),
        ] {
            match (of(source).count(), connected(source)) {
                (0, _) => {}
                (found, up) => {
                    let error = of(source).find_map(|(_, c)| c.error.as_ref().filter(|_| up == 0));
                    let why = error.map(|error| format!(" ({error})")).unwrap_or_default();
                    phrases.push(format!("{label}: {found} nodes, {up} connected{why}"));
                }
            }
        }
        phrases
    }
}

/// Returns the names under which a peer at this address may have been dialled.
fn names(peer: PeerId, addr: &Multiaddr) -> [Name; 2] {
    [Name::Peer(peer), Name::Addr(split_peer(addr).0)]
}

/// Takes the addresses of a candidate to dial now: few at one IP address where only hearsay names them, and
/// those over TCP before those over QUIC. Adds the dials to `tries`, which counts those of each IP address.
fn addresses_to_dial(
    candidate: &mut Candidate,
    tries: &mut BTreeMap<IpAddr, usize>,
    now: Instant,
) -> Vec<Multiaddr> {
    let mut further = std::mem::take(&mut candidate.further);
    let addrs = if candidate.state == DialState::Dialling {
        further.append(&mut candidate.later.1);
        further
    } else {
        candidate.later.1.clear();
        candidate.addrs.clone()
    };
    // A candidate from a trusted source may still have addresses from hearsay.
    let allowed = |(addr, source): &(Multiaddr, AddressSource)| {
        let tries = host_of(addr).and_then(|ip| tries.get(&ip)).copied().unwrap_or(0);
        !source.is_hearsay() || tries < limits::DIALS_PER_ADDR
    };
    let mut addrs: Vec<(Multiaddr, AddressSource)> = addrs.into_iter().filter(allowed).collect();
    // Few ports of each kind, so that nobody makes us scan a host by naming its ports.
    let mut ports: BTreeMap<(IpAddr, bool), usize> = BTreeMap::new();
    addrs.retain(|(addr, source)| {
        let Some(ip) = host_of(addr).filter(|_| source.is_hearsay()) else { return true };
        let quic = addr.iter().any(|part| part == Protocol::QuicV1);
        let count = ports.entry((ip, quic)).or_default();
        *count += 1;
        *count <= PORTS_OF_HOST
    });
    hearsay_hosts(&addrs).into_iter().for_each(|ip| *tries.entry(ip).or_default() += 1);
    let is_quic = |addr: &Multiaddr| endpoint(addr).is_some_and(|e| e.quic && !e.relayed);
    if candidate.state == DialState::Idle && addrs.iter().any(|(addr, _)| !is_quic(addr)) {
        let (quic, others) = addrs.into_iter().partition(|(addr, _)| is_quic(addr));
        candidate.later = (now + HEAD_START, quic);
        addrs = others;
    }
    addrs.into_iter().map(|(addr, _)| addr).collect()
}

/// Returns each host that hearsay named in these addresses, once: TCP and QUIC of one host are one try.
fn hearsay_hosts(addrs: &[(Multiaddr, AddressSource)]) -> BTreeSet<IpAddr> {
    addrs.iter().filter(|(_, source)| source.is_hearsay()).filter_map(|(addr, _)| host_of(addr)).collect()
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
