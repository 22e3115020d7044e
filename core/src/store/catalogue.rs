//! Look-ups of records by place, so that no command reads every record: which ids are at a path, and which
//! belong to folders. It is built from the index at the first look-up and then kept in step. A hundred
//! thousand records take some megabytes.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::path_of;
use super::record::{BlobLocation, Record};
use crate::id::ContentId;

/// Ids by place.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Hash of each path and the ids there. Two paths may have one hash: the caller compares the records.
    paths: BTreeSet<(u64, ContentId)>,
    /// Ids of directories, shares, and the bytes of folders.
    folders: BTreeSet<ContentId>,
}

impl Catalogue {
    /// Returns the catalogue of these records.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut catalogue = Self::default();
        records.iter().for_each(|record| catalogue.put(None, record));
        catalogue
    }

    /// Enters a record in the place of the `old` one of this id.
    pub(super) fn put(&mut self, old: Option<&Record>, record: &Record) {
        if let Some(old) = old {
            self.remove(old);
        }
        if let Some(path) = path_of(record) {
            self.paths.insert((hash(&path), record.id));
        }
        if is_of_folder(record) {
            self.folders.insert(record.id);
        }
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, old: &Record) {
        if let Some(path) = path_of(old) {
            self.paths.remove(&(hash(&path), old.id));
        }
        self.folders.remove(&old.id);
    }

    /// Returns the ids that are at this path, and perhaps others.
    pub(super) fn at(&self, path: &Path) -> Vec<ContentId> {
        let hash = hash(path);
        let (least, most) = (ContentId::from_bytes([0; 32]), ContentId::from_bytes([255; 32]));
        self.paths.range((hash, least)..=(hash, most)).map(|(_, id)| *id).collect()
    }

    /// Returns the ids of directories, shares, and the bytes of folders, ascending.
    pub(super) fn folders(&self) -> Vec<ContentId> {
        self.folders.iter().copied().collect()
    }
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// True for a directory or a share, and for bytes that are, or will be, a folder.
const fn is_of_folder(record: &Record) -> bool {
    let in_folder =
        matches!(record.place, BlobLocation::Tree { .. } | BlobLocation::Part { dir: Some(_), .. });
    record.payload.is_some() || in_folder
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::content::path::Rules;
    use crate::store::record::Domain;
    use crate::store::{Import, Store};

    fn publish(store: &Store, path: &Path) -> ContentId {
        let import = Import {
            path,
            name: "name".to_owned(),
            copy: false,
            take: false,
            rules: Rules::Portable,
            symlinks: false,
            skipped_homes: None,
            audience: None,
            domain: Domain::Public,
            progress: &|_, _| {},
            cancel: &AtomicBool::new(false),
        };
        store.import(&import).unwrap().id
    }

    #[test]
    fn look_ups_by_place_follow_the_records() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("home"), None, false).unwrap();
        let (one, two) = (home.path().join("one"), home.path().join("two"));
        let folder = home.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "in a folder").unwrap();
        std::fs::write(&one, "first").unwrap();
        let first = publish(&store, &one);
        let ids = |records: Vec<Record>| records.into_iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(store.at_path(&one)), [first], "built from the index");
        assert!(store.folders().is_empty());
        std::fs::write(&two, "second").unwrap();
        let second = publish(&store, &two);
        assert_eq!(ids(store.at_path(&two)), [second], "kept in step");
        std::fs::rename(&two, &one).unwrap();
        assert_eq!(publish(&store, &one), second);
        assert!(store.at_path(&two).is_empty(), "the record is at another path now");
        let mut both = [first, second];
        both.sort_unstable();
        assert_eq!(ids(store.at_path(&one)), both);
        let directory = publish(&store, &folder);
        assert!(ids(store.folders()).contains(&directory));
        store.close();
    }
}
