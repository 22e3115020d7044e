//! Plan of searches and announcements in the DHT. Pure: the time is an argument.
//!
//! A search costs some twenty messages, an announcement twice as many. So wanted contents come first, a few
//! at once, and the rest goes on in the background. A node that starts with 10,000 contents announces at most
//! one a second, new ones first, and renews each within a day, spread over the day. The number of contents
//! decides how busy the plan is; the number of chunks does not matter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::limits;
use crate::wire::tracker::SwarmKey;

/// Searches at once.
const SEEKS: usize = 4;
/// Announcements at once.
const PROVIDES: usize = 8;
/// Time between announcements of the contents that a node starts with.
const PACE: Duration = Duration::from_secs(1);
/// First pause before a search that still lacks holders is repeated.
const AGAIN_FIRST: Duration = Duration::from_secs(15);
/// Longest pause between searches; the pause doubles up to it.
const AGAIN_MOST: Duration = Duration::from_secs(300);
/// Time after which a download is announced: a node that downloads for a while is worth finding, a finished
/// one is not.
const FETCHES: Duration = Duration::from_secs(60);
/// Pause after an announcement that reached no server.
const RETRY: Duration = Duration::from_secs(60);
/// Announcements in a row that reached no server, after which all announcements pause for [`RETRY`].
const FAILS: u32 = 4;
/// Pause before another try of an action that could not be begun.
const SOON: Duration = Duration::from_secs(1);

/// Action to carry out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DhtAction {
    /// Search for holders.
    Seek(SwarmKey),
    /// Announce that we hold the content.
    Provide(SwarmKey),
    /// Stop saying so when asked.
    Withdraw(SwarmKey),
}

/// Outcome of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sought {
    /// Servers that were asked.
    pub(super) asked: u32,
    /// Servers that answered.
    pub(super) answered: u32,
    /// Holders that the servers named.
    pub(super) named: u32,
}

#[derive(Debug)]
struct Want {
    next: Instant,
    pause: Duration,
    running: bool,
    last: Option<Sought>,
}

/// Searches and announcements, with the times at which they are due.
#[derive(Debug, Default)]
pub(super) struct DhtPlan {
    wanted: BTreeMap<SwarmKey, Want>,
    /// Contents that we hold, and the times of their next announcements.
    held: BTreeMap<SwarmKey, Instant>,
    queue: BTreeSet<(Instant, SwarmKey)>,
    /// Contents announced before those in the queue.
    first: VecDeque<SwarmKey>,
    providing: BTreeSet<SwarmKey>,
    /// Last place in the queue that was given to a content the node started with.
    last: Option<Instant>,
    withdrawn: Vec<SwarmKey>,
    /// Contents that were announced.
    told: BTreeSet<SwarmKey>,
    /// Contents whose last announcement no server has taken.
    refused: BTreeSet<SwarmKey>,
    /// Announcements in a row that reached no server, and the time until which announcements pause.
    fails: u32,
    rest: Option<Instant>,
}

impl DhtPlan {
    /// Adds a content that is being downloaded. With `tells`, it is announced after a while, because others
    /// may fetch it of us.
    pub(super) fn wants(&mut self, key: SwarmKey, tells: bool, now: Instant) {
        let new = Want { next: now, pause: AGAIN_FIRST, running: false, last: None };
        let want = self.wanted.entry(key).or_insert(new);
        if !want.running {
            // A request for the content is a reason to search now.
            (want.next, want.pause) = (now, AGAIN_FIRST);
        }
        if tells && !self.held.contains_key(&key) {
            self.hold(key, now + FETCHES);
        }
    }

    /// Adds a complete content, announced at once or in turn.
    pub(super) fn holds(&mut self, key: SwarmKey, at_once: bool, now: Instant) {
        self.wanted.remove(&key);
        if at_once {
            self.hold(key, now);
            self.first.push_back(key);
        } else if !self.held.contains_key(&key) {
            let turn = self.turn(now);
            self.hold(key, turn);
        }
    }

    /// Returns the next free place in the queue, not before `at`.
    fn turn(&mut self, at: Instant) -> Instant {
        let turn = self.last.map_or(at, |last| (last + PACE).max(at));
        self.last = Some(turn);
        turn
    }

    fn hold(&mut self, key: SwarmKey, at: Instant) {
        if let Some(before) = self.held.insert(key, at) {
            self.queue.remove(&(before, key));
        }
        self.queue.insert((at, key));
    }

    /// Drops a content: no further search, and its announcement is withdrawn.
    pub(super) fn drops(&mut self, key: SwarmKey) {
        self.wanted.remove(&key);
        self.told.remove(&key);
        self.refused.remove(&key);
        if let Some(at) = self.held.remove(&key) {
            self.queue.remove(&(at, key));
            self.withdrawn.push(key);
        }
    }

    /// Returns the contents that are searched for.
    pub(super) fn wanted(&self) -> impl Iterator<Item = SwarmKey> {
        self.wanted.keys().copied()
    }

    /// Ends all pauses, because a first server is known.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.fails, self.rest) = (0, None);
        self.wanted.values_mut().for_each(|want| {
            want.next = want.next.min(now);
            want.pause = AGAIN_FIRST;
        });
    }

    /// Announces everything again in turn, because our addresses have changed.
    pub(super) fn moved(&mut self, now: Instant) {
        let keys: Vec<SwarmKey> = self.held.keys().copied().collect();
        for (turn, key) in (0..).zip(keys) {
            let at = now + PACE * turn;
            let later = self.held.get(&key).is_some_and(|before| at < *before);
            if later || self.providing.contains(&key) {
                self.hold(key, at);
            }
        }
    }

    /// Returns the actions to begin now. `lacks` tells whether more holders are worth finding for contents
    /// that were searched for already, `reached` whether others can reach us.
    pub(super) fn due(&mut self, lacks: bool, reached: bool, now: Instant) -> Vec<DhtAction> {
        let mut tasks: Vec<DhtAction> =
            std::mem::take(&mut self.withdrawn).into_iter().map(DhtAction::Withdraw).collect();
        let room = SEEKS.saturating_sub(self.wanted.values().filter(|want| want.running).count());
        let is_due = |want: &Want| !want.running && now >= want.next && (lacks || want.last.is_none());
        let mut due: Vec<(bool, Instant, SwarmKey)> = Vec::new();
        if room > 0 {
            let ready = self.wanted.iter().filter(|(_, want)| is_due(want));
            due.extend(ready.map(|(key, want)| (want.last.is_some(), want.next, *key)));
            // Contents that were never searched for come first, however long the others have waited.
            due.sort_unstable();
        }
        for (_, _, key) in due.into_iter().take(room) {
            if let Some(want) = self.wanted.get_mut(&key) {
                want.running = true;
                tasks.push(DhtAction::Seek(key));
            }
        }
        let rests = self.rest.is_some_and(|rest| now < rest);
        while reached && !rests && self.providing.len() < PROVIDES {
            let Some(key) = self.next(now) else { break };
            if self.providing.insert(key) {
                tasks.push(DhtAction::Provide(key));
            } else {
                // The content is announced again once the running announcement has ended.
                self.hold(key, now + SOON);
            }
        }
        tasks
    }

    /// Takes the next content to announce out of the queue.
    fn next(&mut self, now: Instant) -> Option<SwarmKey> {
        while let Some(key) = self.first.pop_front() {
            if let Some(at) = self.held.get(&key).filter(|at| **at <= now)
                && self.queue.remove(&(*at, key))
            {
                return Some(key);
            }
        }
        let (at, key) = self.queue.first().copied().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&(at, key));
        Some(key)
    }

    /// Puts off an action that could not be begun.
    pub(super) fn put_off(&mut self, task: DhtAction, now: Instant) {
        match task {
            DhtAction::Seek(key) => {
                if let Some(want) = self.wanted.get_mut(&key) {
                    (want.running, want.next) = (false, now + SOON);
                }
            }
            DhtAction::Provide(key) => {
                self.providing.remove(&key);
                if self.held.contains_key(&key) {
                    self.hold(key, now + SOON);
                }
            }
            DhtAction::Withdraw(key) => self.withdrawn.push(key),
        }
    }

    /// Records the outcome of a search.
    pub(super) fn sought(&mut self, key: SwarmKey, sought: Sought, now: Instant) {
        if let Some(want) = self.wanted.get_mut(&key) {
            want.running = false;
            want.next = now + want.pause;
            want.pause = (want.pause * 2).min(AGAIN_MOST);
            want.last = Some(sought);
        }
    }

    /// Records that an announcement reached so many servers. `lot` is any number, which spreads the renewals.
    pub(super) fn provided(&mut self, key: SwarmKey, servers: u32, lot: u64, now: Instant) {
        self.providing.remove(&key);
        if servers > 0 {
            (self.fails, self.rest) = (0, None);
        } else {
            self.fails += 1;
            self.rest = (self.fails >= FAILS).then(|| now + RETRY);
        }
        // The content may already be due again.
        let told_anew = self.held.get(&key).is_none_or(|at| self.queue.contains(&(*at, key)));
        if self.held.contains_key(&key) {
            let (is, was) = match servers {
                0 => (&mut self.refused, &mut self.told),
                _ => (&mut self.told, &mut self.refused),
            };
            is.insert(key);
            was.remove(&key);
        }
        if told_anew {
            return;
        }
        // Nodes that announced together must not all renew together.
        let spread = limits::DHT_RENEW / 10 * (lot % 256) as u32 / 256;
        let again = if servers == 0 { RETRY } else { limits::DHT_RENEW - spread };
        self.hold(key, now + again);
    }

    /// Returns the outcome of the last search for this content; `None` while the first one runs.
    pub(super) fn found(&self, key: &SwarmKey) -> Option<Sought> {
        self.wanted.get(key)?.last
    }

    /// Returns the number of contents whose last announcement no server has taken.
    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Returns the number of announced contents.
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> SwarmKey {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_wanted_is_looked_for_at_once_and_again_while_it_lacks() {
        let (mut plan, start) = (DhtPlan::default(), Instant::now());
        (0..6).for_each(|number| plan.wants(key(number), true, start));
        let first = plan.due(false, true, start);
        assert_eq!(first.len(), SEEKS, "few at once");
        assert!(plan.due(true, true, start).is_empty());
        for task in first {
            let DhtAction::Seek(key) = task else { panic!("{task:?}") };
            plan.sought(key, Sought::default(), start);
        }
        assert_eq!(plan.due(false, true, start).len(), 2);
        let mut plan = DhtPlan::default();
        plan.wants(key(1), true, start);
        let mut times = Vec::new();
        for second in 0..59 {
            let now = start + after(second);
            if !plan.due(second < 50, true, now).is_empty() {
                times.push(second);
                plan.sought(key(1), Sought::default(), now);
            }
        }
        assert_eq!(times, [0, 15, 45]);
        plan.hurry(start + after(59));
        assert!(plan.due(false, true, start + after(59)).is_empty(), "nothing is lacking");
        assert_eq!(plan.due(true, true, start + after(59)), [DhtAction::Seek(key(1))]);
        assert_eq!(
            plan.due(true, true, start + after(60)),
            [DhtAction::Provide(key(1))],
            "it has been at it for a minute"
        );
    }

    #[test]
    fn what_is_held_is_told_one_after_another_and_within_a_day_again() {
        let (mut plan, start) = (DhtPlan::default(), Instant::now());
        (0..1000).for_each(|number| plan.holds(key(number), false, start));
        plan.holds(key(5000), true, start);
        let mut told = Vec::new();
        for second in 0..1100 {
            let now = start + after(second);
            for task in plan.due(false, true, now) {
                let DhtAction::Provide(key) = task else { panic!("{task:?}") };
                told.push((second, key));
                plan.provided(key, 20, u64::from(key[0]), now);
            }
        }
        assert!(
            told[..2].iter().any(|(second, told)| (*second, *told) == (0, key(5000))),
            "the new one first"
        );
        assert_eq!((told.len(), told[1000].0), (1001, 999));
        let (mut again, mut second) = (0, 1100);
        while second < 22 * 3600 + 1000 {
            let due = plan.due(false, true, start + after(second));
            assert!(due.len() <= PROVIDES);
            for task in due {
                let DhtAction::Provide(key) = task else { panic!("{task:?}") };
                plan.provided(key, 20, 0, start + after(second));
                again += 1;
            }
            second += 1;
        }
        assert_eq!(again, 1001);
        let end = start + after(second);
        plan.moved(end);
        assert!(plan.due(false, false, end).is_empty(), "nobody could reach us");
        let moved = (0..1100).map(|second| {
            let due = plan.due(false, true, end + after(second));
            let keys = due
                .iter()
                .filter_map(|task| if let DhtAction::Provide(key) = task { Some(*key) } else { None });
            let keys: Vec<SwarmKey> = keys.collect();
            keys.iter().for_each(|key| plan.provided(*key, 20, 0, end + after(second)));
            keys.len()
        });
        assert_eq!(moved.sum::<usize>(), 1001);
    }

    #[test]
    fn what_is_dropped_is_not_told_of_and_failures_are_tried_again() {
        let (mut plan, start) = (DhtPlan::default(), Instant::now());
        plan.holds(key(1), true, start);
        plan.holds(key(2), true, start);
        assert_eq!(plan.due(false, true, start).len(), 2);
        plan.provided(key(1), 0, 9, start);
        plan.drops(key(2));
        plan.provided(key(2), 3, 9, start);
        assert_eq!(plan.due(false, true, start + after(1)), [DhtAction::Withdraw(key(2))]);
        assert_eq!(plan.due(false, true, start + RETRY), [DhtAction::Provide(key(1))]);
        assert_eq!((plan.told(), plan.refused(), plan.found(&key(1))), (0, 1, None));
        plan.put_off(DhtAction::Withdraw(key(2)), start);
        assert_eq!(plan.due(false, true, start + after(61)), [DhtAction::Withdraw(key(2))]);
        plan.wants(key(3), true, start);
        plan.drops(key(3));
        assert_eq!(plan.due(true, true, start + after(100)), [DhtAction::Withdraw(key(3))]);
    }
}
