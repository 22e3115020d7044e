//! Rows of a node's reports: its state, transfers, peers and offices.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::distance::Distance;
pub use crate::exchange::{Progress, SourceRow};
use crate::office::certificate::Role;
use crate::options::Audience;

/// State of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// True if a node is running for this folder. Otherwise the status holds what the store says, and the
    /// rest is empty.
    pub running: bool,
    /// Peer id; empty without a network.
    pub peer: String,
    /// Process id.
    pub pid: u32,
    /// Version of swarm.
    pub version: String,
    /// Folder of everything that the node keeps.
    #[serde(with = "crate::store::exact_path")]
    pub home: PathBuf,
    /// Seconds since the start.
    pub uptime: u64,
    /// Addresses that the node listens on.
    pub listen: Vec<String>,
    /// Number of connected peers.
    pub peers: u32,
    /// How other peers reach the node, in words.
    #[serde(default)]
    pub reached: String,
    /// Answer of the router that was asked to forward ports, in words.
    #[serde(default)]
    pub router: Option<String>,
    /// Trackers of the node.
    #[serde(default)]
    pub trackers: Vec<TrackerRow>,
    /// How the node takes part in the DHT, in words; `None` while it knows no other node there.
    #[serde(default)]
    pub dht: Option<String>,
    /// Addresses at which the node is a server of the DHT.
    #[serde(default)]
    pub dht_serves: Vec<String>,
    /// Default audience for content without one of its own.
    #[serde(default)]
    pub serve: Audience,
    /// Audience of an office's items without their own; `None` outside of offices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve_office: Option<Audience>,
    /// Complete content with its audience, at most `limits::STATUS_SHARED` rows.
    #[serde(default)]
    pub shared: Vec<SharedRow>,
    /// Offices of the node.
    #[serde(default)]
    pub offices: Vec<OfficeRow>,
    /// Number of complete and partial blobs.
    pub blobs: u64,
    /// Bytes that the store holds itself.
    pub stored: u64,
    /// Payload bytes sent since the start.
    pub uploaded: u64,
    /// Payload bytes received since the start.
    pub downloaded: u64,
    /// Running transfers.
    pub transfers: Vec<Transfer>,
    /// Detached downloads, the oldest first, at most `limits::STATUS_SHARED` rows.
    #[serde(default)]
    pub detached: Vec<DetachedRow>,
    /// Number of all detached downloads.
    #[serde(default)]
    pub detached_count: u64,
    /// Numbers of refused connections and frames, by reason.
    pub refused: Vec<(String, u64)>,
    /// Banned peers.
    pub banned: Vec<BanRow>,
    /// Bans of this node that other peers have told it of.
    #[serde(default)]
    pub banned_by: Vec<BanRow>,
    /// Sentences on troubles: disk full, low file limit.
    pub notices: Vec<String>,
    /// Limits of the rates at present.
    pub limits: Limits,
}

/// An office, a private network of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OfficeRow {
    /// 64 hex digits.
    pub id: String,
    /// Name; escape it on a terminal.
    pub name: String,
    /// Key of this node in the office.
    pub node: String,
    /// Peer id of this node in the office.
    pub peer: String,
    /// Name of this node in the office.
    pub called: String,
    /// Role of this node in the office.
    pub role: Role,
    /// Expiry of this node's certificate, seconds since 1970.
    pub expires: u64,
    /// True if the root's key is here (locked).
    pub root: bool,
    /// Addresses that the node listens on for members.
    pub listen: Vec<String>,
    /// Number of connected members.
    pub connected: u32,
    /// Number of known members, with this node.
    pub members: u32,
    /// Number of nodes that may still join by invitations of this node.
    #[serde(default)]
    pub invited: u32,
    /// Number of times that the secret was changed.
    pub epoch: u32,
    /// Sentence on what is wrong with the office here, if anything is.
    pub trouble: Option<String>,
}

impl OfficeRow {
    /// Returns the row of an office that is here and cannot be used.
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
#[non_exhaustive]
pub struct MemberRow {
    /// Key of the member.
    pub node: String,
    /// Name of the member; escape it on a terminal.
    pub name: String,
    /// Role of the member.
    pub role: Role,
    /// Expiry of the newest known certificate, seconds since 1970.
    pub expires: u64,
    /// Time of the last meeting, seconds since 1970.
    pub met: u64,
    /// True if the member is connected.
    pub connected: bool,
    /// True if the member was expelled.
    pub expelled: bool,
    /// True if the member is this node.
    pub own: bool,
}

/// Content that peers may fetch from a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SharedRow {
    /// 64 hex digits.
    pub id: String,
    /// Name as published or offered; escape it on a terminal.
    pub name: String,
    /// Audience of the content.
    pub serve: Audience,
    /// Names of the offices that the content belongs to.
    #[serde(default)]
    pub offices: Vec<String>,
    /// True if the content belongs to the public network.
    #[serde(default)]
    pub public: bool,
    /// For content of one office: members that it is for; `None` for all. An empty list: its publisher was
    /// expelled.
    #[serde(default)]
    pub members: Option<Vec<String>>,
}

/// Reasons why a download waits or is slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Id of the content that is fetched: for a directory, the id of its files' bytes.
    pub id: String,
    /// Reasons as sentences, the worst first.
    pub why: Vec<String>,
    /// Results of the ways of finding holders, one sentence each. They may hold words of peers: escape them
    /// on a terminal.
    pub routes: Vec<String>,
}

/// A tracker and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrackerRow {
    /// Address of the tracker.
    pub addr: String,
    /// The tracker's last answer about wanted content, or why it does not answer, in words.
    pub state: String,
}

/// Limits of the rates at present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes per second sent.
    pub up: Option<u64>,
    /// Most bytes per second received.
    pub down: Option<u64>,
    /// The rule of the timetable that sets the limits.
    pub rule: Option<String>,
    /// True if everything else on this machine and its links goes first.
    pub background: bool,
    /// Bytes per second of the uplink that other programs leave free, if measured.
    pub others_up: Option<u64>,
    /// Bytes per second of the downlink that other programs leave free, if measured.
    pub others_down: Option<u64>,
    /// Queueing delay of this node's link in microseconds, if there was traffic to measure it by.
    pub queue_us: Option<u64>,
}

/// A running download as a status shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transfer {
    /// 64 hex digits.
    pub id: String,
    /// Name as offered; escape it on a terminal.
    pub name: String,
    /// Stage of the download.
    pub state: TransferState,
    /// Progress of the download.
    pub progress: Progress,
}

/// Stage of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TransferState {
    /// No holder is known.
    Searching,
    /// A holder is known, and the download begins.
    Starting,
    /// Chunks are fetched.
    Downloading,
    /// The disk is full or slow, and the download waits for it.
    #[serde(rename = "waiting for the disk")]
    WaitingForDisk,
    /// All chunks are here, and the content is put in place.
    Finishing,
}

impl TransferState {
    /// Name in JSON and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Searching => "searching",
            Self::Starting => "starting",
            Self::Downloading => "downloading",
            Self::WaitingForDisk => "waiting for the disk",
            Self::Finishing => "finishing",
        }
    }
}

impl fmt::Display for TransferState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A detached download: the daemon of the store goes on with it until it is done or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DetachedRow {
    /// 64 hex digits.
    pub id: String,
    /// Name as offered, or as the link says; escape it on a terminal. Empty while unknown.
    pub name: String,
    /// Destination: a file, a folder, or the folder that it goes into; `None` for the store.
    #[serde(with = "crate::store::exact_path::option", default)]
    pub to: Option<PathBuf>,
    /// Time of the request, seconds since 1970.
    pub since: u64,
    /// Stage of the download.
    pub state: DetachedState,
    /// Bytes verified.
    pub done: u64,
    /// Bytes in all; `None` while unknown.
    pub total: Option<u64>,
    /// Sentence on why the last attempt failed, if it did; it may hold names from a peer.
    pub trouble: Option<String>,
}

/// Stage of a detached download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DetachedState {
    /// No daemon runs for the store.
    #[serde(rename = "waiting for a daemon")]
    Waiting,
    /// An attempt begins.
    Starting,
    /// No holder is known.
    Searching,
    /// Chunks are fetched.
    Downloading,
    /// The last attempt failed; another one follows.
    Retrying,
    /// The content is in place.
    Done,
}

impl DetachedState {
    /// Name in JSON and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting for a daemon",
            Self::Starting => "starting",
            Self::Searching => "searching",
            Self::Downloading => "downloading",
            Self::Retrying => "retrying",
            Self::Done => "done",
        }
    }
}

impl fmt::Display for DetachedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerRow {
    /// Peer id.
    pub peer: String,
    /// Address of the peer.
    pub addr: String,
    /// Distance of the peer.
    pub class: Distance,
    /// Program and version that the peer names; escape it on a terminal.
    pub agent: String,
    /// Payload bytes from the peer.
    pub down: u64,
    /// Payload bytes to the peer.
    pub up: u64,
    /// Round trip in microseconds, if measured.
    pub rtt_us: Option<u64>,
    /// Bytes per second from the peer, smoothed.
    pub rate: u64,
}

/// A banned peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BanRow {
    /// Peer id.
    pub peer: String,
    /// The peer's offence, in words.
    pub reason: String,
    /// Seconds until the ban ends.
    pub left: u64,
}
