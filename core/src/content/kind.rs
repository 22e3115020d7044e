//! Kinds of content, each hashed in a mode of its own.

use blake3::hazmat::{ChainingValue, HasherExt, Mode};
use serde::{Deserialize, Serialize};

use super::geometry::{ChunkIndex, Geometry};
use super::{manifest, share};
use crate::id::ContentId;

/// The kind of content that an id names. Each kind is hashed in a mode of its own, so no bytes have the same
/// id in two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentKind {
    /// A file: plain BLAKE3.
    File,
    /// A directory's manifest: BLAKE3 in derive-key mode under [`manifest::CONTEXT`].
    Directory,
    /// A share's envelope: BLAKE3 in derive-key mode under [`share::CONTEXT`].
    Share,
}

impl ContentKind {
    /// Returns the derive-key context of the kind, or `None` for a file.
    const fn context(self) -> Option<&'static str> {
        match self {
            Self::File => None,
            Self::Directory => Some(manifest::CONTEXT),
            Self::Share => Some(share::CONTEXT),
        }
    }

    pub(super) fn hasher(self) -> blake3::Hasher {
        self.context().map_or_else(blake3::Hasher::new, blake3::Hasher::new_derive_key)
    }

    /// Calls `then` with the mode in which inner nodes are merged.
    pub(super) fn with_mode<T>(self, then: impl FnOnce(Mode<'_>) -> T) -> T {
        match self.context() {
            None => then(Mode::Hash),
            Some(context) => then(Mode::DeriveKeyMaterial(&blake3::hazmat::hash_derive_key_context(context))),
        }
    }

    /// Returns the id of these bytes as this kind.
    #[must_use]
    pub fn id_of(self, bytes: &[u8]) -> ContentId {
        self.hasher().update(bytes).finalize().into()
    }

    /// Returns the chaining value of one chunk of a blob of this geometry. For a blob of a single chunk,
    /// which is its own root, that is the id itself.
    ///
    /// `bytes` must be as long as the chunk is; [`super::tree::HashList::verify`] checks that for bytes from
    /// outside.
    #[must_use]
    pub fn chunk_value(self, geometry: Geometry, chunk: ChunkIndex, bytes: &[u8]) -> ChainingValue {
        let mut hasher = self.chunk_hasher(geometry, chunk);
        hasher.update(bytes);
        hasher.value()
    }

    /// Returns a hasher that computes [`ContentKind::chunk_value`] in steps. It must be given exactly the
    /// chunk's bytes, in order.
    #[must_use]
    pub fn chunk_hasher(self, geometry: Geometry, chunk: ChunkIndex) -> ChunkHasher {
        let mut hasher = self.hasher();
        let is_root = geometry.chunks() == 1;
        if !is_root {
            // Chunk offsets are multiples of a power of two of at least 64 KiB, so they are aligned as
            // `hazmat` demands.
            hasher.set_input_offset(geometry.offset(chunk));
        }
        ChunkHasher { hasher, is_root }
    }
}

/// A hasher of the chaining value of a chunk; see [`ContentKind::chunk_hasher`].
#[derive(Debug)]
pub struct ChunkHasher {
    hasher: blake3::Hasher,
    is_root: bool,
}

impl ChunkHasher {
    /// Adds the next bytes of the chunk.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Returns the value of the bytes so far.
    #[must_use]
    pub fn value(&self) -> ChainingValue {
        if self.is_root { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
    }
}
