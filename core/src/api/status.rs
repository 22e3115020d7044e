//! Rows that a node shows of itself: its state, transfers, peers, offices.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::distance::Distance;
pub use crate::exchange::{Progress, SourceRow};
use crate::office::certificate::Role;
use crate::options::Audience;

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
    pub trackers: Vec<TrackerRow>,
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
    pub shared: Vec<SharedRow>,
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
    pub banned: Vec<BanRow>,
    /// Bans of this node by others, by their own word.
    #[serde(default)]
    pub banned_by: Vec<BanRow>,
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
            trouble: Some("it cannot be used now: the log of the node says why".to_owned()),
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
pub struct SharedRow {
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
pub struct Diagnosis {
    /// What is fetched: of a directory, the id of its files' bytes.
    pub id: String,
    /// Sentences, the worst cause first.
    pub why: Vec<String>,
    /// What every way of finding holders found: a sentence each. May hold words of peers: escape it on a terminal.
    pub routes: Vec<String>,
}

/// A tracker and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerRow {
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
pub struct PeerRow {
    /// Its peer id.
    pub peer: String,
    /// Its address.
    pub addr: String,
    /// How near.
    pub class: Distance,
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
pub struct BanRow {
    /// Its peer id.
    pub peer: String,
    /// What it did.
    pub reason: String,
    /// Seconds until it may come back.
    pub left: u64,
}
