//! What a node tells: progress and answers. One stream of these feeds bars, JSON lines and tests.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api::status::BanRow;
use crate::api::status::Diagnosis;
use crate::api::status::MemberRow;
use crate::api::status::OfficeRow;
use crate::api::status::PeerRow;
use crate::api::status::Progress;
use crate::api::status::SourceRow;
use crate::api::status::Status;
use crate::content::kind::ContentKind;
use crate::content::share::Hidden;
use crate::options::Audience;

/// One step of an answer. [`Event::is_final`] tells the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A publish or verify has read this much.
    Hashing {
        /// Bytes read.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Nobody is known to have it yet: what was tried. Sent every few seconds while that lasts.
    Searching {
        /// Milliseconds since the start.
        waited_ms: u64,
        /// One phrase per way of finding holders, with what it found: "LAN discovery: 2 nodes, none has it".
        tried: Vec<String>,
    },
    /// Its size and kind are now known and verified.
    Found(BlobRow),
    /// How far it is; a few times a second.
    Progress(Progress),
    /// For [`super::command::Destination::Store`]: the first `bytes` bytes of `path` are verified.
    Prefix {
        /// A file to read, not to write.
        path: PathBuf,
        /// Verified from the start.
        bytes: u64,
    },
    /// A peer was caught.
    Banned {
        /// Its peer id.
        peer: String,
        /// What it did.
        reason: String,
    },
    /// A content is shared by this process, for [`super::command::Command::Share`].
    Sharing {
        /// The process.
        pid: u32,
    },
    /// Something a person should know: the disk is full and the transfer waits, a source changed.
    Notice {
        /// A sentence; may hold names from a peer, so escape it on a terminal.
        text: String,
    },
    /// Final: published and served.
    Published(Published),
    /// Final: it is in place, flushed and verified.
    Done(Done),
    /// Final: the blobs of the store.
    Blobs {
        /// Sorted by name.
        blobs: Vec<BlobRow>,
    },
    /// Not final: a part of the entries of a directory, in order.
    Entries {
        /// Some entries.
        entries: Vec<EntryRow>,
    },
    /// Final: the entries before are all.
    EntriesEnd {
        /// How many there are.
        count: u64,
        /// Bytes of all files.
        len: u64,
    },
    /// Final: one blob.
    Info(Info),
    /// Final: forgotten.
    Removed {
        /// Its id.
        id: String,
        /// Bytes freed in the store.
        freed: u64,
    },
    /// Final: what reading everything again found.
    Verified(Verified),
    /// Final: what gc deleted (or would).
    Collected {
        /// Bytes.
        freed: u64,
        /// Ids and file names.
        removed: Vec<String>,
        /// Nothing was really deleted.
        dry_run: bool,
    },
    /// Final: the node at a glance.
    Status(Box<Status>),
    /// Final: connected and banned peers.
    Peers {
        /// Connected.
        peers: Vec<PeerRow>,
        /// Banned.
        banned: Vec<BanRow>,
    },
    /// Final: an office was founded.
    Founded {
        /// It.
        office: OfficeRow,
        /// Its root, to be written down.
        backup: Hidden,
    },
    /// Final: an invitation.
    Invited {
        /// To be handed on.
        code: Hidden,
        /// To which office.
        office: OfficeRow,
    },
    /// Final: offices.
    Offices {
        /// By name.
        offices: Vec<OfficeRow>,
    },
    /// Final: members of an office.
    Members {
        /// Of which.
        office: OfficeRow,
        /// By name.
        members: Vec<MemberRow>,
        /// How many members were connected and told, if there was something to tell.
        told: u32,
    },
    /// Final: what holds it up.
    Why(Diagnosis),
    /// Final: it did not work.
    Failed(Failure),
}

impl Event {
    /// Nothing follows this one.
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

/// One blob or directory as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRow {
    /// 64 hex digits.
    pub id: String,
    /// File or directory.
    pub kind: ContentKind,
    /// As offered or published; escape it on a terminal.
    pub name: String,
    /// Bytes of the file, or of all files of the directory.
    pub len: u64,
    /// Bytes verified here.
    pub have: u64,
    /// Chunks.
    pub chunks: u32,
    /// Files, for a directory.
    pub files: Option<u64>,
    /// `complete`, `partial`, `downloading`, `source changed`, `source missing`.
    pub state: String,
    /// A sentence on why it is not shared although it was whole, and what to type; escape it on a terminal.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Where the bytes are, if outside the store.
    pub path: Option<PathBuf>,
    /// Who may fetch it: in a listing, if that was said of it; of one blob, always.
    #[serde(default)]
    pub serve: Option<Audience>,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRow {
    /// Relative, with `/`; escape it on a terminal.
    pub path: String,
    /// `file`, `executable`, `directory` or `symlink`.
    pub kind: String,
    /// Bytes of a file.
    pub len: u64,
    /// Id of a file, target of a symlink.
    pub detail: Option<String>,
}

/// All that is known of one blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The listing's columns.
    #[serde(flatten)]
    pub blob: BlobRow,
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// A link with this node's addresses, when it is running on a network.
    pub link: Option<String>,
    /// Connected peers that hold some of it, in all networks of this node.
    pub holders: u32,
    /// The networks that it is of, where there is more than one; escape them on a terminal.
    #[serde(default)]
    pub networks: Vec<String>,
}

/// The answer to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The listing's columns.
    #[serde(flatten)]
    pub blob: BlobRow,
    /// With this node's addresses.
    pub link: String,
    /// Seconds it took, in thousandths.
    pub took_ms: u64,
    /// Things worth knowing (odd names that are allowed); escape them on a terminal.
    pub warnings: Vec<String>,
}

/// The answer to get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// 64 hex digits.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of it.
    pub len: u64,
    /// Bytes that were there before this run.
    pub resumed: u64,
    /// Milliseconds from command to done.
    pub took_ms: u64,
    /// Milliseconds from the first chunk asked for to the last one verified.
    pub transfer_ms: u64,
    /// Where this run's bytes came from.
    pub sources: Vec<SourceRow>,
    /// Bytes of it given to others during this run.
    pub uploaded: u64,
}

/// The answer to verify.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Blobs read.
    pub blobs: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Bad chunks, by blob id.
    pub bad: Vec<(String, u64)>,
    /// Chunks fetched again.
    pub repaired: u64,
}

/// Why something did not work; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// What was asked cannot be done as it was asked (exit 1).
    User,
    /// Nobody reachable has it (exit 3).
    NotFound,
    /// Bytes, a manifest or a source are not what they should be (exit 4).
    Verification,
    /// Holders were there but time ran out (exit 5).
    Timeout,
    /// The disk is full or not writable, or something on it broke (exit 6).
    Disk,
    /// The node that runs for the store does not answer (exit 7).
    NoAnswer,
    /// The node that runs for the store has as many commands as it takes (exit 8).
    Busy,
    /// The content itself is malformed: a hostile or broken manifest (exit 65).
    BadContent,
    /// It was stopped (exit 130).
    Interrupted,
}

/// The last event of something that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub fault: Fault,
    /// What was tried and what failed; may hold names from a peer.
    pub message: String,
    /// The next command to type, when there is one.
    pub hint: Option<String>,
}
