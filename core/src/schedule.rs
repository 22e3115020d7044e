//! Which chunk to ask of which holder, and whom to give what: decisions without a clock, sockets or randomness of their
//! own.
//!
//! [`Scheduler::handle`] takes one [`Input`] and the time, and appends [`Output`]s for the driver to carry out. Time is a
//! [`Now`] since any fixed start, the seed an argument: the same inputs give the same outputs.
//!
//! **Sender grants, receiver picks.** Whoever has chunks that a neighbour needs *grants* it a place of its uplink
//! (`give`); the neighbour answers with the chunk it wants most at that moment (`take`, rarest first by [`pick`] and
//! [`rarity`]) or declines. A node with first copies says itself which (`seed`). Everybody tells its neighbours what it
//! has and what it still needs, a few times a second (`tell`); what is being sent to somebody counts as a copy, so
//! that two neighbours do not ask for the same chunk while others wait.
//!
//! * [`holders`] knows how fast each peer delivers and when it has stopped, [`inflight`] who was asked for what.
//! * When nothing unasked is left, the last chunks are asked of a second, faster holder ([`endgame`]).
//! * [`resolve`] finds out, and proves, what an id is before anything is scheduled; [`upload`] is one session's queue.
//!
//! Cost: a pick is O(1) amortised in chunks; a grant O(neighbours of the blob); a batch of news O(chunks / 64 + news) for
//! each neighbour; a peer that comes or goes costs its have-map once.

mod announce;
mod begin;
mod blob;
pub mod endgame;
pub mod event;
mod free_riders;
mod give;
pub mod holders;
pub mod inflight;
pub mod pick;
pub mod rarity;
mod read;
mod reclaim;
pub mod resolve;
mod site_gateways;
mod super_seeding;
mod take;
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
use give::{Giving, Taker};
use holders::Holder;
use inflight::InFlight;
use pick::Picker;
use read::ReadPosition;
pub use site_gateways::{Beat, Tag};
use site_gateways::{Border, SiteView};
use super_seeding::Seed;
use take::Taking;

/// Time since a fixed start.
pub type Now = Duration;

/// A session with a peer; a peer that comes back gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// A blob that is fetched or given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(pub u32);

/// In which order a blob's chunks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkOrder {
    /// Rarest first: best for everybody.
    Rarest,
    /// Ascending: somebody reads along.
    Ascending,
}

/// The scheduler of a node: all blobs it fetches and gives, all peers it has sessions with.
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
    /// A scheduler with nothing to do, whose coin flips (and name among the nodes of its site) follow from `seed`.
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

    /// Takes in what happened and appends what to do.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::PeerUp { peer, near, elsewhere } => {
                self.peers.entry(peer).or_insert_with(|| Holder::new(near, elsewhere, now));
            }
            Input::RoundTrip { peer, took } => {
                self.peers.get_mut(&peer).into_iter().for_each(|holder| holder.is_away(took));
            }
            Input::PeerDown { peer } => self.peer_down(peer, now, out),
            Input::Serve { blob, geometry, have, origin } => {
                self.serve(blob, geometry, &have, origin, now, out)
            }
            Input::Withdraw { blob } => self.withdraw(blob, now),
            Input::Want { blob, geometry, have, skip, order } => {
                let picker = Picker::new(&have, skip.as_ref(), order, &mut self.random);
                let b = self.blobs.entry(blob).or_insert_with(|| BlobSchedule::new(geometry, have, now));
                b.picker = Some(picker);
                b.reading = (order == ChunkOrder::Ascending).then(|| ReadPosition::new(now));
                b.complete = false;
                self.check_complete(blob, out);
            }
            Input::Unwant { blob } => self.unwant(blob, out),
            Input::Pause { blob, paused } => {
                if let Some(b) = self.blobs.get_mut(&blob) {
                    b.paused = paused;
                    b.news = true;
                }
                self.tell_all(blob, now, out);
            }
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
            Input::Reads { peer, blob } => {
                let link = self.blobs.get_mut(&blob).and_then(|b| b.links.get_mut(&peer));
                if let Some(taker) = link.and_then(|link| link.taker.as_mut()) {
                    taker.reads = true;
                }
            }
            Input::Granted { peer, blob, count, hint } => self.granted(peer, blob, count, hint, now, out),
            Input::GrantDeclined { peer, blob, count, busy } => {
                self.refused(peer, blob, count, busy, now, out)
            }
            Input::Requested { peer, blob, chunk } => self.asked((peer, blob, chunk), true, now, out),
            Input::Pushed { peer, blob, chunk } => self.asked((peer, blob, chunk), false, now, out),
            Input::Sent { peer, blob, whole } => self.sent(peer, blob, whole, now, out),
            Input::Bytes { peer, blob, chunk, bytes } => {
                self.inflight.bytes(peer, blob, chunk, bytes);
                self.taking.received(bytes, now);
                if let Some(holder) = self.peers.get_mut(&peer) {
                    holder.received(bytes, now);
                }
            }
            Input::Verified { peer, blob, chunk } => self.verified(peer, blob, chunk, now, out),
            Input::Failed { peer, blob, chunk, why } => self.failed(peer, blob, chunk, why, now, out),
            // Who is not of our site has no say in it.
            Input::Gateways { peer, blob, beats } if self.is_local(peer) => {
                self.gateways(blob, &beats, now, out);
            }
            Input::Gateways { .. } => {}
            Input::Tick => self.tick(now, out),
        }
    }

    /// How long until [`Input::Tick`] is due, if there is anything to do.
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

    /// Bytes per second a peer delivers, smoothed.
    #[must_use]
    pub fn rate(&self, peer: PeerKey) -> u64 {
        self.peers.get(&peer).map_or(0, Holder::rate)
    }

    /// A peer offers or sends us something now and then, or is new: one to count on.
    #[must_use]
    pub fn is_of_use(&self, peer: PeerKey, now: Now) -> bool {
        self.peers.get(&peer).is_some_and(|holder| holder.is_of_use(now))
    }

    /// Connected peers known to hold some of a blob.
    #[must_use]
    pub fn holders(&self, blob: BlobKey) -> usize {
        self.blobs.get(&blob).and_then(|b| b.picker.as_ref()).map_or(0, Picker::holders)
    }

    /// True when a chunk is wanted that no connected peer has.
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

    /// A peer takes a blob of us. Most likely it needs something: that it is offered places before it has said so saves a
    /// round trip.
    fn takes(&mut self, peer: PeerKey, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let local = self.is_local(peer);
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let (chunks, have) = (b.geometry.chunks(), b.have.clone());
        let link = b.link(peer, local);
        link.taker.get_or_insert_with(|| Taker::new(chunks, have.count()));
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

    /// A neighbour tells which nodes fetch across the border of our site.
    fn gateways(&mut self, blob: BlobKey, beats: &[Beat], now: Now, out: &mut Vec<Output>) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        if let Some(border) = &mut b.border {
            border.heard(beats, now);
            b.tell_gateways(blob, now, out);
        }
    }

    /// Makes ourselves known as a gateway, and looks whether others still do.
    fn beat(&mut self, now: Now, out: &mut Vec<Output>) {
        for (blob, b) in &mut self.blobs {
            let local = b.has_local();
            let Some(picker) = b.picker.as_ref().filter(|_| local) else {
                // All of us that is left of the site: everything is ours to ask for.
                b.news |= b.border.take().is_some();
                continue;
            };
            let chunks = b.geometry.chunks();
            let border = b.border.get_or_insert_with(|| Border::new(chunks));
            let far = || b.links.iter().filter(|(_, l)| !l.local).map(|(peer, _)| *peer);
            let whole = far().any(|peer| picker.peer_has_all(peer));
            let outside = picker.wanted_of(far());
            let near = |c: u32| picker.copies(c) > 0;
            let neighbours = b.links.values().filter(|l| l.local).count() as u32;
            let (missing, size) = (picker.missing(), b.geometry.chunk_size());
            let view = SiteView { outside: &outside, whole, near, missing, size, neighbours };
            border.tick(self.me, &view, now);
            b.news |= border.take_moved();
            b.tell_gateways(*blob, now, out);
        }
    }

    /// The next blob after this one, going round.
    fn blob_after(&self, blob: BlobKey) -> Option<BlobKey> {
        let next = self.blobs.range((Excluded(blob), Unbounded)).next().or_else(|| self.blobs.iter().next());
        next.map(|(key, _)| *key)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
#[cfg(test)]
mod world_tests;
