//! Who may be offered what: what this node says of it, and what it was told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{HolderProof, OfficeState};
use crate::id::ContentId;
use crate::limits;
use crate::office::PublicKey;
use crate::office::certificate::{Chain, Role};
use crate::office::membership::Vouched;
use crate::office::voucher::{Believed, For, Voucher};
use crate::schedule::PeerKey;
use crate::store::DiskError;

/// What a peer delivered is written by then.
const GONE_FOR: Duration = Duration::from_secs(30);

impl OfficeState {
    /// Whether this node may offer something to these members, or to all; their keys.
    pub(crate) fn may_offer(&self, to: &[String]) -> Result<For, String> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        if to.is_empty() {
            return match self.own.role {
                Role::Member => Err("only a publisher may offer something to the whole office: name members with --to, or ask \
                     a registrar to make this node a publisher"
                    .to_owned()),
                Role::Publisher | Role::Registrar => Ok(For::All),
            };
        }
        if to.len() > limits::VOUCHER_MEMBERS {
            return Err(format!("more than {} members", limits::VOUCHER_MEMBERS));
        }
        let keys: Result<BTreeSet<PublicKey>, String> = to.iter().map(|name| self.find(name)).collect();
        Ok(For::Members(keys?))
    }

    /// Says who may be offered this, for all who will hold it.
    pub(crate) fn vouch(&mut self, ids: &[ContentId], to: &[String], at: u64) -> Result<(), String> {
        let members = self.may_offer(to)?;
        let voucher = Voucher { issued: at, ids: ids.iter().copied().collect(), members };
        let voucher = voucher.sign(self.book.office(), &self.signer);
        let chain = self.chain.clone();
        let believed = Believed::read(&voucher, &chain, &self.book, at).map_err(|e| e.to_string())?;
        let vouched = Arc::new(Vouched { believed, voucher, chain });
        for id in ids {
            // What this node said of it before does not count any longer.
            let mut all = self.vouchers(*id, at);
            all.retain(|known| known.believed.issuer != self.own.subject);
            all.insert(0, Arc::clone(&vouched));
            self.keep_vouchers(*id, all).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn keep_vouchers(&mut self, id: ContentId, mut all: Vec<Arc<Vouched>>) -> Result<(), DiskError> {
        all.truncate(limits::VOUCHERS);
        let kept: Vec<(&[u8], &Chain)> = all.iter().map(|v| (v.voucher.as_slice(), &v.chain)).collect();
        self.store.keep_voucher(id, &postcard::to_allocvec(&kept).unwrap_or_default())?;
        self.vouchers.insert(id, all);
        Ok(())
    }

    /// What says who may be offered this, as far as it is still believed. Of what is not here nothing is known.
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

    /// A peer shows why it may offer us this; what is not for us, or not believed, counts as nothing shown.
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

    /// Whether this peer has shown why it may offer us this.
    pub(crate) fn has_shown(&self, peer: PeerKey, id: ContentId) -> bool {
        self.shown.contains_key(&(peer, id))
    }

    /// A peer has given us some of this, so it did not only say that it may be offered: from now on we go by what it showed.
    /// Anybody could write a voucher for what he was never given. True if that is new.
    pub(crate) fn gave(&mut self, peer: PeerKey, id: ContentId, at: u64) -> bool {
        // Asked of every chunk: only the first tells anything.
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

    /// A peer has gone. What it delivered may still be on its way to the disk.
    pub(crate) fn peer_down(&mut self, peer: PeerKey) {
        self.gone.push((Instant::now() + GONE_FOR, peer));
    }

    /// Who has gone long enough ago has shown nothing.
    pub(super) fn forget_gone(&mut self, now: Instant) {
        let over: Vec<PeerKey> =
            self.gone.iter().filter(|(at, _)| *at <= now).map(|(_, peer)| *peer).collect();
        if !over.is_empty() {
            self.gone.retain(|(at, _)| *at > now);
            self.shown.retain(|(by, _), _| !over.contains(by));
        }
    }

    /// A content is here no longer, or another than before.
    pub(crate) fn forget(&mut self, id: ContentId) {
        self.vouchers.remove(&id);
    }

    /// The names of the members that something is for; none for all.
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
