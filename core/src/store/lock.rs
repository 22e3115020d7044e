//! One owner per store, by an advisory lock on a file. The system releases the lock when the owner dies.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::disk::{self, DiskError};
use crate::platform;

/// The lock of a store, released when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Reason why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it. The value is its pid, or 0 if that could not be read.
    Held(u32),
    /// The disk failed.
    Disk(DiskError),
}

impl Lock {
    /// Takes the lock at once, or says which process holds it. The system frees the lock of a dead process.
    pub(super) fn take(path: &Path, read_only: bool) -> Result<Self, LockError> {
        let opened = if read_only { disk::open(path) } else { disk::open_rw(path, 0o600, true) };
        let mut file = opened.map_err(LockError::Disk)?;
        if !platform::try_lock(&file, !read_only) {
            let mut text = String::new();
            let _ = (&mut file).take(64).read_to_string(&mut text);
            let pid = text.split_whitespace().next().and_then(|word| word.parse().ok());
            return Err(LockError::Held(pid.unwrap_or(0)));
        }
        if !read_only {
            let mut before = String::new();
            let is_ours = (&mut file).take(64).read_to_string(&mut before).is_ok()
                && before.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_whitespace());
            if !is_ours {
                let error =
                    std::io::Error::other("there is something else of that name: choose another --home");
                return Err(LockError::Disk(DiskError::new("lock", path, error)));
            }
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs());
            let text = format!("{} {now}\n", std::process::id());
            let written =
                file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
            written.map_err(|e| LockError::Disk(DiskError::new("write", path, e)))?;
        }
        Ok(Self { _file: file })
    }
}
