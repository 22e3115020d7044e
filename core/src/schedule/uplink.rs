//! One way out of a node, to its site or to all others: how fast it is, how far its takers' answers are, and so how much may
//! be granted or sent at once.

use std::time::Duration;

use super::Now;
use super::holders::under_way;
use crate::limits;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Lane {
    /// Bytes of grants that have not been answered.
    pub(super) granted: u64,
    /// Bytes asked for and not yet sent.
    pub(super) asked: u64,
    /// Bytes per second while there was something to send; 0 before it was measured. While the line runs dry now and then it
    /// may be more.
    pub(super) rate: u64,
    /// The line was measured while it was full.
    known: bool,
    /// The first chunk that was asked for since the rate was last unknown, and the latest thing that was heard.
    began: Option<Now>,
    latest: Now,
    /// Bytes sent since, of the present measurement.
    meter: (Now, u64),
    /// During that there was nothing to send for a while.
    dry: bool,
    /// When the rate was last measured.
    measured: Now,
    /// When a whole chunk last went out.
    last_sent: Now,
    /// From a grant to its answer, the least lately: distance, not queues.
    pub(super) turnaround: Duration,
    turnaround_next: (Duration, Now),
    /// Grants are given out for so many eighths of a turnaround: see [`Lane::starved`].
    reach: u32,
    /// Since when nothing was left to send.
    empty_since: Now,
    /// How long that was while answers were on their way, since the reach was last reviewed.
    idle: Duration,
    reviewed: Now,
}

/// Round trips after which a connection has grown from nothing to what the path carries: TCP doubles what is under way from one
/// to the next, from ten packets to 14 MB. Until then what is measured lags behind what will be.
pub(super) const START_TRIPS: u32 = 10;
/// The rate is measured over at least this long.
const METER: Duration = Duration::from_millis(100);
/// Beyond what a chunk takes on a thin line, a pause of this length between two chunks is not the line's.
const GAP: Duration = Duration::from_secs(1);
/// The rate is forgotten when nothing was measured for this long: a line that was cut is not slow.
const RATE_FOR: Duration = Duration::from_secs(10);
/// The least and the most eighths of a turnaround that grants are given out for. Some of what is granted is declined, and a
/// packet that is lost holds up all that is behind it for a turnaround.
const REACH: std::ops::RangeInclusive<u32> = 16..=48;
/// The reach is reviewed so often.
const REVIEW_EVERY: Duration = Duration::from_millis(250);
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
            known: false,
            began: None,
            latest: Duration::ZERO,
            meter: (Duration::ZERO, 0),
            dry: false,
            measured: Duration::ZERO,
            last_sent: Duration::ZERO,
            turnaround: Duration::ZERO,
            turnaround_next: (Duration::MAX, Duration::ZERO),
            reach: *REACH.start(),
            empty_since: Duration::ZERO,
            idle: Duration::ZERO,
            reviewed: Duration::ZERO,
        }
    }

    /// Bytes that may be granted or asked for at once, of a blob with chunks of `chunk` bytes: the slots, and what goes out
    /// until a grant is answered.
    pub(super) fn budget(&self, chunk: u64, slots: u64) -> u64 {
        let ahead = under_way(self.rate, self.turnaround * self.reach / 8 + SLACK);
        let first = under_way(limits::START_RATE, self.turnaround).max(limits::FIRST_WINDOW);
        let grows =
            self.began.is_none_or(|began| self.latest.saturating_sub(began) < self.turnaround * START_TRIPS);
        let least = if self.known && !grows { 0 } else { first };
        (slots * chunk + ahead).max(least).min(limits::GIVE_BYTES.max(slots * chunk))
    }

    /// One more chunk fits the budget.
    pub(super) fn has_room(&self, chunk: u64, slots: u64) -> bool {
        self.granted + self.asked + chunk <= self.budget(chunk, slots)
    }

    /// A grant given out at `since` is answered after nothing was left to send: had more been granted, the line had not
    /// been idle. The reach grows while that is often so, and shrinks slowly when it is not.
    fn starved(&mut self, since: Now, now: Now) {
        if self.asked == 0 && self.rate > 0 {
            self.idle += now.saturating_sub(since.max(self.empty_since).max(self.reviewed));
        }
        let over = now.saturating_sub(self.reviewed);
        if over >= REVIEW_EVERY.max(self.turnaround * 2) {
            self.reach = match self.idle * 50 > over {
                true => self.reach * 5 / 4,
                false => self.reach - self.reach / 32,
            };
            self.reach = self.reach.clamp(*REACH.start(), *REACH.end());
            (self.idle, self.reviewed) = (Duration::ZERO, now);
        }
    }

    /// Chunks one grant is for.
    pub(super) fn quantum(&self, chunk: u64) -> u32 {
        let work = under_way(self.rate, GRANT_FOR);
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

    /// A chunk was asked for, against a grant of `since`.
    pub(super) fn takes(&mut self, bytes: u64, since: Now, now: Now) {
        self.starved(since, now);
        self.latest = now;
        if self.asked == 0 {
            // A pause of a few turnarounds is one that more grants had filled; a longer one is for want of takers.
            let pause = now.saturating_sub(self.empty_since);
            self.dry = pause <= self.turnaround * 3 + METER && self.meter.1 > 0;
            if !self.dry {
                self.meter = (now, 0);
            }
            if self.began.is_none() || now.saturating_sub(self.measured) > RATE_FOR {
                (self.rate, self.known, self.began) = (0, false, Some(now));
            }
        }
        self.asked += bytes;
    }

    /// Bytes asked for went out, or need not any longer.
    pub(super) const fn gone(&mut self, bytes: u64, now: Now) {
        self.asked = self.asked.saturating_sub(bytes);
        if self.asked == 0 {
            self.empty_since = now;
        }
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
        // Since then those whom it is for read nothing, or the line was cut: that is no sign of how fast it is.
        let gap = now.saturating_sub(self.last_sent.max(self.meter.0));
        if gap > GAP + Duration::from_micros(bytes * 1_000_000 / limits::THIN_LINE) {
            self.meter = (now, 0);
        }
        self.meter.1 += bytes;
        (self.last_sent, self.latest) = (now, now);
        let elapsed = now.saturating_sub(self.meter.0);
        if elapsed >= METER && self.meter.1 > 2 * bytes {
            let sample = (u128::from(self.meter.1) * 1_000_000 / elapsed.as_micros()) as u64;
            // It follows up at once, so that what is granted may double from one turnaround to the next, and down only when
            // the line was full.
            self.rate = match sample > self.rate {
                true => sample,
                false if self.dry => self.rate,
                false => (self.rate * 3 + sample) / 4,
            };
            self.known |= !self.dry;
            (self.meter, self.measured, self.dry) = ((now, 0), now, false);
        }
    }
}
