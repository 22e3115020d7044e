//! What we give: which peers want which blob of us, and what they were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::office::desk::Vouched;
use super::peers::{Peer, Peers};
use super::session::Serve;
use crate::content::geometry::Geometry;
use crate::id::ContentId;
use crate::limits;
use crate::options::Audience;
use crate::schedule::PeerKey;
use crate::store::Blob;
use crate::wire::{Handle, Have, LIST, Message, Offer, PeerAddrs};

/// Who may fetch a blob of us.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) audience: Audience,
    /// In an office: what says whom the blob is for.
    pub(super) office: Option<Vec<Arc<Vouched>>>,
}

impl Access {
    /// Whether this peer may.
    pub(super) fn admits(&self, peer: &Peer) -> bool {
        let vouched = |all: &Vec<Arc<Vouched>>| vouched_for(all, peer).is_some();
        self.office.as_ref().is_none_or(vouched) && self.audience.admits(peer.near, peer.member.is_some())
    }

    /// Whether nobody may.
    pub(super) fn is_nobody(&self) -> bool {
        self.audience == Audience::Nobody || self.office.as_ref().is_some_and(Vec::is_empty)
    }
}

/// What says that a blob is for this peer.
fn vouched_for<'a>(all: &'a [Arc<Vouched>], peer: &Peer) -> Option<&'a Arc<Vouched>> {
    let member = peer.member.as_ref()?.certificate.subject;
    all.iter().find(|vouched| vouched.believed.is_for(member))
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// What is said before an offer in an office.
    vouchers: HashMap<ContentId, Vec<Arc<Vouched>>>,
    /// Blobs that are open, for whoever wants them.
    open: HashMap<ContentId, Arc<Blob>>,
    /// Who wants what, under which number.
    wants: BTreeMap<ContentId, BTreeMap<PeerKey, Handle>>,
    /// The same of those who may not fetch it.
    denied: BTreeMap<ContentId, BTreeMap<PeerKey, Handle>>,
    /// The other way round.
    handles: BTreeMap<(PeerKey, Handle), ContentId>,
    /// Being opened.
    opening: BTreeSet<ContentId>,
    /// Wants that were shown a voucher: another one counts there.
    vouched: BTreeSet<(PeerKey, Handle)>,
    /// Wants whose first answer is to be followed by the list and the first chunks.
    begins: BTreeSet<(PeerKey, Handle)>,
    /// Offers that wait until the peer may be told of more vouchers.
    later: BTreeSet<(PeerKey, ContentId)>,
    news: Vec<News>,
}

/// What the scheduler must hear of what we give.
#[derive(Debug)]
pub(super) enum News {
    /// This can be had of us.
    Open(Arc<Blob>),
    /// This no longer.
    Closed(ContentId),
    /// A peer takes this of us, and was told what there is. We are to `begin` this, of such a length.
    Takes { peer: PeerKey, id: ContentId, begin: Option<Geometry> },
    /// It does not any longer.
    TakesNot(PeerKey, ContentId),
}

/// What a new want needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It was answered.
    Answered,
    /// The store must be asked; tell with [`Sharing::opened`].
    Open,
    /// It was told that there is nothing.
    Denied,
}

impl Sharing {
    /// A peer wants a blob and is `admitted` to it, or not. `None` when it breaks the rules.
    pub(super) fn want(
        &mut self,
        key: PeerKey,
        (handle, id): (Handle, ContentId),
        admitted: bool,
        peers: &mut Peers,
    ) -> Option<Next> {
        let count = self.handles.range((key, 0)..=(key, Handle::MAX)).count();
        if count >= limits::SESSION_BLOBS || self.handles.contains_key(&(key, handle)) {
            return None;
        }
        self.handles.insert((key, handle), id);
        if !admitted {
            self.denied.entry(id).or_default().insert(key, handle);
            self.begins.remove(&(key, handle));
            peers.send(key, Message::Absent { blob: handle });
            return Some(Next::Denied);
        }
        self.wants.entry(id).or_default().insert(key, handle);
        if self.open.contains_key(&id) {
            self.offer(key, handle, id, peers);
            return Some(Next::Answered);
        }
        Some(if self.opening.insert(id) { Next::Open } else { Next::Answered })
    }

    /// A peer asks that we begin what it is about to want under this number. No session has more of those than wants.
    pub(super) fn begin(&mut self, key: PeerKey, handle: Handle) {
        if self.begins.range((key, 0)..=(key, Handle::MAX)).count() < limits::SESSION_BLOBS {
            self.begins.insert((key, handle));
        }
    }

    /// A peer no longer wants what it called by this number.
    pub(super) fn unwant(&mut self, key: PeerKey, handle: Handle, peers: &mut Peers) {
        self.vouched.remove(&(key, handle));
        self.begins.remove(&(key, handle));
        if let Some(id) = self.handles.remove(&(key, handle)) {
            // Who asks for much that is not here must not fill the queue of what it takes.
            if self.open.contains_key(&id) {
                peers.serve(key, Serve::Close { blob: handle });
            }
            self.forget(id, key);
            self.news.push(News::TakesNot(key, id));
        }
    }

    pub(super) fn peer_down(&mut self, key: PeerKey) {
        let gone: Vec<_> =
            self.handles.range((key, 0)..=(key, Handle::MAX)).map(|(k, id)| (*k, *id)).collect();
        for (handle, id) in gone {
            self.handles.remove(&handle);
            self.vouched.remove(&handle);
            self.forget(id, key);
        }
        self.begins.retain(|(of, _)| *of != key);
    }

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

    /// Who was denied a blob and may now fetch it wants it like others from now on.
    pub(super) fn admit(&mut self, id: ContentId, access: &Access, peers: &Peers) {
        let Some(denied) = self.denied.remove(&id) else { return };
        let may = |key: &PeerKey| peers.get(*key).is_some_and(|peer| access.admits(peer));
        let (admitted, denied): (BTreeMap<_, _>, BTreeMap<_, _>) =
            denied.into_iter().partition(|(key, _)| may(key));
        if !admitted.is_empty() {
            self.wants.entry(id).or_default().extend(admitted);
        }
        if !denied.is_empty() {
            self.denied.insert(id, denied);
        }
    }

    /// Who wants a blob and may not fetch it any longer is denied it from now on: to it, it is gone.
    fn dismiss(&mut self, id: ContentId, access: &Access, peers: &mut Peers) {
        let Some(wants) = self.wants.remove(&id) else { return };
        let may = |key: &PeerKey| peers.get(*key).is_some_and(|peer| access.admits(peer));
        let (admitted, denied): (BTreeMap<_, _>, BTreeMap<_, _>) =
            wants.into_iter().partition(|(key, _)| may(key));
        if !admitted.is_empty() {
            self.wants.insert(id, admitted);
        }
        let offered = self.open.contains_key(&id);
        for (key, blob) in &denied {
            if offered {
                peers.serve(*key, Serve::Close { blob: *blob });
                peers.send(*key, Message::Gone { blob: *blob });
                self.news.push(News::TakesNot(*key, id));
            } else if self.opening.contains(&id) {
                // It waits for its first answer.
                self.begins.remove(&(*key, *blob));
                peers.send(*key, Message::Absent { blob: *blob });
            }
        }
        if !denied.is_empty() {
            self.denied.entry(id).or_default().extend(denied);
        }
    }

    /// The store's answer to [`Next::Open`].
    pub(super) fn opened(
        &mut self,
        id: ContentId,
        blob: Option<Arc<Blob>>,
        access: &Access,
        peers: &mut Peers,
    ) {
        self.opening.remove(&id);
        match blob {
            // A download may have begun meanwhile: what it offers is fresher.
            Some(blob) if blob.is_shareable() && !self.open.contains_key(&id) => {
                self.share(blob, access, peers)
            }
            _ if self.open.contains_key(&id) => {}
            // Also of what some files were left out of: whoever waits for an answer gets one.
            _ => self.tell(id, peers, |blob| Message::Absent { blob }),
        }
    }

    /// Who wants it.
    pub(super) fn wanters(&self, id: ContentId) -> BTreeSet<PeerKey> {
        self.wants.get(&id).map_or_else(BTreeSet::new, |wants| wants.keys().copied().collect())
    }

    /// Introduces a holder to all who want a blob.
    pub(super) fn found(&self, holder: PeerKey, id: ContentId, peers: &mut Peers) {
        let Some(itself) = peers.get(holder).and_then(super::peers::Peer::reachable) else { return };
        for (key, handle) in self.wants.get(&id).into_iter().flatten().filter(|(key, _)| **key != holder) {
            peers.hint(*key, Message::Peers { blob: *handle, peers: vec![itself.clone()] });
        }
    }

    /// A blob can be had from now on: everyone who wants it, and is of the audience, is told.
    pub(super) fn share(&mut self, blob: Arc<Blob>, access: &Access, peers: &mut Peers) {
        if !blob.is_shareable() {
            return;
        }
        if let Some(vouched) = &access.office {
            self.vouchers.insert(blob.id(), vouched.clone());
        }
        self.dismiss(blob.id(), access, peers);
        self.admit(blob.id(), access, peers);
        self.news.push(News::Open(Arc::clone(&blob)));
        let id = blob.id();
        self.open.insert(id, blob);
        let wanters: Vec<(PeerKey, Handle)> =
            self.wants.get(&id).into_iter().flatten().map(|(key, handle)| (*key, *handle)).collect();
        wanters.into_iter().for_each(|(key, handle)| self.offer(key, handle, id, peers));
    }

    /// Offers what is open to a peer that wants it; later, if it may not be told of one more voucher now.
    fn offer(&mut self, key: PeerKey, handle: Handle, id: ContentId, peers: &mut Peers) {
        let Some(blob) = self.open.get(&id) else { return };
        let vouched = self.vouchers.get(&id).and_then(|all| vouched_for(all, peers.get(key)?)).cloned();
        let again = vouched.is_some() && !self.vouched.insert((key, handle));
        if again && !peers.may_vouch(key) {
            self.later.insert((key, id));
            return;
        }
        self.later.remove(&(key, id));
        let begin = self.begins.remove(&(key, handle)).then(|| blob.geometry());
        // Of one chunk there is nothing to begin with until that is here.
        let begin = begin.filter(|geometry| geometry.chunks() > 1 || blob.have().is_full());
        if let Some(geometry) = begin {
            // Before the offer, which would be answered by asking for it.
            let chunk = if geometry.chunks() > 1 { LIST } else { 0 };
            peers.send(key, Message::Push { blob: handle, chunk });
        }
        offer(key, handle, blob, vouched.as_deref(), peers);
        if begin.is_some_and(|geometry| geometry.chunks() > 1) {
            peers.serve(key, Serve::List { blob: handle });
        }
        self.news.push(News::Takes { peer: key, id, begin });
    }

    /// Offers what had to wait, as far as it may be heard now.
    pub(super) fn offer_waiting(&mut self, peers: &mut Peers) {
        for (key, id) in std::mem::take(&mut self.later) {
            if let Some(handle) = self.handle(key, id) {
                self.offer(key, handle, id, peers);
            }
        }
    }

    /// It, if it can be had of us.
    pub(super) fn open(&self, id: ContentId) -> Option<Arc<Blob>> {
        self.open.get(&id).cloned()
    }

    /// All that can be had of us.
    pub(super) fn open_ids(&self) -> Vec<ContentId> {
        self.open.keys().copied().collect()
    }

    /// It can be had of us.
    pub(super) fn is_open(&self, id: ContentId) -> bool {
        self.open.contains_key(&id)
    }

    /// What the scheduler has not heard yet.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// What a peer calls by this number, if it can be had of us.
    pub(super) fn taken(&self, key: PeerKey, handle: Handle) -> Option<&Arc<Blob>> {
        let id = self.handles.get(&(key, handle))?;
        self.handle(key, *id).and_then(|_| self.open.get(id))
    }

    /// Bytes of the longest blob that a peer takes of us.
    pub(super) fn taken_of(&self, key: PeerKey) -> u64 {
        let wanted = self.handles.range((key, Handle::MIN)..=(key, Handle::MAX)).map(|(_, id)| id);
        let taken = wanted.filter(|id| self.handle(key, **id).is_some()).filter_map(|id| self.open.get(id));
        taken.map(|blob| blob.geometry().len()).max().unwrap_or(0)
    }

    /// The number by which a peer calls a blob.
    pub(super) fn handle(&self, key: PeerKey, id: ContentId) -> Option<Handle> {
        self.wants.get(&id).and_then(|wants| wants.get(&key)).copied()
    }

    /// A blob can no longer be had.
    pub(super) fn withdraw(&mut self, id: ContentId, peers: &mut Peers) {
        if self.open.remove(&id).is_none() {
            return;
        }
        self.vouchers.remove(&id);
        self.news.push(News::Closed(id));
        self.tell(id, peers, |blob| Message::Gone { blob });
        for (key, handle) in self.wants.get(&id).into_iter().flatten() {
            peers.serve(*key, Serve::Close { blob: *handle });
        }
    }

    /// Tells all who want a blob that there is none. An offer that comes later begins nothing.
    fn tell(&mut self, id: ContentId, peers: &mut Peers, message: impl Fn(Handle) -> Message) {
        for (key, handle) in self.wants.get(&id).into_iter().flatten() {
            self.begins.remove(&(*key, *handle));
            peers.send(*key, message(*handle));
        }
    }

    /// Introduces those who want a blob (and `holders`, who have some of it) to a newcomer, and the newcomer to them. Those who
    /// are denied it are introduced to each other, as if it were not here.
    pub(super) fn introduce(&self, newcomer: PeerKey, id: ContentId, holders: &[PeerKey], peers: &mut Peers) {
        let of = |all: &'_ BTreeMap<ContentId, BTreeMap<PeerKey, Handle>>| {
            all.get(&id).is_some_and(|wants| wants.contains_key(&newcomer))
        };
        let (all, holders) = if of(&self.denied) { (&self.denied, &[][..]) } else { (&self.wants, holders) };
        let Some(wants) = all.get(&id) else { return };
        let Some(&its_handle) = wants.get(&newcomer) else { return };
        let others: BTreeSet<PeerKey> =
            wants.keys().chain(holders).copied().filter(|k| *k != newcomer).collect();
        // A sample that starts at the newcomer's own number: not everybody is sent to the same few.
        let start = newcomer.0 as usize % others.len().max(1);
        let sample: Vec<PeerKey> = others
            .iter()
            .cycle()
            .skip(start)
            .take(others.len().min(limits::EXCHANGE_PEERS))
            .copied()
            .collect();
        let known: Vec<PeerAddrs> = sample.iter().filter_map(|k| peers.get(*k)?.reachable()).collect();
        if !known.is_empty() {
            peers.hint(newcomer, Message::Peers { blob: its_handle, peers: known });
        }
        let Some(itself) = peers.get(newcomer).and_then(super::peers::Peer::reachable) else { return };
        for key in sample {
            if let Some(handle) = wants.get(&key) {
                peers.hint(key, Message::Peers { blob: *handle, peers: vec![itself.clone()] });
            }
        }
    }

    /// Closes blobs nobody wants.
    pub(super) fn prune(&mut self, busy: impl Fn(ContentId) -> bool) {
        let idle: Vec<ContentId> =
            self.open.keys().filter(|id| !self.wants.contains_key(id) && !busy(**id)).copied().collect();
        for id in idle {
            self.open.remove(&id);
            self.vouchers.remove(&id);
            self.news.push(News::Closed(id));
        }
    }
}

fn offer(key: PeerKey, handle: Handle, blob: &Arc<Blob>, vouched: Option<&Vouched>, peers: &mut Peers) {
    if let Some(vouched) = vouched {
        let (voucher, chain) = (vouched.voucher.clone(), vouched.chain.0.clone());
        peers.send(key, Message::Voucher { blob: handle, voucher, chain });
    }
    peers.serve(key, Serve::Open { blob: handle, source: Arc::clone(blob) });
    let offer = Offer {
        blob: handle,
        kind: blob.kind(),
        len: blob.geometry().len(),
        name: blob.offered_name().map(ToOwned::to_owned),
        origin: blob.is_origin(),
        have: Have::of(&blob.have()),
    };
    peers.send(key, Message::Offer(offer));
}
