//! The table of peers with a running session.
//!
//! [`Peers`] finds a peer by session key or identity, sends it messages and orders, watches that it is alive,
//! and collects the sessions that must end. Messages about the office are paced so that no peer gets more
//! than it accepts. Closing a session is left to the actor, which takes the list of doomed sessions after
//! each event.

mod nearness;
mod partings;
mod peer;
mod web_seed_id;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc::Sender;

use super::bans::Bans;
use super::session::Session;
use crate::api::status;
use crate::exchange::{Effect, KnownPeers, PeerFacts, ReceiveCommand, SendCommand};
use crate::limits;
use crate::net::address::ip_of;
use crate::net::connection_limits::Decided;
use crate::schedule::PeerKey;
use crate::store::Stored;
use crate::wire::{Message, PeerAddrs};
pub(crate) use nearness::{class_at, is_near, same_site, site_of};
pub(crate) use partings::Partings;
pub(crate) use peer::Peer;
pub(crate) use web_seed_id::WebSeedId;

/// Time for which a peer that we dialled counts as useful before it has said what it has.
const NEWCOMER: Duration = Duration::from_secs(2);

/// Time between two measurements of a peer's round trip, also while it is busy.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// Reason for ending the session of a peer whose queues are full.
const BEHIND: &str = "does not keep up with what it is sent";

/// A session that must end.
#[derive(Debug)]
pub(crate) struct Doomed {
    /// The session.
    pub(crate) key: PeerKey,
    /// The reason, for logs and for the peer.
    pub(crate) reason: String,
    /// True if the peer broke the rules and is kept away for a while.
    pub(crate) ban: bool,
    /// Notice of the end, if a person should know of it.
    pub(crate) parting: Option<Parting>,
}

/// Party that ended a session for a reason that a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// This node. The peer is told the reason.
    Ours,
    /// The peer.
    Theirs,
}

/// A peer whose session has ended.
#[derive(Debug)]
struct GonePeer {
    /// The session.
    key: PeerKey,
    /// The identity.
    id: PeerId,
    /// The address.
    ip: Option<IpAddr>,
    /// True if it was a web seed.
    web: bool,
}

/// The table of peers with a running session.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Peers that are kept away.
    pub(crate) bans: Bans,
    /// The number of the newest session key.
    next: u64,
    /// The peers by session key.
    peers: BTreeMap<PeerKey, Peer>,
    /// The session key of each identity.
    by_id: HashMap<PeerId, PeerKey>,
    /// Sessions that must end after the present event.
    doomed: Vec<Doomed>,
    /// The last ended sessions, newest first. Bytes may prove bad after their sender has gone. At most
    /// [`limits::CONNECTIONS`] entries.
    gone: VecDeque<GonePeer>,
    /// Payload bytes of ended sessions: sent and received.
    past: (u64, u64),
}

impl Peers {
    /// Returns an empty table. `seed` decides the first session key, so that no two networks of a node share
    /// keys.
    pub(crate) fn new(bans: Bans, seed: u64) -> Self {
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

    /// Returns a new session key.
    pub(crate) fn next_key(&mut self) -> PeerKey {
        self.next += 1;
        PeerKey(self.next)
    }

    /// Adds the peer of a new session.
    pub(crate) fn add(&mut self, key: PeerKey, peer: Peer) {
        self.by_id.insert(peer.id, key);
        self.peers.insert(key, peer);
    }

    /// Removes the peer of an ended session, and remembers it as gone.
    pub(crate) fn remove(&mut self, key: PeerKey) -> Option<Peer> {
        let peer = self.peers.remove(&key)?;
        self.by_id.remove(&peer.id);
        self.gone.truncate(limits::CONNECTIONS - 1);
        self.gone.push_front(GonePeer { key, id: peer.id, ip: ip_of(&peer.addr), web: peer.web });
        self.past.0 += peer.session.traffic.up();
        self.past.1 += peer.session.traffic.down();
        Some(peer)
    }

    /// Returns the identity behind a session that runs or ended lately.
    pub(crate) fn id_of(&self, key: PeerKey) -> Option<PeerId> {
        let gone = || self.gone(key).map(|gone| gone.id);
        self.peers.get(&key).map(|peer| peer.id).or_else(gone)
    }

    /// Returns true if a session that runs or ended lately is that of a web seed.
    pub(crate) fn is_web(&self, key: PeerKey) -> bool {
        let gone = || self.gone(key).is_some_and(|gone| gone.web);
        self.peers.get(&key).map_or_else(gone, |peer| peer.web)
    }

    /// Returns the peer of a session that ended lately.
    fn gone(&self, key: PeerKey) -> Option<&GonePeer> {
        self.gone.iter().find(|gone| gone.key == key)
    }

    /// Returns the peer of a session.
    pub(crate) fn get(&self, key: PeerKey) -> Option<&Peer> {
        self.peers.get(&key)
    }

    /// Returns the peer of a session, to be changed.
    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.peers.get_mut(&key)
    }

    /// Returns all peers with their session keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.peers.iter().map(|(key, peer)| (*key, peer))
    }

    /// Returns the sessions of the peers for which `holds` is true.
    pub(crate) fn those(&self, holds: impl Fn(&Peer) -> bool) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, peer)| holds(peer)).map(|(key, _)| *key).collect()
    }

    /// Returns the office keys of the peers that are members.
    pub(crate) fn members(&self) -> impl Iterator<Item = crate::signed::PublicKey> {
        self.peers.values().filter_map(|peer| Some(peer.member.as_ref()?.certificate.subject))
    }

    /// Returns the session key of an identity.
    pub(crate) fn key_of(&self, peer: &PeerId) -> Option<PeerKey> {
        self.by_id.get(peer).copied()
    }

    /// Returns the number of peers that are useful to a download. `offers` returns, for a peer that offers
    /// something, whether it delivers. Other peers count only while we have just dialled them, so that no
    /// crowd of inbound peers keeps us from looking for others.
    fn neighbours(&self, offers: &dyn Fn(PeerKey) -> Option<bool>) -> usize {
        let may_yet = |p: &Peer| p.dialled && p.since.elapsed() < NEWCOMER;
        self.peers.iter().filter(|(key, p)| offers(**key).unwrap_or_else(|| may_yet(p))).count()
    }

    /// Returns the sessions of the peers that have introduced themselves.
    pub(crate) fn ready(&self) -> Vec<PeerKey> {
        self.peers.iter().filter(|(_, p)| p.hello.is_some()).map(|(key, _)| *key).collect()
    }

    /// Sends a message, split into parts that fit the wire. Messages about the office wait if the peer may
    /// not get more of them now.
    pub(crate) fn send(&mut self, key: PeerKey, message: Message) {
        for message in message.fit() {
            let waits =
                message.is_of_office() && self.get_mut(key).is_some_and(|peer| !peer.may_hear_in_turn());
            if let (true, Some(peer)) = (waits, self.get_mut(key)) {
                // A peer this far behind gets the whole state when it reconnects.
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

    /// Carries out the effects of downloads and uploads, in order.
    pub(crate) fn carry_out(&mut self, effects: Vec<Effect<Stored>>) {
        for effect in effects {
            match effect {
                Effect::Send(key, message) => self.send(key, message),
                Effect::Hint(key, message) => self.hint(key, message),
                Effect::Vouch(key) => {
                    let _ = self.get_mut(key).is_some_and(Peer::may_hear);
                }
                Effect::Expect(key, command) => self.expect(key, command),
                Effect::Serve(key, command) => self.serve(key, command),
                Effect::Drop { peer, reason, ban } => self.doom(peer, reason, ban),
                Effect::Paused { id, error } => tracing::warn!(%id, %error, "paused"),
            }
        }
    }

    /// Sends waiting messages about the office, as far as each peer may get more now.
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

    /// Returns the free places in the queue of messages to a peer. One message more than this ends the
    /// session.
    pub(crate) fn room(&self, key: PeerKey) -> usize {
        self.peers.get(&key).map_or(0, |peer| peer.session.outbox.capacity())
    }

    /// Sends a message that the peer can do without, unless its queue is half full.
    pub(crate) fn hint(&mut self, key: PeerKey, message: Message) {
        if self.room(key) > limits::OUTBOX / 2 {
            self.send(key, message);
        }
    }

    /// Tells a peer's receiving side what may arrive. Ends the session if its queue is full.
    pub(crate) fn expect(&mut self, key: PeerKey, expect: ReceiveCommand<Stored>) {
        let Some(peer) = self.peers.get(&key) else { return };
        if !peer.session.expect(expect) {
            self.doom(key, BEHIND, false);
        }
    }

    /// Tells a peer's sending side what to send. Ends the session if its queue is full.
    pub(crate) fn serve(&mut self, key: PeerKey, serve: SendCommand<Stored>) {
        self.push(key, serve, |session| &session.serves);
    }

    /// Puts a value into a queue of a session, and ends the session if the queue is full.
    fn push<T>(&mut self, key: PeerKey, value: T, queue: impl Fn(&Session) -> &Sender<T>) {
        let Some(peer) = self.peers.get(&key) else { return };
        if queue(&peer.session).try_send(value).is_err() {
            self.doom(key, BEHIND, false);
        }
    }

    /// Marks a session to be ended once the present event is handled. The first reason counts.
    pub(crate) fn doom(&mut self, key: PeerKey, reason: impl Into<String>, ban: bool) {
        self.end(Doomed { key, reason: reason.into(), ban, parting: None });
    }

    /// Marks a session to be ended without a ban, for a reason that a person should know. A peer that this
    /// node dialled is not dialled again for a while.
    pub(crate) fn part(&mut self, key: PeerKey, reason: impl Into<String>, by: Parting) {
        self.end(Doomed { key, reason: reason.into(), ban: false, parting: Some(by) });
    }

    fn end(&mut self, doomed: Doomed) {
        if !self.doomed.iter().any(|d| d.key == doomed.key) {
            self.doomed.push(doomed);
        }
    }

    /// Takes the sessions that must end.
    pub(crate) fn take_doomed(&mut self) -> Vec<Doomed> {
        std::mem::take(&mut self.doomed)
    }

    /// Bans the peer of a session that runs or ended lately.
    pub(crate) fn ban(&mut self, peer: PeerId, key: PeerKey, reason: String) -> Decided {
        let gone = || self.gone(key).and_then(|gone| gone.ip);
        let ip = self.peers.get(&key).map_or_else(gone, |peer| ip_of(&peer.addr));
        self.bans.ban(peer, ip, reason)
    }

    /// Records that something arrived from a peer.
    pub(crate) fn heard(&mut self, key: PeerKey, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.heard = now;
        }
    }

    /// Sends a ping, unless one is unanswered already.
    pub(crate) fn ping(&mut self, key: PeerKey, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.ping.is_none()) {
            (peer.ping, peer.pinged) = (Some((key.0, now)), now);
            self.send(key, Message::Ping(key.0));
        }
    }

    /// Handles the answer to a ping. Returns the round trip time, `None` if this ping was not sent.
    pub(crate) fn pong(&mut self, key: PeerKey, number: u64, now: Instant) -> Option<Duration> {
        let peer = self.peers.get_mut(&key)?;
        let (_, sent) = peer.ping.take_if(|(n, _)| *n == number)?;
        let took = now.duration_since(sent);
        peer.rtt = Some(took);
        peer.nearest = Some(peer.nearest.map_or(took, |least| least.min(took)));
        Some(took)
    }

    /// Pings peers that are silent, or whose round trip was not measured lately, and sends waiting office
    /// messages. Dooms peers that answer no ping, and dialled peers that did not introduce themselves in
    /// time.
    pub(crate) fn probe(&mut self, now: Instant) {
        let mut pings = Vec::new();
        let (mut silent, mut unmet) = (Vec::new(), Vec::new());
        for (key, peer) in &mut self.peers {
            // A dialled peer that has not spoken gets less time than one that has.
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

    /// Returns the peers that have given or taken something since the last call.
    pub(crate) fn lively(&mut self) -> Vec<PeerId> {
        let mut lively = Vec::new();
        for peer in self.peers.values_mut() {
            let moved = peer.session.traffic.up() + peer.session.traffic.down();
            if std::mem::replace(&mut peer.moved_bytes, moved) != moved {
                lively.push(peer.id);
            }
        }
        lively
    }

    /// Returns the peers worth dialling in the next run, each with an address.
    pub(crate) fn givers(&self) -> impl Iterator<Item = (PeerId, Multiaddr)> {
        self.peers.values().filter_map(Peer::worth)
    }

    /// Returns the payload bytes sent and received since the start.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let live = self.peers.values().map(|p| &p.session.traffic);
        live.fold(self.past, |(up, down), t| (up + t.up(), down + t.down()))
    }

    /// Returns the rows of `swarm peers`. `rate` returns a peer's rate in bytes per second.
    pub(crate) fn rows(&self, rate: impl Fn(PeerKey) -> u64) -> Vec<status::PeerRow> {
        let row = |(key, p): (&PeerKey, &Peer)| status::PeerRow {
            peer: p.id.to_string(),
            addr: p.addr.to_string(),
            class: p.class,
            agent: p.hello.as_ref().map_or_else(String::new, |h| h.agent.clone()),
            down: p.session.traffic.down(),
            up: p.session.traffic.up(),
            rtt_us: p.rtt.map(|d| d.as_micros() as u64),
            rate: rate(*key),
        };
        self.peers.iter().map(row).collect()
    }
}

impl KnownPeers for Peers {
    fn facts(&self, key: PeerKey) -> Option<PeerFacts> {
        let peer = self.get(key)?;
        let member = peer.member.as_ref().map(|member| member.certificate.subject);
        Some(PeerFacts { class: peer.class, near: peer.near, member })
    }

    fn reachable(&self, key: PeerKey) -> Option<PeerAddrs> {
        self.get(key).and_then(Peer::reachable)
    }

    fn name(&self, key: PeerKey) -> Option<String> {
        self.id_of(key).map(|id| id.to_string())
    }

    fn is_web(&self, key: PeerKey) -> bool {
        self.is_web(key)
    }

    fn is_banned(&self, key: PeerKey) -> bool {
        self.id_of(key).is_some_and(|id| self.bans.is_banned(&id))
    }

    fn room(&self, key: PeerKey) -> usize {
        self.room(key)
    }

    fn may_hear(&self, key: PeerKey, more: u32) -> bool {
        self.get(key).is_some_and(|peer| peer.may_hear_more(more))
    }

    fn introduced(&self) -> usize {
        self.ready().len()
    }

    fn useful(&self, offers: &dyn Fn(PeerKey) -> Option<bool>) -> usize {
        self.neighbours(offers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::Store;

    /// A chunk of a web seed that proved bad after the session had ended banned a peer id that nobody knows.
    #[test]
    fn a_web_seed_is_known_as_one_when_its_session_has_ended() {
        let home = tempfile::tempdir().unwrap();
        let (bans, _) = Bans::load(&Store::open(home.path(), None, false).unwrap());
        let mut peers = Peers::new(bans, 1);
        let key = peers.next_key();
        let (session, _messages) = Session::without_peer();
        peers.add(key, Peer::of_web_seed(WebSeedId::new("http://example.org/file", key), session));
        assert!(peers.is_web(key));
        assert!(peers.remove(key).is_some_and(|peer| peer.web));
        assert!(peers.is_web(key) && peers.id_of(key).is_some());
        assert!(!peers.is_web(PeerKey(key.0 + 1)));
    }
}
