//! Fewer wake-ups: a thread that is woken for every packet of a slow link spends more time waking than working.
//!
//! A network card waits a moment before it interrupts, so that several packets are dealt with at once; this does the same
//! for the thread a node runs on. While wake-ups come fast and each brings little, the thread sleeps 2 ms before it
//! waits for events; a link that brings much at a time, or little in all, is not slowed down.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long events may gather.
const PAUSE: Duration = Duration::from_millis(2);
/// Wake-ups that are judged together.
const ROUND: u32 = 16;
/// Faster than this on average, wake-ups are too many.
const OFTEN: Duration = Duration::from_millis(1);
/// What a wake-up brings, bytes: less is no bulk transfer, more is worth waking for.
const LITTLE: u64 = 512;
/// See [`LITTLE`].
const MUCH: u64 = 48 << 10;

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

/// Bytes came from a socket of this thread.
pub(super) fn read(bytes: usize) {
    READ.set(READ.get() + bytes as u64);
}

/// For [`tokio::runtime::Builder::on_thread_park`] of the runtime that a node runs on, which must have one thread.
pub fn before_park() {
    let now = Instant::now();
    let mut round = ROUND_OF.get().unwrap_or(Round { since: now, wakes: 0, pause: false });
    round.wakes += 1;
    if round.wakes >= ROUND {
        let bytes = READ.replace(0) / u64::from(ROUND);
        let often = now.duration_since(round.since) < OFTEN * ROUND;
        round =
            Round { since: now, wakes: 0, pause: (often || round.pause) && (LITTLE..MUCH).contains(&bytes) };
    }
    ROUND_OF.set(Some(round));
    if round.pause {
        std::thread::sleep(PAUSE);
    }
}
