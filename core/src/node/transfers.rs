//! What we fetch: learning each blob, then carrying out what the scheduler decides.

mod begin;
mod carry;
mod download;
mod facts;
mod giving;
mod learning;
mod wanting;
mod wants;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::event::Class;
use super::peers::Peers;
use super::session::{Expect, Outcome};
use super::sharing::{Access, Sharing};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::tree::Kind;
use crate::id::ContentId;
use crate::limits;
use crate::schedule::learn::{Claim, Learner};
use crate::schedule::{BlobKey, Failure, Input, Order, Output, PeerKey, Scheduler};
use crate::store::{Blob, Poisoned};
use crate::wire::{Handle, Have, Message, Offer, Why};
use begin::Pushes;
pub(super) use download::{Broken, Learned, Owner, Stage, View};
use download::{Doing, Download, Held};
pub(super) use facts::Facts;
#[cfg(test)]
pub(super) use facts::HolderFacts;
use wanting::AskedOf;

/// See the module's text.
pub(super) struct Transfers {
    scheduler: Scheduler,
    epoch: Instant,
    /// Every blob the scheduler knows: what we fetch and what we give.
    keys: HashMap<ContentId, BlobKey>,
    ids: BTreeMap<BlobKey, ContentId>,
    next_key: u32,
    downloads: BTreeMap<BlobKey, Download>,
    /// Our numbers for what we want: a new one each time.
    handles: BTreeMap<Handle, BlobKey>,
    next_handle: Handle,
    /// Wants that each peer is told of at present.
    asked_of: BTreeMap<PeerKey, AskedOf>,
    /// Wants that have lost their place at a peer, until that is dealt with.
    let_go: Vec<(PeerKey, Handle)>,
    /// Peers that are to be sent the first chunks of a blob unasked: empty but while what they take is dealt with.
    pushes: Pushes,
    out: Vec<Output>,
}

impl Transfers {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            scheduler: Scheduler::new(seed),
            epoch: Instant::now(),
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
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.downloads.is_empty()
    }

    /// How many more neighbours are worth looking for.
    pub(super) fn room(&self, peers: &Peers) -> usize {
        if self.is_idle() {
            return 0;
        }
        let now = self.epoch.elapsed();
        let of_use = |peer| {
            let offers = self.downloads.values().any(|d| d.offers.contains_key(&peer));
            offers.then(|| self.scheduler.is_of_use(peer, now))
        };
        // Where nobody we know has what we lack, more are looked for, however many we know.
        let few = peers.ready().len() < limits::OUTBOUND;
        let lacks = few && self.downloads.keys().any(|key| self.scheduler.lacks_holder(*key));
        limits::NEIGHBOURS.saturating_sub(peers.neighbours(of_use)).max(usize::from(lacks))
    }

    pub(super) fn next_tick(&self) -> Duration {
        self.scheduler.next_tick(self.epoch.elapsed()).unwrap_or(if self.is_idle() {
            Duration::from_secs(1)
        } else {
            limits::TICK
        })
    }

    pub(super) fn rate(&self, key: PeerKey) -> u64 {
        self.scheduler.rate(key)
    }

    pub(super) fn is_active(&self, id: ContentId) -> bool {
        self.active(id).is_some()
    }

    /// The id that a number of ours names.
    pub(super) fn id_of(&self, handle: u32) -> Option<ContentId> {
        self.by_handle(handle).and_then(|key| self.downloads.get(&key)).map(|d| d.id)
    }

    fn by_handle(&self, handle: Handle) -> Option<BlobKey> {
        self.handles.get(&handle).copied()
    }

    /// The key of what is being fetched.
    fn active(&self, id: ContentId) -> Option<BlobKey> {
        self.keys.get(&id).copied().filter(|key| self.downloads.contains_key(key))
    }

    /// The scheduler's name for a blob.
    fn key(&mut self, id: ContentId) -> BlobKey {
        let (ids, next) = (&mut self.ids, &mut self.next_key);
        *self.keys.entry(id).or_insert_with(|| {
            *next += 1;
            ids.insert(BlobKey(*next), id);
            BlobKey(*next)
        })
    }

    /// Peers that offer some of a blob.
    pub(super) fn holders(&self, id: ContentId) -> Vec<PeerKey> {
        let download = self.active(id).and_then(|key| self.downloads.get(&key));
        download.map_or_else(Vec::new, |d| d.offers.keys().copied().collect())
    }

    /// Bytes that are lacking of what a peer offers.
    pub(super) fn lacks_of(&self, peer: PeerKey) -> u64 {
        let offered = self.downloads.values().filter_map(|d| Some((d.offers.get(&peer)?, d.done)));
        offered.map(|(held, done)| held.claim.geometry.len().saturating_sub(done)).max().unwrap_or(0)
    }

    /// What is wanted and offered by nobody.
    pub(super) fn searching(&self) -> Vec<ContentId> {
        self.downloads.values().filter(|d| d.offers.is_empty()).map(|d| d.id).collect()
    }

    /// Starts finding out what an id is, unless that is `known`. True when nobody is at it: the asker then decides where
    /// it goes, and `owner` is what others are told of.
    pub(super) fn learn(
        &mut self,
        id: ContentId,
        known: Option<(Geometry, Kind)>,
        expect: Option<(Kind, u64)>,
        owner: &Arc<Owner>,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) -> (watch::Receiver<View>, bool) {
        if let Some(download) = self.active(id).and_then(|key| self.downloads.get(&key)) {
            if download.owner.strong_count() > 0 {
                return (download.view.subscribe(), false);
            }
            self.stop(id, peers, sharing);
        }
        let learning =
            || Doing::Learning { learner: Learner::default(), lists: BTreeMap::new(), expect, only: None };
        let doing = known.map_or_else(learning, |(geometry, kind)| Doing::Learned(geometry, kind));
        (self.add(id, doing, owner, peers), true)
    }

    /// Starts fetching into a blob, after [`Transfers::learn`] or with what the store knew.
    pub(super) fn start(
        &mut self,
        blob: &Arc<Blob>,
        (order, access): (Order, Option<Access>),
        owner: &Arc<Owner>,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) -> watch::Receiver<View> {
        let id = blob.id();
        if self.active(id).is_none() {
            drop(self.add(id, Doing::Learned(blob.geometry(), blob.kind()), owner, peers));
        }
        if let Some(access) = &access {
            sharing.share(Arc::clone(blob), access, peers);
        }
        let key = self.key(id);
        let now = self.epoch.elapsed();
        let Some(download) = self.downloads.get_mut(&key) else { return watch::channel(View::default()).1 };
        let (geometry, have) = (blob.geometry(), blob.have());
        download.doing = Doing::Active { blob: Arc::clone(blob), paused: None };
        download.done = have.iter().filter_map(|c| geometry.chunk(c)).map(|c| geometry.size(c) as u64).sum();
        download.meter = (Instant::now(), download.done, 0.0);
        download.started = Some(Instant::now());
        let claim = Claim { kind: blob.kind(), geometry };
        let held: Vec<(PeerKey, Bitmap)> = download
            .offers
            .iter()
            .filter(|(_, h)| h.claim == claim)
            .map(|(k, h)| (*k, h.have.clone()))
            .collect();
        download.offers.retain(|_, h| h.claim == claim);
        let mut early = std::mem::take(&mut download.early);
        early.retain(|(peer, ..)| download.offers.contains_key(peer));
        download.view.send_modify(|v| v.stage = Stage::Active);
        let view = download.view.subscribe();
        let want = Input::Want { blob: key, geometry, have, skip: blob.skipped(), order };
        self.scheduler.handle(want, now, &mut self.out);
        for (peer, have) in held {
            let coming = self.pushed_by(peer, key);
            self.scheduler.handle(Input::Begins { peer, blob: key, have, coming }, now, &mut self.out);
        }
        for (peer, count, hint) in early {
            self.scheduler.handle(Input::Granted { peer, blob: key, count, hint }, now, &mut self.out);
        }
        self.carry_out(peers, sharing);
        self.begun(key, peers);
        self.refresh();
        view
    }

    fn add(
        &mut self,
        id: ContentId,
        doing: Doing,
        owner: &Arc<Owner>,
        peers: &mut Peers,
    ) -> watch::Receiver<View> {
        let key = self.key(id);
        self.next_handle += 1;
        let handle = self.next_handle;
        let (view, seen) = watch::channel(View::default());
        let download = Download {
            id,
            handle,
            owner: Arc::downgrade(owner),
            doing,
            offers: BTreeMap::new(),
            early: Vec::new(),
            beginning: None,
            was_begun: false,
            view,
            sources: BTreeMap::new(),
            done: 0,
            prefix: 0,
            meter: (Instant::now(), 0, 0.0),
            started: None,
        };
        self.downloads.insert(key, download);
        self.handles.insert(handle, key);
        self.ask_for_more(peers);
        seen
    }

    /// Ends a download, finished or not. What is verified stays in the store.
    pub(super) fn stop(&mut self, id: ContentId, peers: &mut Peers, sharing: &mut Sharing) {
        let Some(key) = self.active(id) else { return };
        self.begun(key, peers);
        let Some(Download { handle, .. }) = self.downloads.remove(&key) else { return };
        self.hear(Input::Unwant { blob: key }, peers, sharing);
        self.handles.remove(&handle);
        self.ask_no_more(handle, peers);
        self.shared(peers, sharing);
        if !sharing.is_open(id) {
            self.keys.remove(&id);
            self.ids.remove(&key);
        }
    }

    /// Tells the scheduler what happened, and does what it says.
    fn hear(&mut self, input: Input, peers: &mut Peers, sharing: &Sharing) {
        self.scheduler.handle(input, self.epoch.elapsed(), &mut self.out);
        self.carry_out(peers, sharing);
    }

    /// A peer has introduced itself.
    pub(super) fn peer_up(&mut self, peer: PeerKey, class: Class, elsewhere: Option<u64>) {
        let input = Input::PeerUp { peer, near: class as u8, elsewhere };
        self.scheduler.handle(input, self.epoch.elapsed(), &mut self.out);
    }

    /// A round trip to a peer was measured.
    pub(super) fn round_trip(&mut self, peer: PeerKey, took: Duration) {
        let input = Input::RoundTrip { peer, took };
        self.scheduler.handle(input, self.epoch.elapsed(), &mut self.out);
    }

    pub(super) fn peer_down(&mut self, peer: PeerKey, peers: &mut Peers, sharing: &mut Sharing) {
        self.asked_of.remove(&peer);
        for key in self.downloads.keys().copied().collect::<Vec<_>>() {
            self.lost(key, peer, peers);
        }
        self.hear(Input::PeerDown { peer }, peers, sharing);
    }

    fn lost(&mut self, key: BlobKey, peer: PeerKey, peers: &mut Peers) {
        let now = self.epoch.elapsed();
        self.not_begun(peer, key, peers);
        let Some(download) = self.downloads.get_mut(&key) else { return };
        peers.expect(peer, Expect::Forget { blob: download.handle });
        download.offers.remove(&peer);
        if let Doing::Learning { learner, lists, .. } = &mut download.doing {
            lists.remove(&peer);
            let step = learner.lost(peer, now);
            self.step(key, step, peers);
        }
    }

    /// A holder says what it has.
    pub(super) fn offer(&mut self, peer: PeerKey, offer: Offer, peers: &mut Peers, sharing: &mut Sharing) {
        let now = self.epoch.elapsed();
        let Some(key) = self.by_handle(offer.blob) else { return };
        // Not (or no longer) wanted: the offer crossed our Unwant.
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let read =
            Geometry::new(offer.len).ok().and_then(|g| Some((g, offer.have.into_bitmap(g.chunks()).ok()?)));
        let Some((geometry, have)) = read else {
            return peers.doom(peer, "offered a blob of a length or with chunks that cannot be", true);
        };
        if geometry.is_empty() && download.id != offer.kind.id_of(&[]) {
            return download.ban(peer, "says that there is nothing in it", peers);
        }
        let claim = Claim { kind: offer.kind, geometry };
        let held = Held { have: have.clone(), name: offer.name, origin: offer.origin, claim };
        let proven = match &mut download.doing {
            Doing::Learning { learner, expect, .. } => {
                let expected = expect.is_none_or(|(kind, len)| kind == claim.kind && len == geometry.len());
                // Of one chunk that chunk proves a claim: who has it not yet will tell when it has.
                let provable = held.is_provable();
                if expected {
                    download.offers.insert(peer, held);
                }
                if expected && provable {
                    let step = learner.claim(peer, claim, now);
                    self.step(key, step, peers);
                }
                self.begins_in_vain(peer, key, peers);
                return;
            }
            Doing::Learned(geometry, kind) => Claim { kind: *kind, geometry: *geometry },
            Doing::Active { blob, .. } => Claim { kind: blob.kind(), geometry: blob.geometry() },
        };
        if claim != proven {
            return peers.doom(peer, "offered the blob with another length than it has", true);
        }
        download.offers.insert(peer, held);
        self.begins_in_vain(peer, key, peers);
        self.hear(Input::Holds { peer, blob: key, have }, peers, sharing);
    }

    /// A holder has more.
    pub(super) fn have(
        &mut self,
        peer: PeerKey,
        blob: u32,
        add: Have,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) {
        let now = self.epoch.elapsed();
        let Some(key) = self.by_handle(blob) else { return };
        let held = self.downloads.get_mut(&key).and_then(|d| d.offers.get_mut(&peer));
        let Some(held) = held else { return };
        let Ok(add) = add.into_bitmap(held.have.len()) else {
            return peers.doom(peer, "announced chunks that cannot be", true);
        };
        add.iter().for_each(|c| held.have.set(c));
        let (claim, provable) = (held.claim, held.is_provable());
        if let Some(Doing::Learning { learner, .. }) = self.downloads.get_mut(&key).map(|d| &mut d.doing) {
            let step = if provable { learner.claim(peer, claim, now) } else { None };
            return self.step(key, step, peers);
        }
        self.hear(Input::HoldsMore { peer, blob: key, add }, peers, sharing);
    }

    pub(super) fn gone(&mut self, peer: PeerKey, blob: u32, peers: &mut Peers, sharing: &mut Sharing) {
        let Some(key) = self.by_handle(blob) else { return };
        self.lost(key, peer, peers);
        self.hear(Input::Gone { peer, blob: key }, peers, sharing);
    }

    pub(super) fn declined(
        &mut self,
        peer: PeerKey,
        blob: u32,
        chunk: u32,
        why: Why,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        let exists =
            self.downloads.get(&key).and_then(Download::geometry).is_some_and(|g| g.chunk(chunk).is_some());
        if let Some(download) =
            self.downloads.get_mut(&key).filter(|d| matches!(d.doing, Doing::Learning { .. }))
        {
            // What was to come by itself does not.
            let pushed = download.comes(peer, chunk);
            if pushed && download.claim_of(peer).is_none_or(|claim| claim.geometry.chunks() > 1) {
                return;
            }
            let Doing::Learning { learner, .. } = &mut download.doing else { return };
            // Only the chunk of a one-chunk blob can have been asked for by now. The offer is kept: a Have makes it a claim again.
            let step = learner.lost(peer, self.epoch.elapsed());
            return self.step(key, step, peers);
        }
        if exists {
            peers.expect(peer, Expect::Cancel { blob, chunk });
            let why = if why == Why::Busy { Failure::Busy } else { Failure::Missing };
            self.failed(peer, key, chunk, why, peers, sharing);
        }
    }

    fn failed(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        chunk: u32,
        why: Failure,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) {
        self.hear(Input::Failed { peer, blob, chunk, why }, peers, sharing);
    }

    /// A part of a chunk arrived.
    pub(super) fn bytes(&mut self, peer: PeerKey, blob: u32, chunk: u32, bytes: u64) {
        self.goes_on(peer, blob);
        let Some(blob) = self.by_handle(blob) else { return };
        let input = Input::Bytes { peer, blob, chunk, bytes };
        self.scheduler.handle(input, self.epoch.elapsed(), &mut self.out);
    }

    /// A chunk arrived.
    pub(super) fn chunk(
        &mut self,
        peer: PeerKey,
        (blob, chunk, bytes): (u32, u32, u64),
        outcome: Outcome,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        self.bytes(peer, blob, chunk, bytes);
        match outcome {
            Outcome::Written => {
                if let Some(download) = self.downloads.get_mut(&key) {
                    download.credit(peer, chunk, peers);
                }
                self.hear(Input::Verified { peer: Some(peer), blob: key, chunk }, peers, sharing);
            }
            Outcome::Bad => {
                peers.send(peer, Message::Bad { blob, chunk });
                self.failed(peer, key, chunk, Failure::Bad, peers, sharing);
            }
            Outcome::Malformed => {
                self.failed(peer, key, chunk, Failure::Local, peers, sharing);
                if let Some(download) = self.downloads.get(&key) {
                    download.view.send_modify(|v| v.broken = Some(Broken::Malformed));
                }
                self.hear(Input::Pause { blob: key, paused: true }, peers, sharing);
            }
            Outcome::Disk { full, error } => {
                self.failed(peer, key, chunk, Failure::Local, peers, sharing);
                self.pause(key, full, &error, peers, sharing);
            }
        }
    }

    /// The disk refused: wait, and try again now and then. Other downloads go on.
    fn pause(&mut self, key: BlobKey, full: bool, error: &str, peers: &mut Peers, sharing: &mut Sharing) {
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Active { paused, .. } = &mut download.doing else { return };
        if paused.replace(Instant::now()).is_none() {
            let state = if full {
                "the disk is full, the transfer waits for room"
            } else {
                "the disk fails, the transfer waits"
            };
            tracing::warn!(id = %download.id, %error, "paused");
            download.view.send_modify(|v| v.notices.push(format!("{state}: {error}")));
        }
        self.hear(Input::Pause { blob: key, paused: true }, peers, sharing);
    }

    /// A flush failed: whoever asked decides.
    pub(super) fn poisoned(&mut self, poisoned: &Poisoned) {
        let download = self.active(poisoned.id).and_then(|key| self.downloads.get(&key));
        if let Some(download) = download {
            let error = poisoned.error.clone();
            let broken = if poisoned.full { Broken::Full(error) } else { Broken::Disk(error) };
            download.view.send_modify(|v| v.broken = Some(broken));
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, peers: &mut Peers, sharing: &mut Sharing) {
        let now = self.epoch.elapsed();
        self.end_beginnings(peers);
        for key in self.downloads.keys().copied().collect::<Vec<_>>() {
            let Some(download) = self.downloads.get_mut(&key) else { continue };
            match &mut download.doing {
                Doing::Learning { learner, .. } => {
                    let step = learner.tick(now);
                    self.step(key, step, peers);
                }
                Doing::Active { paused, .. } => {
                    if paused.take_if(|since| since.elapsed() >= limits::DISK_FULL_RETRY).is_some() {
                        self.scheduler.handle(Input::Pause { blob: key, paused: false }, now, &mut self.out);
                    }
                }
                Doing::Learned(..) => {}
            }
        }
        self.scheduler.handle(Input::Tick, now, &mut self.out);
        self.carry_out(peers, sharing);
        // Whoever asked has gone: stop, and keep what is verified.
        let orphans: Vec<ContentId> =
            self.downloads.values().filter(|d| d.owner.strong_count() == 0).map(|d| d.id).collect();
        for id in orphans {
            self.stop(id, peers, sharing);
        }
        self.ask_on(peers, sharing);
    }

    /// Brings the views up to date; `tried` tells those who still search what was done.
    pub(super) fn show(&mut self, tried: &[String]) {
        for download in self.downloads.values_mut() {
            if matches!(download.doing, Doing::Learning { .. }) {
                // A thousand may wait: they are woken for news only.
                download.view.send_if_modified(|view| {
                    let new = view.tried != tried;
                    if new {
                        view.tried = tried.to_vec();
                    }
                    new
                });
            }
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        for (key, download) in &mut self.downloads {
            let holders = match download.doing {
                Doing::Active { .. } => self.scheduler.holders(*key),
                _ => download.offers.len(),
            };
            download.refresh(holders as u32);
        }
    }

    /// Lists the running downloads, for status: id, view. Those that nobody waits for any longer are about to end.
    pub(super) fn views(&self) -> Vec<(ContentId, View)> {
        let owned = self.downloads.values().filter(|d| d.owner.strong_count() > 0);
        owned.map(|d| (d.id, d.view.borrow().clone())).collect()
    }
}
