//! Chunks by how many copies of them are known, so that the rarest is found without sorting.

use crate::content::bitmap::Bitmap;
use crate::random::Random;

/// Chunks looked at in the buckets before the bitmaps are searched instead: a peer with few chunks would make the walk
/// long, and a peer with many is served within a few looks.
const LOOKS: usize = 24;

/// Copies known of each chunk of a blob; those that are *listed* can be found by rarity. Every step is O(1).
#[derive(Debug)]
pub struct Rarity {
    copies: Vec<u16>,
    listed: Bitmap,
    /// Listed chunks by `copies`; `at` is a chunk's place in its bucket.
    buckets: Vec<Vec<u32>>,
    at: Vec<u32>,
}

impl Rarity {
    /// `chunks` chunks, none listed, no copies known.
    #[must_use]
    pub fn new(chunks: u32) -> Self {
        let n = chunks as usize;
        Self { copies: vec![0; n], listed: Bitmap::new(chunks), buckets: vec![Vec::new()], at: vec![0; n] }
    }

    /// The chunks that are listed.
    #[must_use]
    pub const fn listed(&self) -> &Bitmap {
        &self.listed
    }

    /// Copies known of a chunk.
    #[must_use]
    pub fn copies(&self, chunk: u32) -> u16 {
        self.copies[chunk as usize]
    }

    /// Some listed chunk has no known copy.
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

    /// Takes a chunk off the list.
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

    /// One copy more, or less.
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

    /// The rarest listed chunk of a set, of equals any: exact within a bounded number of looks, else the rarest of a
    /// sample. `least` is the fewest copies a chunk of the set can have.
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
