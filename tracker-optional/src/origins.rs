//! How many nodes come from each place: one place is not to fill the registry.

use std::collections::HashMap;

use crate::registry::Refused;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Origins {
    most: u32,
    counts: HashMap<u64, u32>,
}

impl Origins {
    /// None yet; from each place at most so many.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, counts: HashMap::new() }
    }

    /// One more.
    pub(crate) fn arrive(&mut self, origin: u64) -> Result<(), Refused> {
        let count = self.counts.get(&origin).copied().unwrap_or(0);
        if count >= self.most {
            return Err(Refused::Crowded);
        }
        self.counts.insert(origin, count + 1);
        Ok(())
    }

    /// One less.
    pub(crate) fn depart(&mut self, origin: u64) {
        if let Some(count) = self.counts.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&origin);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
