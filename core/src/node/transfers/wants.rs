//! The wants that one peer is told of at a time. It allows [`limits::SESSION_BLOBS`] of them: the others wait for a place. A
//! want that the peer has nothing of gives its place to one that waits, and is asked for again later.
//!
//! The memory for a session does not grow with what is wanted: what waits is known by two positions among our numbers,
//! which ascend. No clock, no network.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits;
use crate::schedule::Now;
use crate::wire::Handle;

/// The time between two rounds of asking again for what a peer did not have.
const ROUND: Duration = Duration::from_secs(30);
/// A want that the peer does not answer for this long may lose its place.
const ANSWER: Duration = Duration::from_secs(10);
/// A want of which the peer offers something and sends nothing for this long may lose its place.
const STALLED: Duration = Duration::from_secs(60);
/// Wants asked for the first time: at once, and in a second.
const FIRST: (f64, f64) = (512.0, 1000.0);
/// Wants asked for again, at once and in a second: each costs the peer a look into its store.
const AGAIN: (f64, f64) = (64.0, 64.0);

/// Messages for the peer, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Want(Handle),
    Unwant(Handle),
}

/// State of a want that the peer knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// No answer has come yet.
    Asked { since: Now },
    /// Nothing of it is there; the place is kept until then.
    Absent { until: Now },
    /// Some of it is there, and some of it came last then.
    Offered { since: Now },
}

/// A rate: so many at once, and so many in a second.
#[derive(Debug)]
struct Budget {
    most: f64,
    rate: f64,
    left: f64,
    at: Now,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Wants {
    open: BTreeMap<Handle, Open>,
    /// The last number that was asked for once; so were all before it.
    first: Handle,
    /// The last number that was asked for again in this round.
    again: Handle,
    /// Time at which the round begins.
    round: Now,
    /// The peer is known to have some of these.
    eager: VecDeque<Handle>,
    firsts: Budget,
    agains: Budget,
}

impl Budget {
    const fn new((most, rate): (f64, f64), at: Now) -> Self {
        Self { most, rate, left: most, at }
    }

    fn look(&mut self, now: Now) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + passed * self.rate).min(self.most), now);
        self.left >= 1.0
    }
}

impl Wants {
    /// Begins with no wants.
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

    /// Tells whether the peer knows of this want.
    pub(super) fn is_open(&self, handle: Handle) -> bool {
        self.open.contains_key(&handle)
    }

    /// Tells whether a place is free.
    pub(super) fn has_place(&self) -> bool {
        self.open.len() < limits::SESSION_BLOBS
    }

    /// Chooses what to tell the peer now, given all that is wanted, in at most `room` messages.
    pub(super) fn tell<T>(&mut self, all: &BTreeMap<Handle, T>, room: usize, now: Now) -> Vec<Tell> {
        let mut told = Vec::new();
        while all.len() > self.open.len() && told.len() + 2 <= room {
            let idle = if self.has_place() { None } else { self.idle(now) };
            if !self.has_place() && idle.is_none() {
                break;
            }
            let Some(next) = self.next(all, now) else { break };
            if let Some(idle) = idle {
                self.open.remove(&idle);
                told.push(Tell::Unwant(idle));
            }
            self.open.insert(next, Open::Asked { since: now });
            told.push(Tell::Want(next));
        }
        told
    }

    /// Chooses the next want: what the peer is known to have, then what it was never asked for, then the rest in turn.
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

    /// The want that gives up its place: what the peer has nothing of, else what it does not answer, else what does not go on.
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

    /// The peer has nothing of it (any longer).
    pub(super) fn absent(&mut self, handle: Handle, now: Now) {
        if let Some(open) = self.open.get_mut(&handle) {
            let kept = if let Open::Absent { until } = open { *until } else { now };
            *open = Open::Absent { until: kept };
        }
    }

    /// The peer has some of it, or sent some of it.
    pub(super) fn goes_on(&mut self, handle: Handle, now: Now) {
        if let Some(open) = self.open.get_mut(&handle) {
            *open = Open::Offered { since: now };
        }
    }

    /// The peer is asked to look for it elsewhere: its place is kept as long.
    pub(super) fn keep(&mut self, handle: Handle, until: Now) {
        if let Some(open @ (Open::Absent { .. } | Open::Asked { .. })) = self.open.get_mut(&handle) {
            *open = Open::Absent { until };
        }
    }

    /// The peer has some of what it is not asked for at present.
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

    /// A peer as strict as ours are.
    #[derive(Default)]
    struct Strict {
        wants: BTreeSet<Handle>,
        asked: u64,
    }

    impl Strict {
        /// The new wants; fails when a rule is broken.
        fn hears(&mut self, told: Vec<Tell>) -> Vec<Handle> {
            let mut new = Vec::new();
            for tell in told {
                match tell {
                    Tell::Unwant(handle) => assert!(self.wants.remove(&handle), "{handle} was not wanted"),
                    Tell::Want(handle) => {
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

    fn all(count: Handle) -> BTreeMap<Handle, ()> {
        (1..=count).map(|handle| (handle, ())).collect()
    }

    const STEP: Duration = Duration::from_millis(10);

    /// Asks for so many, of which the peer has those that `has` names; how long until it was asked for them all.
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
        // Two hundred of those that it has keep their places all the time.
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
            // One of them goes on.
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
        assert_eq!(wants.tell(&all, 2000, now), [Tell::Want(500)]);
        // A place that is kept for a search is kept.
        wants.absent(4, now);
        wants.keep(4, now + ANSWER);
        assert!(wants.tell(&all, 2000, now).is_empty());
        assert_eq!(wants.tell(&all, 2000, now + ANSWER)[..2], [Tell::Unwant(4), Tell::Want(257)]);
        assert!(wants.tell(&all, 1, now + 2 * STALLED).is_empty(), "no room for messages");
    }
}
