//! Uploads: which peers want which of our blobs, which of them may fetch, and what each was told.
//!
//! A peer asks by a Want and is answered by an Offer or by Absent. A peer that may not fetch gets Absent as
//! well, so that it cannot tell a blob denied to it from one that is not here. Wants stay recorded: if the
//! blob arrives, is withdrawn or changes its audience, the peers concerned are told. Peers that want the same
//! blob are introduced to each other. The module does not decide who gets which chunk when: it reports what
//! changed as [`UploadChange`], and the scheduler decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::effects::{Effects, PeerFacts};
use super::open_blob::OpenBlob;
use super::orders::SendCommand;
use crate::content::geometry::Geometry;
use crate::id::ContentId;
use crate::limits;
use crate::office::membership::Vouched;
use crate::options::Audience;
use crate::schedule::PeerKey;
use crate::wire::{Handle, Have, LIST, Message, Offer, PeerAddrs};

/// The peers that may fetch one blob from us.
#[derive(Debug, Clone)]
pub struct Access {
    /// The audience.
    pub audience: Audience,
    /// The vouchers that say which members the blob is for; `None` without an office.
    pub office: Option<Vec<Arc<Vouched>>>,
}

impl Access {
    /// True if this peer may fetch the blob: the audience and, in an office, a voucher must admit it.
    pub fn admits(&self, peer: &PeerFacts) -> bool {
        let vouched = |all: &Vec<Arc<Vouched>>| vouched_for(all, peer).is_some();
        self.office.as_ref().is_none_or(vouched) && self.audience.admits(peer.near, peer.member.is_some())
    }

    /// True if no peer may fetch the blob.
    pub fn is_nobody(&self) -> bool {
        self.audience == Audience::Nobody || self.office.as_ref().is_some_and(Vec::is_empty)
    }
}

/// Returns the first voucher that is for this peer.
fn vouched_for<'a>(all: &'a [Arc<Vouched>], peer: &PeerFacts) -> Option<&'a Arc<Vouched>> {
    let member = peer.member?;
    all.iter().find(|vouched| vouched.believed.is_for(member))
}

/// The uploads of one network: blobs, wants and answers. `B` is a handle to an open blob.
#[derive(Debug)]
pub struct Uploads<B> {
    /// The vouchers of each open blob in an office; the one for the peer is sent before an Offer.
    vouchers: HashMap<ContentId, Vec<Arc<Vouched>>>,
    /// Open blobs: peers can fetch them now.
    open: HashMap<ContentId, B>,
    /// Peers that want a blob and may fetch it, each with its handle.
    wants: BTreeMap<ContentId, BTreeMap<PeerKey, Handle>>,
    /// Peers that want a blob and may not fetch it, each with its handle.
    denied: BTreeMap<ContentId, BTreeMap<PeerKey, Handle>>,
    /// The id that each handle of each peer stands for: the inverse of `wants` and `denied`.
    handles: BTreeMap<(PeerKey, Handle), ContentId>,
    /// Ids that the store is asked for at present.
    opening: BTreeSet<ContentId>,
    /// Ids for which the store is asked for nothing, so that peers that are denied them get the answer as
    /// late as for a blob that is not here.
    refusing: BTreeSet<ContentId>,
    /// Wants that were sent a voucher. A second voucher for the same want counts against the peer's limit of
    /// office messages.
    vouched: BTreeSet<(PeerKey, Handle)>,
    /// Wants that asked for a beginning: their first Offer is followed by the hash list and first chunks.
    begins: BTreeSet<(PeerKey, Handle)>,
    /// Offers that wait until the peer may be sent another voucher.
    later: BTreeSet<(PeerKey, ContentId)>,
    /// Changes that the scheduler has not heard of yet.
    news: Vec<UploadChange<B>>,
}

/// A change of the uploads that the scheduler must hear of.
#[derive(Debug)]
pub(super) enum UploadChange<B> {
    /// This blob can be fetched from us.
    Open(B),
    /// This blob can no longer be fetched from us.
    Closed(ContentId),
    /// This peer fetches this blob from us, and was sent an Offer. `begin` is set if the peer asked us to
    /// begin: it holds the blob's chunks.
    Takes { peer: PeerKey, id: ContentId, begin: Option<Geometry> },
    /// This peer no longer fetches this blob.
    TakesNot(PeerKey, ContentId),
}

/// The outcome of a new want.
#[derive(Debug, PartialEq, Eq)]
pub enum WantOutcome {
    /// It was answered, or will be once the blob is open.
    Answered,
    /// The store must be asked for the blob; its answer goes to [`Uploads::opened`].
    Open,
    /// The peer may not fetch, and will be told that there is nothing.
    Denied {
        /// True if the store must be asked for something that it has not, and [`Uploads::refused`] be called
        /// then.
        look: bool,
    },
}

impl<B> Default for Uploads<B> {
    fn default() -> Self {
        Self {
            vouchers: HashMap::new(),
            open: HashMap::new(),
            wants: BTreeMap::new(),
            denied: BTreeMap::new(),
            handles: BTreeMap::new(),
            opening: BTreeSet::new(),
            refusing: BTreeSet::new(),
            vouched: BTreeSet::new(),
            begins: BTreeSet::new(),
            later: BTreeSet::new(),
            news: Vec::new(),
        }
    }
}

impl<B: OpenBlob> Uploads<B> {
    /// Records a peer's want. `admitted` says whether the peer may fetch the blob. Returns `None` if the peer
    /// breaks the rules: too many wants, or a handle in use.
    pub fn want(
        &mut self,
        key: PeerKey,
        (handle, id): (Handle, ContentId),
        admitted: bool,
        effects: &mut Effects<'_, B>,
    ) -> Option<WantOutcome> {
        let count = self.handles.range((key, 0)..=(key, Handle::MAX)).count();
        if count >= limits::SESSION_BLOBS || self.handles.contains_key(&(key, handle)) {
            return None;
        }
        self.handles.insert((key, handle), id);
        if !admitted {
            self.denied.entry(id).or_default().insert(key, handle);
            return Some(WantOutcome::Denied { look: self.refusing.insert(id) });
        }
        self.wants.entry(id).or_default().insert(key, handle);
        if self.open.contains_key(&id) {
            self.offer(key, handle, id, effects);
            return Some(WantOutcome::Answered);
        }
        Some(if self.opening.insert(id) { WantOutcome::Open } else { WantOutcome::Answered })
    }

    /// Records that a peer asks us to begin what it will want under this handle. A session has at most
    /// [`limits::SESSION_BLOBS`] of these.
    pub(crate) fn begin(&mut self, key: PeerKey, handle: Handle) {
        if self.begins.range((key, 0)..=(key, Handle::MAX)).count() < limits::SESSION_BLOBS {
            self.begins.insert((key, handle));
        }
    }

    /// Ends a peer's want.
    pub fn unwant(&mut self, key: PeerKey, handle: Handle, effects: &mut Effects<'_, B>) {
        self.vouched.remove(&(key, handle));
        self.begins.remove(&(key, handle));
        if let Some(id) = self.handles.remove(&(key, handle)) {
            // A peer that asks for many absent blobs must not fill the queue of orders to its sending task.
            if self.open.contains_key(&id) {
                effects.serve(key, SendCommand::Close { blob: handle });
            }
            self.forget(id, key);
            self.news.push(UploadChange::TakesNot(key, id));
        }
    }

    /// Removes a peer whose session ended.
    pub fn peer_down(&mut self, key: PeerKey) {
        let gone: Vec<_> =
            self.handles.range((key, 0)..=(key, Handle::MAX)).map(|(k, id)| (*k, *id)).collect();
        for (handle, id) in gone {
            self.handles.remove(&handle);
            self.vouched.remove(&handle);
            self.forget(id, key);
        }
        self.begins.retain(|(of, _)| *of != key);
    }

    /// Removes a peer from those that want a blob.
    fn forget(&mut self, id: ContentId, key: PeerKey) {
        for all in [&mut self.wants, &mut self.denied] {
            if let Some(wants) = all.get_mut(&id) {
                wants.remove(&key);
                if wants.is_empty() {
                    all.remove(&id);
                }
            }
        }
    }

    /// Moves peers that were denied a blob and now may fetch it to the peers that want it.
    pub fn admit(&mut self, id: ContentId, access: &Access, effects: &Effects<'_, B>) {
        let Some(denied) = self.denied.remove(&id) else { return };
        let may = |key: &PeerKey| effects.get(*key).is_some_and(|peer| access.admits(&peer));
        let (admitted, denied): (BTreeMap<_, _>, BTreeMap<_, _>) =
            denied.into_iter().partition(|(key, _)| may(key));
        if !admitted.is_empty() {
            self.wants.entry(id).or_default().extend(admitted);
        }
        if !denied.is_empty() {
            self.denied.insert(id, denied);
        }
    }

    /// Moves peers that want a blob and no longer may fetch it to the denied ones. Each is told that the blob
    /// is gone, or that it is absent if it still waits for its first answer.
    fn dismiss(&mut self, id: ContentId, access: &Access, effects: &mut Effects<'_, B>) {
        let Some(wants) = self.wants.remove(&id) else { return };
        let may = |key: &PeerKey| effects.get(*key).is_some_and(|peer| access.admits(&peer));
        let (admitted, denied): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wants.into_iter().partition(|(key, _)| may(key));
        if !admitted.is_empty() {
            self.wants.insert(id, admitted);
        }
        let offered = self.open.contains_key(&id);
        for (key, blob) in &denied {
            if offered {
                effects.serve(*key, SendCommand::Close { blob: *blob });
                effects.send(*key, Message::Gone { blob: *blob });
                self.news.push(UploadChange::TakesNot(*key, id));
            } else if self.opening.contains(&id) {
                // The peer still waits for its first answer.
                self.begins.remove(&(*key, *blob));
                effects.send(*key, Message::Absent { blob: *blob });
            }
        }
        if !denied.is_empty() {
            self.denied.entry(id).or_default().extend(denied);
        }
    }

    /// Takes the store's answer to [`WantOutcome::Open`]: the blob, or `None`.
    pub fn opened(&mut self, id: ContentId, blob: Option<B>, access: &Access, effects: &mut Effects<'_, B>) {
        self.opening.remove(&id);
        match blob {
            // A download may have started meanwhile: its blob is fresher.
            Some(blob) if blob.is_shareable() && !self.open.contains_key(&id) => {
                self.share(blob, access, effects)
            }
            _ if self.open.contains_key(&id) => {}
            // A peer that waits gets an answer even if the blob is here but not shareable, because some files
            // were left out.
            _ => self.tell(id, effects, |blob| Message::Absent { blob }),
        }
    }

    /// Tells peers that are denied a blob that it is absent, once a look for another one that is not here has
    /// taken its time. All of them hear it, as all that want a blob that is not here do.
    pub fn refused(&mut self, id: ContentId, effects: &mut Effects<'_, B>) {
        self.refusing.remove(&id);
        for (key, handle) in self.denied.get(&id).into_iter().flatten() {
            self.begins.remove(&(*key, *handle));
            effects.send(*key, Message::Absent { blob: *handle });
        }
    }

    /// Returns the peers that want this content and may fetch it.
    pub fn wanters(&self, id: ContentId) -> BTreeSet<PeerKey> {
        self.wants.get(&id).map_or_else(BTreeSet::new, |wants| wants.keys().copied().collect())
    }

    /// Introduces a holder to all peers that want a blob.
    pub fn found(&self, holder: PeerKey, id: ContentId, effects: &mut Effects<'_, B>) {
        let Some(itself) = effects.reachable(holder) else { return };
        for (key, handle) in self.wants.get(&id).into_iter().flatten().filter(|(key, _)| **key != holder) {
            effects.hint(*key, Message::Peers { blob: *handle, peers: vec![itself.clone()] });
        }
    }

    /// Opens a blob for fetching. Every peer that wants it and may fetch it gets an Offer.
    pub fn share(&mut self, blob: B, access: &Access, effects: &mut Effects<'_, B>) {
        if !blob.is_shareable() {
            return;
        }
        if let Some(vouched) = &access.office {
            self.vouchers.insert(blob.id(), vouched.clone());
        }
        self.dismiss(blob.id(), access, effects);
        self.admit(blob.id(), access, effects);
        self.news.push(UploadChange::Open(blob.clone()));
        let id = blob.id();
        self.open.insert(id, blob);
        let wanters: Vec<(PeerKey, Handle)> =
            self.wants.get(&id).into_iter().flatten().map(|(key, handle)| (*key, *handle)).collect();
        wanters.into_iter().for_each(|(key, handle)| self.offer(key, handle, id, effects));
    }

    /// Sends an Offer of an open blob to a peer that wants it. The Offer waits if it needs a second voucher
    /// that the peer may not be sent now.
    fn offer(&mut self, key: PeerKey, handle: Handle, id: ContentId, effects: &mut Effects<'_, B>) {
        let Some(blob) = self.open.get(&id) else { return };
        let vouched = self.vouchers.get(&id).and_then(|all| vouched_for(all, &effects.get(key)?)).cloned();
        let again = vouched.is_some() && !self.vouched.insert((key, handle));
        if again && !effects.may_vouch(key) {
            self.later.insert((key, id));
            return;
        }
        self.later.remove(&(key, id));
        let begin = self.begins.remove(&(key, handle)).then(|| blob.geometry());
        // A one-chunk blob can only begin once its chunk is here.
        let begin = begin.filter(|geometry| geometry.chunks() > 1 || blob.have().is_full());
        if let Some(geometry) = begin {
            // The Push goes first: the peer would answer the Offer by asking for the list.
            let chunk = if geometry.chunks() > 1 { LIST } else { 0 };
            effects.send(key, Message::Push { blob: handle, chunk });
        }
        offer(key, handle, blob, vouched.as_deref(), effects);
        if begin.is_some_and(|geometry| geometry.chunks() > 1) {
            effects.serve(key, SendCommand::List { blob: handle });
        }
        self.news.push(UploadChange::Takes { peer: key, id, begin });
    }

    /// Sends the Offers that waited for vouchers, as far as the peers may be sent more now.
    pub fn offer_waiting(&mut self, effects: &mut Effects<'_, B>) {
        for (key, id) in std::mem::take(&mut self.later) {
            if let Some(handle) = self.handle(key, id) {
                self.offer(key, handle, id, effects);
            }
        }
    }

    /// Returns a blob if it can be fetched from us.
    pub fn open(&self, id: ContentId) -> Option<B> {
        self.open.get(&id).cloned()
    }

    /// Returns the ids of all blobs that can be fetched from us.
    pub fn open_ids(&self) -> Vec<ContentId> {
        self.open.keys().copied().collect()
    }

    /// True if a blob can be fetched from us.
    pub fn is_open(&self, id: ContentId) -> bool {
        self.open.contains_key(&id)
    }

    /// Takes the changes that the scheduler has not heard of.
    pub(super) fn take_news(&mut self) -> Vec<UploadChange<B>> {
        std::mem::take(&mut self.news)
    }

    /// Returns the blob that a peer's handle stands for, if it is open and the peer may fetch it.
    pub fn taken(&self, key: PeerKey, handle: Handle) -> Option<&B> {
        let id = self.handles.get(&(key, handle))?;
        self.handle(key, *id).and_then(|_| self.open.get(id))
    }

    /// Returns the length in bytes of the longest blob that a peer fetches from us.
    pub fn taken_of(&self, key: PeerKey) -> u64 {
        let wanted = self.handles.range((key, Handle::MIN)..=(key, Handle::MAX)).map(|(_, id)| id);
        let taken = wanted.filter(|id| self.handle(key, **id).is_some()).filter_map(|id| self.open.get(id));
        taken.map(|blob| blob.geometry().len()).max().unwrap_or(0)
    }

    /// Returns the handle that a peer gave to a blob it may fetch.
    pub fn handle(&self, key: PeerKey, id: ContentId) -> Option<Handle> {
        self.wants.get(&id).and_then(|wants| wants.get(&key)).copied()
    }

    /// Withdraws a blob: every peer that wants it is told.
    pub fn withdraw(&mut self, id: ContentId, effects: &mut Effects<'_, B>) {
        if self.open.remove(&id).is_none() {
            return;
        }
        self.vouchers.remove(&id);
        self.news.push(UploadChange::Closed(id));
        self.tell(id, effects, |blob| Message::Gone { blob });
        for (key, handle) in self.wants.get(&id).into_iter().flatten() {
            effects.serve(*key, SendCommand::Close { blob: *handle });
        }
    }

    /// Sends `message` for a blob that is not here to every peer that wants it. A later Offer begins nothing.
    fn tell(&mut self, id: ContentId, effects: &mut Effects<'_, B>, message: impl Fn(Handle) -> Message) {
        for (key, handle) in self.wants.get(&id).into_iter().flatten() {
            self.begins.remove(&(*key, *handle));
            effects.send(*key, message(*handle));
        }
    }

    /// Introduces the peers that want a blob, and its `holders`, to a newcomer, and the newcomer to them.
    /// Peers that are denied the blob are introduced only to each other, as if the blob were not here.
    pub fn introduce(
        &self,
        newcomer: PeerKey,
        id: ContentId,
        holders: &[PeerKey],
        effects: &mut Effects<'_, B>,
    ) {
        let of = |all: &'_ BTreeMap<ContentId, BTreeMap<PeerKey, Handle>>| {
            all.get(&id).is_some_and(|wants| wants.contains_key(&newcomer))
        };
        let (all, holders) = if of(&self.denied) { (&self.denied, &[][..]) } else { (&self.wants, holders) };
        let Some(wants) = all.get(&id) else { return };
        let Some(&its_handle) = wants.get(&newcomer) else { return };
        let others: BTreeSet<PeerKey> =
            wants.keys().chain(holders).copied().filter(|k| *k != newcomer).collect();
        // The sample starts at the newcomer's own number, so that newcomers are not all sent to the same few
        // peers.
        let start = newcomer.0 as usize % others.len().max(1);
        let sample: Vec<PeerKey> = others
            .iter()
            .cycle()
            .skip(start)
            .take(others.len().min(limits::EXCHANGE_PEERS))
            .copied()
            .collect();
        let known: Vec<PeerAddrs> = sample.iter().filter_map(|k| effects.reachable(*k)).collect();
        if !known.is_empty() {
            effects.hint(newcomer, Message::Peers { blob: its_handle, peers: known });
        }
        let Some(itself) = effects.reachable(newcomer) else { return };
        for key in sample {
            if let Some(handle) = wants.get(&key) {
                effects.hint(key, Message::Peers { blob: *handle, peers: vec![itself.clone()] });
            }
        }
    }

    /// Closes blobs that no peer wants and that are not `busy`.
    pub fn prune(&mut self, busy: impl Fn(ContentId) -> bool) {
        let idle: Vec<ContentId> =
            self.open.keys().filter(|id| !self.wants.contains_key(id) && !busy(**id)).copied().collect();
        for id in idle {
            self.open.remove(&id);
            self.vouchers.remove(&id);
            self.news.push(UploadChange::Closed(id));
        }
    }
}

/// Sends an Offer, after its voucher, and tells the session which blob the handle stands for.
fn offer<B: OpenBlob>(
    key: PeerKey,
    handle: Handle,
    blob: &B,
    vouched: Option<&Vouched>,
    effects: &mut Effects<'_, B>,
) {
    if let Some(vouched) = vouched {
        let (voucher, chain) = (vouched.voucher.clone(), vouched.chain.0.clone());
        effects.send(key, Message::Voucher { blob: handle, voucher, chain });
    }
    effects.serve(key, SendCommand::Open { blob: handle, source: blob.clone() });
    let offer = Offer {
        blob: handle,
        kind: blob.kind(),
        len: blob.geometry().len(),
        name: blob.offered_name().map(ToOwned::to_owned),
        origin: blob.is_origin(),
        have: Have::of(&blob.have()),
    };
    effects.send(key, Message::Offer(offer));
}
