//! Beginnings: a holder sends the hash list and the first chunks of a blob before it is asked for them.
//!
//! This saves two round trips in which a new connection would carry nothing. For each blob one peer is asked
//! to begin: the first that is told of the want, by a `Begin` message before the `Want`. Its bytes may arrive
//! before the download knows the blob's length, so the data stream holds them back until the download has
//! started. A beginning ends when the download starts, when the peer turns out not to take part, or after
//! [`limits::BEGINNING`]. The second half of this module is the holder's side: which first chunks we push to
//! a peer that asked us to begin.

use std::collections::BTreeSet;

use super::Downloads;
use super::download::{Doing, Download};
use crate::content::geometry::Geometry;
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::orders::ReceiveCommand;
use crate::exchange::uploads::Uploads;
use crate::limits;
use crate::schedule::{BlobKey, Input, Now, PeerKey};
use crate::wire::{Handle, Message};

/// The state of a download's beginning.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The peer that was asked to begin.
    by: PeerKey,
    /// The time at which the peer was asked to begin; later, at which its list was requested.
    since: Now,
    /// True until the peer's list is requested, which happens once its offer is here.
    lists: bool,
    /// True once the peer said that it sends the list, or the only chunk, unasked. A peer that does not know
    /// the `Begin` message never says so.
    promised: bool,
    /// Chunks that the peer sends unasked.
    pushed: BTreeSet<u32>,
}

/// Bytes that may still be pushed, for each peer that asked us to begin a blob.
pub(super) type Pushes = std::collections::BTreeMap<(PeerKey, BlobKey), u64>;

impl<B: OpenBlob> Download<B> {
    /// True if the peer sends this chunk unasked, so that no request is needed. True once for each chunk.
    pub(super) fn comes(&mut self, peer: PeerKey, chunk: u32) -> bool {
        self.beginning.as_mut().is_some_and(|b| b.by == peer && b.pushed.remove(&chunk))
    }
}

impl<B: OpenBlob> Downloads<B> {
    /// Asks a peer that is about to be told of a want to begin the blob, unless another peer was asked
    /// already. Web seeds are never asked, and one peer begins at most [`limits::BEGINNINGS`] blobs at a
    /// time.
    pub(super) fn have_begun(&mut self, peer: PeerKey, handle: Handle, effects: &mut Effects<'_, B>) {
        let Some(key) = self.by_handle(handle) else { return };
        let busy = self.downloads.values().filter(|d| d.beginning.as_ref().is_some_and(|b| b.by == peer));
        let busy = busy.count() >= limits::BEGINNINGS;
        let web = self.asked_of.get(&peer).is_some_and(|of| of.only.is_some());
        let Some(download) = self.downloads.get_mut(&key) else { return };
        let learns = matches!(download.doing, Doing::Learning { .. }) && !download.was_begun;
        if learns && !busy && !web {
            download.was_begun = true;
            download.beginning = Some(Beginning {
                by: peer,
                since: effects.now(),
                lists: true,
                promised: false,
                pushed: BTreeSet::new(),
            });
            effects.expect(peer, ReceiveCommand::Beginning { blob: handle });
            effects.send(peer, Message::Begin { blob: handle });
        }
    }

    /// True if the peer sends the list, or the only chunk, unasked. Called once, when the list would be
    /// requested. If the peer did not promise to send it, the beginning ends.
    pub(super) fn sends_list(&mut self, peer: PeerKey, key: BlobKey, effects: &mut Effects<'_, B>) -> bool {
        let beginning = self.downloads.get_mut(&key).and_then(|download| download.beginning.as_mut());
        let Some(beginning) = beginning.filter(|b| b.by == peer && b.lists) else { return false };
        (beginning.since, beginning.lists) = (effects.now(), false);
        let promised = beginning.promised;
        if !promised {
            self.begun(key, effects);
        }
        promised
    }

    /// Ends a beginning if the peer that begins has made its offer and its list was not requested: another
    /// peer was asked for the list, so nobody waits for what this peer sends.
    pub(super) fn begins_in_vain(&mut self, peer: PeerKey, key: BlobKey, effects: &mut Effects<'_, B>) {
        let begins = |b: &Beginning| b.by == peer && b.lists;
        if self.downloads.get(&key).is_some_and(|download| download.beginning.as_ref().is_some_and(begins)) {
            self.begun(key, effects);
        }
    }

    /// Records that a peer sends a chunk unasked, or, before its offer, the list. The message is a grant that
    /// the peer has answered itself, so a push that comes too late is useless and no fault.
    pub(crate) fn pushed(&mut self, peer: PeerKey, (handle, chunk): (Handle, u32)) {
        let Some(download) = self.by_handle(handle).and_then(|key| self.downloads.get_mut(&key)) else {
            return;
        };
        let early = !matches!(download.doing, Doing::Active { .. });
        let offered = download.offers.contains_key(&peer);
        let Some(beginning) = download.beginning.as_mut().filter(|b| early && b.by == peer) else { return };
        if !offered {
            beginning.promised = true;
        } else if beginning.pushed.len() < limits::HELD_GRANTS {
            beginning.pushed.insert(chunk);
        }
    }

    /// Returns the chunks that a peer sends unasked.
    pub(super) fn pushed_by(&self, peer: PeerKey, key: BlobKey) -> Vec<u32> {
        let beginning = self.downloads.get(&key).and_then(|download| download.beginning.as_ref());
        beginning.filter(|b| b.by == peer).map_or_else(Vec::new, |b| b.pushed.iter().copied().collect())
    }

    /// Ends the beginning of a download. Pushed chunks that were not requested meanwhile are cancelled.
    pub(super) fn begun(&mut self, key: BlobKey, effects: &mut Effects<'_, B>) {
        let Some(download) = self.downloads.get_mut(&key) else { return };
        if let Some(Beginning { by, pushed, promised, .. }) = download.beginning.take() {
            let blob = download.handle;
            effects.expect(by, ReceiveCommand::Begun { blob, promised });
            for chunk in pushed {
                effects.send(by, Message::Cancel { blob, chunk });
            }
        }
    }

    /// Ends the beginning of a download if this peer was to begin it: nothing will come of it, because the
    /// peer has answered or is gone.
    pub(super) fn not_begun(&mut self, peer: PeerKey, key: BlobKey, effects: &mut Effects<'_, B>) {
        let begins = |download: &Download<B>| download.beginning.as_ref().is_some_and(|b| b.by == peer);
        if self.downloads.get(&key).is_some_and(begins) {
            self.begun(key, effects);
            // Another peer may be asked to begin.
            if let Some(download) = self.downloads.get_mut(&key) {
                download.was_begun = false;
            }
        }
    }

    /// Ends beginnings whose list was requested more than [`limits::BEGINNING`] ago, so that their streams do
    /// not wait on.
    pub(super) fn end_beginnings(&mut self, effects: &mut Effects<'_, B>) {
        let now = effects.now();
        let old = |download: &Download<B>| {
            download
                .beginning
                .as_ref()
                .is_some_and(|b| !b.lists && now.saturating_sub(b.since) >= limits::BEGINNING)
        };
        let over: Vec<BlobKey> = self.downloads.iter().filter(|(_, d)| old(d)).map(|(key, _)| *key).collect();
        over.into_iter().for_each(|key| self.begun(key, effects));
    }

    /// Starts the beginning that a downloader asked for. A blob of one chunk is pushed at once; of a longer
    /// one, chunks are pushed with their grants.
    pub(super) fn begins(&mut self, peer: PeerKey, blob: BlobKey, geometry: Geometry, now: Now) {
        if geometry.chunks() == 1 {
            return self.scheduler.handle(Input::Pushed { peer, blob, chunk: 0 }, now, &mut self.out);
        }
        if geometry.chunk_size() <= limits::CHUNK_MAX {
            self.pushes.insert((peer, blob), limits::PUSH_BYTES.max(geometry.chunk_size()));
        }
    }

    /// True if the chunk is sent together with its grant, because the peer may still be pushed that many
    /// bytes.
    pub(super) fn pushes(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        chunk: u32,
        uploads: &Uploads<B>,
        now: Now,
    ) -> bool {
        let Some(left) = self.pushes.get_mut(&(peer, blob)) else { return false };
        let size = self.ids.get(&blob).and_then(|id| uploads.open(*id)).map(|b| b.geometry().chunk_size());
        let Some(less) = size.and_then(|size| left.checked_sub(size)) else { return false };
        *left = less;
        let pushed = Input::Pushed { peer, blob, chunk };
        self.scheduler.handle(pushed, now, &mut self.out);
        true
    }
}
