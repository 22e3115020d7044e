//! Snapshots of a download for the job that fetches and for onlookers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::tree::HashList;
use crate::distance::Distance;

/// Progress of a transfer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes verified, with those that were here before.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes per second, smoothed.
    pub rate: u64,
    /// Seconds left at that rate.
    pub eta: Option<u64>,
    /// Connected peers that hold some of it.
    pub holders: u32,
    /// Peers that this job's bytes came from, so far.
    pub sources: Vec<SourceRow>,
}

/// Bytes that one peer gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceRow {
    /// Peer id.
    pub peer: String,
    /// True if the peer says that it published the content.
    pub publisher: bool,
    /// Distance of the peer.
    pub class: Distance,
    /// Verified bytes from the peer.
    pub bytes: u64,
}

/// A proven description of an id's content.
#[derive(Debug)]
pub struct Learned {
    /// The hash list: it proves kind, length and chunks.
    pub list: HashList,
    /// A file name that a holder gave, not proven by anything.
    pub name: Option<String>,
    /// The bytes of the only chunk of a one-chunk blob: it was fetched to prove the claim.
    pub only: Option<Vec<u8>>,
}

/// The stage of a download.
#[derive(Debug, Clone, Default)]
pub enum Stage {
    /// No claim is proven yet.
    #[default]
    Searching,
    /// Kind, length and hash list are proven; the owner has to choose a place for the chunks.
    Learned(Arc<Learned>),
    /// Chunks are being fetched.
    Active,
    /// Every wanted chunk is verified and written.
    Complete,
}

/// A snapshot of a download for its owner and for onlookers.
#[derive(Debug, Clone, Default)]
pub struct DownloadView {
    /// The stage.
    pub stage: Stage,
    /// Bytes, rate, time left, holders and sources.
    pub progress: Progress,
    /// Bytes verified without a gap from the start.
    pub prefix: u64,
    /// Time since the download started to fetch chunks.
    pub transfer: Duration,
    /// Peers that were banned over this download, each with the reason.
    pub banned: Vec<(String, String)>,
    /// Messages for people, such as a full disk.
    pub notices: Vec<String>,
    /// Error of the last write, until a chunk is written again.
    pub blocked: Option<String>,
    /// Ways of finding peers that were used while the download searched.
    pub tried: Vec<String>,
    /// Set if a flush failed or the content can never be complete. After a failed flush, chunks written since
    /// the last good one do not count: the owner starts again from the recorded chunks.
    pub broken: Option<Broken>,
}

/// The reason why a download cannot go on, for [`DownloadView::broken`].
#[derive(Debug, Clone)]
pub enum Broken {
    /// A flush failed because the disk is full, with the error. A later try may work.
    Full(String),
    /// A flush failed for another reason, with the error.
    Disk(String),
    /// The share was sealed wrongly: every copy of it is useless.
    Malformed,
}
