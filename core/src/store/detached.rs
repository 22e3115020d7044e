//! Detached downloads on the disk: a small file with a checksum for each. The store keeps them and does not
//! know what is in them.

use std::fs;
use std::path::PathBuf;

use super::Store;
use super::disk::{self, DiskError};
use super::state_files::{sound, summed};
use crate::limits;

impl Store {
    /// Keeps a detached download under a name of letters, digits and `-`. It is on the disk when this
    /// returns.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_detached(&self, name: &str, contents: &[u8]) -> Result<(), DiskError> {
        let folder = self.inner.layout.detached();
        if !folder.is_dir() {
            disk::create_dir_all(&folder)?;
            disk::sync_dir(&self.inner.layout.store())?;
        }
        disk::write_atomic(&folder.join(name), &summed(contents), 0o600)
    }

    /// Forgets a detached download. That is on the disk when this returns.
    ///
    /// # Errors
    /// The disk.
    pub fn drop_detached(&self, name: &str) -> Result<(), DiskError> {
        let folder = self.inner.layout.detached();
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(DiskError::new("remove", &path, e)),
            Ok(()) => disk::sync_dir(&folder),
        }
    }

    /// Returns the names and contents of the detached downloads, by name, at most [`limits::DETACHED`]. A
    /// damaged file is left where it is and out of the answer.
    #[must_use]
    pub fn detached(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.inner.layout.detached()).into_iter().flatten().flatten();
        // A file with an extension was being written when the process ended.
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_none()).collect();
        paths.sort_unstable();
        paths.truncate(limits::DETACHED);
        let read = |path: PathBuf| {
            let contents = sound(&path);
            if contents.is_none() {
                tracing::warn!(path = %disk::PrintablePath(path.clone()), "a detached download cannot be read");
            }
            Some((path.file_name()?.to_str()?.to_owned(), contents?))
        };
        paths.into_iter().filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn detached_downloads_survive_and_damaged_ones_are_left_out() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        assert!(store.detached().is_empty());
        store.drop_detached("a-1").unwrap();
        store.keep_detached("b-1", b"second").unwrap();
        store.keep_detached("a-1", b"first").unwrap();
        store.keep_detached("a-1", b"first again").unwrap();
        store.close();
        drop(store);
        let store = Store::open(home.path(), None, false).unwrap();
        let both = vec![("a-1".to_owned(), b"first again".to_vec()), ("b-1".to_owned(), b"second".to_vec())];
        assert_eq!(store.detached(), both);
        let folder = home.path().join("store/detached");
        fs::write(folder.join("c-1"), b"not one").unwrap();
        fs::write(folder.join("d-1.new"), b"half").unwrap();
        assert_eq!(store.detached(), both);
        store.drop_detached("a-1").unwrap();
        assert_eq!(store.detached(), both[1..]);
    }
}
