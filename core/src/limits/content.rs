//! Bounds of content: chunks, blobs, manifests, links and shares.

use super::{KIB, MIB};

/// Smallest chunk, in bytes. In a smaller one the 32-byte hash, the have-map bit and the work per chunk would
/// outweigh the chunk.
pub const CHUNK_MIN: u64 = 64 << 10;
/// Largest chunk of a blob of up to 32 GiB, in bytes: the bytes that one request holds unverified, and that a
/// film waits for.
pub const CHUNK_MAX: u64 = 1 << 20;
/// Chunks aimed at per blob. Spreading works best with 1,000 to 2,000: enough pieces that no logarithmic term
/// shows.
pub const CHUNKS_AIM: u64 = 1024;
/// Most chunks of a blob. This bounds the hash list to 1 MiB and a tail of up to 1.5 KiB
/// ([`HASH_LIST_BYTES`]), and the have-map to 4 KiB. Longer blobs get longer chunks.
pub const CHUNKS: u32 = 32_768;
/// Longest blob, in bytes (1 TiB): its chunks are then 32 MiB, the most that is worth holding unverified.
pub const BLOB_BYTES: u64 = 1 << 40;
/// Largest hash list, in bytes: 32 per chunk, and the last leaf with the values beside its path up a chunk of
/// 32 MiB.
pub const HASH_LIST_BYTES: usize = CHUNKS as usize * 32 + 15 * 32 + 1024;

/// Largest directory manifest, in bytes.
pub const MANIFEST_BYTES: usize = 8 * MIB;
/// Most entries of a directory manifest.
pub const MANIFEST_ENTRIES: usize = 100_000;
/// Most components of a path in a manifest.
pub const PATH_DEPTH: usize = 32;
/// Longest path in a manifest, in bytes.
pub const PATH_BYTES: usize = 1024;
/// Longest component of a path, in bytes: the common limit of file systems.
pub const COMPONENT_BYTES: usize = 255;
/// Longest component of a path, in UTF-16 units: 255 on Windows, less room for a temporary suffix.
pub const COMPONENT_UTF16: usize = 240;
/// Largest file named in a manifest, in bytes: the largest integer that every JSON reader keeps exact.
pub const FILE_BYTES: u64 = (1 << 53) - 1;

/// Longest link, in bytes.
pub const LINK_BYTES: usize = 4 * KIB;
/// Most peer hints in a link.
pub const LINK_PEERS: usize = 16;
/// Longest name hint in a link, in bytes.
pub const LINK_NAME_BYTES: usize = 255;

/// Largest envelope of a share, in bytes: a manifest, a name, and the padding of the last segment.
pub const ENVELOPE_BYTES: usize = MANIFEST_BYTES + 256 * KIB;
/// Most memory, in KiB, that deriving a key from a password may take here: a link may come from anybody.
pub const LOCK_KIB: u32 = 1 << 20;
/// Most passes over that memory.
pub const LOCK_PASSES: u32 = 10;
/// Memory, in KiB, of the locks that this node makes: with 3 passes and one lane, the second choice of RFC
/// 9106 is 64 MiB.
pub const LOCK_KIB_OURS: u32 = 64 << 10;
/// Passes of the locks that this node makes; [`LOCK_KIB_OURS`] gives the source.
pub const LOCK_PASSES_OURS: u8 = 3;
/// Longest password, in bytes.
pub const PASSWORD_BYTES: usize = 4 * KIB;
