//! Whom a node has met in an office: names for people, and nothing that anybody is let in by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::office::PublicKey;
use crate::office::certificate::{Certificate, Chain, Role};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectoryEntry {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) serial: u64,
    pub(crate) expires: u64,
    /// When it was last met, or taken in.
    pub(crate) met: u64,
    /// Its certificates, for others who ask who it is.
    pub(crate) chain: Chain,
}

impl DirectoryEntry {
    /// One that was never met, known by its key alone.
    pub(crate) fn unknown(name: &str) -> Self {
        let chain = Chain::default();
        Self { name: name.to_owned(), role: Role::Member, serial: 0, expires: 0, met: 0, chain }
    }
}

/// The first characters of a key, compared without writing all keys out.
struct Keyed {
    /// Bytes that are the same, and bits of one more.
    start: Vec<u8>,
    bits: usize,
}

impl Keyed {
    /// Of four characters or more; of anything else, one that fits nobody.
    fn of(text: &str) -> Self {
        let none = Self { start: Vec::new(), bits: 0 };
        if !(4..=52).contains(&text.len()) {
            return none;
        }
        let (mut start, mut bits) = (vec![0_u8; 33], 0);
        for c in text.bytes() {
            let value = match c {
                b'a'..=b'z' => c - b'a',
                b'2'..=b'7' => c - b'2' + 26,
                _ => return none,
            };
            for bit in (0..5).rev() {
                start[bits / 8] |= ((value >> bit) & 1) << (7 - bits % 8);
                bits += 1;
            }
        }
        Self { start, bits }
    }

    fn fits(&self, key: &PublicKey) -> bool {
        let (whole, rest) = (self.bits.min(256) / 8, self.bits.min(256) % 8);
        let bytes = key.as_bytes();
        let last = rest == 0 || (bytes[whole] ^ self.start[whole]) >> (8 - rest) == 0;
        self.bits > 0 && bytes[..whole] == self.start[..whole] && last
    }
}

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    all: BTreeMap<PublicKey, DirectoryEntry>,
    pub(crate) unsaved: bool,
    /// Others are known, or by other serials, since this was last taken back.
    pub(crate) changed: bool,
}

impl Members {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let all = postcard::from_bytes(bytes).unwrap_or_default();
        Self { all, unsaved: false, changed: true }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.all).unwrap_or_default()
    }

    /// This one was met, or (at 0) told of.
    pub(crate) fn met(&mut self, certificate: &Certificate, chain: &Chain, now: u64) {
        let Certificate { subject, role, serial, expires, name, .. } = certificate;
        let (role, serial, expires, name) = (*role, *serial, *expires, name.clone());
        let before = self.all.get(subject);
        // Whom the root has made a registrar, no registrar makes a member.
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

    pub(crate) fn get(&self, key: PublicKey) -> Option<&DirectoryEntry> {
        self.all.get(&key)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PublicKey, &DirectoryEntry)> {
        self.all.iter()
    }

    /// The certificates of those who may be meant, a few.
    pub(crate) fn called(&self, text: &str, expelled: impl Fn(PublicKey) -> bool) -> Vec<Chain> {
        let keyed = Keyed::of(text);
        let fits = |(key, member): &(&PublicKey, &DirectoryEntry)| {
            (member.name == text || keyed.fits(key)) && !expelled(**key)
        };
        let found = self.all.iter().filter(fits).take(limits::OFFICE_CALLED);
        found.map(|(_, member)| member.chain.clone()).collect()
    }

    /// Who is meant: by name, or by the first characters of the key.
    ///
    /// # Errors
    /// In words: nobody, or several.
    pub(crate) fn find(
        &self,
        text: &str,
        expelled: impl Fn(PublicKey, u64) -> bool,
    ) -> Result<PublicKey, String> {
        // A whole key is enough, also of somebody this node has never heard of.
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        let shown = crate::content::path::escape(text);
        let start = Keyed::of(text);
        let named: Vec<&PublicKey> =
            self.all.iter().filter(|(_, m)| m.name == text).map(|(k, _)| k).collect();
        let named: Vec<&PublicKey> = if named.len() > 1 {
            // One who had to leave makes nobody's name unclear.
            named
                .into_iter()
                .filter(|key| !self.all.get(key).is_some_and(|m| expelled(**key, m.serial)))
                .collect()
        } else {
            named
        };
        let keyed = |(key, _): &(&PublicKey, &DirectoryEntry)| start.fits(key);
        let keyed: Vec<&PublicKey> = self.all.iter().filter(keyed).map(|(k, _)| k).collect();
        match (named.as_slice(), keyed.as_slice()) {
            ([one], []) | ([], [one]) => Ok(**one),
            ([], []) => Err(format!("nobody in the office is called {shown}, as far as this node knows")),
            _ => Err(format!("{shown} may be several: give the first characters of the node's key")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_found_by_their_first_characters() {
        for seed in 0..50_u8 {
            let key = PublicKey::from_bytes(*blake3::hash(&[seed]).as_bytes());
            let other = PublicKey::from_bytes(*blake3::hash(&[seed, 1]).as_bytes());
            let text = key.to_string();
            for len in 4..=text.len() {
                assert!(Keyed::of(&text[..len]).fits(&key), "{len} characters");
                assert!(!Keyed::of(&text[..len]).fits(&other));
                assert_eq!(other.to_string().starts_with(&text[..len]), Keyed::of(&text[..len]).fits(&other));
            }
            assert_eq!(text.parse::<PublicKey>().unwrap(), key);
        }
        let key = PublicKey::from_bytes([0; 32]);
        for nobody in ["", "aaa", "aaaa1", "a\u{e9}aa", &"a".repeat(53)] {
            assert!(!Keyed::of(nobody).fits(&key), "{nobody:?}");
        }
    }
}
