//! How many nodes, and members of swarms, come from each place: one place is not to fill the registry.

use std::collections::HashMap;

use crate::registry::Refused;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// Nodes and members of one place at most.
    most: (u32, u32),
    counts: HashMap<u64, (u32, u32)>,
}

impl Quotas {
    /// None yet; from each place at most so many nodes and members.
    pub(crate) fn new(nodes: u32, members: u32) -> Self {
        Self { most: (nodes, members), counts: HashMap::new() }
    }

    /// One node more.
    pub(crate) fn arrive(&mut self, origin: u64) -> Result<(), Refused> {
        let (nodes, members) = self.counts.get(&origin).copied().unwrap_or_default();
        if nodes >= self.most.0 {
            return Err(Refused::Crowded);
        }
        self.counts.insert(origin, (nodes + 1, members));
        Ok(())
    }

    /// One node less.
    pub(crate) fn depart(&mut self, origin: u64) {
        self.less(origin, (1, 0));
    }

    /// One member more, of a node of this place.
    pub(crate) fn take(&mut self, origin: u64) -> Result<(), Refused> {
        let Some(count) = self.counts.get_mut(&origin) else { return Ok(()) };
        if count.1 >= self.most.1 {
            return Err(Refused::Crowded);
        }
        count.1 += 1;
        Ok(())
    }

    /// One member less.
    pub(crate) fn give_back(&mut self, origin: u64) {
        self.less(origin, (0, 1));
    }

    /// A node has moved with its members; they may be more than there may come.
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
