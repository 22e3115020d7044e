//! Chunks that hold nothing but zeros, found by their hashes alone.
//!
//! A hash list has one BLAKE3 chaining value for each chunk, and such a value depends on the chunk's place in
//! the blob. So equal chunks have different values, and whether a chunk is zeros shows only when zeros are
//! hashed at its place. That costs as much as the hash of any other chunk. It is done for a few chunks of a
//! blob, and where one of them is zeros for its neighbours, as far as zeros go. A blob without large holes
//! costs these few hashes, and every further hash but the last of a run finds a chunk that need not be sent.

use super::geometry::ChunkIndex;
use super::tree::HashList;

/// Chunks that are tried in each blob.
const SAMPLES: usize = 8;
/// Zeros that are hashed at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Returns true if there is nothing but zeros. For nearly all other bytes the first few decide.
#[must_use]
pub fn is_zeros(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// Returns true if this chunk of the blob is zeros.
#[must_use]
pub fn has_zeros(list: &HashList, chunk: ChunkIndex) -> bool {
    let (mut check, mut left) = (list.check(chunk), list.geometry().size(chunk));
    while left > 0 {
        let part = left.min(ZEROS.len());
        check.update(&ZEROS[..part]);
        left -= part;
    }
    check.passes()
}

/// A part of a blob between two chunks that were tried.
#[derive(Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The chunks in between, ascending.
    chunks: Vec<ChunkIndex>,
    /// True if the chunk before them is zeros, and true if the one behind them is.
    beside: (bool, bool),
}

impl Stretch {
    /// Returns the chunks of zeros that lie side by side with those at the ends.
    #[must_use]
    pub fn zeros(&self, list: &HashList) -> Vec<ChunkIndex> {
        let mut zeros = Vec::new();
        if self.beside.0 {
            zeros.extend(self.chunks.iter().copied().take_while(|chunk| has_zeros(list, *chunk)));
        }
        let rest = &self.chunks[zeros.len()..];
        if self.beside.1 {
            zeros.extend(rest.iter().rev().copied().take_while(|chunk| has_zeros(list, *chunk)));
        }
        zeros
    }
}

/// Tries a few of these chunks, which ascend. Returns those that are zeros, and the parts between them that
/// may have more.
#[must_use]
pub fn sample(list: &HashList, chunks: &[ChunkIndex]) -> (Vec<ChunkIndex>, Vec<Stretch>) {
    let places: Vec<usize> = match chunks.len() {
        few @ 0..=SAMPLES => (0..few).collect(),
        // In the middle of each of equal parts.
        many => (0..SAMPLES).map(|n| (2 * n + 1) * many / (2 * SAMPLES)).collect(),
    };
    let tried: Vec<(usize, bool)> = places.iter().map(|at| (*at, has_zeros(list, chunks[*at]))).collect();
    let zeros = tried.iter().filter(|(_, zeros)| *zeros).map(|(at, _)| chunks[*at]).collect();
    let (mut stretches, mut from, mut before) = (Vec::new(), 0, false);
    for (at, behind) in tried.into_iter().chain([(chunks.len(), false)]) {
        if (before || behind) && from < at {
            stretches.push(Stretch { chunks: chunks[from..at].to_vec(), beside: (before, behind) });
        }
        (from, before) = (at + 1, behind);
    }
    (zeros, stretches)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::content::geometry::Geometry;
    use crate::content::kind::ContentKind;
    use crate::limits;

    /// Returns the chunks of zeros that are found in a blob of `chunks` chunks, of which `full` are none.
    fn found(chunks: u64, full: &[u32]) -> Vec<u32> {
        let size = limits::CHUNK_MIN as usize;
        let mut bytes = vec![0; chunks as usize * size - 7];
        full.iter().for_each(|chunk| bytes[*chunk as usize * size + 5] = 1);
        let geometry = Geometry::new(bytes.len() as u64).unwrap();
        let list = HashList::of(ContentKind::File, geometry, &bytes);
        let all: Vec<ChunkIndex> = geometry.iter().collect();
        let (mut zeros, stretches) = sample(&list, &all);
        zeros.extend(stretches.iter().flat_map(|stretch| stretch.zeros(&list)));
        let mut zeros: Vec<u32> = zeros.into_iter().map(ChunkIndex::get).collect();
        zeros.sort_unstable();
        zeros
    }

    #[test]
    fn holes_are_found_and_nothing_else() {
        let without = |chunks: u32, full: &[u32]| (0..chunks).filter(|c| !full.contains(c)).collect();
        assert_eq!(found(3, &[]), [0, 1, 2]);
        assert_eq!(found(5, &[1, 3]), [0, 2, 4]);
        let expected: Vec<u32> = without(50, &[17, 18, 49]);
        assert_eq!(found(50, &[17, 18, 49]), expected);
        assert_eq!(found(50, &(0..50).collect::<Vec<_>>()), [0; 0]);
        let expected: Vec<u32> = without(50, &(0..40).collect::<Vec<_>>());
        assert_eq!(found(50, &(0..40).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn zeros_are_told_from_other_bytes() {
        let mut bytes = vec![0; 100];
        assert!(is_zeros(&bytes) && is_zeros(&[]));
        for at in [0, 15, 16, 99] {
            bytes[at] = 1;
            assert!(!is_zeros(&bytes), "{at}");
            bytes[at] = 0;
        }
    }
}
