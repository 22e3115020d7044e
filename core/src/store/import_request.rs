//! The request to publish something.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::record::Domain;
use super::{StoreError, disk};
use crate::content::path::Rules;
use crate::options::Audience;

/// Request to publish a file or a folder.
#[allow(missing_debug_implementations)]
pub struct Import<'a> {
    /// Absolute path of a file or a folder.
    pub path: &'a Path,
    /// Name to offer.
    pub name: String,
    /// True to copy the bytes into the store instead of serving them in place.
    pub copy: bool,
    /// True to move the file, which is in the store's incoming folder, into the store.
    pub take: bool,
    /// Rules for names: portable ones only, or also names that Windows and macOS cannot store.
    pub rules: Rules,
    /// True to keep relative symbolic links.
    pub symlinks: bool,
    /// List that receives the homes of swarms that were left out of a folder; `None` refuses such a folder.
    pub skipped_homes: Option<&'a Mutex<Vec<PathBuf>>>,
    /// Audience of the content; `None` keeps the present one.
    pub audience: Option<Audience>,
    /// Network in which the content is offered, besides those it is already in.
    pub domain: Domain,
    /// Called now and then with bytes done and bytes in all.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Flag that stops the publication when it is set.
    pub cancel: &'a AtomicBool,
}

pub(super) fn changed(path: &Path) -> StoreError {
    StoreError::Changed(format!(
        "{} changed while it was being read: publish it again",
        disk::PrintablePath(path.to_owned())
    ))
}
