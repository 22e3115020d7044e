//! The state of one download: its stage, the peers that offer it, and the view that its owner watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::begin::Beginning;
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::view::{DownloadView, Progress, SourceRow};
use crate::id::ContentId;
use crate::limits;
use crate::schedule::resolve::{ContentClaim, Learner};
use crate::schedule::{Now, PeerKey};
use crate::wire::Handle;

/// The share of the newest sample in the smoothed rate that people see.
const SMOOTH: f64 = 0.3;

/// The work of a download at present.
pub(super) enum Doing<B> {
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
        blob: B,
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
pub(super) struct Download<B> {
    /// The id of the content.
    pub(super) id: ContentId,
    /// The number that stands for this download in messages.
    pub(super) handle: Handle,
    /// The work at present.
    pub(super) doing: Doing<B>,
    /// The offer of each peer that has some of it.
    pub(super) offers: BTreeMap<PeerKey, Held>,
    /// Grants that came before the download started: peer, number of chunks, suggested chunk.
    pub(super) early: Vec<(PeerKey, u32, Option<u32>)>,
    /// The beginning, until that is over.
    pub(super) beginning: Option<Beginning>,
    /// True while a peer begins, or has begun, so that no second one is asked.
    pub(super) was_begun: bool,
    /// The view for the owner and for onlookers.
    pub(super) view: DownloadView,
    /// Verified bytes by the peer that delivered them. A peer with a new session keeps its row.
    pub(super) sources: BTreeMap<PeerKey, SourceRow>,
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

impl<B: OpenBlob> Download<B> {
    /// Returns the chunks of the blob, once they are proven.
    pub(super) fn geometry(&self) -> Option<Geometry> {
        match &self.doing {
            Doing::Learning { .. } => None,
            Doing::Learned(geometry, _) => Some(*geometry),
            Doing::Active { blob, .. } => Some(blob.geometry()),
        }
    }

    /// Counts a verified chunk from a peer.
    pub(super) fn credit(&mut self, peer: PeerKey, chunk: u32, effects: &Effects<'_, B>) {
        let size = self.size(chunk).unwrap_or(0);
        self.done += size;
        self.credit_bytes(peer, size, effects);
    }

    /// Counts verified bytes from a peer as its contribution only, not as progress.
    pub(super) fn credit_bytes(&mut self, peer: PeerKey, bytes: u64, effects: &Effects<'_, B>) {
        let (Some(facts), 1..) = (effects.get(peer), bytes) else { return };
        if let Some(source) = self.sources.get_mut(&peer) {
            source.bytes += bytes;
            return;
        }
        let name = effects.name(peer).unwrap_or_default();
        let earlier = self.sources.iter().find(|(_, source)| source.peer == name).map(|(key, _)| *key);
        let publisher = self.offers.get(&peer).is_some_and(|h| h.origin);
        let fresh = || SourceRow { peer: name, publisher, class: facts.class, bytes: 0 };
        let mut source = earlier.and_then(|key| self.sources.remove(&key)).unwrap_or_else(fresh);
        source.bytes += bytes;
        self.sources.insert(peer, source);
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

    /// Adds a notice to the view, unless it has it already, and at most [`limits::NOTICES`] of them. True if
    /// the view changed.
    pub(super) fn notice(&mut self, text: &str) -> bool {
        let notices = &mut self.view.notices;
        let room = notices.len() < limits::NOTICES && !notices.iter().any(|known| known == text);
        if room {
            notices.push(text.to_owned());
        }
        room
    }

    /// Updates the rate, at most every 0.2 s, and the view. True if the progress changed.
    pub(super) fn refresh(&mut self, holders: u32, now: Now) -> bool {
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
        let view = &mut self.view;
        let changed = view.progress != progress || view.prefix != prefix;
        (view.progress, view.prefix, view.transfer) = (progress, prefix, transfer);
        changed
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
}
