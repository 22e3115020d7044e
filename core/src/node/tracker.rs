//! Trackers: what each is told of what we have and want, and when. Decides; a link each carries the messages.
//!
//! A node announces one set of swarms: what it fetches, and what it holds. Of several trackers [`limits::TRACKER_COPIES`]
//! are told of each swarm, chosen by the swarm's key ([`responsible`]), so that nodes with the same trackers meet at the
//! same ones without talking about it; while one of them cannot be reached, the next in order is told as well. A tracker
//! that a link names is told of what that link is for, and of nothing else.

pub mod addr;
pub mod conn;
pub mod desk;
pub mod ledger;

mod calls;
mod frames;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use super::discovery::{ip_of, split_peer};
use super::event;
use crate::id::ContentId;
use crate::limits;
use crate::office::secret::OfficeSecret;
use crate::wire::PeerAddrs;
use crate::wire::tracker::{Announce, Answer, Key, key_of};
use conn::Link;
pub(super) use conn::Reply;
use ledger::Ledger;

/// What a tracker may ask for: seconds from one announcement to the next, at the latest.
const INTERVAL: (u32, u32) = (15, 3600);
/// The same at the earliest, in the long run.
const PAUSE: (u32, u32) = (1, 60);
/// Announcements that may go out ahead of that pace: a fetch begins with several pieces of news.
const AHEAD: u32 = 10;
/// What is lacking is asked for again after a pause that doubles up to this.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// A tracker that cannot be reached is tried again after this...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ...which doubles up to this while something is wanted...
const RETRY_WANTING: Duration = Duration::from_secs(10);
/// ...and to this otherwise.
const RETRY_IDLE: Duration = Duration::from_secs(60);
/// After so many failures another tracker takes its place.
const GONE_AFTER: u32 = 2;
/// A tracker that only a link names is forgotten after so many failures.
const LINKED_FAILS: u32 = 4;
/// How long a node that ends waits for its trackers to have heard of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Which of several trackers are told of a swarm: rendezvous hashing (Thaler and Ravishankar 1998), the first
/// [`limits::TRACKER_COPIES`] in the order of their scores; for each of them that is `gone`, one more that is not.
/// `names` are what everybody calls the trackers.
#[must_use]
pub fn responsible(key: &Key, names: &[&str], gone: impl Fn(usize) -> bool) -> Vec<usize> {
    if names.len() <= limits::TRACKER_COPIES {
        return (0..names.len()).collect();
    }
    let score = |name: &str| *blake3::Hasher::new().update(key).update(name.as_bytes()).finalize().as_bytes();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|at| score(names[*at]));
    let mut reachable = 0;
    let mut chosen = Vec::new();
    for (place, at) in order.into_iter().enumerate() {
        let counts = !gone(at);
        if place < limits::TRACKER_COPIES || (counts && reachable < limits::TRACKER_COPIES) {
            chosen.push(at);
            reachable += usize::from(counts);
        }
    }
    chosen
}

/// What everybody calls a tracker: its peer id if that is known, else its address.
fn name_of(address: &Multiaddr) -> String {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => peer.to_string(),
        _ => address.to_string(),
    }
}

/// The trackers that a link to this content names: those that are told of it first.
#[must_use]
pub(super) fn for_link(id: ContentId, all: &[String]) -> Vec<String> {
    let names: Vec<String> =
        all.iter().map(|text| text.parse().map_or_else(|_| text.clone(), |addr| name_of(&addr))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = responsible(&key_of(id), &names, |_| false);
    let rest = (0..all.len()).filter(|at| !first.contains(at));
    first.iter().copied().chain(rest).map(|at| all[at].clone()).collect()
}

/// How we stand to one swarm.
#[derive(Debug, Clone, Copy)]
struct Stand {
    id: ContentId,
    whole: bool,
    /// We fetch it.
    wanted: bool,
}

/// One tracker.
#[derive(Debug)]
struct Tracker {
    number: u64,
    address: Multiaddr,
    /// What everybody calls it: its peer id if that is known, else its address.
    name: String,
    /// A link named it, for these swarms.
    only: Option<BTreeSet<Key>>,
    link: Link,
    ledger: Ledger,
    /// An announcement is under way.
    waits: bool,
    /// When it is announced to again, whatever happens.
    renew: Instant,
    /// Not before this: it could not be reached.
    retry: Option<Instant>,
    fails: u32,
    error: Option<String>,
    pause: Duration,
    /// When all that was said would have been, at its pace.
    paid: Instant,
    /// The addresses it was told.
    told_addrs: Vec<Vec<u8>>,
    /// Who answered there.
    proven: Option<PeerId>,
    /// It does not take in all: no news before it is announced to again anyway.
    full: bool,
    /// What was asked: when last, and how often.
    asked: BTreeMap<Key, (Instant, u32)>,
    /// What it says of the swarms we want: members, and how many have everything.
    counts: BTreeMap<Key, (u64, u64)>,
    answered: bool,
}

/// Members that a tracker names.
#[derive(Debug)]
pub(super) struct Named {
    /// The tracker's number: limits are counted by it.
    pub(super) by: u64,
    /// Where it is: numbers, and who it is.
    pub(super) at: Option<Multiaddr>,
    /// Where it sees us.
    pub(super) seen: Option<IpAddr>,
    /// A link named the tracker, nobody else.
    pub(super) linked: bool,
    pub(super) peers: Vec<PeerAddrs>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Trackers {
    key: Keypair,
    site: Option<String>,
    /// What an office tells them is blinded with this.
    blind: Option<OfficeSecret>,
    set: BTreeMap<Key, Stand>,
    wanted: BTreeSet<Key>,
    all: Vec<Tracker>,
    next: u64,
    /// Versions begin here: later than those of an earlier run.
    start: u64,
    replies: (mpsc::Sender<Reply>, mpsc::Receiver<Reply>),
    /// Something has happened after which there may be something to say.
    due: bool,
}

impl Trackers {
    /// Announces to these, under this identity.
    pub(super) fn new(
        given: Vec<Multiaddr>,
        key: Keypair,
        site: Option<String>,
        blind: Option<OfficeSecret>,
    ) -> Self {
        let start = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_micros() as u64);
        let replies = mpsc::channel(limits::TRACKERS + limits::LINKED_TRACKERS);
        let (set, wanted) = (BTreeMap::new(), BTreeSet::new());
        let all = Vec::new();
        let mut new = Self { key, site, blind, set, wanted, all, next: 0, start, replies, due: true };
        given.into_iter().for_each(|address| new.add(address, None));
        new
    }

    /// The name of a swarm.
    fn key_of(&self, id: ContentId) -> Key {
        match &self.blind {
            Some(secret) => key_of(ContentId::from_bytes(secret.tracker_key(id))),
            None => key_of(id),
        }
    }

    /// Other names from now on.
    pub(super) fn blinded(&mut self, secret: OfficeSecret) {
        let stands: Vec<Stand> = self.set.values().copied().collect();
        stands.iter().for_each(|stand| self.drops(stand.id));
        self.blind = Some(secret);
        stands.into_iter().for_each(|stand| self.stand(stand.id, Some(stand)));
    }

    fn add(&mut self, address: Multiaddr, only: Option<BTreeSet<Key>>) {
        self.next += 1;
        let name = name_of(&address);
        let link = Link::start(self.next, address.clone(), self.key.clone(), self.replies.0.clone());
        let now = Instant::now();
        self.all.push(Tracker {
            number: self.next,
            address,
            name,
            only,
            link,
            ledger: Ledger::new(self.start.wrapping_add(u64::from(rand(self.next, Instant::now())) << 40)),
            waits: false,
            renew: now,
            retry: None,
            fails: 0,
            error: None,
            pause: Duration::from_secs(PAUSE.0.into()),
            paid: now,
            told_addrs: Vec::new(),
            proven: None,
            full: false,
            asked: BTreeMap::new(),
            counts: BTreeMap::new(),
            answered: false,
        });
    }

    /// A link names this tracker for what we are about to fetch.
    pub(super) fn linked(&mut self, address: &Multiaddr, id: ContentId) {
        let key = self.key_of(id);
        if let Some(known) = self.all.iter_mut().find(|t| t.address == *address) {
            if let Some(only) = &mut known.only
                && only.insert(key)
            {
                known.ledger.changed(key);
            }
            return;
        }
        if self.all.iter().filter(|t| t.only.is_some()).count() < limits::LINKED_TRACKERS {
            self.add(address.clone(), Some(BTreeSet::from([key])));
            if let (Some(new), true) = (self.all.last_mut(), self.set.contains_key(&key)) {
                new.ledger.changed(key);
            }
        }
    }

    /// We fetch this.
    pub(super) fn wants(&mut self, id: ContentId) {
        // Nobody waits out a long pause.
        let soon = Instant::now() + RETRY_FIRST;
        self.all.iter_mut().for_each(|tracker| tracker.retry = tracker.retry.map(|retry| retry.min(soon)));
        self.stand(id, Some(Stand { id, whole: false, wanted: true }));
    }

    /// We hold all of this.
    pub(super) fn holds(&mut self, id: ContentId) {
        self.stand(id, Some(Stand { id, whole: true, wanted: false }));
    }

    /// We do not take part in this any longer.
    pub(super) fn drops(&mut self, id: ContentId) {
        self.stand(id, None);
    }

    fn stand(&mut self, id: ContentId, stand: Option<Stand>) {
        // What was told of while there was somebody to tell still ends.
        if self.all.is_empty() && stand.is_some() {
            return;
        }
        self.due = true;
        let key = self.key_of(id);
        let before = match stand {
            Some(stand) => self.set.insert(key, stand),
            None => self.set.remove(&key),
        };
        if stand.is_some_and(|stand| stand.wanted) {
            self.wanted.insert(key);
        } else {
            self.wanted.remove(&key);
            self.all.iter_mut().for_each(|tracker| {
                tracker.asked.remove(&key);
                tracker.counts.remove(&key);
            });
        }
        if before.map(|b| b.whole) != stand.map(|s| s.whole) {
            for at in self.tellers(&key) {
                self.all[at].ledger.changed(key);
            }
        }
    }

    /// What is fetched no longer, without having been told of otherwise.
    pub(super) fn settle(&mut self, active: impl Fn(ContentId) -> bool) {
        self.due = true;
        let ended = |key: &&Key| self.set.get(*key).is_none_or(|stand| !active(stand.id));
        let ended: Vec<Key> = self.wanted.iter().filter(ended).copied().collect();
        for key in ended {
            if let Some(stand) = self.set.get(&key) {
                self.drops(stand.id);
            }
        }
        // A link's tracker is of use while that link's content is fetched, and answers.
        let wanted = &self.wanted;
        let of_use = |only: &BTreeSet<Key>| only.iter().any(|key| wanted.contains(key));
        self.all.retain(|t| t.only.as_ref().is_none_or(|only| t.fails < LINKED_FAILS && of_use(only)));
    }

    /// The trackers that are told of a swarm.
    fn tellers(&self, key: &Key) -> Vec<usize> {
        let given: Vec<usize> = (0..self.all.len()).filter(|at| self.all[*at].only.is_none()).collect();
        let names: Vec<&str> = given.iter().map(|at| self.all[*at].name.as_str()).collect();
        let gone = |at: usize| self.all[given[at]].fails >= GONE_AFTER;
        let chosen = responsible(key, &names, gone).into_iter().map(|at| given[at]);
        let linked = |at: &usize| self.all[*at].only.as_ref().is_some_and(|only| only.contains(key));
        chosen.chain((0..self.all.len()).filter(linked)).collect()
    }

    /// The swarms that a tracker is told of.
    fn told(&self, at: usize) -> Vec<Key> {
        if let Some(only) = &self.all[at].only {
            return only.iter().filter(|key| self.set.contains_key(*key)).copied().collect();
        }
        if self.all.iter().filter(|t| t.only.is_none()).count() <= limits::TRACKER_COPIES {
            return self.set.keys().copied().collect();
        }
        self.set.keys().filter(|key| self.tellers(key).contains(&at)).copied().collect()
    }

    /// A tracker can be reached no longer: others are told of what it was told. When it is back it finds out by itself what it
    /// lacks, and what the others know beside does no harm.
    fn stand_in_for(&mut self, gone: usize) {
        if self.all.iter().filter(|t| t.only.is_none()).count() <= limits::TRACKER_COPIES {
            return;
        }
        let keys: Vec<Key> = self.set.keys().copied().collect();
        for key in keys {
            let tellers = self.tellers(&key);
            if tellers.contains(&gone) {
                for at in tellers.into_iter().filter(|at| *at != gone) {
                    self.all[at].ledger.changed(key);
                }
            }
        }
    }

    /// We are reached elsewhere, or otherwise.
    pub(super) const fn moved(&mut self) {
        self.due = true;
    }

    /// Whether there may be something to announce; true once a second at least ([`Self::settle`]).
    pub(super) const fn is_due(&self) -> bool {
        self.due
    }

    /// Announces where that is due. `lacks` tells whether more holders of what we want are worth finding; `addrs` is where
    /// we listen.
    pub(super) fn announce(&mut self, lacks: bool, addrs: &[Multiaddr], now: Instant) {
        self.due = false;
        if self.all.is_empty() {
            return;
        }
        let addrs = told_addrs(addrs);
        for at in 0..self.all.len() {
            let tracker = &self.all[at];
            let held_back = tracker.waits || tracker.retry.is_some_and(|retry| now < retry);
            if held_back || addrs.is_empty() {
                continue;
            }
            let ask = self.questions(at, lacks, now);
            let tracker = &mut self.all[at];
            let changed = tracker.ledger.has_news() && !tracker.full;
            let news = !ask.is_empty() || changed || tracker.told_addrs != addrs;
            let in_pace = tracker.paid <= now + tracker.pause * AHEAD;
            if now < tracker.renew && !(news && in_pace) {
                continue;
            }
            let set = &self.set;
            let part = tracker.ledger.part(|key| set.get(key).map(|stand| stand.whole));
            for key in &ask {
                let asked = tracker.asked.entry(*key).or_insert((now, 0));
                *asked = (now, asked.1 + 1);
            }
            let announce = Announce {
                site: self.site.clone(),
                addrs: addrs.clone(),
                base: part.base,
                version: part.version,
                add: part.add,
                drop: part.drop,
                ask,
                leave: false,
            };
            tracker.told_addrs.clone_from(&addrs);
            tracker.paid = tracker.paid.max(now) + tracker.pause;
            tracker.waits = tracker.link.announce(announce);
        }
    }

    /// What is to be asked of a tracker now: what has never been, and what has been longest ago, if it is lacking.
    fn questions(&self, at: usize, lacks: bool, now: Instant) -> Vec<Key> {
        let tracker = &self.all[at];
        let due = |key: &&Key| match tracker.asked.get(*key) {
            None => true,
            Some((last, times)) => {
                let pause = tracker.pause.saturating_mul(1 << (times - 1).min(6)).min(ASK_AGAIN);
                lacks && now >= *last + pause.max(tracker.pause)
            }
        };
        let mut due: Vec<Key> = self.wanted.iter().filter(due).copied().collect();
        if tracker.only.is_some() || self.all.len() > limits::TRACKER_COPIES {
            due.retain(|key| self.tellers(key).contains(&at));
        }
        due.sort_by_key(|key| tracker.asked.get(key).map(|(last, _)| *last));
        due.truncate(limits::ANNOUNCE_ASKS);
        due
    }

    /// The next reply of any tracker, for [`Self::heard`].
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        self.replies.1.recv().await
    }

    /// Takes in what came of an announcement.
    pub(super) fn heard(&mut self, reply: Reply, now: Instant) -> Option<Named> {
        let at = self.all.iter().position(|tracker| tracker.number == reply.tracker)?;
        self.due = true;
        let tracker = &mut self.all[at];
        if !reply.asked && tracker.waits {
            // What is under way is answered on a new connection.
            return None;
        }
        let was_gone = tracker.fails >= GONE_AFTER;
        tracker.waits = false;
        let answer = match reply.answer {
            Ok(answer) => answer,
            Err(reason) => {
                tracker.failed(reason, !self.wanted.is_empty(), now);
                if !was_gone && tracker.fails >= GONE_AFTER {
                    self.stand_in_for(at);
                }
                return None;
            }
        };
        tracker.reached(&answer, now);
        tracker.proven = reply.at.as_ref().and_then(|at| split_peer(at).1);
        self.merge(at);
        // Places have moved, or it was this one that went.
        let at = self.all.iter().position(|tracker| tracker.number == reply.tracker)?;
        if !self.all[at].ledger.answered(answer.version, []) {
            // It was started anew, or has forgotten us.
            let all = self.told(at);
            self.all[at].ledger.forget(all);
        }
        let (tracker, wanted) = (&mut self.all[at], &self.wanted);
        let mut peers = Vec::new();
        for found in answer.found {
            if wanted.contains(&found.key) {
                tracker.counts.insert(found.key, (found.members, found.whole));
                peers.extend(found.peers);
            }
        }
        let seen = Multiaddr::try_from(answer.seen).ok().as_ref().and_then(ip_of);
        Some(Named { by: tracker.number, at: reply.at, seen, linked: tracker.only.is_some(), peers })
    }

    /// Two addresses of one tracker are one tracker: it has one set of ours. The one that was given stays, or the first.
    fn merge(&mut self, at: usize) {
        let (number, proven) = (self.all[at].number, self.all[at].proven);
        let same = |t: &&Tracker| t.number != number && t.proven.is_some() && t.proven == proven;
        let Some(other) = self.all.iter().find(same) else { return };
        let rank = |t: &Tracker| (t.only.is_some(), t.number);
        let goes = if rank(other) < rank(&self.all[at]) { number } else { other.number };
        let only =
            self.all.iter().find(|t| t.number == goes).and_then(|t| t.only.clone()).unwrap_or_default();
        self.all.retain(|t| t.number != goes);
        let stays = self.all.iter_mut().find(|t| t.proven == proven);
        if let Some(stays) = stays {
            // It has been told of less by the other one, perhaps.
            stays.ledger.give_up();
            if let Some(known) = &mut stays.only {
                known.extend(only.iter().copied());
            }
            only.into_iter().for_each(|key| stays.ledger.changed(key));
        }
    }

    /// One phrase per tracker, for a person who waits.
    pub(super) fn tried(&self) -> Vec<String> {
        let phrase = |t: &Tracker| format!("tracker {}: {}", split_peer(&t.address).0, t.state());
        self.all.iter().take(4).map(phrase).collect()
    }

    /// The rows of `swarm status`.
    pub(super) fn rows(&self) -> Vec<event::Tracker> {
        let row = |t: &Tracker| event::Tracker { addr: t.address.to_string(), state: t.state() };
        self.all.iter().map(row).collect()
    }

    /// Says farewell, and waits a moment for it to be heard.
    pub(super) async fn leave(&mut self) {
        let farewell = Announce { leave: true, ..Announce::default() };
        let mut open: BTreeMap<u64, bool> = BTreeMap::new();
        for tracker in self.all.iter().filter(|t| t.answered && t.fails == 0) {
            // What is under way is answered first.
            let said = !tracker.waits && tracker.link.announce(farewell.clone());
            open.insert(tracker.number, said);
        }
        let all = async {
            while !open.is_empty() {
                let Some(reply) = self.replies.1.recv().await else { return };
                if let Some(false) = open.remove(&reply.tracker)
                    && let Some(tracker) = self.all.iter().find(|t| t.number == reply.tracker)
                    && tracker.link.announce(farewell.clone())
                {
                    open.insert(reply.tracker, true);
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}

impl Tracker {
    fn failed(&mut self, reason: String, wanting: bool, now: Instant) {
        self.ledger.give_up();
        let most = if wanting { RETRY_WANTING } else { RETRY_IDLE };
        let pause = (RETRY_FIRST * (1 << self.fails.min(10))).min(most);
        // Nodes that lost their tracker together do not all come back together.
        let jitter = pause / 2 * rand(self.number, now) / 256;
        self.fails += 1;
        self.error = Some(reason);
        self.retry = Some(now + pause - jitter);
        // What was asked has not been answered.
        self.asked.clear();
        self.told_addrs.clear();
    }

    fn reached(&mut self, answer: &Answer, now: Instant) {
        (self.fails, self.retry, self.error) = (0, None, None);
        self.answered = true;
        self.pause = Duration::from_secs(answer.pause.clamp(PAUSE.0, PAUSE.1).into());
        let interval = Duration::from_secs(answer.interval.clamp(INTERVAL.0, INTERVAL.1).into());
        self.renew = now + interval - interval / 8 * rand(self.number, now) / 256;
        self.full = answer.refused.is_some();
        if let Some(reason) = &answer.refused {
            self.error = Some(crate::content::path::escape(reason));
        }
    }

    fn state(&self) -> String {
        let (members, whole) = self
            .counts
            .values()
            .fold((0_u64, 0_u64), |sum, n| (sum.0.saturating_add(n.0), sum.1.saturating_add(n.1)));
        match (&self.error, self.answered) {
            (Some(error), _) => error.clone(),
            (None, false) => "no answer yet".to_owned(),
            (None, true) if self.counts.is_empty() => "announced".to_owned(),
            // We are one of them ourselves.
            (None, true) => match members.saturating_sub(1) {
                0 => "nobody else has announced it".to_owned(),
                others => format!("{others} others, {whole} of them with everything"),
            },
        }
    }
}

/// Something that differs from node to node and time to time, 0 to 255; nothing secret.
fn rand(number: u64, now: Instant) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one((number, now)) & 0xff) as u32
}

/// Where we listen, in the order of use to others: not what means another host on every link, this machine's own
/// addresses last.
fn told_addrs(listen: &[Multiaddr]) -> Vec<Vec<u8>> {
    let link_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let mut addrs: Vec<&Multiaddr> =
        listen.iter().filter(|a| ip_of(a).is_some_and(|ip| !link_local(ip))).collect();
    let quic = |addr: &Multiaddr| addr.iter().any(|part| part == Protocol::QuicV1);
    addrs.sort_by_key(|addr| ip_of(addr).map(|ip| (ip.is_loopback(), ip.is_ipv6(), quic(addr))));
    let bytes = addrs.into_iter().map(|addr| split_peer(addr).0.to_vec());
    bytes.filter(|addr| addr.len() <= limits::TRACKED_ADDR_BYTES).take(limits::PEER_ADDRS).collect()
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
