//! The disk: every call that writes, with errors that carry the verb and the path.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use crate::platform;

/// Failure of a call to the disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path}: {source}")]
pub struct DiskError {
    /// Verb of the attempted call, as in "cannot VERB PATH".
    pub verb: &'static str,
    /// Path of the call; printed escaped.
    pub path: PrintablePath,
    /// Error of the system.
    pub source: io::Error,
}

/// A path that is safe to print.
#[derive(Debug, Clone)]
pub struct PrintablePath(pub PathBuf);

impl std::fmt::Display for PrintablePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::content::path::escape(&self.0.to_string_lossy()))
    }
}

impl DiskError {
    /// Returns an error of this verb on this path.
    pub fn new(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { verb, path: PrintablePath(path.to_owned()), source: source.into() }
    }

    /// Returns the error for a file of the store that is damaged.
    #[must_use]
    pub fn corrupt(path: &Path, what: &'static str) -> Self {
        Self::new("read", path, io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// True if no space (or quota) is left: worth waiting for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// True if the file would be larger than the system lets it be: waiting does not help.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.source.kind() == io::ErrorKind::FileTooLarge
    }

    /// True if the bytes to be written are malformed: the fault of their maker, not of the disk.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidData
    }

    /// True if too many files are open: worth waiting for.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        platform::is_out_of_files(&self.source)
    }
}

/// Mark of one state of a file: it tells the state from others without reading the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    inode: u64,
    device: u64,
}

impl Stamp {
    /// The stamp of an open file.
    ///
    /// # Errors
    /// The disk.
    pub fn of(file: &File, path: &Path) -> Result<Self, DiskError> {
        let m = file.metadata().map_err(|e| DiskError::new("inspect", path, e))?;
        Ok(Self::from(&m))
    }

    /// True if both stamps are of one state of a file. Device numbers change when a machine starts, so they
    /// are not compared.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        *self == Self { device: self.device, ..*other }
    }

    pub(super) const fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) const fn device(&self) -> u64 {
        self.device
    }

    /// Length of the file in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(m: &fs::Metadata) -> Self {
        Self {
            size: m.len(),
            mtime: platform::modified_at(m),
            ctime: platform::changed_at(m),
            inode: platform::inode(m),
            device: platform::device(m),
        }
    }
}

/// Returns a path without `..`: where it leads now. Otherwise it would lead elsewhere once a folder on the
/// way is renamed or gone.
pub(crate) fn straight(path: PathBuf) -> PathBuf {
    if !path.components().any(|part| part == Component::ParentDir) {
        return path;
    }
    let real = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)),
        _ => path.canonicalize(),
    };
    real.unwrap_or(path)
}

/// Reads a small file of the store.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DiskError> {
    fs::read(path).map_err(|e| DiskError::new("read", path, e))
}

/// Opens a file for reading.
pub(super) fn open(path: &Path) -> Result<File, DiskError> {
    File::open(path).map_err(|e| DiskError::new("open", path, e))
}

/// Creates a folder and its missing parents, accessible to the owner alone.
pub(super) fn create_dir_all(path: &Path) -> Result<(), DiskError> {
    platform::create_private_folders(path).map_err(|e| DiskError::new("create", path, e))
}

/// Creates a file for reading and writing; fails if the name is taken, so nobody else can have put it there.
pub(super) fn create_new(path: &Path, mode: u32) -> Result<File, DiskError> {
    platform::create_new(path, mode).map_err(|e| DiskError::new("create", path, e))
}

/// Opens, or with `create` makes, a file for reading and writing in place; never through a symbolic link.
pub(super) fn open_rw(path: &Path, mode: u32, create: bool) -> Result<File, DiskError> {
    platform::open_in_place(path, mode, create).map_err(|e| DiskError::new("open", path, e))
}

/// Replaces a small file of the store: temporary name, flush, rename, flush of the folder.
pub(super) fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let temp = path.with_extension("new");
    let _ = fs::remove_file(&temp);
    let mut file = create_new(&temp, mode)?;
    file.write_all(bytes).map_err(|e| DiskError::new("write", &temp, e))?;
    sync(&file, &temp)?;
    drop(file);
    rename(&temp, path)?;
    sync_dir(path.parent().unwrap_or(path))
}

/// Flushes a file's data and the metadata needed to read it.
pub(super) fn sync(file: &File, path: &Path) -> Result<(), DiskError> {
    file.sync_data().map_err(|e| DiskError::new("flush", path, e))
}

/// Flushes the names in a folder.
pub(super) fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(platform::sync_names).map_err(|e| DiskError::new("flush", path, e))
}

/// Flushes everything written to the file system of a folder: cheaper than ten thousand single flushes.
pub(super) fn sync_fs(path: &Path) -> Result<(), DiskError> {
    let flushed = File::open(path).and_then(|dir| platform::sync_file_system(&dir));
    flushed.map_err(|e| DiskError::new("flush", path, e))
}

/// Renames a file, replacing the target.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(|e| DiskError::new("rename", to, e))
}

/// Bytes that may still be written to the file system of `path`.
pub(super) fn free(path: &Path) -> Option<u64> {
    platform::free_bytes(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_made_straight() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("album/deep")).unwrap();
        assert_eq!(straight(root.join("album/deep/..")), root.join("album"));
        assert_eq!(straight(root.join("album/deep/../new")), root.join("album/new"));
        assert_eq!(straight(root.join("album/new")), root.join("album/new"));
        assert_eq!(straight(root.join("none/../new")), root.join("none/../new"), "it leads nowhere");
    }
}
