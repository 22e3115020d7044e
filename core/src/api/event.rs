//! Events of a node: progress and answers. One stream of them feeds bars, JSON lines and tests.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::status::{
    BanRow, DetachedRow, Diagnosis, MemberRow, OfficeRow, PeerRow, Progress, SourceRow, Status,
};
use crate::content::kind::ContentKind;
use crate::content::share::Hidden;
use crate::options::Audience;

/// One step of an answer. [`Event::is_final`] tells the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A publish or a verification has read this much.
    Hashing {
        /// Bytes read.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// No holder is known yet. Sent every few seconds while that lasts.
    Searching {
        /// Milliseconds since the start.
        waited_ms: u64,
        /// One phrase for each way of finding holders, with its result: "LAN discovery: 2 nodes, none has
        /// it".
        tried: Vec<String>,
    },
    /// The size and kind of the content are known and verified.
    Found(BlobRow),
    /// A transfer has come this far. Sent a few times a second.
    Progress(Progress),
    /// For [`Destination::Store`](super::command::Destination::Store): the first `bytes` bytes of `path` are
    /// verified.
    Prefix {
        /// File to read, not to write.
        #[serde(with = "crate::store::exact_path")]
        path: PathBuf,
        /// Verified bytes from the start.
        bytes: u64,
    },
    /// A peer was banned.
    Banned {
        /// Peer id.
        peer: String,
        /// The peer's offence, in words.
        reason: String,
    },
    /// For [`Command::Share`](super::command::Command::Share): the contents are shared from now on.
    Sharing {
        /// Process id of the node.
        pid: u32,
    },
    /// A sentence for people: the disk is full and the transfer waits, a source changed.
    Notice {
        /// The sentence. It may hold names from a peer: escape it on a terminal.
        text: String,
    },
    /// Final: the content is published and served.
    Published(Published),
    /// Final: the content is in place, flushed and verified.
    Done(Done),
    /// Final: the blobs of the store.
    Blobs {
        /// Rows, sorted by name.
        blobs: Vec<BlobRow>,
    },
    /// Not final: some of the entries of a directory, in order.
    Entries {
        /// The next entries.
        entries: Vec<EntryRow>,
    },
    /// Final: all entries of the directory were sent.
    EntriesEnd {
        /// Number of entries.
        count: u64,
        /// Bytes of all files.
        len: u64,
    },
    /// Final: description of one blob.
    Info(Info),
    /// Final: a blob was removed.
    Removed {
        /// Id of the blob, 64 hex digits.
        id: String,
        /// Bytes freed in the store.
        freed: u64,
    },
    /// Final: result of a verification.
    Verified(Verified),
    /// Final: files that the garbage collection deleted, or would delete.
    Collected {
        /// Bytes freed, or that would be freed.
        freed: u64,
        /// Ids and file names.
        removed: Vec<String>,
        /// True if nothing was deleted.
        dry_run: bool,
    },
    /// Final: a download is detached.
    Detached(DetachedRow),
    /// Final: detached downloads were ended.
    Stopped {
        /// Id of the content, 64 hex digits.
        id: String,
        /// Number of downloads that were ended: one for each destination.
        downloads: u32,
    },
    /// Final: the state of the node.
    Status(Box<Status>),
    /// Final: connected and banned peers.
    Peers {
        /// Connected peers.
        peers: Vec<PeerRow>,
        /// Banned peers.
        banned: Vec<BanRow>,
    },
    /// Final: an office was founded.
    Founded {
        /// The new office.
        office: OfficeRow,
        /// Backup of its root, to be written down.
        backup: Hidden,
    },
    /// Final: an invitation.
    Invited {
        /// The code to hand on.
        code: Hidden,
        /// The office that it invites to.
        office: OfficeRow,
    },
    /// Final: offices.
    Offices {
        /// Rows, sorted by name.
        offices: Vec<OfficeRow>,
    },
    /// Final: members of an office.
    Members {
        /// The office.
        office: OfficeRow,
        /// Rows, sorted by name.
        members: Vec<MemberRow>,
        /// Number of connected members that were told of the change, if there was one.
        told: u32,
    },
    /// Final: why a download waits or is slow.
    Why(Diagnosis),
    /// Final: the command failed.
    Failed(Failure),
}

impl Event {
    /// Returns true if no event follows this one.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Hashing { .. }
                | Self::Searching { .. }
                | Self::Found(_)
                | Self::Progress(_)
                | Self::Prefix { .. }
                | Self::Banned { .. }
                | Self::Sharing { .. }
                | Self::Notice { .. }
                | Self::Entries { .. }
        )
    }
}

/// A blob or directory as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BlobRow {
    /// 64 hex digits.
    pub id: String,
    /// Kind of content.
    pub kind: ContentKind,
    /// Name as offered or published; escape it on a terminal.
    pub name: String,
    /// Bytes of the file, or of all files of the directory.
    pub len: u64,
    /// Verified bytes that are here.
    pub have: u64,
    /// Number of chunks.
    pub chunks: u32,
    /// For a directory: number of files.
    pub files: Option<u64>,
    /// How much of the blob is here and usable.
    pub state: BlobState,
    /// Sentence on why a blob that was complete is not shared now, with the command that helps; escape it on
    /// a terminal.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Place of the bytes, if outside the store.
    #[serde(with = "crate::store::exact_path::option", default)]
    pub path: Option<PathBuf>,
    /// Audience of the blob. In a listing only if one was set; in an [`Info`] always.
    #[serde(default)]
    pub serve: Option<Audience>,
}

/// How much of a blob is here and usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobState {
    /// All chunks are here.
    Complete,
    /// Some chunks are here, and no job is fetching the others.
    Partial,
    /// A job is fetching the blob.
    Downloading,
    /// A file that is served in place was changed.
    #[serde(rename = "source changed")]
    SourceChanged,
    /// A file that is served in place is gone.
    #[serde(rename = "source missing")]
    SourceMissing,
}

impl BlobState {
    /// Name in JSON and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Downloading => "downloading",
            Self::SourceChanged => "source changed",
            Self::SourceMissing => "source missing",
        }
    }
}

impl fmt::Display for BlobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EntryRow {
    /// Relative path with `/`; escape it on a terminal.
    pub path: String,
    /// Type of the entry.
    pub kind: EntryType,
    /// For a file: its bytes.
    pub len: u64,
    /// Id of a file, target of a symbolic link.
    pub detail: Option<String>,
}

/// Type of an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryType {
    /// A file.
    File,
    /// A file that may be executed.
    Executable,
    /// A directory without entries.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl EntryType {
    /// Name in JSON and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Executable => "executable",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
        }
    }

    /// Returns true for files, executable or not.
    #[must_use]
    pub const fn is_file(self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }
}

impl fmt::Display for EntryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Description of one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// The row of the listing.
    #[serde(flatten)]
    pub blob: BlobRow,
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// Link with the addresses of this node; `None` if the node is offline.
    pub link: Option<String>,
    /// Connected peers that hold some of it, in all networks of this node.
    pub holders: u32,
    /// Networks that the blob belongs to, if the node has several; escape them on a terminal.
    #[serde(default)]
    pub networks: Vec<String>,
}

/// Answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Published {
    /// The row of the listing.
    #[serde(flatten)]
    pub blob: BlobRow,
    /// Link with the addresses of this node.
    pub link: String,
    /// Milliseconds that the publish took.
    pub took_ms: u64,
    /// Sentences worth knowing, such as odd names that are allowed; escape them on a terminal.
    pub warnings: Vec<String>,
}

/// Answer to a get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Done {
    /// 64 hex digits.
    pub id: String,
    /// Place of the content.
    #[serde(with = "crate::store::exact_path")]
    pub path: PathBuf,
    /// Bytes of the content.
    pub len: u64,
    /// Bytes that were here before this job.
    pub resumed: u64,
    /// Milliseconds from the command to the end.
    pub took_ms: u64,
    /// Milliseconds from the first chunk requested to the last one verified.
    pub transfer_ms: u64,
    /// Peers that this job's bytes came from.
    pub sources: Vec<SourceRow>,
    /// Bytes that this node gave to other peers during this job.
    pub uploaded: u64,
}

/// Answer to a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verified {
    /// Blobs read.
    pub blobs: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Blobs with bad chunks: id and number of bad chunks.
    pub bad: Vec<(String, u64)>,
    /// Chunks fetched again.
    pub repaired: u64,
}

/// Kind of a failure; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The request cannot be carried out as it was made (exit code 1).
    User,
    /// No reachable node has the content (exit code 3).
    NotFound,
    /// Bytes, a manifest or a source do not match their hash (exit code 4).
    Verification,
    /// Time ran out although holders were there (exit code 5).
    Timeout,
    /// The disk is full, not writable or broken (exit code 6).
    Disk,
    /// The node that runs for the store does not answer (exit code 7).
    NoAnswer,
    /// The node that runs for the store has as many commands as it takes (exit code 8).
    Busy,
    /// The content is malformed: a hostile or broken manifest (exit code 65).
    BadContent,
    /// The job was stopped (exit code 130).
    Interrupted,
}

impl Fault {
    /// Exit code of a program that ends with this kind of failure.
    ///
    /// ```
    /// use swarm_core::Fault;
    ///
    /// assert_eq!(Fault::Timeout.exit_code(), 5);
    /// ```
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::NotFound => 3,
            Self::Verification => 4,
            Self::Timeout => 5,
            Self::Disk => 6,
            Self::NoAnswer => 7,
            Self::Busy => 8,
            Self::BadContent => 65,
            Self::Interrupted => 130,
        }
    }
}

/// Failure of a job: the last event of a command that did not work.
///
/// ```
/// use swarm_core::{Failure, Fault};
///
/// let failure = Failure::new(Fault::Disk, "the disk is full").hint("delete something");
/// assert_eq!(failure.to_string(), "the disk is full");
/// assert_eq!(failure.fault.exit_code(), 6);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Failure {
    /// Kind of the failure.
    pub fault: Fault,
    /// The attempt and its failure, in words; may hold names from a peer.
    pub message: String,
    /// The command to type next, if there is one.
    pub hint: Option<String>,
}

impl Failure {
    /// Returns a failure without a hint.
    #[must_use]
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None }
    }

    /// Adds the command to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_states_are_those_of_the_json() {
        use BlobState::*;
        for state in [Complete, Partial, Downloading, SourceChanged, SourceMissing] {
            assert_eq!(serde_json::to_value(state).expect("plain"), state.name());
        }
        for kind in [EntryType::File, EntryType::Executable, EntryType::Directory, EntryType::Symlink] {
            assert_eq!(serde_json::to_value(kind).expect("plain"), kind.name());
        }
    }
}
