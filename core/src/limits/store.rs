//! Bounds of the store: flushes, open files and sources of bytes.

use std::time::Duration;

/// Verified bytes written before they, and then the have-map, are flushed. A crash costs these bytes and
/// those written during a flush: 16 MiB in all, or the bytes of [`FLUSH_EVERY`].
pub const FLUSH_BYTES: u64 = 8 << 20;
/// Time after which written bytes are flushed even if they are fewer than [`FLUSH_BYTES`].
pub const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// Bytes that may wait for a slow flush before the writer waits for it.
pub const UNFLUSHED_BYTES: u64 = 64 << 20;
/// Verified chunks that wait for the writing thread.
pub const WRITE_QUEUE: usize = 4;
/// Free space that is left alone, in bytes.
pub const DISK_RESERVE: u64 = 64 << 20;
/// Interval between attempts to write while the disk is full.
pub const DISK_FULL_RETRY: Duration = Duration::from_secs(5);
/// Files of a directory held open at once while its chunks are read or written.
pub const OPEN_FILES: usize = 64;
/// Folders for which the store remembers which files of one directory it put there: a person keeps a
/// directory at a few places.
pub const LAID_FOLDERS: usize = 16;
/// Files in which the bytes of one file are looked for before a peer is asked: each costs a read and a hash.
pub const SOURCES: usize = 4;
/// Directories of the store whose manifests are read to find files with the same bytes: each may be 8 MiB.
pub const SOURCE_TREES: usize = 64;
/// Chunks that are put together from local files at a time.
pub const SOURCE_CHUNKS: usize = 16;
/// Detached downloads of a node: as many as commands may wait at it. Each is a small file.
pub const DETACHED: usize = 2000;
/// Longest description of a detached download on the disk, in bytes: a link, a path and some patterns.
pub const DETACHED_BYTES: usize = 64 << 10;
/// Pause after the first failure of a detached download. It doubles up to [`DETACHED_RETRY_MOST`].
pub const DETACHED_RETRY: Duration = Duration::from_secs(5);
/// Longest pause between two attempts at a detached download.
pub const DETACHED_RETRY_MOST: Duration = Duration::from_secs(900);
