//! One blob: what is here, who takes it of us, who holds it, and what they were told.

use std::collections::BTreeMap;

use super::give::Taker;
use super::pick::Picker;
use super::read::ReadPosition;
use super::site_gateways::Border;
use super::super_seeding::Seed;
use super::{BlobKey, Now, Output, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;

/// One blob that is fetched, given, or both.
#[derive(Debug)]
pub(super) struct BlobSchedule {
    pub(super) geometry: Geometry,
    /// Verified chunks.
    pub(super) have: Bitmap,
    /// While it is fetched.
    pub(super) picker: Option<Picker>,
    /// What is here may be given.
    pub(super) share: bool,
    /// While ours may be the only copy.
    pub(super) seed: Option<Seed>,
    pub(super) links: BTreeMap<PeerKey, PeerBlob>,
    /// While it is fetched by others of our site too.
    pub(super) border: Option<Border>,
    /// There are news since they were last told.
    pub(super) news: bool,
    pub(super) told: Now,
    /// While somebody reads along.
    pub(super) reading: Option<ReadPosition>,
    /// At the end, or next for a reader: chunks on their way for too long.
    pub(super) late: Option<Bitmap>,
    pub(super) hedged: u64,
    /// How often requests were taken back since a chunk came, for their holders were so slow.
    pub(super) crawls: u32,
    /// The same, for their holders were silent.
    pub(super) stalls: u32,
    pub(super) paused: bool,
    pub(super) complete: bool,
}

/// What one peer and one blob have to do with each other.
#[derive(Debug)]
pub(super) struct PeerBlob {
    /// It is of our site.
    pub(super) local: bool,
    /// It takes of us.
    pub(super) taker: Option<Taker>,
    /// What it was told is here.
    pub(super) told_have: Bitmap,
    /// It holds some: what it knows we would take of it. A request says by itself that we take that chunk no more.
    pub(super) told_need: Option<Bitmap>,
    /// It holds some, and knows that somebody reads along.
    pub(super) told_reads: bool,
    /// What it was asked for, and owes us.
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

    /// Somebody of our site has to do with it.
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
            told_reads: false,
            owed: Bitmap::new(chunks),
        };
        self.links.entry(peer).or_insert_with(none)
    }

    /// A holder is asked for a chunk.
    pub(super) fn asked_of(&mut self, peer: PeerKey, chunk: u32) {
        self.news = true;
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.owed.set(chunk);
        if let Some(told) = &mut link.told_need {
            told.clear(chunk);
        }
    }

    /// And owes it no longer.
    pub(super) fn owes_not(&mut self, peer: PeerKey, chunk: u32) {
        self.news = true;
        if let Some(link) = self.links.get_mut(&peer) {
            link.owed.clear(chunk);
        }
        if let Some(picker) = &mut self.picker {
            picker.released(chunk);
        }
    }

    /// A chunk is here now.
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

    /// A taker has, or is being sent, a chunk.
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

    /// A taker says how what it would take of us has changed.
    pub(super) fn needs(&mut self, peer: PeerKey, add: &Bitmap, drop: &Bitmap, now: Now) {
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
        let came = drop.without(&taker.taken).count();
        if came > 0 {
            taker.moved = now;
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
        if let Some(seed) = &mut self.seed {
            seed.taken(came, now);
        }
    }
}

impl PeerBlob {
    /// What it is known to have or be sent. One outside says only what is its own to import.
    pub(super) fn claims(&self) -> Option<&Bitmap> {
        let taker = self.taker.as_ref().filter(|t| t.known && self.local)?;
        Some(&taker.taken)
    }
}
