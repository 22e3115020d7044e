//! The state of one blob: its chunks here, its takers, its holders, and the news that each of them has been
//! told.

use std::collections::BTreeMap;

use super::pick::Picker;
use super::read::ReadPosition;
use super::site_gateways::Border;
use super::super_seeding::Seed;
use super::taker::Taker;
use super::{BlobKey, Now, Output, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;

/// The state of one blob that is fetched, given, or both.
#[derive(Debug)]
pub(super) struct BlobSchedule {
    pub(super) geometry: Geometry,
    /// The verified chunks.
    pub(super) have: Bitmap,
    /// The choice of chunks, while the blob is fetched.
    pub(super) picker: Option<Picker>,
    /// True if the chunks that are here may be given to others.
    pub(super) share: bool,
    /// The spread of first copies, while this node may have the only one.
    pub(super) seed: Option<Seed>,
    pub(super) links: BTreeMap<PeerKey, PeerBlob>,
    /// The gateways of the site, while other nodes of it take part too.
    pub(super) border: Option<Border>,
    /// True if there is news since the neighbours were last told.
    pub(super) news: bool,
    pub(super) told: Now,
    /// The place of a reader, while somebody reads along.
    pub(super) reading: Option<ReadPosition>,
    /// Chunks that have been under way for too long: at the end of the blob, or next for a reader. `None` at
    /// other times.
    pub(super) late: Option<Bitmap>,
    pub(super) hedged: u64,
    /// The number of times since a chunk last came that requests were taken back because their holder was
    /// slow.
    pub(super) crawls: u32,
    /// The number of times since a chunk last came that requests were taken back because their holder was
    /// silent.
    pub(super) stalls: u32,
    pub(super) paused: bool,
    pub(super) complete: bool,
}

/// The state between one peer and one blob.
#[derive(Debug)]
pub(super) struct PeerBlob {
    /// True if the peer is of this node's site.
    pub(super) local: bool,
    /// The giving side, if the peer takes the blob from this node.
    pub(super) taker: Option<Taker>,
    /// The chunks that the peer was told are here.
    pub(super) told_have: Bitmap,
    /// The chunks that the peer knows this node would take from it; `None` if it holds nothing. A request
    /// removes its chunk without being told.
    pub(super) told_need: Option<Bitmap>,
    /// True if the peer, as a holder, was told which chunks this node would take, or that there are none.
    pub(super) needs_told: bool,
    /// True if the peer, as a holder, knows that somebody reads along.
    pub(super) told_reads: bool,
    /// The chunks that were requested from the peer and have not come.
    pub(super) owed: Bitmap,
}

impl BlobSchedule {
    pub(super) fn new(geometry: Geometry, have: Bitmap, now: Now) -> Self {
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
            reading: None,
            late: None,
            hedged: 0,
            crawls: 0,
            stalls: 0,
            paused: false,
            complete: false,
        }
    }

    /// Returns true if a node of this site takes or holds the blob.
    pub(super) fn has_local(&self) -> bool {
        self.links.values().any(|l| l.local)
    }

    pub(super) fn tell_gateways(&mut self, blob: BlobKey, now: Now, out: &mut Vec<Output>) {
        let Some(beats) = self.border.as_mut().and_then(|border| border.take_news(now)) else { return };
        for peer in self.links.iter().filter(|(_, l)| l.local).map(|(peer, _)| *peer) {
            out.push(Output::Gateways { peer, blob, beats: beats.clone() });
        }
    }

    pub(super) fn link(&mut self, peer: PeerKey, local: bool) -> &mut PeerBlob {
        let chunks = self.geometry.chunks();
        if local && self.picker.is_some() && self.border.is_none() {
            self.border = Some(Border::new(chunks));
        }
        let none = || PeerBlob {
            local,
            taker: None,
            told_have: Bitmap::new(chunks),
            told_need: None,
            needs_told: false,
            told_reads: false,
            owed: Bitmap::new(chunks),
        };
        self.links.entry(peer).or_insert_with(none)
    }

    /// Records that a chunk was requested from a holder.
    pub(super) fn asked_of(&mut self, peer: PeerKey, chunk: u32) {
        self.news = true;
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.owed.set(chunk);
        if let Some(told) = &mut link.told_need {
            told.clear(chunk);
        }
    }

    /// Records that a holder no longer owes a chunk.
    pub(super) fn owes_not(&mut self, peer: PeerKey, chunk: u32) {
        self.news = true;
        if let Some(link) = self.links.get_mut(&peer) {
            link.owed.clear(chunk);
        }
        if let Some(picker) = &mut self.picker {
            picker.released(chunk);
        }
    }

    /// Records that a chunk is here.
    pub(super) fn here(&mut self, chunk: u32) {
        if self.have.get(chunk) {
            return;
        }
        self.have.set(chunk);
        self.news = true;
        for taker in self.links.values_mut().filter_map(|l| l.taker.as_mut()) {
            taker.useful += u32::from(!taker.taken.get(chunk));
        }
    }

    /// Records that a taker has a chunk or is being sent it.
    pub(super) fn takes(&mut self, peer: PeerKey, chunk: u32) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let (local, Some(taker)) = (link.local, &mut link.taker) else { return };
        if taker.taken.get(chunk) {
            return;
        }
        taker.taken.set(chunk);
        taker.useful -= u32::from(self.have.get(chunk));
        if local && taker.known {
            self.count_claim(peer, chunk, 1);
        }
    }

    pub(super) fn count_claim(&mut self, peer: PeerKey, chunk: u32, by: i16) {
        if let Some(picker) = &mut self.picker {
            picker.claimed(peer, chunk, by);
        }
        if let Some(seed) = &mut self.seed {
            seed.shift(chunk, by);
        }
    }

    /// Takes in a taker's changes of the chunks that it would take from this node.
    pub(super) fn needs(&mut self, peer: PeerKey, add: &Bitmap, drop: &Bitmap, now: Now) {
        let have = &self.have;
        let Some(link) = self.links.get_mut(&peer) else { return };
        let (local, Some(taker)) = (link.local, &mut link.taker) else { return };
        if !std::mem::replace(&mut taker.known, true) {
            taker.taken = Bitmap::full(have.len()).without(add);
            taker.useful = have.and(add).count();
            // A taker outside the site needs only the chunks that it imports itself; nothing is known of the
            // others.
            let taken = if local { taker.taken.clone() } else { Bitmap::new(have.len()) };
            taken.iter().for_each(|c| self.count_claim(peer, c, 1));
            return;
        }
        let came = drop.without(&taker.taken).count();
        if came > 0 {
            taker.moved = now;
        }
        // A taker that changes its mind again and again gains no more than the blob has.
        let gained = came.min(have.len().saturating_sub(taker.gained));
        taker.gained += gained;
        let again = add.and(&taker.taken);
        for chunk in again.iter() {
            taker.taken.clear(chunk);
            taker.useful += u32::from(have.get(chunk));
        }
        if local {
            again.iter().for_each(|c| self.count_claim(peer, c, -1));
        }
        drop.iter().for_each(|c| self.takes(peer, c));
        if let Some(seed) = &mut self.seed {
            seed.taken(gained, now);
        }
    }
}

impl PeerBlob {
    /// Returns the chunks that the peer is known to have or be sent. A peer outside the site says only which
    /// chunks it imports itself, so nothing is known of it.
    pub(super) fn claims(&self) -> Option<&Bitmap> {
        let taker = self.taker.as_ref().filter(|t| t.known && self.local)?;
        Some(&taker.taken)
    }
}
