//! First copies: a node that has what nobody else has yet says which chunk, so that none leaves twice before all have.

use std::collections::BTreeMap;

use super::PeerKey;
use super::pick::Random;
use super::rarity::Rarity;
use crate::content::bitmap::Bitmap;
use crate::limits;

/// What a seed knows of its neighbourhood: how many have, or are being sent, each chunk.
#[derive(Debug)]
pub(super) struct Seed {
    spread: Rarity,
    /// Chunks promised and not yet asked for.
    promised: BTreeMap<PeerKey, Vec<u32>>,
    /// Chunks that one neighbour alone was given.
    alone: BTreeMap<u32, PeerKey>,
}

impl Seed {
    pub(super) fn new(chunks: u32, random: &mut Random) -> Self {
        let mut spread = Rarity::new(chunks);
        let mut shuffled: Vec<u32> = (0..chunks).collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        shuffled.into_iter().for_each(|c| spread.list(c));
        Self { spread, promised: BTreeMap::new(), alone: BTreeMap::new() }
    }

    /// A neighbour has a chunk or is being sent it (or, with -1, no longer).
    pub(super) fn shift(&mut self, chunk: u32, by: i16) {
        self.spread.shift(chunk, by);
    }

    /// The chunk this taker gets if that leaves us for the first time (or few have it); counted as a copy at once.
    pub(super) fn assign(&mut self, peer: PeerKey, taken: &Bitmap, random: &mut Random) -> Option<u32> {
        let needed = self.spread.listed().without(taken);
        let chunk = self.spread.rarest(&needed, 0, random)?;
        if usize::from(self.spread.copies(chunk)) >= limits::SCARCE_COPIES {
            return None;
        }
        self.spread.shift(chunk, 1);
        self.promised.entry(peer).or_default().push(chunk);
        Some(chunk)
    }

    /// A taker of our site is about to be sent a chunk.
    pub(super) fn gives(&mut self, peer: PeerKey, chunk: u32) {
        if self.spread.copies(chunk) == 0 {
            self.alone.insert(chunk, peer);
        } else {
            self.alone.remove(&chunk);
        }
    }

    /// A neighbour has a chunk, or is being sent it, not by us: who passed it on, if one alone can have.
    pub(super) fn passed_on(&mut self, chunk: u32, to: PeerKey) -> Option<PeerKey> {
        self.alone.remove(&chunk).filter(|by| *by != to)
    }

    /// It asked for a chunk, promised or not (what it takes is counted where it says so), or declined.
    pub(super) fn answered(&mut self, peer: PeerKey) {
        let Some(promised) = self.promised.get_mut(&peer) else { return };
        if !promised.is_empty() {
            let chunk = promised.remove(0);
            self.spread.shift(chunk, -1);
        }
        if promised.is_empty() {
            self.promised.remove(&peer);
        }
    }

    pub(super) fn gone(&mut self, peer: PeerKey) {
        for chunk in self.promised.remove(&peer).unwrap_or_default() {
            self.spread.shift(chunk, -1);
        }
    }
}
