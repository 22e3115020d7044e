//! The chunks of a blob: a pure function of its length.

use std::ops::Range;

use crate::limits;

/// The chunks of a blob of known length. Only a geometry makes a [`ChunkIndex`], so an index from outside is
/// checked exactly once.
///
/// ```
/// use swarm_core::content::geometry::Geometry;
///
/// let geometry = Geometry::new(200_000)?;
/// assert_eq!((geometry.chunk_size(), geometry.chunks()), (64 << 10, 4));
/// let last = geometry.last().expect("it is not empty");
/// assert_eq!(geometry.range(last), 196_608..200_000);
/// # Ok::<(), swarm_core::content::geometry::TooLong>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    len: u64,
    log2: u8,
}

/// The number of a chunk that exists in the [`Geometry`] that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(u32);

impl ChunkIndex {
    /// Returns the number, counted from 0.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the number as an index into a slice.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// A length that no blob has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blob of {0} bytes is longer than the {max} that are supported", max = limits::BLOB_BYTES)]
pub struct TooLong(pub u64);

impl Geometry {
    /// Returns the geometry of a blob of `len` bytes. Chunks have `len / 1024` bytes, rounded up to a power
    /// of two and clamped to 64 KiB .. 1 MiB, and more where there would be more than [`limits::CHUNKS`] of
    /// them.
    ///
    /// # Errors
    /// [`TooLong`] above [`limits::BLOB_BYTES`].
    pub fn new(len: u64) -> Result<Self, TooLong> {
        if len > limits::BLOB_BYTES {
            return Err(TooLong(len));
        }
        let aimed = len.div_ceil(limits::CHUNKS_AIM).next_power_of_two();
        let bounded = aimed.clamp(limits::CHUNK_MIN, limits::CHUNK_MAX);
        let least = len.div_ceil(u64::from(limits::CHUNKS)).next_power_of_two();
        let chunk = bounded.max(least);
        Ok(Self { len, log2: chunk.trailing_zeros() as u8 })
    }

    /// Returns the length of the blob in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns true for the empty blob, which has no chunks.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the size of every chunk but the last, in bytes.
    #[must_use]
    pub const fn chunk_size(&self) -> u64 {
        1 << self.log2
    }

    /// Returns the number of chunks; 0 for the empty blob.
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        // `new` bounds it by `limits::CHUNKS`.
        self.len.div_ceil(1 << self.log2) as u32
    }

    /// Returns the chunk of this number, if there is one.
    #[must_use]
    pub const fn chunk(&self, number: u32) -> Option<ChunkIndex> {
        if number < self.chunks() { Some(ChunkIndex(number)) } else { None }
    }

    /// Returns the last chunk, or `None` for the empty blob.
    #[must_use]
    pub const fn last(&self) -> Option<ChunkIndex> {
        match self.chunks() {
            0 => None,
            n => Some(ChunkIndex(n - 1)),
        }
    }

    /// Returns the chunk that contains the byte at `offset`, or `None` beyond the end.
    #[must_use]
    pub const fn chunk_at(&self, offset: u64) -> Option<ChunkIndex> {
        if offset < self.len { Some(ChunkIndex((offset >> self.log2) as u32)) } else { None }
    }

    /// Returns the offset of the chunk in the blob, in bytes.
    #[must_use]
    pub const fn offset(&self, chunk: ChunkIndex) -> u64 {
        (chunk.0 as u64) << self.log2
    }

    /// Returns the size of this chunk in bytes.
    #[must_use]
    pub fn size(&self, chunk: ChunkIndex) -> usize {
        (self.len - self.offset(chunk)).min(self.chunk_size()) as usize
    }

    /// Returns the range of the blob's bytes that this chunk consists of.
    #[must_use]
    pub fn range(&self, chunk: ChunkIndex) -> Range<u64> {
        let start = self.offset(chunk);
        start..start + self.size(chunk) as u64
    }

    /// Returns all chunks in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ChunkIndex> + use<> {
        (0..self.chunks()).map(ChunkIndex)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_at_the_edges() {
        let of = |len| Geometry::new(len).unwrap();
        assert_eq!((of(0).chunks(), of(0).last()), (0, None));
        assert_eq!(of(1).chunks(), 1);
        assert_eq!((of(64 << 20).chunk_size(), of(64 << 20).chunks()), (64 << 10, 1024));
        assert_eq!(of((64 << 20) + 1).chunk_size(), 128 << 10);
        assert_eq!((of(1 << 30).chunk_size(), of(1 << 30).chunks()), (1 << 20, 1024));
        assert_eq!((of(32 << 30).chunk_size(), of(32 << 30).chunks()), (1 << 20, 32_768));
        assert_eq!((of((32 << 30) + 1).chunk_size(), of(limits::BLOB_BYTES).chunks()), (2 << 20, 32_768));
        for bad in [limits::BLOB_BYTES + 1, (1 << 63) - 1, u64::MAX] {
            assert_eq!(Geometry::new(bad), Err(TooLong(bad)));
        }
    }

    proptest! {
        #[test]
        fn chunks_tile_the_blob(len in prop_oneof![0_u64..=10_000_000, 0_u64..=limits::BLOB_BYTES]) {
            let geometry = Geometry::new(len).unwrap();
            prop_assert!(geometry.chunks() <= limits::CHUNKS);
            prop_assert!(geometry.chunk(geometry.chunks()).is_none());
            let Some(last) = geometry.last() else { return Ok(()) };
            prop_assert_eq!(geometry.range(last).end, len);
            prop_assert!(geometry.size(last) > 0);
            let middle = geometry.chunk_at(len / 2).unwrap();
            prop_assert!(geometry.range(middle).contains(&(len / 2)));
        }
    }
}
