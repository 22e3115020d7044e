//! First copies: a node that has what nobody else has yet says which chunk, so that none leaves twice before all have.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rarity::Rarity;
use super::{Now, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::limits;
use crate::random::Random;

/// What a seed knows of its neighbourhood: how many have, or are being sent, each chunk.
#[derive(Debug)]
pub(super) struct Seed {
    spread: Rarity,
    /// Chunks that one neighbour alone was given.
    alone: BTreeMap<u32, PeerKey>,
    /// Chunks that our neighbours have come to have or be sent, of the present measurement, and per second.
    meter: (Now, u32),
    intake: u64,
}

/// The neighbours' intake is measured over at least this long.
const METER: Duration = Duration::from_millis(500);

impl Seed {
    pub(super) fn new(chunks: u32, random: &mut Random) -> Self {
        let mut spread = Rarity::new(chunks);
        let mut shuffled: Vec<u32> = (0..chunks).collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        shuffled.into_iter().for_each(|c| spread.list(c));
        Self { spread, alone: BTreeMap::new(), meter: (Now::ZERO, 0), intake: 0 }
    }

    /// A neighbour has a chunk, is being sent it, or was promised it (or, with -1, no longer).
    pub(super) fn shift(&mut self, chunk: u32, by: i16) {
        self.spread.shift(chunk, by);
    }

    /// The chunk this taker gets if that leaves us for the first time (or few have it).
    pub(super) fn assign(&self, taken: &Bitmap, random: &mut Random) -> Option<u32> {
        let needed = self.spread.listed().without(taken);
        let chunk = self.spread.rarest(&needed, 0, random)?;
        (usize::from(self.spread.copies(chunk)) < limits::SCARCE_COPIES).then_some(chunk)
    }

    /// The same for one who reads along: the first chunk that nobody has.
    pub(super) fn next_for(&self, taken: &Bitmap) -> Option<u32> {
        let needed = self.spread.listed().without(taken);
        needed.iter().find(|chunk| self.spread.copies(*chunk) == 0)
    }

    /// Neighbours have come to have, or be sent, so many chunks more.
    pub(super) fn taken(&mut self, chunks: u32, now: Now) {
        self.meter.1 += chunks;
        let elapsed = now.saturating_sub(self.meter.0);
        if elapsed >= METER {
            let sample = (u128::from(self.meter.1) * 1_000_000 / elapsed.as_micros()) as u64;
            self.intake = if self.intake == 0 { sample } else { (self.intake + sample) / 2 };
            self.meter = (now, 0);
        }
    }

    /// What has copies enough is better left to those who have it: of all that our neighbours take, what we can give, so
    /// many bytes per second, is a small part. `chunk`: bytes.
    pub(super) fn rests(&self, rate: u64, chunk: u64, now: Now) -> bool {
        let lately = now.saturating_sub(self.meter.0) < limits::SEED_REST;
        lately && rate > 0 && rate.saturating_mul(limits::SEED_SHARE) < self.intake.saturating_mul(chunk)
    }

    /// A taker of our site is about to be sent a chunk.
    /// True if it is the only one.
    pub(super) fn gives(&mut self, peer: PeerKey, chunk: u32) -> bool {
        let alone = self.spread.copies(chunk) == 0;
        if alone {
            self.alone.insert(chunk, peer);
        } else {
            self.alone.remove(&chunk);
        }
        alone
    }

    /// A neighbour has a chunk, or is being sent it, not by us: who passed it on, if one alone can have.
    pub(super) fn passed_on(&mut self, chunk: u32, to: PeerKey) -> Option<PeerKey> {
        self.alone.remove(&chunk).filter(|by| *by != to)
    }
}
