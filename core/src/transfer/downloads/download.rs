//! The state of one download: its stage, the peers that offer it, and the view that its owner watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::begin::Beginning;
use crate::api::status::{Progress, SourceRow};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::id::ContentId;
use crate::limits;
use crate::net::PeerId;
use crate::schedule::resolve::{ContentClaim, Learner};
use crate::schedule::{Now, PeerKey};
use crate::store::Blob;
use crate::transfer::effects::Effects;
use crate::wire::Handle;

/// The share of the newest sample in the smoothed rate that people see.
const SMOOTH: f64 = 0.3;

/// A proven description of an id's content.
#[derive(Debug)]
pub(crate) struct Learned {
    /// The hash list: it proves kind, length and chunks.
    pub(crate) list: HashList,
    /// A file name that a holder gave, not proven by anything.
    pub(crate) name: Option<String>,
    /// The bytes of the only chunk of a one-chunk blob: it was fetched to prove the claim.
    pub(crate) only: Option<Vec<u8>>,
}

/// The stage of a download.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// No claim is proven yet.
    Searching,
    /// Kind, length and hash list are proven; the owner has to choose a place for the chunks.
    Learned(Arc<Learned>),
    /// Chunks are being fetched.
    Active,
    /// Every wanted chunk is verified and written.
    Complete,
}

/// A token that keeps a download running: the job that fetches holds it, and its drop ends the download.
#[derive(Debug, Default)]
pub(crate) struct Owner(());

/// A snapshot of a download for its owner and for onlookers.
#[derive(Debug, Clone)]
pub(crate) struct DownloadView {
    /// The stage.
    pub(crate) stage: Stage,
    /// Bytes, rate, time left, holders and sources.
    pub(crate) progress: Progress,
    /// Bytes verified without a gap from the start.
    pub(crate) prefix: u64,
    /// Time since the download started to fetch chunks.
    pub(crate) transfer: Duration,
    /// Peers that were banned over this download, each with the reason.
    pub(crate) banned: Vec<(String, String)>,
    /// Messages for people, such as a full disk.
    pub(crate) notices: Vec<String>,
    /// Ways of finding peers that were used while the download searched.
    pub(crate) tried: Vec<String>,
    /// Set if a flush failed or the content can never be complete. After a failed flush, chunks written since
    /// the last good one do not count: the owner starts again from the recorded chunks.
    pub(crate) broken: Option<Broken>,
}

/// The reason why a download cannot go on, for [`DownloadView::broken`].
#[derive(Debug, Clone)]
pub(crate) enum Broken {
    /// A flush failed because the disk is full, with the error. A later try may work.
    Full(String),
    /// A flush failed for another reason, with the error.
    Disk(String),
    /// The share was sealed wrongly: every copy of it is useless.
    Malformed,
}

/// The work of a download at present.
pub(super) enum Doing {
    /// Claims of peers are tried until one is proven.
    Learning {
        /// The claims, and which peer is asked to prove its own.
        learner: Learner,
        /// Lists that verified, by the peer that sent them; for a one-chunk claim, the list made from the id.
        lists: BTreeMap<PeerKey, Arc<HashList>>,
        /// Kind and length in bytes that an offer must have to count; `None` for any.
        expect: Option<(ContentKind, u64)>,
        /// The only chunk of a one-chunk blob, once it verified.
        only: Option<Vec<u8>>,
    },
    /// The claim is proven; the owner has not started the download yet.
    Learned(Geometry, ContentKind),
    /// Chunks are being fetched, unless the disk makes the download wait.
    Active {
        /// The blob that chunks are written to.
        blob: Arc<Blob>,
        /// The time of the last failed write, while the download waits for the disk.
        paused: Option<Now>,
    },
}

/// The offer of one peer.
pub(super) struct Held {
    /// Chunks that the peer has.
    pub(super) have: Bitmap,
    /// The file name that the peer gave, not proven by anything.
    pub(super) name: Option<String>,
    /// True if the peer says that the content was published there.
    pub(super) origin: bool,
    /// Kind and length that the peer claims.
    pub(super) claim: ContentClaim,
}

/// One running download.
pub(super) struct Download {
    /// The id of the content.
    pub(super) id: ContentId,
    /// The number that stands for this download in messages.
    pub(super) handle: Handle,
    /// The job that fetches. Once it is gone the download ends; onlookers do not keep it.
    pub(super) owner: Weak<Owner>,
    /// The work at present.
    pub(super) doing: Doing,
    /// The offer of each peer that has some of it.
    pub(super) offers: BTreeMap<PeerKey, Held>,
    /// Grants that came before the download started: peer, number of chunks, suggested chunk.
    pub(super) early: Vec<(PeerKey, u32, Option<u32>)>,
    /// The beginning, until that is over.
    pub(super) beginning: Option<Beginning>,
    /// True while a peer begins, or has begun, so that no second one is asked.
    pub(super) was_begun: bool,
    /// The view for the owner and for onlookers.
    pub(super) view: watch::Sender<DownloadView>,
    /// Verified bytes by the peer that delivered them.
    pub(super) sources: BTreeMap<PeerId, SourceRow>,
    /// Verified bytes.
    pub(super) done: u64,
    /// Number of chunks present without a gap from the start, as last counted.
    pub(super) prefix: u32,
    /// The last measurement of the rate: its time, the verified bytes then, and the smoothed bytes per
    /// second.
    pub(super) meter: (Now, u64, f64),
    /// The time at which the download started to fetch chunks.
    pub(super) started: Option<Now>,
}

impl Held {
    /// True if the peer can prove its claim. Any holder has the hash list; a one-chunk blob needs the chunk
    /// itself.
    pub(super) fn is_provable(&self) -> bool {
        self.claim.geometry.chunks() != 1 || self.have.get(0)
    }
}

impl Download {
    /// Returns the chunks of the blob, once they are proven.
    pub(super) fn geometry(&self) -> Option<Geometry> {
        match &self.doing {
            Doing::Learning { .. } => None,
            Doing::Learned(geometry, _) => Some(*geometry),
            Doing::Active { blob, .. } => Some(blob.geometry()),
        }
    }

    /// Counts a verified chunk from a peer.
    pub(super) fn credit(&mut self, peer: PeerKey, chunk: u32, effects: &Effects<'_>) {
        let size = self.size(chunk).unwrap_or(0);
        self.done += size;
        self.credit_bytes(peer, size, effects);
    }

    /// Counts verified bytes from a peer as its contribution only, not as progress.
    pub(super) fn credit_bytes(&mut self, peer: PeerKey, bytes: u64, effects: &Effects<'_>) {
        let (Some(row), 1..) = (effects.get(peer), bytes) else { return };
        let offers = &self.offers;
        let source = self.sources.entry(row.id).or_insert_with(|| SourceRow {
            peer: row.id.to_string(),
            publisher: offers.get(&peer).is_some_and(|h| h.origin),
            class: row.class,
            bytes: 0,
        });
        source.bytes += bytes;
    }

    /// Returns the kind and length that a peer claims.
    pub(super) fn claim_of(&self, peer: PeerKey) -> Option<ContentClaim> {
        self.offers.get(&peer).map(|held| held.claim)
    }

    /// Returns the bytes of a chunk.
    fn size(&self, chunk: u32) -> Option<u64> {
        let geometry = self.geometry()?;
        geometry.chunk(chunk).map(|c| geometry.size(c) as u64)
    }

    /// Bans a peer over this download and shows that in the view.
    pub(super) fn ban(&self, peer: PeerKey, reason: &str, effects: &mut Effects<'_>) {
        // A web seed has no id that a person could know. The actor names its URL.
        if effects.is_web(peer) {
            return effects.doom(peer, reason, true);
        }
        // More bad chunks of a peer may come to light after its ban: one ban is enough.
        if let Some(id) = effects.not_banned(peer) {
            let name = id.to_string();
            self.view.send_modify(|v| v.banned.push((name, reason.to_owned())));
            effects.doom(peer, reason, true);
        }
    }

    /// Adds a notice to the view, unless it has it already, and at most [`limits::NOTICES`] of them.
    pub(super) fn notice(&self, text: &str) {
        self.view.send_modify(|view| {
            if view.notices.len() < limits::NOTICES && !view.notices.iter().any(|known| known == text) {
                view.notices.push(text.to_owned());
            }
        });
    }

    /// Updates the rate, at most every 0.2 s, and the view. Watchers wake only if the progress changed.
    pub(super) fn refresh(&mut self, holders: u32, now: Now) {
        let (at, before, rate) = self.meter;
        let elapsed = now.saturating_sub(at).as_secs_f64();
        if elapsed >= 0.2 {
            let sample = self.done.saturating_sub(before) as f64 / elapsed;
            let smooth = if rate == 0.0 { sample } else { rate * (1.0 - SMOOTH) + sample * SMOOTH };
            self.meter = (now, self.done, smooth);
        }
        let total = self.geometry().map_or(0, |g| g.len());
        let rate = self.meter.2 as u64;
        let eta = (rate > 0).then(|| total.saturating_sub(self.done) / rate);
        let sources = self.sources.values().cloned().collect();
        let progress = Progress { done: self.done, total, rate, eta, holders, sources };
        let prefix = self.prefix_bytes();
        let transfer = self.started.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.view.send_if_modified(|v| {
            let changed = v.progress != progress || v.prefix != prefix;
            (v.progress, v.prefix, v.transfer) = (progress, prefix, transfer);
            changed
        });
    }

    /// Returns the bytes verified without a gap from the start. Goes on from the last count, so that a whole
    /// download costs O(1) per chunk.
    fn prefix_bytes(&mut self) -> u64 {
        let Doing::Active { blob, .. } = &self.doing else { return 0 };
        let geometry = blob.geometry();
        while geometry.chunk(self.prefix).is_some_and(|c| blob.has(c)) {
            self.prefix += 1;
        }
        geometry.chunk(self.prefix).map_or(geometry.len(), |c| geometry.offset(c))
    }

    /// Marks the download as complete in its view.
    pub(super) fn complete(&mut self, holders: u32, now: Now) {
        self.refresh(holders, now);
        self.view.send_modify(|v| v.stage = Stage::Complete);
    }
}

impl Default for DownloadView {
    fn default() -> Self {
        Self {
            stage: Stage::Searching,
            progress: Progress { done: 0, total: 0, rate: 0, eta: None, holders: 0, sources: Vec::new() },
            prefix: 0,
            transfer: Duration::ZERO,
            banned: Vec::new(),
            notices: Vec::new(),
            tried: Vec::new(),
            broken: None,
        }
    }
}
