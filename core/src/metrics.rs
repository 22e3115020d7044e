//! Counters that many tasks add to and one task reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// The payload bytes of a session, counted by its tasks and read by the node, and the work that its messages
/// cause, counted by the node and read by its tasks.
#[derive(Debug, Default)]
pub struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    work: AtomicU64,
}

impl Traffic {
    /// Adds bytes that were sent.
    pub fn sent(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds bytes that were received.
    pub fn received(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds units of work that the peer's messages have caused.
    pub fn worked(&self, units: u64) {
        self.work.fetch_add(units, Ordering::Relaxed);
    }

    /// Returns the units of work that the peer's messages have caused so far.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    /// Returns the bytes sent so far.
    #[must_use]
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Returns the bytes received so far.
    #[must_use]
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
}
