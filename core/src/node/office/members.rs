//! Whom a node has met in an office: names for people, and nothing that anybody is let in by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::office::PublicKey;
use crate::office::certificate::{Certificate, Chain, Role};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) struct Member {
    pub(in crate::node) name: String,
    pub(in crate::node) role: Role,
    pub(in crate::node) serial: u64,
    pub(in crate::node) expires: u64,
    /// When it was last met, or taken in.
    pub(in crate::node) met: u64,
    /// Its certificates, for others who ask who it is.
    pub(in crate::node) chain: Chain,
}

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Members {
    all: BTreeMap<PublicKey, Member>,
    pub(in crate::node) unsaved: bool,
}

impl Members {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let all = postcard::from_bytes(bytes).unwrap_or_default();
        Self { all, unsaved: false }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.all).unwrap_or_default()
    }

    /// This one was met, or (at 0) told of.
    pub(in crate::node) fn met(&mut self, certificate: &Certificate, chain: &Chain, now: u64) {
        let Certificate { subject, role, serial, expires, name, .. } = certificate;
        let (role, serial, expires, name) = (*role, *serial, *expires, name.clone());
        let before = self.all.get(subject);
        if before.is_some_and(|before| before.serial > serial) {
            return;
        }
        let met = before.map_or(now, |before| before.met.max(now));
        self.all.insert(*subject, Member { name, role, serial, expires, met, chain: chain.clone() });
        if self.all.len() > limits::OFFICE_MEMBERS
            && let Some(oldest) = self.all.iter().min_by_key(|(_, member)| member.met).map(|(key, _)| *key)
        {
            self.all.remove(&oldest);
        }
        self.unsaved = true;
    }

    pub(in crate::node) fn get(&self, key: PublicKey) -> Option<&Member> {
        self.all.get(&key)
    }

    pub(in crate::node) fn len(&self) -> usize {
        self.all.len()
    }

    pub(in crate::node) fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Member)> {
        self.all.iter()
    }

    /// The certificates of those who may be meant, a few.
    pub(in crate::node) fn called(&self, text: &str) -> Vec<Chain> {
        let fits = |(key, member): &(&PublicKey, &Member)| {
            member.name == text || (text.len() >= 4 && key.to_string().starts_with(text))
        };
        let found = self.all.iter().filter(fits).take(limits::OFFICE_CALLED);
        found.map(|(_, member)| member.chain.clone()).collect()
    }

    /// Who is meant: by name, or by the first characters of the key.
    ///
    /// # Errors
    /// In words: nobody, or several.
    pub(in crate::node) fn find(&self, text: &str) -> Result<PublicKey, String> {
        let shown = crate::content::path::escape(text);
        let named: Vec<&PublicKey> =
            self.all.iter().filter(|(_, m)| m.name == text).map(|(k, _)| k).collect();
        let keyed = |(key, _): &(&PublicKey, &Member)| text.len() >= 4 && key.to_string().starts_with(text);
        let keyed: Vec<&PublicKey> = self.all.iter().filter(keyed).map(|(k, _)| k).collect();
        match (named.as_slice(), keyed.as_slice()) {
            ([one], []) | ([], [one]) => Ok(**one),
            ([], []) => Err(format!("nobody in the office is called {shown}, as far as this node knows")),
            _ => Err(format!("{shown} may be several: give the first characters of the node's key")),
        }
    }
}
