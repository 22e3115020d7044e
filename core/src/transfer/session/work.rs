//! The work that the messages of one peer cause. Messages beyond a budget wait, so that a peer that floods a
//! node holds up nobody but itself.

use std::time::{Duration, Instant};

use crate::limits;
use crate::metrics::Traffic;
use crate::wire::Message;

/// Bytes of a message that count as one more unit.
const UNIT_BYTES: usize = 1024;

/// The budget of one session: a token bucket of units. A small message costs one unit. Chunks that are moved
/// earn units as well, so that no transfer is slowed down, however fast it is.
#[derive(Debug)]
pub(super) struct Work {
    left: f64,
    at: Instant,
    /// Bytes that the session had moved when they were last looked at.
    moved: u64,
    /// Units that the node had counted by then.
    worked: u64,
}

impl Work {
    /// Returns a full budget.
    pub(super) const fn new(now: Instant) -> Self {
        Self { left: limits::MESSAGE_WORK as f64, at: now, moved: 0, worked: 0 }
    }

    /// Takes the cost of a message out of the budget, and the work that the node has counted since. Returns
    /// the time to wait before the message is handed on.
    pub(super) fn costs(&mut self, units: u32, traffic: &Traffic, now: Instant) -> Duration {
        let (moved, worked) = (traffic.up() + traffic.down(), traffic.work());
        let units = u64::from(units) + worked.saturating_sub(self.worked);
        let most = f64::from(limits::MESSAGE_WORK);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let earned = moved.saturating_sub(self.moved) as f64 / limits::MESSAGE_WORK_BYTES as f64;
        self.left = (self.left + passed * most + earned).min(most) - units as f64;
        (self.at, self.moved, self.worked) = (now, moved, worked);
        Duration::from_secs_f64((-self.left).max(0.0) / most)
    }
}

/// Returns the cost of a message of `len` bytes, in units.
pub(super) fn cost(message: &Message, len: usize) -> u32 {
    let kind = match message {
        // Each chunk of a request is answered.
        Message::Request { count, .. } => (*count).clamp(1, limits::REQUESTS_PER_PEER as u32),
        Message::Have { .. } => 2,
        // The store is asked, or places of the uplink are shared out anew.
        Message::Want { .. } | Message::Seek { .. } | Message::HaveIt(_) | Message::List { .. } => 4,
        Message::Need { .. } | Message::Offer(_) | Message::Peers { .. } | Message::Gateways { .. } => 8,
        _ => 1,
    };
    kind + (len / UNIT_BYTES) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Have;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_exceeds_the_budget_waits_and_what_chunks_earn_does_not() {
        let (start, traffic) = (Instant::now(), Traffic::default());
        let mut work = Work::new(start);
        for _ in 0..limits::MESSAGE_WORK {
            assert_eq!(work.costs(1, &traffic, start), Duration::ZERO);
        }
        assert_eq!(work.costs(limits::MESSAGE_WORK, &traffic, start), SECOND);
        assert_eq!(work.costs(0, &traffic, start + 3 * SECOND), Duration::ZERO);
        traffic.worked(2 * u64::from(limits::MESSAGE_WORK));
        assert_eq!(work.costs(0, &traffic, start + 3 * SECOND), SECOND);
        // A transfer in chunks of the smallest size, a gigabyte each second.
        let (mut work, traffic) = (Work::new(start), Traffic::default());
        for chunk in 1..100_000_u32 {
            let now = start + chunk * Duration::from_micros(65);
            traffic.sent(limits::CHUNK_MIN);
            assert_eq!(work.costs(3, &traffic, now), Duration::ZERO, "{chunk}");
        }
    }

    #[test]
    fn a_message_costs_what_it_causes() {
        let need = Message::Need { blob: 1, add: Have::All, drop: Have::Runs(Vec::new()) };
        assert_eq!((cost(&need, 5), cost(&need, 5000), cost(&Message::Ping(1), 3)), (8, 12, 1));
        assert_eq!(cost(&Message::Request { blob: 1, first: 0, count: u32::MAX }, 9), 512);
    }
}
