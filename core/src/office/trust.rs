//! What a member believes of its office: who had to leave, and the secrets. Told from member to member, and only ever added to.
//!
//! A statement that a registrar signed is told together with the certificate that makes it a registrar, which the root signed.
//! It is believed if the registrar was one when it made the statement, by the statement's own word (nobody who was made to leave by the
//! root is believed anything more), so that what was said long ago still holds for who joins today.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::certificate::{Certificate, Chain, Role};
use super::expulsion::{Expelled, ExpulsionList, Void};
use super::secret::OfficeSecret;
use super::{Charter, OfficeId, PublicKey, Rejected, Signer};
use crate::limits;

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum About {
    /// Who had to leave: an [`ExpulsionList`].
    Expulsion,
    /// An [`OfficeSecret`].
    Secret,
}

/// A statement as it is passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What kind it is.
    pub about: About,
    /// The certificate of the registrar that signed it; empty if that was the root.
    pub by: Vec<u8>,
    /// It.
    pub statement: Vec<u8>,
}

/// What came of hearing a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It was known.
    Nothing,
    /// Somebody had to leave.
    Expulsion,
    /// Secrets are others than before.
    Secret,
}

/// See the module's text.
#[derive(Debug, Clone)]
pub struct TrustState {
    charter: Charter,
    office: OfficeId,
    expelled: Expelled,
    /// The newest list of each issuer.
    lists: BTreeMap<PublicKey, (u64, Statement)>,
    /// The greatest first.
    secrets: Vec<(OfficeSecret, Statement)>,
}

impl TrustState {
    /// Nothing yet.
    #[must_use]
    pub fn new(charter: Charter) -> Self {
        let office = charter.id();
        Self { charter, office, expelled: Expelled::default(), lists: BTreeMap::new(), secrets: Vec::new() }
    }

    /// Of which office.
    #[must_use]
    pub const fn charter(&self) -> &Charter {
        &self.charter
    }

    /// Its id.
    #[must_use]
    pub const fn office(&self) -> OfficeId {
        self.office
    }

    /// Who had to leave.
    #[must_use]
    pub const fn expelled(&self) -> &Expelled {
        &self.expelled
    }

    /// Forgets what has no effect any longer.
    pub fn forget(&mut self, now: u64) {
        self.expelled.forget(now);
    }

    /// What was believed in an earlier run of who had to leave: it stays, whatever becomes of those who said it.
    pub fn recall(&mut self, expelled: &Expelled) {
        self.expelled.join(expelled);
    }

    /// The secrets that are known, the one that counts first.
    pub fn secrets(&self) -> impl Iterator<Item = &OfficeSecret> {
        self.secrets.iter().map(|(secret, _)| secret)
    }

    /// Everything that another member should hear.
    pub fn all(&self) -> impl Iterator<Item = &Statement> {
        // Older ones first: whoever stops listening knows the less important ones.
        self.lists.values().map(|(_, told)| told).chain(self.secrets.iter().rev().map(|(_, told)| told))
    }

    /// Whose certificates these are, if they hold now.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn verify(&self, chain: &Chain, now: u64) -> Result<Certificate, Rejected> {
        chain.verify(&self.charter, &self.expelled, now)
    }

    /// A statement that somebody passed on.
    ///
    /// # Errors
    /// [`Rejected`]: nothing of it counts.
    pub fn hear(&mut self, told: &Statement, now: u64) -> Result<Update, Rejected> {
        match told.about {
            About::Expulsion => self.hear_list(told, now),
            About::Secret => self.hear_secret(told, now),
        }
    }

    fn hear_list(&mut self, told: &Statement, now: u64) -> Result<Update, Rejected> {
        if self.lists.values().any(|(_, known)| known == told) {
            return Ok(Update::Nothing);
        }
        let (list, issuer) = ExpulsionList::open(&told.statement, self.office)?;
        let by_root = self.may_state(issuer, &told.by, list.issued, now)?;
        // Also of an older one: its issuer may have begun anew from an even older one, and know less today than it did.
        let news = self.expelled.believe(&list, by_root);
        if self.lists.get(&issuer).is_none_or(|(number, _)| *number < list.number) {
            self.lists.insert(issuer, (list.number, told.clone()));
        }
        Ok(if news { Update::Expulsion } else { Update::Nothing })
    }

    fn hear_secret(&mut self, told: &Statement, now: u64) -> Result<Update, Rejected> {
        if self.secrets.iter().any(|(_, known)| known == told) {
            return Ok(Update::Nothing);
        }
        let (secret, issuer) = OfficeSecret::open(&told.statement, self.office)?;
        self.may_state(issuer, &told.by, secret.issued, now)?;
        let newest = self.secrets().next().map_or(secret.epoch, |newest| newest.epoch);
        if secret.epoch.saturating_sub(newest) > limits::OFFICE_EPOCH_STEP {
            return Err(Rejected::Future);
        }
        if self.secrets().any(|known| *known == secret) {
            return Ok(Update::Nothing);
        }
        let at = self.secrets.partition_point(|(known, _)| *known > secret);
        if at >= limits::OFFICE_SECRETS {
            return Ok(Update::Nothing);
        }
        self.secrets.insert(at, (secret, told.clone()));
        self.secrets.truncate(limits::OFFICE_SECRETS);
        Ok(Update::Secret)
    }

    /// Whether this issuer could make a statement then; true if it is the root.
    fn may_state(
        &self,
        issuer: PublicKey,
        certificate: &[u8],
        issued: u64,
        now: u64,
    ) -> Result<bool, Rejected> {
        if issued > now.saturating_add(limits::CLOCK_SKEW.as_secs()) {
            return Err(Rejected::Future);
        }
        if issuer == self.charter.root {
            return Ok(true);
        }
        let chain = Chain(vec![certificate.to_vec()]);
        let registrar = chain.verify(&self.charter, &self.expelled, issued)?;
        if registrar.role != Role::Registrar || registrar.subject != issuer {
            return Err(Rejected::Issuer);
        }
        Ok(false)
    }

    /// The list of this issuer with more on it, signed. It takes up all that any registrar said, so that it alone is enough for who
    /// joins later, and nobody comes back because who made him leave has had to leave himself; the root's but for what a registrar
    /// says of `registrars`, which does not count. What has no effect any longer is left out.
    #[must_use]
    pub fn expel(
        &self,
        signer: &Signer,
        by: &[u8],
        more: &[(PublicKey, Void)],
        registrars: &BTreeSet<PublicKey>,
        now: u64,
    ) -> Statement {
        let issuer = signer.public();
        let by_root = issuer == self.charter.root;
        let mut entries: BTreeMap<PublicKey, Void> = more.iter().copied().collect();
        // What matters most comes first, and of what only others say at most half: nobody can fill a list so that nobody else has
        // room on it.
        let read = |told: &Statement| {
            ExpulsionList::open(&told.statement, self.office).ok().map(|(list, _)| list.entries)
        };
        let own = self.lists.get(&issuer).and_then(|(_, told)| read(told)).unwrap_or_default();
        let root = if by_root { self.expelled.entries(true) } else { BTreeMap::new() };
        let theirs: BTreeMap<PublicKey, Void> = if by_root {
            self.expelled.entries(false)
        } else {
            let others = self.lists.iter().filter(|(by, _)| **by != issuer);
            others.filter_map(|(_, (_, told))| read(told)).flatten().collect()
        };
        let is_ours = |(subject, _): &(PublicKey, Void)| {
            !theirs.contains_key(subject) || (by_root && registrars.contains(subject))
        };
        let (ours, taken): (Vec<_>, Vec<_>) = own.into_iter().chain(root).partition(is_ours);
        let mut others: Vec<(PublicKey, Void)> =
            self.expelled.entries(false).into_iter().chain(taken).collect();
        others.retain(|(subject, _)| !(by_root && registrars.contains(subject)));
        others.sort_by_key(|(_, void)| std::cmp::Reverse(void.until));
        let half = limits::EXPULSIONS / 2;
        let (ours, others) =
            (ours.into_iter().map(|e| (e, limits::EXPULSIONS)), others.into_iter().map(|e| (e, half)));
        for ((subject, void), most) in ours.chain(others) {
            let room = entries.len() < most || entries.contains_key(&subject);
            if room && void.until.saturating_add(limits::CLOCK_SKEW.as_secs()) > now {
                entries.entry(subject).or_insert(void).widen(void);
            }
        }
        // By the clock as well: an issuer that has forgotten its last list still makes a newer one.
        let number = self.lists.get(&issuer).map_or(0, |(number, _)| number.saturating_add(1)).max(now);
        let list = ExpulsionList { number, issued: now, entries };
        let by = if by_root { Vec::new() } else { by.to_vec() };
        Statement { about: About::Expulsion, by, statement: list.sign(self.office, signer) }
    }

    /// A new secret of these random bytes, signed.
    #[must_use]
    pub fn renew_secret(&self, signer: &Signer, by: &[u8], random: [u8; 32], now: u64) -> Statement {
        let epoch = self.secrets().next().map_or(0, |newest| newest.epoch.saturating_add(1));
        let by = if signer.public() == self.charter.root { Vec::new() } else { by.to_vec() };
        let secret = OfficeSecret::new(epoch, now, random);
        Statement { about: About::Secret, by, statement: secret.sign(self.office, signer) }
    }
}
