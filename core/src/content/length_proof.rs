//! The end of a blob, which proves its length: its last leaf, and the chaining values beside the way from there up to the
//! last chunk's.
//!
//! A leaf of BLAKE3 is hashed with its number and its length, and otherwise than an inner node. So at the place of the last
//! leaf of a claimed length only a leaf can stand, and only of that number and length: whoever can show it has a blob of
//! exactly that length. It costs at most 1,024 bytes and 15 values, whatever the size of a chunk.

use blake3::hazmat::{ChainingValue, HasherExt, left_subtree_len, merge_subtrees_non_root};

use super::geometry::{ChunkIndex, Geometry};
use super::kind::ContentKind;

/// Bytes of a leaf of BLAKE3's tree (its own documents say "chunk").
const LEAF: usize = blake3::CHUNK_LEN;

/// See the module's text. Only of blobs of more than one chunk: the only chunk of a smaller one proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    /// The values left of the way, the nearest to the root first.
    beside: Vec<ChainingValue>,
    leaf: Vec<u8>,
}

impl Tail {
    /// That of a blob whose last chunk is `bytes`.
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

    /// Reads one of a blob of this geometry. `None` unless it has [`encoded_len`] bytes.
    pub(super) fn decode(geometry: Geometry, bytes: &[u8]) -> Option<Self> {
        let (values, leaf) = shape(geometry)?;
        if bytes.len() != values * 32 + leaf {
            return None;
        }
        let (beside, leaf) = bytes.split_at(values * 32);
        Some(Self { beside: beside.as_chunks::<32>().0.to_vec(), leaf: leaf.to_vec() })
    }

    /// The values, then the leaf.
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.beside.as_flattened(), &self.leaf].concat()
    }

    /// The value of the last chunk that ends so.
    pub(super) fn chunk_value(&self, kind: ContentKind, geometry: Geometry) -> ChainingValue {
        let at = geometry.len() - self.leaf.len() as u64;
        let leaf = value(kind, at, &self.leaf);
        kind.with_mode(|mode| {
            self.beside.iter().rev().fold(leaf, |right, left| merge_subtrees_non_root(left, &right, mode))
        })
    }
}

/// Bytes of the encoded tail of a blob of this geometry: none where there is none.
pub(super) fn encoded_len(geometry: Geometry) -> usize {
    shape(geometry).map_or(0, |(values, leaf)| values * 32 + leaf)
}

/// How many values, and bytes of the leaf.
fn shape(geometry: Geometry) -> Option<(usize, usize)> {
    let (mut rest, mut values) = (geometry.size(way(geometry)?), 0);
    while rest > LEAF {
        rest -= left_subtree_len(rest as u64) as usize;
        values += 1;
    }
    Some((values, rest))
}

/// The chunk it is the end of.
fn way(geometry: Geometry) -> Option<ChunkIndex> {
    geometry.last().filter(|last| last.get() > 0)
}

fn value(kind: ContentKind, at: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = kind.hasher();
    hasher.set_input_offset(at);
    hasher.update(bytes);
    hasher.finalize_non_root()
}
