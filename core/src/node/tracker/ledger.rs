//! What one tracker has been told of our set of swarms, and what it has not: no clock, no network.

use std::collections::BTreeSet;

use crate::limits;
use crate::wire::tracker::{Entry, Key};

/// Tells a tracker a set, and then its changes. See [`crate::wire::tracker`] for the rules.
#[derive(Debug)]
pub struct Ledger {
    /// The version of the set that the tracker is known to have; 0: nothing is known.
    told: u64,
    /// The last version given out.
    version: u64,
    /// Keys of which it may not know how they stand now.
    dirty: BTreeSet<Key>,
    /// What is under way: its version and keys.
    sent: Option<(u64, Vec<Key>)>,
}

/// Changes for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The version that they are changes to.
    pub base: u64,
    /// The version after them.
    pub version: u64,
    /// Swarms we take part in.
    pub add: Vec<Entry>,
    /// Swarms we take part in no longer.
    pub drop: Vec<Key>,
}

impl Ledger {
    /// Nothing has been told. Versions begin behind `start`, which must differ from run to run: a tracker may remember the
    /// last one.
    #[must_use]
    pub const fn new(start: u64) -> Self {
        Self { told: 0, version: start, dirty: BTreeSet::new(), sent: None }
    }

    /// Something about this swarm has changed.
    pub fn changed(&mut self, key: Key) {
        self.dirty.insert(key);
    }

    /// There is something that the tracker does not know.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next message's part; nothing else may be sent before its answer is there, or is given up. `stands` tells how we
    /// stand to a swarm: whether we take part in it, and have everything.
    pub fn part(&mut self, stands: impl Fn(&Key) -> Option<bool>) -> Part {
        self.give_up();
        let keys: Vec<Key> = self.dirty.iter().copied().take(limits::ANNOUNCE_CHANGES).collect();
        let mut part = Part { base: self.told, version: self.told, add: Vec::new(), drop: Vec::new() };
        // Who is not known here is told a version in any case: that it could be told nothing.
        if !keys.is_empty() || self.told == 0 {
            self.version += 1;
            part.version = self.version;
        }
        for key in &keys {
            self.dirty.remove(key);
            match stands(key) {
                Some(whole) => part.add.push(Entry { key: *key, whole }),
                None if self.told != 0 => part.drop.push(*key),
                // There is nothing to take it from.
                None => {}
            }
        }
        self.sent = Some((part.version, keys));
        part
    }

    /// The tracker's answer: the version that it has now. `all` are the keys of the whole set, in case it must be told anew.
    /// Returns whether it knew what the message was based on.
    pub fn answered(&mut self, version: u64, all: impl IntoIterator<Item = Key>) -> bool {
        let Some((sent, _)) = self.sent.take() else { return true };
        if version == sent {
            self.told = version;
            return true;
        }
        self.forget(all);
        false
    }

    /// The version that is under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> u64 {
        self.sent.as_ref().map_or(0, |(version, _)| *version)
    }

    /// There will be no answer.
    pub fn give_up(&mut self) {
        if let Some((_, keys)) = self.sent.take() {
            self.dirty.extend(keys);
        }
    }

    /// Everything is to be told anew.
    pub fn forget(&mut self, all: impl IntoIterator<Item = Key>) {
        self.sent = None;
        self.told = 0;
        self.dirty = all.into_iter().collect();
    }
}
