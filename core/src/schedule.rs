//! Which chunk to ask of which holder, and whom to give what: decisions without a clock, sockets or randomness of their
//! own.
//!
//! [`Scheduler::handle`] takes one [`Input`] and the time, and appends [`Output`]s for the driver to carry out. Time is a
//! [`Now`] since any fixed start, the seed an argument: the same inputs give the same outputs.
//!
//! **Sender grants, receiver picks.** Whoever has chunks that a neighbour needs *grants* it a place of its uplink
//! ([`give`]); the neighbour answers with the chunk it wants most at that moment ([`take`], rarest first by [`pick`] and
//! [`rarity`]) or declines. A node with first copies says itself which ([`seed`]). Everybody tells its neighbours what it
//! has and what it still needs, a few times a second ([`tell`]); what is being sent to somebody counts as a copy, so
//! that two neighbours do not ask for the same chunk while others wait.
//!
//! * [`holders`] knows how fast each peer delivers and when it has stopped, [`inflight`] who was asked for what.
//! * When nothing unasked is left, the last chunks are asked of a second, faster holder ([`endgame`]).
//! * [`learn`] finds out, and proves, what an id is before anything is scheduled; [`upload`] is one session's queue.
//!
//! Cost: a pick is O(1) amortised in chunks; a grant O(neighbours of the blob); a batch of news O(chunks / 64 + news) for
//! each neighbour; a peer that comes or goes costs its have-map once.

mod border;
pub mod endgame;
mod give;
pub mod holders;
pub mod inflight;
pub mod learn;
pub mod pick;
pub mod rarity;
mod seed;
mod take;
mod tell;
pub mod upload;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::limits;
use border::Border;
pub use border::{Beat, Tag};
use give::{Giving, Taker};
use holders::Holder;
use inflight::InFlight;
use pick::Picker;
use seed::Seed;
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
pub enum Order {
    /// Rarest first: best for everybody.
    Rarest,
    /// Ascending: somebody reads along.
    Ascending,
}

/// Why a request ended without its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The bytes did not verify: the holder is dishonest or broken.
    Bad,
    /// The holder has too much to do.
    Busy,
    /// The holder has not got it.
    Missing,
    /// We could not write it: nobody's fault on the wire.
    Local,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A session with a peer is up. `near` is 0 for this machine, 1 for the LAN, more for farther.
    PeerUp {
        /// The session.
        peer: PeerKey,
        /// Distance class.
        near: u8,
        /// It is of our site.
        local: bool,
    },
    /// It is gone.
    PeerDown {
        /// The session.
        peer: PeerKey,
    },
    /// This blob is here, whole or in part, for whoever asks.
    Serve {
        /// A number for it.
        blob: BlobKey,
        /// Its chunks.
        geometry: Geometry,
        /// What is there.
        have: Bitmap,
        /// It was published here: ours may be the only copy.
        origin: bool,
    },
    /// It can no longer be had of us.
    Withdraw {
        /// The blob.
        blob: BlobKey,
    },
    /// Fetch this blob.
    Want {
        /// A number for it.
        blob: BlobKey,
        /// Its chunks.
        geometry: Geometry,
        /// What is there already.
        have: Bitmap,
        /// What else not to fetch.
        skip: Option<Bitmap>,
        /// In which order.
        order: Order,
    },
    /// No longer fetch it: done or given up.
    Unwant {
        /// The blob.
        blob: BlobKey,
    },
    /// Fetch nothing of it for now (the disk is full), or go on.
    Pause {
        /// The blob.
        blob: BlobKey,
        /// Pause or go on.
        paused: bool,
    },
    /// What a peer has of a blob, in full.
    Holds {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Every chunk it has.
        have: Bitmap,
    },
    /// What a peer has in addition.
    HoldsMore {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        add: Bitmap,
    },
    /// It has nothing of it any longer.
    Gone {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A peer takes this blob of us, and was told what is here.
    Takes {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// It does not any longer.
    TakesNot {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// Which chunks a taker would take of us: changes to what it said before (at first: to nothing).
    Needs {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Chunks it would take now.
        add: Bitmap,
        /// Chunks it has, or is being sent.
        drop: Bitmap,
    },
    /// A holder has a place of its uplink for us.
    Granted {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// The chunk it would rather send.
        hint: Option<u32>,
    },
    /// A taker has no use for some of its grants.
    Refused {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// It is busy; else it needs nothing that we have.
        busy: bool,
    },
    /// A taker asks for a chunk.
    Asked {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// What [`Output::Send`] said was sent, or (`whole` is false) need not be any longer.
    Sent {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// All of it went out.
        whole: bool,
    },
    /// Some bytes of a requested chunk arrived.
    Bytes {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// How many since the last time.
        bytes: u64,
    },
    /// A chunk is verified and written. `peer` is `None` when it came from this machine's own disk.
    Verified {
        /// The session that delivered it.
        peer: Option<PeerKey>,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// A request ended without its chunk.
    Failed {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// Why.
        why: Failure,
    },
    /// A neighbour of our site tells which nodes of it fetch across its border, and their beats.
    Gateways {
        /// The blob.
        blob: BlobKey,
        /// The last beat of each.
        beats: Vec<Beat>,
    },
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask this holder for this chunk, against its grant.
    Request {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Tell this holder that some of its grants are not used.
    Refuse {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// For now only; else it has nothing we need.
        busy: bool,
    },
    /// It need not send it any longer.
    Cancel {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Offer this taker a place of our uplink.
    Grant {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// The chunk it should ask for if it can.
        hint: Option<u32>,
    },
    /// Send this taker the chunk it asked for, and tell with [`Input::Sent`].
    Send {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Tell this taker that it is not sent the chunk.
    Decline {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// [`Failure::Busy`] or [`Failure::Missing`].
        why: Failure,
    },
    /// Tell this taker that these chunks are here now.
    Have {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        add: Bitmap,
    },
    /// Tell this holder how what we would take of it has changed.
    Need {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Chunks we would take now.
        add: Bitmap,
        /// Chunks that are here or on their way.
        drop: Bitmap,
    },
    /// Tell this neighbour which nodes of our site fetch across its border.
    Gateways {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The last beat of each.
        beats: Vec<Beat>,
    },
    /// This peer sent bytes that are not what they claim to be: close the session and ban it.
    Ban {
        /// The session.
        peer: PeerKey,
        /// The blob it lied about.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Every wanted chunk is here.
    Complete {
        /// The blob.
        blob: BlobKey,
    },
}

/// One blob that is fetched, given, or both.
#[derive(Debug)]
struct Blob {
    geometry: Geometry,
    /// Verified chunks.
    have: Bitmap,
    /// While it is fetched.
    picker: Option<Picker>,
    /// What is here may be given.
    share: bool,
    /// While ours may be the only copy.
    seed: Option<Seed>,
    links: BTreeMap<PeerKey, Link>,
    /// While it is fetched by others of our site too.
    border: Option<Border>,
    /// There are news since they were last told.
    news: bool,
    told: Now,
    /// At the end: chunks on their way for too long.
    late: Option<Bitmap>,
    hedged: u64,
    paused: bool,
    complete: bool,
}

/// What one peer and one blob have to do with each other.
#[derive(Debug)]
struct Link {
    /// It is of our site.
    local: bool,
    /// It takes of us.
    taker: Option<Taker>,
    /// What it was told is here.
    told_have: Bitmap,
    /// It holds some: what it was told we would take of it.
    told_need: Option<Bitmap>,
}

/// The scheduler of a node: all blobs it fetches and gives, all peers it has sessions with.
#[derive(Debug)]
pub struct Scheduler {
    random: pick::Random,
    peers: BTreeMap<PeerKey, Holder>,
    blobs: BTreeMap<BlobKey, Blob>,
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
            random: pick::Random::new(seed),
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
            Input::PeerUp { peer, near, local } => {
                self.peers.entry(peer).or_insert_with(|| Holder::new(near, local, now));
            }
            Input::PeerDown { peer } => self.peer_down(peer, now, out),
            Input::Serve { blob, geometry, have, origin } => self.serve(blob, geometry, have, origin, now, out),
            Input::Withdraw { blob } => self.withdraw(blob),
            Input::Want { blob, geometry, have, skip, order } => {
                let picker = Picker::new(&have, skip.as_ref(), order, &mut self.random);
                let b = self.blobs.entry(blob).or_insert_with(|| Blob::new(geometry, have, now));
                b.picker = Some(picker);
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
            Input::Holds { peer, blob, have } => self.holds(peer, blob, have, now, out),
            Input::HoldsMore { peer, blob, add } => self.holds_more(peer, blob, &add),
            Input::Gone { peer, blob } => self.gone(peer, blob, now, out),
            Input::Takes { peer, blob } => {
                let local = self.is_local(peer);
                if let Some(b) = self.blobs.get_mut(&blob) {
                    let (chunks, have) = (b.geometry.chunks(), b.have.clone());
                    let link = b.link(peer, local);
                    link.taker.get_or_insert_with(|| Taker::new(chunks));
                    link.told_have = have;
                }
            }
            Input::TakesNot { peer, blob } => {
                self.forget_taker(peer, blob);
                self.give(now, out);
            }
            Input::Needs { peer, blob, add, drop } => {
                if let Some(b) = self.blobs.get_mut(&blob) {
                    b.needs(peer, &add, &drop);
                }
                self.give(now, out);
            }
            Input::Granted { peer, blob, count, hint } => self.granted(peer, blob, count, hint, now, out),
            Input::Refused { peer, blob, count, busy } => self.refused(peer, blob, count, busy, now, out),
            Input::Asked { peer, blob, chunk } => self.asked(peer, blob, chunk, now, out),
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
            Input::Gateways { blob, beats } => self.gateways(blob, &beats, now, out),
            Input::Tick => self.tick(now, out),
        }
    }

    /// How long until [`Input::Tick`] is due, if there is anything to do.
    #[must_use]
    pub fn next_tick(&self, now: Now) -> Option<Duration> {
        let busy = |b: &Blob| b.picker.is_some() || b.links.values().any(|l| l.taker.is_some());
        if !self.blobs.values().any(busy) {
            return None;
        }
        let news = self.blobs.values().any(|b| b.news).then(|| self.taking.news_every());
        let wake = self.giving.wake().map(|at| at.saturating_sub(now).max(limits::TICK_MIN));
        Some(limits::TICK.min(news.unwrap_or(limits::TICK)).min(wake.unwrap_or(limits::TICK)))
    }

    /// Bytes per second a peer delivers, smoothed.
    #[must_use]
    pub fn rate(&self, peer: PeerKey) -> u64 {
        self.peers.get(&peer).map_or(0, Holder::rate)
    }

    /// Bytes per second we send while there is something to send, smoothed.
    #[must_use]
    pub const fn upload_rate(&self) -> u64 {
        self.giving.rate()
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

    fn serve(&mut self, blob: BlobKey, geometry: Geometry, have: Bitmap, origin: bool, now: Now, out: &mut Vec<Output>) {
        let b = self.blobs.entry(blob).or_insert_with(|| Blob::new(geometry, Bitmap::new(geometry.chunks()), now));
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

    fn withdraw(&mut self, blob: BlobKey) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        b.share = false;
        let takers: Vec<PeerKey> = b.links.iter().filter(|(_, l)| l.taker.is_some()).map(|(p, _)| *p).collect();
        takers.into_iter().for_each(|peer| self.forget_taker(peer, blob));
        if self.blobs.get(&blob).is_some_and(|b| b.picker.is_none()) {
            self.blobs.remove(&blob);
        }
    }

    fn peer_down(&mut self, peer: PeerKey, now: Now, out: &mut Vec<Output>) {
        for blob in self.blobs.keys().copied().collect::<Vec<_>>() {
            self.forget_taker(peer, blob);
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
        self.find_late(now);
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
                b.border = None;
                continue;
            };
            let chunks = b.geometry.chunks();
            let border = b.border.get_or_insert_with(|| Border::new(chunks));
            let before = border.mine().count();
            let far = || b.links.iter().filter(|(_, l)| !l.local).map(|(peer, _)| *peer);
            let whole = far().any(|peer| picker.peer_has_all(peer));
            border.tick(self.me, &picker.wanted_of(far()), whole, |c| picker.copies(c) > 0, now);
            b.news |= border.mine().count() != before;
            b.tell_gateways(*blob, now, out);
        }
    }

    /// The next blob after this one, going round.
    fn blob_after(&self, blob: BlobKey) -> Option<BlobKey> {
        let next = self.blobs.range((Excluded(blob), Unbounded)).next().or_else(|| self.blobs.iter().next());
        next.map(|(key, _)| *key)
    }
}

impl Blob {
    fn new(geometry: Geometry, have: Bitmap, now: Now) -> Self {
        Self {
            geometry,
            have,
            picker: None,
            share: false,
            seed: None,
            links: BTreeMap::new(),
            border: None,
            news: false,
            told: now,
            late: None,
            hedged: 0,
            paused: false,
            complete: false,
        }
    }

    /// Somebody of our site has to do with it.
    fn has_local(&self) -> bool {
        self.links.values().any(|l| l.local)
    }

    fn tell_gateways(&mut self, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let Some(beats) = self.border.as_mut().and_then(|border| border.take_news(now)) else { return };
        for peer in self.links.iter().filter(|(_, l)| l.local).map(|(peer, _)| *peer) {
            out.push(Output::Gateways { peer, blob, beats: beats.clone() });
        }
    }

    fn link(&mut self, peer: PeerKey, local: bool) -> &mut Link {
        let chunks = self.geometry.chunks();
        if local && self.picker.is_some() && self.border.is_none() {
            self.border = Some(Border::new(chunks));
        }
        let none = || Link { local, taker: None, told_have: Bitmap::new(chunks), told_need: None };
        self.links.entry(peer).or_insert_with(none)
    }

    /// A chunk is here now.
    fn here(&mut self, chunk: u32) {
        if self.have.get(chunk) {
            return;
        }
        self.have.set(chunk);
        self.news = true;
        for taker in self.links.values_mut().filter_map(|l| l.taker.as_mut()) {
            taker.useful += u32::from(!taker.taken.get(chunk));
        }
    }

    /// A taker has, or is being sent, a chunk.
    fn takes(&mut self, peer: PeerKey, chunk: u32) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let (local, Some(taker)) = (link.local, &mut link.taker) else { return };
        if taker.taken.get(chunk) {
            return;
        }
        taker.taken.set(chunk);
        taker.useful -= u32::from(self.have.get(chunk));
        if local {
            self.count_claim(peer, chunk, 1);
        }
    }

    fn count_claim(&mut self, peer: PeerKey, chunk: u32, by: i16) {
        if let Some(picker) = &mut self.picker {
            picker.claimed(peer, chunk, by);
        }
        if let Some(seed) = &mut self.seed {
            seed.shift(chunk, by);
        }
    }

    /// A taker says how what it would take of us has changed.
    fn needs(&mut self, peer: PeerKey, add: &Bitmap, drop: &Bitmap) {
        let have = &self.have;
        let Some(link) = self.links.get_mut(&peer) else { return };
        let (local, Some(taker)) = (link.local, &mut link.taker) else { return };
        if !std::mem::replace(&mut taker.known, true) {
            taker.taken = Bitmap::full(have.len()).without(add);
            taker.useful = have.and(add).count();
            // One outside says what is its own to import: the rest it may have or not.
            let taken = if local { taker.taken.clone() } else { Bitmap::new(have.len()) };
            taken.iter().for_each(|c| self.count_claim(peer, c, 1));
            return;
        }
        let again = add.and(&taker.taken);
        for chunk in again.iter() {
            taker.taken.clear(chunk);
            taker.useful += u32::from(have.get(chunk));
        }
        if local {
            again.iter().for_each(|c| self.count_claim(peer, c, -1));
        }
        drop.iter().for_each(|c| self.takes(peer, c));
    }
}

impl Link {
    /// What it is known to have or be sent. One outside says only what is its own to import.
    fn claims(&self) -> Option<&Bitmap> {
        let taker = self.taker.as_ref().filter(|t| t.known && self.local)?;
        Some(&taker.taken)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
