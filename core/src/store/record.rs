//! What the store knows of one blob, and the file that says so.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::disk::{self, DiskError, Stamp};
use super::layout::Layout;
use crate::content::tree::Kind;
use crate::id::ContentId;
use crate::office::OfficeId;
use crate::options::Audience;

/// Where a blob's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In the store.
    Store,
    /// In a file outside, served in place.
    File {
        /// Absolute.
        path: PathBuf,
        /// As it was when it was hashed or put there.
        stamp: Stamp,
    },
    /// In the files of a directory tree outside, end to end in the order of its manifest.
    Tree {
        /// Absolute.
        root: PathBuf,
        /// The directory's id: its manifest names the files.
        dir: ContentId,
    },
    /// Being fetched: in a hidden file or folder beside its destination.
    Part {
        /// The hidden one, absolute.
        staging: PathBuf,
        /// Where it will be.
        dest: PathBuf,
        /// For a tree: the directory's id.
        dir: Option<ContentId>,
    },
}

/// A network in which content may be offered. What is of one is not offered in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// That of all nodes.
    Public,
    /// The private one of an office.
    Office(OfficeId),
}

/// How far a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Some chunks are missing; the have-map says which are not.
    Partial,
    /// All bytes were verified.
    Complete,
    /// The source no longer has the bytes it was published with.
    Changed,
    /// The source is gone, or some of it.
    Missing,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: ContentId,
    /// What the id names.
    pub kind: Kind,
    /// Bytes (of a directory: of its manifest).
    pub len: u64,
    /// As offered to others.
    pub name: String,
    /// Published here.
    pub origin: bool,
    /// Seconds since 1970.
    pub added: u64,
    /// Where the bytes are.
    pub place: Place,
    /// How far it is.
    pub state: State,
    /// For a directory whose manifest is here: the blob of its files' bytes, and how many.
    pub payload: Option<Payload>,
    /// For such a blob: the directory.
    pub of: Option<ContentId>,
    /// Who may fetch it, if that was said of it.
    pub audience: Option<Audience>,
    /// For the content of a share whose plain bytes are kept here: what they are sealed with, beside the key.
    pub seal: Option<Seal>,
    /// Where it may be offered, ascending; nowhere, if it was of an office that this node has left.
    pub domains: Vec<Domain>,
}

/// How the plain bytes of a share's content become what others are given. The key is in the folder of the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Plain bytes.
    pub len: u64,
    /// See [`crate::content::seal`].
    pub salt: [u8; 16],
}

/// The bytes of a directory's files, end to end, or those of a share's content (then `len` is that of the plain bytes, as far
/// as they are known).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Their id.
    pub id: ContentId,
    /// Bytes.
    pub len: u64,
    /// Files.
    pub files: u64,
}

const MAGIC: &[u8; 8] = b"swarmrc3";

impl Record {
    /// It can be had of us: all of it, or the part of a directory that is in place.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        match self.state {
            State::Complete => true,
            State::Partial => matches!(self.place, Place::Tree { .. }),
            State::Changed | State::Missing => false,
        }
    }

    /// Its name is for this machine alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.kind == Kind::Share || self.seal.is_some()
    }

    /// It may be offered there.
    #[must_use]
    pub fn is_of(&self, domain: Domain) -> bool {
        self.domains.contains(&domain)
    }

    /// The office it is of; none if it is for all.
    #[must_use]
    pub fn office(&self) -> Option<OfficeId> {
        self.domains.iter().find_map(|domain| match domain {
            Domain::Office(id) => Some(*id),
            Domain::Public => None,
        })
    }

    /// Bytes on disk when it is whole.
    #[must_use]
    pub fn plain_len(&self) -> u64 {
        self.seal.map_or(self.len, |seal| seal.len)
    }

    /// Now, as [`Record::added`] counts.
    #[must_use]
    pub fn now() -> u64 {
        std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs())
    }

    /// As stored: magic, postcard, and the BLAKE3 of both.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_extend(self, MAGIC.to_vec()).unwrap_or_default();
        let hash = blake3::hash(&bytes);
        bytes.extend(hash.as_bytes());
        bytes
    }

    /// `None` for anything but what [`Record::encode`] made.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        let value = body.strip_prefix(MAGIC)?;
        (blake3::hash(body) == *hash).then(|| postcard::from_bytes(value).ok()).flatten()
    }

    pub(super) fn save(&self, layout: &Layout) -> Result<(), DiskError> {
        let dir = layout.blob_dir(self.id);
        disk::create_dir_all(&dir)?;
        disk::write_atomic(&dir.join("info"), &self.encode(), 0o600)
    }
}
