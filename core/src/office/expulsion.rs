//! Who had to leave an office. Every registrar has a list of its own, and the root has one; each new version of a list holds all
//! that the one before held, until what it takes back has expired anyway. A node keeps the newest of each and believes all of them together, and
//! what it has once believed it does not forget: no list, however new, brings anybody back.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`super`] |
//! | number | 8 | grows with every version of this issuer's list |
//! | issued | 8 | |
//! | entries | 4 | how many follow |
//! | each: subject, serial, until | 32, 8, 8 | all certificates of this key with a smaller serial are void; when the last of them has expired; ascending by subject |
//! | issuer, signature | 32, 64 | the root's, or of a registrar |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EXPULSION, OfficeId, PublicKey, Rejected, Signer, begin, open, sign};
use crate::limits;

/// What is void of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// All certificates with a smaller serial.
    pub below: u64,
    /// None of those is valid any longer by then.
    pub until: u64,
}

impl Void {
    /// Both this and that.
    pub fn widen(&mut self, other: Self) {
        self.below = self.below.max(other.below);
        self.until = self.until.max(other.until);
    }
}

/// One issuer's list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpulsionList {
    /// Its version.
    pub number: u64,
    /// When it was made.
    pub issued: u64,
    /// Whom it names.
    pub entries: BTreeMap<PublicKey, Void>,
}

impl ExpulsionList {
    /// Its bytes, signed.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office);
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

    /// Reads it, with who signed it. Whether that one may is not asked.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        if bytes.len() > limits::EXPULSION_BYTES {
            return Err(Rejected::Malformed);
        }
        let (mut fields, issuer) = open(bytes, EXPULSION, office)?;
        let (number, issued, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let subject = PublicKey(fields.array()?);
            if entries.last_key_value().is_some_and(|(last, _)| *last >= subject) {
                return Err(Rejected::Malformed);
            }
            entries.insert(subject, Void { below: fields.u64()?, until: fields.u64()? });
        }
        fields.end()?;
        Ok((Self { number, issued, entries }, issuer))
    }
}

/// All that a node has ever believed of who had to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expelled {
    root: BTreeMap<PublicKey, Void>,
    registrars: BTreeMap<PublicKey, Void>,
}

impl Expelled {
    /// Believes a list, of the root or of a registrar. True if it says anything new.
    pub fn believe(&mut self, list: &ExpulsionList, by_root: bool) -> bool {
        let all = if by_root { &mut self.root } else { &mut self.registrars };
        let mut news = false;
        for (subject, void) in &list.entries {
            let known = all.entry(*subject).or_insert(Void { below: 0, until: 0 });
            // A greater serial than any certificate has is as good as any other that is.
            let below = void.below.min(limits::SERIAL + 1);
            news |= below > known.below;
            // No certificate holds longer: what says more would only stay on all lists for ever.
            let until = void.until.min(list.issued.saturating_add(limits::VOID_SECS));
            known.widen(Void { below, until });
        }
        news
    }

    /// Believes all that another believes.
    pub fn join(&mut self, other: &Self) {
        for (all, others) in [(&mut self.root, &other.root), (&mut self.registrars, &other.registrars)] {
            for (subject, void) in others {
                all.entry(*subject).or_insert(*void).widen(*void);
            }
        }
    }

    /// Forgets what has no effect any longer, a day after (clocks differ).
    pub fn forget(&mut self, now: u64) {
        let skew = limits::CLOCK_SKEW.as_secs();
        for all in [&mut self.root, &mut self.registrars] {
            all.retain(|_, void| void.until.saturating_add(skew) > now);
        }
    }

    /// All that the root said of it, or all that registrars did.
    #[must_use]
    pub fn entries(&self, by_root: bool) -> BTreeMap<PublicKey, Void> {
        if by_root { self.root.clone() } else { self.registrars.clone() }
    }

    /// Whether anything was ever said of this key.
    #[must_use]
    pub fn names(&self, subject: PublicKey) -> bool {
        self.root.contains_key(&subject) || self.registrars.contains_key(&subject)
    }

    /// Whether the root took back this certificate.
    #[must_use]
    pub fn by_root(&self, subject: PublicKey, serial: u64) -> bool {
        self.root.get(&subject).is_some_and(|void| serial < void.below)
    }

    /// Whether anybody did.
    #[must_use]
    pub fn by_anybody(&self, subject: PublicKey, serial: u64) -> bool {
        self.by_root(subject, serial) || self.registrars.get(&subject).is_some_and(|void| serial < void.below)
    }

    /// A new certificate of this subject needs at least this serial.
    #[must_use]
    pub fn floor(&self, subject: PublicKey) -> u64 {
        let below = |all: &BTreeMap<PublicKey, Void>| all.get(&subject).map_or(0, |void| void.below);
        below(&self.root).max(below(&self.registrars))
    }
}
