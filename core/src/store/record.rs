//! The record of a blob: everything the store knows of it, and the file that holds it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::disk::{self, DiskError, Stamp};
use super::layout::Layout;
use crate::content::kind::ContentKind;
use crate::id::ContentId;
use crate::office::OfficeId;
use crate::options::Audience;

/// Place of a blob's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobLocation {
    /// The store.
    Store,
    /// A file outside the store, served in place.
    File {
        /// Absolute path of the file.
        #[serde(with = "super::exact_path")]
        path: PathBuf,
        /// Stamp of the file when it was hashed or put there.
        stamp: Stamp,
    },
    /// The files of a directory tree outside the store, end to end in the order of its manifest.
    Tree {
        /// Absolute path of the tree.
        #[serde(with = "super::exact_path")]
        root: PathBuf,
        /// Id of the directory, whose manifest names the files.
        dir: ContentId,
    },
    /// A hidden file or folder beside the destination of a download.
    Part {
        /// Absolute path of the hidden file or folder.
        #[serde(with = "super::exact_path")]
        staging: PathBuf,
        /// Absolute path of the destination.
        #[serde(with = "super::exact_path")]
        dest: PathBuf,
        /// Id of the directory, for a tree.
        dir: Option<ContentId>,
    },
}

/// A network in which content may be offered. Content of one network is not offered in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// The network of all nodes.
    Public,
    /// The private network of an office.
    Office(OfficeId),
}

/// State of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredState {
    /// Some chunks are missing; the have-map names the others.
    Partial,
    /// All bytes were verified.
    Complete,
    /// The source no longer has the bytes it was published with.
    Changed,
    /// The source is gone, or a part of it.
    Missing,
}

/// Everything the store knows of one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Id of the blob.
    pub id: ContentId,
    /// Kind of content that the id names.
    pub kind: ContentKind,
    /// Length in bytes; of a directory, that of its manifest.
    pub len: u64,
    /// Name that is offered to others.
    pub name: String,
    /// True if the blob was published here.
    pub origin: bool,
    /// Time when it was added, in seconds since 1970.
    pub added: u64,
    /// Place of the bytes.
    pub place: BlobLocation,
    /// State of the blob.
    pub state: StoredState,
    /// Blob of the files' bytes, for a directory whose manifest is here, or of the content, for a share.
    pub payload: Option<Payload>,
    /// Directory or share that this blob is the payload of.
    pub of: Option<ContentId>,
    /// Audience of the blob, if it has one of its own.
    pub audience: Option<Audience>,
    /// Seal of a share's content whose plain bytes are kept here.
    pub seal: Option<Seal>,
    /// Networks in which it may be offered, ascending; none if it belonged to an office that this node has
    /// left.
    pub domains: Vec<Domain>,
}

/// Parameters that turn the plain bytes of a share's content into the sealed bytes that others receive. The
/// key is in the folder of the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Length of the plain bytes.
    pub len: u64,
    /// Salt; [`crate::content::seal`] says how it is used.
    pub salt: [u8; 16],
}

/// The bytes of a directory's files, end to end, or those of a share's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Id of the blob.
    pub id: ContentId,
    /// Length in bytes; for a share's content, that of the plain bytes as far as it is known.
    pub len: u64,
    /// Count of files.
    pub files: u64,
}

const MAGIC: &[u8; 8] = b"swarmrc3";

impl Record {
    /// True if peers may fetch it here: a complete blob, or the part of a directory that is in place.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        match self.state {
            StoredState::Complete => true,
            StoredState::Partial => matches!(self.place, BlobLocation::Tree { .. }),
            StoredState::Changed | StoredState::Missing => false,
        }
    }

    /// True if its name is for this machine alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.kind == ContentKind::Share || self.seal.is_some()
    }

    /// True if the blob may be offered in this network.
    #[must_use]
    pub fn is_of(&self, domain: Domain) -> bool {
        self.domains.contains(&domain)
    }

    /// The office that the blob belongs to; `None` for public content.
    #[must_use]
    pub fn office(&self) -> Option<OfficeId> {
        self.domains.iter().find_map(|domain| match domain {
            Domain::Office(id) => Some(*id),
            Domain::Public => None,
        })
    }

    /// Length in bytes on the disk when complete.
    #[must_use]
    pub fn plain_len(&self) -> u64 {
        self.seal.map_or(self.len, |seal| seal.len)
    }

    /// The present time in seconds since 1970.
    #[must_use]
    pub fn now() -> u64 {
        std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs())
    }

    /// Encodes the record for the disk: magic, postcard, and the BLAKE3 of both.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_extend(self, MAGIC.to_vec()).unwrap_or_default();
        let hash = blake3::hash(&bytes);
        bytes.extend(hash.as_bytes());
        bytes
    }

    /// Decodes the result of [`Record::encode`]; `None` for anything else.
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
