//! One download: where it is, who offers it, and what those who asked for it see.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use tokio::sync::watch;

use super::begin::Beginning;
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::tree::{HashList, Kind};
use crate::id::ContentId;
use crate::node::event::{Progress, Source};
use crate::node::peers::Peers;
use crate::schedule::PeerKey;
use crate::schedule::learn::{Claim, Learner};
use crate::store::Blob;
use crate::wire::Handle;

/// How the rate shown to people is smoothed: the share of the newest sample.
const SMOOTH: f64 = 0.3;

/// What is proven about an id.
#[derive(Debug)]
pub(in crate::node) struct Learned {
    pub(in crate::node) list: HashList,
    /// As a holder offers it: not to be trusted.
    pub(in crate::node) name: Option<String>,
    /// The chunk of a blob that has but one: it proved what the blob is.
    pub(in crate::node) only: Option<Vec<u8>>,
}

/// Where a download is.
#[derive(Debug, Clone)]
pub(in crate::node) enum Stage {
    Searching,
    Learned(Arc<Learned>),
    Active,
    Complete,
}

/// Whoever holds one is the job that fetches; it lives as long as the job.
#[derive(Debug, Default)]
pub(in crate::node) struct Owner(());

/// What whoever asked for a download sees of it.
#[derive(Debug, Clone)]
pub(in crate::node) struct View {
    pub(in crate::node) stage: Stage,
    pub(in crate::node) progress: Progress,
    /// Verified from the start, bytes.
    pub(in crate::node) prefix: u64,
    pub(in crate::node) transfer: Duration,
    pub(in crate::node) banned: Vec<(String, String)>,
    pub(in crate::node) notices: Vec<String>,
    pub(in crate::node) tried: Vec<String>,
    /// A flush failed: what was written since the last one is not believed. Begin again from the have-map. Or it cannot be
    /// completed at all.
    pub(in crate::node) broken: Option<Broken>,
}

/// See [`View::broken`].
#[derive(Debug, Clone)]
pub(in crate::node) enum Broken {
    /// For want of space: worth trying again.
    Full(String),
    /// The disk.
    Disk(String),
    /// A share that was sealed wrongly: nobody can have another one.
    Malformed,
}

pub(super) enum Doing {
    Learning {
        learner: Learner,
        lists: BTreeMap<PeerKey, Arc<HashList>>,
        expect: Option<(Kind, u64)>,
        only: Option<Vec<u8>>,
    },
    Learned(Geometry, Kind),
    Active {
        blob: Arc<Blob>,
        paused: Option<Instant>,
    },
}

pub(super) struct Held {
    pub(super) have: Bitmap,
    pub(super) name: Option<String>,
    pub(super) origin: bool,
    pub(super) claim: Claim,
}

pub(super) struct Download {
    pub(super) id: ContentId,
    /// Our number for this want.
    pub(super) handle: Handle,
    /// The job that puts it in place; others may look on. Without one it is stopped.
    pub(super) owner: Weak<Owner>,
    pub(super) doing: Doing,
    pub(super) offers: BTreeMap<PeerKey, Held>,
    /// Grants that came before it was known what it is.
    pub(super) early: Vec<(PeerKey, u32, Option<u32>)>,
    /// Its beginning, until that is over.
    pub(super) beginning: Option<Beginning>,
    /// A peer was asked to begin it.
    pub(super) was_begun: bool,
    pub(super) view: watch::Sender<View>,
    pub(super) sources: BTreeMap<PeerId, Source>,
    pub(super) done: u64,
    pub(super) prefix: u32,
    pub(super) meter: (Instant, u64, f64),
    pub(super) started: Option<Instant>,
}

impl Held {
    /// It has what proves its claim: the list, which everybody has who offers anything, or the only chunk.
    pub(super) fn is_provable(&self) -> bool {
        self.claim.geometry.chunks() != 1 || self.have.get(0)
    }
}

impl Download {
    pub(super) fn geometry(&self) -> Option<Geometry> {
        match &self.doing {
            Doing::Learning { .. } => None,
            Doing::Learned(geometry, _) => Some(*geometry),
            Doing::Active { blob, .. } => Some(blob.geometry()),
        }
    }

    /// A peer delivered a chunk.
    pub(super) fn credit(&mut self, peer: PeerKey, chunk: u32, peers: &Peers) {
        let size = self.size(chunk).unwrap_or(0);
        self.done += size;
        self.credit_bytes(peer, size, peers);
    }

    /// Verified bytes came from this peer.
    pub(super) fn credit_bytes(&mut self, peer: PeerKey, bytes: u64, peers: &Peers) {
        let (Some(row), 1..) = (peers.get(peer), bytes) else { return };
        let offers = &self.offers;
        let source = self.sources.entry(row.id).or_insert_with(|| Source {
            peer: row.id.to_string(),
            publisher: offers.get(&peer).is_some_and(|h| h.origin),
            class: row.class,
            bytes: 0,
        });
        source.bytes += bytes;
    }

    /// Kind and length of it as this peer claims them.
    pub(super) fn claim_of(&self, peer: PeerKey) -> Option<Claim> {
        self.offers.get(&peer).map(|held| held.claim)
    }

    fn size(&self, chunk: u32) -> Option<u64> {
        let geometry = self.geometry()?;
        geometry.chunk(chunk).map(|c| geometry.size(c) as u64)
    }

    pub(super) fn ban(&self, peer: PeerKey, reason: &str, peers: &mut Peers) {
        // More of what it sent may still be found to be bad: once is enough.
        if let Some(id) = peers.id_of(peer).filter(|id| !peers.bans.is_banned(id)) {
            let name = id.to_string();
            self.view.send_modify(|v| v.banned.push((name, reason.to_owned())));
            peers.doom(peer, reason, true);
        }
    }

    pub(super) fn refresh(&mut self, holders: u32) {
        let (at, before, rate) = self.meter;
        let elapsed = at.elapsed().as_secs_f64();
        if elapsed >= 0.2 {
            let sample = self.done.saturating_sub(before) as f64 / elapsed;
            let smooth = if rate == 0.0 { sample } else { rate * (1.0 - SMOOTH) + sample * SMOOTH };
            self.meter = (Instant::now(), self.done, smooth);
        }
        let total = self.geometry().map_or(0, |g| g.len());
        let rate = self.meter.2 as u64;
        let eta = (rate > 0).then(|| total.saturating_sub(self.done) / rate);
        let sources = self.sources.values().cloned().collect();
        let progress = Progress { done: self.done, total, rate, eta, holders, sources };
        let prefix = self.prefix_bytes();
        let transfer = self.started.map_or(Duration::ZERO, |s| s.elapsed());
        self.view.send_if_modified(|v| {
            let changed = v.progress != progress || v.prefix != prefix;
            (v.progress, v.prefix, v.transfer) = (progress, prefix, transfer);
            changed
        });
    }

    /// Walks on from where it was: O(1) a chunk over the whole download.
    fn prefix_bytes(&mut self) -> u64 {
        let Doing::Active { blob, .. } = &self.doing else { return 0 };
        let geometry = blob.geometry();
        while geometry.chunk(self.prefix).is_some_and(|c| blob.has(c)) {
            self.prefix += 1;
        }
        geometry.chunk(self.prefix).map_or(geometry.len(), |c| geometry.offset(c))
    }

    pub(super) fn complete(&mut self, holders: u32) {
        self.refresh(holders);
        self.view.send_modify(|v| v.stage = Stage::Complete);
    }
}

impl Default for View {
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
