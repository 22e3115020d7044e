//! Coalesces wake-ups: a thread that is woken for every packet of a slow link spends more time waking than
//! working.
//!
//! A network card delays its interrupts a little, so that several packets are handled at once. This module
//! does the same for the thread that runs a node. While wake-ups come fast and each brings little, the thread
//! sleeps 2 ms before it waits for events. A link that brings much at a time, or little in all, is not slowed
//! down.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Time for which events may gather before a wake-up.
const PAUSE: Duration = Duration::from_millis(2);
/// Wake-ups in a round; a round is judged as a whole.
const ROUND: u32 = 16;
/// Average time between wake-ups below which they are too frequent.
const OFTEN: Duration = Duration::from_millis(1);
/// Bytes per wake-up below which there is no bulk transfer to coalesce.
const LITTLE: u64 = 512;
/// Bytes per wake-up from which each wake-up is worth its cost.
const MUCH: u64 = 48 << 10;

/// Bytes per second from which events do not gather: a pause would let the socket fill up, and leave the
/// sender and the processor idle. A link of 1 Gbit/s brings less.
const FAST: u64 = 160_000_000;

thread_local! {
    static READ: Cell<u64> = const { Cell::new(0) };
    static ROUND_OF: Cell<Option<Round>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Round {
    since: Instant,
    wakes: u32,
    pause: bool,
}

impl Round {
    /// True if events should gather in the next round, after a round of this duration that brought this many
    /// bytes.
    fn pause_next(&self, bytes: u64, took: Duration) -> bool {
        let often = took < OFTEN * ROUND;
        let fast = u128::from(bytes) * 1_000_000 > u128::from(FAST) * took.as_micros();
        (often || self.pause) && !fast && (LITTLE..MUCH).contains(&(bytes / u64::from(ROUND)))
    }
}

/// Counts bytes that this thread read from a socket.
pub(crate) fn read(bytes: usize) {
    READ.set(READ.get() + bytes as u64);
}

/// Hook for [`tokio::runtime::Builder::on_thread_park`] of the runtime that runs a node, which must have one
/// thread.
pub(crate) fn before_park() {
    let now = Instant::now();
    let mut round = ROUND_OF.get().unwrap_or(Round { since: now, wakes: 0, pause: false });
    round.wakes += 1;
    // One pause that brings as much as a whole round may is enough to decide: a fast transfer starts slowly.
    if round.wakes >= ROUND || (round.pause && READ.get() >= MUCH * u64::from(ROUND)) {
        let bytes = READ.replace(0);
        let pause = round.pause_next(bytes, now.duration_since(round.since));
        round = Round { since: now, wakes: 0, pause };
    }
    ROUND_OF.set(Some(round));
    if round.pause {
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_link_that_wakes_often_gathers() {
        let round = |pause| Round { since: Instant::now(), wakes: 0, pause };
        let brings = |pause, bytes_each: u64, wake: Duration| {
            round(pause).pause_next(bytes_each * u64::from(ROUND), wake * ROUND)
        };
        let micros = Duration::from_micros;
        assert!(brings(false, 1500, micros(240)), "50 Mbit/s, packet by packet");
        assert!(brings(false, 12_000, micros(100)), "1 Gbit/s");
        assert!(brings(true, 12_000, micros(2100)), "50 Mbit/s, gathered");
        assert!(!brings(false, 30_000, micros(60)), "500 MB/s: a pause would stop it");
        assert!(!brings(false, 1500, micros(2000)), "wakes seldom");
        assert!(!brings(false, 100, micros(100)), "no bulk transfer");
        assert!(!brings(true, 200_000, micros(2100)), "brings much");
    }
}
