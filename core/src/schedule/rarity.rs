//! Chunks by their number of known copies, so that the rarest one is found without sorting.

use crate::content::bitmap::Bitmap;
use crate::random::Random;

/// Chunks that are tried in the buckets before the bitmaps are searched instead. For a peer with few chunks
/// the walk would be long, and for a peer with many it ends after a few.
const LOOKS: usize = 24;

/// The known copies of each chunk of a blob. Chunks that are *listed* can be found by rarity. Every step is
/// O(1).
#[derive(Debug)]
pub struct Rarity {
    copies: Vec<u16>,
    listed: Bitmap,
    /// The listed chunks by `copies`. `at` is the place of each chunk in its bucket.
    buckets: Vec<Vec<u32>>,
    at: Vec<u32>,
}

impl Rarity {
    /// Returns a set of `chunks` chunks, none of them listed, without known copies.
    #[must_use]
    pub fn new(chunks: u32) -> Self {
        let n = chunks as usize;
        Self { copies: vec![0; n], listed: Bitmap::new(chunks), buckets: vec![Vec::new()], at: vec![0; n] }
    }

    /// Returns the chunks that are listed.
    #[must_use]
    pub const fn listed(&self) -> &Bitmap {
        &self.listed
    }

    /// Returns the number of known copies of a chunk.
    #[must_use]
    pub fn copies(&self, chunk: u32) -> u16 {
        self.copies[chunk as usize]
    }

    /// Returns true if some listed chunk has no known copy.
    #[must_use]
    pub fn lacks_copy(&self) -> bool {
        self.buckets.first().is_some_and(|b| !b.is_empty())
    }

    /// Lists a chunk.
    pub fn list(&mut self, chunk: u32) {
        if self.listed.get(chunk) {
            return;
        }
        self.listed.set(chunk);
        let bucket = self.bucket(chunk);
        bucket.push(chunk);
        self.at[chunk as usize] = bucket.len() as u32 - 1;
    }

    /// Removes a chunk from the list.
    pub fn unlist(&mut self, chunk: u32) {
        if !self.listed.get(chunk) {
            return;
        }
        self.listed.clear(chunk);
        let at = self.at[chunk as usize] as usize;
        let bucket = self.bucket(chunk);
        bucket.swap_remove(at);
        if let Some(&moved) = bucket.get(at) {
            self.at[moved as usize] = at as u32;
        }
    }

    /// Adds `by` to the copies of a chunk.
    pub fn shift(&mut self, chunk: u32, by: i16) {
        let listed = self.listed.get(chunk);
        if listed {
            self.unlist(chunk);
        }
        let copies = &mut self.copies[chunk as usize];
        *copies = copies.saturating_add_signed(by);
        if listed {
            self.list(chunk);
        }
    }

    /// Returns the rarest listed chunk of a set, any of several equals. The answer is exact within a bounded
    /// number of tries, else it is the rarest chunk of a sample. `least` is the smallest number of copies
    /// that a chunk of the set can have.
    pub fn rarest(&self, of: &Bitmap, least: usize, random: &mut Random) -> Option<u32> {
        let mut looks = LOOKS;
        for bucket in self.buckets.iter().skip(least).filter(|b| !b.is_empty()) {
            let start = random.below(bucket.len());
            for i in 0..bucket.len().min(looks) {
                let chunk = bucket[(start + i) % bucket.len()];
                if of.get(chunk) {
                    return Some(chunk);
                }
            }
            looks = looks.saturating_sub(bucket.len());
            if looks == 0 {
                break;
            }
        }
        let from = random.below(self.listed.len() as usize) as u32;
        self.listed.common_from(of, from).take(LOOKS).min_by_key(|c| self.copies[*c as usize])
    }

    fn bucket(&mut self, chunk: u32) -> &mut Vec<u32> {
        let copies = usize::from(self.copies[chunk as usize]);
        if self.buckets.len() <= copies {
            self.buckets.resize_with(copies + 1, Vec::new);
        }
        &mut self.buckets[copies]
    }
}
