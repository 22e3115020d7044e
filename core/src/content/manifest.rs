//! The directory manifest: names, sizes and ids of everything in a directory, in one canonical run of bytes.
//!
//! A directory is fetched as two blobs: the manifest, whose [`id_of`] names the directory, and the *payload*,
//! the plain concatenation of its regular files in the order of the entries. Chunks run over the payload, so
//! small files share them. Parent directories are implied by the paths under them; only an empty directory
//! has an entry.
//!
//! # Bytes
//!
//! `varint` is an unsigned LEB128 (seven bits a byte, the lowest first, the high bit set on all but the last
//! byte) of at most 64 bits and in its shortest form.
//!
//! | field | bytes | |
//! |---|---|---|
//! | magic | 8 | `swarmdir` |
//! | version | 1 | 1 |
//! | flags | 1 | bit 0: made with `--unix-names` ([`Rules::Unix`]); the others are 0 |
//! | payload | 32 | BLAKE3 of the payload |
//! | payload length | varint | bytes; the sum of the files' sizes |
//! | entries | varint | the number of entries that follow |
//!
//! Then come the entries, strictly ascending by the bytes of their paths:
//!
//! | field | bytes | |
//! |---|---|---|
//! | shared | varint | all bytes that the path has in common with the one before; 0 for the first |
//! | rest length | varint | |
//! | rest | rest length | the path beyond the shared bytes |
//! | kind | 1 | 0 file, 1 executable file, 2 empty directory, 3 symlink |
//! | size, id | varint, 32 | files only: bytes, BLAKE3; an empty file has the id of no bytes |
//! | target length, target | varint, target length | symlinks only |
//!
//! Nothing follows the last entry. Every manifest thus has exactly one encoding, and [`Manifest::decode`]
//! accepts no other. An entry costs about 5 bytes, its id, and the new part of the path: 100,000 files fit as
//! long as that part has no more than 44 bytes on average (file names of software trees have 10 to 20).
//!
//! # Limits
//!
//! A manifest has at most [`MANIFEST_BYTES`] encoded, [`MANIFEST_ENTRIES`] entries and again as many implied
//! directories. The paths written out and the targets have together at most [`MANIFEST_BYTES`], because
//! sharing would otherwise unfold 4 bytes into 1,024. Sizes and their sum are at most [`FILE_BYTES`]; paths
//! and targets obey [`super::path`]. Decoding checks everything in a first pass that keeps 24 bytes for each
//! name, and builds entries only of a good manifest: less than 16 MiB in either pass.

mod check;
mod codec;

use super::path::{PathError, Rules, escape};
use crate::id::ContentId;
use crate::limits::{FILE_BYTES, MANIFEST_BYTES, MANIFEST_ENTRIES};
use check::Checker;
use codec::{EntryReader, Shape};

/// The BLAKE3 derive-key context of directory ids. It is part of the format and never changes.
pub const CONTEXT: &str = "swarm 2026-11 directory manifest v1";

/// The version of the format that this code reads and writes.
pub const VERSION: u8 = 1;

/// A directory. The fields can be filled in freely; [`Manifest::encode`] refuses a bad manifest.
///
/// ```
/// use swarm_core::ContentId;
/// use swarm_core::content::manifest::{EntryKind, Manifest, ManifestEntry, id_of};
/// use swarm_core::content::path::Rules;
///
/// let id = ContentId::from(blake3::hash(b"hello"));
/// let kind = EntryKind::File { size: 5, id, executable: false };
/// let manifest = Manifest {
///     rules: Rules::Portable,
///     payload: id,
///     payload_len: 5,
///     entries: vec![ManifestEntry { path: "notes/hello.txt".to_owned(), kind }],
/// };
/// let bytes = manifest.encode()?;
/// assert_eq!(Manifest::decode(&bytes)?, manifest);
/// // A directory is named by a hash of its own mode, so that no file can have its id.
/// assert_ne!(id_of(&bytes), ContentId::from(blake3::hash(&bytes)));
/// # Ok::<(), swarm_core::content::manifest::ManifestError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The rules that the names obey.
    pub rules: Rules,
    /// The BLAKE3 of all regular files' bytes, in the order of the entries.
    pub payload: ContentId,
    /// The length of those bytes: the sum of the files' sizes.
    pub payload_len: u64,
    /// The entries, strictly ascending by the bytes of their paths.
    pub entries: Vec<ManifestEntry>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The path relative to the directory, components joined by `/`.
    pub path: String,
    /// The kind of the entry.
    pub kind: EntryKind,
}

/// The kind of an entry. There are no others: no hard links, devices, owners, or modes beyond one bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// The size in bytes.
        size: u64,
        /// The BLAKE3 of the file's bytes.
        id: ContentId,
        /// True if the file may be run.
        executable: bool,
    },
    /// A directory with nothing in it.
    EmptyDir,
    /// A relative symlink that stays inside the directory.
    Symlink {
        /// The target, relative to the directory that contains the symlink.
        target: String,
    },
}

/// The reason why there is no manifest, which tells who is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Received bytes are not a manifest. Their maker is at fault, not the peer that passed them on, if their
    /// hash is right.
    #[error("bad manifest: {0}")]
    Bad(Flaw),
    /// Received bytes are a manifest of a format that this version does not know. Nobody is at fault, and an
    /// update helps.
    #[error("manifest of format version {found}, this swarm reads version {VERSION}: a newer swarm made it")]
    UnknownVersion {
        /// The version in the bytes.
        found: u8,
    },
    /// A directory of this machine cannot be described.
    #[error("this directory cannot be published: {0}")]
    Unpublishable(Flaw),
}

/// A flaw of a manifest. Its message shows paths through [`escape`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The manifest is longer than [`MANIFEST_BYTES`].
    #[error("{bytes} bytes, the limit is {MANIFEST_BYTES}")]
    TooLarge {
        /// The length of the manifest in bytes.
        bytes: usize,
    },
    /// The bytes do not start as a manifest does.
    #[error("not a directory manifest")]
    Magic,
    /// A flag is set that version 1 does not have.
    #[error("unknown flags {flags:#04x}")]
    Flags {
        /// All flags.
        flags: u8,
    },
    /// The bytes end too early, or a length points beyond their end.
    #[error("ends too early")]
    Truncated,
    /// Bytes follow the last entry.
    #[error("{bytes} bytes after the end")]
    TrailingBytes {
        /// The number of bytes.
        bytes: usize,
    },
    /// An integer has over 64 bits or is not in its shortest form.
    #[error("an integer is not in its shortest form")]
    Varint,
    /// A path does not share all bytes that it has in common with the path before, or claims to share more.
    #[error("a path is not in its shortest form, after \"{}\"", escape(.after))]
    Shared {
        /// The path before the flawed one.
        after: String,
    },
    /// An entry has a kind that does not exist.
    #[error("unknown kind {kind} of \"{}\"", escape(.path))]
    Kind {
        /// The path of the entry.
        path: String,
        /// The number of the kind.
        kind: u8,
    },
    /// There are more than [`MANIFEST_ENTRIES`] entries.
    #[error("{entries} entries, the limit is {MANIFEST_ENTRIES}")]
    TooManyEntries {
        /// The number of entries that the manifest has or claims.
        entries: u64,
    },
    /// The paths imply more than [`MANIFEST_ENTRIES`] directories.
    #[error("more than {MANIFEST_ENTRIES} directories")]
    TooManyDirectories,
    /// Paths and targets are too long together.
    #[error("paths of more than {MANIFEST_BYTES} bytes together")]
    TooMuchText,
    /// A path or a symlink target breaks the policy.
    #[error("\"{}\": {error}", escape(.path))]
    Path {
        /// The path of the entry, or the known part of it.
        path: String,
        /// The rule that the path breaks.
        error: PathError,
    },
    /// Paths do not strictly ascend.
    #[error("out of order: \"{}\"", escape(.path))]
    Order {
        /// The path that is not greater than its predecessor.
        path: String,
    },
    /// A file is over the size limit.
    #[error("{size} bytes, the limit is {FILE_BYTES}: \"{}\"", escape(.path))]
    FileSize {
        /// The path of the file.
        path: String,
        /// The size of the file in bytes.
        size: u64,
    },
    /// The files are too large together.
    #[error("more than {FILE_BYTES} bytes of files")]
    TotalSize,
    /// The payload length is not the sum of the sizes.
    #[error("payload of {claimed} bytes, but files of {sum}")]
    PayloadLength {
        /// The length that the manifest says.
        claimed: u64,
        /// The sum of the files' sizes.
        sum: u64,
    },
    /// A file or payload without bytes has another id than that of no bytes.
    #[error("empty, but not by its id: \"{}\"", escape(.path))]
    EmptyId {
        /// The path of the file, or an empty text for the payload.
        path: String,
    },
    /// Some file system takes two names for one.
    #[error("the same name on some systems: \"{}\" and \"{}\"", escape(.first), escape(.second))]
    Twins {
        /// One of the two names.
        first: String,
        /// The other name.
        second: String,
    },
    /// A file or symlink has something below it.
    #[error("\"{}\" is no directory, but holds \"{}\"", escape(.parent), escape(.child))]
    NotADirectory {
        /// The path of the file or symlink.
        parent: String,
        /// A path below the file or symlink.
        child: String,
    },
    /// A directory is listed as empty but has something below it.
    #[error("\"{}\" is listed as empty, but holds \"{}\"", escape(.parent), escape(.child))]
    NotEmpty {
        /// The path of the directory.
        parent: String,
        /// A path below the directory.
        child: String,
    },
}

/// Returns the id of the directory with this encoded manifest.
#[must_use]
pub fn id_of(bytes: &[u8]) -> ContentId {
    ContentId::from_bytes(blake3::derive_key(CONTEXT, bytes))
}

impl Manifest {
    /// Returns the only encoding of this directory, at most [`MANIFEST_BYTES`] bytes.
    ///
    /// # Errors
    /// [`ManifestError::Unpublishable`] for everything that [`Manifest::decode`] rejects.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        self.check().map_err(ManifestError::Unpublishable)?;
        let bytes = codec::write(self);
        if bytes.len() > MANIFEST_BYTES {
            return Err(ManifestError::Unpublishable(Flaw::TooLarge { bytes: bytes.len() }));
        }
        Ok(bytes)
    }

    /// Reads a manifest that anybody may have made.
    ///
    /// # Errors
    /// [`ManifestError::Bad`] at the first flaw, [`ManifestError::UnknownVersion`] for a later format. There
    /// is no partial result: a manifest with one bad name is rejected whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if let Some(found) = codec::foreign_version(bytes) {
            return Err(ManifestError::UnknownVersion { found });
        }
        check::check_bytes(bytes).and_then(|()| Self::build(bytes)).map_err(ManifestError::Bad)
    }

    /// Returns the regular files in order, each with its offset in the payload and its size, both in bytes.
    pub fn file_offsets(&self) -> impl Iterator<Item = (&ManifestEntry, u64, u64)> {
        let mut next = 0_u64;
        self.entries.iter().filter_map(move |entry| {
            let EntryKind::File { size, .. } = entry.kind else {
                return None;
            };
            let offset = next;
            // The sums of encoded and decoded manifests are far below `u64::MAX`.
            next = next.saturating_add(size);
            Some((entry, offset, size))
        })
    }

    fn check(&self) -> Result<(), Flaw> {
        if self.entries.len() > MANIFEST_ENTRIES {
            return Err(Flaw::TooManyEntries { entries: self.entries.len() as u64 });
        }
        let mut checker = Checker::new(self.rules);
        for entry in &self.entries {
            checker.entry(&entry.path, Shape::from(&entry.kind))?;
        }
        checker.totals(self.payload_len, &self.payload)?;
        checker.clash().map_or(Ok(()), |clash| {
            Err(clash.flaw(|index| {
                self.entries.get(index).map(|entry| (entry.path.clone(), entry.kind == EntryKind::EmptyDir))
            }))
        })
    }

    /// Builds the entries in the second pass of decoding. Nothing can fail any more, and every size is known
    /// to be true.
    fn build(bytes: &[u8]) -> Result<Self, Flaw> {
        let (head, mut reader) = EntryReader::open(bytes)?;
        let mut entries = Vec::with_capacity(head.entries);
        while let Some(shape) = reader.next()? {
            entries.push(ManifestEntry { path: reader.path()?.to_owned(), kind: shape.into() });
        }
        Ok(Self { rules: head.rules, payload: head.payload, payload_len: head.payload_len, entries })
    }
}

#[cfg(test)]
#[path = "manifest_bomb_tests.rs"]
mod bomb_tests;
#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
