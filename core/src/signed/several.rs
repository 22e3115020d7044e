//! Several signatures on one statement, of which a threshold must be right.

use std::collections::{BTreeMap, BTreeSet};

use super::{BadStatement, Fields, KEY, PublicKey, SIGNATURE, Signer};
use crate::limits;

/// The signatures at the end of a statement, at most one for each key.
///
/// The signatures are no part of what they cover, the *body*. So two sets of signatures on one body belong to
/// one statement, and can be joined. Reading checks no signature: [`Signatures::verify`] does, for the keys
/// that count. A wrong signature, or one of a key that does not count, spoils nothing, so that nobody can
/// make a statement invalid by adding to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signatures(BTreeMap<PublicKey, [u8; SIGNATURE]>);

/// Too few of the keys that count have signed a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{right} of the {needed} signatures that it needs are right")]
pub struct MissingSignatures {
    /// The number of keys whose signature is right.
    pub right: usize,
    /// The number of keys that must have signed.
    pub needed: usize,
}

impl Signatures {
    /// Adds the signature of one more key. Replaces the signature that the key had.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`] if there are [`limits::SIGNATURES`] of other keys already.
    pub fn add(&mut self, body: &[u8], context: &str, signer: &Signer) -> Result<(), BadStatement> {
        let key = signer.public();
        if self.0.len() >= limits::SIGNATURES && !self.0.contains_key(&key) {
            return Err(BadStatement::Malformed);
        }
        self.0.insert(key, signer.signature(context, body));
        Ok(())
    }

    /// Returns the statement: its body and then the signatures.
    #[must_use]
    pub fn append_to(&self, mut body: Vec<u8>) -> Vec<u8> {
        body.push(self.0.len() as u8);
        for (key, signature) in &self.0 {
            body.extend(key.as_bytes());
            body.extend(signature);
        }
        body
    }

    /// Reads the signatures at the end of a statement, of which `fields` has read all others. Returns the
    /// body beside them. No signature is checked.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`]: more than [`limits::SIGNATURES`], keys that do not ascend, bytes after
    /// the last signature.
    pub fn read<'a>(mut fields: Fields<'a>) -> Result<(&'a [u8], Self), BadStatement> {
        let body = fields.read();
        let count = usize::from(fields.u8()?);
        if count > limits::SIGNATURES || fields.rest().len() != count * (KEY + SIGNATURE) {
            return Err(BadStatement::Malformed);
        }
        let mut signatures = BTreeMap::new();
        for _ in 0..count {
            let key = PublicKey::from_bytes(fields.array()?);
            if signatures.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(BadStatement::Malformed);
            }
            signatures.insert(key, fields.array()?);
        }
        fields.end()?;
        Ok((body, Self(signatures)))
    }

    /// Returns those of `keys` that have signed the body rightly.
    #[must_use]
    pub fn right(&self, body: &[u8], context: &str, keys: &BTreeSet<PublicKey>) -> BTreeSet<PublicKey> {
        let signed = |(key, signature): &(&PublicKey, &[u8; SIGNATURE])| {
            keys.contains(key) && key.has_signed(context, body, signature)
        };
        self.0.iter().filter(signed).map(|(key, _)| *key).collect()
    }

    /// Checks that at least `needed` different keys of `keys` have signed the body. A threshold of 0 counts
    /// as 1: no statement is valid without a signature.
    ///
    /// # Errors
    /// [`MissingSignatures`].
    pub fn verify(
        &self,
        body: &[u8],
        context: &str,
        keys: &BTreeSet<PublicKey>,
        needed: usize,
    ) -> Result<(), MissingSignatures> {
        let needed = needed.max(1);
        let right = self.right(body, context, keys).len();
        if right >= needed { Ok(()) } else { Err(MissingSignatures { right, needed }) }
    }

    /// Returns the right signatures of `keys` from this and another copy of the statement, at most
    /// [`limits::SIGNATURES`]. Others are left out, so that no copy can fill the room of right ones.
    #[must_use]
    pub fn joined(&self, other: &Self, body: &[u8], context: &str, keys: &BTreeSet<PublicKey>) -> Self {
        let right = |copy: &Self| -> Vec<(PublicKey, [u8; SIGNATURE])> {
            let keys = copy.right(body, context, keys);
            copy.0.iter().filter(|(key, _)| keys.contains(*key)).map(|(key, one)| (*key, *one)).collect()
        };
        let all: BTreeMap<PublicKey, [u8; SIGNATURE]> = right(other).into_iter().chain(right(self)).collect();
        Self(all.into_iter().take(limits::SIGNATURES).collect())
    }

    /// Returns the number of signatures, right or wrong.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no signature.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
