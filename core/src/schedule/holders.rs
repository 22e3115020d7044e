//! One peer as a source: how fast it is, how much it may owe us, whether it has stopped.

use std::time::Duration;

use super::Now;
use super::free_riders::Credit;
use crate::limits;

/// The rate is measured over windows of this length.
const WINDOW: Duration = Duration::from_millis(200);
/// Before the first byte, this long is patience enough: no honest holder needs it for a first answer on a network that
/// just carried a handshake and an offer.
const FIRST_BYTE: Duration = Duration::from_secs(3);
/// After that many silences in a row the pause stops growing.
const DOUBLINGS: u32 = 5;
/// Chunks it may owe before anything is known of it.
const FIRST_CHUNKS: u64 = 4;
/// Seconds of its own rate a holder may owe.
const AHEAD: u64 = 2;

/// See the module's text.
#[derive(Debug)]
pub struct Holder {
    near: u8,
    elsewhere: Option<u64>,
    /// Bytes asked for and not yet here.
    out: u64,
    requests: usize,
    window: u64,
    rate: u64,
    measured: (Now, u64),
    /// The round trip, the least lately.
    distance: Duration,
    delivered_any: bool,
    /// When the last whole chunk came.
    delivered: Now,
    /// Since when it owes us something.
    owes_since: Now,
    /// The last byte, or the first request after none were out.
    progress: Now,
    pause_until: Now,
    silences: u32,
    /// How often in a row it lost its requests because it was so slow.
    crawls: u32,
    /// When it last offered or sent us anything.
    served: Now,
    /// What it was given, and gave.
    pub(super) credit: Credit,
}

impl Holder {
    /// A holder nothing is known of.
    #[must_use]
    pub const fn new(near: u8, elsewhere: Option<u64>, now: Now) -> Self {
        Self {
            near,
            elsewhere,
            out: 0,
            requests: 0,
            window: limits::FIRST_WINDOW,
            rate: 0,
            measured: (now, 0),
            distance: Duration::ZERO,
            delivered_any: false,
            delivered: Duration::ZERO,
            owes_since: now,
            progress: now,
            pause_until: Duration::ZERO,
            silences: 0,
            crawls: 0,
            served: now,
            credit: Credit::NEW,
        }
    }

    /// Distance class, 0 is nearest.
    #[must_use]
    pub const fn near(&self) -> u8 {
        self.near
    }

    /// It is of our site.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.elsewhere.is_none()
    }

    /// The site it is of, if not ours.
    #[must_use]
    pub const fn elsewhere(&self) -> Option<u64> {
        self.elsewhere
    }

    /// Bytes per second, smoothed; 0 before the first measurement.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes asked for and not yet here.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.out
    }

    /// When it last delivered a whole chunk: what was asked for before has had its turn since then.
    #[must_use]
    pub const fn delivered_at(&self) -> Now {
        self.delivered
    }

    /// It owes us something, and no whole chunk has come for long.
    #[must_use]
    pub fn lags(&self, now: Now) -> bool {
        self.requests > 0 && now.saturating_sub(self.delivered.max(self.owes_since)) > limits::REQUEST_TIMEOUT
    }

    /// It has delivered something.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.delivered_any
    }

    /// It has delivered a whole chunk.
    #[must_use]
    pub const fn has_delivered(&self) -> bool {
        !self.delivered.is_zero()
    }

    /// It has offered or sent us something lately, or is new.
    #[must_use]
    pub fn is_there(&self, now: Now) -> bool {
        now.saturating_sub(self.served) < limits::REQUEST_TIMEOUT
    }

    /// The same, and it owes us nothing that it was silent about.
    #[must_use]
    pub fn is_of_use(&self, now: Now) -> bool {
        self.silences == 0 && self.is_there(now)
    }

    /// It offers a place of its uplink.
    pub const fn offered(&mut self, now: Now) {
        self.served = now;
    }

    /// The round trip; zero before it is known.
    #[must_use]
    pub const fn distance(&self) -> Duration {
        self.distance
    }

    /// A round trip was measured. The least counts, and is believed a little less each time: paths change.
    pub fn is_away(&mut self, round_trip: Duration) {
        let believed = self.distance + self.distance / 8;
        self.distance = if believed.is_zero() { round_trip } else { round_trip.min(believed) };
    }

    /// Of the bytes it owes, those that can be expected soon.
    #[must_use]
    pub fn soon(&self) -> u64 {
        if self.rate == 0 { self.out } else { self.out.min(self.rate * AHEAD) }
    }

    /// It has not lost its requests since it last sent something. Who has is asked for one chunk at a time.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.silences == 0 && self.crawls == 0
    }

    /// Another request is allowed now. One always is, whatever its size.
    #[must_use]
    pub fn may_ask(&self, size: u64, now: Now) -> bool {
        let window = self.window.max(FIRST_CHUNKS * size).max(under_way(limits::START_RATE, self.distance));
        now >= self.pause_until
            && (self.requests == 0
                || self.is_trusted() && self.out < window && self.requests < limits::REQUESTS_PER_PEER)
    }

    /// A request goes out.
    pub const fn asked(&mut self, size: u64, now: Now) {
        if self.requests == 0 {
            (self.progress, self.owes_since) = (now, now);
            self.measured = (now, 0);
        }
        self.out += size;
        self.requests += 1;
    }

    /// A request has ended, with or without its chunk.
    pub const fn ended(&mut self, size: u64) {
        self.out = self.out.saturating_sub(size);
        self.requests = self.requests.saturating_sub(1);
    }

    /// Bytes of an answer arrived.
    pub fn received(&mut self, bytes: u64, now: Now) {
        (self.progress, self.served) = (now, now);
        self.silences = 0;
        self.delivered_any = true;
        self.measured.1 += bytes;
        let elapsed = now.saturating_sub(self.measured.0);
        if elapsed >= WINDOW {
            let sample = (u128::from(self.measured.1) * 1000 / elapsed.as_millis().max(1)) as u64;
            self.rate = if self.rate == 0 { sample } else { (self.rate * 3 + sample * 2) / 5 };
            self.measured = (now, 0);
        }
    }

    /// A whole chunk verified: the window grows by as much, up to some seconds of the measured rate.
    pub fn delivered(&mut self, size: u64, now: Now) {
        (self.progress, self.delivered) = (now, now);
        self.crawls = 0;
        self.credit.gave();
        let most = if self.rate == 0 { u64::MAX } else { (self.rate * AHEAD).max(2 * size) };
        self.window = (self.window + size).min(most).clamp(size, limits::REQUEST_BYTES_PER_PEER);
    }

    /// Asked for something and silent for too long: so many times the usual patience, which is no less than `usual`.
    #[must_use]
    pub fn is_stalled(&self, times: u32, usual: Duration, now: Now) -> bool {
        let patience = if self.delivered_any { limits::REQUEST_TIMEOUT / 4 } else { FIRST_BYTE };
        let patience = patience.max(usual.min(limits::REQUEST_TIMEOUT * 2));
        let times = times.max(1 << self.silences.min(2));
        self.requests > 0 && now.saturating_sub(self.progress) > patience * times
    }

    /// It lost its requests: small window, and a pause that doubles each time.
    pub fn stalled(&mut self, now: Now) {
        self.window = limits::CHUNK_MIN;
        self.pause_until =
            now + Duration::from_secs(1 << self.silences.min(DOUBLINGS)).min(limits::REQUEST_TIMEOUT);
        self.silences += 1;
    }

    /// The same, for it sent so slowly that another will have to: one chunk at a time, after a long pause.
    pub fn crawled(&mut self, now: Now) {
        self.stalled(now);
        self.pause_until = now + limits::REQUEST_TIMEOUT * (1 << self.crawls.min(DOUBLINGS));
        self.crawls += 1;
    }

    /// It said that it has too much to do.
    pub fn back_off(&mut self, now: Now) {
        self.window = (self.window / 2).max(limits::CHUNK_MIN);
        self.pause_until = now + Duration::from_millis(250);
    }
}

/// Bytes that are under way at a rate (bytes per second) during some time.
pub(super) fn under_way(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_micros() / 1_000_000) as u64
}
