//! The cost of the registry as swarms grow: announcements, answers, and memory. The bench prints and checks
//! nothing.
//!
//! `cargo bench -p swarm-tracker`

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::alloc::System;
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use swarm_tracker::registry::{AnnouncedSwarm, At, Bounds, Registry, Shares, SwarmKey};

#[global_allocator]
static ALLOCATED: AllocProfiler<System> = AllocProfiler::new(System);

const ROOMY: Bounds = Bounds {
    nodes: 4 << 20,
    members: 64 << 20,
    per_node: 1 << 20,
    per_origin: u32::MAX,
    members_per_origin: u32::MAX,
};
const LATER: Duration = Duration::from_secs(1800);
/// Nodes of a site.
const SITE: u32 = 100;
/// The addresses of a node: about four.
const REACH: [u8; 48] = [7; 48];

fn main() {
    divan::main();
}

fn at(site: u64) -> At {
    At { site, origin: site }
}

fn key(number: u32) -> SwarmKey {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

fn join(registry: &mut Registry<u64>, node: u32, swarm: u32) {
    registry.heard(&node.into(), at((node / SITE).into()), &REACH, LATER).unwrap();
    registry
        .change(&node.into(), true, (&[AnnouncedSwarm { key: key(swarm), whole: node == 0 }], &[]), 1)
        .unwrap();
}

/// Returns a registry of one swarm with so many members.
fn crowd(members: u32) -> Registry<u64> {
    let mut registry = Registry::new(ROOMY, 1);
    (0..members).for_each(|node| join(&mut registry, node, 0));
    registry
}

/// Measures a node that announces itself again and asks for members, which is the usual case in the long run.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 50)]
fn announce_again_and_ask(bencher: Bencher<'_, '_>, members: u32) {
    let (mut registry, mut next) = (crowd(members), 0_u32);
    bencher.bench_local(|| {
        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let node = next % members;
        registry.heard(&node.into(), at((node / SITE).into()), &REACH, LATER).unwrap();
        registry.sample(&node.into(), &key(0), Shares::default()).len()
    });
}

/// Measures a node that comes, takes part in one swarm, and goes.
#[divan::bench(args = [1_000, 1_000_000], sample_count = 50)]
fn come_and_go(bencher: Bencher<'_, '_>, members: u32) {
    let mut registry = crowd(members);
    bencher.bench_local(|| {
        join(&mut registry, u32::MAX, 0);
        registry.forget(&u32::MAX.into());
    });
}

/// Measures a node with 10,000 swarms that announces all of them for the first time.
#[divan::bench(sample_count = 10)]
fn ten_thousand_at_once(bencher: Bencher<'_, '_>) {
    let entries: Vec<AnnouncedSwarm> =
        (0..10_000).map(|number| AnnouncedSwarm { key: key(number), whole: true }).collect();
    bencher.with_inputs(|| crowd(1000)).bench_local_refs(|registry| {
        registry.change(&1, true, (&entries, &[]), 2).unwrap();
    });
}

/// Measures the memory of a million members: of one swarm, of a swarm each, and of 10,000 nodes with a
/// hundred of 10,000 swarms. The kept memory is `alloc` and `grow` without `dealloc`.
#[divan::bench(args = ["one swarm", "a swarm each", "a hundred swarms each"], sample_count = 1, sample_size = 1)]
fn a_million_members(bencher: Bencher<'_, '_>, how: &str) {
    bencher.bench_local(|| {
        let mut registry = Registry::new(ROOMY, 1);
        match how {
            "one swarm" => (0..1_000_000).for_each(|node| join(&mut registry, node, 0)),
            "a swarm each" => (0..1_000_000).for_each(|node| join(&mut registry, node, node)),
            _ => (0..10_000_u32).for_each(|node| {
                let entry = |number: u32| AnnouncedSwarm {
                    key: key((node + number * 97) % 10_000),
                    whole: number == 0,
                };
                let entries: Vec<AnnouncedSwarm> = (0..100).map(entry).collect();
                registry.heard(&node.into(), at((node / SITE).into()), &REACH, LATER).unwrap();
                registry.change(&node.into(), true, (&entries, &[]), 1).unwrap();
            }),
        }
        registry
    });
}
