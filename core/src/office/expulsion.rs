//! Expulsion lists: the members that must leave an office.
//!
//! Every registrar has a list of its own, and so has the root. Each new version of a list contains all
//! entries of the version before, except those whose certificates have expired. A node keeps the newest list
//! of each issuer and believes all of them together. It never forgets an entry that it once believed: no
//! list, however new, brings a member back.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`crate::signed`] |
//! | number | 8 | grows with every version of this issuer's list |
//! | issued | 8 | |
//! | entries | 4 | number of entries |
//! | each: subject, below, until | 32, 8, 8 | ascending by subject; see [`Void`] |
//! | issuer, signature | 32, 64 | of the root, or of a registrar |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EXPULSION, OfficeId, Rejected};
use crate::limits;
use crate::signed::{PublicKey, Signer, begin, open, sign};

/// The certificates of one key that are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// Certificates with a smaller serial are void.
    pub below: u64,
    /// Time at which the last of them has expired, in seconds since 1970.
    pub until: u64,
}

impl Void {
    /// Extends this entry, so that it covers the other one too.
    pub fn widen(&mut self, other: Self) {
        self.below = self.below.max(other.below);
        self.until = self.until.max(other.until);
    }
}

/// The expulsion list of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpulsionList {
    /// The version of the list.
    pub number: u64,
    /// Time of issue, in seconds since 1970.
    pub issued: u64,
    /// The void certificates of each key that the list names.
    pub entries: BTreeMap<PublicKey, Void>,
}

impl ExpulsionList {
    /// Returns the signed bytes of the list.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office.as_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.issued.to_le_bytes());
        bytes.extend((self.entries.len() as u32).to_le_bytes());
        for (subject, void) in &self.entries {
            bytes.extend(subject.as_bytes());
            bytes.extend(void.below.to_le_bytes());
            bytes.extend(void.until.to_le_bytes());
        }
        sign(bytes, EXPULSION, issuer)
    }

    /// Reads a list and checks its signature. Returns it with its signer. Whether that signer may issue it is
    /// not checked.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        if bytes.len() > limits::EXPULSION_BYTES {
            return Err(Rejected::Malformed);
        }
        let (mut fields, issuer) = open(bytes, EXPULSION, office.as_bytes())?;
        let (number, issued, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let subject = PublicKey::from_bytes(fields.array()?);
            if entries.last_key_value().is_some_and(|(last, _)| *last >= subject) {
                return Err(Rejected::Malformed);
            }
            entries.insert(subject, Void { below: fields.u64()?, until: fields.u64()? });
        }
        fields.end()?;
        Ok((Self { number, issued, entries }, issuer))
    }
}

/// All expulsions that a node has ever believed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expelled {
    root: BTreeMap<PublicKey, Void>,
    registrars: BTreeMap<PublicKey, Void>,
}

impl Expelled {
    /// Believes a list, of the root if `by_root`, else of a registrar. Returns true if the list voids more
    /// than was void before.
    pub fn believe(&mut self, list: &ExpulsionList, by_root: bool) -> bool {
        let all = if by_root { &mut self.root } else { &mut self.registrars };
        let mut news = false;
        for (subject, void) in &list.entries {
            let known = all.entry(*subject).or_insert(Void { below: 0, until: 0 });
            // One above the greatest serial voids all certificates; a greater value would add nothing.
            let below = void.below.min(limits::SERIAL + 1);
            news |= below > known.below;
            // No certificate is valid longer. A later end would only keep the entry on all lists for ever.
            let until = void.until.min(list.issued.saturating_add(limits::VOID_SECS));
            known.widen(Void { below, until });
        }
        news
    }

    /// Believes all expulsions that another node believes.
    pub fn join(&mut self, other: &Self) {
        for (all, others) in [(&mut self.root, &other.root), (&mut self.registrars, &other.registrars)] {
            for (subject, void) in others {
                all.entry(*subject).or_insert(*void).widen(*void);
            }
        }
    }

    /// Forgets entries whose certificates have expired. It waits a day longer, because clocks differ.
    pub fn forget(&mut self, now: u64) {
        let skew = limits::CLOCK_SKEW.as_secs();
        for all in [&mut self.root, &mut self.registrars] {
            all.retain(|_, void| void.until.saturating_add(skew) > now);
        }
    }

    /// Returns all entries of the root if `by_root`, else all entries of registrars.
    #[must_use]
    pub fn entries(&self, by_root: bool) -> BTreeMap<PublicKey, Void> {
        if by_root { self.root.clone() } else { self.registrars.clone() }
    }

    /// True if any list names this key.
    #[must_use]
    pub fn names(&self, subject: PublicKey) -> bool {
        self.root.contains_key(&subject) || self.registrars.contains_key(&subject)
    }

    /// True if the root voided this certificate.
    #[must_use]
    pub fn by_root(&self, subject: PublicKey, serial: u64) -> bool {
        self.root.get(&subject).is_some_and(|void| serial < void.below)
    }

    /// True if the root or a registrar voided this certificate.
    #[must_use]
    pub fn by_anybody(&self, subject: PublicKey, serial: u64) -> bool {
        self.by_root(subject, serial) || self.registrars.get(&subject).is_some_and(|void| serial < void.below)
    }

    /// Returns the least serial that a new certificate of this subject needs.
    #[must_use]
    pub fn floor(&self, subject: PublicKey) -> u64 {
        let below = |all: &BTreeMap<PublicKey, Void>| all.get(&subject).map_or(0, |void| void.below);
        below(&self.root).max(below(&self.registrars))
    }
}
