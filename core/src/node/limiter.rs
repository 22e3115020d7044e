//! A rate limit that many tasks share: a semaphore of bytes that time refills. Waiters are served in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::limits;

/// How often bytes are added.
const REFILL: Duration = Duration::from_millis(20);

/// Passes bytes at most at a rate, or all when there is none.
#[derive(Debug, Clone)]
pub(super) struct Limiter {
    bytes: Option<Arc<Semaphore>>,
}

impl Limiter {
    /// A limiter of `rate` bytes per second and the task that refills it; the task ends when aborted.
    pub(super) fn new(rate: Option<u64>) -> (Self, Option<AbortHandle>) {
        let Some(rate) = rate else { return (Self::none(), None) };
        let bytes = Arc::new(Semaphore::new(0));
        let task = tokio::spawn(refill(Arc::clone(&bytes), rate));
        (Self { bytes: Some(bytes) }, Some(task.abort_handle()))
    }

    /// Everything passes.
    pub(super) const fn none() -> Self {
        Self { bytes: None }
    }

    /// Waits until `bytes` may pass.
    pub(super) async fn pass(&self, bytes: usize) {
        let Some(semaphore) = &self.bytes else { return };
        if let Ok(permits) = semaphore.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).await {
            permits.forget();
        }
    }
}

async fn refill(bytes: Arc<Semaphore>, rate: u64) {
    // Room for the largest frame and for a fifth of a second, so that a late wake-up loses nothing.
    let burst = (rate / 5).max(2 * limits::DATA_FRAME as u64);
    let (start, mut added) = (Instant::now(), 0_u64);
    let mut ticks = interval(REFILL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = (start.elapsed().as_micros() * u128::from(rate) / 1_000_000) as u64;
        let room = burst.saturating_sub(bytes.available_permits() as u64);
        bytes.add_permits((due - added).min(room) as usize);
        // What found no room is not saved up.
        added = due;
    }
}
