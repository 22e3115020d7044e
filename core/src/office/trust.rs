//! The statements that a member believes about its office: expulsions and secrets.
//!
//! Statements travel from member to member, and are only ever added. A statement that a registrar signed
//! travels together with the certificate, signed by the root, that makes its signer a registrar. It is
//! believed if the signer was a registrar at the time that the statement itself names. So a newcomer believes
//! old statements, too. A registrar that the root has expelled is not believed any more.

use std::collections::{BTreeMap, BTreeSet};

use super::certificate::{Certificate, Chain, Role};
use super::expulsion::{Expelled, ExpulsionList, Void};
use super::secret::OfficeSecret;
use super::{Charter, OfficeId, Rejected};
use crate::limits;
use crate::signed::{PublicKey, Signer, Statement, Topic};

/// The effect of a statement that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Nothing is new.
    Nothing,
    /// Certificates became void.
    Expulsion,
    /// The known secrets changed.
    Secret,
}

/// The statements that a member believes about its office.
#[derive(Debug, Clone)]
pub struct TrustState {
    charter: Charter,
    office: OfficeId,
    expelled: Expelled,
    /// The newest list of each issuer, with its number.
    lists: BTreeMap<PublicKey, (u64, Statement)>,
    /// The known secrets, the greatest first. At most [`limits::OFFICE_SECRETS`].
    secrets: Vec<(OfficeSecret, Statement)>,
}

impl TrustState {
    /// Returns the state of an office about which nothing was heard yet.
    #[must_use]
    pub fn new(charter: Charter) -> Self {
        let office = charter.id();
        Self { charter, office, expelled: Expelled::default(), lists: BTreeMap::new(), secrets: Vec::new() }
    }

    /// Returns the office's charter.
    #[must_use]
    pub const fn charter(&self) -> &Charter {
        &self.charter
    }

    /// Returns the office's id.
    #[must_use]
    pub const fn office(&self) -> OfficeId {
        self.office
    }

    /// Returns all expulsions that are believed.
    #[must_use]
    pub const fn expelled(&self) -> &Expelled {
        &self.expelled
    }

    /// Forgets expulsions that have no effect any more.
    pub fn forget(&mut self, now: u64) {
        self.expelled.forget(now);
    }

    /// Adds the expulsions of an earlier run. They stay, whatever becomes of their issuers.
    pub fn recall(&mut self, expelled: &Expelled) {
        self.expelled.join(expelled);
    }

    /// Returns the known secrets. The first one is the office's secret now.
    pub fn secrets(&self) -> impl Iterator<Item = &OfficeSecret> {
        self.secrets.iter().map(|(secret, _)| secret)
    }

    /// Returns all statements that other members should hear: lists, then secrets, the newest last.
    pub fn all(&self) -> impl Iterator<Item = &Statement> {
        // A member that learns a secret must know by then which members must not be told it, so lists come
        // first. Older secrets come before newer ones: a peer whose session ends midway has learned the less
        // important ones.
        self.lists.values().map(|(_, told)| told).chain(self.secrets.iter().rev().map(|(_, told)| told))
    }

    /// Verifies a chain at this time. Returns the certificate of the node that presents it.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn verify(&self, chain: &Chain, now: u64) -> Result<Certificate, Rejected> {
        chain.verify(&self.charter, &self.expelled, now)
    }

    /// Believes a statement that another node passed on, if its signer may make it. Returns what is new.
    ///
    /// # Errors
    /// [`Rejected`]: the statement has no effect.
    pub fn hear(&mut self, told: &Statement, now: u64) -> Result<Update, Rejected> {
        match told.topic {
            Topic::Expulsion => self.hear_list(told, now),
            Topic::Secret => self.hear_secret(told, now),
        }
    }

    fn hear_list(&mut self, told: &Statement, now: u64) -> Result<Update, Rejected> {
        if self.lists.values().any(|(_, known)| known == told) {
            return Ok(Update::Nothing);
        }
        let (list, issuer) = ExpulsionList::open(&told.statement, self.office)?;
        let by_root = self.may_state(issuer, &told.by, list.issued, now)?;
        // An older list counts as well: its issuer may have restarted from a state that is older still, so
        // that its newest list lacks entries.
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

    /// Checks that this issuer was allowed to make a statement at the time `issued`. Returns true if it is
    /// the root.
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

    /// Returns the issuer's next expulsion list. `by` is the certificate that makes the issuer a registrar;
    /// it is left out for the root. `more` are the new entries.
    ///
    /// The list merges the entries of every registrar, so that a newcomer needs only this list, and so that
    /// an expulsion survives the expulsion of the registrar that made it. The root's list ignores entries of
    /// registrars about `registrars`, because those have no effect. Expired entries are dropped.
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
        // The issuer's own entries come first, and entries that only others made take at most half of the
        // list. So no registrar can fill the lists of others with its entries.
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
        // The clock is a lower bound, so that an issuer that has lost its last list still makes a newer one.
        let number = self.lists.get(&issuer).map_or(0, |(number, _)| number.saturating_add(1)).max(now);
        let list = ExpulsionList { number, issued: now, entries };
        let by = if by_root { Vec::new() } else { by.to_vec() };
        Statement { topic: Topic::Expulsion, by, statement: list.sign(self.office, signer) }
    }

    /// Returns the statement of the next secret, with these random bytes. `by` is the certificate that makes
    /// the signer a registrar; it is left out for the root.
    #[must_use]
    pub fn renew_secret(&self, signer: &Signer, by: &[u8], random: [u8; 32], now: u64) -> Statement {
        let epoch = self.secrets().next().map_or(0, |newest| newest.epoch.saturating_add(1));
        let by = if signer.public() == self.charter.root { Vec::new() } else { by.to_vec() };
        let secret = OfficeSecret::new(epoch, now, random);
        Statement { topic: Topic::Secret, by, statement: secret.sign(self.office, signer) }
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
