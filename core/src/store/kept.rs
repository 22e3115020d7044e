//! Small files that decide whom and what we trust: each in two generations with a checksum, so that neither a crash nor
//! a rotten sector takes it away or changes it.

use std::path::{Path, PathBuf};

use super::Store;
use super::disk::{self, DiskError};

/// Bytes of the checksum before the contents.
const SUM: usize = blake3::OUT_LEN;

impl Store {
    /// Writes `HOME/NAME`, and keeps what was there as `HOME/NAME.old`. Does nothing in a read-only store.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, name: &str, contents: &[u8]) -> Result<(), DiskError> {
        if self.inner.read_only {
            return Ok(());
        }
        let path = self.inner.layout.home().join(name);
        if sound(&path).is_some() {
            disk::rename(&path, &old(&path))?;
        }
        disk::write_atomic(&path, &[blake3::hash(contents).as_bytes(), contents].concat(), 0o600)
    }

    /// The contents of `HOME/NAME`, or of the generation before if that is damaged; `None` if both are.
    #[must_use]
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.inner.layout.home().join(name);
        sound(&path).or_else(|| sound(&old(&path)))
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("old")
}

fn sound(path: &Path) -> Option<Vec<u8>> {
    let bytes = disk::read(path).ok()?;
    let (sum, contents) = bytes.split_first_chunk::<SUM>()?;
    (blake3::hash(contents).as_bytes() == sum).then(|| contents.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn damage_to_one_generation_leaves_the_other() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        assert_eq!(store.kept("x"), None);
        store.keep("x", b"first").unwrap();
        store.keep("x", b"second").unwrap();
        assert_eq!(store.kept("x").unwrap(), b"second");
        for broken in [&b""[..], b"short", &[7; 40]] {
            std::fs::write(home.path().join("x"), broken).unwrap();
            assert_eq!(store.kept("x").unwrap(), b"first");
        }
        // What is damaged does not become the older generation.
        store.keep("x", b"third").unwrap();
        std::fs::write(home.path().join("x"), b"").unwrap();
        assert_eq!(store.kept("x").unwrap(), b"first");
        std::fs::write(home.path().join("x.old"), b"").unwrap();
        assert_eq!(store.kept("x"), None);
    }
}
