//! Whom to dial: candidates from every source, side by side, under the dial limits. Decides; the actor dials.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

mod address;

use self::address::{Endpoint, host_of};
pub(super) use self::address::{class_of, endpoint, ip_of, is_one_host, is_shared, split_peer, subnet};
use super::event::Class;
use crate::limits;

/// How an address became known; each is only a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// `--peer`: dialled at once, and again whenever it is lost.
    Given,
    /// In the link of a download.
    Link,
    /// Multicast DNS.
    Lan,
    /// It gave us something in an earlier run.
    Remembered,
    /// A tracker named it.
    Tracker,
    /// The DHT named it.
    Dht,
    /// Another peer named it.
    Exchange,
}

impl Source {
    /// It is somebody else's word that sends us there, and may be meant to harm whoever is there.
    const fn is_hearsay(self) -> bool {
        matches!(self, Self::Tracker | Self::Dht | Self::Exchange)
    }
}

/// Who made us try an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Peer(PeerId),
    Tracker(u64),
}

/// The tracker that names peers, or the DHT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracker {
    source: Source,
    /// Its number: no two have the same.
    number: u64,
    /// Where it is.
    at: Option<IpAddr>,
    /// Nobody but a link says that it is one.
    linked: bool,
}

/// Ports of a host that are tried at once because somebody named them, of TCP and of QUIC each: a node has one for IPv4 and one
/// for IPv6, and does not say which is which.
const PORTS_OF_HOST: usize = 2;
/// Below are the ports of a machine's own services, which speak other protocols.
pub(super) const SERVICE_PORTS: u16 = 1024;

/// The first pause after a failed dial; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest pause while something is wanted: a healed network is used within seconds.
const RETRY_WANTING: Duration = Duration::from_secs(4);
/// The longest pause otherwise.
const RETRY_IDLE: Duration = Duration::from_secs(30);

/// A candidate for whom there is no room, or whose host is being tried enough, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Time that TCP is given before QUIC is tried beside it, as in RFC 8305: QUIC needs a round trip less until it is there, and is
/// slower ever after. TCP and TLS need two.
const HEAD_START: Duration = Duration::from_millis(400);

#[derive(Debug)]
struct Candidate {
    /// Each with who said so first.
    addrs: Vec<(Multiaddr, Source)>,
    source: Source,
    fails: u32,
    next: Instant,
    state: State,
    /// Dials that have not ended.
    under_way: u32,
    /// Addresses that became known while it was dialled at others.
    further: Vec<(Multiaddr, Source)>,
    /// Addresses of QUIC that wait until then for those of TCP.
    later: (Instant, Vec<(Multiaddr, Source)>),
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Dialling,
    Connected,
}

/// A candidate's name: its peer id, or its address when the id is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// A peer.
    Peer(PeerId),
    /// An address without one.
    Addr(Multiaddr),
}

/// Somebody to dial now.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) name: Name,
    pub(super) addrs: Vec<Multiaddr>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    candidates: BTreeMap<Name, Candidate>,
    /// Addresses each peer made us try lately.
    named: BTreeMap<By, VecDeque<Instant>>,
    /// Dials to an address without a handshake, lately.
    failed: BTreeMap<IpAddr, VecDeque<Instant>>,
    /// Bans of this node by others, with their ends.
    barred: BTreeMap<PeerId, Instant>,
}

impl Discovery {
    /// An address to try. Forms that the transports might read otherwise than we do are none.
    pub(super) fn found(&mut self, addr: &Multiaddr, peer: Option<PeerId>, source: Source, now: Instant) {
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
            state: State::Idle,
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
        if candidate.state == State::Dialling && candidate.further.len() < limits::PEER_ADDRS {
            candidate.further.push((bare.clone(), source));
        }
        candidate.addrs.truncate(limits::PEER_ADDRS - 1);
        candidate.addrs.push((bare, source));
        // A new address is a new chance.
        candidate.next = candidate.next.min(now);
    }

    /// Room for one more candidate: hearsay has half of the places, and the oldest of it gives way to others.
    fn make_room(&mut self, source: Source) -> bool {
        let hearsay = self.candidates.values().filter(|c| c.source.is_hearsay()).count();
        let full = self.candidates.len() >= limits::DIAL_QUEUE
            || (source.is_hearsay() && hearsay >= limits::DIAL_QUEUE / 2);
        if !full {
            return true;
        }
        let idle = |c: &&Candidate| c.state == State::Idle && c.source.is_hearsay();
        let stale =
            self.candidates.iter().filter(|(_, c)| idle(c)).min_by_key(|(_, c)| (c.fails == 0, c.next));
        let Some(stale) = stale.map(|(name, _)| name.clone()) else {
            return !source.is_hearsay() && self.candidates.len() < 2 * limits::DIAL_QUEUE;
        };
        self.candidates.remove(&stale);
        true
    }

    /// An address that another peer named: only what it could itself have met, and not too many at once.
    pub(super) fn exchanged(&mut self, addr: &Multiaddr, peer: PeerId, by: (PeerId, Class), now: Instant) {
        let Some(Endpoint { ip, .. }) = endpoint(addr) else { return };
        if class_of(ip) < by.1 || self.knows(peer, addr) {
            return;
        }
        if self.may_name(By::Peer(by.0), now) {
            self.found(addr, Some(peer), Source::Exchange, now);
        }
    }

    /// A peer that a tracker named, with its addresses: where a tracker could send anybody, and not too many at once.
    pub(super) fn tracked(&mut self, addrs: &[Multiaddr], peer: PeerId, by: Tracker, now: Instant) {
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

    /// Counts one more peer that somebody made us try, unless there were too many lately.
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

    /// Multicast no longer shows this peer.
    pub(super) fn expired(&mut self, peer: PeerId) {
        let name = Name::Peer(peer);
        if self.candidates.get(&name).is_some_and(|c| c.source == Source::Lan && c.state == State::Idle) {
            self.candidates.remove(&name);
        }
    }

    /// Whom to dial now: given peers always, all others while something is wanted and there is `room`.
    /// Those that are `urgent` as well, in any case.
    pub(super) fn due(
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
            // What became known meanwhile is tried beside what may take long to fail, but not without end.
            let more = !c.further.is_empty() || (!c.later.1.is_empty() && now >= c.later.0);
            let again = c.state == State::Dialling && c.under_way < 2 && more;
            !is_barred(name)
                && (wanting || c.source == Source::Given || is_urgent(name))
                && (again || (c.state == State::Idle && now >= c.next && !c.addrs.is_empty()))
        };
        let due: Vec<Name> =
            self.candidates.iter().filter(|(name, c)| due(name, c)).map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return Vec::new();
        }
        let dialling = self.candidates.values().filter(|c| c.state == State::Dialling).count();
        let (mut room, mut tries) = (room().saturating_sub(dialling), self.tries(now));
        let mut dials = Vec::new();
        for name in due {
            let Some(candidate) = self.candidates.get_mut(&name) else { continue };
            if candidate.source != Source::Given && room == 0 && !is_urgent(&name) {
                candidate.next = now + LOOK_AGAIN;
                continue;
            }
            let mut further = std::mem::take(&mut candidate.further);
            let addrs = if candidate.state == State::Dialling {
                further.append(&mut candidate.later.1);
                further
            } else {
                candidate.later.1.clear();
                candidate.addrs.clone()
            };
            // Whoever is known to us otherwise may still have been given addresses by somebody else.
            let allowed = |(addr, source): &(Multiaddr, Source)| {
                let tries = host_of(addr).and_then(|ip| tries.get(&ip)).copied().unwrap_or(0);
                !source.is_hearsay() || tries < limits::DIALS_PER_ADDR
            };
            let mut addrs: Vec<(Multiaddr, Source)> = addrs.into_iter().filter(allowed).collect();
            // Few ports of each kind: nobody has all ports of a host tried by naming them.
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
            if candidate.state == State::Idle && addrs.iter().any(|(addr, _)| !is_quic(addr)) {
                let (quic, others) = addrs.into_iter().partition(|(addr, _)| is_quic(addr));
                candidate.later = (now + HEAD_START, quic);
                addrs = others;
            }
            let addrs: Vec<Multiaddr> = addrs.into_iter().map(|(addr, _)| addr).collect();
            if addrs.is_empty() {
                candidate.next = now + LOOK_AGAIN;
                continue;
            }
            room = room.saturating_sub(1);
            candidate.under_way += 1;
            candidate.state = State::Dialling;
            dials.push(Dial { name, addrs });
        }
        dials
    }

    /// Dials to each address that are under way because a peer named it, or that led to nothing lately.
    fn tries(&self, now: Instant) -> BTreeMap<IpAddr, usize> {
        let recent = |t: &&Instant| now.duration_since(**t) < limits::DIAL_IP_WINDOW;
        let failed = self.failed.iter().map(|(ip, t)| (*ip, t.iter().filter(recent).count()));
        let mut tries: BTreeMap<IpAddr, usize> = failed.collect();
        let dialling = |c: &&Candidate| c.state == State::Dialling;
        for ip in self.candidates.values().filter(dialling).flat_map(|c| hearsay_hosts(&c.addrs)) {
            *tries.entry(ip).or_default() += 1;
        }
        tries
    }

    /// A session with this peer is up. If we dialled, at this address, that succeeds when the peer speaks: until then
    /// whoever answers there may refuse us.
    pub(super) fn connected(&mut self, peer: PeerId, addr: &Multiaddr, dialled: bool, now: Instant) {
        if !dialled {
            return self.met(peer, addr, dialled, now);
        }
        for name in names(peer, addr) {
            if let Some(candidate) = self.candidates.get_mut(&name) {
                candidate.state = State::Connected;
                candidate.under_way = 0;
                candidate.later.1.clear();
            }
        }
    }

    /// A peer with which a session is up takes part in it.
    pub(super) fn met(&mut self, peer: PeerId, addr: &Multiaddr, dialled: bool, now: Instant) {
        let (bare, _) = split_peer(addr);
        // What was dialled by address alone has a name now.
        if let Some(candidate) = self.candidates.remove(&Name::Addr(bare.clone())) {
            self.candidates.entry(Name::Peer(peer)).or_insert(candidate);
        }
        if dialled {
            self.found(&bare, Some(peer), Source::Exchange, now);
            if let Some(ip) = ip_of(&bare) {
                self.failed.remove(&ip);
            }
        }
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.state = State::Connected;
            candidate.under_way = 0;
            candidate.later.1.clear();
            candidate.fails = 0;
            candidate.error = None;
        }
        self.barred.remove(&peer);
    }

    /// A session that we dialled has ended before the peer spoke: the dial has failed.
    pub(super) fn unmet(&mut self, peer: PeerId, addr: &Multiaddr, error: &str, wanting: bool, now: Instant) {
        for name in names(peer, addr) {
            if let Some(candidate) = self.candidates.get_mut(&name)
                && candidate.state == State::Connected
            {
                candidate.state = State::Idle;
                self.failed(&name, error.to_owned(), wanting, now);
            }
        }
    }

    /// A peer keeps us away until then, and says why: it is not dialled before.
    pub(super) fn bar(&mut self, peer: PeerId, until: Instant, why: String) {
        if self.barred.len() < limits::BANNED_BY || self.barred.contains_key(&peer) {
            self.barred.insert(peer, until);
        }
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.error = Some(why);
        }
    }

    /// The session with this peer has ended.
    pub(super) fn lost(&mut self, peer: PeerId, now: Instant) {
        if let Some(candidate) = self.candidates.get_mut(&Name::Peer(peer)) {
            candidate.state = State::Idle;
            candidate.under_way = 0;
            candidate.next = now + RETRY_FIRST;
        }
    }

    /// A dial did not lead to a session.
    pub(super) fn failed(&mut self, name: &Name, error: String, wanting: bool, now: Instant) {
        let Some(candidate) = self.candidates.get_mut(name) else { return };
        candidate.under_way = candidate.under_way.saturating_sub(1);
        if candidate.state == State::Connected || candidate.under_way > 0 {
            return;
        }
        candidate.error = Some(error);
        if candidate.state == State::Dialling && !candidate.later.1.is_empty() {
            candidate.later.0 = now;
            return;
        }
        candidate.state = State::Idle;
        let most = if wanting { RETRY_WANTING } else { RETRY_IDLE };
        // Peers that fail together do not all come back together: up to a quarter is taken off, by name.
        let pause = (RETRY_FIRST * (1 << candidate.fails.min(10))).min(most);
        let jitter = pause / 4 * (blake3::hash(format!("{name:?}").as_bytes()).as_bytes()[0].into()) / 256;
        candidate.next = now + pause - jitter;
        candidate.fails += 1;
        // What we knew ourselves has nobody sent us to, and says nothing of who does.
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

    /// Something is wanted again: nobody waits out a long pause.
    pub(super) fn hurry(&mut self, now: Instant) {
        for candidate in self.candidates.values_mut().filter(|c| c.state == State::Idle) {
            candidate.next = candidate.next.min(now);
        }
    }

    /// One phrase per source, for a person who waits.
    pub(super) fn tried(&self, mdns: bool) -> Vec<String> {
        let mut phrases = Vec::new();
        let of = |source| self.candidates.iter().filter(move |(_, c)| c.source == source);
        let connected = |source| of(source).filter(|(_, c)| c.state == State::Connected).count();
        if mdns {
            phrases.push(match (of(Source::Lan).count(), connected(Source::Lan)) {
                (0, _) => "LAN discovery: no other node answered".to_owned(),
                (found, up) => format!("LAN discovery: {found} nodes found, {up} connected"),
            });
        } else {
            phrases.push("LAN discovery: off".to_owned());
        }
        for (label, source) in [("--peer", Source::Given), ("link", Source::Link)] {
            for (name, candidate) in of(source).take(4) {
                let addr =
                    candidate.addrs.first().map_or_else(|| format!("{name:?}"), |(a, _)| a.to_string());
                // The error of the last time holds until the peer speaks.
                let what = match (candidate.state, &candidate.error) {
                    (_, Some(error)) => error.clone(),
                    (State::Connected, None) => "connected".to_owned(),
                    (State::Dialling, None) => "connecting".to_owned(),
                    (State::Idle, None) => "not tried yet".to_owned(),
                };
                phrases.push(format!("{label} {addr}: {what}"));
            }
        }
        for (label, source) in [
            ("met before", Source::Remembered),
            ("named by trackers", Source::Tracker),
            ("named by the DHT", Source::Dht),
            ("named by peers", Source::Exchange),
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

impl Tracker {
    /// What the DHT names was looked at when it came in: its rules depend on where its servers are.
    pub(super) const DHT: Self = Self { source: Source::Dht, number: u64::MAX, at: None, linked: false };

    /// A tracker by its number, which is there; `linked` when nobody but a link says that it is one.
    pub(super) const fn new(number: u64, at: Option<IpAddr>, linked: bool) -> Self {
        Self { source: Source::Tracker, number, at, linked }
    }

    /// Whether it may send us there. A tracker sees addresses of the internet; those of a private network only where it is
    /// in one itself, or is one that its owner told us of, and then no services. Only one on this machine names this
    /// machine, and nobody what is not an address of one host.
    fn may_name(self, addr: &Multiaddr) -> bool {
        let Some(Endpoint { ip, port, .. }) = endpoint(&split_peer(addr).0) else { return false };
        let at = self.at.map(class_of);
        is_one_host(ip)
            && port != 0
            && match class_of(ip) {
                _ if self.source == Source::Dht => true,
                Class::Host => at == Some(Class::Host),
                Class::Lan => {
                    at.is_some_and(|at| at <= Class::Lan) || (!self.linked && port >= SERVICE_PORTS)
                }
                _ => true,
            }
    }
}

/// The names that a peer at this address may have been dialled by.
fn names(peer: PeerId, addr: &Multiaddr) -> [Name; 2] {
    [Name::Peer(peer), Name::Addr(split_peer(addr).0)]
}

/// Each host of these addresses that somebody else named, once: TCP and QUIC of one host are one try.
fn hearsay_hosts(addrs: &[(Multiaddr, Source)]) -> BTreeSet<IpAddr> {
    addrs.iter().filter(|(_, source)| source.is_hearsay()).filter_map(|(addr, _)| host_of(addr)).collect()
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
