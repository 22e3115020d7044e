//! A set of chunks of one blob.

/// A set of chunks as one bit for each. All given numbers must be below [`Bitmap::len`]: they come from a
/// checked [`super::geometry::ChunkIndex`] or a loop over the blob.
///
/// ```
/// use swarm_core::content::bitmap::Bitmap;
///
/// let (mut here, mut wanted) = (Bitmap::full(8), Bitmap::new(8));
/// wanted.set(3);
/// wanted.set(5);
/// here.clear(3);
/// assert_eq!(wanted.without(&here).iter().collect::<Vec<_>>(), [3]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bitmap {
    /// Returns the empty set for a blob of `len` chunks.
    #[must_use]
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    /// Returns the set of all `len` chunks.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64) as usize];
        if let (Some(last), spare @ 1..) = (words.last_mut(), len % 64) {
            *last = (1 << spare) - 1;
        }
        Self { words, len, ones: len }
    }

    /// Reads one bit for each chunk, lowest bit of the first byte first. Returns `None` if `bytes` has
    /// another length than `len / 8` rounded up, or a spare bit is set.
    #[must_use]
    pub fn from_bytes(len: u32, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let mut bitmap = Self::new(len);
        for (i, byte) in bytes.iter().enumerate() {
            bitmap.words[i / 8] |= u64::from(*byte) << (i % 8 * 8);
        }
        let spare_is_clear =
            len.is_multiple_of(64) || bitmap.words.last().is_none_or(|w| w >> (len % 64) == 0);
        bitmap.ones = bitmap.words.iter().map(|w| w.count_ones()).sum();
        spare_is_clear.then_some(bitmap)
    }

    /// Returns one bit for each chunk, lowest bit of the first byte first; spare bits are zero.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.truncate(self.len.div_ceil(8) as usize);
        bytes
    }

    /// Returns the number of chunks of the blob.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Returns true if no chunk is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Returns true if every chunk is in the set.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Returns the number of chunks in the set.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.ones
    }

    /// Returns true if this chunk is in the set.
    #[must_use]
    pub fn get(&self, chunk: u32) -> bool {
        self.words[chunk as usize / 64] >> (chunk % 64) & 1 == 1
    }

    /// Adds a chunk.
    pub fn set(&mut self, chunk: u32) {
        debug_assert!(chunk < self.len);
        let (word, bit) = (&mut self.words[chunk as usize / 64], 1 << (chunk % 64));
        self.ones += u32::from(*word & bit == 0);
        *word |= bit;
    }

    /// Removes a chunk.
    pub fn clear(&mut self, chunk: u32) {
        let (word, bit) = (&mut self.words[chunk as usize / 64], 1 << (chunk % 64));
        self.ones -= u32::from(*word & bit != 0);
        *word &= !bit;
    }

    /// Returns the chunks in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(i, &word)| ones(word).map(move |bit| i as u32 * 64 + bit))
    }

    /// Returns the runs of neighbouring chunks as (first, count), ascending.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut chunks = self.iter().peekable();
        std::iter::from_fn(move || {
            let first = chunks.next()?;
            let mut end = first + 1;
            while chunks.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some((first, end - first))
        })
    }

    /// Returns the first chunk in both sets at or after `from`, going round.
    #[must_use]
    pub fn first_common(&self, other: &Self, from: u32) -> Option<u32> {
        self.common_from(other, from).next()
    }

    /// Returns the chunks in both sets, ascending from `from` on, going round.
    pub fn common_from<'a>(&'a self, other: &'a Self, from: u32) -> impl Iterator<Item = u32> + 'a {
        let n = self.words.len();
        let start = from as usize / 64 % n.max(1);
        let low = (1_u64 << (from % 64)) - 1;
        // The word of `from` is visited twice: first for the chunks from `from` on, at the very end for those
        // below it.
        (0..=n).filter(move |_| n > 0).flat_map(move |step| {
            let i = (start + step) % n;
            let mask = match step {
                0 => !low,
                _ if step == n => low,
                _ => u64::MAX,
            };
            ones(self.words[i] & other.words[i] & mask).map(move |bit| i as u32 * 64 + bit)
        })
    }

    /// Returns the chunks of this set that are not in `other`, a set of the same blob.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// Returns the chunks in both this set and `other`, a set of the same blob.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Returns the chunks in this set or in `other`, a set of the same blob.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    fn zip(&self, other: &Self, op: impl Fn(u64, u64) -> u64) -> Self {
        debug_assert_eq!(self.len, other.len);
        let words: Vec<u64> = self.words.iter().zip(&other.words).map(|(a, b)| op(*a, *b)).collect();
        let ones = words.iter().map(|w| w.count_ones()).sum();
        Self { words, len: self.len, ones }
    }
}

fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(len in 1_u32..400, ops in prop::collection::vec((any::<u32>(), any::<bool>()), 0..200), from: u32) {
            let (mut bitmap, mut oracle) = (Bitmap::new(len), BTreeSet::new());
            for (chunk, put) in ops {
                let chunk = chunk % len;
                if put { bitmap.set(chunk); oracle.insert(chunk); } else { bitmap.clear(chunk); oracle.remove(&chunk); }
            }
            prop_assert!(bitmap.iter().eq(oracle.iter().copied()));
            prop_assert_eq!(bitmap.count() as usize, oracle.len());
            prop_assert_eq!(Bitmap::from_bytes(len, &bitmap.to_bytes()).unwrap(), bitmap.clone());
            prop_assert_eq!(bitmap.runs().map(|(_, n)| n).sum::<u32>(), bitmap.count());
            let from = from % len;
            let expected = oracle.range(from..).next().or_else(|| oracle.iter().next()).copied();
            prop_assert_eq!(bitmap.first_common(&Bitmap::full(len), from), expected);
            prop_assert!(Bitmap::full(len).is_full() && Bitmap::full(len).iter().eq(0..len));
        }
    }
}
