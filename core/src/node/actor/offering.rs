//! Blobs that this node offers: who may fetch them, who is told of them, and when an offer ends.

use std::sync::Arc;
use std::time::Instant;

use libp2p::Multiaddr;

use super::{Actor, LookedUp};
use crate::exchange::Access;
use crate::id::ContentId;
use crate::membership::now as office_now;
use crate::options::Audience;
use crate::store::Blob;

impl Actor {
    /// Tells trackers and the DHT of all whole blobs. `fresh` is true if they are new here.
    pub(super) fn announce_all(&mut self, fresh: bool) {
        let mut ids: Vec<ContentId> = self.store.records().iter().map(|record| record.id).collect();
        ids.retain(|id| self.store.is_offered(*id));
        for id in ids {
            let access = self.access(id);
            self.announce_held(id, &access, fresh);
        }
    }

    /// Offers a blob, and announces it if it is whole. Does nothing with a blob of another network.
    pub(super) fn share(&mut self, blob: Arc<Blob>) {
        let id = blob.id();
        if !blob.record().is_of(self.settings.domain) {
            return;
        }
        let access = self.access(id);
        if blob.is_shareable() {
            self.announce_held(id, &access, true);
        }
        self.exchange(|_, uploads, fx| uploads.share(blob, &access, fx));
    }

    /// Tells trackers and the DHT of a whole blob, each if it serves the peers that may fetch the blob, and
    /// takes the announcement back where it does not.
    fn announce_held(&mut self, id: ContentId, access: &Access, fresh: bool) {
        match access.is_nobody() {
            true => self.trackers.drops(id),
            false => self.trackers.holds(id),
        }
        // The DHT is for everybody: a peer that learns of a holder there must be able to fetch from it.
        match access.audience {
            Audience::Anyone => self.dht.holds(id, fresh),
            Audience::Nobody | Audience::Lan | Audience::Office => self.dht.drops(id),
        }
    }

    /// Returns the peers that may fetch a blob from this node, with the vouchers that say so in an office.
    pub(super) fn access(&mut self, id: ContentId) -> Access {
        let office = self.office.as_mut().map(|office| office.vouchers(id, office_now()));
        Access { audience: self.audience(id), office }
    }

    /// Returns the audience of a blob: its own, or else the node's.
    pub(super) fn audience(&self, id: ContentId) -> Audience {
        self.store.audience(id).unwrap_or(self.settings.audience)
    }

    /// Tells everybody anew of a blob with another audience than before. A peer that may not fetch it any
    /// longer is told that it is gone.
    pub(super) fn audience_changed(&mut self, id: ContentId) {
        let access = self.access(id);
        let whole = self.store.is_offered(id);
        // A blob that is still being fetched is looked for as before.
        if whole && !self.downloads.is_active(id) {
            self.announce_held(id, &access, true);
        }
        match self.uploads.open(id) {
            Some(blob) => self.exchange(|_, uploads, fx| uploads.share(blob, &access, fx)),
            None if whole => {
                self.exchange(|_, uploads, fx| uploads.admit(id, &access, fx));
                self.open(id);
            }
            None => {}
        }
    }

    /// Has a task open a blob of the store for the peers that want it. [`Self::opened`] gets the result.
    pub(super) fn open(&self, id: ContentId) {
        let (store, opened) = (self.store.clone(), self.inbox.opened.0.clone());
        tokio::spawn(async move {
            let (blob, lost) =
                tokio::task::spawn_blocking(move || store.open_or_mark(id)).await.unwrap_or_default();
            let _ = opened.send(LookedUp::Opened(id, blob, lost)).await;
        });
    }

    /// Has a task look for a blob that is not here, before peers are told that one which they are denied is
    /// absent. Otherwise the order of the answers would tell them apart.
    pub(super) fn refuse(&self, id: ContentId) {
        let (store, opened) = (self.store.clone(), self.inbox.opened.0.clone());
        let other = ContentId::from_bytes(id.as_bytes().map(|byte| !byte));
        tokio::spawn(async move {
            let _ = tokio::task::spawn_blocking(move || store.open_or_mark(other)).await;
            let _ = opened.send(LookedUp::Denied(id)).await;
        });
    }

    /// Handles the result of a look into the store.
    pub(super) fn looked_up(&mut self, result: LookedUp) {
        match result {
            LookedUp::Opened(id, blob, lost) => self.opened(id, blob, lost),
            LookedUp::Denied(id) => self.exchange(|_, uploads, fx| uploads.refused(id, fx)),
        }
    }

    /// Serves a blob that a task has opened, `None` if it could not. `lost` is true if bytes of it are gone.
    fn opened(&mut self, id: ContentId, blob: Option<Arc<Blob>>, lost: bool) {
        if lost {
            self.lost(id);
        }
        let access = self.access(id);
        self.exchange(|_, uploads, fx| uploads.opened(id, blob, &access, fx));
    }

    /// Takes back a blob that is whole no longer, and the directory or share whose content it is.
    pub(super) fn lost(&mut self, id: ContentId) {
        let with = self.store.with_whole(id).into_iter();
        // Bytes of a blob that is being fetched may be on their way here from others by now.
        let lost: Vec<ContentId> = with.filter(|id| !self.downloads.is_active(*id)).collect();
        lost.into_iter().for_each(|id| self.withdraw(id));
    }

    /// Ends the offer of a blob everywhere.
    pub(super) fn withdraw(&mut self, id: ContentId) {
        if let Some(office) = &mut self.office {
            office.forget(id);
        }
        self.trackers.drops(id);
        self.dht.drops(id);
        self.exchange(|_, uploads, fx| uploads.withdraw(id, fx));
    }

    /// Tells the trackers what has changed, and where this node is reached, if that is due.
    pub(super) fn announce(&mut self) {
        if self.trackers.is_due() {
            let lacks = self.downloads.room(&self.peers, self.now()) > 0 || self.contacts_lacking() > 0;
            let addrs: Vec<Multiaddr> =
                self.nat.reach.addresses().chain(&*self.listen.borrow()).cloned().collect();
            self.trackers.announce(lacks, &addrs, Instant::now());
        }
    }
}
