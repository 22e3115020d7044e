//! The scheduler: which chunk to request from which holder, and what to give to whom. It decides without a
//! clock, sockets or randomness of its own.
//!
//! [`Scheduler::handle`] takes one [`Input`] and the time, and appends [`Output`]s that the driver carries
//! out. The time is a [`Now`] since any fixed start, and the seed is an argument: the same inputs lead to the
//! same outputs.
//!
//! **The sender grants, the receiver picks.** A node that has chunks that a neighbour needs *grants* it a
//! place of its uplink (`give`). The neighbour answers with the chunk that it wants most at that moment
//! (`take`; the rarest first, by [`pick`] and [`rarity`]) or declines. A node with first copies names the
//! chunk itself (`super_seeding`). Every node tells its neighbours which chunks it has and which it still
//! needs, a few times a second (`announce`). A chunk that is being sent to a neighbour counts as a copy, so
//! that two neighbours do not request the same chunk while others wait.
//!
//! * [`holders`] knows how fast each peer delivers and when it has stopped; [`inflight`] knows the open
//!   requests.
//! * When no chunk is left to request, the last ones are requested from a second, faster holder
//!   ([`endgame`]).
//! * [`resolve`] learns and proves the kind and the length of an id before anything is scheduled; [`upload`]
//!   is the queue of one session.
//!
//! Cost: a pick is O(1) amortised in chunks, and a grant O(neighbours of the blob). A batch of news is
//! linear, for each neighbour, in the news and in chunks / 64. A peer that comes or goes costs a pass over
//! its have-map.

mod announce;
mod begin;
mod blob;
pub mod endgame;
pub mod event;
mod free_riders;
mod give;
pub mod holders;
pub mod inflight;
mod patience;
pub mod pick;
pub mod rarity;
mod read;
mod reclaim;
pub mod resolve;
mod site_gateways;
mod super_seeding;
mod take;
mod taker;
mod uplink;
pub mod upload;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::{limits, random};
use blob::{BlobSchedule, PeerBlob};
pub use event::{Input, Output, RequestFailure};
use give::Giving;
use holders::Holder;
use inflight::InFlight;
use pick::Picker;
use read::ReadPosition;
pub use site_gateways::{Beat, Tag};
use site_gateways::{Border, SiteView};
use super_seeding::Seed;
use take::Taking;
use taker::Taker;

/// The time since a fixed start that the driver chooses.
pub type Now = Duration;

/// A session with a peer. A peer that comes back gets a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// A blob that is fetched or given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(pub u32);

/// The order in which the chunks of a blob are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkOrder {
    /// Rarest first, which is best for everybody.
    Rarest,
    /// Ascending, because somebody reads along.
    Ascending,
}

/// The scheduler of a node: all blobs that it fetches and gives, and all peers that it has sessions with.
#[derive(Debug)]
pub struct Scheduler {
    random: random::Random,
    peers: BTreeMap<PeerKey, Holder>,
    blobs: BTreeMap<BlobKey, BlobSchedule>,
    inflight: InFlight,
    giving: Giving,
    taking: Taking,
    me: Tag,
}

impl Scheduler {
    /// Returns a scheduler with nothing to do. Its random choices, and its tag among the nodes of its site,
    /// follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: random::Random::new(seed),
            peers: BTreeMap::new(),
            blobs: BTreeMap::new(),
            inflight: InFlight::default(),
            giving: Giving::new(),
            taking: Taking::new(),
            me: seed,
        }
    }

    /// Handles one input and appends the orders that follow from it to `out`.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::PeerUp { peer, near, elsewhere } => {
                self.peers.entry(peer).or_insert_with(|| Holder::new(near, elsewhere, now));
            }
            Input::RoundTrip { peer, took } => {
                self.peers.get_mut(&peer).into_iter().for_each(|holder| holder.is_away(took));
            }
            Input::Limited { near, far } => self.giving.limited(near, far),
            Input::PeerDown { peer } => self.peer_down(peer, now, out),
            Input::Serve { blob, geometry, have, origin } => {
                self.serve(blob, geometry, &have, origin, now, out)
            }
            Input::Withdraw { blob } => self.withdraw(blob, now),
            Input::Want { blob, geometry, have, skip, order } => {
                let picker = Picker::new(&have, skip.as_ref(), order, &mut self.random);
                let fresh = BlobSchedule::new(geometry, have, now);
                self.want(blob, fresh, picker, order, now);
                self.check_complete(blob, out);
            }
            Input::Unwant { blob } => self.unwant(blob, out),
            Input::Pause { blob, paused } => self.pause(blob, paused, now, out),
            Input::Holder { peer, blob, have } => self.begins((peer, blob), have, &[], now, out),
            Input::Begins { peer, blob, have, coming } => self.begins((peer, blob), have, &coming, now, out),
            Input::HolderMore { peer, blob, add } => self.holds_more(peer, blob, &add),
            Input::HolderGone { peer, blob } => self.gone(peer, blob, now, out),
            Input::Interested { peer, blob } => self.takes(peer, blob, now, out),
            Input::NotInterested { peer, blob } => {
                self.forget_taker(peer, blob, now);
                self.give(now, out);
            }
            Input::NeedDelta { peer, blob, add, drop } => {
                self.passed_on(peer, blob, &drop);
                if let Some(b) = self.blobs.get_mut(&blob) {
                    b.needs(peer, &add, &drop, now);
                }
                self.give(now, out);
            }
            Input::Reads { peer, blob } => self.reads(peer, blob),
            Input::Granted { peer, blob, count, hint } => self.granted(peer, blob, count, hint, now, out),
            Input::GrantDeclined { peer, blob, count, busy } => {
                self.refused(peer, blob, count, busy, now, out)
            }
            Input::Requested { peer, blob, chunk } => self.asked((peer, blob, chunk), true, now, out),
            Input::Pushed { peer, blob, chunk } => self.asked((peer, blob, chunk), false, now, out),
            Input::Sending { peer, blob, bytes } => self.sending(peer, blob, bytes, now),
            Input::Sent { peer, blob, whole } => self.sent(peer, blob, whole, now, out),
            Input::Bytes { peer, blob, chunk, bytes } => self.received((peer, blob, chunk), bytes, now),
            Input::Verified { peer, blob, chunk } => self.verified(peer, blob, chunk, now, out),
            Input::Failed { peer, blob, chunk, why } => self.failed(peer, blob, chunk, why, now, out),
            // Only nodes of this site have a say in its gateways.
            Input::Gateways { peer, blob, beats } if self.is_local(peer) => {
                self.gateways(blob, &beats, now, out);
            }
            Input::Gateways { .. } => {}
            Input::Tick => self.tick(now, out),
        }
    }

    /// Begins to want the chunks that `picker` offers, in `order`. `fresh` is taken if the blob is not known
    /// yet.
    fn want(&mut self, blob: BlobKey, fresh: BlobSchedule, picker: Picker, order: ChunkOrder, now: Now) {
        let b = self.blobs.entry(blob).or_insert(fresh);
        b.picker = Some(picker);
        b.reading = (order == ChunkOrder::Ascending).then(|| ReadPosition::new(now));
        b.complete = false;
    }

    /// Pauses a download or continues it, and tells its neighbours.
    fn pause(&mut self, blob: BlobKey, paused: bool, now: Now, out: &mut Vec<Output>) {
        if let Some(b) = self.blobs.get_mut(&blob) {
            b.paused = paused;
            b.news = true;
        }
        self.tell_all(blob, now, out);
    }

    /// Notes that a peer reads the blob in order.
    fn reads(&mut self, peer: PeerKey, blob: BlobKey) {
        let link = self.blobs.get_mut(&blob).and_then(|b| b.links.get_mut(&peer));
        if let Some(taker) = link.and_then(|link| link.taker.as_mut()) {
            taker.reads = true;
        }
    }

    /// Counts `bytes` of a requested chunk that have arrived.
    fn received(&mut self, (peer, blob, chunk): (PeerKey, BlobKey, u32), bytes: u64, now: Now) {
        self.inflight.bytes(peer, blob, chunk, bytes);
        self.taking.received(bytes, now);
        if let Some(holder) = self.peers.get_mut(&peer) {
            holder.received(bytes, now);
        }
    }

    /// Returns the time until [`Input::Tick`] is due, or `None` if there is nothing to do.
    #[must_use]
    pub fn next_tick(&self, now: Now) -> Option<Duration> {
        let busy = |b: &BlobSchedule| b.picker.is_some() || b.links.values().any(|l| l.taker.is_some());
        if !self.blobs.values().any(busy) {
            return None;
        }
        let every = |b: &BlobSchedule| match b.reading {
            Some(_) => self.taking.news_every().min(limits::READ_NEWS),
            None => self.taking.news_every(),
        };
        let news = self.blobs.values().filter(|b| b.news).map(every).min();
        let wake = self.giving.wake().map(|at| at.saturating_sub(now).max(limits::TICK_MIN));
        Some(limits::TICK.min(news.unwrap_or(limits::TICK)).min(wake.unwrap_or(limits::TICK)))
    }

    /// Returns the smoothed rate at which a peer delivers, in bytes per second; 0 for an unknown peer.
    #[must_use]
    pub fn rate(&self, peer: PeerKey) -> u64 {
        self.peers.get(&peer).map_or(0, Holder::rate)
    }

    /// Returns true if the peer has offered or sent something lately, or is new, so that it counts as a
    /// source.
    #[must_use]
    pub fn is_of_use(&self, peer: PeerKey, now: Now) -> bool {
        self.peers.get(&peer).is_some_and(|holder| holder.is_of_use(now))
    }

    /// Returns the number of connected peers that are known to hold some of a blob.
    #[must_use]
    pub fn holders(&self, blob: BlobKey) -> usize {
        self.blobs.get(&blob).and_then(|b| b.picker.as_ref()).map_or(0, Picker::holders)
    }

    /// Returns true if no connected peer has some chunk that is wanted.
    #[must_use]
    pub fn lacks_holder(&self, blob: BlobKey) -> bool {
        self.blobs.get(&blob).and_then(|b| b.picker.as_ref()).is_some_and(Picker::lacks_holder)
    }

    fn serve(
        &mut self,
        blob: BlobKey,
        geometry: Geometry,
        have: &Bitmap,
        origin: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let b = self
            .blobs
            .entry(blob)
            .or_insert_with(|| BlobSchedule::new(geometry, Bitmap::new(geometry.chunks()), now));
        b.share = true;
        for chunk in have.without(&b.have).iter() {
            b.here(chunk);
        }
        if origin && b.seed.is_none() {
            b.seed = Some(Seed::new(geometry.chunks(), &mut self.random));
        }
        self.tell_all(blob, now, out);
        self.give(now, out);
    }

    /// Adds a peer that takes a blob from this node. It is offered places before it has said what it needs,
    /// which saves a round trip: most likely it needs something.
    fn takes(&mut self, peer: PeerKey, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let local = self.is_local(peer);
        let until = self.peers.get(&peer).map_or(Now::ZERO, |holder| holder.patience.until());
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let (chunks, have) = (b.geometry.chunks(), b.have.clone());
        let link = b.link(peer, local);
        link.taker.get_or_insert_with(|| Taker::new(chunks, have.count(), until));
        link.told_have = have;
        self.give(now, out);
    }

    fn withdraw(&mut self, blob: BlobKey, now: Now) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        b.share = false;
        let takers: Vec<PeerKey> =
            b.links.iter().filter(|(_, l)| l.taker.is_some()).map(|(p, _)| *p).collect();
        takers.into_iter().for_each(|peer| self.forget_taker(peer, blob, now));
        if self.blobs.get(&blob).is_some_and(|b| b.picker.is_none()) {
            self.blobs.remove(&blob);
        }
    }

    fn peer_down(&mut self, peer: PeerKey, now: Now, out: &mut Vec<Output>) {
        for blob in self.blobs.keys().copied().collect::<Vec<_>>() {
            self.forget_taker(peer, blob, now);
            self.forget_holder(peer, blob, now, out);
            if let Some(b) = self.blobs.get_mut(&blob) {
                b.links.remove(&peer);
            }
        }
        self.peers.remove(&peer);
        self.give(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.drop_stalled(now, out);
        self.expire_grants(now);
        self.pass_over_stuck(now);
        self.find_late(now);
        self.judge();
        self.beat(now, out);
        for blob in self.blobs.keys().copied().collect::<Vec<_>>() {
            self.tell_due(blob, now, out);
        }
        self.give(now, out);
    }

    fn is_local(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(Holder::is_local)
    }

    /// Takes in a neighbour's beats of the gateways of this site.
    fn gateways(&mut self, blob: BlobKey, beats: &[Beat], now: Now, out: &mut Vec<Output>) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        if let Some(border) = &mut b.border {
            border.heard(beats, now);
            b.tell_gateways(blob, now, out);
        }
    }

    /// Sends this node's own beats as a gateway, and updates the gateways that it knows.
    fn beat(&mut self, now: Now, out: &mut Vec<Output>) {
        for (blob, b) in &mut self.blobs {
            let others = b.has_local();
            let Some(picker) = b.picker.as_ref().filter(|_| others) else {
                // No other node of the site is left: all chunks may be requested from outside again.
                b.news |= b.border.take().is_some();
                continue;
            };
            let chunks = b.geometry.chunks();
            let border = b.border.get_or_insert_with(|| Border::new(chunks));
            let far = || b.links.iter().filter(|(_, l)| !l.local).map(|(peer, _)| *peer);
            let whole = far().any(|peer| picker.peer_has_all(peer));
            let outside = picker.wanted_of(far());
            // Only nodes of this site count: copies elsewhere have to cross the border still.
            let local = b.links.iter().filter(|(_, l)| l.local);
            let near = || picker.had_by(local.clone().map(|(peer, l)| (*peer, l.claims())));
            let neighbours = b.links.values().filter(|l| l.local).count() as u32;
            let (missing, size) = (picker.missing(), b.geometry.chunk_size());
            let view = SiteView { outside: &outside, whole, near, missing, size, neighbours };
            border.tick(self.me, &view, now);
            b.news |= border.take_moved();
            b.tell_gateways(*blob, now, out);
        }
    }

    /// Returns the blob after this one, going round.
    fn blob_after(&self, blob: BlobKey) -> Option<BlobKey> {
        let next = self.blobs.range((Excluded(blob), Unbounded)).next().or_else(|| self.blobs.iter().next());
        next.map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod slow_tests;
#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
#[cfg(test)]
mod world_tests;
