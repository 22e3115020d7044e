//! Rate limits that many tasks share and that may change at any time: semaphores of bytes that time refills. Waiters are
//! served in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::limits;

/// How often bytes are added, where a link may be busy for a moment and where it should not be.
const REFILL: Duration = Duration::from_millis(20);
const REFILL_SMOOTH: Duration = Duration::from_millis(4);
/// What a smooth limit lets pass at once, bytes.
pub(super) const SMOOTH: usize = limits::DATA_FRAME_SLOW;
/// What those that wait may need together when a limit is lifted: a frame for each connection.
const RELEASE: usize = limits::CONNECTIONS * limits::DATA_FRAME;

/// Bytes per second; 0 lets everything pass.
type Rate = u64;

/// One limit. Its task ends with [`Gate::task`] or when nobody can change it any longer.
#[derive(Debug)]
pub(super) struct Gate {
    rate: watch::Sender<Rate>,
    bucket: Arc<Bucket>,
    /// The task that refills it.
    pub(super) task: AbortHandle,
}

#[derive(Debug)]
struct Bucket {
    rate: watch::Receiver<Rate>,
    bytes: Semaphore,
    /// Somebody took some: it is full no longer.
    used: Notify,
    smooth: bool,
}

impl Gate {
    /// A gate that lets everything pass until it is told a rate. A `smooth` one has no bursts that fill the queue in front
    /// of a link, and wakes up more often.
    pub(super) fn new(smooth: bool) -> Self {
        let (rate, rates) = watch::channel(0);
        let (bytes, used) = (Semaphore::new(0), Notify::new());
        let bucket = Arc::new(Bucket { rate: rates.clone(), bytes, used, smooth });
        let task = tokio::spawn(refill(Arc::clone(&bucket), rates)).abort_handle();
        Self { rate, bucket, task }
    }

    /// From now on so many bytes pass per second; `None`: all.
    pub(super) fn set(&self, rate: Option<u64>) {
        let rate = rate.unwrap_or(0);
        self.rate.send_if_modified(|old| std::mem::replace(old, rate) != rate);
    }
}

/// The gates that bytes of one direction have to pass, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Limiter {
    gates: [Option<Arc<Bucket>>; 2],
}

impl Limiter {
    /// Through each of these gates.
    pub(super) fn through(gates: [Option<&Gate>; 2]) -> Self {
        Self { gates: gates.map(|gate| gate.map(|gate| Arc::clone(&gate.bucket))) }
    }

    /// How many bytes should pass at once.
    pub(super) fn step(&self) -> usize {
        if self.gates.iter().flatten().any(|bucket| bucket.smooth) { SMOOTH } else { limits::DATA_FRAME }
    }

    /// Waits until `bytes` may pass.
    pub(super) async fn pass(&self, bytes: usize) {
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
        // Room for the largest frame and for a late wake-up, so that it loses nothing.
        let (share, frame) = if bucket.smooth { (50, SMOOTH) } else { (5, 2 * limits::DATA_FRAME) };
        let burst = (rate / share).max(frame as u64) as usize;
        let room = burst.saturating_sub(bucket.bytes.available_permits());
        let millionths = since.elapsed().as_micros() * u128::from(rate) + rest;
        since = Instant::now();
        rest = millionths % 1_000_000;
        let due = (millionths / 1_000_000) as usize;
        // What finds no room is not saved up.
        bucket.bytes.add_permits(due.min(room));
        tokio::select! {
            () = bucket.used.notified(), if due >= room => since = Instant::now(),
            () = sleep(every), if due < room => {}
            changed = rates.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds(limiter: &Limiter, frames: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..frames {
            limiter.pass(1000).await;
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_may_change_and_be_lifted() {
        let (gate, other) = (Gate::new(false), Gate::new(true));
        let limiter = Limiter::through([Some(&gate), Some(&other)]);
        assert!(seconds(&limiter, 100_000).await < 0.001, "no limit yet");
        gate.set(Some(1_000_000));
        tokio::task::yield_now().await;
        let took = seconds(&limiter, 10_000).await;
        assert!((9.7..10.1).contains(&took), "10 MB at 1 MB/s: {took}");
        gate.set(Some(10_000_000));
        tokio::task::yield_now().await;
        let took = seconds(&limiter, 20_000).await;
        assert!((1.7..2.1).contains(&took), "20 MB at 10 MB/s: {took}");
        other.set(Some(1_000_000));
        tokio::task::yield_now().await;
        let took = seconds(&limiter, 10_000).await;
        assert!((9.7..10.1).contains(&took), "the narrower gate counts: {took}");
        other.set(Some(1));
        tokio::task::yield_now().await;
        let waiting = tokio::spawn(async move { seconds(&limiter, 500).await });
        sleep(Duration::from_secs(100)).await;
        assert!(!waiting.is_finished());
        (gate.set(None), other.set(None));
        assert!(waiting.await.expect("ends") < 101.0, "who waits for a limit that is lifted waits no longer");
    }
}
