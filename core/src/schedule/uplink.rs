//! One way out of a node, to its site or to all others. Its speed and the distance of its takers' answers
//! determine how much may be granted or sent at once.

use std::time::Duration;

use super::Now;
use super::holders::under_way;
use crate::limits;

/// One way out of the node. Its takers share its speed.
#[derive(Debug)]
pub(super) struct Lane {
    /// Bytes of grants that have not been answered.
    pub(super) granted: u64,
    /// Bytes of those grants that newcomers have: takers that never requested anything.
    newcomers: u64,
    /// The time of the last request of a taker.
    pub(super) used: Option<Now>,
    /// Bytes that were requested and have not been sent.
    pub(super) asked: u64,
    /// Bytes per second while there was something to send; 0 before it was measured. The line can do more if
    /// it ran dry now and then.
    pub(super) rate: u64,
    /// The rate to which the node limits itself, in bytes per second; `None` without a limit.
    pub(super) limit: Option<u64>,
    /// True if the line was measured while it was full.
    known: bool,
    /// The time of the first request since the rate was last unknown, and that of the latest event.
    began: Option<Now>,
    latest: Now,
    /// Start of the present measurement of the rate, and the bytes sent since.
    meter: (Now, u64),
    /// True if there was nothing to send for a while during the present measurement.
    dry: bool,
    /// The time when the rate was last measured.
    measured: Now,
    /// The time when a whole chunk was last sent.
    last_sent: Now,
    /// The shortest time lately from a grant to its answer. It shows distance, not queues.
    pub(super) turnaround: Duration,
    turnaround_next: (Duration, Now),
    /// The time ahead for which chunks are granted, in eighths of a turnaround. [`Lane::starved`] adapts it.
    reach: u32,
    /// The time since which nothing is left to send.
    empty_since: Now,
    /// The time for which nothing was left to send while answers were on their way, since the reach was last
    /// reviewed.
    idle: Duration,
    reviewed: Now,
}

/// Round trips until a connection has grown from nothing to what the path carries. TCP doubles the bytes
/// under way from one to the next, from ten packets to 14 MB. Until then a measurement lags behind the rate
/// to come.
pub(super) const START_TRIPS: u32 = 10;
/// The least time over which the rate is measured.
const METER: Duration = Duration::from_millis(100);
/// Beyond the time of a chunk on a thin line, a pause of this length between two chunks is not due to the
/// line.
const GAP: Duration = Duration::from_secs(1);
/// The time after which the rate is forgotten if nothing was measured: a line that was cut is not slow.
const RATE_FOR: Duration = Duration::from_secs(10);
/// Least and most reach, in eighths of a turnaround. Some grants are declined, and a lost packet holds up all
/// bytes behind it for a turnaround.
const REACH: std::ops::RangeInclusive<u32> = 16..=48;
/// The interval at which the reach is reviewed.
const REVIEW_EVERY: Duration = Duration::from_millis(250);
/// The time after which the shortest turnaround is forgotten.
const TURNAROUND_FOR: Duration = Duration::from_secs(5);
/// The patience with a grant while no turnaround is known: an answer from the other side of the world takes
/// as long.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
/// A taker is stuck if nothing was sent to it for this many times as long as all bytes in its lane take.
const STUCK: u32 = 4;
/// The least time after which a taker is stuck. The time by [`STUCK`] is added to it.
const STUCK_LEAST: Duration = Duration::from_secs(2);
/// The least time after which a taker is stuck while nothing is sent to other takers either. The time that
/// all bytes in its lane take on a thin line is added to it: the whole line may be slow.
const STUCK_UNKNOWN: Duration = Duration::from_secs(5);
/// The time that a chunk takes on a slow lane, or more.
const SLOW_CHUNK: Duration = Duration::from_secs(1);
/// Chunks that are sent at once on a slow lane.
const SLOW_SLOTS: u64 = 2;
/// A taker that is sent less than this part of a slow lane's limit, as 1 in this many, does not read.
const FAIR_PART: u64 = 32;
/// The time after a request for which places are kept for takers that use them.
const USED_FOR: Duration = Duration::from_secs(2);
/// Work that is kept in store beyond the turnaround: a node answers within this time even when it is busy.
const SLACK: Duration = Duration::from_millis(8);
/// The work that one grant carries, about, so that many small chunks do not each cost a message.
pub(super) const GRANT_FOR: Duration = Duration::from_millis(2);

impl Lane {
    pub(super) const fn new() -> Self {
        Self {
            granted: 0,
            newcomers: 0,
            used: None,
            asked: 0,
            rate: 0,
            limit: None,
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

    /// Returns the bytes that may be granted or requested at once, for a blob with chunks of `chunk` bytes:
    /// those of the slots, and those that are sent until a grant is answered.
    pub(super) fn budget(&self, chunk: u64, slots: u64) -> u64 {
        let reach = self.turnaround * self.reach / 8 + SLACK;
        if let Some(pace) = self.limit.filter(|_| self.is_slow(chunk)) {
            return SLOW_SLOTS * chunk + under_way(pace, reach).max(1);
        }
        let ahead = under_way(self.rate, reach);
        let first = under_way(limits::START_RATE, self.turnaround).max(limits::FIRST_WINDOW);
        let grows =
            self.began.is_none_or(|began| self.latest.saturating_sub(began) < self.turnaround * START_TRIPS);
        let least = if self.known && !grows { 0 } else { first };
        (slots * chunk + ahead).max(least).min(limits::GIVE_BYTES.max(slots * chunk))
    }

    /// Returns true if the node limits itself so much that a chunk takes long. Few chunks are sent at once
    /// then, and none twice while its first taker may pass it on. A line that is slow by itself is not known
    /// as such: takers that read slowly would look like one.
    pub(super) fn is_slow(&self, chunk: u64) -> bool {
        self.takes_slowly(chunk).is_some()
    }

    /// Returns the time that a chunk takes, if the lane is slow.
    pub(super) fn takes_slowly(&self, chunk: u64) -> Option<Duration> {
        let takes = Duration::from_micros(chunk.saturating_mul(1_000_000) / self.limit?.max(1));
        (takes >= SLOW_CHUNK).then_some(takes)
    }

    /// Returns true if `bytes`, which a taker was sent in a second, are a fair part of what the limit allows.
    pub(super) fn is_progress(&self, chunk: u64, bytes: u64) -> bool {
        self.is_slow(chunk) && self.limit.is_some_and(|limit| bytes.saturating_mul(FAIR_PART) >= limit)
    }

    /// Returns true if one more chunk may be granted to a newcomer. Newcomers may never answer, so they share
    /// half of the budget while other takers use theirs.
    pub(super) fn takes_newcomers(&self, chunk: u64, budget: u64, now: Now) -> bool {
        let used = self.used.is_some_and(|used| now.saturating_sub(used) < USED_FOR);
        !used || self.newcomers == 0 || self.newcomers + chunk <= budget / 2
    }

    /// Records a grant of some bytes, to a `newcomer` or to a taker that has requested something.
    pub(super) const fn grants(&mut self, bytes: u64, newcomer: bool) {
        self.granted += bytes;
        self.newcomers += if newcomer { bytes } else { 0 };
    }

    /// Records that a grant of some bytes is answered or over.
    pub(super) const fn grants_end(&mut self, bytes: u64, newcomer: bool) {
        self.granted = self.granted.saturating_sub(bytes);
        self.newcomers = self.newcomers.saturating_sub(if newcomer { bytes } else { 0 });
    }

    /// Returns true if one more chunk fits the budget.
    pub(super) fn has_room(&self, chunk: u64, slots: u64) -> bool {
        self.granted + self.asked + chunk <= self.budget(chunk, slots)
    }

    /// Adapts the reach when a grant of time `since` is answered. If nothing was left to send before the
    /// answer, more grants would have kept the line busy. The reach grows while that is often so, and shrinks
    /// slowly while it is not.
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

    /// Returns the number of chunks that one grant is for.
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

    /// Returns the time that a grant may wait for its answer.
    pub(super) fn patience(&self) -> Duration {
        if self.turnaround.is_zero() { FIRST_PATIENCE } else { self.turnaround * 3 + limits::GRANT_PATIENCE }
    }

    /// Records a request for a chunk, against a grant of time `since`.
    pub(super) fn takes(&mut self, bytes: u64, since: Now, now: Now) {
        self.starved(since, now);
        self.latest = now;
        if self.asked == 0 {
            // More grants would have filled a pause of a few turnarounds; a longer pause comes from a lack of
            // takers.
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

    /// Records that requested bytes were sent, or need no longer be.
    pub(super) const fn gone(&mut self, bytes: u64, now: Now) {
        self.asked = self.asked.saturating_sub(bytes);
        if self.asked == 0 {
            self.empty_since = now;
        }
    }

    /// Returns the longest wait of a taker to which nothing was sent since `since`.
    pub(super) fn longest(&self, since: Now) -> Duration {
        let micros = |rate: u64| Duration::from_micros(self.asked.saturating_mul(1_000_000) / rate);
        if self.rate > 0 && self.last_sent > since {
            STUCK_LEAST + micros(self.rate) * STUCK
        } else {
            STUCK_UNKNOWN + micros(limits::THIN_LINE)
        }
    }

    pub(super) fn sent(&mut self, bytes: u64, now: Now) {
        // In such a gap the takers read nothing, or the line was cut, so it says nothing about the line's
        // speed.
        let gap = now.saturating_sub(self.last_sent.max(self.meter.0));
        if gap > GAP + Duration::from_micros(bytes * 1_000_000 / limits::THIN_LINE) {
            self.meter = (now, 0);
        }
        self.meter.1 += bytes;
        (self.last_sent, self.latest) = (now, now);
        let elapsed = now.saturating_sub(self.meter.0);
        if elapsed >= METER && self.meter.1 > 2 * bytes {
            let sample = (u128::from(self.meter.1) * 1_000_000 / elapsed.as_micros()) as u64;
            // The rate goes up at once, so that grants may double from one turnaround to the next, and down
            // only if the line was full.
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
