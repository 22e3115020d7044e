//! Takers that let grants wait. A place of the uplink that is offered in vain is lost to others for a moment,
//! so each grant that is not answered in time doubles the pause until the next one.
//!
//! The pauses are those of a peer and not of one blob, so that a want that is taken back and told again ends
//! none of them.

use std::time::Duration;

use super::Now;

/// The most doublings of the pause.
const DOUBLINGS: u32 = 6;
/// The longest pause, unless one patience is longer. On a machine that is busy patience is long, and pauses
/// must be much longer.
const LONGEST: Duration = Duration::from_secs(60);

/// The pauses of one taker.
#[derive(Debug, Clone, Copy)]
pub(super) struct GrantPatience {
    /// Number of times in a row that grants were not answered in time.
    ignored: u32,
    until: Now,
}

impl GrantPatience {
    /// The state of a peer that has let nothing wait.
    pub(super) const NEW: Self = Self { ignored: 0, until: Duration::ZERO };

    /// Records that grants were not answered in time. Returns the pause until the next grant: `least` at
    /// first, and twice as long each time.
    pub(super) fn ignored(&mut self, least: Duration, now: Now) -> Duration {
        let pause = (least * (1 << self.ignored.min(DOUBLINGS))).min(LONGEST.max(least));
        self.ignored = self.ignored.saturating_add(1);
        self.until = now + pause;
        pause
    }

    /// Records an answer in time, or a request. Returns true if grants had waited before.
    pub(super) fn answered(&mut self) -> bool {
        std::mem::replace(self, Self::NEW).ignored > 0
    }

    /// Returns the time until which the peer is offered nothing.
    pub(super) const fn until(&self) -> Now {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_limit_and_an_answer_ends_it() {
        let (mut patience, least) = (GrantPatience::NEW, Duration::from_millis(50));
        let pauses: Vec<u128> = (0..9).map(|_| patience.ignored(least, Now::ZERO).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 3200, 3200]);
        assert_eq!(patience.until(), Duration::from_millis(3200));
        assert!(patience.answered() && !patience.answered());
        assert_eq!((patience.until(), patience.ignored(least, Now::ZERO)), (Now::ZERO, least));
        let far = Duration::from_secs(2);
        assert_eq!(patience.ignored(far, Now::ZERO), 2 * far);
        assert_eq!((0..3).map(|_| patience.ignored(far, Now::ZERO)).last(), Some(16 * far));
        assert_eq!(patience.ignored(far, Now::ZERO), LONGEST);
    }
}
