//! The directory manifest: names, sizes and ids of everything in a directory, in one canonical run of bytes.
//!
//! A directory is fetched as two blobs: the manifest, whose [`id_of`] names the directory, and the *payload*, the plain
//! concatenation of its regular files in the order of the entries. Chunks run over the payload, so small files share
//! them. Parent directories are implied by the paths under them; only a directory with nothing in it has an entry.
//!
//! # Bytes
//!
//! `varint` is an unsigned LEB128 (seven bits a byte, the lowest first, the high bit set on all but the last byte) of at
//! most 64 bits and in its shortest form.
//!
//! | field | bytes | |
//! |---|---|---|
//! | magic | 8 | `swarmdir` |
//! | version | 1 | 1 |
//! | flags | 1 | bit 0: made with `--unix-names` ([`Rules::Unix`]); the others are 0 |
//! | payload | 32 | BLAKE3 of the payload |
//! | payload length | varint | bytes; the sum of the files' sizes |
//! | entries | varint | how many follow |
//!
//! then each entry, strictly ascending by the bytes of its path:
//!
//! | field | bytes | |
//! |---|---|---|
//! | shared | varint | how many bytes the path has in common with the one before (0 for the first): all of them |
//! | rest length | varint | |
//! | rest | rest length | what the path has beyond those |
//! | kind | 1 | 0 file, 1 executable file, 2 empty directory, 3 symlink |
//! | size, id | varint, 32 | files only: bytes, BLAKE3; an empty file has the id of no bytes |
//! | target length, target | varint, target length | symlinks only |
//!
//! and nothing after the last. Every manifest thus has exactly one encoding, and [`Manifest::decode`] takes no other.
//! An entry costs about 5 bytes, its id, and the part of the path that is new: 100,000 files fit as long as that part
//! has no more than 44 bytes on average (file names of software trees have 10 to 20).
//!
//! # Limits
//!
//! [`MANIFEST_BYTES`] encoded, [`MANIFEST_ENTRIES`] entries and again as many implied directories; the paths written out
//! and the targets together at most [`MANIFEST_BYTES`], since sharing would otherwise unfold 4 bytes into 1,024; sizes
//! and their sum at most [`FILE_BYTES`]; paths and targets as in [`super::path`]. Decoding checks everything in a first
//! pass that keeps 24 bytes a name, and builds entries only of a manifest that is good: less than 16 MiB in either.

mod check;
mod codec;

use super::path::{PathError, Rules, escape};
use crate::id::ContentId;
use crate::limits::{FILE_BYTES, MANIFEST_BYTES, MANIFEST_ENTRIES};
use check::Checker;
use codec::{EntryReader, Shape};

/// The BLAKE3 derive-key context of directory ids. It is part of the format and never changes.
pub const CONTEXT: &str = "swarm 2026-11 directory manifest v1";

/// The format this code writes and reads.
pub const VERSION: u8 = 1;

/// A directory. The fields are free to fill in; [`Manifest::encode`] is what refuses a bad one.
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
    /// What the names were held to.
    pub rules: Rules,
    /// BLAKE3 of all regular files' bytes, in the order of the entries.
    pub payload: ContentId,
    /// The length of those bytes: the sum of the files' sizes.
    pub payload_len: u64,
    /// Strictly ascending by the bytes of their paths.
    pub entries: Vec<ManifestEntry>,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Relative to the directory, components joined by `/`.
    pub path: String,
    /// What is there.
    pub kind: EntryKind,
}

/// What a path in a directory is. Nothing else exists: no hard links, devices, owners, or modes beyond one bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// BLAKE3 of them.
        id: ContentId,
        /// Whether it may be run.
        executable: bool,
    },
    /// A directory with nothing in it.
    EmptyDir,
    /// A relative symlink that stays inside the directory.
    Symlink {
        /// Where it points, from the directory it is in.
        target: String,
    },
}

/// Why there is no manifest: by whose fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Received bytes are not a manifest. Whoever made them is at fault (not who passed them on, if their hash is right).
    #[error("bad manifest: {0}")]
    Bad(Flaw),
    /// Received bytes are a manifest of a format that this version does not know: nobody's fault, an update helps.
    #[error("manifest of format version {found}, this swarm reads version {VERSION}: a newer swarm made it")]
    UnknownVersion {
        /// The version in the bytes.
        found: u8,
    },
    /// Our own directory cannot be described.
    #[error("this directory cannot be published: {0}")]
    Unpublishable(Flaw),
}

/// What is wrong with a manifest. Paths in here are shown through [`escape`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Longer than a manifest may be.
    #[error("{bytes} bytes, the limit is {MANIFEST_BYTES}")]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// Does not start as a manifest does.
    #[error("not a directory manifest")]
    Magic,
    /// A flag that version 1 does not have.
    #[error("unknown flags {flags:#04x}")]
    Flags {
        /// All flags.
        flags: u8,
    },
    /// Ends, or claims a length that would end, after the last byte.
    #[error("ends too early")]
    Truncated,
    /// Goes on after the last entry.
    #[error("{bytes} bytes after the end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// An integer over 64 bits or not in its shortest form.
    #[error("an integer is not in its shortest form")]
    Varint,
    /// A path that says it shares another number of bytes with the one before than it does.
    #[error("a path is not in its shortest form, after \"{}\"", escape(.after))]
    Shared {
        /// The path before it.
        after: String,
    },
    /// A kind of entry that does not exist.
    #[error("unknown kind {kind} of \"{}\"", escape(.path))]
    Kind {
        /// The entry.
        path: String,
        /// Its kind.
        kind: u8,
    },
    /// More entries than allowed.
    #[error("{entries} entries, the limit is {MANIFEST_ENTRIES}")]
    TooManyEntries {
        /// How many it has, or claims.
        entries: u64,
    },
    /// More implied directories than allowed.
    #[error("more than {MANIFEST_ENTRIES} directories")]
    TooManyDirectories,
    /// Paths and targets that are too long together.
    #[error("paths of more than {MANIFEST_BYTES} bytes together")]
    TooMuchText,
    /// A path or a symlink target against the policy.
    #[error("\"{}\": {error}", escape(.path))]
    Path {
        /// The entry, or as much of it as there is.
        path: String,
        /// The rule it breaks.
        error: PathError,
    },
    /// Paths that do not strictly ascend.
    #[error("out of order: \"{}\"", escape(.path))]
    Order {
        /// The one that is not greater than its predecessor.
        path: String,
    },
    /// A file over the size limit.
    #[error("{size} bytes, the limit is {FILE_BYTES}: \"{}\"", escape(.path))]
    FileSize {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// Files that are too large together.
    #[error("more than {FILE_BYTES} bytes of files")]
    TotalSize,
    /// A payload length that is not the sum of the sizes.
    #[error("payload of {claimed} bytes, but files of {sum}")]
    PayloadLength {
        /// What the manifest says.
        claimed: u64,
        /// What its files say.
        sum: u64,
    },
    /// Nothing to hash, and another id than that of no bytes.
    #[error("empty, but not by its id: \"{}\"", escape(.path))]
    EmptyId {
        /// The file, or an empty text for the payload.
        path: String,
    },
    /// Two names that some file system takes for one.
    #[error("the same name on some systems: \"{}\" and \"{}\"", escape(.first), escape(.second))]
    Twins {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A file or symlink with something below it.
    #[error("\"{}\" is no directory, but holds \"{}\"", escape(.parent), escape(.child))]
    NotADirectory {
        /// The file or symlink.
        parent: String,
        /// What is below it.
        child: String,
    },
    /// A directory listed as empty with something below it.
    #[error("\"{}\" is listed as empty, but holds \"{}\"", escape(.parent), escape(.child))]
    NotEmpty {
        /// The directory.
        parent: String,
        /// What is below it.
        child: String,
    },
}

/// The id of the directory with this encoded manifest.
#[must_use]
pub fn id_of(bytes: &[u8]) -> ContentId {
    ContentId::from_bytes(blake3::derive_key(CONTEXT, bytes))
}

impl Manifest {
    /// The one encoding of this directory, at most [`MANIFEST_BYTES`] bytes.
    ///
    /// # Errors
    /// [`ManifestError::Unpublishable`]: everything that [`Manifest::decode`] rejects is refused here already.
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
    /// [`ManifestError::Bad`] at the first thing that is wrong, [`ManifestError::UnknownVersion`] for a later format.
    /// There is no partial result: a manifest with one bad name is rejected whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if let Some(found) = codec::foreign_version(bytes) {
            return Err(ManifestError::UnknownVersion { found });
        }
        check::check_bytes(bytes).and_then(|()| Self::build(bytes)).map_err(ManifestError::Bad)
    }

    /// The regular files in order, each with its offset in the payload and its size, both in bytes.
    pub fn file_offsets(&self) -> impl Iterator<Item = (&ManifestEntry, u64, u64)> {
        let mut next = 0_u64;
        self.entries.iter().filter_map(move |entry| {
            let EntryKind::File { size, .. } = entry.kind else {
                return None;
            };
            let offset = next;
            // No manifest that was encoded or decoded gets near the end of u64.
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

    /// The second pass of decoding: nothing can fail any more, and every size is known to be true.
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
