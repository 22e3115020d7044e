//! Tests of the scheduler against holders that are fast, slow, silent, lying and leaving, in virtual time.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const BLOB: BlobKey = BlobKey(7);

/// The behaviour of a holder.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Bytes per second.
    Honest(u64),
    Silent,
    Lying,
    /// Bytes per second, and the number of chunks after which it leaves.
    Leaving(u64, u32),
    Declining,
}

struct World {
    scheduler: Scheduler,
    geometry: Geometry,
    now: Now,
    manners: BTreeMap<PeerKey, Manner>,
    /// The chunks that each holder has to send, and the bytes left of them.
    queues: BTreeMap<PeerKey, VecDeque<(u32, u64)>>,
    asked: BTreeSet<(PeerKey, u32)>,
    /// The chunks that each holder was told are needed.
    needs: BTreeMap<PeerKey, Bitmap>,
    served: BTreeMap<PeerKey, u32>,
    banned: BTreeSet<PeerKey>,
    have: Bitmap,
    wire_bytes: u64,
    complete: bool,
}

impl World {
    fn new(seed: u64, len: u64, manners: &[Manner]) -> Self {
        let geometry = Geometry::new(len).unwrap();
        let mut world = Self {
            scheduler: Scheduler::new(seed),
            geometry,
            now: Duration::ZERO,
            manners: (0..).map(PeerKey).zip(manners.iter().copied()).collect(),
            queues: BTreeMap::new(),
            asked: BTreeSet::new(),
            needs: BTreeMap::new(),
            served: BTreeMap::new(),
            banned: BTreeSet::new(),
            have: Bitmap::new(geometry.chunks()),
            wire_bytes: 0,
            complete: false,
        };
        let have = Bitmap::new(geometry.chunks());
        world.tell(Input::Want { blob: BLOB, geometry, have, skip: None, order: ChunkOrder::Rarest });
        for peer in world.manners.keys().copied().collect::<Vec<_>>() {
            world.tell(Input::PeerUp { peer, near: 1, elsewhere: None });
            world.tell(Input::Holder { peer, blob: BLOB, have: Bitmap::full(geometry.chunks()) });
        }
        world
    }

    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.scheduler.handle(input, self.now, &mut out);
        for output in out {
            match output {
                Output::Request { peer, chunk, .. } => {
                    assert!(
                        !self.banned.contains(&peer) && !self.have.get(chunk),
                        "asked for nothing useful"
                    );
                    assert!(self.asked.insert((peer, chunk)), "asked twice");
                    let size = self.geometry.size(self.geometry.chunk(chunk).unwrap()) as u64;
                    // A request also says that the chunk is no longer needed.
                    self.needs.get_mut(&peer).into_iter().for_each(|need| need.clear(chunk));
                    self.queues.entry(peer).or_default().push_back((chunk, size));
                    let out: u64 = self.queues[&peer].iter().map(|(_, left)| left).sum();
                    assert!(out <= limits::REQUEST_BYTES_PER_PEER + limits::CHUNK_MAX, "{out} outstanding");
                }
                Output::Cancel { peer, chunk, .. } => {
                    assert!(self.asked.remove(&(peer, chunk)), "cancelled what was not asked");
                    self.queues.entry(peer).or_default().retain(|(c, _)| *c != chunk);
                }
                Output::Ban { peer, .. } => {
                    self.banned.insert(peer);
                    self.forget(peer);
                }
                Output::Complete { .. } => self.complete = true,
                Output::Need { peer, add, drop, .. } => {
                    let n = self.geometry.chunks();
                    let need = self.needs.entry(peer).or_insert_with(|| Bitmap::new(n));
                    assert!(add.and(need).is_empty() && drop.without(need).is_empty(), "told twice");
                    *need = need.or(&add).without(&drop);
                }
                Output::Refuse { .. } => {}
                other => panic!("nobody takes of us: {other:?}"),
            }
        }
    }

    fn forget(&mut self, peer: PeerKey) {
        self.queues.remove(&peer);
        self.needs.remove(&peer);
        self.asked.retain(|(p, _)| *p != peer);
    }

    /// Lets ten milliseconds pass.
    fn step(&mut self) {
        self.now += Duration::from_millis(10);
        for (peer, manner) in self.manners.clone() {
            if self.banned.contains(&peer) {
                continue;
            }
            // A holder with needed chunks always has a few places to give.
            let waiting = self.queues.get(&peer).map_or(0, VecDeque::len);
            if waiting < 4 && self.needs.get(&peer).is_some_and(|n| !n.is_empty()) {
                let count = 4 - waiting as u32;
                self.tell(Input::Granted { peer, blob: BLOB, count, hint: None });
            }
            if self.banned.contains(&peer) || !self.manners.contains_key(&peer) {
                continue;
            }
            match manner {
                Manner::Honest(rate) | Manner::Leaving(rate, _) => self.deliver(peer, manner, rate / 100),
                Manner::Lying => {
                    if let Some((chunk, _)) = self.queues.get_mut(&peer).and_then(VecDeque::pop_front) {
                        self.asked.remove(&(peer, chunk));
                        self.tell(Input::Failed { peer, blob: BLOB, chunk, why: RequestFailure::Bad });
                    }
                }
                Manner::Declining => {
                    if let Some((chunk, _)) = self.queues.get_mut(&peer).and_then(VecDeque::pop_front) {
                        self.asked.remove(&(peer, chunk));
                        self.tell(Input::Failed { peer, blob: BLOB, chunk, why: RequestFailure::Missing });
                    }
                }
                Manner::Silent => {}
            }
        }
        if self.now.as_millis().is_multiple_of(100) {
            self.tell(Input::Tick);
        }
    }

    fn deliver(&mut self, peer: PeerKey, manner: Manner, mut budget: u64) {
        while budget > 0 {
            let Some((chunk, left)) = self.queues.get_mut(&peer).and_then(VecDeque::front_mut) else {
                return;
            };
            let (chunk, part) = (*chunk, budget.min(*left));
            *left -= part;
            let done = *left == 0;
            budget -= part;
            self.wire_bytes += part;
            self.tell(Input::Bytes { peer, blob: BLOB, chunk, bytes: part });
            if !done {
                continue;
            }
            self.queues.get_mut(&peer).unwrap().pop_front();
            self.asked.remove(&(peer, chunk));
            self.have.set(chunk);
            *self.served.entry(peer).or_default() += 1;
            self.tell(Input::Verified { peer: Some(peer), blob: BLOB, chunk });
            if let Manner::Leaving(_, after) = manner
                && self.served[&peer] >= after
            {
                self.manners.remove(&peer);
                self.forget(peer);
                self.tell(Input::PeerDown { peer });
                return;
            }
        }
    }

    /// Returns the seconds until the blob is complete.
    fn run(&mut self, limit: u64) -> f64 {
        while !self.complete {
            assert!(
                self.now < Duration::from_secs(limit),
                "not complete after {limit} s: {:?}",
                self.manners
            );
            self.step();
        }
        assert!(self.have.is_full() && self.queues.values().all(VecDeque::is_empty));
        self.now.as_secs_f64()
    }
}

const MIB: u64 = 1 << 20;

#[test]
fn several_holders_add_up() {
    let one = World::new(1, 256 * MIB, &[Manner::Honest(10 * MIB)]).run(60);
    let four = World::new(1, 256 * MIB, &[Manner::Honest(10 * MIB); 4]).run(60);
    assert!(one < 27.0 && four < 7.2, "{one} {four}");
}

/// D3: one holder claims everything and answers nothing.
#[test]
fn d3_a_silent_holder_costs_little() {
    let base = World::new(2, 64 * MIB, &[Manner::Honest(10 * MIB)]).run(60);
    let with = World::new(2, 64 * MIB, &[Manner::Silent, Manner::Honest(10 * MIB)]).run(60);
    assert!(with < base + 1.0, "{base} {with}");
}

/// D6: one holder at 1 KiB/s hoards nothing; its last chunks are requested from another holder too.
#[test]
fn d6_a_slow_holder_costs_little() {
    let base = World::new(3, 64 * MIB, &[Manner::Honest(10 * MIB)]).run(60);
    let mut world = World::new(3, 64 * MIB, &[Manner::Honest(1024), Manner::Honest(10 * MIB)]);
    let with = world.run(60);
    assert!(with < 1.5 * base, "{base} {with}");
    assert!(world.wire_bytes <= 64 * MIB + limits::HEDGE_BYTES_MIN, "{}", world.wire_bytes);
}

/// D1, D2: a holder of bad chunks is banned at the first one.
#[test]
fn d1_a_lying_holder_is_banned_at_once() {
    let mut world =
        World::new(4, 64 * MIB, &[Manner::Lying, Manner::Honest(10 * MIB), Manner::Honest(10 * MIB)]);
    let with = world.run(60);
    assert_eq!(world.banned, BTreeSet::from([PeerKey(0)]));
    assert!(with < 4.5, "{with}");
}

#[test]
fn a_paused_blob_asks_for_nothing_and_goes_on() {
    let mut world = World::new(5, 8 * MIB, &[Manner::Honest(MIB)]);
    world.tell(Input::Pause { blob: BLOB, paused: true });
    (0..1000).for_each(|_| world.step());
    let before = world.served.values().sum::<u32>();
    (0..500).for_each(|_| world.step());
    assert_eq!(world.served.values().sum::<u32>(), before);
    world.tell(Input::Pause { blob: BLOB, paused: false });
    world.run(60);
}

#[test]
fn ascending_order_reads_along() {
    let geometry = Geometry::new(64 * MIB).unwrap();
    let (mut scheduler, mut out) = (Scheduler::new(9), Vec::new());
    let have = Bitmap::new(geometry.chunks());
    let now = Duration::ZERO;
    scheduler.handle(
        Input::Want { blob: BLOB, geometry, have, skip: None, order: ChunkOrder::Ascending },
        now,
        &mut out,
    );
    for peer in [PeerKey(1), PeerKey(2)] {
        scheduler.handle(Input::PeerUp { peer, near: 0, elsewhere: None }, now, &mut out);
        scheduler.handle(
            Input::Holder { peer, blob: BLOB, have: Bitmap::full(geometry.chunks()) },
            now,
            &mut out,
        );
    }
    for peer in [PeerKey(1), PeerKey(2)] {
        scheduler.handle(Input::Granted { peer, blob: BLOB, count: 8, hint: None }, now, &mut out);
    }
    let asked: Vec<u32> = out
        .iter()
        .filter_map(|o| if let Output::Request { chunk, .. } = o { Some(*chunk) } else { None })
        .collect();
    assert!(asked.len() >= 16 && asked.iter().copied().eq(0..asked.len() as u32), "{asked:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// One honest holder is enough, whatever the others do, and no request goes to a banned or absent one.
    #[test]
    fn one_honest_holder_is_enough(
        seed: u64, len in 1_u64..40_000_000,
        others in prop::collection::vec(prop_oneof![
            Just(Manner::Silent), Just(Manner::Lying), Just(Manner::Declining),
            (1_u64..8).prop_map(|m| Manner::Honest(m * MIB)),
            (1_u64..8, 1_u32..50).prop_map(|(m, n)| Manner::Leaving(m * MIB, n)),
        ], 0..6)
    ) {
        let mut manners = others;
        manners.push(Manner::Honest(4 * MIB));
        World::new(seed, len, &manners).run(120);
    }

    /// Equal inputs lead to equal runs.
    #[test]
    fn a_seed_is_a_run(seed: u64) {
        let manners = [Manner::Honest(3 * MIB), Manner::Lying, Manner::Silent, Manner::Leaving(MIB, 20)];
        let run = || { let mut w = World::new(seed, 20_000_000, &manners); (w.run(120), w.served, w.wire_bytes) };
        prop_assert_eq!(run(), run());
    }
}
