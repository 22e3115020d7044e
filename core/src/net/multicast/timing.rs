//! Times at which a node asks on the local network, answers, and announces itself unasked. It reads no clock.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::LanAddress;
use crate::random::Random;

/// Times after a start at which others are asked where they are; packets are lost.
const ASK_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(700), Duration::from_secs(3), Duration::from_secs(10)];
/// Pause between announcements that nobody asked for, in a small network. Up to as much again is added.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Pause between such announcements for each node that is known, so that all nodes of a large network
/// together send at most this often.
const TELL_PER_NODE: Duration = Duration::from_millis(200);
/// Shortest wait before an answer, so that answers to one question do not collide (RFC 6762, section 6).
const ANSWER_AFTER: Duration = Duration::from_millis(20);
/// Random part of that wait.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// Addition to the random part for each node that is known.
const ANSWER_PER_NODE: Duration = Duration::from_millis(2);
/// Longest random part.
const ANSWER_AT_LAST: Duration = Duration::from_secs(5);
/// Time in which further new addresses are waited for.
const SETTLE: Duration = Duration::from_millis(50);
/// First pause between questions while something is looked for; it doubles.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// Longest such pause.
const LOOK_PAUSE_AT_MOST: Duration = Duration::from_secs(40);
/// Time without looking after which the pause is the first one again.
const LOOK_REST: Duration = Duration::from_secs(10);

/// Action that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A question to all; `tell` is true if an announcement goes with it.
    Ask { tell: bool },
    /// An announcement from these local addresses, because others asked there.
    Answer(BTreeSet<LanAddress>),
    /// An announcement to all.
    Tell,
}

/// Answer that waits for its time.
#[derive(Debug)]
struct Answer {
    at: Instant,
    from: BTreeSet<LanAddress>,
    /// Hosts that have answered since the question.
    others: BTreeSet<LanAddress>,
}

/// Times of questions, answers and announcements.
#[derive(Debug)]
pub(crate) struct Timing {
    /// Answers of other hosts that are enough.
    enough: usize,
    random: Random,
    tell: Instant,
    asks: VecDeque<Instant>,
    /// Time of the last question, and of the last wish for one.
    asked: Option<Instant>,
    looked: Option<Instant>,
    pause: Duration,
    answer: Option<Answer>,
    /// True if the last answer was left out because others had answered.
    held_back: bool,
}

impl Timing {
    /// Makes the times of a node that starts now. It leaves out an answer if `enough` other hosts have
    /// answered.
    pub(crate) fn new(enough: usize, seed: u64, now: Instant) -> Self {
        Self {
            enough,
            random: Random::new(seed),
            tell: now + TELL_EVERY,
            asks: ASK_AFTER.iter().map(|after| now + *after).collect(),
            asked: None,
            looked: None,
            pause: LOOK_PAUSE,
            answer: None,
            held_back: false,
        }
    }

    /// Returns the time at which something is due next.
    pub(crate) fn next(&self) -> Instant {
        let others = [self.asks.front().copied(), self.answer.as_ref().map(|answer| answer.at)];
        others.into_iter().flatten().fold(self.tell, Instant::min)
    }

    /// Begins anew, because there are new addresses: at once if a question is due, else when no more of them
    /// have come for a moment.
    pub(crate) fn moved(&mut self, now: Instant) {
        let at_once = self.asks.front().is_some_and(|at| *at <= now);
        let settle = if at_once { Duration::ZERO } else { SETTLE };
        self.asks = ASK_AFTER.iter().map(|after| now + settle + *after).collect();
    }

    /// Asks soon, because somebody is looked for.
    pub(crate) fn look(&mut self, now: Instant) {
        let rested = self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_REST);
        self.looked = Some(now);
        if rested {
            self.pause = LOOK_PAUSE;
        }
        let since = self.asked.map(|at| now.saturating_duration_since(at));
        let due = since.is_none_or(|since| since >= self.pause);
        if due && self.asks.front().is_none_or(|at| *at > now) {
            self.asks.push_front(now);
            if !rested {
                self.pause = (self.pause * 2).min(LOOK_PAUSE_AT_MOST);
            }
        }
    }

    /// Plans an answer from these local addresses, in a network of so many nodes.
    pub(crate) fn question(
        &mut self,
        from: impl IntoIterator<Item = LanAddress>,
        nodes: usize,
        now: Instant,
    ) {
        let within = (ANSWER_WITHIN + ANSWER_PER_NODE * nodes as u32).min(ANSWER_AT_LAST);
        let at = now + ANSWER_AFTER + self.part_of(within);
        let fresh = || Answer { at, from: BTreeSet::new(), others: BTreeSet::new() };
        self.answer.get_or_insert_with(fresh).from.extend(from);
    }

    /// Takes notice of an answer of another host.
    pub(crate) fn answered(&mut self, by: LanAddress) {
        let enough = self.enough;
        if let Some(answer) = self.answer.as_mut().filter(|answer| answer.others.len() < enough) {
            answer.others.insert(by);
        }
    }

    /// Returns what is due, in a network of so many nodes, and plans the next time.
    pub(crate) fn due(&mut self, nodes: usize, now: Instant) -> Option<Due> {
        if self.asks.front().is_some_and(|at| *at <= now) {
            let start = self.asks.len() > 1;
            self.asks.retain(|at| *at > now);
            self.asked = Some(now);
            return Some(Due::Ask { tell: start });
        }
        if let Some(answer) = self.answer.take_if(|answer| answer.at <= now) {
            // Whoever makes up answers does not silence a node for good: it is never held back twice in a
            // row.
            self.held_back = answer.others.len() >= self.enough && !self.held_back;
            return (!self.held_back).then_some(Due::Answer(answer.from));
        }
        if self.tell <= now {
            let pause = TELL_EVERY.max(TELL_PER_NODE * nodes as u32);
            self.tell = now + pause + self.part_of(pause);
            return Some(Due::Tell);
        }
        None
    }

    fn part_of(&mut self, whole: Duration) -> Duration {
        whole * self.random.below(1 << 16) as u32 / (1 << 16)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(number: u8) -> LanAddress {
        LanAddress { ip: [10, 0, 0, number].into(), scope: 0 }
    }

    #[test]
    fn a_start_asks_four_times_and_a_search_every_few_seconds() {
        let start = Instant::now();
        let mut timing = Timing::new(8, 1, start);
        let (mut now, mut asks) = (start, Vec::new());
        while now < start + Duration::from_secs(20) {
            if let Some(Due::Ask { .. }) = timing.due(0, now) {
                asks.push((now - start).as_millis());
            }
            now += Duration::from_millis(100);
        }
        assert_eq!(asks, [0, 700, 3000, 10_000]);
        asks.clear();
        for _ in 0..6000 {
            timing.look(now);
            if let Some(Due::Ask { .. }) = timing.due(0, now) {
                asks.push((now - start).as_secs().into());
            }
            now += Duration::from_millis(100);
        }
        assert_eq!(asks[..5], [20, 25, 35, 55, 95]);
        assert_eq!(asks.len(), 18, "a search of ten minutes");
    }

    #[test]
    fn an_answer_waits_and_is_left_out_when_enough_have_answered() {
        let now = Instant::now();
        let mut timing = Timing::new(8, 2, now);
        while timing.due(0, now).is_some() {}
        timing.asks.clear();
        let (mut answers, mut now) = (0, now);
        for _ in 0..100 {
            timing.question([host(1)], 0, now);
            let at = timing.next();
            assert!(at >= now + ANSWER_AFTER && at <= now + ANSWER_AFTER + ANSWER_WITHIN);
            // One host that answers often counts once.
            (0..100).for_each(|_| timing.answered(host(2)));
            now += Duration::from_millis(200);
            assert_eq!(timing.due(0, now), Some(Due::Answer(BTreeSet::from([host(1)]))));
            timing.question([host(1)], 0, now);
            (10..30).for_each(|number| timing.answered(host(number)));
            now += Duration::from_millis(200);
            answers += usize::from(timing.due(0, now).is_some());
            timing.tell = now + TELL_EVERY;
        }
        assert_eq!(answers, 0, "each of them followed an answer");
        for _ in 0..10 {
            timing.question([host(1)], 1000, now);
            (10..30).for_each(|number| timing.answered(host(number)));
            now += ANSWER_AT_LAST * 2;
            timing.tell = now + TELL_EVERY;
            answers += usize::from(timing.due(0, now).is_some());
        }
        assert_eq!(answers, 5, "never held back twice in a row");
    }
}
