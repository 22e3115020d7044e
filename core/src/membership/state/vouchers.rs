//! Vouchers in a session: those that this node issues, those that peers present, and those by which it
//! serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{HolderProof, OfficeState};
use crate::id::ContentId;
use crate::limits;
use crate::membership::error::OfficeError;
use crate::office::certificate::{Chain, Role};
use crate::office::membership::Vouched;
use crate::office::voucher::{Believed, For, Voucher};
use crate::schedule::PeerKey;
use crate::signed::PublicKey;
use crate::store::DiskError;

/// Time for which the vouchers of a peer that has gone are remembered. By then all that it delivered is
/// written.
const GONE_FOR: Duration = Duration::from_secs(30);

impl OfficeState {
    /// Returns the keys of these members, or the whole office without any, if this node may offer blobs to
    /// them.
    ///
    /// # Errors
    /// This node is no valid member or no publisher, there are too many members, or a name is not clear.
    pub(crate) fn may_offer(&self, to: &[String]) -> Result<For, OfficeError> {
        if let Some(trouble) = self.trouble {
            return Err(trouble.into());
        }
        if to.is_empty() {
            return match self.own.role {
                Role::Member => Err(OfficeError::NotPublisher),
                Role::Publisher | Role::Registrar => Ok(For::All),
            };
        }
        if to.len() > limits::VOUCHER_MEMBERS {
            return Err(OfficeError::ManyMembers);
        }
        let keys: Result<BTreeSet<PublicKey>, OfficeError> = to.iter().map(|name| self.find(name)).collect();
        Ok(For::Members(keys?))
    }

    /// Issues a voucher for these blobs, which goes with them to every holder.
    ///
    /// # Errors
    /// The errors of [`OfficeState::may_offer`], and those of the disk.
    pub(crate) fn vouch(&mut self, ids: &[ContentId], to: &[String], at: u64) -> Result<(), OfficeError> {
        let members = self.may_offer(to)?;
        let voucher = Voucher { issued: at, ids: ids.iter().copied().collect(), members };
        let voucher = voucher.sign(self.book.office(), &self.signer);
        let chain = self.chain.clone();
        let believed = Believed::read(&voucher, &chain, &self.book, at)?;
        let vouched = Arc::new(Vouched { believed, voucher, chain });
        for id in ids {
            // It replaces this node's earlier voucher for the blob.
            let mut all = self.vouchers(*id, at);
            all.retain(|known| known.believed.issuer != self.own.subject);
            all.insert(0, Arc::clone(&vouched));
            self.keep_vouchers(*id, all)?;
        }
        Ok(())
    }

    /// Writes the vouchers of a blob, at most [`limits::VOUCHERS`], and serves by them.
    fn keep_vouchers(&mut self, id: ContentId, mut all: Vec<Arc<Vouched>>) -> Result<(), DiskError> {
        all.truncate(limits::VOUCHERS);
        let kept: Vec<(&[u8], &Chain)> = all.iter().map(|v| (v.voucher.as_slice(), &v.chain)).collect();
        self.store.keep_voucher(id, &postcard::to_allocvec(&kept).unwrap_or_default())?;
        self.vouchers.insert(id, all);
        Ok(())
    }

    /// Returns the valid vouchers of a blob that is here. There are none for a blob that is not here.
    pub(crate) fn vouchers(&mut self, id: ContentId, at: u64) -> Vec<Arc<Vouched>> {
        if let Some(known) = self.vouchers.get(&id) {
            return known.clone();
        }
        if self.store.record(id).is_none() {
            return Vec::new();
        }
        let kept = self.store.voucher(id).unwrap_or_default();
        let read: Vec<(Vec<u8>, Chain)> = postcard::from_bytes(&kept).unwrap_or_default();
        let believed = |(voucher, chain): (Vec<u8>, Chain)| {
            let believed = Believed::read(&voucher, &chain, &self.book, at).ok()?;
            believed.is_of(id).then(|| Arc::new(Vouched { believed, voucher, chain }))
        };
        let all: Vec<Arc<Vouched>> = read.into_iter().filter_map(believed).collect();
        self.vouchers.insert(id, all.clone());
        all
    }

    /// Records the voucher that a peer presents for a blob. It is ignored if it is not valid, or not for this
    /// node.
    pub(crate) fn shown(&mut self, peer: PeerKey, id: ContentId, voucher: Vec<u8>, chain: Chain, at: u64) {
        let same = |known: &HolderProof| known.vouched.voucher == voucher && known.vouched.chain == chain;
        if self.shown.get(&(peer, id)).is_some_and(same) {
            return;
        }
        let Ok(believed) = Believed::read(&voucher, &chain, &self.book, at) else { return };
        if believed.is_of(id) && believed.is_for(self.own.subject) {
            let vouched = Arc::new(Vouched { believed, voucher, chain });
            self.shown.insert((peer, id), HolderProof { vouched, counts: false });
        }
    }

    /// True if this peer has presented a voucher for the blob.
    pub(crate) fn has_shown(&self, peer: PeerKey, id: ContentId) -> bool {
        self.shown.contains_key(&(peer, id))
    }

    /// Records that a peer has given a chunk of the blob. From now on this node serves the blob by the
    /// voucher that the peer presented. Vouchers of peers that gave nothing do not count, because anybody can
    /// write a voucher for a blob that it never had. Returns true if the voucher is new.
    pub(crate) fn gave(&mut self, peer: PeerKey, id: ContentId, at: u64) -> bool {
        // This runs for every chunk, and only the first one makes a difference.
        let Some(shown) = self.shown.get_mut(&(peer, id)).filter(|shown| !shown.counts) else { return false };
        shown.counts = true;
        let vouched = Arc::clone(&shown.vouched);
        let mut all = self.vouchers(id, at);
        if all.contains(&vouched) || all.len() >= limits::VOUCHERS {
            return false;
        }
        all.push(vouched);
        if let Err(error) = self.keep_vouchers(id, all) {
            tracing::warn!(%error, "who may be offered this cannot be kept");
        }
        true
    }

    /// Records that a peer has gone. Its vouchers stay for a while, because chunks of it may still be on
    /// their way to the disk.
    pub(crate) fn peer_down(&mut self, peer: PeerKey) {
        self.gone.push((Instant::now() + GONE_FOR, peer));
    }

    /// Forgets the vouchers of peers that have gone long enough ago.
    pub(super) fn forget_gone(&mut self, now: Instant) {
        let over: Vec<PeerKey> =
            self.gone.iter().filter(|(at, _)| *at <= now).map(|(_, peer)| *peer).collect();
        if !over.is_empty() {
            self.gone.retain(|(at, _)| *at > now);
            self.shown.retain(|(by, _), _| !over.contains(by));
        }
    }

    /// Forgets the vouchers of a blob that is no longer here, or has changed. They are read again if needed.
    pub(crate) fn forget(&mut self, id: ContentId) {
        self.vouchers.remove(&id);
    }

    /// Returns the names of the members that may have a blob, `None` for the whole office.
    pub(crate) fn names(&mut self, id: ContentId, at: u64) -> Option<Vec<String>> {
        let mut keys = BTreeSet::new();
        for vouched in self.vouchers(id, at) {
            keys.extend(vouched.believed.members()?);
        }
        let name =
            |key: &PublicKey| self.members.get(*key).map_or_else(|| key.to_string(), |m| m.name.clone());
        Some(keys.iter().map(name).collect())
    }
}
