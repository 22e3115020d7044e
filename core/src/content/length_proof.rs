//! The tail of a blob, which proves its length: its last leaf, and the chaining values beside the path from
//! the last chunk's value down to that leaf.
//!
//! BLAKE3 hashes a leaf with its number and its length, and otherwise than an inner node. So only a leaf of
//! that number and length can stand at the place of the last leaf of a claimed length: a peer that can show
//! it has a blob of exactly that length. The tail has at most 1,024 bytes and 15 values, whatever the size of
//! a chunk.

use blake3::hazmat::{ChainingValue, HasherExt, left_subtree_len, merge_subtrees_non_root};

use super::geometry::{ChunkIndex, Geometry};
use super::kind::ContentKind;

/// The bytes of a leaf of BLAKE3's tree (its own documents say "chunk").
const LEAF: usize = blake3::CHUNK_LEN;

/// The tail of a blob of more than one chunk. The only chunk of a smaller blob proves its own length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// The values to the left of the path, the nearest to the root first.
    beside: Vec<ChainingValue>,
    leaf: Vec<u8>,
}

impl Tail {
    /// Returns the tail of a blob whose last chunk is `bytes`, or `None` if it has no more than one chunk.
    pub(super) fn of(kind: ContentKind, geometry: Geometry, bytes: &[u8]) -> Option<Self> {
        let last = way(geometry)?;
        let (mut beside, mut rest, mut at) = (Vec::new(), bytes, geometry.offset(last));
        while rest.len() > LEAF {
            let (left, right) = rest.split_at(left_subtree_len(rest.len() as u64) as usize);
            beside.push(value(kind, at, left));
            (rest, at) = (right, at + left.len() as u64);
        }
        Some(Self { beside, leaf: rest.to_vec() })
    }

    /// Reads the tail of a blob of this geometry. Returns `None` unless `bytes` has [`encoded_len`] bytes.
    pub(super) fn decode(geometry: Geometry, bytes: &[u8]) -> Option<Self> {
        let (values, leaf) = shape(geometry)?;
        if bytes.len() != values * 32 + leaf {
            return None;
        }
        let (beside, leaf) = bytes.split_at(values * 32);
        Some(Self { beside: beside.as_chunks::<32>().0.to_vec(), leaf: leaf.to_vec() })
    }

    /// Returns the values, then the leaf.
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.beside.as_flattened(), &self.leaf].concat()
    }

    /// Returns the value of the last chunk that ends with this tail.
    pub(super) fn chunk_value(&self, kind: ContentKind, geometry: Geometry) -> ChainingValue {
        let at = geometry.len() - self.leaf.len() as u64;
        let leaf = value(kind, at, &self.leaf);
        kind.with_mode(|mode| {
            self.beside.iter().rev().fold(leaf, |right, left| merge_subtrees_non_root(left, &right, mode))
        })
    }
}

/// Returns the length in bytes of the encoded tail of a blob of this geometry; 0 if it has none.
pub(super) fn encoded_len(geometry: Geometry) -> usize {
    shape(geometry).map_or(0, |(values, leaf)| values * 32 + leaf)
}

/// Returns the number of values, and the bytes of the leaf.
fn shape(geometry: Geometry) -> Option<(usize, usize)> {
    let (mut rest, mut values) = (geometry.size(way(geometry)?), 0);
    while rest > LEAF {
        rest -= left_subtree_len(rest as u64) as usize;
        values += 1;
    }
    Some((values, rest))
}

/// Returns the chunk that the tail is the end of: the last one, unless it is the only one.
fn way(geometry: Geometry) -> Option<ChunkIndex> {
    geometry.last().filter(|last| last.get() > 0)
}

fn value(kind: ContentKind, at: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = kind.hasher();
    hasher.set_input_offset(at);
    hasher.update(bytes);
    hasher.finalize_non_root()
}
