//! The peers of running sessions: where they are, what goes out to them, who is to be dropped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc::Sender;

use super::bans::{Bans, Decided};
use super::discovery::{class_of, ip_of, is_shared, subnet};
use super::event::{self, Class};
use super::office::desk::Membership;
use super::session::{Expect, Serve, Session};
use crate::limits;
use crate::schedule::PeerKey;
use crate::wire::{Hello, Message, PeerAddrs};

/// A peer that we have just met may still say what it has.
const NEWCOMER: Duration = Duration::from_secs(2);

/// The round trip to a peer is measured so often, also while it is busy.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// See [`limits::OFFICE_MESSAGES`].
const OFFICE_WINDOW: Duration = Duration::from_secs(10);

/// Reason for ending the session of a peer whose queues are full.
const BEHIND: &str = "does not keep up with what it is sent";

/// A count of messages in a window of time.
#[derive(Debug)]
struct Lately {
    since: Instant,
    count: u32,
}

impl Lately {
    const fn new(since: Instant) -> Self {
        Self { since, count: 0 }
    }

    /// Counts one more; false if that is more than `most` in this window.
    fn one_more(&mut self, now: Instant, window: Duration, most: u32) -> bool {
        if now.duration_since(self.since) >= window {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) addr: Multiaddr,
    pub(super) class: Class,
    /// `None` until it has introduced itself.
    pub(super) hello: Option<Hello>,
    pub(super) session: Session,
    /// We came to it, not it to us.
    pub(super) dialled: bool,
    /// This end dialled, and opens what is to be opened: of two that dial each other at once only one does.
    pub(super) called: bool,
    /// See [`is_near`]; never through a relay.
    pub(super) near: bool,
    /// In an office: who it is there.
    pub(super) member: Option<Membership>,
    /// Its messages about the office.
    office_said: Lately,
    /// Messages about the office that it was told.
    office_told: Lately,
    /// Messages about the office that wait until it may hear more.
    office_waits: VecDeque<Message>,
    since: Instant,
    heard: Instant,
    heard_bytes: u64,
    ping: Option<(u64, Instant)>,
    pinged: Instant,
    rtt: Option<Duration>,
    /// The least of all round trips.
    nearest: Option<Duration>,
    /// Its data streams when they were last counted.
    pub(super) width: usize,
    /// When a further connection with it was last tried in vain, or ended by it.
    pub(super) not_widened: Option<Instant>,
}

/// A session that must end.
#[derive(Debug)]
pub(super) struct Doomed {
    pub(super) key: PeerKey,
    pub(super) reason: String,
    /// It misbehaved: keep it away for a while.
    pub(super) ban: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Peers {
    /// Those that are kept away.
    pub(super) bans: Bans,
    next: u64,
    peers: BTreeMap<PeerKey, Peer>,
    by_id: HashMap<PeerId, PeerKey>,
    doomed: Vec<Doomed>,
    /// Whose sessions the last ones were: what they sent may be found to be bad when they have gone.
    gone: VecDeque<(PeerKey, PeerId, Option<IpAddr>)>,
    /// Bytes of sessions that have ended.
    past: (u64, u64),
}

impl Peers {
    /// None yet. Keys begin somewhere by this number: no two networks of a node have the same.
    pub(super) fn new(bans: Bans, seed: u64) -> Self {
        Self {
            bans,
            next: seed >> 32 << 31,
            peers: BTreeMap::new(),
            by_id: HashMap::new(),
            doomed: Vec::new(),
            gone: VecDeque::new(),
            past: (0, 0),
        }
    }

    /// The key the next session gets.
    pub(super) fn next_key(&mut self) -> PeerKey {
        self.next += 1;
        PeerKey(self.next)
    }

    pub(super) fn add(&mut self, key: PeerKey, peer: Peer) {
        self.by_id.insert(peer.id, key);
        self.peers.insert(key, peer);
    }

    pub(super) fn remove(&mut self, key: PeerKey) -> Option<Peer> {
        let peer = self.peers.remove(&key)?;
        self.by_id.remove(&peer.id);
        self.gone.truncate(limits::CONNECTIONS - 1);
        self.gone.push_front((key, peer.id, ip_of(&peer.addr)));
        self.past.0 += peer.session.traffic.up();
        self.past.1 += peer.session.traffic.down();
        Some(peer)
    }

    /// Whose session this is, or was.
    pub(super) fn id_of(&self, key: PeerKey) -> Option<PeerId> {
        let gone = || self.gone.iter().find(|(k, ..)| *k == key).map(|(_, id, _)| *id);
        self.peers.get(&key).map(|peer| peer.id).or_else(gone)
    }

    pub(super) fn get(&self, key: PeerKey) -> Option<&Peer> {
        self.peers.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.peers.get_mut(&key)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.peers.iter().map(|(key, peer)| (*key, peer))
    }

    /// Those of whom this holds.
    pub(super) fn those(&self, holds: impl Fn(&Peer) -> bool) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, peer)| holds(peer)).map(|(key, _)| *key).collect()
    }

    /// Who they are, in an office.
    pub(super) fn members(&self) -> impl Iterator<Item = crate::office::PublicKey> {
        self.peers.values().filter_map(|peer| Some(peer.member.as_ref()?.certificate.subject))
    }

    pub(super) fn key_of(&self, peer: &PeerId) -> Option<PeerKey> {
        self.by_id.get(peer).copied()
    }

    /// Those of use to whoever wants something: they offer some of it and give, or may yet. Who came in and has nothing
    /// does not count, so that no crowd can keep us from looking for others.
    pub(super) fn neighbours(&self, offers: impl Fn(PeerKey) -> Option<bool>) -> usize {
        let may_yet = |p: &Peer| p.dialled && p.since.elapsed() < NEWCOMER;
        self.peers.iter().filter(|(key, p)| offers(**key).unwrap_or_else(|| may_yet(p))).count()
    }

    /// The peers that have introduced themselves.
    pub(super) fn ready(&self) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, p)| p.hello.is_some()).map(|(key, _)| *key).collect()
    }

    /// Tells a peer something, in words that it takes.
    pub(super) fn send(&mut self, key: PeerKey, message: Message) {
        for message in message.fit() {
            let waits =
                message.is_of_office() && self.get_mut(key).is_some_and(|peer| !peer.may_hear_in_turn());
            if let (true, Some(peer)) = (waits, self.get_mut(key)) {
                // Whoever is that far behind hears everything when it comes back.
                if peer.office_waits.len() < limits::OFFICE_WAITING {
                    peer.office_waits.push_back(message);
                } else {
                    self.doom(key, "is too far behind with the news of the office", false);
                }
                continue;
            }
            self.push(key, message, |session| &session.outbox);
        }
    }

    /// A voucher goes with an offer and does not wait; false if the peer may not hear of one more now.
    pub(super) fn may_vouch(&mut self, key: PeerKey) -> bool {
        self.get_mut(key).is_some_and(Peer::may_hear)
    }

    /// Tells what waits of the office, as far as it may be heard now.
    fn tell_waiting(&mut self) {
        for key in self.those(|peer| !peer.office_waits.is_empty()) {
            while let Some(peer) = self.get_mut(key)
                && !peer.office_waits.is_empty()
                && peer.may_hear()
                && let Some(message) = peer.office_waits.pop_front()
            {
                self.push(key, message, |session| &session.outbox);
            }
        }
    }

    /// Room in the queue of messages to this peer: one more than this, and its session ends.
    pub(super) fn room(&self, key: PeerKey) -> usize {
        self.peers.get(&key).map_or(0, |peer| peer.session.outbox.capacity())
    }

    /// Tells a peer what it can do without, unless much waits for it already.
    pub(super) fn hint(&mut self, key: PeerKey, message: Message) {
        if self.room(key) > limits::OUTBOX / 2 {
            self.send(key, message);
        }
    }

    pub(super) fn expect(&mut self, key: PeerKey, expect: Expect) {
        let Some(peer) = self.peers.get(&key) else { return };
        if !peer.session.expect(expect) {
            self.doom(key, BEHIND, false);
        }
    }

    pub(super) fn serve(&mut self, key: PeerKey, serve: Serve) {
        self.push(key, serve, |session| &session.serves);
    }

    fn push<T>(&mut self, key: PeerKey, value: T, queue: impl Fn(&Session) -> &Sender<T>) {
        let Some(peer) = self.peers.get(&key) else { return };
        if queue(&peer.session).try_send(value).is_err() {
            self.doom(key, BEHIND, false);
        }
    }

    /// The session will be ended as soon as the present event is dealt with.
    pub(super) fn doom(&mut self, key: PeerKey, reason: impl Into<String>, ban: bool) {
        if !self.doomed.iter().any(|d| d.key == key) {
            self.doomed.push(Doomed { key, reason: reason.into(), ban });
        }
    }

    pub(super) fn take_doomed(&mut self) -> Vec<Doomed> {
        std::mem::take(&mut self.doomed)
    }

    /// Bans the peer of a session that is, or was.
    pub(super) fn ban(&mut self, peer: PeerId, key: PeerKey, reason: String) -> Decided {
        let gone = || self.gone.iter().find(|(k, ..)| *k == key).and_then(|(.., ip)| *ip);
        let ip = self.peers.get(&key).map_or_else(gone, |peer| ip_of(&peer.addr));
        self.bans.ban(peer, ip, reason)
    }

    /// Something arrived from this peer.
    pub(super) fn heard(&mut self, key: PeerKey, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.heard = now;
        }
    }

    /// Asks a peer for a sign of life, unless that was asked already.
    pub(super) fn ping(&mut self, key: PeerKey, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.ping.is_none()) {
            (peer.ping, peer.pinged) = (Some((key.0, now)), now);
            self.send(key, Message::Ping(key.0));
        }
    }

    /// The answer to a ping: how long it took, if it was asked for.
    pub(super) fn pong(&mut self, key: PeerKey, number: u64, now: Instant) -> Option<Duration> {
        let peer = self.peers.get_mut(&key)?;
        let (_, sent) = peer.ping.take_if(|(n, _)| *n == number)?;
        let took = now.duration_since(sent);
        peer.rtt = Some(took);
        peer.nearest = Some(peer.nearest.map_or(took, |least| least.min(took)));
        Some(took)
    }

    /// Probes peers that have been silent, and drops those whose probe stayed without an answer.
    pub(super) fn probe(&mut self, now: Instant) {
        let mut pings = Vec::new();
        let (mut silent, mut unmet) = (Vec::new(), Vec::new());
        for (key, peer) in &mut self.peers {
            // Silence is borne for longer only of those who have spoken.
            if peer.dialled && peer.hello.is_none() && now.duration_since(peer.since) > limits::STREAM_TIMEOUT
            {
                unmet.push(*key);
            }
            let bytes = peer.session.traffic.down();
            if bytes != peer.heard_bytes {
                (peer.heard_bytes, peer.heard) = (bytes, now);
            }
            let quiet = now.duration_since(peer.heard);
            match peer.ping {
                Some((_, sent))
                    if quiet > limits::SESSION_SILENCE && now.duration_since(sent) > limits::PING_EVERY =>
                {
                    silent.push(*key);
                }
                None if quiet > limits::PING_EVERY || now.duration_since(peer.pinged) > MEASURE_EVERY => {
                    pings.push(*key);
                }
                _ => {}
            }
        }
        pings.into_iter().for_each(|key| self.ping(key, now));
        self.tell_waiting();
        silent.into_iter().for_each(|key| self.doom(key, "silent for too long", false));
        let within = limits::STREAM_TIMEOUT;
        unmet.into_iter().for_each(|key| {
            self.doom(key, format!("did not introduce itself within {within:?}"), false);
        });
    }

    /// Whom it was worth going to, and where.
    pub(super) fn givers(&self) -> impl Iterator<Item = (PeerId, Multiaddr)> {
        self.peers.values().filter_map(Peer::worth)
    }

    /// Payload bytes sent and received since start.
    pub(super) fn traffic(&self) -> (u64, u64) {
        let live = self.peers.values().map(|p| &p.session.traffic);
        live.fold(self.past, |(up, down), t| (up + t.up(), down + t.down()))
    }

    /// The rows of `swarm peers`; `rate` tells a peer's speed.
    pub(super) fn rows(&self, rate: impl Fn(PeerKey) -> u64) -> Vec<event::Peer> {
        let row = |(key, p): (&PeerKey, &Peer)| event::Peer {
            peer: p.id.to_string(),
            addr: p.addr.to_string(),
            class: p.class,
            agent: p.hello.as_ref().map_or_else(String::new, |h| h.agent.chars().take(64).collect()),
            down: p.session.traffic.down(),
            up: p.session.traffic.up(),
            rtt_us: p.rtt.map(|d| d.as_micros() as u64),
            rate: rate(*key),
        };
        self.peers.iter().map(row).collect()
    }
}

impl Peer {
    pub(super) fn new(
        id: PeerId,
        connection: ConnectionId,
        addr: Multiaddr,
        class: Class,
        session: Session,
    ) -> Self {
        let heard = Instant::now();
        Self {
            dialled: false,
            called: false,
            near: false,
            member: None,
            office_said: Lately::new(heard),
            office_told: Lately::new(heard),
            office_waits: VecDeque::new(),
            since: heard,
            id,
            connection,
            addr,
            class,
            hello: None,
            session,
            heard,
            heard_bytes: 0,
            ping: None,
            pinged: heard,
            rtt: None,
            nearest: None,
            width: 1,
            not_widened: None,
        }
    }

    /// The least round trip to it that was measured: without what waited on the way.
    pub(super) const fn nearest(&self) -> Option<Duration> {
        self.nearest
    }

    /// One more message about the office; false if those are too many.
    pub(super) fn may_say(&mut self, now: Instant) -> bool {
        self.office_said.one_more(now, OFFICE_WINDOW, limits::OFFICE_MESSAGES)
    }

    /// Counts one more message about the office to it; false if that would be too many. Its own count began at another time.
    fn may_hear(&mut self) -> bool {
        self.office_told.one_more(Instant::now(), 2 * OFFICE_WINDOW, limits::OFFICE_MESSAGES / 2)
    }

    /// Counts one more message, unless others wait already.
    fn may_hear_in_turn(&mut self) -> bool {
        self.office_waits.is_empty() && self.may_hear()
    }

    /// Who it is worth going to in another run, and where: who gave when we went to it, and any member of an office.
    pub(super) fn worth(&self) -> Option<(PeerId, Multiaddr)> {
        let gave = self.dialled && (self.session.traffic.down() > 0 || self.member.is_some());
        if gave {
            return Some((self.id, self.addr.clone()));
        }
        self.member.as_ref()?;
        let first = self.reachable()?.addrs.into_iter().next()?;
        Some((self.id, Multiaddr::try_from(first).ok()?))
    }

    /// Where others can reach it: the address it is seen at, with the ports it says it listens on.
    pub(super) fn reachable(&self) -> Option<PeerAddrs> {
        let (ip, hello) = (ip_of(&self.addr)?, self.hello.as_ref()?);
        let base = || match ip {
            IpAddr::V4(ip) => Multiaddr::from(ip),
            IpAddr::V6(ip) => Multiaddr::from(ip),
        };
        let tcp = hello.tcp.iter().map(|port| base().with(Protocol::Tcp(*port)));
        let quic = hello.quic.iter().map(|port| base().with(Protocol::Udp(*port)).with(Protocol::QuicV1));
        let direct = tcp.chain(quic).map(|a| a.to_vec()).take(limits::PEER_ADDRS - hello.relayed.len());
        let addrs: Vec<Vec<u8>> = direct.chain(hello.relayed.iter().cloned()).collect();
        (!addrs.is_empty()).then(|| PeerAddrs { peer: self.id.to_bytes(), addrs })
    }
}

/// How near a peer at this address is; our own addresses count as this machine.
pub(super) fn class_at(addr: &Multiaddr, own: &[Multiaddr]) -> Class {
    match ip_of(addr) {
        Some(ip) if own.iter().any(|a| ip_of(a) == Some(ip)) => Class::Host,
        Some(ip) => class_of(ip),
        None => Class::Wan,
    }
}

/// Whether a peer is of the local network, by an address that it has and not by its word: a private one, or, as all that has
/// IPv6 has global addresses, one of a subnet (/64) of ours. Public addresses of IPv4 that are near each other are those of
/// strangers in a data centre, and those that providers share out are of their other customers.
pub(super) fn is_near(addr: &Multiaddr, class: Class, own: &[Multiaddr]) -> bool {
    let Some(ip) = ip_of(addr) else { return false };
    let strangers = matches!(ip, IpAddr::V4(ip) if is_shared(ip));
    let on_link = || ip.is_ipv6() && own.iter().filter_map(ip_of).any(|own| subnet(ip) == subnet(own));
    class == Class::Host || (class == Class::Lan && !strangers) || on_link()
}

/// Whether a peer is of our site. Where either has a name for its site, the `names` (ours, theirs) decide; else a site is
/// this machine and our subnets (/24, /64).
pub(super) fn same_site(names: (Option<&str>, Option<&str>), addr: &Multiaddr, own: &[Multiaddr]) -> bool {
    if names != (None, None) {
        return names.0 == names.1;
    }
    let Some(ip) = ip_of(addr) else { return false };
    ip.is_loopback() || own.iter().filter_map(ip_of).any(|own| subnet(ip) == subnet(own))
}

/// What stands for a peer's site: its name, else its subnet.
pub(super) fn site_of(name: Option<&str>, addr: &Multiaddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, name.map_or_else(|| ip_of(addr).map(subnet), |_| None)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_told_of_an_office_is_never_too_much_for_who_counts_it() {
        let start = Instant::now();
        for offset in 0..40 {
            let (mut told, mut heard) = (Lately::new(start), Lately::new(start));
            for step in 0..20_000_u32 {
                let now = start + Duration::from_millis(u64::from(step) * 5);
                if told.one_more(now, 2 * OFFICE_WINDOW, limits::OFFICE_MESSAGES / 2) {
                    let there = now + Duration::from_millis(500 * offset);
                    assert!(heard.one_more(there, OFFICE_WINDOW, limits::OFFICE_MESSAGES), "{offset} {step}");
                }
            }
        }
    }

    #[test]
    fn a_site_is_a_subnet() {
        let own: Vec<Multiaddr> =
            ["/ip4/10.1.2.3/tcp/1", "/ip6/fd00:1:2:3::4/tcp/1"].map(|a| a.parse().unwrap()).to_vec();
        for (addr, near) in [
            ("/ip4/10.1.2.200/tcp/9", true),
            ("/ip4/10.1.3.3/tcp/9", false),
            ("/ip4/127.0.0.1/tcp/9", true),
            ("/ip6/fd00:1:2:3:ffff::1/tcp/9", true),
            ("/ip6/fd00:1:2:4::4/tcp/9", false),
            ("/ip6/::ffff:10.1.2.9/tcp/9", true),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!(same_site((None, None), &addr, &own), near, "{addr}");
            assert!(same_site((Some("berlin"), Some("berlin")), &addr, &own), "{addr}");
            for names in [(Some("berlin"), None), (None, Some("berlin")), (Some("berlin"), Some("bonn"))] {
                assert!(!same_site(names, &addr, &own), "{addr}");
            }
        }
    }
}
