//! One way out of a node, to its site or to all others: how fast it is, how far its takers' answers are, and so how much may
//! be granted or sent at once.

use std::time::Duration;

use super::Now;
use crate::limits;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Lane {
    /// Bytes of grants that have not been answered.
    pub(super) granted: u64,
    /// Bytes asked for and not yet sent.
    pub(super) asked: u64,
    /// Bytes per second while there was something to send; 0 before it was measured.
    pub(super) rate: u64,
    /// Bytes sent since, of the present measurement.
    meter: (Now, u64),
    /// When a whole chunk last went out.
    last_sent: Now,
    /// From a grant to its answer, the least lately: distance, not queues.
    pub(super) turnaround: Duration,
    turnaround_next: (Duration, Now),
}

/// The rate is measured over at least this long.
const METER: Duration = Duration::from_millis(100);
/// The least turnaround is forgotten after this.
const TURNAROUND_FOR: Duration = Duration::from_secs(5);
/// See [`Lane::patience`].
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
/// A taker to whom nothing has gone for so many times longer than all that waits in its lane should take is stuck...
const STUCK: u32 = 4;
/// ...but not before this long...
const STUCK_LEAST: Duration = Duration::from_secs(2);
/// ...or this and what all of it takes on a thin line, while nothing goes out to others either: all of the line may be slow.
const STUCK_UNKNOWN: Duration = Duration::from_secs(5);
/// Beyond the turnaround, this much work is kept in store: a node answers within it even when it is busy.
const SLACK: Duration = Duration::from_millis(8);
/// One grant carries about this much work, so that many small chunks do not each cost a message.
pub(super) const GRANT_FOR: Duration = Duration::from_millis(2);

impl Lane {
    pub(super) const fn new() -> Self {
        Self {
            granted: 0,
            asked: 0,
            rate: 0,
            meter: (Duration::ZERO, 0),
            last_sent: Duration::ZERO,
            turnaround: Duration::ZERO,
            turnaround_next: (Duration::MAX, Duration::ZERO),
        }
    }

    /// Bytes that may be granted or asked for at once, of a blob with chunks of `chunk` bytes.
    ///
    /// Of what is granted for a turnaround some is declined: half as much again covers that. (Not outside our site:
    /// there grants are kept until they can be used.)
    pub(super) fn budget(&self, chunk: u64, slots: u64, local: bool) -> u64 {
        let turnaround = if local { self.turnaround * 3 / 2 } else { self.turnaround };
        let ahead = (u128::from(self.rate) * (turnaround + SLACK).as_micros() / 1_000_000) as u64;
        let least = if self.rate == 0 { limits::FIRST_WINDOW } else { 0 };
        (slots * chunk + ahead).max(least).min(limits::GIVE_BYTES.max(slots * chunk))
    }

    /// Chunks one grant is for.
    pub(super) fn quantum(&self, chunk: u64) -> u32 {
        let work = (u128::from(self.rate) * GRANT_FOR.as_micros() / 1_000_000) as u64;
        (work.min(limits::RUN_BYTES) / chunk).max(1) as u32
    }

    pub(super) fn answered(&mut self, since: Now, now: Now) {
        let took = now.saturating_sub(since);
        if now.saturating_sub(self.turnaround_next.1) > TURNAROUND_FOR {
            self.turnaround = self.turnaround_next.0;
            self.turnaround_next = (took, now);
        }
        if self.turnaround.is_zero() || took < self.turnaround {
            self.turnaround = took;
        }
        self.turnaround_next.0 = self.turnaround_next.0.min(took);
    }

    /// How long a grant may wait for its answer. Before anything is known, as long as it takes round the world.
    pub(super) fn patience(&self) -> Duration {
        if self.turnaround.is_zero() { FIRST_PATIENCE } else { self.turnaround * 3 + limits::GRANT_PATIENCE }
    }

    /// A chunk was asked for.
    pub(super) const fn takes(&mut self, bytes: u64, now: Now) {
        if self.asked == 0 {
            self.meter = (now, 0);
        }
        self.asked += bytes;
    }

    /// How long a taker to whom nothing went since then may have to wait, at worst.
    pub(super) fn longest(&self, since: Now) -> Duration {
        let micros = |rate: u64| Duration::from_micros(self.asked.saturating_mul(1_000_000) / rate);
        if self.rate > 0 && self.last_sent > since {
            STUCK_LEAST + micros(self.rate) * STUCK
        } else {
            STUCK_UNKNOWN + micros(limits::THIN_LINE)
        }
    }

    pub(super) fn sent(&mut self, bytes: u64, now: Now) {
        self.meter.1 += bytes;
        self.last_sent = now;
        let elapsed = now.saturating_sub(self.meter.0);
        if elapsed >= METER && self.meter.1 > 2 * bytes {
            let sample = (u128::from(self.meter.1) * 1_000_000 / elapsed.as_micros()) as u64;
            self.rate = if self.rate == 0 { sample } else { (self.rate * 3 + sample) / 4 };
            self.meter = (now, 0);
        }
    }
}
