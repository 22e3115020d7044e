//! The wants that one peer knows of, and the choice of the next.
//!
//! A peer allows [`limits::SESSION_BLOBS`] wants at a time; the others wait for a place. A want that the peer
//! has nothing of, does not answer, or sends nothing for gives its place to one that waits, and is asked for
//! again later. Two rates bound how fast wants are sent.
//!
//! The memory for a peer does not grow with the number of downloads: handles ascend, so two positions among
//! them tell which wants wait. The module uses no clock and no network; the caller passes the time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits;
use crate::schedule::Now;
use crate::wire::Handle;

/// The time between two rounds of asking again for blobs that the peer did not have.
const ROUND: Duration = Duration::from_secs(30);
/// The time without an answer after which a want may lose its place.
const ANSWER: Duration = Duration::from_secs(10);
/// The time without any bytes after which a want that the peer offers may lose its place.
const STALLED: Duration = Duration::from_secs(60);
/// Limit of wants that are asked for the first time: how many at once, and how many per second.
const FIRST: (f64, f64) = (512.0, 1000.0);
/// Limit of wants that are asked for again: how many at once, and how many per second. Each costs the peer a
/// look into its store.
const AGAIN: (f64, f64) = (64.0, 64.0);

/// A message for the peer. Messages are sent in the order in which they are returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantMessage {
    /// Tells the peer of a want.
    Want(Handle),
    /// Tells the peer that a want is over, to free its place.
    Unwant(Handle),
}

/// The state of a want that the peer knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// No answer has come yet.
    Asked { since: Now },
    /// The peer has nothing of it. The place is kept until the given time.
    Absent { until: Now },
    /// The peer has some of it, and last sent or offered some at the given time.
    Offered { since: Now },
}

/// A token bucket: it holds at most `most` tokens, and `rate` more per second.
#[derive(Debug)]
struct Budget {
    /// Most tokens it holds.
    most: f64,
    /// Tokens added per second.
    rate: f64,
    /// Tokens left.
    left: f64,
    /// The time at which `left` was counted.
    at: Now,
}

/// The wants at one peer.
#[derive(Debug)]
pub(super) struct Wants {
    /// The wants that the peer knows of, by handle.
    open: BTreeMap<Handle, Open>,
    /// The greatest handle that was asked for. All before it were asked for too.
    first: Handle,
    /// The greatest handle that was asked for again in this round.
    again: Handle,
    /// The time before which no want is asked for again.
    round: Now,
    /// Handles of wants that the peer is known to have some of, and that wait for a place.
    eager: VecDeque<Handle>,
    /// The limit of first wants.
    firsts: Budget,
    /// The limit of repeated wants.
    agains: Budget,
}

impl Budget {
    /// Returns a full bucket of `most` tokens that gains `rate` per second.
    const fn new((most, rate): (f64, f64), at: Now) -> Self {
        Self { most, rate, left: most, at }
    }

    /// Adds the tokens of the time that passed. True if one is left.
    fn look(&mut self, now: Now) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + passed * self.rate).min(self.most), now);
        self.left >= 1.0
    }
}

impl Wants {
    /// Returns a peer's state without wants.
    pub(super) const fn new(now: Now) -> Self {
        Self {
            open: BTreeMap::new(),
            first: 0,
            again: 0,
            round: now,
            eager: VecDeque::new(),
            firsts: Budget::new(FIRST, now),
            agains: Budget::new(AGAIN, now),
        }
    }

    /// True if the peer knows of this want.
    pub(super) fn is_open(&self, handle: Handle) -> bool {
        self.open.contains_key(&handle)
    }

    /// True if the peer allows one more want.
    pub(super) fn has_place(&self) -> bool {
        self.open.len() < limits::SESSION_BLOBS
    }

    /// True if not all of this many wants are known to the peer.
    pub(super) fn waits(&self, all: usize) -> bool {
        all > self.open.len()
    }

    /// Chooses what to tell the peer now, in at most `room` messages. `all` holds the handles of all
    /// downloads.
    pub(super) fn tell<T>(&mut self, all: &BTreeMap<Handle, T>, room: usize, now: Now) -> Vec<WantMessage> {
        let mut told = Vec::new();
        while self.waits(all.len()) && told.len() + 2 <= room {
            let idle = if self.has_place() { None } else { self.idle(now) };
            if !self.has_place() && idle.is_none() {
                break;
            }
            let Some(next) = self.next(all, now) else { break };
            if let Some(idle) = idle {
                self.open.remove(&idle);
                told.push(WantMessage::Unwant(idle));
            }
            self.open.insert(next, Open::Asked { since: now });
            told.push(WantMessage::Want(next));
        }
        told
    }

    /// Chooses the next want: first what the peer is known to have, then what it was never asked for, then
    /// the rest in turn.
    fn next<T>(&mut self, all: &BTreeMap<Handle, T>, now: Now) -> Option<Handle> {
        while let Some(handle) = self.eager.pop_front() {
            if all.contains_key(&handle) && !self.is_open(handle) {
                return Some(handle);
            }
        }
        let behind = |at: Handle| all.range(at.saturating_add(1)..).map(|(handle, _)| *handle);
        if self.firsts.look(now) {
            let waits = behind(self.first).find(|handle| !self.open.contains_key(handle));
            if let Some(handle) = waits {
                (self.first, self.firsts.left) = (handle, self.firsts.left - 1.0);
                return Some(handle);
            }
        }
        if now < self.round || !self.agains.look(now) {
            return None;
        }
        let waits =
            behind(self.again).find(|handle| *handle <= self.first && !self.open.contains_key(handle));
        match waits {
            Some(handle) => (self.again, self.agains.left) = (handle, self.agains.left - 1.0),
            None => (self.again, self.round) = (0, now + ROUND),
        }
        waits
    }

    /// Returns the want that gives up its place: first one that the peer has nothing of, then one it does not
    /// answer, then one it sends nothing for; of equals, the oldest.
    fn idle(&self, now: Now) -> Option<Handle> {
        let rank = |open: &Open| match *open {
            Open::Absent { until } if until <= now => Some((0, until)),
            Open::Asked { since } if since + ANSWER <= now => Some((1, since)),
            Open::Offered { since } if since + STALLED <= now => Some((2, since)),
            _ => None,
        };
        let idle = self.open.iter().filter_map(|(handle, open)| Some((rank(open)?, *handle)));
        idle.min().map(|(_, handle)| handle)
    }

    /// Records that the peer has nothing of a blob, or no longer.
    pub(super) fn absent(&mut self, handle: Handle, now: Now) {
        if let Some(open) = self.open.get_mut(&handle) {
            let kept = if let Open::Absent { until } = open { *until } else { now };
            *open = Open::Absent { until: kept };
        }
    }

    /// Records that the peer has some of a blob, or sent some of it.
    pub(super) fn goes_on(&mut self, handle: Handle, now: Now) {
        if let Some(open) = self.open.get_mut(&handle) {
            *open = Open::Offered { since: now };
        }
    }

    /// Keeps the place of a want until the given time, because the peer is asked to look for the blob
    /// elsewhere.
    pub(super) fn keep(&mut self, handle: Handle, until: Now) {
        if let Some(open @ (Open::Absent { .. } | Open::Asked { .. })) = self.open.get_mut(&handle) {
            *open = Open::Absent { until };
        }
    }

    /// Puts a want first in the queue: the peer has some of the blob and does not know that we want it.
    pub(super) fn hurry(&mut self, handle: Handle) {
        if !self.is_open(handle) && !self.eager.contains(&handle) && self.eager.len() < limits::SESSION_BLOBS
        {
            self.eager.push_back(handle);
        }
    }

    /// Ends a want. True if the peer must be told.
    pub(super) fn end(&mut self, handle: Handle) -> bool {
        self.open.remove(&handle).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A peer that enforces the rules of a real one.
    #[derive(Default)]
    struct Strict {
        /// Handles that it was told of.
        wants: BTreeSet<Handle>,
        /// Number of wants it was told of in all.
        asked: u64,
    }

    impl Strict {
        /// Returns the new wants; fails if a rule is broken.
        fn hears(&mut self, told: Vec<WantMessage>) -> Vec<Handle> {
            let mut new = Vec::new();
            for tell in told {
                match tell {
                    WantMessage::Unwant(handle) => {
                        assert!(self.wants.remove(&handle), "{handle} was not wanted")
                    }
                    WantMessage::Want(handle) => {
                        assert!(self.wants.len() < limits::SESSION_BLOBS, "more than is allowed");
                        assert!(self.wants.insert(handle), "{handle} is used twice");
                        self.asked += 1;
                        new.push(handle);
                    }
                }
            }
            new.retain(|handle| self.wants.contains(handle));
            new
        }
    }

    /// Returns the handles 1 to `count`.
    fn all(count: Handle) -> BTreeMap<Handle, ()> {
        (1..=count).map(|handle| (handle, ())).collect()
    }

    const STEP: Duration = Duration::from_millis(10);

    /// Asks a peer for `count` wants, of which it has those that `has` names. Returns the time until it was
    /// asked for all that it has; `None` after `patience`.
    fn run(count: Handle, has: impl Fn(Handle) -> bool, patience: Duration) -> Option<Duration> {
        let (all, mut now) = (all(count), Duration::ZERO);
        let (mut wants, mut peer) = (Wants::new(now), Strict::default());
        let mut found = BTreeSet::new();
        while now < patience {
            for handle in peer.hears(wants.tell(&all, 512, now)) {
                if has(handle) {
                    found.insert(handle);
                    wants.goes_on(handle, now);
                } else {
                    wants.absent(handle, now);
                }
            }
            if all.keys().filter(|handle| has(**handle)).all(|handle| found.contains(handle)) {
                return Some(now);
            }
            now += STEP;
        }
        None
    }

    #[test]
    fn a_peer_is_never_asked_for_more_than_it_allows_and_what_is_there_is_found() {
        let second = Duration::from_secs(1);
        assert_eq!(run(256, |handle| handle == 256, second), Some(Duration::ZERO));
        assert!(run(257, |handle| handle == 257, second).is_some());
        assert!(run(10_000, |handle| handle == 10_000, 11 * second).is_some());
        // Two hundred wants that the peer has keep their places all the time.
        assert!(run(5_000, |handle| handle <= 200 || handle == 4_999, 6 * second).is_some());
    }

    #[test]
    fn what_comes_to_be_there_later_is_found_and_asking_again_is_not_a_flood() {
        let (all, mut now) = (all(2_000), Duration::ZERO);
        let (mut wants, mut peer) = (Wants::new(now), Strict::default());
        let mut seen = 0;
        while now < Duration::from_secs(120) {
            for handle in peer.hears(wants.tell(&all, 512, now)) {
                seen += u32::from(handle == 7 && now > Duration::from_secs(60));
                wants.absent(handle, now);
            }
            now += STEP;
        }
        assert!(seen > 0, "what it had nothing of is asked for again");
        let most = 2_000 + 120 * 64;
        assert!(peer.asked <= most, "{} wants in two minutes", peer.asked);
    }

    #[test]
    fn who_answers_nothing_or_sends_nothing_holds_no_place_for_ever() {
        let (all, start) = (all(300), Duration::ZERO);
        for silent in [true, false] {
            let (mut wants, mut peer) = (Wants::new(start), Strict::default());
            let new = peer.hears(wants.tell(&all, 1024, start));
            assert_eq!(new.len(), 256);
            if !silent {
                new.iter().for_each(|handle| wants.goes_on(*handle, start));
            }
            assert!(wants.tell(&all, 1024, start + ANSWER / 2).is_empty());
            // The peer sends something of one of them.
            wants.goes_on(1, start + STALLED);
            let later = peer.hears(wants.tell(&all, 1024, start + STALLED));
            assert!(later.contains(&300) && peer.wants.contains(&1), "{later:?}");
        }
    }

    #[test]
    fn what_the_peer_is_known_to_have_comes_first_and_what_ends_makes_room() {
        let (mut all, now) = (all(600), Duration::ZERO);
        let (mut wants, mut peer) = (Wants::new(now), Strict::default());
        let new = peer.hears(wants.tell(&all, 2000, now));
        new.iter().for_each(|handle| wants.goes_on(*handle, now));
        wants.hurry(500);
        wants.hurry(500);
        assert!(wants.tell(&all, 2000, now).is_empty(), "all places are in use");
        all.remove(&3);
        assert!(wants.end(3) && !wants.end(3));
        peer.wants.remove(&3);
        assert_eq!(wants.tell(&all, 2000, now), [WantMessage::Want(500)]);
        // A place kept for a search is not given away.
        wants.absent(4, now);
        wants.keep(4, now + ANSWER);
        assert!(wants.tell(&all, 2000, now).is_empty());
        assert_eq!(
            wants.tell(&all, 2000, now + ANSWER)[..2],
            [WantMessage::Unwant(4), WantMessage::Want(257)]
        );
        assert!(wants.tell(&all, 1, now + 2 * STALLED).is_empty(), "no room for messages");
    }
}
