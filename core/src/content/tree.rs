//! The hash list: one BLAKE3 subtree chaining value for each chunk. It proves chunks, list and length.
//!
//! BLAKE3 is a binary tree over 1 KiB leaves whose left side always holds the largest power of two. An
//! aligned chunk of a power-of-two size is therefore exactly one subtree; merging the chunks' chaining values
//! leads to the root, which is the id. The list is checked once against the id; then each chunk is proven
//! alone, in any order, from any peer.
//!
//! **Length.** The merge depends only on the *number* of chunks, and values that merge correctly under a
//! false length can be made (inner nodes passed off as chunks). So a list ends with the blob's tail
//! (`content/length_proof`), which only the true length has: a list that passes both checks proves both. The
//! only chunk of a smaller blob proves its length itself.

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::geometry::{ChunkIndex, Geometry};
use super::length_proof::{self, Tail};
use crate::content::kind::{ChunkHasher, ContentKind};
use crate::id::ContentId;

/// The chaining values of all chunks of one blob, known to belong to its id, and its tail.
///
/// ```
/// use swarm_core::ContentId;
/// use swarm_core::content::geometry::Geometry;
/// use swarm_core::content::kind::ContentKind;
/// use swarm_core::content::tree::HashList;
///
/// let bytes = vec![7; 100_000];
/// let list = HashList::of(ContentKind::File, Geometry::new(100_000)?, &bytes);
/// assert_eq!(list.id(), ContentId::from(blake3::hash(&bytes)));
/// let last = list.geometry().last().expect("it is not empty");
/// assert!(list.verify(last, &bytes[65_536..]) && !list.verify(last, &bytes[..34_464 - 1]));
/// # Ok::<(), swarm_core::content::geometry::TooLong>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashList {
    kind: ContentKind,
    geometry: Geometry,
    values: Vec<ChainingValue>,
    tail: Option<Tail>,
}

/// The reason why a hash list does not belong to the id it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    /// The list does not have one value for each chunk and a tail.
    #[error("the hash list has {got} bytes where {want} belong")]
    Size {
        /// The number of bytes that the list has.
        got: usize,
        /// The number of bytes that the list should have.
        want: usize,
    },
    /// The values merge to another id.
    #[error("the hash list is not that of the id")]
    Root,
    /// The tail is that of another length or of other bytes.
    #[error("the hash list is not that of a blob of this length")]
    Tail,
}

impl HashList {
    /// Reads a list from `bytes` (see [`HashList::encode`]) and checks it against `id`. A list that passes
    /// proves the blob's length, unless there is only one chunk.
    ///
    /// # Errors
    /// [`BadList`] if the giver of the list is dishonest or broken.
    pub fn decode(
        id: ContentId,
        kind: ContentKind,
        geometry: Geometry,
        bytes: &[u8],
    ) -> Result<Self, BadList> {
        let want = encoded_len(geometry);
        if bytes.len() != want {
            return Err(BadList::Size { got: bytes.len(), want });
        }
        let (values, tail) = bytes.split_at(want - length_proof::encoded_len(geometry));
        let values = match geometry.chunks() {
            0 => Vec::new(),
            1 => vec![*id.as_bytes()],
            _ => values.as_chunks::<32>().0.to_vec(),
        };
        let list = Self { kind, geometry, values, tail: Tail::decode(geometry, tail) };
        if list.id() != id {
            return Err(BadList::Root);
        }
        list.checked()
    }

    /// Returns the list of the values of all chunks in order, as [`ContentKind::chunk_value`] returns them,
    /// and the bytes of the last chunk. The publisher makes its list so.
    ///
    /// # Errors
    /// [`BadList::Size`] if the number of values is not that of the geometry, [`BadList::Tail`] if the last
    /// value is that of other bytes.
    pub fn from_values(
        kind: ContentKind,
        geometry: Geometry,
        values: Vec<ChainingValue>,
        last: &[u8],
    ) -> Result<Self, BadList> {
        if values.len() == geometry.chunks() as usize {
            return Self { kind, geometry, values, tail: Tail::of(kind, geometry, last) }.checked();
        }
        Err(BadList::Size { got: values.len() * 32, want: geometry.chunks() as usize * 32 })
    }

    /// Returns the list, if its tail is the end of its last chunk.
    fn checked(self) -> Result<Self, BadList> {
        let end = self.tail.as_ref().map(|tail| tail.chunk_value(self.kind, self.geometry));
        if end.is_none_or(|end| self.values.last() == Some(&end)) { Ok(self) } else { Err(BadList::Tail) }
    }

    /// Returns the list of bytes held in memory.
    #[must_use]
    pub fn of(kind: ContentKind, geometry: Geometry, bytes: &[u8]) -> Self {
        let part = |c| &bytes[geometry.offset(c) as usize..][..geometry.size(c)];
        let values = geometry.iter().map(|c| kind.chunk_value(geometry, c, part(c))).collect();
        let tail = geometry.last().and_then(|last| Tail::of(kind, geometry, part(last)));
        Self { kind, geometry, values, tail }
    }

    /// Returns the id that this list stands for.
    #[must_use]
    pub fn id(&self) -> ContentId {
        self.kind.with_mode(|mode| self.root(mode))
    }

    fn root(&self, mode: Mode<'_>) -> ContentId {
        match self.values.as_slice() {
            [] => self.kind.id_of(&[]),
            [only] => ContentId::from_bytes(*only),
            values => {
                let (left, right) = values.split_at(left_chunks(values.len()));
                merge_subtrees_root(&merge(left, mode), &merge(right, mode), mode).into()
            }
        }
    }

    /// Returns 32 bytes for each chunk, then the tail (the values beside the path to the last leaf, the
    /// nearest to the root first, and the leaf). For a blob of one chunk or none, whose hash is its id, that
    /// is nothing.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.tail.as_ref().map_or_else(Vec::new, |tail| [self.values.as_flattened(), &tail.encode()].concat())
    }

    /// Returns the geometry of the list's chunks.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Returns the kind that the id names.
    #[must_use]
    pub const fn kind(&self) -> ContentKind {
        self.kind
    }

    /// Returns true if `bytes` are exactly this chunk.
    #[must_use]
    pub fn verify(&self, chunk: ChunkIndex, bytes: &[u8]) -> bool {
        let mut check = self.check(chunk);
        check.update(bytes);
        check.passes()
    }

    /// Returns a check of a chunk while it arrives: each part is hashed while it is in the processor's cache.
    #[must_use]
    pub fn check(&self, chunk: ChunkIndex) -> ChunkCheck {
        ChunkCheck {
            hasher: self.kind.chunk_hasher(self.geometry, chunk),
            left: self.geometry.size(chunk),
            value: self.values[chunk.at()],
            too_long: false,
        }
    }
}

/// A chunk that is being verified; see [`HashList::check`].
#[derive(Debug)]
pub struct ChunkCheck {
    hasher: ChunkHasher,
    left: usize,
    value: ChainingValue,
    too_long: bool,
}

impl ChunkCheck {
    /// Adds the next bytes, in order. More bytes than the chunk has are not hashed (a subtree cannot take
    /// them), and fail the check.
    pub fn update(&mut self, bytes: &[u8]) {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.hasher.update(bytes);
            }
            None => self.too_long = true,
        }
    }

    /// Returns true if the bytes so far are exactly the chunk.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.left == 0 && !self.too_long && self.hasher.value() == self.value
    }
}

/// Returns the length in bytes of the encoded list of a blob of this geometry.
#[must_use]
pub fn encoded_len(geometry: Geometry) -> usize {
    if geometry.chunks() > 1 {
        geometry.chunks() as usize * 32 + length_proof::encoded_len(geometry)
    } else {
        0
    }
}

/// Returns the largest power of two below `n`, which is BLAKE3's left side. `n` is at least 2.
fn left_chunks(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// Merges values without the root flag. The depth is log2 of the number of chunks: at most 15.
fn merge(values: &[ChainingValue], mode: Mode<'_>) -> ChainingValue {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_chunks(values.len()));
            merge_subtrees_non_root(&merge(left, mode), &merge(right, mode), mode)
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
