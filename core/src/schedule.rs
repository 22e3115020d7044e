//! Which chunk to ask of which holder: decisions without a clock, sockets or randomness of their own.
//!
//! [`Scheduler::handle`] takes one [`Input`] and the time, and appends [`Output`]s for the driver to carry out. Time is a
//! [`Now`] since any fixed start, the seed an argument: the same inputs give the same outputs.
//!
//! * A chunk is `Skipped`, `Wanted`, `InFlight` or `Have` ([`pick`]), rarest first with random ties.
//! * Every holder has a window of bytes that grows with what it delivers and is bounded by its measured rate
//!   ([`holders`]); a holder that stops delivering loses its requests to others ([`inflight`]).
//! * When nothing unasked is left, the last chunks are asked of a second, faster holder ([`endgame`]).
//! * [`learn`] finds out, and proves, what an id is before anything is scheduled; [`upload`] is the other side.
//!
//! Cost: a pick is O(1) amortised in chunks and peers; a tick is O(peers + chunks in flight); a peer that comes or goes
//! costs its partial have-map once (whole holders are counted, not entered chunk by chunk).

pub mod endgame;
pub mod holders;
pub mod inflight;
pub mod learn;
pub mod pick;
pub mod upload;

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included};
use std::time::Duration;

use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::limits;
use holders::Holder;
use inflight::InFlight;
use pick::Picker;

/// Time since a fixed start.
pub type Now = Duration;

/// A session with a peer; a peer that comes back gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// A blob that is being fetched.
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
    },
    /// It is gone.
    PeerDown {
        /// The session.
        peer: PeerKey,
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
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask this holder for this chunk.
    Request {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
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
    /// Tell everyone who wants the blob that these chunks are here now.
    Announce {
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        chunks: Bitmap,
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

/// One blob being fetched.
#[derive(Debug)]
struct Fetch {
    geometry: Geometry,
    picker: Picker,
    /// Verified since the last announcement.
    fresh: Vec<u32>,
    announced: Now,
    hedged: u64,
    paused: bool,
    complete: bool,
}

/// The scheduler of a node: all blobs it fetches, all peers it fetches from.
#[derive(Debug)]
pub struct Scheduler {
    random: pick::Random,
    peers: BTreeMap<PeerKey, Holder>,
    blobs: BTreeMap<BlobKey, Fetch>,
    inflight: InFlight,
    /// Of [`limits::IN_FLIGHT_BYTES`], what the distance of the holders calls for.
    most_in_flight: u64,
}

impl Scheduler {
    /// A scheduler with nothing to do, whose coin flips follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: pick::Random::new(seed),
            peers: BTreeMap::new(),
            blobs: BTreeMap::new(),
            inflight: InFlight::default(),
            most_in_flight: limits::IN_FLIGHT_NEAR,
        }
    }

    /// Takes in what happened and appends what to do.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::PeerUp { peer, near } => {
                self.peers.entry(peer).or_insert_with(|| Holder::new(near, now));
            }
            Input::PeerDown { peer } => self.peer_down(peer, now, out),
            Input::Want { blob, geometry, have, skip, order } => {
                let picker = Picker::new(&have, skip.as_ref(), order, &mut self.random);
                let fetch = Fetch {
                    geometry,
                    picker,
                    fresh: Vec::new(),
                    announced: now,
                    hedged: 0,
                    paused: false,
                    complete: false,
                };
                self.blobs.insert(blob, fetch);
                self.check_complete(blob, out);
            }
            Input::Unwant { blob } => self.unwant(blob, out),
            Input::Pause { blob, paused } => {
                if let Some(fetch) = self.blobs.get_mut(&blob) {
                    fetch.paused = paused;
                }
                self.fill_all(now, out);
            }
            Input::Holds { peer, blob, have } => {
                let Some(fetch) = self.blobs.get_mut(&blob) else { return };
                if self.peers.contains_key(&peer) {
                    fetch.picker.holder(peer, have);
                    self.fill(peer, now, out);
                }
            }
            Input::HoldsMore { peer, blob, add } => {
                let Some(fetch) = self.blobs.get_mut(&blob) else { return };
                fetch.picker.holder_more(peer, &add);
                self.fill(peer, now, out);
            }
            Input::Gone { peer, blob } => self.gone(peer, blob, now, out),
            Input::Bytes { peer, blob, chunk, bytes } => {
                self.inflight.bytes(peer, blob, chunk, bytes);
                if let Some(holder) = self.peers.get_mut(&peer) {
                    holder.received(bytes, now);
                }
            }
            Input::Verified { peer, blob, chunk } => self.verified(peer, blob, chunk, now, out),
            Input::Failed { peer, blob, chunk, why } => self.failed(peer, blob, chunk, why, now, out),
            Input::Tick => self.tick(now, out),
        }
    }

    /// How long until [`Input::Tick`] is due, if anything is wanted.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        if self.blobs.values().any(|f| !f.fresh.is_empty()) {
            return Some(limits::HAVE_EVERY);
        }
        (!self.blobs.is_empty()).then_some(limits::TICK)
    }

    /// Bytes per second a peer delivers, smoothed.
    #[must_use]
    pub fn rate(&self, peer: PeerKey) -> u64 {
        self.peers.get(&peer).map_or(0, Holder::rate)
    }

    /// Connected peers known to hold some of a blob.
    #[must_use]
    pub fn holders(&self, blob: BlobKey) -> usize {
        self.blobs.get(&blob).map_or(0, |f| f.picker.holders())
    }

    /// True when a chunk is wanted that no connected peer has.
    #[must_use]
    pub fn lacks_holder(&self, blob: BlobKey) -> bool {
        self.blobs.get(&blob).is_some_and(|f| f.picker.lacks_holder())
    }

    fn peer_down(&mut self, peer: PeerKey, now: Now, out: &mut Vec<Output>) {
        for (blob, chunk) in self.inflight.of_peer(peer) {
            self.end_request(peer, blob, chunk);
        }
        self.peers.remove(&peer);
        for fetch in self.blobs.values_mut() {
            fetch.picker.remove_holder(peer);
        }
        self.fill_all(now, out);
    }

    fn unwant(&mut self, blob: BlobKey, out: &mut Vec<Output>) {
        for (peer, chunk) in self.inflight.of_blob(blob) {
            self.end_request(peer, blob, chunk);
            out.push(Output::Cancel { peer, blob, chunk });
        }
        self.blobs.remove(&blob);
    }

    fn gone(&mut self, peer: PeerKey, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        for (_, chunk) in self.inflight.of_peer(peer).into_iter().filter(|(b, _)| *b == blob) {
            self.end_request(peer, blob, chunk);
        }
        if let Some(fetch) = self.blobs.get_mut(&blob) {
            fetch.picker.remove_holder(peer);
        }
        self.fill_all(now, out);
    }

    fn verified(
        &mut self,
        peer: Option<PeerKey>,
        blob: BlobKey,
        chunk: u32,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(fetch) = self.blobs.get_mut(&blob) else { return };
        let size = fetch.geometry.chunk(chunk).map_or(0, |c| fetch.geometry.size(c) as u64);
        for owner in self.inflight.owners(blob, chunk) {
            self.end_request(owner, blob, chunk);
            if Some(owner) != peer {
                out.push(Output::Cancel { peer: owner, blob, chunk });
            }
        }
        let Some(fetch) = self.blobs.get_mut(&blob) else { return };
        if fetch.picker.have(chunk) {
            fetch.fresh.push(chunk);
        }
        self.announce(blob, now, out);
        self.check_complete(blob, out);
        if let Some(peer) = peer {
            if let Some(holder) = self.peers.get_mut(&peer) {
                holder.delivered(size, now);
            }
            self.fill(peer, now, out);
        }
    }

    fn failed(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        chunk: u32,
        why: Failure,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.end_request(peer, blob, chunk);
        match why {
            Failure::Bad => {
                out.push(Output::Ban { peer, blob, chunk });
                self.peer_down(peer, now, out);
            }
            Failure::Busy => {
                if let Some(holder) = self.peers.get_mut(&peer) {
                    holder.back_off(now);
                }
                self.fill_all(now, out);
            }
            Failure::Missing => {
                if let Some(fetch) = self.blobs.get_mut(&blob) {
                    fetch.picker.holder_lost(peer, chunk);
                }
                self.fill_all(now, out);
            }
            Failure::Local => {}
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.drop_stalled(now, out);
        let due: Vec<BlobKey> = self.blobs.keys().copied().collect();
        for blob in due {
            self.announce(blob, now, out);
        }
        self.fill_all(now, out);
    }

    /// A holder that has sent nothing for too long loses its requests; it is asked again after a pause that doubles.
    fn drop_stalled(&mut self, now: Now, out: &mut Vec<Output>) {
        let stalled: Vec<PeerKey> =
            self.peers.iter().filter(|(_, h)| h.is_stalled(now)).map(|(key, _)| *key).collect();
        for peer in stalled {
            for (blob, chunk) in self.inflight.of_peer(peer) {
                self.end_request(peer, blob, chunk);
                out.push(Output::Cancel { peer, blob, chunk });
            }
            if let Some(holder) = self.peers.get_mut(&peer) {
                holder.stalled(now);
            }
        }
    }

    /// Takes one request out of every book; the chunk is wanted again if nobody else was asked for it.
    fn end_request(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32) {
        let Some(size) = self.inflight.remove(peer, blob, chunk) else { return };
        if let Some(holder) = self.peers.get_mut(&peer) {
            holder.ended(size);
        }
        if let Some(fetch) = self.blobs.get_mut(&blob) {
            fetch.picker.released(chunk);
        }
    }

    fn announce(&mut self, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let Some(fetch) = self.blobs.get_mut(&blob) else { return };
        let due = now >= fetch.announced + limits::HAVE_EVERY || fetch.picker.is_complete();
        if fetch.fresh.is_empty() || !due {
            return;
        }
        let mut chunks = Bitmap::new(fetch.geometry.chunks());
        fetch.fresh.drain(..).for_each(|c| chunks.set(c));
        fetch.announced = now;
        out.push(Output::Announce { blob, chunks });
    }

    fn check_complete(&mut self, blob: BlobKey, out: &mut Vec<Output>) {
        if let Some(fetch) = self.blobs.get_mut(&blob)
            && fetch.picker.is_complete()
            && !std::mem::replace(&mut fetch.complete, true)
        {
            out.push(Output::Complete { blob });
        }
    }

    fn fill_all(&mut self, now: Now, out: &mut Vec<Output>) {
        // Nearest first; the fastest of equals, so that a far or slow holder is asked for what is left.
        let mut order: Vec<(u8, u64, PeerKey)> = self
            .peers
            .iter()
            .filter(|(_, h)| h.may_ask(now))
            .map(|(key, h)| (h.near(), u64::MAX - h.rate(), *key))
            .collect();
        order.sort_unstable();
        let under_way: u64 = self.peers.values().map(Holder::under_way).sum();
        self.most_in_flight = (limits::IN_FLIGHT_NEAR + 2 * under_way).min(limits::IN_FLIGHT_BYTES);
        for (_, _, peer) in order {
            self.fill(peer, now, out);
        }
    }

    /// Asks one holder for as much as its window and the node's memory allow.
    fn fill(&mut self, peer: PeerKey, now: Now, out: &mut Vec<Output>) {
        while self.peers.get(&peer).is_some_and(|h| h.may_ask(now)) {
            let Some((blob, chunk, size)) = self.choose(peer, now) else { return };
            self.inflight.add(peer, blob, chunk, size, now);
            if let Some(holder) = self.peers.get_mut(&peer) {
                holder.asked(blob, chunk, size, now);
            }
            out.push(Output::Request { peer, blob, chunk });
        }
    }

    /// A chunk for this holder: the next of its run, else by the blob's order, blobs in turn; else a hedge.
    fn choose(&mut self, peer: PeerKey, now: Now) -> Option<(BlobKey, u32, u64)> {
        let holder = self.peers.get(&peer)?;
        let room = self.most_in_flight.saturating_sub(self.inflight.bytes_total());
        let mut turn = self.blob_at(Included(holder.last_blob()));
        for _ in 0..self.blobs.len() {
            let Some(blob) = turn else { break };
            turn = self.blob_at(Excluded(blob));
            let Some(fetch) = self.blobs.get_mut(&blob) else { break };
            let fits = room >= fetch.geometry.chunk_size() || self.inflight.bytes_total() == 0;
            if fetch.paused || !fits || !fetch.picker.holds(peer) {
                continue;
            }
            let next = self.peers.get(&peer).and_then(|h| h.next_of_run(blob));
            if let Some(chunk) = fetch.picker.pick(peer, next, &mut self.random) {
                let size = fetch.geometry.chunk(chunk).map_or(0, |c| fetch.geometry.size(c) as u64);
                return Some((blob, chunk, size));
            }
        }
        self.hedge(peer, now)
    }

    /// The next blob from here on, going round.
    fn blob_at(&self, from: Bound<BlobKey>) -> Option<BlobKey> {
        let next = self.blobs.range((from, Bound::Unbounded)).next().or_else(|| self.blobs.iter().next());
        next.map(|(key, _)| *key)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
