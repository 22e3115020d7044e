//! Ledger of what one tracker has been told of our set of swarms, and what it has not. It has no clock and no
//! network.

use std::collections::BTreeSet;

use crate::limits;
use crate::wire::tracker::{AnnouncedSwarm, SwarmKey};

/// Tells a tracker a set, and then its changes. [`crate::wire::tracker`] has the rules.
#[derive(Debug)]
pub struct Ledger {
    /// Version of the set that the tracker is known to have; 0 if nothing is known.
    told: u64,
    /// Last version that was assigned.
    version: u64,
    /// Swarms whose present state the tracker may not know.
    dirty: BTreeSet<SwarmKey>,
    /// Version and swarms of the announcement in progress.
    sent: Option<(u64, Vec<SwarmKey>)>,
}

/// Changes for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// Version that the changes apply to.
    pub base: u64,
    /// Version after the changes.
    pub version: u64,
    /// Swarms that we take part in.
    pub add: Vec<AnnouncedSwarm>,
    /// Swarms that we no longer take part in.
    pub drop: Vec<SwarmKey>,
}

impl Ledger {
    /// Makes a ledger with nothing told. Versions begin after `start`, which must differ from run to run,
    /// because a tracker may remember the last one.
    #[must_use]
    pub const fn new(start: u64) -> Self {
        Self { told: 0, version: start, dirty: BTreeSet::new(), sent: None }
    }

    /// Notes that our part in this swarm has changed.
    pub fn changed(&mut self, key: SwarmKey) {
        self.dirty.insert(key);
    }

    /// True if there is something that the tracker does not know.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Returns the changes for the next message. Nothing else may be sent before its answer arrives or is
    /// given up. `stands` returns `None` for a swarm we do not take part in, and otherwise whether we hold
    /// everything.
    pub fn part(&mut self, stands: impl Fn(&SwarmKey) -> Option<bool>) -> ChangeSet {
        self.give_up();
        let keys: Vec<SwarmKey> = self.dirty.iter().copied().take(limits::ANNOUNCE_CHANGES).collect();
        let mut part = ChangeSet { base: self.told, version: self.told, add: Vec::new(), drop: Vec::new() };
        // A tracker that does not know us gets a version in any case, even for an empty set.
        if !keys.is_empty() || self.told == 0 {
            self.version += 1;
            part.version = self.version;
        }
        for key in &keys {
            self.dirty.remove(key);
            match stands(key) {
                Some(whole) => part.add.push(AnnouncedSwarm { key: *key, whole }),
                None if self.told != 0 => part.drop.push(*key),
                // The tracker has no entry to remove.
                None => {}
            }
        }
        self.sent = Some((part.version, keys));
        part
    }

    /// Handles the tracker's answer: the version that it now has. `all` are the keys of the whole set, in
    /// case the tracker must be told anew. True if the tracker knew the version that the message was based
    /// on.
    pub fn answered(&mut self, version: u64, all: impl IntoIterator<Item = SwarmKey>) -> bool {
        let Some((sent, _)) = self.sent.take() else { return true };
        if version == sent {
            self.told = version;
            return true;
        }
        self.forget(all);
        false
    }

    /// Returns the version of the announcement in progress.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> u64 {
        self.sent.as_ref().map_or(0, |(version, _)| *version)
    }

    /// Gives up the announcement in progress, because no answer will come.
    pub fn give_up(&mut self) {
        if let Some((_, keys)) = self.sent.take() {
            self.dirty.extend(keys);
        }
    }

    /// Marks everything as to be told anew.
    pub fn forget(&mut self, all: impl IntoIterator<Item = SwarmKey>) {
        self.sent = None;
        self.told = 0;
        self.dirty = all.into_iter().collect();
    }
}
