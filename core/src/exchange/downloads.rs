//! All downloads of one network: their state, and the scheduler that decides which chunk is fetched from
//! whom.
//!
//! [`Downloads`] is told every event that concerns a download: a command, a message of a peer, a chunk that
//! arrived, a tick. A download first learns what its id is, by proving one peer's claim, and then passes
//! events to the [`Scheduler`]. The decisions come back as [`Effects`]: messages and orders to sessions that
//! the actor carries out. The scheduler also shares out our uplink, so the requests of downloaders pass
//! through here as well; [`Uploads`] decides who may fetch. Nothing in this module does any input or output
//! of its own.

mod begin;
mod carry_out;
mod diagnosis;
mod download;
mod holders;
mod learning;
mod upload_requests;
mod wanting;
mod wants;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::effects::{Effects, KnownPeers};
use super::open_blob::OpenBlob;
use super::uploads::{Access, Uploads};
use super::view::{Broken, DownloadView, Stage};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::distance::Distance;
use crate::id::ContentId;
use crate::limits;
use crate::schedule::resolve::{ContentClaim, Learner};
use crate::schedule::{BlobKey, ChunkOrder, Input, Now, Output, PeerKey, Scheduler};
use crate::wire::Handle;
use begin::Pushes;
pub use diagnosis::{Facts, HolderFacts, Lack};
use download::{Doing, Download};
use wanting::AskedOf;

/// The downloads of one network, with the scheduler that serves downloads and uploads. `B` is a handle to an
/// open blob.
pub struct Downloads<B> {
    scheduler: Scheduler,
    /// The scheduler's key for each blob that it knows, downloaded or uploaded.
    keys: HashMap<ContentId, BlobKey>,
    /// The content id of each key: the inverse of `keys`.
    ids: BTreeMap<BlobKey, ContentId>,
    /// The number of the newest key; keys are never used twice.
    next_key: u32,
    /// The running downloads.
    downloads: BTreeMap<BlobKey, Download<B>>,
    /// The handle of each running download: the number that stands for it in messages. Each download gets a
    /// new one.
    handles: BTreeMap<Handle, BlobKey>,
    /// The newest handle.
    next_handle: Handle,
    /// The wants that each peer knows of at present.
    asked_of: BTreeMap<PeerKey, AskedOf>,
    /// Wants that gave up their place at a peer, kept until the peer is dropped as their holder.
    let_go: Vec<(PeerKey, Handle)>,
    /// Bytes that may be pushed to each peer that asked us to begin a blob. Empty except while
    /// [`Downloads::shared`] runs.
    pushes: Pushes,
    /// Decisions of the scheduler that are not carried out yet.
    out: Vec<Output>,
    /// The downloads whose view has changed since [`Downloads::publish`].
    changed: BTreeSet<BlobKey>,
}

impl<B: OpenBlob> Downloads<B> {
    /// Returns an empty set. `seed` starts the scheduler's random numbers.
    pub fn new(seed: u64) -> Self {
        Self {
            scheduler: Scheduler::new(seed),
            keys: HashMap::new(),
            ids: BTreeMap::new(),
            next_key: 0,
            downloads: BTreeMap::new(),
            handles: BTreeMap::new(),
            next_handle: 0,
            asked_of: BTreeMap::new(),
            let_go: Vec::new(),
            pushes: Pushes::new(),
            out: Vec::new(),
            changed: BTreeSet::new(),
        }
    }

    /// True if nothing is being downloaded.
    pub fn is_idle(&self) -> bool {
        self.downloads.is_empty()
    }

    /// Returns how many more peers are worth connecting to, 0 without downloads.
    pub fn room(&self, peers: &dyn KnownPeers, now: Now) -> usize {
        if self.is_idle() {
            return 0;
        }
        let of_use = |peer| {
            let offers = self.downloads.values().any(|d| d.offers.contains_key(&peer));
            offers.then(|| self.gives(peer, now))
        };
        // If no connected peer has a chunk that we lack, at least one more is sought, up to
        // [`limits::OUTBOUND`] peers.
        let lacks = peers.introduced() < limits::OUTBOUND && self.lacks_holder();
        limits::NEIGHBOURS.saturating_sub(peers.useful(&of_use)).max(usize::from(lacks))
    }

    /// True if a chunk is wanted that no connected peer has.
    pub fn lacks_holder(&self) -> bool {
        self.downloads.keys().any(|key| self.scheduler.lacks_holder(*key))
    }

    /// True if a peer grants or sends something now and then, or is new.
    pub fn gives(&self, peer: PeerKey, now: Now) -> bool {
        self.scheduler.is_of_use(peer, now)
    }

    /// Returns the time until [`Downloads::tick`] is due; `None` if there is nothing to wait for.
    pub fn next_tick(&self, now: Now) -> Option<Duration> {
        self.scheduler.next_tick(now).or_else(|| (!self.is_idle()).then_some(limits::TICK))
    }

    /// Returns the smoothed rate at which a peer delivers, in bytes per second.
    pub fn rate(&self, key: PeerKey) -> u64 {
        self.scheduler.rate(key)
    }

    /// True if this id is being downloaded, or learned.
    pub fn is_active(&self, id: ContentId) -> bool {
        self.active(id).is_some()
    }

    /// Returns the content id of a download by its handle.
    pub fn id_of(&self, handle: u32) -> Option<ContentId> {
        self.by_handle(handle).and_then(|key| self.downloads.get(&key)).map(|d| d.id)
    }

    /// Returns the key of a download by its handle.
    fn by_handle(&self, handle: Handle) -> Option<BlobKey> {
        self.handles.get(&handle).copied()
    }

    /// Returns the key of an id that is being downloaded.
    fn active(&self, id: ContentId) -> Option<BlobKey> {
        self.keys.get(&id).copied().filter(|key| self.downloads.contains_key(key))
    }

    /// Returns the scheduler's key for an id, a new one if there is none.
    fn key(&mut self, id: ContentId) -> BlobKey {
        let (ids, next) = (&mut self.ids, &mut self.next_key);
        *self.keys.entry(id).or_insert_with(|| {
            *next += 1;
            ids.insert(BlobKey(*next), id);
            BlobKey(*next)
        })
    }

    /// Returns the peers that offer some of a blob that is being downloaded.
    pub fn holders(&self, id: ContentId) -> Vec<PeerKey> {
        let download = self.active(id).and_then(|key| self.downloads.get(&key));
        download.map_or_else(Vec::new, |d| d.offers.keys().copied().collect())
    }

    /// Returns the bytes still missing of the blob with the most missing bytes among those that a peer
    /// offers.
    pub fn lacks_of(&self, peer: PeerKey) -> u64 {
        let offered = self.downloads.values().filter_map(|d| Some((d.offers.get(&peer)?, d.done)));
        offered.map(|(held, done)| held.claim.geometry.len().saturating_sub(done)).max().unwrap_or(0)
    }

    /// Returns the ids that are being downloaded and that no peer offers.
    pub fn searching(&self) -> Vec<ContentId> {
        self.downloads.values().filter(|d| d.offers.is_empty()).map(|d| d.id).collect()
    }

    /// Starts a download of an id whose kind and length must be learned first, unless they are `known`. With
    /// `expect`, only offers of this kind and length count. A download that runs goes on as it is.
    pub fn learn(
        &mut self,
        id: ContentId,
        known: Option<(Geometry, ContentKind)>,
        expect: Option<(ContentKind, u64)>,
        effects: &mut Effects<'_, B>,
    ) {
        if self.is_active(id) {
            return;
        }
        let learning =
            || Doing::Learning { learner: Learner::default(), lists: BTreeMap::new(), expect, only: None };
        let doing = known.map_or_else(learning, |(geometry, kind)| Doing::Learned(geometry, kind));
        self.add(id, doing, effects);
    }

    /// Starts to fetch chunks into a blob, after [`Downloads::learn`] or with a hash list that the store had.
    /// With an [`Access`], the blob is uploaded from now on as well.
    pub fn start(
        &mut self,
        blob: &B,
        (order, access): (ChunkOrder, Option<Access>),
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let id = blob.id();
        if self.active(id).is_none() {
            self.add(id, Doing::Learned(blob.geometry(), blob.kind()), effects);
        }
        if let Some(access) = &access {
            uploads.share(blob.clone(), access, effects);
        }
        let key = self.key(id);
        let now = effects.now();
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let (geometry, have) = (blob.geometry(), blob.have());
        download.doing = Doing::Active { blob: blob.clone(), paused: None };
        download.done = have.iter().filter_map(|c| geometry.chunk(c)).map(|c| geometry.size(c) as u64).sum();
        download.meter = (effects.now(), download.done, 0.0);
        download.started = Some(effects.now());
        let claim = ContentClaim { kind: blob.kind(), geometry };
        let held: Vec<(PeerKey, Bitmap)> = download
            .offers
            .iter()
            .filter(|(_, h)| h.claim == claim)
            .map(|(k, h)| (*k, h.have.clone()))
            .collect();
        download.offers.retain(|_, h| h.claim == claim);
        let mut early = std::mem::take(&mut download.early);
        early.retain(|(peer, ..)| download.offers.contains_key(peer));
        self.change_view(key, |view| view.stage = Stage::Active);
        let want = Input::Want { blob: key, geometry, have, skip: blob.skipped(), order };
        self.scheduler.handle(want, now, &mut self.out);
        for (peer, have) in held {
            let coming = self.pushed_by(peer, key);
            self.scheduler.handle(Input::Begins { peer, blob: key, have, coming }, now, &mut self.out);
        }
        for (peer, count, hint) in early {
            self.scheduler.handle(Input::Granted { peer, blob: key, count, hint }, now, &mut self.out);
        }
        self.carry_out(effects, uploads);
        self.begun(key, effects);
        self.refresh(now);
    }

    /// Creates a download and tells peers that it is wanted.
    fn add(&mut self, id: ContentId, doing: Doing<B>, effects: &mut Effects<'_, B>) {
        let key = self.key(id);
        self.next_handle += 1;
        let handle = self.next_handle;
        let download = Download {
            id,
            handle,
            doing,
            offers: BTreeMap::new(),
            early: Vec::new(),
            beginning: None,
            was_begun: false,
            view: DownloadView::default(),
            sources: BTreeMap::new(),
            done: 0,
            prefix: 0,
            meter: (effects.now(), 0, 0.0),
            started: None,
        };
        self.downloads.insert(key, download);
        self.handles.insert(handle, key);
        self.ask_for_more(effects);
    }

    /// Ends a download, finished or not. Verified chunks stay in the store.
    pub fn stop(&mut self, id: ContentId, effects: &mut Effects<'_, B>, uploads: &mut Uploads<B>) {
        let Some(key) = self.active(id) else { return };
        self.begun(key, effects);
        let Some(Download { handle, .. }) = self.downloads.remove(&key) else { return };
        self.hear(Input::Unwant { blob: key }, effects, uploads);
        self.handles.remove(&handle);
        self.ask_no_more(handle, effects);
        self.shared(effects, uploads);
        if !uploads.is_open(id) {
            self.keys.remove(&id);
            self.ids.remove(&key);
        }
    }

    /// Passes an event to the scheduler and carries out its decisions.
    fn hear(&mut self, input: Input, effects: &mut Effects<'_, B>, uploads: &Uploads<B>) {
        self.scheduler.handle(input, effects.now(), &mut self.out);
        self.carry_out(effects, uploads);
    }

    /// Adds a peer that has introduced itself. `elsewhere` names its site, `None` for our own.
    pub fn peer_up(&mut self, peer: PeerKey, class: Distance, elsewhere: Option<u64>, now: Now) {
        let input = Input::PeerUp { peer, near: class as u8, elsewhere };
        self.scheduler.handle(input, now, &mut self.out);
    }

    /// Sets the rates to which this node limits its uploads, to peers of its site and to all others, in bytes
    /// per second; `None` without a limit.
    pub fn limited(&mut self, near: Option<u64>, far: Option<u64>, now: Now) {
        self.scheduler.handle(Input::Limited { near, far }, now, &mut self.out);
    }

    /// Records a measured round trip to a peer.
    pub fn round_trip(&mut self, peer: PeerKey, took: Duration, now: Now) {
        let input = Input::RoundTrip { peer, took };
        self.scheduler.handle(input, now, &mut self.out);
    }

    /// Removes a peer whose session ended from all downloads.
    pub fn peer_down(&mut self, peer: PeerKey, effects: &mut Effects<'_, B>, uploads: &mut Uploads<B>) {
        self.asked_of.remove(&peer);
        for key in self.downloads.keys().copied().collect::<Vec<_>>() {
            self.lost(key, peer, effects);
        }
        self.hear(Input::PeerDown { peer }, effects, uploads);
    }

    /// Shows the watchers of a download why it cannot go on; its owner decides what to do.
    pub fn is_broken(&mut self, id: ContentId, broken: Broken) {
        if let Some(key) = self.active(id) {
            self.change_view(key, |view| view.broken = Some(broken));
        }
    }

    /// Does what is due: tries the next claim, resumes after a full disk, lets the scheduler decide, and
    /// tells peers of wants that waited.
    pub fn tick(&mut self, effects: &mut Effects<'_, B>, uploads: &mut Uploads<B>) {
        let now = effects.now();
        self.end_beginnings(effects);
        for key in self.downloads.keys().copied().collect::<Vec<_>>() {
            let Some(download) = self.downloads.get_mut(&key) else { continue };
            match &mut download.doing {
                Doing::Learning { learner, .. } => {
                    let step = learner.tick(now);
                    self.step(key, step, effects);
                }
                Doing::Active { paused, .. } => {
                    if paused.take_if(|since| now.saturating_sub(*since) >= limits::DISK_FULL_RETRY).is_some()
                    {
                        self.scheduler.handle(Input::Pause { blob: key, paused: false }, now, &mut self.out);
                    }
                }
                Doing::Learned(..) => {}
            }
        }
        self.scheduler.handle(Input::Tick, now, &mut self.out);
        self.carry_out(effects, uploads);
        self.ask_on(effects, uploads);
    }

    /// Changes the view of a download, for its watchers to see.
    fn change_view(&mut self, key: BlobKey, change: impl FnOnce(&mut DownloadView)) {
        if let Some(download) = self.downloads.get_mut(&key) {
            change(&mut download.view);
            self.changed.insert(key);
        }
    }

    /// Updates the views. `tried` lists the ways of finding peers that were used so far, for downloads that
    /// still search.
    pub fn show(&mut self, tried: &[String], now: Now) {
        for (key, download) in &mut self.downloads {
            // A thousand downloads may wait here: their owners are woken only for news.
            if matches!(download.doing, Doing::Learning { .. }) && download.view.tried != tried {
                download.view.tried = tried.to_vec();
                self.changed.insert(*key);
            }
        }
        self.refresh(now);
    }

    /// Updates the progress of each download.
    fn refresh(&mut self, now: Now) {
        for (key, download) in &mut self.downloads {
            let holders = match download.doing {
                Doing::Active { .. } => self.scheduler.holders(*key),
                _ => download.offers.len(),
            };
            if download.refresh(holders as u32, now) {
                self.changed.insert(*key);
            }
        }
    }

    /// Passes each view that has changed since the last call to `watchers`.
    pub fn publish(&mut self, mut watchers: impl FnMut(ContentId, &DownloadView)) {
        for key in std::mem::take(&mut self.changed) {
            if let Some(download) = self.downloads.get(&key) {
                watchers(download.id, &download.view);
            }
        }
    }

    /// Returns the id and view of each running download.
    pub fn views(&self) -> impl Iterator<Item = (ContentId, &DownloadView)> {
        self.downloads.values().map(|d| (d.id, &d.view))
    }
}
