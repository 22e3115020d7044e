//! One peer as a source of chunks: its speed, the bytes that it may owe, and whether it has stopped.

use std::time::Duration;

use super::Now;
use super::free_riders::Credit;
use super::patience::GrantPatience;
use crate::limits;

/// The length of the windows over which the rate is measured.
const WINDOW: Duration = Duration::from_millis(200);
/// The patience before the first byte. No honest holder needs longer for a first answer on a network that has
/// just carried a handshake and an offer.
const FIRST_BYTE: Duration = Duration::from_secs(3);
/// The number of silences in a row after which the pause stops growing.
const DOUBLINGS: u32 = 5;
/// The chunks that a holder may owe before anything is known of it.
const FIRST_CHUNKS: u64 = 4;
/// The seconds of its own rate that a holder may owe.
const AHEAD: u64 = 2;

/// A peer as a source of chunks, for all blobs together.
#[derive(Debug)]
pub struct Holder {
    near: u8,
    elsewhere: Option<u64>,
    /// Bytes that were requested and have not come.
    out: u64,
    requests: usize,
    window: u64,
    rate: u64,
    measured: (Now, u64),
    /// The round trip: about the shortest one lately.
    distance: Duration,
    delivered_any: bool,
    /// The time when the last whole chunk came.
    delivered: Now,
    /// The time since which the peer owes something.
    owes_since: Now,
    /// The time of the last byte, or of the first request after there was none.
    progress: Now,
    pause_until: Now,
    silences: u32,
    /// The number of times in a row that the peer lost its requests because it was slow.
    crawls: u32,
    /// The time when the peer last offered or sent anything.
    served: Now,
    /// The balance of chunks that the peer was given and that it gave.
    pub(super) credit: Credit,
    /// The pauses of the peer as a taker that lets grants wait.
    pub(super) patience: GrantPatience,
}

impl Holder {
    /// Returns a holder of which nothing is known. `near` is its distance class, `elsewhere` its site if that
    /// is another one.
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
            patience: GrantPatience::NEW,
        }
    }

    /// Returns the distance class; 0 is nearest.
    #[must_use]
    pub const fn near(&self) -> u8 {
        self.near
    }

    /// Returns true if the peer is of this node's site.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.elsewhere.is_none()
    }

    /// Returns the site of the peer; `None` if it is this node's own.
    #[must_use]
    pub const fn elsewhere(&self) -> Option<u64> {
        self.elsewhere
    }

    /// Returns the smoothed rate in bytes per second; 0 before the first measurement.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Returns the bytes that were requested from the peer and have not come.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.out
    }

    /// Returns the time when the peer last delivered a whole chunk. A chunk that was requested earlier has
    /// had its turn since then.
    #[must_use]
    pub const fn delivered_at(&self) -> Now {
        self.delivered
    }

    /// Returns true if the peer owes something and no whole chunk has come for [`limits::REQUEST_TIMEOUT`].
    #[must_use]
    pub fn lags(&self, now: Now) -> bool {
        self.requests > 0 && now.saturating_sub(self.delivered.max(self.owes_since)) > limits::REQUEST_TIMEOUT
    }

    /// Returns true if the peer has delivered at least a byte.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.delivered_any
    }

    /// Returns true if the peer has delivered a whole chunk.
    #[must_use]
    pub const fn has_delivered(&self) -> bool {
        !self.delivered.is_zero()
    }

    /// Returns true if the peer has offered or sent something lately, or is new.
    #[must_use]
    pub fn is_there(&self, now: Now) -> bool {
        now.saturating_sub(self.served) < limits::REQUEST_TIMEOUT
    }

    /// Returns true if the peer has offered or sent something lately, or is new, and has not lost its
    /// requests by silence since.
    #[must_use]
    pub fn is_of_use(&self, now: Now) -> bool {
        self.silences == 0 && self.is_there(now)
    }

    /// Records that the peer offers a place of its uplink.
    pub const fn offered(&mut self, now: Now) {
        self.served = now;
    }

    /// Returns the round trip; zero before it is known.
    #[must_use]
    pub const fn distance(&self) -> Duration {
        self.distance
    }

    /// Takes in a measured round trip. The shortest one counts, but each new one raises it by up to an
    /// eighth, because paths change.
    pub fn is_away(&mut self, round_trip: Duration) {
        let believed = self.distance + self.distance / 8;
        self.distance = if believed.is_zero() { round_trip } else { round_trip.min(believed) };
    }

    /// Returns those of the owed bytes that can be expected soon.
    #[must_use]
    pub fn soon(&self) -> u64 {
        if self.rate == 0 { self.out } else { self.out.min(self.rate * AHEAD) }
    }

    /// Returns true if the peer has not lost its requests since it last sent something. A holder that has is
    /// asked for one chunk at a time.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.silences == 0 && self.crawls == 0
    }

    /// Returns true if another request of `size` bytes is allowed now. While none is open, one of any size
    /// is.
    #[must_use]
    pub fn may_ask(&self, size: u64, now: Now) -> bool {
        let window = self.window.max(FIRST_CHUNKS * size).max(under_way(limits::START_RATE, self.distance));
        now >= self.pause_until
            && (self.requests == 0
                || self.is_trusted() && self.out < window && self.requests < limits::REQUESTS_PER_PEER)
    }

    /// Records a request.
    pub const fn asked(&mut self, size: u64, now: Now) {
        if self.requests == 0 {
            (self.progress, self.owes_since) = (now, now);
            self.measured = (now, 0);
        }
        self.out += size;
        self.requests += 1;
    }

    /// Records the end of a request, with or without its chunk.
    pub const fn ended(&mut self, size: u64) {
        self.out = self.out.saturating_sub(size);
        self.requests = self.requests.saturating_sub(1);
    }

    /// Takes in bytes of an answer.
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

    /// Records a whole verified chunk. The window grows by as many bytes, up to some seconds of the measured
    /// rate.
    pub fn delivered(&mut self, size: u64, now: Now) {
        (self.progress, self.delivered) = (now, now);
        self.crawls = 0;
        self.credit.gave();
        let most = if self.rate == 0 { u64::MAX } else { (self.rate * AHEAD).max(2 * size) };
        self.window = (self.window + size).min(most).clamp(size, limits::REQUEST_BYTES_PER_PEER);
    }

    /// Returns true if the peer owes something and has been silent for `times` times the usual patience,
    /// which is at least `usual`.
    #[must_use]
    pub fn is_stalled(&self, times: u32, usual: Duration, now: Now) -> bool {
        let patience = if self.delivered_any { limits::REQUEST_TIMEOUT / 4 } else { FIRST_BYTE };
        let patience = patience.max(usual.min(limits::REQUEST_TIMEOUT * 2));
        let times = times.max(1 << self.silences.min(2));
        self.requests > 0 && now.saturating_sub(self.progress) > patience * times
    }

    /// Records that the peer lost its requests: the window becomes small, and the pause doubles each time.
    pub fn stalled(&mut self, now: Now) {
        self.window = limits::CHUNK_MIN;
        self.pause_until =
            now + Duration::from_secs(1 << self.silences.min(DOUBLINGS)).min(limits::REQUEST_TIMEOUT);
        self.silences += 1;
    }

    /// Records that the peer lost its requests because it was so slow that another holder is asked instead.
    /// It is asked for one chunk at a time, after a long pause.
    pub fn crawled(&mut self, now: Now) {
        self.stalled(now);
        self.pause_until = now + limits::REQUEST_TIMEOUT * (1 << self.crawls.min(DOUBLINGS));
        self.crawls += 1;
    }

    /// Records that the peer declined because it has too much to do.
    pub fn back_off(&mut self, now: Now) {
        self.window = (self.window / 2).max(limits::CHUNK_MIN);
        self.pause_until = now + Duration::from_millis(250);
    }
}

/// Returns the bytes that are under way at a rate (bytes per second) during some time.
pub(super) fn under_way(rate: u64, time: Duration) -> u64 {
    (u128::from(rate) * time.as_micros() / 1_000_000) as u64
}
