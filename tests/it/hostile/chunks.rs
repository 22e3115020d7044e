//! Bad, late and unwanted chunks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use swarm_core::wire::{LIST, Message};
use swarm_tests::fixture::b3;
use swarm_tests::hostile::{Hostile, Out, Turn};

use super::{Content, SLACK, peers, timed_get};

const MIB: usize = 1 << 20;

/// Flips one bit in every chunk's frames of an answer for which `which` says so.
fn corrupt(honest: Vec<Out>, mut which: impl FnMut() -> bool) -> Vec<Out> {
    let flip = |out| match out {
        Out::Data(header, mut bytes) if header.chunk != LIST && which() => {
            bytes[0] ^= 1;
            Out::Data(header, bytes)
        }
        other => other,
    };
    honest.into_iter().map(flip).collect()
}

/// D1 and D2: the hostile one is fast, so it is asked for much; the honest ones set the time.
fn corrupted(seed: u64, script: impl Fn(&Turn<'_>, Vec<Out>) -> Vec<Out> + Send + Sync + 'static) {
    let content = Content::new(24 * MIB, seed);
    let second = Content::new(24 * MIB, seed);
    let honest = [content.publish(&["--limit-up", "6M"]), second.publish(&["--limit-up", "6M"])];
    let addrs: Vec<&str> = honest.iter().map(|seeder| seeder.addr()).collect();
    let (_, _, baseline) = timed_get(&content.id(), &addrs);

    let hostile = Hostile::listen(content.offerings(), script);
    let (home, ran, took) = timed_get(&content.id(), &[&addrs[..], &[hostile.addr()]].concat());
    let bans: Vec<_> = ran.events.iter().filter(|event| event["event"] == "banned").collect();
    eprintln!("{baseline:?} {took:?} {bans:?} sent {}", hostile.sent());
    drop(home);
}

#[test]
fn d1_every_chunk_of_one_seeder_is_corrupt() {
    corrupted(1, |_, honest| corrupt(honest, || true));
}
