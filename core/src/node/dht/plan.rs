//! What is looked for in the DHT and what is told to it, and when. Pure: time comes in.
//!
//! Looking costs some twenty messages, telling twice as many: what is wanted comes first, a few at once, and the rest goes
//! on in the background. A node with 10,000 contents that starts tells of one a second at most, new ones first, and again of
//! each within a day, spread over it; its number of contents decides how busy it is, and never the number of their chunks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::limits;
use crate::wire::tracker::Key;

/// Looked for at once.
const SEEKS: usize = 4;
/// Told of at once.
const PROVIDES: usize = 8;
/// What a node has when it starts is told of at this pace.
const PACE: Duration = Duration::from_secs(1);
/// What is still lacking is looked for again after this...
const AGAIN_FIRST: Duration = Duration::from_secs(15);
/// ...which doubles up to this.
const AGAIN_MOST: Duration = Duration::from_secs(300);
/// What is being fetched is told of after this: who fetches for a while is worth finding, who has done is not.
const FETCHES: Duration = Duration::from_secs(60);
/// No server could be told: once more after this.
const RETRY: Duration = Duration::from_secs(60);
/// After so many of these nothing is told for as long: nobody is there.
const FAILS: u32 = 4;
/// What could not be begun is tried again after this.
const SOON: Duration = Duration::from_secs(1);

/// Something to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Look for holders.
    Seek(Key),
    /// Tell that we have it.
    Provide(Key),
    /// No longer say so when asked.
    Withdraw(Key),
}

/// What a search came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::node) struct Sought {
    /// Servers that were asked.
    pub(super) asked: u32,
    /// Those that answered.
    pub(super) answered: u32,
    /// Holders they named.
    pub(super) named: u32,
}

#[derive(Debug)]
struct Want {
    next: Instant,
    pause: Duration,
    running: bool,
    last: Option<Sought>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Plan {
    wanted: BTreeMap<Key, Want>,
    /// What we have, and when it is told of next.
    held: BTreeMap<Key, Instant>,
    queue: BTreeSet<(Instant, Key)>,
    /// Told of before what waits in the queue.
    first: VecDeque<Key>,
    providing: BTreeSet<Key>,
    /// The last place in the queue of those that a node has when it starts.
    last: Option<Instant>,
    withdrawn: Vec<Key>,
    /// What was told of.
    told: BTreeSet<Key>,
    /// Times in a row that nobody could be told, and until when nothing is told therefore.
    fails: u32,
    rest: Option<Instant>,
}

impl Plan {
    /// This is being fetched; told of after a while if others may fetch it of us (`tells`).
    pub(super) fn wants(&mut self, key: Key, tells: bool, now: Instant) {
        let new = Want { next: now, pause: AGAIN_FIRST, running: false, last: None };
        let want = self.wanted.entry(key).or_insert(new);
        if !want.running {
            // Somebody asks for it now.
            (want.next, want.pause) = (now, AGAIN_FIRST);
        }
        if tells && !self.held.contains_key(&key) {
            self.hold(key, now + FETCHES);
        }
    }

    /// This is whole: told of at once, or in its turn.
    pub(super) fn holds(&mut self, key: Key, at_once: bool, now: Instant) {
        self.wanted.remove(&key);
        if at_once {
            self.hold(key, now);
            self.first.push_back(key);
        } else if !self.held.contains_key(&key) {
            let turn = self.turn(now);
            self.hold(key, turn);
        }
    }

    /// The next place in the queue, not before this.
    fn turn(&mut self, at: Instant) -> Instant {
        let turn = self.last.map_or(at, |last| (last + PACE).max(at));
        self.last = Some(turn);
        turn
    }

    fn hold(&mut self, key: Key, at: Instant) {
        if let Some(before) = self.held.insert(key, at) {
            self.queue.remove(&(before, key));
        }
        self.queue.insert((at, key));
    }

    /// Neither, any longer.
    pub(super) fn drops(&mut self, key: Key) {
        self.wanted.remove(&key);
        self.told.remove(&key);
        if let Some(at) = self.held.remove(&key) {
            self.queue.remove(&(at, key));
            self.withdrawn.push(key);
        }
    }

    /// What is wanted.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Key> {
        self.wanted.keys().copied()
    }

    /// A server is known where none was: nobody waits out a pause.
    pub(super) fn hurry(&mut self, now: Instant) {
        (self.fails, self.rest) = (0, None);
        self.wanted.values_mut().for_each(|want| {
            want.next = want.next.min(now);
            want.pause = AGAIN_FIRST;
        });
    }

    /// We are reached elsewhere: all that was told is told again in its turn.
    pub(super) fn moved(&mut self, now: Instant) {
        let keys: Vec<Key> = self.held.keys().copied().collect();
        for (turn, key) in (0..).zip(keys) {
            let at = now + PACE * turn;
            let later = self.held.get(&key).is_some_and(|before| at < *before);
            if later || self.providing.contains(&key) {
                self.hold(key, at);
            }
        }
    }

    /// What is to be done now. `lacks` tells whether more holders are worth finding for what was looked for already,
    /// `reached` whether others can reach us.
    pub(super) fn due(&mut self, lacks: bool, reached: bool, now: Instant) -> Vec<Task> {
        let mut tasks: Vec<Task> =
            std::mem::take(&mut self.withdrawn).into_iter().map(Task::Withdraw).collect();
        let room = SEEKS.saturating_sub(self.wanted.values().filter(|want| want.running).count());
        let is_due = |want: &Want| !want.running && now >= want.next && (lacks || want.last.is_none());
        let mut due: Vec<(bool, Instant, Key)> = Vec::new();
        if room > 0 {
            let ready = self.wanted.iter().filter(|(_, want)| is_due(want));
            due.extend(ready.map(|(key, want)| (want.last.is_some(), want.next, *key)));
            // What was never looked for comes first, however much else is waited for.
            due.sort_unstable();
        }
        for (_, _, key) in due.into_iter().take(room) {
            if let Some(want) = self.wanted.get_mut(&key) {
                want.running = true;
                tasks.push(Task::Seek(key));
            }
        }
        let rests = self.rest.is_some_and(|rest| now < rest);
        while reached && !rests && self.providing.len() < PROVIDES {
            let Some(key) = self.next(now) else { break };
            if self.providing.insert(key) {
                tasks.push(Task::Provide(key));
            } else {
                // Once more when it has been told.
                self.hold(key, now + SOON);
            }
        }
        tasks
    }

    /// What is told of next, out of the queue.
    fn next(&mut self, now: Instant) -> Option<Key> {
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

    /// This could not be begun.
    pub(super) fn put_off(&mut self, task: Task, now: Instant) {
        match task {
            Task::Seek(key) => {
                if let Some(want) = self.wanted.get_mut(&key) {
                    (want.running, want.next) = (false, now + SOON);
                }
            }
            Task::Provide(key) => {
                self.providing.remove(&key);
                if self.held.contains_key(&key) {
                    self.hold(key, now + SOON);
                }
            }
            Task::Withdraw(key) => self.withdrawn.push(key),
        }
    }

    /// A search has ended.
    pub(super) fn sought(&mut self, key: Key, sought: Sought, now: Instant) {
        if let Some(want) = self.wanted.get_mut(&key) {
            want.running = false;
            want.next = now + want.pause;
            want.pause = (want.pause * 2).min(AGAIN_MOST);
            want.last = Some(sought);
        }
    }

    /// It was told to so many servers. `lot` is any number.
    pub(super) fn provided(&mut self, key: Key, servers: u32, lot: u64, now: Instant) {
        self.providing.remove(&key);
        if servers > 0 {
            (self.fails, self.rest) = (0, None);
        } else {
            self.fails += 1;
            self.rest = (self.fails >= FAILS).then(|| now + RETRY);
        }
        // It may be to be told anew already.
        let told_anew = self.held.get(&key).is_none_or(|at| self.queue.contains(&(*at, key)));
        if servers > 0 && self.held.contains_key(&key) {
            self.told.insert(key);
        }
        if told_anew {
            return;
        }
        // Nodes that told together do not all tell again together.
        let spread = limits::DHT_RENEW / 10 * (lot % 256) as u32 / 256;
        let again = if servers == 0 { RETRY } else { limits::DHT_RENEW - spread };
        self.hold(key, now + again);
    }

    /// What the searches for this came to; none while the first one runs.
    pub(super) fn found(&self, key: &Key) -> Option<Sought> {
        self.wanted.get(key)?.last
    }

    /// How many contents were told of.
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> Key {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_wanted_is_looked_for_at_once_and_again_while_it_lacks() {
        let (mut plan, start) = (Plan::default(), Instant::now());
        (0..6).for_each(|number| plan.wants(key(number), true, start));
        let first = plan.due(false, true, start);
        assert_eq!(first.len(), SEEKS, "few at once");
        assert!(plan.due(true, true, start).is_empty());
        for task in first {
            let Task::Seek(key) = task else { panic!("{task:?}") };
            plan.sought(key, Sought::default(), start);
        }
        assert_eq!(plan.due(false, true, start).len(), 2);
        let mut plan = Plan::default();
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
        assert_eq!(plan.due(true, true, start + after(59)), [Task::Seek(key(1))]);
        assert_eq!(
            plan.due(true, true, start + after(60)),
            [Task::Provide(key(1))],
            "it has been at it for a minute"
        );
    }

    #[test]
    fn what_is_held_is_told_one_after_another_and_within_a_day_again() {
        let (mut plan, start) = (Plan::default(), Instant::now());
        (0..1000).for_each(|number| plan.holds(key(number), false, start));
        plan.holds(key(5000), true, start);
        let mut told = Vec::new();
        for second in 0..1100 {
            let now = start + after(second);
            for task in plan.due(false, true, now) {
                let Task::Provide(key) = task else { panic!("{task:?}") };
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
                let Task::Provide(key) = task else { panic!("{task:?}") };
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
            let keys =
                due.iter().filter_map(|task| if let Task::Provide(key) = task { Some(*key) } else { None });
            let keys: Vec<Key> = keys.collect();
            keys.iter().for_each(|key| plan.provided(*key, 20, 0, end + after(second)));
            keys.len()
        });
        assert_eq!(moved.sum::<usize>(), 1001);
    }

    #[test]
    fn what_is_dropped_is_not_told_of_and_failures_are_tried_again() {
        let (mut plan, start) = (Plan::default(), Instant::now());
        plan.holds(key(1), true, start);
        plan.holds(key(2), true, start);
        assert_eq!(plan.due(false, true, start).len(), 2);
        plan.provided(key(1), 0, 9, start);
        plan.drops(key(2));
        plan.provided(key(2), 3, 9, start);
        assert_eq!(plan.due(false, true, start + after(1)), [Task::Withdraw(key(2))]);
        assert_eq!(plan.due(false, true, start + RETRY), [Task::Provide(key(1))]);
        assert_eq!((plan.told(), plan.found(&key(1))), (0, None));
        plan.put_off(Task::Withdraw(key(2)), start);
        assert_eq!(plan.due(false, true, start + after(61)), [Task::Withdraw(key(2))]);
        plan.wants(key(3), true, start);
        plan.drops(key(3));
        assert_eq!(plan.due(true, true, start + after(100)), [Task::Withdraw(key(3))]);
    }
}
