//! The state of a blob's chunks, and which to ask for next.

use std::collections::BTreeMap;

use super::{Order, PeerKey};
use crate::content::bitmap::Bitmap;

/// A small generator for tie-breaks (SplitMix64, Steele, Lea and Flood 2014): seeded, so that a run can be repeated.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `n` (0 if `n` is 0). The bias of the reduction is below 2^-32 here.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * n as u128) >> 64) as usize
    }
}

/// One chunk. The only way from one to another are the methods of [`Picker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// Not to be fetched.
    Skipped,
    /// To be fetched, and nobody is asked.
    Wanted,
    /// This many holders are asked.
    InFlight(u8),
    /// Verified.
    Have,
}

/// What a holder has: whole holders are counted, not entered chunk by chunk.
#[derive(Debug)]
enum Holding {
    Whole,
    Part(Bitmap),
}

/// The chunks of one blob.
#[derive(Debug)]
pub struct Picker {
    order: Order,
    state: Vec<ChunkState>,
    /// Exactly the chunks in `Wanted`.
    wanted: Bitmap,
    /// Chunks not yet here and not skipped.
    missing: u32,
    /// Partial holders that have the chunk.
    avail: Vec<u16>,
    /// `Wanted` chunks by `avail`; `at` is a chunk's place in its bucket.
    buckets: Vec<Vec<u32>>,
    at: Vec<u32>,
    holders: BTreeMap<PeerKey, Holding>,
    whole: usize,
}

/// Chunks looked at in the buckets before the bitmaps are searched instead: a holder with few chunks would make the walk
/// long, and a holder with many is served within a few looks.
const LOOKS: usize = 24;

impl Picker {
    /// All chunks but those in `have` and `skip` are wanted.
    #[must_use]
    pub fn new(have: &Bitmap, skip: Option<&Bitmap>, order: Order, random: &mut Random) -> Self {
        let n = have.len();
        let state = |c| match (have.get(c), skip.is_some_and(|s| s.get(c))) {
            (true, _) => ChunkState::Have,
            (_, true) => ChunkState::Skipped,
            _ => ChunkState::Wanted,
        };
        let state: Vec<ChunkState> = (0..n).map(state).collect();
        let mut wanted = Bitmap::new(n);
        (0..n).filter(|c| state[*c as usize] == ChunkState::Wanted).for_each(|c| wanted.set(c));
        let mut picker = Self {
            order,
            missing: wanted.count(),
            avail: vec![0; n as usize],
            buckets: vec![Vec::new()],
            at: vec![0; n as usize],
            holders: BTreeMap::new(),
            whole: 0,
            wanted: Bitmap::new(n),
            state,
        };
        let mut shuffled: Vec<u32> = wanted.iter().collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        shuffled.into_iter().for_each(|c| picker.enter(c));
        picker
    }

    /// Nothing is missing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Peers with some of it.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Whether this peer has any of it.
    #[must_use]
    pub fn holds(&self, peer: PeerKey) -> bool {
        self.holders.contains_key(&peer)
    }

    /// Whether this peer has this chunk.
    #[must_use]
    pub fn peer_has(&self, peer: PeerKey, chunk: u32) -> bool {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => true,
            Some(Holding::Part(bits)) => bits.get(chunk),
            None => false,
        }
    }

    /// A wanted chunk is held by nobody connected.
    #[must_use]
    pub fn lacks_holder(&self) -> bool {
        self.whole == 0 && self.buckets.first().is_some_and(|b| !b.is_empty())
    }

    /// Sets what a peer has, in place of what was known.
    pub fn holder(&mut self, peer: PeerKey, have: Bitmap) {
        self.remove_holder(peer);
        if have.is_empty() {
            return;
        }
        if have.is_full() {
            self.whole += 1;
            self.holders.insert(peer, Holding::Whole);
            return;
        }
        have.iter().for_each(|c| self.shift(c, 1));
        self.holders.insert(peer, Holding::Part(have));
    }

    /// Adds to what a peer has.
    pub fn holder_more(&mut self, peer: PeerKey, add: &Bitmap) {
        match self.holders.remove(&peer) {
            Some(Holding::Whole) => drop(self.holders.insert(peer, Holding::Whole)),
            None => self.holder(peer, add.clone()),
            Some(Holding::Part(mut bits)) => {
                for c in add.iter().filter(|c| !bits.get(*c)).collect::<Vec<_>>() {
                    bits.set(c);
                    self.shift(c, 1);
                }
                self.holders.insert(peer, Holding::Part(bits));
            }
        }
    }

    /// A peer turned out not to have a chunk.
    pub fn holder_lost(&mut self, peer: PeerKey, chunk: u32) {
        let mut have = match self.holders.get(&peer) {
            Some(Holding::Whole) => Bitmap::full(self.wanted.len()),
            Some(Holding::Part(bits)) => bits.clone(),
            None => return,
        };
        have.clear(chunk);
        self.holder(peer, have);
    }

    /// Forgets what a peer has.
    pub fn remove_holder(&mut self, peer: PeerKey) {
        match self.holders.remove(&peer) {
            Some(Holding::Whole) => self.whole -= 1,
            Some(Holding::Part(bits)) => bits.iter().for_each(|c| self.shift(c, -1)),
            None => {}
        }
    }

    /// The chunk is verified. False if it was before.
    pub fn have(&mut self, chunk: u32) -> bool {
        match self.state[chunk as usize] {
            ChunkState::Have => return false,
            ChunkState::Wanted => self.leave(chunk),
            ChunkState::InFlight(_) | ChunkState::Skipped => {}
        }
        if self.state[chunk as usize] != ChunkState::Skipped {
            self.missing -= 1;
        }
        self.state[chunk as usize] = ChunkState::Have;
        true
    }

    /// One holder less is asked for it.
    pub fn released(&mut self, chunk: u32) {
        match self.state[chunk as usize] {
            ChunkState::InFlight(1) => self.enter(chunk),
            ChunkState::InFlight(n) => self.state[chunk as usize] = ChunkState::InFlight(n - 1),
            _ => {}
        }
    }

    /// One holder more is asked for a chunk that is in flight (a hedge).
    pub fn doubled(&mut self, chunk: u32) {
        if let ChunkState::InFlight(n) = self.state[chunk as usize] {
            self.state[chunk as usize] = ChunkState::InFlight(n + 1);
        }
    }

    /// A chunk to ask this holder for, now in flight. `next` continues a run if it is wanted and the holder has it.
    pub fn pick(&mut self, peer: PeerKey, next: Option<u32>, random: &mut Random) -> Option<u32> {
        if self.wanted.is_empty() {
            return None;
        }
        let run = next.filter(|c| *c < self.wanted.len() && self.wanted.get(*c) && self.peer_has(peer, *c));
        let chunk = run.or_else(|| match self.order {
            Order::Rarest => self.rarest(peer, random),
            Order::Ascending => self.first_from(peer, 0),
        })?;
        self.leave(chunk);
        self.state[chunk as usize] = ChunkState::InFlight(1);
        Some(chunk)
    }

    fn rarest(&self, peer: PeerKey, random: &mut Random) -> Option<u32> {
        let mut looks = LOOKS;
        for bucket in self.buckets.iter().filter(|b| !b.is_empty()) {
            let start = random.below(bucket.len());
            for i in 0..bucket.len().min(looks) {
                let chunk = bucket[(start + i) % bucket.len()];
                if self.peer_has(peer, chunk) {
                    return Some(chunk);
                }
            }
            looks = looks.saturating_sub(bucket.len());
            if looks == 0 {
                break;
            }
        }
        self.first_from(peer, random.below(self.wanted.len() as usize) as u32)
    }

    fn first_from(&self, peer: PeerKey, from: u32) -> Option<u32> {
        match self.holders.get(&peer)? {
            Holding::Whole => self.wanted.first_common(&self.wanted, from),
            Holding::Part(bits) => self.wanted.first_common(bits, from),
        }
    }

    fn bucket(&mut self, chunk: u32) -> &mut Vec<u32> {
        let avail = usize::from(self.avail[chunk as usize]);
        if self.buckets.len() <= avail {
            self.buckets.resize_with(avail + 1, Vec::new);
        }
        &mut self.buckets[avail]
    }

    /// Into `Wanted`.
    fn enter(&mut self, chunk: u32) {
        self.state[chunk as usize] = ChunkState::Wanted;
        self.wanted.set(chunk);
        let bucket = self.bucket(chunk);
        bucket.push(chunk);
        self.at[chunk as usize] = bucket.len() as u32 - 1;
    }

    /// Out of `Wanted`; the caller sets the new state.
    fn leave(&mut self, chunk: u32) {
        self.wanted.clear(chunk);
        let at = self.at[chunk as usize] as usize;
        let bucket = self.bucket(chunk);
        bucket.swap_remove(at);
        if let Some(&moved) = bucket.get(at) {
            self.at[moved as usize] = at as u32;
        }
    }

    fn shift(&mut self, chunk: u32, by: i16) {
        let wanted = self.state[chunk as usize] == ChunkState::Wanted;
        if wanted {
            self.leave(chunk);
        }
        let avail = &mut self.avail[chunk as usize];
        *avail = avail.saturating_add_signed(by);
        if wanted {
            self.enter(chunk);
        }
    }
}
