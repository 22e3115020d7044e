//! Rate limits that many tasks share and that may change at any time. A [`TokenBucket`] is a semaphore of
//! bytes that a task refills; waiters are served in order. A [`Limiter`] makes bytes pass up to two buckets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::limits;

/// Time between refills of a bucket that may send bursts, and of a smooth one.
const REFILL: Duration = Duration::from_millis(20);
const REFILL_SMOOTH: Duration = Duration::from_millis(4);
/// Longest sleep while a bucket is full, even if nobody reports having taken bytes.
const IDLE: Duration = Duration::from_secs(1);
/// Bytes that a smooth limit lets pass at once.
pub(crate) const SMOOTH: usize = limits::DATA_FRAME_SLOW;
/// Fewest bytes that a limit lets pass at once, however low its rate is.
const STEP_MIN: u64 = 1 << 10;
/// Parts of a second in which a limit lets bytes pass, so that the other end sees that they come.
const STEPS: u64 = 16;
/// Bytes that all waiters together may need when a limit is lifted: one frame for each connection.
const RELEASE: usize = limits::CONNECTIONS * limits::DATA_FRAME;

/// Bytes per second; 0 means no limit.
type Rate = u64;

/// One rate limit. Its task ends when [`TokenBucket::task`] is aborted or when nobody can change the rate any
/// more.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: watch::Sender<Rate>,
    bucket: Arc<Bucket>,
    /// Task that refills the bucket.
    pub(crate) task: AbortHandle,
}

#[derive(Debug)]
struct Bucket {
    rate: watch::Receiver<Rate>,
    bytes: Semaphore,
    /// Signals that bytes were taken, so that the bucket is no longer full.
    used: Notify,
    smooth: bool,
}

impl TokenBucket {
    /// Makes a bucket that limits nothing until it is given a rate. A `smooth` bucket avoids bursts that
    /// would fill the queue in front of a link, and its task wakes up more often.
    pub(crate) fn new(smooth: bool) -> Self {
        let (rate, rates) = watch::channel(0);
        let (bytes, used) = (Semaphore::new(0), Notify::new());
        let bucket = Arc::new(Bucket { rate: rates.clone(), bytes, used, smooth });
        let task = tokio::spawn(refill(Arc::clone(&bucket), rates)).abort_handle();
        Self { rate, bucket, task }
    }

    /// Sets the rate in bytes per second; `None` removes the limit.
    pub(crate) fn set(&self, rate: Option<u64>) {
        let rate = rate.unwrap_or(0);
        self.rate.send_if_modified(|old| std::mem::replace(old, rate) != rate);
    }
}

/// Rate limits that the bytes of one direction pass, one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limiter {
    gates: [Option<Arc<Bucket>>; 2],
}

impl Limiter {
    /// Makes a limiter of the given buckets.
    pub(crate) fn through(gates: [Option<&TokenBucket>; 2]) -> Self {
        Self { gates: gates.map(|gate| gate.map(|gate| Arc::clone(&gate.bucket))) }
    }

    /// Returns how many bytes to pass at once: fewer at low rates, so that they keep coming.
    pub(crate) fn step(&self) -> usize {
        let steps = self.gates.iter().flatten().map(|bucket| step(*bucket.rate.borrow(), bucket.smooth));
        steps.min().unwrap_or(limits::DATA_FRAME)
    }

    /// Returns the rate of the first limit in bytes per second; `None` if it limits nothing.
    pub(crate) fn limit(&self) -> Option<u64> {
        let rate = self.gates.first()?.as_ref().map(|bucket| *bucket.rate.borrow())?;
        (rate > 0).then_some(rate)
    }

    /// Waits until `bytes` may pass.
    pub(crate) async fn pass(&self, bytes: usize) {
        for bucket in self.gates.iter().flatten() {
            if *bucket.rate.borrow() == 0 {
                continue;
            }
            bucket.used.notify_one();
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            if let Ok(permits) = bucket.bytes.acquire_many(bytes).await {
                permits.forget();
            }
        }
    }
}

/// Returns how many bytes to pass at once at a rate.
fn step(rate: Rate, smooth: bool) -> usize {
    let most = if smooth { SMOOTH } else { limits::DATA_FRAME };
    if rate == 0 { most } else { ((rate / STEPS).max(STEP_MIN) as usize).min(most) }
}

async fn refill(bucket: Arc<Bucket>, mut rates: watch::Receiver<Rate>) {
    let every = if bucket.smooth { REFILL_SMOOTH } else { REFILL };
    let (mut since, mut rest) = (Instant::now(), 0);
    loop {
        let rate = *rates.borrow_and_update();
        if rate == 0 {
            bucket.bytes.add_permits(RELEASE);
            if rates.changed().await.is_err() {
                return;
            }
            bucket.bytes.forget_permits(usize::MAX);
            since = Instant::now();
            continue;
        }
        // Room for what passes at once and for a late wake-up, so that a late refill loses nothing.
        let (share, steps) = if bucket.smooth { (50, 1) } else { (5, 2) };
        let burst = (rate / share).max(steps * step(rate, bucket.smooth) as u64) as usize;
        let room = burst.saturating_sub(bucket.bytes.available_permits());
        let millionths = since.elapsed().as_micros() * u128::from(rate) + rest;
        since = Instant::now();
        rest = millionths % 1_000_000;
        let due = (millionths / 1_000_000) as usize;
        // Bytes that find no room are not saved up.
        bucket.bytes.add_permits(due.min(room));
        let full = bucket.bytes.available_permits() >= burst;
        tokio::select! {
            () = bucket.used.notified(), if full => since = Instant::now(),
            () = sleep(if full { IDLE } else { every }) => {}
            changed = rates.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 1000;

    /// Passes `frames` frames and checks that no more bytes passed than the rate allows for the time it took.
    async fn pass(limiter: &Limiter, frames: usize, rate: u64) {
        let start = Instant::now();
        for _ in 0..frames {
            limiter.pass(FRAME).await;
        }
        let most = start.elapsed().as_secs_f64() * rate as f64
            + (rate / 5).max(2 * limits::DATA_FRAME as u64) as f64;
        assert!((frames * FRAME) as f64 <= most, "{} bytes where {most} were allowed", frames * FRAME);
    }

    #[tokio::test]
    async fn no_more_passes_than_allowed_and_limits_may_change() {
        let (gate, other) = (TokenBucket::new(false), TokenBucket::new(true));
        let limiter = Limiter::through([Some(&gate), Some(&other)]);
        assert_eq!(limiter.step(), SMOOTH);
        pass(&limiter, 100_000, u64::MAX / 2).await;
        gate.set(Some(2_000_000));
        pass(&limiter, 1000, 2_000_000).await;
        gate.set(Some(20_000_000));
        pass(&limiter, 10_000, 20_000_000).await;
        other.set(Some(1_000_000));
        pass(&limiter, 500, 1_000_000).await;
    }

    #[test]
    fn a_low_rate_lets_little_pass_at_once() {
        let steps = [2_000, 10_240, 160_000, 1_000_000, 2_000_000, 0].map(|rate| step(rate, false));
        assert_eq!(steps, [1024, 1024, 10_000, 62_500, 65_536, 65_536]);
        assert_eq!([step(0, true), step(u64::MAX, true)], [SMOOTH; 2]);
    }

    #[tokio::test]
    async fn a_low_rate_holds_from_the_first_byte_and_after_a_pause() {
        let gate = TokenBucket::new(false);
        let limiter = Limiter::through([Some(&gate), None]);
        gate.set(Some(20_000));
        while limiter.limit().is_none() || gate.bucket.bytes.available_permits() > 2 * 1250 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        for _ in 0..20 {
            limiter.pass(FRAME).await;
        }
        // Twenty thousand bytes, without those that were saved up.
        assert!(start.elapsed() >= Duration::from_millis(750), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn who_waits_for_a_limit_that_is_lifted_waits_no_longer() {
        let gate = TokenBucket::new(false);
        let limiter = Limiter::through([Some(&gate), None]);
        gate.set(Some(1));
        // These frames need more than the bucket holds: hours, at this rate.
        let waits = {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    limiter.pass(FRAME).await;
                }
            })
        };
        while gate.bucket.bytes.available_permits() >= FRAME || *gate.bucket.rate.borrow() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        gate.set(None);
        waits.await.expect("ends");
    }
}
