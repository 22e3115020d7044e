//! Who may be offered what: what this node says of it, and what it was told.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Desk, Vouched};
use crate::id::ContentId;
use crate::limits;
use crate::office::PublicKey;
use crate::office::certificate::{Chain, Role};
use crate::office::voucher::{Believed, For, Voucher};
use crate::store::DiskError;

impl Desk {
    /// Whether this node may offer something to these members, or to all; their keys.
    pub(in crate::node) fn may_offer(&self, to: &[String]) -> Result<For, String> {
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
        let keys: Result<BTreeSet<PublicKey>, String> =
            to.iter().map(|name| self.members.find(name)).collect();
        Ok(For::Members(keys?))
    }

    /// Says who may be offered this, for all who will hold it.
    pub(in crate::node) fn vouch(&mut self, ids: &[ContentId], to: &[String], at: u64) -> Result<(), String> {
        let members = self.may_offer(to)?;
        let voucher = Voucher { issued: at, ids: ids.iter().copied().collect(), members };
        let voucher = voucher.sign(self.book.office(), &self.signer);
        let chain = self.chain.clone();
        let believed = Believed::read(&voucher, &chain, &self.book, at).map_err(|e| e.to_string())?;
        let vouched = Arc::new(Vouched { believed, voucher, chain });
        for id in ids {
            self.keep_voucher(*id, &vouched).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    pub(super) fn keep_voucher(&mut self, id: ContentId, vouched: &Arc<Vouched>) -> Result<(), DiskError> {
        let bytes = postcard::to_allocvec(&(&vouched.voucher, &vouched.chain)).unwrap_or_default();
        self.store.keep_voucher(id, &bytes)?;
        self.vouchers.insert(id, Some(Arc::clone(vouched)));
        Ok(())
    }

    /// What says who may be offered this, if it is still believed.
    pub(in crate::node) fn voucher(&mut self, id: ContentId, at: u64) -> Option<Arc<Vouched>> {
        if let Some(known) = self.vouchers.get(&id) {
            return known.clone();
        }
        let kept = self.store.voucher(id);
        let read = kept.and_then(|bytes| postcard::from_bytes::<(Vec<u8>, Chain)>(&bytes).ok());
        let believed = read.and_then(|(voucher, chain)| {
            let believed = Believed::read(&voucher, &chain, &self.book, at).ok()?;
            believed.is_of(id).then(|| Arc::new(Vouched { believed, voucher, chain }))
        });
        self.vouchers.insert(id, believed.clone());
        believed
    }

    /// A peer shows why it may offer us this. An honest one shows none that is not for us; one of somebody who has had to leave
    /// since it was made is none of its fault.
    pub(in crate::node) fn shown(&mut self, id: ContentId, voucher: Vec<u8>, chain: Chain, at: u64) -> bool {
        let Ok(believed) = Believed::read(&voucher, &chain, &self.book, at) else { return false };
        if !believed.is_of(id) || !believed.is_for(self.own.subject) {
            return false;
        }
        let wider = believed.members().is_none();
        let known = self.voucher(id, at);
        if known.is_none_or(|known| wider && known.believed.members().is_some()) {
            let vouched = Arc::new(Vouched { believed, voucher, chain });
            if let Err(error) = self.keep_voucher(id, &vouched) {
                tracing::warn!(%error, "who may be offered this cannot be kept");
            }
        }
        true
    }

    /// The names of the members that something is for; none for all.
    pub(in crate::node) fn names(&mut self, id: ContentId, at: u64) -> Option<Vec<String>> {
        let vouched = self.voucher(id, at)?;
        let members = vouched.believed.members()?;
        let name =
            |key: &PublicKey| self.members.get(*key).map_or_else(|| key.to_string(), |m| m.name.clone());
        Some(members.iter().map(name).collect())
    }
}
