//! Trackers: which of them are told what, and when. This module decides; one link for each tracker carries
//! the messages.
//!
//! A node announces one set of swarms: those it downloads and those it holds. Of several trackers,
//! [`limits::TRACKER_COPIES`] are told of each swarm, chosen by the swarm's key ([`responsible`]), so that
//! nodes with the same trackers meet at the same ones without coordination. While one of these cannot be
//! reached, the next in order is told as well. A tracker named only by a link is told of that link's content
//! and nothing else.

pub mod conn;
pub mod ledger;
pub mod listener;

mod calls;
mod choice;
mod frames;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use tokio::sync::mpsc;

use crate::api::status;
use crate::id::ContentId;
use crate::limits;
use crate::net::address::{ip_of, split_peer};
use crate::office::secret::OfficeSecret;
use crate::wire::PeerAddrs;
use crate::wire::tracker::{Announce, SwarmKey, key_of};
pub(crate) use choice::for_link;
use choice::name_of;
pub use choice::responsible;
use conn::TrackerLink;
pub(crate) use conn::TrackerReply;
use ledger::Ledger;
use state::{PAUSE, RETRY_FIRST, TrackerState, rand};

/// Announcements that may go out ahead of a tracker's pace: a download begins with several pieces of news.
const AHEAD: u32 = 10;
/// Longest pause between two questions about holders that are still lacking; the pause doubles up to it.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Failures in a row after which another tracker takes over.
const GONE_AFTER: u32 = 2;
/// Failures in a row after which a tracker named only by a link is forgotten.
const LINKED_FAILS: u32 = 4;
/// Longest time that a stopping node waits for its trackers to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Our part in one swarm.
#[derive(Debug, Clone, Copy)]
struct Stand {
    id: ContentId,
    whole: bool,
    /// True while we download the content.
    wanted: bool,
}

/// Swarm members that a tracker named.
#[derive(Debug)]
pub(crate) struct NamedMembers {
    /// Number of the tracker, by which limits are counted.
    pub(crate) by: u64,
    /// Numeric address of the tracker, with its peer id.
    pub(crate) at: Option<Multiaddr>,
    /// IP address at which the tracker sees us.
    pub(crate) seen: Option<IpAddr>,
    /// True if only a link named the tracker.
    pub(crate) linked: bool,
    pub(crate) peers: Vec<PeerAddrs>,
}

/// The node's trackers, and what each is to be told.
#[derive(Debug)]
pub(crate) struct Trackers {
    key: Keypair,
    site: Option<String>,
    /// Secret of the office that blinds its swarm keys.
    blind: Option<OfficeSecret>,
    set: BTreeMap<SwarmKey, Stand>,
    wanted: BTreeSet<SwarmKey>,
    all: Vec<TrackerState>,
    next: u64,
    /// First version of the announced set, later than those of an earlier run.
    start: u64,
    replies: (mpsc::Sender<TrackerReply>, mpsc::Receiver<TrackerReply>),
    /// True if something happened that may have to be announced.
    due: bool,
}

impl Trackers {
    /// Starts links to the given trackers, under this identity.
    pub(crate) fn new(
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

    /// Returns the key of a content's swarm.
    fn key_of(&self, id: ContentId) -> SwarmKey {
        match &self.blind {
            Some(secret) => key_of(ContentId::from_bytes(secret.tracker_key(id))),
            None => key_of(id),
        }
    }

    /// Announces all swarms under keys blinded by this secret, from now on.
    pub(crate) fn blinded(&mut self, secret: OfficeSecret) {
        let stands: Vec<Stand> = self.set.values().copied().collect();
        stands.iter().for_each(|stand| self.drops(stand.id));
        self.blind = Some(secret);
        stands.into_iter().for_each(|stand| self.stand(stand.id, Some(stand)));
    }

    fn add(&mut self, address: Multiaddr, only: Option<BTreeSet<SwarmKey>>) {
        self.next += 1;
        let name = name_of(&address);
        let link = TrackerLink::start(self.next, address.clone(), self.key.clone(), self.replies.0.clone());
        let now = Instant::now();
        self.all.push(TrackerState {
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

    /// Adds a tracker that a link names for content we are about to download.
    pub(crate) fn linked(&mut self, address: &Multiaddr, id: ContentId) {
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

    /// Announces that we download this content.
    pub(crate) fn wants(&mut self, id: ContentId) {
        // Nobody should wait for the end of a long pause.
        let soon = Instant::now() + RETRY_FIRST;
        self.all.iter_mut().for_each(|tracker| tracker.retry = tracker.retry.map(|retry| retry.min(soon)));
        self.stand(id, Some(Stand { id, whole: false, wanted: true }));
    }

    /// Announces that we hold all of this content.
    pub(crate) fn holds(&mut self, id: ContentId) {
        self.stand(id, Some(Stand { id, whole: true, wanted: false }));
    }

    /// Withdraws our part in this content.
    pub(crate) fn drops(&mut self, id: ContentId) {
        self.stand(id, None);
    }

    fn stand(&mut self, id: ContentId, stand: Option<Stand>) {
        // Without trackers nothing new is recorded, but entries announced earlier must still be withdrawn.
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

    /// Withdraws the downloads that ended without notice, and forgets link trackers that are of no use.
    pub(crate) fn settle(&mut self, active: impl Fn(ContentId) -> bool) {
        self.due = true;
        let ended = |key: &&SwarmKey| self.set.get(*key).is_none_or(|stand| !active(stand.id));
        let ended: Vec<SwarmKey> = self.wanted.iter().filter(ended).copied().collect();
        for key in ended {
            if let Some(stand) = self.set.get(&key) {
                self.drops(stand.id);
            }
        }
        // A link's tracker is of use while it answers and that link's content is being downloaded.
        let wanted = &self.wanted;
        let of_use = |only: &BTreeSet<SwarmKey>| only.iter().any(|key| wanted.contains(key));
        self.all.retain(|t| t.only.as_ref().is_none_or(|only| t.fails < LINKED_FAILS && of_use(only)));
    }

    /// Returns the indices of the trackers that are told of a swarm.
    fn tellers(&self, key: &SwarmKey) -> Vec<usize> {
        let given: Vec<usize> = (0..self.all.len()).filter(|at| self.all[*at].only.is_none()).collect();
        let names: Vec<&str> = given.iter().map(|at| self.all[*at].name.as_str()).collect();
        let gone = |at: usize| self.all[given[at]].fails >= GONE_AFTER;
        let chosen = responsible(key, &names, gone).into_iter().map(|at| given[at]);
        let linked = |at: &usize| self.all[*at].only.as_ref().is_some_and(|only| only.contains(key));
        chosen.chain((0..self.all.len()).filter(linked)).collect()
    }

    /// Returns the swarms that a tracker is told of.
    fn told(&self, at: usize) -> Vec<SwarmKey> {
        if let Some(only) = &self.all[at].only {
            return only.iter().filter(|key| self.set.contains_key(*key)).copied().collect();
        }
        if self.all.iter().filter(|t| t.only.is_none()).count() <= limits::TRACKER_COPIES {
            return self.set.keys().copied().collect();
        }
        self.set.keys().filter(|key| self.tellers(key).contains(&at)).copied().collect()
    }

    /// Tells other trackers of the swarms of one that cannot be reached. When it is back it reports by itself
    /// what it lacks, and the extra entries at the others do no harm.
    fn stand_in_for(&mut self, gone: usize) {
        if self.all.iter().filter(|t| t.only.is_none()).count() <= limits::TRACKER_COPIES {
            return;
        }
        let keys: Vec<SwarmKey> = self.set.keys().copied().collect();
        for key in keys {
            let tellers = self.tellers(&key);
            if tellers.contains(&gone) {
                for at in tellers.into_iter().filter(|at| *at != gone) {
                    self.all[at].ledger.changed(key);
                }
            }
        }
    }

    /// Notes that our addresses have changed.
    pub(crate) const fn moved(&mut self) {
        self.due = true;
    }

    /// True if there may be something to announce. It becomes true at least once a second, by
    /// [`Self::settle`].
    pub(crate) const fn is_due(&self) -> bool {
        self.due
    }

    /// Sends the announcements that are due. `lacks` tells whether more holders of wanted content are worth
    /// finding; `addrs` are our listen addresses.
    pub(crate) fn announce(&mut self, lacks: bool, addrs: &[Multiaddr], now: Instant) {
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

    /// Returns the swarms to ask a tracker about now: those it was never asked about, then the least recently
    /// asked ones if they lack holders.
    fn questions(&self, at: usize, lacks: bool, now: Instant) -> Vec<SwarmKey> {
        let tracker = &self.all[at];
        let due = |key: &&SwarmKey| match tracker.asked.get(*key) {
            None => true,
            Some((last, times)) => {
                let pause = tracker.pause.saturating_mul(1 << (times - 1).min(6)).min(ASK_AGAIN);
                lacks && now >= *last + pause.max(tracker.pause)
            }
        };
        let mut due: Vec<SwarmKey> = self.wanted.iter().filter(due).copied().collect();
        if tracker.only.is_some() || self.all.len() > limits::TRACKER_COPIES {
            due.retain(|key| self.tellers(key).contains(&at));
        }
        due.sort_by_key(|key| tracker.asked.get(key).map(|(last, _)| *last));
        due.truncate(limits::ANNOUNCE_ASKS);
        due
    }

    /// Returns the next reply of any tracker, for [`Self::heard`].
    pub(crate) async fn reply(&mut self) -> Option<TrackerReply> {
        self.replies.1.recv().await
    }

    /// Handles the outcome of an announcement. Returns the members that the tracker named.
    pub(crate) fn heard(&mut self, reply: TrackerReply, now: Instant) -> Option<NamedMembers> {
        let at = self.all.iter().position(|tracker| tracker.number == reply.tracker)?;
        self.due = true;
        let tracker = &mut self.all[at];
        if !reply.asked && tracker.waits {
            // The announcement in progress is answered on a new connection.
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
        // The merge may have moved this tracker's index or removed it.
        let at = self.all.iter().position(|tracker| tracker.number == reply.tracker)?;
        if !self.all[at].ledger.answered(answer.version, []) {
            // The tracker was restarted or has forgotten us.
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
        Some(NamedMembers { by: tracker.number, at: reply.at, seen, linked: tracker.only.is_some(), peers })
    }

    /// Merges two addresses of one tracker, which keeps one set of ours. The configured address stays, or
    /// else the first.
    fn merge(&mut self, at: usize) {
        let (number, proven) = (self.all[at].number, self.all[at].proven);
        let same = |t: &&TrackerState| t.number != number && t.proven.is_some() && t.proven == proven;
        let Some(other) = self.all.iter().find(same) else { return };
        let rank = |t: &TrackerState| (t.only.is_some(), t.number);
        let goes = if rank(other) < rank(&self.all[at]) { number } else { other.number };
        let only =
            self.all.iter().find(|t| t.number == goes).and_then(|t| t.only.clone()).unwrap_or_default();
        self.all.retain(|t| t.number != goes);
        let stays = self.all.iter_mut().find(|t| t.proven == proven);
        if let Some(stays) = stays {
            // The tracker may have been told less through the other address.
            stays.ledger.give_up();
            if let Some(known) = &mut stays.only {
                known.extend(only.iter().copied());
            }
            only.into_iter().for_each(|key| stays.ledger.changed(key));
        }
    }

    /// Describes up to four trackers in one phrase each, for a person who waits.
    pub(crate) fn tried(&self) -> Vec<String> {
        let phrase = |t: &TrackerState| format!("tracker {}: {}", split_peer(&t.address).0, t.state());
        self.all.iter().take(4).map(phrase).collect()
    }

    /// Returns the rows of `swarm status`.
    pub(crate) fn rows(&self) -> Vec<status::TrackerRow> {
        let row = |t: &TrackerState| status::TrackerRow { addr: t.address.to_string(), state: t.state() };
        self.all.iter().map(row).collect()
    }

    /// Says farewell to the trackers, and waits a moment for it to be heard.
    pub(crate) async fn leave(&mut self) {
        let farewell = Announce { leave: true, ..Announce::default() };
        let mut open: BTreeMap<u64, bool> = BTreeMap::new();
        for tracker in self.all.iter().filter(|t| t.answered && t.fails == 0) {
            // The announcement in progress is answered first.
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

/// Returns our listen addresses as binary multiaddrs, the most useful first and those of this machine last.
/// Link-local addresses are left out, since they mean another host on every link.
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
