//! A publisher with so low a limit that a chunk takes seconds.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};

use super::*;

const BLOB: BlobKey = BlobKey(1);
/// The limit, in bytes per second.
const LIMIT: u64 = 10 << 10;
/// The step of the clock, in milliseconds.
const STEP: u64 = 50;

fn only(geometry: Geometry, chunk: u32) -> Bitmap {
    let mut bitmap = Bitmap::new(geometry.chunks());
    bitmap.set(chunk);
    bitmap
}

/// Lets takers fetch a blob. Chunks that one has come to the others at once if they `pass_on`. Returns the
/// chunks that left the publisher, in order, and the milliseconds until the last had left.
fn rollout(takers: u64, chunks: u64, pass_on: bool) -> (Vec<u32>, u64) {
    let geometry = Geometry::new(chunks * limits::CHUNK_MIN - 10_000).unwrap();
    let (all, none) = (Bitmap::full(geometry.chunks()), Bitmap::new(geometry.chunks()));
    let (mut scheduler, mut now, mut out) = (Scheduler::new(3), 0, Vec::new());
    let mut tell = |scheduler: &mut Scheduler, input, now| {
        scheduler.handle(input, Duration::from_millis(now), &mut out);
        std::mem::take(&mut out)
    };
    let mut heard = VecDeque::new();
    heard.extend(tell(&mut scheduler, Input::Limited { near: Some(LIMIT), far: Some(LIMIT) }, 0));
    let serve = Input::Serve { blob: BLOB, geometry, have: all.clone(), origin: true };
    heard.extend(tell(&mut scheduler, serve, 0));
    for peer in (1..=takers).map(PeerKey) {
        heard.extend(tell(&mut scheduler, Input::PeerUp { peer, near: 1, elsewhere: None }, 0));
        heard.extend(tell(&mut scheduler, Input::Interested { peer, blob: BLOB }, 0));
        let need = Input::NeedDelta { peer, blob: BLOB, add: all.clone(), drop: none.clone() };
        heard.extend(tell(&mut scheduler, need, 0));
    }
    let (mut left, mut missing): (Vec<u32>, BTreeSet<(u64, u32)>) =
        (Vec::new(), (1..=takers).flat_map(|peer| (0..geometry.chunks()).map(move |c| (peer, c))).collect());
    // The chunks that each taker has neither got nor requested.
    let mut wanted = missing.clone();
    let mut line: VecDeque<(PeerKey, u32, u64)> = VecDeque::new();
    while !missing.is_empty() && now < 300_000 {
        now += STEP;
        heard.extend(tell(&mut scheduler, Input::Tick, now));
        while let Some(output) = heard.pop_front() {
            match output {
                Output::Grant { peer, hint, .. } => {
                    let next = || wanted.iter().find(|(of, _)| *of == peer.0).map(|(_, c)| *c);
                    let chunk = hint.filter(|c| wanted.contains(&(peer.0, *c))).or_else(next);
                    let answer = match chunk {
                        Some(chunk) => Input::Requested { peer, blob: BLOB, chunk },
                        None => Input::GrantDeclined { peer, blob: BLOB, count: 1, busy: false },
                    };
                    if let Some(chunk) = chunk {
                        wanted.remove(&(peer.0, chunk));
                    }
                    heard.extend(tell(&mut scheduler, answer, now));
                }
                Output::Send { peer, chunk, .. } => {
                    let size = geometry.size(geometry.chunk(chunk).unwrap()) as u64;
                    line.push_back((peer, chunk, size));
                    left.push(chunk);
                }
                _ => {}
            }
        }
        let Some((peer, chunk, rest)) = line.front_mut() else { continue };
        let (peer, chunk) = (*peer, *chunk);
        *rest = rest.saturating_sub(LIMIT * STEP / 1000);
        if *rest > 0 {
            if now % 1000 == 0 {
                let sending = Input::Sending { peer, blob: BLOB, bytes: LIMIT };
                heard.extend(tell(&mut scheduler, sending, now));
            }
            continue;
        }
        line.pop_front();
        heard.extend(tell(&mut scheduler, Input::Sent { peer, blob: BLOB, whole: true }, now));
        for to in (1..=takers).map(PeerKey).filter(|to| pass_on || *to == peer) {
            missing.remove(&(to.0, chunk));
            wanted.remove(&(to.0, chunk));
            let (add, drop) = (none.clone(), only(geometry, chunk));
            heard.extend(tell(&mut scheduler, Input::NeedDelta { peer: to, blob: BLOB, add, drop }, now));
        }
    }
    assert!(missing.is_empty(), "not all have all: {missing:?} after {left:?}");
    (left, now)
}

#[test]
fn each_chunk_leaves_once_if_its_taker_passes_it_on() {
    for takers in [1, 3, 20] {
        let (left, took) = rollout(takers, 4, true);
        assert_eq!(left.len(), 4, "{takers}: {left:?}");
        let exact = (4 * limits::CHUNK_MIN - 10_000) * 1000 / LIMIT;
        assert!(took < exact + 1000, "{takers}: {took} ms in place of {exact}");
    }
}

/// Takers that cannot reach each other get all chunks from the publisher, without a pause of its line.
#[test]
fn takers_that_pass_nothing_on_are_served_all_the_same() {
    let (left, took) = rollout(3, 6, false);
    assert_eq!(left.len(), 18, "{left:?}");
    let exact = 3 * (6 * limits::CHUNK_MIN - 10_000) * 1000 / LIMIT;
    assert!(took < exact + exact / 4, "{took} ms in place of {exact}");
}
