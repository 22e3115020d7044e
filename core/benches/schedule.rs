//! Benchmarks of the scheduler, by chunks of a blob and by peers: `cargo bench -p swarm-core`.
//!
//! A pick must not grow with either; a batch of news and a peer's leaving grow at most with the peers (each
//! is told) times the words of a bitmap. Half of the peers have all chunks, the others a random half.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use divan::{Bencher, black_box};
use swarm_core::content::bitmap::Bitmap;
use swarm_core::content::geometry::Geometry;
use swarm_core::random::Random;
use swarm_core::schedule::pick::Picker;
use swarm_core::schedule::{BlobKey, ChunkOrder, Input, Output, PeerKey, Scheduler};

const BLOB: BlobKey = BlobKey(1);
/// Pairs of (chunks, peers).
const SIZES: [(u32, u64); 4] = [(1000, 20), (1000, 200), (32_000, 20), (32_000, 200)];

fn main() {
    divan::main();
}

/// Returns the chunks that peer number `peer` has.
fn have(chunks: u32, peer: u64, random: &mut Random) -> Bitmap {
    let mut have = Bitmap::full(chunks);
    if peer % 2 == 1 {
        (0..chunks).filter(|_| random.below(2) == 0).for_each(|c| have.clear(c));
    }
    have
}

/// Returns a node that wants a blob of so many chunks from so many peers, which take it from the node too.
fn node((chunks, peers): (u32, u64)) -> (Scheduler, Vec<Output>) {
    let (mut scheduler, mut out, mut random) = (Scheduler::new(1), Vec::new(), Random::new(2));
    let geometry = Geometry::new(u64::from(chunks) << 20).unwrap();
    assert_eq!(geometry.chunks(), chunks);
    let mut tell = |input| scheduler.handle(input, Duration::ZERO, &mut out);
    let here = Bitmap::new(chunks);
    tell(Input::Serve { blob: BLOB, geometry, have: here.clone(), origin: false });
    tell(Input::Want { blob: BLOB, geometry, have: here, skip: None, order: ChunkOrder::Rarest });
    for peer in 0..peers {
        let have = have(chunks, peer, &mut random);
        let peer = PeerKey(peer);
        tell(Input::PeerUp { peer, near: 1, elsewhere: None });
        tell(Input::Interested { peer, blob: BLOB });
        tell(Input::NeedDelta {
            peer,
            blob: BLOB,
            add: Bitmap::full(chunks).without(&have),
            drop: Bitmap::new(chunks),
        });
        tell(Input::Holder { peer, blob: BLOB, have });
    }
    out.clear();
    (scheduler, out)
}

/// Measures the choice of one chunk, and its way back to the wanted ones.
#[divan::bench(args = SIZES)]
fn pick(bencher: Bencher<'_, '_>, (chunks, peers): (u32, u64)) {
    let mut random = Random::new(1);
    let mut picker = Picker::new(&Bitmap::new(chunks), None, ChunkOrder::Rarest, &mut random);
    for peer in 0..peers {
        picker.holder(PeerKey(peer), have(chunks, peer, &mut random), None);
    }
    let mut peer = 0;
    bencher.bench_local(|| {
        peer = (peer + 1) % peers;
        let chunk = picker.pick(PeerKey(peer), None, None, &mut random).unwrap();
        picker.released(black_box(chunk));
    });
}

/// Measures the news that a neighbour has eight more chunks.
#[divan::bench(args = SIZES, sample_count = 30, sample_size = 1)]
fn have_batch(bencher: Bencher<'_, '_>, size: (u32, u64)) {
    let batch = || {
        let mut add = Bitmap::new(size.0);
        (0..8).for_each(|i| add.set(i * 97));
        (node(size), add)
    };
    bencher.with_inputs(batch).bench_values(|((mut scheduler, mut out), add)| {
        scheduler.handle(
            Input::HolderMore { peer: PeerKey(1), blob: BLOB, add },
            Duration::from_secs(1),
            &mut out,
        );
        (scheduler, out)
    });
}

/// Measures the arrival of a chunk: its copies and takers, and now and then all neighbours, hear of it.
#[divan::bench(args = SIZES, sample_count = 30, sample_size = 1)]
fn verified(bencher: Bencher<'_, '_>, size: (u32, u64)) {
    bencher.with_inputs(|| node(size)).bench_values(|(mut scheduler, mut out)| {
        let input = Input::Verified { peer: Some(PeerKey(0)), blob: BLOB, chunk: 7 };
        scheduler.handle(input, Duration::from_secs(1), &mut out);
        (scheduler, out)
    });
}

/// Measures the leaving of a peer that has half of the blob.
#[divan::bench(args = SIZES, sample_count = 30, sample_size = 1)]
fn peer_leaves(bencher: Bencher<'_, '_>, size: (u32, u64)) {
    bencher.with_inputs(|| node(size)).bench_values(|(mut scheduler, mut out)| {
        scheduler.handle(Input::PeerDown { peer: PeerKey(1) }, Duration::from_secs(1), &mut out);
        (scheduler, out)
    });
}
