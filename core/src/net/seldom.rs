//! Lines of the log that peers cause: a peer may repeat what leads to one as often as it likes.

use std::time::{Duration, Instant};

/// Shortest time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Limit on one kind of line in the log.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    hidden: u64,
}

impl Seldom {
    /// Returns the number of lines that were left out since the last one, if another line may be written now.
    /// Returns `None`, and counts the line, if it must be left out.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            self.hidden += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_then_one_with_a_count() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let due: Vec<u64> = (0..1000).filter_map(|_| seldom.due(start)).collect();
        assert_eq!(due, [0]);
        assert_eq!(seldom.due(start + EVERY), Some(999));
        assert_eq!(seldom.due(start + EVERY), None);
    }
}
