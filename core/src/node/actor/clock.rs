//! The clock of a network: the time since its start, and the times of its periodic work.

use std::time::{Duration, Instant};

use crate::schedule::Now;

/// Interval at which the views of downloads are brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Interval of the slower periodic work.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Time after the start by which the node listens on all of its addresses.
const SETTLED: Duration = Duration::from_secs(2);

/// The clock of one network.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// Time at which the views were last brought up to date.
    shown: Instant,
    /// Time of the last slower periodic work.
    tended: Instant,
}

impl Clock {
    /// Returns a clock that starts at this time.
    pub(super) const fn new(now: Instant) -> Self {
        Self { started: now, shown: now, tended: now }
    }

    /// Returns the time since the network started.
    pub(super) fn now(&self) -> Now {
        self.started.elapsed()
    }

    /// Returns true if the views are to be brought up to date now, and counts the next interval from now.
    pub(super) fn may_show(&mut self, now: Instant) -> bool {
        is_due(&mut self.shown, SHOW_EVERY, now)
    }

    /// Returns true if the slower periodic work is due now, and counts the next interval from now.
    pub(super) fn may_tend(&mut self, now: Instant) -> bool {
        is_due(&mut self.tended, TEND_EVERY, now)
    }

    /// Returns true if the node has run so long that it listens on all of its addresses.
    pub(super) fn has_settled(&self, now: Instant) -> bool {
        now.duration_since(self.started) >= SETTLED
    }
}

/// Returns true if this much time has passed since `last`, and then sets `last` to now.
fn is_due(last: &mut Instant, every: Duration, now: Instant) -> bool {
    let due = now.duration_since(*last) >= every;
    if due {
        *last = now;
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periodic_work_is_due_once_an_interval() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let shows: Vec<bool> =
            [0, 99, 100, 150, 199, 210].map(|ms| clock.may_show(start + Duration::from_millis(ms))).to_vec();
        assert_eq!(shows, [false, false, true, false, false, true]);
        let tends: Vec<bool> =
            [999, 1000, 1500, 2000].map(|ms| clock.may_tend(start + Duration::from_millis(ms))).to_vec();
        assert_eq!(tends, [false, true, false, true]);
        assert!(!clock.has_settled(start + Duration::from_millis(1999)));
        assert!(clock.has_settled(start + Duration::from_secs(2)));
    }
}
