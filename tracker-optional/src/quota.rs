//! Counts of nodes and members of swarms from each place, so that no place fills the registry.

use std::collections::HashMap;

use crate::registry::Refused;

/// The counts of nodes and members from each place.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// The most nodes and members of one place.
    most: (u32, u32),
    counts: HashMap<u64, (u32, u32)>,
}

impl Quotas {
    /// Returns empty counts with these limits for each place.
    pub(crate) fn new(nodes: u32, members: u32) -> Self {
        Self { most: (nodes, members), counts: HashMap::new() }
    }

    /// Counts one more node.
    pub(crate) fn arrive(&mut self, origin: u64) -> Result<(), Refused> {
        let (nodes, members) = self.counts.get(&origin).copied().unwrap_or_default();
        if nodes >= self.most.0 {
            return Err(Refused::Crowded);
        }
        self.counts.insert(origin, (nodes + 1, members));
        Ok(())
    }

    /// Counts one node less.
    pub(crate) fn depart(&mut self, origin: u64) {
        self.less(origin, (1, 0));
    }

    /// Counts one more member, of a node of this place.
    pub(crate) fn take(&mut self, origin: u64) -> Result<(), Refused> {
        let Some(count) = self.counts.get_mut(&origin) else { return Ok(()) };
        if count.1 >= self.most.1 {
            return Err(Refused::Crowded);
        }
        count.1 += 1;
        Ok(())
    }

    /// Counts one member less.
    pub(crate) fn give_back(&mut self, origin: u64) {
        self.less(origin, (0, 1));
    }

    /// Moves the members of a node to another place, even beyond the limit there.
    pub(crate) fn move_members(&mut self, from: u64, to: u64, members: u32) {
        self.less(from, (0, members));
        self.counts.entry(to).or_default().1 += members;
    }

    fn less(&mut self, origin: u64, (nodes, members): (u32, u32)) {
        if let Some(count) = self.counts.get_mut(&origin) {
            *count = (count.0.saturating_sub(nodes), count.1.saturating_sub(members));
            if *count == (0, 0) {
                self.counts.remove(&origin);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
