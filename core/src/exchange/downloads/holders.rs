//! The events that come from holders of a blob: offers, new chunks, refusals, chunk data, withdrawal.
//!
//! Each is checked against the download that it names. A holder that breaks the rules is dropped and banned;
//! a message that only crossed one of ours is ignored.

use super::Downloads;
use super::download::{Doing, Download, Held};
use crate::content::geometry::Geometry;
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::orders::{Outcome, ReceiveCommand};
use crate::exchange::uploads::Uploads;
use crate::exchange::view::Broken;
use crate::schedule::resolve::ContentClaim;
use crate::schedule::{BlobKey, Input, Now, PeerKey, RequestFailure};
use crate::wire::{Handle, Have, Message, Offer, RefusalReason};

impl<B: OpenBlob> Downloads<B> {
    /// Removes a peer from the holders of a download.
    pub(super) fn lost(&mut self, key: BlobKey, peer: PeerKey, effects: &mut Effects<'_, B>) {
        let now = effects.now();
        self.not_begun(peer, key, effects);
        let Some(download) = self.downloads.get_mut(&key) else { return };
        effects.expect(peer, ReceiveCommand::Forget { blob: download.handle });
        download.offers.remove(&peer);
        if let Doing::Learning { learner, lists, .. } = &mut download.doing {
            lists.remove(&peer);
            let step = learner.lost(peer, now);
            self.step(key, step, effects);
        }
    }

    /// Handles a peer's offer: kind, length and chunks that it has of a blob. While the download is learning,
    /// the offer is one more claim to try.
    pub(crate) fn offer(
        &mut self,
        peer: PeerKey,
        offer: Offer,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let now = effects.now();
        let Some(key) = self.by_handle(offer.blob) else { return };
        // The offer crossed our Unwant, or the blob was never wanted.
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let read =
            Geometry::new(offer.len).ok().and_then(|g| Some((g, offer.have.into_bitmap(g.chunks()).ok()?)));
        let Some((geometry, have)) = read else {
            return effects.doom(peer, "offered a blob of a length or with chunks that cannot be", true);
        };
        if geometry.is_empty() && download.id != offer.kind.id_of(&[]) {
            return self.ban(key, peer, "says that there is nothing in it", effects);
        }
        let claim = ContentClaim { kind: offer.kind, geometry };
        let held = Held { have: have.clone(), name: offer.name, origin: offer.origin, claim };
        let proven = match &mut download.doing {
            Doing::Learning { learner, expect, .. } => {
                let expected = expect.is_none_or(|(kind, len)| kind == claim.kind && len == geometry.len());
                // A one-chunk claim is proven by that chunk. A peer that lacks it yet reports it later.
                let provable = held.is_provable();
                if expected {
                    download.offers.insert(peer, held);
                }
                if expected && provable {
                    let step = learner.claim(peer, claim, now);
                    self.step(key, step, effects);
                }
                self.begins_in_vain(peer, key, effects);
                return;
            }
            Doing::Learned(geometry, kind) => ContentClaim { kind: *kind, geometry: *geometry },
            Doing::Active { blob, .. } => ContentClaim { kind: blob.kind(), geometry: blob.geometry() },
        };
        if claim != proven {
            return effects.doom(peer, "offered the blob with another length than it has", true);
        }
        download.offers.insert(peer, held);
        self.begins_in_vain(peer, key, effects);
        self.hear(Input::Holder { peer, blob: key, have }, effects, uploads);
    }

    /// Returns the number of chunks of a blob that a peer offers; 0 without an offer.
    pub(crate) fn chunks_offered(&self, peer: PeerKey, handle: Handle) -> u32 {
        let offers = self.by_handle(handle).and_then(|key| self.downloads.get(&key)).map(|d| &d.offers);
        offers.and_then(|offers| offers.get(&peer)).map_or(0, |held| held.have.len())
    }

    /// Handles a holder's report of further chunks.
    pub(crate) fn have(
        &mut self,
        peer: PeerKey,
        blob: u32,
        add: Have,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let now = effects.now();
        let Some(key) = self.by_handle(blob) else { return };
        let held = self.downloads.get_mut(&key).and_then(|d| d.offers.get_mut(&peer));
        let Some(held) = held else { return };
        let Ok(add) = add.into_bitmap(held.have.len()) else {
            return effects.doom(peer, "announced chunks that cannot be", true);
        };
        add.iter().for_each(|c| held.have.set(c));
        let (claim, provable) = (held.claim, held.is_provable());
        if let Some(Doing::Learning { learner, .. }) = self.downloads.get_mut(&key).map(|d| &mut d.doing) {
            let step = if provable { learner.claim(peer, claim, now) } else { None };
            return self.step(key, step, effects);
        }
        self.hear(Input::HolderMore { peer, blob: key, add }, effects, uploads);
    }

    /// Handles a holder's message that it no longer has anything of a blob.
    pub(crate) fn gone(
        &mut self,
        peer: PeerKey,
        blob: u32,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        self.lost(key, peer, effects);
        self.hear(Input::HolderGone { peer, blob: key }, effects, uploads);
    }

    /// Handles a holder's refusal to send a requested chunk.
    pub(crate) fn declined(
        &mut self,
        peer: PeerKey,
        blob: u32,
        chunk: u32,
        why: RefusalReason,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        let exists =
            self.downloads.get(&key).and_then(Download::geometry).is_some_and(|g| g.chunk(chunk).is_some());
        if let Some(download) =
            self.downloads.get_mut(&key).filter(|d| matches!(d.doing, Doing::Learning { .. }))
        {
            // The chunk was to come unasked, and does not.
            let pushed = download.comes(peer, chunk);
            if pushed && download.claim_of(peer).is_none_or(|claim| claim.geometry.chunks() > 1) {
                return;
            }
            let Doing::Learning { learner, .. } = &mut download.doing else { return };
            // While learning, only the chunk of a one-chunk blob can have been requested. The offer is kept:
            // a Have message makes it a claim again.
            let step = learner.lost(peer, effects.now());
            return self.step(key, step, effects);
        }
        if exists {
            effects.expect(peer, ReceiveCommand::Cancel { blob, chunk });
            let why = if why == RefusalReason::Busy { RequestFailure::Busy } else { RequestFailure::Missing };
            self.failed(peer, key, chunk, why, effects, uploads);
        }
    }

    /// Tells the scheduler that a request ended without its chunk.
    fn failed(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        chunk: u32,
        why: RequestFailure,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        self.hear(Input::Failed { peer, blob, chunk, why }, effects, uploads);
    }

    /// Counts bytes of a requested chunk that arrived.
    pub fn bytes(&mut self, peer: PeerKey, (blob, chunk, bytes): (u32, u32, u64), now: Now) {
        self.goes_on(peer, blob, now);
        let Some(blob) = self.by_handle(blob) else { return };
        let input = Input::Bytes { peer, blob, chunk, bytes };
        self.scheduler.handle(input, now, &mut self.out);
    }

    /// Handles a chunk that arrived in full, verified or not.
    pub fn chunk(
        &mut self,
        peer: PeerKey,
        (blob, chunk, bytes): (u32, u32, u64),
        outcome: Outcome,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let Some(key) = self.by_handle(blob) else { return };
        self.bytes(peer, (blob, chunk, bytes), effects.now());
        match outcome {
            Outcome::Written => {
                if let Some(download) = self.downloads.get_mut(&key) {
                    download.credit(peer, chunk, effects);
                    // While the download is paused, this was a write to a file that had room.
                    let is_paused = matches!(download.doing, Doing::Active { paused: Some(_), .. });
                    if !is_paused && download.view.blocked.take().is_some() {
                        self.changed.insert(key);
                    }
                }
                self.hear(Input::Verified { peer: Some(peer), blob: key, chunk }, effects, uploads);
            }
            Outcome::Bad => {
                effects.send(peer, Message::Bad { blob, chunk });
                self.failed(peer, key, chunk, RequestFailure::Bad, effects, uploads);
            }
            Outcome::Malformed => {
                self.failed(peer, key, chunk, RequestFailure::Local, effects, uploads);
                self.change_view(key, |view| view.broken = Some(Broken::Malformed));
                self.hear(Input::Pause { blob: key, paused: true }, effects, uploads);
            }
            Outcome::Disk { lasting: true, error, .. } => {
                self.failed(peer, key, chunk, RequestFailure::Local, effects, uploads);
                self.change_view(key, |view| view.broken = Some(Broken::Disk(error)));
                self.hear(Input::Pause { blob: key, paused: true }, effects, uploads);
            }
            Outcome::Disk { full, error, .. } => {
                self.failed(peer, key, chunk, RequestFailure::Local, effects, uploads);
                self.pause(key, full, &error, effects, uploads);
            }
        }
    }

    /// Pauses one download after a failed write. The next try comes after `limits::DISK_FULL_RETRY`; other
    /// downloads go on.
    fn pause(
        &mut self,
        key: BlobKey,
        full: bool,
        error: &str,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let Doing::Active { paused, .. } = &mut download.doing else { return };
        if paused.replace(effects.now()).is_none() {
            let state = if full {
                "the disk is full, the transfer waits for room"
            } else {
                "the disk fails, the transfer waits"
            };
            effects.paused(download.id, error);
            self.change_view(key, |view| {
                view.notices.push(format!("{state}: {error}"));
                view.blocked = Some(error.to_owned());
            });
        }
        self.hear(Input::Pause { blob: key, paused: true }, effects, uploads);
    }
}
