//! The hash list: one BLAKE3 subtree chaining value per chunk, and how it proves chunks, list and length.
//!
//! BLAKE3 is a binary tree over 1 KiB leaves whose left side is always the largest power of two. An aligned chunk of a
//! power-of-two size is therefore exactly one subtree; merging the chunks' chaining values gives the root, which is the
//! id. The list is checked once against the id; then each chunk proves itself alone, in any order, from any peer.
//!
//! **Length.** The merge depends on the *number* of chunks only, and values that merge correctly under a lied length can
//! be made (inner nodes passed off as chunks). So a list ends with the blob's tail (`content/tail`), which only
//! the true length has: a list that reads well proves both. The only chunk of a smaller blob proves its length itself.

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

/// A hash list that does not belong to the id it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    /// It has not one value per chunk, and a tail.
    #[error("the hash list has {got} bytes where {want} belong")]
    Size {
        /// Bytes it has.
        got: usize,
        /// Bytes it should have.
        want: usize,
    },
    /// It merges to something else.
    #[error("the hash list is not that of the id")]
    Root,
    /// Its tail is that of another length or of other bytes.
    #[error("the hash list is not that of a blob of this length")]
    Tail,
}

impl HashList {
    /// Reads a list from `bytes` (see [`HashList::encode`]) and checks it against `id`: what it says of the blob's length is
    /// true, unless there is but one chunk.
    ///
    /// # Errors
    /// [`BadList`]: whoever gave the list is dishonest or broken.
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

    /// The list made of the values of all chunks in order, as [`ContentKind::chunk_value`] gives them, and the bytes of the last
    /// chunk: for the publisher.
    ///
    /// # Errors
    /// [`BadList::Size`] when the number of values is not that of the geometry, [`BadList::Tail`] when the last is of other
    /// bytes.
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

    /// Itself, if its tail is the end of its last chunk.
    fn checked(self) -> Result<Self, BadList> {
        let end = self.tail.as_ref().map(|tail| tail.chunk_value(self.kind, self.geometry));
        if end.is_none_or(|end| self.values.last() == Some(&end)) { Ok(self) } else { Err(BadList::Tail) }
    }

    /// The list of bytes held in memory.
    #[must_use]
    pub fn of(kind: ContentKind, geometry: Geometry, bytes: &[u8]) -> Self {
        let part = |c| &bytes[geometry.offset(c) as usize..][..geometry.size(c)];
        let values = geometry.iter().map(|c| kind.chunk_value(geometry, c, part(c))).collect();
        let tail = geometry.last().and_then(|last| Tail::of(kind, geometry, part(last)));
        Self { kind, geometry, values, tail }
    }

    /// The id this list stands for.
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

    /// 32 bytes a chunk, then the tail (the values beside the way to the last leaf, the nearest to the root first, and the
    /// leaf); nothing for a blob of one chunk or less, whose hash is its id.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.tail.as_ref().map_or_else(Vec::new, |tail| [self.values.as_flattened(), &tail.encode()].concat())
    }

    /// The chunks this is the list of.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What the id names.
    #[must_use]
    pub const fn kind(&self) -> ContentKind {
        self.kind
    }

    /// True when `bytes` are exactly this chunk.
    #[must_use]
    pub fn verify(&self, chunk: ChunkIndex, bytes: &[u8]) -> bool {
        let mut check = self.check(chunk);
        check.update(bytes);
        check.passes()
    }

    /// Verifies a chunk while it arrives: each part is hashed when it is still in the processor's cache.
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

/// A chunk being verified; see [`HashList::check`].
#[derive(Debug)]
pub struct ChunkCheck {
    hasher: ChunkHasher,
    left: usize,
    value: ChainingValue,
    too_long: bool,
}

impl ChunkCheck {
    /// The next bytes, in order. More than the chunk has are not hashed (a subtree cannot take them), and fail it.
    pub fn update(&mut self, bytes: &[u8]) {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.hasher.update(bytes);
            }
            None => self.too_long = true,
        }
    }

    /// True when the bytes so far are exactly the chunk.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.left == 0 && !self.too_long && self.hasher.value() == self.value
    }
}

/// Bytes of the encoded list of a blob of this geometry.
#[must_use]
pub fn encoded_len(geometry: Geometry) -> usize {
    if geometry.chunks() > 1 {
        geometry.chunks() as usize * 32 + length_proof::encoded_len(geometry)
    } else {
        0
    }
}

/// The largest power of two below `n`: BLAKE3's left side. `n` is at least 2.
fn left_chunks(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// Depth is log2 of the number of chunks: at most 15.
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
