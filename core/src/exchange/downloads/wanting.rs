//! Wants at each peer: which of our downloads a peer is told of, and when.
//!
//! A peer allows [`limits::SESSION_BLOBS`] wants at a time, so with more downloads than that they take turns.
//! [`Wants`] chooses; this module sends what it chooses and reports the peers' answers back to it. A web seed
//! is told of its own content only.

use super::Downloads;
use super::wants::{WantMessage, Wants};
use crate::exchange::effects::Effects;
use crate::exchange::open_blob::OpenBlob;
use crate::exchange::orders::ReceiveCommand;
use crate::exchange::uploads::Uploads;
use crate::id::ContentId;
use crate::limits::{self, SEEK_FOR};
use crate::schedule::{Input, Now, PeerKey};
use crate::wire::{Handle, Message};

/// The wants at one peer.
pub(super) struct AskedOf {
    /// The wants that the peer knows of, and those that wait.
    wants: Wants,
    /// The only content that the peer can have, if it is a web seed.
    pub(super) only: Option<ContentId>,
}

impl<B: OpenBlob> Downloads<B> {
    /// Starts to tell a new peer what we want; with `only`, nothing but this content.
    pub fn ask_newcomer(&mut self, peer: PeerKey, only: Option<ContentId>, effects: &mut Effects<'_, B>) {
        let wants = Wants::new(effects.now());
        self.asked_of.insert(peer, AskedOf { wants, only });
        self.ask(peer, effects);
    }

    /// Tells every peer with a free place of a further want.
    pub(super) fn ask_for_more(&mut self, effects: &mut Effects<'_, B>) {
        let free: Vec<PeerKey> =
            self.asked_of.iter().filter(|(_, of)| of.wants.has_place()).map(|(peer, _)| *peer).collect();
        free.into_iter().for_each(|peer| self.ask(peer, effects));
    }

    /// Gives waiting wants their turn, and drops peers as holders of wants that gave up their place.
    pub(super) fn ask_on(&mut self, effects: &mut Effects<'_, B>, uploads: &Uploads<B>) {
        let all = self.handles.len();
        let waits = self.asked_of.iter().filter(|(_, of)| of.only.is_some() || of.wants.waits(all));
        let peers: Vec<PeerKey> = waits.map(|(peer, _)| *peer).collect();
        peers.into_iter().for_each(|peer| self.ask(peer, effects));
        for (peer, handle) in std::mem::take(&mut self.let_go) {
            let is_open = self.asked_of.get(&peer).is_some_and(|of| of.wants.is_open(handle));
            let Some(key) = self.by_handle(handle).filter(|_| !is_open) else { continue };
            if self.downloads.get(&key).is_some_and(|download| download.offers.contains_key(&peer)) {
                self.lost(key, peer, effects);
                self.hear(Input::HolderGone { peer, blob: key }, effects, uploads);
            }
        }
    }

    /// Sends a peer the wants whose turn it is.
    fn ask(&mut self, peer: PeerKey, effects: &mut Effects<'_, B>) {
        let Some(of) = self.asked_of.get_mut(&peer) else { return };
        // Half of the queue stays free for all other messages.
        let room = effects.room(peer).saturating_sub(limits::OUTBOX / 2);
        let now = effects.now();
        let told = match of.only {
            None => of.wants.tell(&self.handles, room, now),
            Some(id) => {
                let key = self.keys.get(&id);
                let wanted =
                    key.and_then(|key| self.downloads.get(key)).map(|download| (download.handle, ()));
                of.wants.tell(&wanted.into_iter().collect(), room, now)
            }
        };
        for tell in told {
            match tell {
                WantMessage::Unwant(blob) => {
                    self.let_go.push((peer, blob));
                    if let Some(key) = self.by_handle(blob) {
                        self.not_begun(peer, key, effects);
                    }
                    effects.send(peer, Message::Unwant { blob });
                }
                WantMessage::Want(blob) => {
                    let id = self.handles.get(&blob).and_then(|key| self.ids.get(key));
                    if let Some(id) = id.copied() {
                        self.have_begun(peer, blob, effects);
                        effects.send(peer, Message::Want { blob, id });
                    }
                }
            }
        }
    }

    /// Handles a peer's answer that it has nothing of a blob: a waiting want takes the place.
    pub(crate) fn absent(
        &mut self,
        peer: PeerKey,
        handle: Handle,
        effects: &mut Effects<'_, B>,
        uploads: &mut Uploads<B>,
    ) {
        self.gone(peer, handle, effects, uploads);
        self.answered(peer, handle, effects);
    }

    /// Records that a peer's answer was handled. If the peer offers nothing, a waiting want takes the place.
    pub(crate) fn answered(&mut self, peer: PeerKey, handle: Handle, effects: &mut Effects<'_, B>) {
        let now = effects.now();
        let offers = self.by_handle(handle).and_then(|key| self.downloads.get(&key));
        let offers = offers.is_some_and(|download| download.offers.contains_key(&peer));
        if let Some(key) = self.by_handle(handle).filter(|_| !offers) {
            self.not_begun(peer, key, effects);
        }
        let Some(of) = self.asked_of.get_mut(&peer) else { return };
        match offers {
            true => of.wants.goes_on(handle, now),
            false => of.wants.absent(handle, now),
        }
        self.ask(peer, effects);
    }

    /// True if a peer knows that we want this blob. If we want it and the peer does not know, it is told
    /// soon: it has some of it.
    pub fn is_asked(&mut self, peer: PeerKey, handle: Handle) -> bool {
        let wanted = self.handles.contains_key(&handle);
        let Some(of) = self.asked_of.get_mut(&peer) else { return false };
        if wanted && !of.wants.is_open(handle) {
            of.wants.hurry(handle);
        }
        of.wants.is_open(handle)
    }

    /// Records that a peer has some of this content: if it is wanted, the peer is told soon.
    pub fn is_known_to(&mut self, peer: PeerKey, id: ContentId) {
        let handle = self.active(id).and_then(|key| self.downloads.get(&key)).map(|download| download.handle);
        if let Some(handle) = handle {
            let _ = self.is_asked(peer, handle);
        }
    }

    /// Records that some of a blob came from this peer, so that its place is kept.
    pub(super) fn goes_on(&mut self, peer: PeerKey, handle: Handle, now: Now) {
        if let Some(of) = self.asked_of.get_mut(&peer) {
            of.wants.goes_on(handle, now);
        }
    }

    /// Ends a want at all peers that know of it. The places stay free until the next tick, when all wants
    /// that end together have ended.
    pub(super) fn ask_no_more(&mut self, handle: Handle, effects: &mut Effects<'_, B>) {
        for (peer, of) in &mut self.asked_of {
            if of.wants.end(handle) {
                effects.expect(*peer, ReceiveCommand::Forget { blob: handle });
                effects.send(*peer, Message::Unwant { blob: handle });
            }
        }
    }

    /// Returns the peers that can be asked to ask their own peers for this id, and keeps the want's place
    /// there for [`SEEK_FOR`]. Peers look only for blobs that they know to be wanted.
    pub fn may_seek(&mut self, id: ContentId, now: Now) -> Vec<PeerKey> {
        let until = now + SEEK_FOR;
        let handle = self.active(id).and_then(|key| self.downloads.get(&key)).map(|download| download.handle);
        let Some(handle) = handle else { return Vec::new() };
        let mut may = Vec::new();
        for (peer, of) in self.asked_of.iter_mut().filter(|(_, of)| of.wants.is_open(handle)) {
            of.wants.keep(handle, until);
            may.push(*peer);
        }
        may
    }

    /// Adds a notice to the view of each download, at most [`limits::NOTICES`] of them.
    pub fn notice(&mut self, text: &str) {
        let told = self.downloads.iter_mut().filter_map(|(key, one)| one.notice(text).then_some(*key));
        self.changed.extend(told);
    }

    /// Adds a notice to the view of the downloads of one content, at most [`limits::NOTICES`] of them.
    pub fn notice_of(&mut self, id: ContentId, text: &str) {
        let of_it = self.downloads.iter_mut().filter(|(_, download)| download.id == id);
        self.changed.extend(of_it.filter_map(|(key, one)| one.notice(text).then_some(*key)));
    }
}
