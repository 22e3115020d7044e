//! The members that a node has met in an office. They give names to keys, for people. Nobody is admitted by
//! them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::error::OfficeError;
use crate::limits;
use crate::office::certificate::{Certificate, Chain, Role};
use crate::signed::PublicKey;

/// Least number of characters of a key that name a member.
const KEY_PREFIX: usize = 4;

/// One known member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryEntry {
    /// The member's name.
    pub(crate) name: String,
    /// The member's role.
    pub(crate) role: Role,
    /// The serial of its certificate.
    pub(crate) serial: u64,
    /// End of validity of its certificate, in seconds since 1970.
    pub(crate) expires: u64,
    /// The last time that this node met the member or admitted it, in seconds since 1970. 0 if only another
    /// member told of it.
    pub(crate) met: u64,
    /// Its certificates, for others that ask which member has a name.
    pub(crate) chain: Chain,
}

impl DirectoryEntry {
    /// Returns the entry of a member that this node has never heard of: only its key is known.
    pub(crate) fn unknown(name: &str) -> Self {
        let chain = Chain::default();
        Self { name: name.to_owned(), role: Role::Member, serial: 0, expires: 0, met: 0, chain }
    }
}

/// Returns the keys that begin with this text as they are displayed. `None` if the text is too short, or no
/// key begins so.
fn keys_from(text: &str) -> Option<RangeInclusive<PublicKey>> {
    let is_base32 = text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7'));
    if !is_base32 || text.len() < KEY_PREFIX {
        return None;
    }
    // `a` stands for five bits 0, `7` for five bits 1. The last character holds one bit of the key: it is `a`
    // or `q`.
    let first = format!("{text:a<52}").parse().ok()?;
    let last = if text.len() < 52 { format!("{text:7<51}q").parse().ok()? } else { first };
    Some(first..=last)
}

/// The members that a node has met, at most [`limits::OFFICE_MEMBERS`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    all: BTreeMap<PublicKey, DirectoryEntry>,
    /// True if an entry changed since the directory was written to disk.
    pub(crate) unsaved: bool,
    /// True if a key or a serial changed since this flag was last taken back.
    pub(crate) changed: bool,
}

impl Members {
    /// Reads the file of a directory. A file that cannot be read counts as empty.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let all = postcard::from_bytes(bytes).unwrap_or_default();
        Self { all, unsaved: false, changed: true }
    }

    /// Returns the bytes of the file.
    pub(super) fn write(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.all).unwrap_or_default()
    }

    /// Records a member with a verified chain. `now` is 0 if another member told of it. An older certificate
    /// changes nothing. Beyond the limit, the member that was met longest ago is forgotten.
    pub(crate) fn met(&mut self, certificate: &Certificate, chain: &Chain, now: u64) {
        let Certificate { subject, role, serial, expires, name, .. } = certificate;
        let (role, serial, expires, name) = (*role, *serial, *expires, name.clone());
        let before = self.all.get(subject);
        // A certificate from a registrar does not replace the one by which the root made the node a
        // registrar.
        let is_less =
            |before: &DirectoryEntry| before.role == Role::Registrar && chain.0.len() > before.chain.0.len();
        if before.is_some_and(|before| before.serial > serial || is_less(before)) {
            return;
        }
        self.changed |= before.is_none_or(|before| before.serial != serial);
        let met = before.map_or(now, |before| before.met.max(now));
        self.all.insert(*subject, DirectoryEntry { name, role, serial, expires, met, chain: chain.clone() });
        if self.all.len() > limits::OFFICE_MEMBERS
            && let Some(oldest) = self.all.iter().min_by_key(|(_, member)| member.met).map(|(key, _)| *key)
        {
            self.all.remove(&oldest);
        }
        self.unsaved = true;
    }

    /// Returns the entry of a key.
    pub(crate) fn get(&self, key: PublicKey) -> Option<&DirectoryEntry> {
        self.all.get(&key)
    }

    /// Returns the number of known members.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns all known members, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PublicKey, &DirectoryEntry)> {
        self.all.iter()
    }

    /// Returns the chains of members that a name may mean, at most [`limits::OFFICE_CALLED`]. Keys for which
    /// `expelled` is true are left out.
    pub(crate) fn called(&self, text: &str, expelled: impl Fn(PublicKey) -> bool) -> Vec<Chain> {
        let keys = keys_from(text);
        let fits = |(key, member): &(&PublicKey, &DirectoryEntry)| {
            let begins_so = keys.as_ref().is_some_and(|keys| keys.contains(*key));
            (member.name == text || begins_so) && !expelled(**key)
        };
        let found = self.all.iter().filter(fits).take(limits::OFFICE_CALLED);
        found.map(|(_, member)| member.chain.clone()).collect()
    }

    /// Returns the member that has this name, or whose key begins so. `expelled` tells whether a key's
    /// certificate of this serial is void. A whole key is enough, also of a member that this node has never
    /// heard of.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] or [`OfficeError::Ambiguous`].
    pub(crate) fn find(
        &self,
        text: &str,
        expelled: impl Fn(PublicKey, u64) -> bool,
    ) -> Result<PublicKey, OfficeError> {
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        let mut named: Vec<PublicKey> =
            self.all.iter().filter(|(_, m)| m.name == text).map(|(key, _)| *key).collect();
        if named.len() > 1 {
            // An expelled member does not make the name of another ambiguous.
            named.retain(|key| !self.all.get(key).is_some_and(|m| expelled(*key, m.serial)));
        }
        let keyed = keys_from(text).map(|keys| self.all.range(keys).map(|(key, _)| *key).collect());
        let keyed: Vec<PublicKey> = keyed.unwrap_or_default();
        let shown = || crate::content::path::escape(text);
        match (named.as_slice(), keyed.as_slice()) {
            ([one], []) | ([], [one]) => Ok(*one),
            ([], []) => Err(OfficeError::Unknown(shown())),
            _ => Err(OfficeError::Ambiguous(shown())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_found_by_their_first_characters() {
        let key = |seed: &[u8]| PublicKey::from_bytes(*blake3::hash(seed).as_bytes());
        for seed in 0..50_u8 {
            let (key, other) = (key(&[seed]), key(&[seed, 1]));
            let text = key.to_string();
            for len in KEY_PREFIX..=text.len() {
                let keys = keys_from(&text[..len]).unwrap();
                assert!(keys.contains(&key), "{len} characters");
                assert_eq!(keys.contains(&other), other.to_string().starts_with(&text[..len]));
            }
            assert_eq!(keys_from(&text), Some(key..=key));
        }
        for end in [[0; 32], [0xff; 32]].map(PublicKey::from_bytes) {
            assert!(keys_from(&end.to_string()[..4]).unwrap().contains(&end));
        }
        for nobody in ["", "aaa", "aaaa1", "AAAA", "a\u{e9}aa", &"a".repeat(53), &"7".repeat(52)] {
            assert_eq!(keys_from(nobody), None, "{nobody:?}");
        }
    }
}
