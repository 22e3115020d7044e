//! Telling each peer what we want of it, as many wants at a time as it allows.

use super::Transfers;
use super::wants::{Tell, Wants};
use crate::id::ContentId;
use crate::limits;
use crate::node::peers::Peers;
use crate::node::seeking::SEEK_FOR;
use crate::node::session::Expect;
use crate::node::sharing::Sharing;
use crate::schedule::{Input, PeerKey};
use crate::wire::{Handle, Message};

/// Wants of one session.
pub(super) struct AskedOf {
    wants: Wants,
    /// The only content that the other end can have: it is a web seed.
    pub(super) only: Option<ContentId>,
}

impl Transfers {
    /// A session has begun: the peer is told what we want, or only this.
    pub(in crate::node) fn ask_newcomer(
        &mut self,
        peer: PeerKey,
        only: Option<ContentId>,
        peers: &mut Peers,
    ) {
        let wants = Wants::new(self.epoch.elapsed());
        self.asked_of.insert(peer, AskedOf { wants, only });
        self.ask(peer, peers);
    }

    /// Something more is wanted: whoever has a place for it is told.
    pub(super) fn ask_for_more(&mut self, peers: &mut Peers) {
        let free: Vec<PeerKey> =
            self.asked_of.iter().filter(|(_, of)| of.wants.has_place()).map(|(peer, _)| *peer).collect();
        free.into_iter().for_each(|peer| self.ask(peer, peers));
    }

    /// Time has passed: what waits may have its turn.
    pub(super) fn ask_on(&mut self, peers: &mut Peers, sharing: &Sharing) {
        for peer in self.asked_of.keys().copied().collect::<Vec<_>>() {
            self.ask(peer, peers);
        }
        for (peer, handle) in std::mem::take(&mut self.let_go) {
            let is_open = self.asked_of.get(&peer).is_some_and(|of| of.wants.is_open(handle));
            let Some(key) = self.by_handle(handle).filter(|_| !is_open) else { continue };
            if self.downloads.get(&key).is_some_and(|download| download.offers.contains_key(&peer)) {
                self.lost(key, peer, peers);
                self.hear(Input::Gone { peer, blob: key }, peers, sharing);
            }
        }
    }

    /// Tells a peer what has its turn.
    fn ask(&mut self, peer: PeerKey, peers: &mut Peers) {
        let Some(of) = self.asked_of.get_mut(&peer) else { return };
        // Half of the queue is for everything else.
        let room = peers.room(peer).saturating_sub(limits::OUTBOX / 2);
        let now = self.epoch.elapsed();
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
                Tell::Unwant(blob) => {
                    self.let_go.push((peer, blob));
                    if let Some(key) = self.by_handle(blob) {
                        self.not_begun(peer, key, peers);
                    }
                    peers.send(peer, Message::Unwant { blob });
                }
                Tell::Want(blob) => {
                    let id = self.handles.get(&blob).and_then(|key| self.ids.get(key));
                    if let Some(id) = id.copied() {
                        self.have_begun(peer, blob, peers);
                        peers.send(peer, Message::Want { blob, id });
                    }
                }
            }
        }
    }

    /// A peer has answered that it has nothing of this: what waits takes the place.
    pub(in crate::node) fn absent(
        &mut self,
        peer: PeerKey,
        handle: Handle,
        peers: &mut Peers,
        sharing: &mut Sharing,
    ) {
        self.gone(peer, handle, peers, sharing);
        self.answered(peer, handle, peers);
    }

    /// A peer's answer is dealt with: if nothing came of it, what waits takes the place.
    pub(in crate::node) fn answered(&mut self, peer: PeerKey, handle: Handle, peers: &mut Peers) {
        let now = self.epoch.elapsed();
        let offers = self.by_handle(handle).and_then(|key| self.downloads.get(&key));
        let offers = offers.is_some_and(|download| download.offers.contains_key(&peer));
        if let Some(key) = self.by_handle(handle).filter(|_| !offers) {
            self.not_begun(peer, key, peers);
        }
        let Some(of) = self.asked_of.get_mut(&peer) else { return };
        match offers {
            true => of.wants.goes_on(handle, now),
            false => of.wants.absent(handle, now),
        }
        self.ask(peer, peers);
    }

    /// Tells whether a peer knows that we want this. If not, it is told soon: it has some of it.
    pub(in crate::node) fn is_asked(&mut self, peer: PeerKey, handle: Handle) -> bool {
        let wanted = self.handles.contains_key(&handle);
        let Some(of) = self.asked_of.get_mut(&peer) else { return false };
        if wanted && !of.wants.is_open(handle) {
            of.wants.hurry(handle);
        }
        of.wants.is_open(handle)
    }

    /// A peer says that it has this.
    pub(in crate::node) fn is_known_to(&mut self, peer: PeerKey, id: ContentId) {
        let handle = self.active(id).and_then(|key| self.downloads.get(&key)).map(|download| download.handle);
        if let Some(handle) = handle {
            let _ = self.is_asked(peer, handle);
        }
    }

    /// Something of it came from this peer.
    pub(super) fn goes_on(&mut self, peer: PeerKey, handle: Handle) {
        let now = self.epoch.elapsed();
        if let Some(of) = self.asked_of.get_mut(&peer) {
            of.wants.goes_on(handle, now);
        }
    }

    /// Ends a want at all peers that know of it. Wants that wait take the places at the next tick, when all that
    /// ends together has ended.
    pub(super) fn ask_no_more(&mut self, handle: Handle, peers: &mut Peers) {
        for (peer, of) in &mut self.asked_of {
            if of.wants.end(handle) {
                peers.expect(*peer, Expect::Forget { blob: handle });
                peers.send(*peer, Message::Unwant { blob: handle });
            }
        }
    }

    /// Lists the peers that can be asked to ask around for this: they look only for what they know to be wanted.
    pub(in crate::node) fn may_seek(&mut self, id: ContentId) -> Vec<PeerKey> {
        let until = self.epoch.elapsed() + SEEK_FOR;
        let handle = self.active(id).and_then(|key| self.downloads.get(&key)).map(|download| download.handle);
        let Some(handle) = handle else { return Vec::new() };
        let mut may = Vec::new();
        for (peer, of) in self.asked_of.iter_mut().filter(|(_, of)| of.wants.is_open(handle)) {
            of.wants.keep(handle, until);
            may.push(*peer);
        }
        may
    }

    /// Tells this to all that follow a download.
    pub(in crate::node) fn notice(&mut self, text: &str) {
        for download in self.downloads.values() {
            download.view.send_modify(|view| {
                if view.notices.len() < limits::NOTICES && !view.notices.iter().any(|known| known == text) {
                    view.notices.push(text.to_owned());
                }
            });
        }
    }
}
