//! Sessions of simulated hosts: messages are carried over, and effects are carried out, as a node's actor and
//! its sessions do. The downloads and uploads that are shipped decide which effects there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarm_core::distance::Distance;
use swarm_core::exchange::{
    Access, Downloads, Effect, Effects, KnownPeers, Outcome, PeerFacts, SendCommand, Stage, Uploads,
    WantOutcome,
};
use swarm_core::limits;
use swarm_core::options::Audience;
use swarm_core::schedule::PeerKey;
use swarm_core::wire::{Handle, Message, PeerAddrs, RefusalReason};

use super::host_blob::HostBlob;
use super::links::Block;
use super::scenario::{Habit, Time};
use super::world::{Event, World, peer_key, split};

/// Anybody may fetch.
pub(super) const OPEN: Access = Access { audience: Audience::Anyone, office: None };

/// A host's end of a connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: u64,
    /// The other end is of the same site.
    pub(super) local: bool,
    /// The last message on its way arrives then: the next not before it.
    pub(super) arrives: Time,
}

/// The peers of a host.
struct Neighbours<'a> {
    sessions: &'a BTreeMap<usize, Session>,
    banned: &'a BTreeSet<usize>,
}

impl Neighbours<'_> {
    fn session(&self, key: PeerKey) -> Option<&Session> {
        let (host, conn) = split(key);
        self.sessions.get(&host).filter(|session| session.conn == conn)
    }
}

impl KnownPeers for Neighbours<'_> {
    fn facts(&self, key: PeerKey) -> Option<PeerFacts> {
        let class = self.session(key)?.class();
        Some(PeerFacts { class, near: class == Distance::Lan, member: None })
    }

    /// Neighbours are found by [`World`], not by introductions.
    fn reachable(&self, _: PeerKey) -> Option<PeerAddrs> {
        None
    }

    fn name(&self, key: PeerKey) -> Option<String> {
        Some(split(key).0.to_string())
    }

    /// There are no web seeds in the simulator.
    fn is_web(&self, _: PeerKey) -> bool {
        false
    }

    fn is_banned(&self, key: PeerKey) -> bool {
        self.banned.contains(&split(key).0)
    }

    fn room(&self, key: PeerKey) -> usize {
        if self.session(key).is_some() { limits::OUTBOX } else { 0 }
    }

    fn may_hear(&self, _: PeerKey, _: u32) -> bool {
        true
    }

    fn introduced(&self) -> usize {
        self.sessions.len()
    }

    fn useful(&self, offers: &dyn Fn(PeerKey) -> Option<bool>) -> usize {
        let keys = self.sessions.iter().map(|(host, session)| peer_key(session.conn, *host));
        keys.filter(|key| offers(*key).unwrap_or_default()).count()
    }
}

impl Session {
    pub(super) const fn class(&self) -> Distance {
        if self.local { Distance::Lan } else { Distance::Wan }
    }
}

impl World {
    /// Lets a host's downloads and uploads decide about an event, and carries out what they have decided.
    pub(super) fn exchange(
        &mut self,
        host: usize,
        decide: impl FnOnce(&mut Downloads<HostBlob>, &mut Uploads<HostBlob>, &mut Effects<'_, HostBlob>),
    ) {
        let now = Duration::from_nanos(self.now);
        let h = &mut self.hosts[host];
        let peers = Neighbours { sessions: &h.sessions, banned: &h.banned };
        let mut effects = Effects::new(now, &peers);
        decide(&mut h.downloads, &mut h.uploads, &mut effects);
        h.downloads.shared(&mut effects, &mut h.uploads);
        let effects = effects.into_list();
        let mut complete = false;
        h.downloads.publish(|_, view| complete |= matches!(view.stage, Stage::Complete));
        for effect in effects {
            self.carry_out(host, effect);
        }
        if complete && self.hosts[host].done.is_none() {
            self.complete(host);
        }
        self.wake(host);
    }

    /// Has a host look at the time when it is due.
    fn wake(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if !h.tick
            && let Some(wait) = h.downloads.next_tick(Duration::from_nanos(self.now))
        {
            h.tick = true;
            let (at, life) = (self.now + wait.as_nanos() as u64, h.life);
            self.push(at, Event::Tick { host, life });
        }
    }

    /// A host has every chunk.
    fn complete(&mut self, host: usize) {
        if !self.calm {
            self.check_complete(host);
        }
        let life = self.hosts[host].life;
        self.hosts[host].done = Some(self.now);
        self.push(self.now, Event::Finished { host, life });
    }

    fn carry_out(&mut self, host: usize, effect: Effect<HostBlob>) {
        if !self.calm {
            self.check(host, &effect);
        }
        match effect {
            Effect::Send(peer, message) | Effect::Hint(peer, message) => {
                message.fit().into_iter().for_each(|message| self.send(host, peer, message));
            }
            Effect::Serve(peer, SendCommand::Request { blob, first, count }) => {
                (first..first + count).for_each(|chunk| self.send_chunk(host, peer, (blob, chunk)));
            }
            Effect::Serve(peer, SendCommand::Close { .. }) => {
                self.links.drop_queue(host, Some(split(peer).1));
            }
            Effect::Drop { peer, ban: true, .. } => self.ban(host, split(peer)),
            Effect::Drop { peer, reason, .. } => self.violate(host, &format!("drops {peer:?}: {reason}")),
            // What is expected is entered in the host's books; lists are known, and disks never full.
            Effect::Expect(..) | Effect::Serve(..) | Effect::Vouch(_) | Effect::Paused { .. } => {}
        }
    }

    /// Sends a control message on the session of this key.
    pub(super) fn send(&mut self, from: usize, peer: PeerKey, message: Message) {
        let (to, conn) = split(peer);
        self.outcome.messages += 1;
        let kind = match message {
            Message::Request { .. } => 0,
            Message::Refuse { .. } => 1,
            Message::Grant { .. } => 2,
            Message::Have { .. } => 3,
            Message::Need { .. } => 4,
            _ => 5,
        };
        self.outcome.kinds[kind] += 1;
        if let Some(trace) = self.trace {
            trace(&format!("{:>12} {from} -> {to} {message:?}", self.now));
        }
        let Some(session) = self.hosts[from].sessions.get_mut(&to).filter(|s| s.conn == conn) else {
            return;
        };
        let mut at = self.now + self.links.latency(from, to);
        if !self.calm {
            let (until, by) = self.delay;
            at += if self.now < until { by } else { 0 };
            at = at.max(self.links.held(from, to, self.now).unwrap_or(0)).max(session.arrives);
            session.arrives = at;
            if self.broken.contains(&conn) {
                return;
            }
        }
        self.push(at, Event::Message { to, from, conn, message });
    }

    fn send_chunk(&mut self, host: usize, peer: PeerKey, (blob, chunk): (Handle, u32)) {
        let (to, conn) = split(peer);
        let bad = match self.hosts[host].spec.habit {
            Habit::Corrupt(permille) => self.random.below(1000) < usize::from(permille),
            Habit::Overclaims if !self.hosts[host].have.borrow().get(chunk) => {
                return self.send(host, peer, Message::Decline { blob, chunk, why: RefusalReason::Missing });
            }
            Habit::Silent => return,
            Habit::Drips => {
                let block = Block { to, from: host, conn, blob, chunk, bytes: 1, last: false, bad: false };
                return self.push(self.now, Event::Drip(block));
            }
            _ => false,
        };
        if self.broken.contains(&conn) {
            return;
        }
        if self.hosts[to].spec.habit == Habit::Unread {
            // What it does not read fills a window, and at last the patience of the one who sends it.
            let at = self.now + limits::SEND_PATIENCE.as_nanos() as Time;
            self.push(at, Event::Down { host, peer: to, conn });
            return self.push(at, Event::Down { host: to, peer: host, conn });
        }
        if let Some(trace) = self.trace {
            trace(&format!("{:>12} {host} => {to} chunk {chunk}", self.now));
        }
        let size = self.geometry.chunk(chunk).map_or(0, |c| self.geometry.size(c) as u64);
        let block = Block { to, from: host, conn, blob, chunk, bytes: 0, last: false, bad };
        self.links.send(block, size, self.now, &mut self.hops);
        self.push_hops();
    }

    /// Handles a chunk that a host has sent `whole`, or will not send.
    pub(super) fn sent(&mut self, host: usize, peer: PeerKey, blob: Handle, whole: bool) {
        self.exchange(host, |downloads, uploads, effects| {
            downloads.sent(peer, (blob, whole), effects, uploads);
        });
    }

    /// Bytes of a chunk have arrived; with an outcome, its last.
    pub(super) fn received(&mut self, block: Block, outcome: Option<Outcome>) {
        let (peer, now) = (peer_key(block.conn, block.from), Duration::from_nanos(self.now));
        let part = (block.blob, block.chunk, block.bytes);
        match outcome {
            Some(outcome) => self.exchange(block.to, |downloads, uploads, effects| {
                downloads.chunk(peer, part, outcome, effects, uploads);
            }),
            None => self.hosts[block.to].downloads.bytes(peer, part, now),
        }
    }

    /// A message is there.
    pub(super) fn message(&mut self, to: usize, from: usize, conn: u64, message: Message) {
        let peer = peer_key(conn, from);
        let Some(message) = (if self.codec { over_the_wire(&message) } else { Some(message) }) else {
            // A frame that cannot be: the one who sent it is closed out.
            if self.hosts[from].spec.habit == Habit::Honest {
                self.violate(from, "sends what cannot be read");
            }
            return self.ban(to, (from, conn));
        };
        match (message, self.hosts[to].spec.habit) {
            (Message::Grant { .. }, Habit::Hoarder) => {}
            (Message::Grant { blob, count, .. }, Habit::Unread) => {
                for _ in 0..count {
                    let any = self.random.below(self.geometry.chunks() as usize) as u32;
                    self.send(to, peer, Message::Request { blob, first: any, count: 1 });
                }
            }
            (Message::Want { blob, id }, habit) => {
                let gives = habit != Habit::FreeRider;
                let source = gives.then(|| self.advertised(to));
                self.exchange(to, |_, uploads, effects| {
                    match uploads.want(peer, (blob, id), true, effects) {
                        Some(WantOutcome::Open) => uploads.opened(id, source, &OPEN, effects),
                        Some(WantOutcome::Answered | WantOutcome::Denied { .. }) => {}
                        None => effects.doom(peer, "wants more than it may", true),
                    }
                });
            }
            (Message::Offer(offer), _) => self.exchange(to, |downloads, uploads, effects| {
                downloads.offered(peer, offer, true, effects, uploads);
            }),
            (Message::Cancel { blob, chunk }, _) => {
                if self.links.cancel(to, conn, chunk) {
                    self.sent(to, peer, blob, false);
                }
            }
            // A log's business.
            (Message::Bad { .. }, _) => {}
            (message, _) => {
                if let Message::Request { first, count, .. } = message {
                    (first..first + count).for_each(|chunk| self.check_asked(to, from, chunk));
                }
                self.exchange(to, |downloads, uploads, effects| {
                    let other = downloads.heard(peer, message, effects, uploads);
                    assert!(other.is_none(), "not sent here: {other:?}");
                });
            }
        }
    }
}

/// A message as its receiver reads it.
fn over_the_wire(message: &Message) -> Option<Message> {
    Message::decode(&message.encode().ok()?).ok()?
}
