//! First copies: a node with chunks that no other node has says which one it would send, so that no chunk
//! leaves twice before all have left once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rarity::Rarity;
use super::{Now, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::limits;
use crate::random::Random;

/// A seed's view of its neighbourhood: the number of neighbours that have, or are being sent, each chunk.
#[derive(Debug)]
pub(super) struct Seed {
    spread: Rarity,
    /// Chunks that were given to one neighbour alone.
    alone: BTreeMap<u32, PeerKey>,
    /// Chunks that leave over a slow line, each with the time until which its taker is waited for to pass it
    /// on.
    leaving: BTreeMap<u32, Now>,
    /// Start and count of the present measurement of the chunks that neighbours come to have or be sent.
    /// `intake` is that number per second.
    meter: (Now, u32),
    intake: u64,
}

/// The least time over which the neighbours' intake is measured.
const METER: Duration = Duration::from_millis(500);

impl Seed {
    pub(super) fn new(chunks: u32, random: &mut Random) -> Self {
        let mut spread = Rarity::new(chunks);
        let mut shuffled: Vec<u32> = (0..chunks).collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        shuffled.into_iter().for_each(|c| spread.list(c));
        Self { spread, alone: BTreeMap::new(), leaving: BTreeMap::new(), meter: (Now::ZERO, 0), intake: 0 }
    }

    /// Records that a neighbour has a chunk, is being sent it, or was promised it (`by` is 1), or no longer
    /// (-1).
    pub(super) fn shift(&mut self, chunk: u32, by: i16) {
        self.spread.shift(chunk, by);
    }

    /// Returns the chunk that this taker should get, if that chunk leaves this node for the first time (or
    /// few neighbours have it).
    pub(super) fn assign(&self, taken: &Bitmap, random: &mut Random) -> Option<u32> {
        let needed = self.spread.listed().without(taken);
        let chunk = self.spread.rarest(&needed, 0, random)?;
        (usize::from(self.spread.copies(chunk)) < limits::SCARCE_COPIES).then_some(chunk)
    }

    /// Returns the chunk that this taker should get over a slow line: the rarest one that is not on its way
    /// to another neighbour, from which the taker gets it sooner.
    pub(super) fn assign_slowly(&self, taken: &Bitmap, random: &mut Random, now: Now) -> Option<u32> {
        let mut needed = self.spread.listed().without(taken);
        self.leaving.iter().filter(|(_, until)| **until > now).for_each(|(chunk, _)| needed.clear(*chunk));
        self.spread.rarest(&needed, 0, random)
    }

    /// Records that a chunk leaves over a slow line.
    pub(super) fn leaves(&mut self, chunk: u32, until: Now) {
        self.leaving.insert(chunk, until);
    }

    /// Returns the first chunk that no neighbour has, for a taker that reads along.
    pub(super) fn next_for(&self, taken: &Bitmap) -> Option<u32> {
        let needed = self.spread.listed().without(taken);
        needed.iter().find(|chunk| self.spread.copies(*chunk) == 0)
    }

    /// Records that neighbours have come to have, or be sent, so many chunks more.
    pub(super) fn taken(&mut self, chunks: u32, now: Now) {
        self.meter.1 += chunks;
        let elapsed = now.saturating_sub(self.meter.0);
        if elapsed >= METER {
            let sample = (u128::from(self.meter.1) * 1_000_000 / elapsed.as_micros()) as u64;
            self.intake = if self.intake == 0 { sample } else { (self.intake + sample) / 2 };
            self.meter = (now, 0);
        }
    }

    /// Returns true if chunks with enough copies are better left to their other holders, because this node's
    /// `rate` (bytes per second) is a small part of what its neighbours take in. `chunk` is the size of a
    /// chunk in bytes.
    pub(super) fn rests(&self, rate: u64, chunk: u64, now: Now) -> bool {
        let lately = now.saturating_sub(self.meter.0) < limits::SEED_REST;
        lately && rate > 0 && rate.saturating_mul(limits::SEED_SHARE) < self.intake.saturating_mul(chunk)
    }

    /// Records that a taker of this site is about to be sent a chunk. Returns true if it is the only one to
    /// have it.
    pub(super) fn gives(&mut self, peer: PeerKey, chunk: u32) -> bool {
        let alone = self.spread.copies(chunk) == 0;
        if alone {
            self.alone.insert(chunk, peer);
        } else {
            self.alone.remove(&chunk);
        }
        alone
    }

    /// Records that a neighbour has a chunk, or is being sent it, not by this node. Returns the peer that
    /// passed it on, if only one can have.
    pub(super) fn passed_on(&mut self, chunk: u32, to: PeerKey) -> Option<PeerKey> {
        self.alone.remove(&chunk).filter(|by| *by != to)
    }
}
