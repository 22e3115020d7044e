//! Beginning a blob: one of its holders sends the list and a few chunks before it is asked for them.
//!
//! That saves the two round trips in which a connection would carry nothing. One peer is asked so for each blob, the first
//! that is told of the want. What it sends may come before it is known what it is, so its data stream waits with it until
//! the download has started. The beginning is over then, and also when nothing comes of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Transfers;
use super::download::{Doing, Download};
use crate::content::geometry::Geometry;
use crate::limits;
use crate::node::peers::Peers;
use crate::node::session::Expect;
use crate::node::sharing::Sharing;
use crate::schedule::{BlobKey, Input, PeerKey};
use crate::wire::{Handle, Message};

/// State of a download's beginning.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The peer that begins it.
    by: PeerKey,
    /// The time at which its list was asked for.
    since: Instant,
    /// Its list was not asked for yet: it follows its offer.
    lists: bool,
    /// The peer has said that it sends the list, or the only chunk, by itself: who does not know of beginnings does not.
    promised: bool,
    /// Chunks that it sends without being asked.
    pushed: BTreeSet<u32>,
}

/// Bytes that may yet be pushed to a peer that has asked us to begin a blob.
pub(super) type Pushes = std::collections::BTreeMap<(PeerKey, BlobKey), u64>;

impl Download {
    /// Tells whether a chunk that a peer is asked for comes by itself.
    pub(super) fn comes(&mut self, peer: PeerKey, chunk: u32) -> bool {
        self.beginning.as_mut().is_some_and(|b| b.by == peer && b.pushed.remove(&chunk))
    }
}

impl Transfers {
    /// A peer is about to be told of a want: it is asked to begin it, if nobody was yet.
    pub(super) fn have_begun(&mut self, peer: PeerKey, handle: Handle, peers: &mut Peers) {
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
                since: Instant::now(),
                lists: true,
                promised: false,
                pushed: BTreeSet::new(),
            });
            peers.expect(peer, Expect::Beginning { blob: handle });
            peers.send(peer, Message::Begin { blob: handle });
        }
    }

    /// Tells whether a peer sends the list, or the only chunk, by itself. It does so once.
    pub(super) fn sends_list(&mut self, peer: PeerKey, key: BlobKey, peers: &mut Peers) -> bool {
        let beginning = self.downloads.get_mut(&key).and_then(|download| download.beginning.as_mut());
        let Some(beginning) = beginning.filter(|b| b.by == peer && b.lists) else { return false };
        (beginning.since, beginning.lists) = (Instant::now(), false);
        let promised = beginning.promised;
        if !promised {
            self.begun(key, peers);
        }
        promised
    }

    /// A peer has offered a blob. If it begins it, and another is asked for the list, nobody waits for what it sends.
    pub(super) fn begins_in_vain(&mut self, peer: PeerKey, key: BlobKey, peers: &mut Peers) {
        let begins = |b: &Beginning| b.by == peer && b.lists;
        if self.downloads.get(&key).is_some_and(|download| download.beginning.as_ref().is_some_and(begins)) {
            self.begun(key, peers);
        }
    }

    /// A peer sends this chunk, or before its offer the list, without being asked. It has answered its grant itself: too late, it is of no use, and no fault.
    pub(in crate::node) fn pushed(&mut self, peer: PeerKey, (handle, chunk): (Handle, u32)) {
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

    /// The chunks that a peer sends without being asked.
    pub(super) fn pushed_by(&self, peer: PeerKey, key: BlobKey) -> Vec<u32> {
        let beginning = self.downloads.get(&key).and_then(|download| download.beginning.as_ref());
        beginning.filter(|b| b.by == peer).map_or_else(Vec::new, |b| b.pushed.iter().copied().collect())
    }

    /// The beginning of a download is over: what else is pushed is not wanted.
    pub(super) fn begun(&mut self, key: BlobKey, peers: &mut Peers) {
        let Some(download) = self.downloads.get_mut(&key) else { return };
        if let Some(Beginning { by, pushed, promised, .. }) = download.beginning.take() {
            let blob = download.handle;
            peers.expect(by, Expect::Begun { blob, promised });
            for chunk in pushed {
                peers.send(by, Message::Cancel { blob, chunk });
            }
        }
    }

    /// The same, if this peer was to begin it: it has answered, or gone, and nothing comes of it.
    pub(super) fn not_begun(&mut self, peer: PeerKey, key: BlobKey, peers: &mut Peers) {
        let begins = |download: &Download| download.beginning.as_ref().is_some_and(|b| b.by == peer);
        if self.downloads.get(&key).is_some_and(begins) {
            self.begun(key, peers);
            // Somebody else may.
            if let Some(download) = self.downloads.get_mut(&key) {
                download.was_begun = false;
            }
        }
    }

    /// Beginnings that have led to nothing do not keep their streams waiting.
    pub(super) fn end_beginnings(&mut self, peers: &mut Peers) {
        let old = |download: &Download| {
            download.beginning.as_ref().is_some_and(|b| !b.lists && b.since.elapsed() >= limits::BEGINNING)
        };
        let over: Vec<BlobKey> = self.downloads.iter().filter(|(_, d)| old(d)).map(|(key, _)| *key).collect();
        over.into_iter().for_each(|key| self.begun(key, peers));
    }

    /// A peer that takes a blob of us has asked that we begin it. A blob of one chunk is that chunk.
    pub(super) fn begins(&mut self, peer: PeerKey, blob: BlobKey, geometry: Geometry, now: Duration) {
        if geometry.chunks() == 1 {
            return self.scheduler.handle(Input::Pushed { peer, blob, chunk: 0 }, now, &mut self.out);
        }
        if geometry.chunk_size() <= limits::CHUNK_MAX {
            self.pushes.insert((peer, blob), limits::PUSH_BYTES.max(geometry.chunk_size()));
        }
    }

    /// A grant of this chunk goes out: true if the chunk goes out with it.
    pub(super) fn pushes(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32, sharing: &Sharing) -> bool {
        let Some(left) = self.pushes.get_mut(&(peer, blob)) else { return false };
        let size = self.ids.get(&blob).and_then(|id| sharing.open(*id)).map(|b| b.geometry().chunk_size());
        let Some(less) = size.and_then(|size| left.checked_sub(size)) else { return false };
        *left = less;
        let pushed = Input::Pushed { peer, blob, chunk };
        self.scheduler.handle(pushed, self.epoch.elapsed(), &mut self.out);
        true
    }
}
