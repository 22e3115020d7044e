//! An index from names to numbers. The names stand beside the values already and are not stored again.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// An index from names to numbers. The argument `of` of its methods returns the name of a number, always the
/// same for the same number.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    table: HashTable<u32>,
    hasher: RandomState,
}

impl NameIndex {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find<'a, K: Hash + Eq + 'a>(
        &self,
        name: &K,
        of: impl Fn(u32) -> Option<&'a K>,
    ) -> Option<u32> {
        self.table.find(self.hasher.hash_one(name), |number| of(*number) == Some(name)).copied()
    }

    #[cfg(test)]
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.table.iter().copied()
    }

    /// Adds a name that is not there yet.
    pub(crate) fn insert<'a, K: Hash + 'a>(
        &mut self,
        name: &K,
        number: u32,
        of: impl Fn(u32) -> Option<&'a K>,
    ) {
        let hasher = &self.hasher;
        let hash = |number: &u32| of(*number).map_or(0, |name| hasher.hash_one(name));
        self.table.insert_unique(hasher.hash_one(name), number, hash);
    }

    /// Removes a name, while its value is still there.
    pub(crate) fn remove<K: Hash>(&mut self, name: &K, number: u32) {
        if let Ok(entry) = self.table.find_entry(self.hasher.hash_one(name), |found| *found == number) {
            entry.remove();
        }
    }
}
