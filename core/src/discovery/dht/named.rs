//! Queue of holders that the DHT named, handed out in turn by answer: one server that answers first with
//! twenty liars does not take all places for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::limits;

/// Answers whose holders may wait.
const ANSWERS: usize = 64;
/// Time between two holders in the long run.
const PACE: Duration =
    Duration::from_millis(limits::DIAL_WINDOW.as_millis() as u64 / limits::DIALS_PER_SOURCE as u64);

/// A peer that is said to hold something, and the addresses it is said to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) peer: PeerId,
    pub(crate) addrs: Vec<Multiaddr>,
}

/// Holders that wait to be dialled, by answer.
#[derive(Debug, Default)]
pub(super) struct ProviderQueue {
    /// Answers with their waiting holders, the next in turn first.
    answers: VecDeque<(u64, VecDeque<Provider>)>,
    /// Time at which all holders so far would have been handed out at the regular pace.
    paid: Option<Instant>,
}

impl ProviderQueue {
    /// Adds a holder that this answer named.
    pub(super) fn add(&mut self, answer: u64, named: Provider) {
        if let Some((_, all)) = self.answers.iter_mut().find(|(number, _)| *number == answer) {
            if all.len() < limits::DHT_PROVIDERS {
                all.push_back(named);
            }
            return;
        }
        if self.answers.len() == ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((answer, VecDeque::from([named])));
    }

    /// Drops all holders that wait.
    pub(super) fn clear(&mut self) {
        self.answers.clear();
    }

    /// Returns the holders to dial now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Provider> {
        let ahead = PACE * limits::DIALS_PER_SOURCE as u32;
        let mut due = Vec::new();
        while let Some((answer, mut all)) = self.answers.pop_front() {
            let paid = self.paid.map_or(now, |paid| paid.max(now));
            if paid + PACE > now + ahead {
                self.answers.push_front((answer, all));
                break;
            }
            let Some(named) = all.pop_front() else { continue };
            self.paid = Some(paid + PACE);
            due.push(named);
            if !all.is_empty() {
                self.answers.push_back((answer, all));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_turn_and_none_has_all() {
        let (mut waiting, now) = (ProviderQueue::default(), Instant::now());
        let named = || Provider { peer: PeerId::random(), addrs: Vec::new() };
        let honest = named();
        (0..100).for_each(|_| waiting.add(1, named()));
        (0..100).for_each(|_| waiting.add(2, named()));
        waiting.add(3, honest.clone());
        let due = waiting.due(now);
        assert_eq!(due.len(), limits::DIALS_PER_SOURCE);
        assert_eq!(due[2], honest);
        assert!(waiting.due(now).is_empty());
        assert_eq!(waiting.due(now + PACE * 4).len(), 4);
        // Each answer yields as many holders as an honest one has.
        assert_eq!(waiting.due(now + Duration::from_secs(100)).len(), 2 * limits::DHT_PROVIDERS + 1 - 24);
        (0..200).for_each(|answer| waiting.add(answer, named()));
        assert_eq!(waiting.answers.len(), ANSWERS);
        waiting.clear();
        assert!(waiting.due(now + Duration::from_secs(200)).is_empty());
    }
}
