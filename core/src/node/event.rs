//! What a node tells: progress and answers. One stream of these feeds bars, JSON lines and tests.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::content::share::Hidden;
use crate::content::tree::Kind;
use crate::office::certificate::Role;
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
    Found(Blob),
    /// How far it is; a few times a second.
    Progress(Progress),
    /// For [`super::command::Output::Store`]: the first `bytes` bytes of `path` are verified.
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
        blobs: Vec<Blob>,
    },
    /// Not final: a part of the entries of a directory, in order.
    Entries {
        /// Some entries.
        entries: Vec<Entry>,
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
        peers: Vec<Peer>,
        /// Banned.
        banned: Vec<Ban>,
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
    Why(Why),
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
pub struct Blob {
    /// 64 hex digits.
    pub id: String,
    /// File or directory.
    pub kind: Kind,
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
pub struct Entry {
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
    pub blob: Blob,
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

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes verified, with what was there before.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes per second, smoothed.
    pub rate: u64,
    /// Seconds left at that rate.
    pub eta: Option<u64>,
    /// Connected peers that hold some of it.
    pub holders: u32,
    /// Where this run's bytes came from, so far.
    pub sources: Vec<Source>,
}

/// What one peer gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its peer id.
    pub peer: String,
    /// It published the content (by its own word).
    pub publisher: bool,
    /// How near it is.
    pub class: Class,
    /// Verified bytes.
    pub bytes: u64,
}

/// How near a peer is, from its address and its site's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// This machine.
    Host,
    /// The same network: private or link-local addresses.
    Lan,
    /// Another network of our site, as it was named.
    Site,
    /// Elsewhere.
    Wan,
}

/// The answer to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The listing's columns.
    #[serde(flatten)]
    pub blob: Blob,
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
    pub sources: Vec<Source>,
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

/// The node at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// A node is running for this folder; otherwise this is what its store says, and all else is empty.
    pub running: bool,
    /// Its peer id.
    pub peer: String,
    /// Process id.
    pub pid: u32,
    /// Version of swarm.
    pub version: String,
    /// Its folder.
    pub home: PathBuf,
    /// Seconds since start.
    pub uptime: u64,
    /// Addresses it listens on.
    pub listen: Vec<String>,
    /// Connected peers.
    pub peers: u32,
    /// How others reach it.
    #[serde(default)]
    pub reached: String,
    /// What the router says that was asked to let others in.
    #[serde(default)]
    pub router: Option<String>,
    /// Trackers.
    #[serde(default)]
    pub trackers: Vec<Tracker>,
    /// How it takes part in the DHT; none while it knows nobody there.
    #[serde(default)]
    pub dht: Option<String>,
    /// Where it is a server of the DHT.
    #[serde(default)]
    pub dht_serves: Vec<String>,
    /// Who may fetch what nothing was said of.
    #[serde(default)]
    pub serve: Audience,
    /// What is whole here, and who may fetch it; as many as are shown at once.
    #[serde(default)]
    pub shared: Vec<Shared>,
    /// The offices it is of.
    #[serde(default)]
    pub offices: Vec<OfficeRow>,
    /// Complete and partial blobs.
    pub blobs: u64,
    /// Bytes the store holds itself.
    pub stored: u64,
    /// Bytes sent and received since start, payload.
    pub uploaded: u64,
    /// See `uploaded`.
    pub downloaded: u64,
    /// Running transfers.
    pub transfers: Vec<Transfer>,
    /// Connections and frames refused, by reason.
    pub refused: Vec<(String, u64)>,
    /// Banned peers.
    pub banned: Vec<Ban>,
    /// Bans of this node by others, by their own word.
    #[serde(default)]
    pub banned_by: Vec<Ban>,
    /// Sentences on what is wrong: disk full, low file limit.
    pub notices: Vec<String>,
    /// What may be sent and received at present.
    pub limits: Limits,
}

/// A private network that a node is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficeRow {
    /// 64 hex digits.
    pub id: String,
    /// What people call it; escape it on a terminal.
    pub name: String,
    /// This node's key there.
    pub node: String,
    /// Its peer id there.
    pub peer: String,
    /// What it is called there.
    pub called: String,
    /// What it may do there.
    pub role: Role,
    /// Until when its certificate holds, seconds since 1970.
    pub expires: u64,
    /// The root's key is here (locked).
    pub root: bool,
    /// Where it listens for members.
    pub listen: Vec<String>,
    /// Members it is connected to.
    pub connected: u32,
    /// Members it knows of, itself among them.
    pub members: u32,
    /// How many may still join by invitations of this node.
    #[serde(default)]
    pub invited: u32,
    /// How often the secret was changed.
    pub epoch: u32,
    /// What is wrong.
    pub trouble: Option<String>,
}

impl OfficeRow {
    /// One that is here and cannot be used.
    #[must_use]
    pub fn broken(id: String, name: String) -> Self {
        Self {
            id,
            name,
            node: String::new(),
            peer: String::new(),
            called: String::new(),
            role: Role::Member,
            expires: 0,
            root: false,
            listen: Vec::new(),
            connected: 0,
            members: 0,
            invited: 0,
            epoch: 0,
            trouble: Some("it cannot be used at present: the log of the node says why".to_owned()),
        }
    }
}

/// A member of an office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its key.
    pub node: String,
    /// What it is called; escape it on a terminal.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Until when its certificate holds, as far as is known, seconds since 1970.
    pub expires: u64,
    /// When it was last met.
    pub met: u64,
    /// It is connected.
    pub connected: bool,
    /// It had to leave.
    pub expelled: bool,
    /// It is this node.
    pub own: bool,
}

/// What may be had of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// 64 hex digits.
    pub id: String,
    /// As published or fetched; escape it on a terminal.
    pub name: String,
    /// Who may fetch it.
    pub serve: Audience,
    /// The offices that it is of.
    #[serde(default)]
    pub offices: Vec<String>,
    /// It is for others as well, or not of an office at all.
    #[serde(default)]
    pub public: bool,
    /// Of one office: the members that it is for, if not for all. None of them: who published it had to leave.
    #[serde(default)]
    pub members: Option<Vec<String>>,
}

/// What holds a download up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// What is fetched: of a directory, the id of its files' bytes.
    pub id: String,
    /// Sentences, the worst cause first.
    pub why: Vec<String>,
    /// What every way of finding holders found: a sentence each. May hold words of peers: escape it on a terminal.
    pub routes: Vec<String>,
}

/// A tracker and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracker {
    /// Its address.
    pub addr: String,
    /// What it knows of what is wanted, or why it does not answer.
    pub state: String,
}

/// What a node may send and receive at present, bytes per second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Sent at most.
    pub up: Option<u64>,
    /// Received at most.
    pub down: Option<u64>,
    /// The rule of the timetable that says so.
    pub rule: Option<String>,
    /// Everything else goes first.
    pub background: bool,
    /// What others leave of the way out, as far as that was measured.
    pub others_up: Option<u64>,
    /// And of the way in.
    pub others_down: Option<u64>,
    /// The queue in front of our link, microseconds, when there was traffic to measure it by.
    pub queue_us: Option<u64>,
}

/// A running download as status shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// 64 hex digits.
    pub id: String,
    /// As offered.
    pub name: String,
    /// `searching`, `downloading`, `disk full`, `finishing`.
    pub state: String,
    /// How far.
    pub progress: Progress,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its peer id.
    pub peer: String,
    /// Its address.
    pub addr: String,
    /// How near.
    pub class: Class,
    /// Its program and version, by its own word; escape it on a terminal.
    pub agent: String,
    /// Payload bytes from it.
    pub down: u64,
    /// Payload bytes to it.
    pub up: u64,
    /// Round trip, microseconds, when measured.
    pub rtt_us: Option<u64>,
    /// Bytes per second from it, smoothed.
    pub rate: u64,
}

/// A banned peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Its peer id.
    pub peer: String,
    /// What it did.
    pub reason: String,
    /// Seconds until it may come back.
    pub left: u64,
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
