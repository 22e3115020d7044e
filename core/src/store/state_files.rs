//! Small files that decide which peers and offices are trusted. Each has two generations with a checksum, so
//! that neither a crash nor a bad sector loses or alters it.

use std::path::{Path, PathBuf};

use super::Store;
use super::disk::{self, DiskError};
use super::record::Domain;
use crate::id::ContentId;
use crate::limits;
use crate::office::OfficeId;

/// Name of the folder, in the home folder, that contains the folders of offices.
const OFFICES: &str = "offices";
/// Name of the file that makes a folder that of an office.
pub(crate) const CHARTER: &str = "charter";
/// Length of the checksum before the contents, in bytes.
const SUM: usize = blake3::OUT_LEN;

impl Store {
    /// Writes `HOME/NAME` and keeps the previous contents as `HOME/NAME.old`. In the view of an office, both
    /// lie in that office's folder. Does nothing in a read-only store.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, name: &str, contents: &[u8]) -> Result<(), DiskError> {
        if self.inner.read_only {
            return Ok(());
        }
        let path = self.folder().join(name);
        if sound(&path).is_some() {
            disk::rename(&path, &old(&path))?;
        }
        disk::write_atomic(&path, &summed(contents), 0o600)
    }

    /// Folder of the small files of this network.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let home = self.inner.layout.home();
        match self.view {
            Some(Domain::Office(id)) => home.join(OFFICES).join(id.to_string()),
            Some(Domain::Public) | None => home.to_owned(),
        }
    }

    /// The offices of this node: those whose charter is here. An aborted join leaves none.
    #[must_use]
    pub fn offices(&self) -> Vec<OfficeId> {
        let Ok(entries) = std::fs::read_dir(self.inner.layout.home().join(OFFICES)) else {
            return Vec::new();
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<OfficeId> = names.filter_map(|name| name.parse().ok()).collect();
        ids.retain(|id| self.within(Domain::Office(*id)).kept(CHARTER).is_some());
        ids.sort_unstable();
        ids.truncate(limits::OFFICES);
        ids
    }

    /// Makes the folder of the office whose view this is.
    ///
    /// # Errors
    /// The disk.
    pub fn make_folder(&self) -> Result<(), DiskError> {
        disk::create_dir_all(&self.folder())
    }

    /// Deletes the folder of the office whose view this is, with all keys in it.
    ///
    /// # Errors
    /// The disk.
    pub fn delete_folder(&self) -> Result<(), DiskError> {
        let folder = self.folder();
        if !matches!(self.view, Some(Domain::Office(_))) || self.inner.read_only {
            return Ok(());
        }
        std::fs::remove_dir_all(&folder).map_err(|e| DiskError::new("remove", &folder, e))
    }

    /// Keeps the voucher of a blob in the office whose view this is, beside the blob.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_voucher(&self, id: ContentId, voucher: &[u8]) -> Result<(), DiskError> {
        let Some(path) = self.voucher_file(id).filter(|_| !self.inner.read_only) else { return Ok(()) };
        disk::create_dir_all(&self.inner.layout.blob_dir(id))?;
        disk::write_atomic(&path, voucher, 0o600)
    }

    /// The voucher of a blob in the office whose view this is.
    #[must_use]
    pub fn voucher(&self, id: ContentId) -> Option<Vec<u8>> {
        disk::read(&self.voucher_file(id)?).ok()
    }

    pub(super) fn drop_voucher(&self, id: ContentId) -> Result<(), DiskError> {
        let Some(path) = self.voucher_file(id) else { return Ok(()) };
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DiskError::new("remove", &path, e)),
            _ => Ok(()),
        }
    }

    fn voucher_file(&self, id: ContentId) -> Option<PathBuf> {
        let Some(Domain::Office(office)) = self.view else { return None };
        Some(self.inner.layout.blob_dir(id).join(format!("voucher-{office}")))
    }

    /// The contents of `HOME/NAME`, or of the previous generation if that is damaged; `None` if both are.
    #[must_use]
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.folder().join(name);
        sound(&path).or_else(|| sound(&old(&path)))
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Puts the checksum before the contents of a small file.
pub(super) fn summed(contents: &[u8]) -> Vec<u8> {
    [blake3::hash(contents).as_bytes(), contents].concat()
}

/// Reads a small file whose checksum is right.
pub(super) fn sound(path: &Path) -> Option<Vec<u8>> {
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
        // Damaged contents do not become the older generation.
        store.keep("x", b"third").unwrap();
        std::fs::write(home.path().join("x"), b"").unwrap();
        assert_eq!(store.kept("x").unwrap(), b"first");
        std::fs::write(home.path().join("x.old"), b"").unwrap();
        assert_eq!(store.kept("x"), None);
    }
}
