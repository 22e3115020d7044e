//! Peers that have banned us, by their own word: until when, and why. They are not dialled until then, and a
//! person who waits for something is told. The list is kept in `HOME/barred`, because a new process has the
//! same key.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use libp2p::PeerId;
use serde::{Deserialize, Serialize};

use crate::api::status::BanRow;
use crate::content::path::escape;
use crate::limits;
use crate::store::Store;

/// File under the home folder that lists the bans.
const FILE: &str = "barred";

/// One ban, as in the file. The end is in seconds since 1970, so that it means the same to the next process.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RefusalEntry {
    peer: String,
    reason: String,
    until: u64,
}

/// Bans of this node by other peers.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    entries: HashMap<PeerId, RefusalEntry>,
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

impl Refusals {
    /// Loads the bans of an earlier run that still hold.
    pub(crate) fn load(store: &Store) -> Self {
        let bytes = store.kept(FILE).unwrap_or_default();
        let entries: Vec<RefusalEntry> = serde_json::from_slice(&bytes).unwrap_or_default();
        let longest = now() + limits::BAN_REPEATED.as_secs();
        let holds = |entry: &RefusalEntry| entry.until > now() && entry.until <= longest;
        let entries = entries.into_iter().filter(holds).take(limits::BANNED_BY);
        Self { entries: entries.filter_map(|entry| Some((entry.peer.parse().ok()?, entry))).collect() }
    }

    /// Records that a peer has banned us. The ban counts for no longer than one of ours would; the reason is
    /// the peer's word.
    pub(crate) fn told(&mut self, peer: PeerId, reason: &str, secs: u64, store: &Store) {
        self.entries.retain(|_, entry| entry.until > now());
        let earliest = || self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(peer, _)| *peer);
        if self.entries.len() >= limits::BANNED_BY
            && let Some(earliest) = earliest()
        {
            self.entries.remove(&earliest);
        }
        let until = now() + secs.min(limits::BAN_REPEATED.as_secs());
        self.entries.insert(peer, RefusalEntry { peer: peer.to_string(), reason: escape(reason), until });
        self.save(store);
    }

    /// Forgets the ban of a peer that has let us in.
    pub(crate) fn let_in(&mut self, peer: &PeerId, store: &Store) {
        if self.entries.remove(peer).is_some() {
            self.save(store);
        }
    }

    fn save(&self, store: &Store) {
        let entries: Vec<&RefusalEntry> = self.entries.values().collect();
        let kept = serde_json::to_vec(&entries).map_err(|e| e.to_string());
        let kept = kept.and_then(|bytes| store.keep(FILE, &bytes).map_err(|e| e.to_string()));
        if let Err(error) = kept {
            tracing::debug!(%error, "who keeps us away cannot be remembered");
        }
    }

    /// Returns the time at which a peer may be dialled again; `None` if it has not banned us.
    pub(crate) fn until(&self, peer: &PeerId) -> Option<Instant> {
        let left = self.entries.get(peer)?.until.checked_sub(now()).filter(|left| *left > 0)?;
        Some(Instant::now() + Duration::from_secs(left))
    }

    /// Returns the bans that hold, with their ends.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (PeerId, Instant)> {
        self.entries.keys().filter_map(|peer| Some((*peer, self.until(peer)?)))
    }

    /// Returns the bans that hold, for a person.
    pub(crate) fn rows(&self) -> Vec<BanRow> {
        let now = now();
        let row = |e: &RefusalEntry| {
            let left = e.until.checked_sub(now).filter(|left| *left > 0)?;
            Some(BanRow { peer: e.peer.clone(), reason: e.reason.clone(), left })
        };
        let mut rows: Vec<BanRow> = self.entries.values().filter_map(row).collect();
        rows.sort_unstable_by(|a, b| a.peer.cmp(&b.peer));
        rows
    }

    /// Returns a sentence that says that a peer has banned us, and why.
    pub(crate) fn sentence(&self, peer: &PeerId) -> Option<String> {
        let entry = self.entries.get(peer)?;
        Some(sentence(&entry.peer, &entry.reason, entry.until))
    }

    /// Returns a sentence for each of the first bans that hold, and one that counts the rest.
    pub(crate) fn sentences(&self) -> Vec<String> {
        const SHOWN: usize = 4;
        let mut held: Vec<&RefusalEntry> =
            self.entries.values().filter(|entry| entry.until > now()).collect();
        held.sort_unstable_by(|a, b| a.peer.cmp(&b.peer));
        let mut all: Vec<String> =
            held.iter().take(SHOWN).map(|entry| sentence(&entry.peer, &entry.reason, entry.until)).collect();
        if held.len() > SHOWN {
            all.push(format!("{} more peers have banned us", held.len() - SHOWN));
        }
        all
    }
}

/// Writes the sentence about one ban. The end is a time of day, so that the sentence stays the same.
fn sentence(peer: &str, reason: &str, until: u64) -> String {
    let (hour, minute) = (until / 3600 % 24, until / 60 % 60);
    format!("peer {peer} has banned us: {reason}, until {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_keeps_us_away_is_remembered_within_bounds_and_its_words_are_harmless() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        let mut barred = Refusals::load(&store);
        let peer = PeerId::random();
        barred.told(peer, "too much \u{1b}]0;owned\u{7}\u{202e}", u64::MAX, &store);
        let said = barred.sentence(&peer).unwrap();
        assert!(said.contains("has banned us: too much") && said.ends_with(" UTC"), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said}");
        let again = Refusals::load(&store);
        assert_eq!(again.sentences().len(), 1);
        assert!(again.until(&peer).is_some_and(|until| until > Instant::now()));
        barred.let_in(&peer, &store);
        assert!(barred.until(&peer).is_none() && Refusals::load(&store).rows().is_empty());
        (0..limits::BANNED_BY + 9).for_each(|n| barred.told(PeerId::random(), "odd", 60 + n as u64, &store));
        assert_eq!(barred.rows().len(), limits::BANNED_BY);
        assert_eq!(barred.sentences().len(), 5);
        barred.told(peer, "done", 0, &store);
        assert!(barred.until(&peer).is_none());
    }
}
