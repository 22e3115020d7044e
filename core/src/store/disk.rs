//! The disk: every call that writes, with errors that carry the verb and the path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the disk would not do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {path}: {source}")]
pub struct DiskError {
    /// What was tried.
    pub verb: &'static str,
    /// On what; printed escaped.
    pub path: Shown,
    /// What the system said.
    pub source: io::Error,
}

/// A path that is safe to print.
#[derive(Debug, Clone)]
pub struct Shown(pub PathBuf);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::content::path::escape(&self.0.to_string_lossy()))
    }
}

impl DiskError {
    /// An error of this verb on this path.
    pub fn new(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { verb, path: Shown(path.to_owned()), source: source.into() }
    }

    /// A file of ours that does not hold what it should.
    #[must_use]
    pub fn corrupt(path: &Path, what: &'static str) -> Self {
        Self::new("read", path, io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// No space (or quota) left: worth waiting for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// What was to be written is not what it should be: whoever made it is at fault, not the disk.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidData
    }

    /// Too many open files: worth waiting for.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        let errno = self.source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
    }
}

/// What tells one state of a file from another without reading it.
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

    /// Tells whether both are of one state of a file. Numbers of devices change when a machine starts, and say nothing.
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

    /// Bytes of the file.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(m: &fs::Metadata) -> Self {
        Self {
            size: m.size(),
            mtime: (m.mtime(), m.mtime_nsec()),
            ctime: (m.ctime(), m.ctime_nsec()),
            inode: m.ino(),
            device: m.dev(),
        }
    }
}

/// Reads a small file of ours.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DiskError> {
    fs::read(path).map_err(|e| DiskError::new("read", path, e))
}

/// Opens a file for reading.
pub(super) fn open(path: &Path) -> Result<File, DiskError> {
    File::open(path).map_err(|e| DiskError::new("open", path, e))
}

/// Creates a folder and its parents, readable by nobody else.
pub(super) fn create_dir_all(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| DiskError::new("create", path, e))
}

/// Creates a new file that nobody else can have put there.
pub(super) fn create_new(path: &Path, mode: u32) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|e| DiskError::new("create", path, e))
}

/// Opens or creates a file for reading and writing in place; never through a symbolic link.
pub(super) fn open_rw(path: &Path, mode: u32, create: bool) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(mode)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(|e| DiskError::new("open", path, e))
}

/// Replaces a small file of ours: temporary name, flush, rename. The caller flushes the folder when the name is new.
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

/// Flushes a file's data and what is needed to find it.
pub(super) fn sync(file: &File, path: &Path) -> Result<(), DiskError> {
    file.sync_data().map_err(|e| DiskError::new("flush", path, e))
}

/// Flushes the names in a folder.
pub(super) fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| DiskError::new("flush", path, e))
}

/// Flushes everything written to the file system a folder is on: cheaper than ten thousand single flushes.
pub(super) fn sync_fs(path: &Path) -> Result<(), DiskError> {
    let flushed = File::open(path).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    flushed.map_err(|e| DiskError::new("flush", path, e))
}

/// Renames, replacing what is there.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    fs::rename(from, to).map_err(|e| DiskError::new("rename", to, e))
}

/// Bytes that may still be written on the file system of `path`.
pub(super) fn free(path: &Path) -> Option<u64> {
    let s = rustix::fs::statvfs(path).ok()?;
    Some(s.f_bavail.saturating_mul(s.f_frsize))
}
