//! Completion of a blob: its bytes are read once more, flushed, and put in place with one rename.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beneath::{self, Folder};
use super::disk::{self, DiskError, Stamp};
use super::own::Own;
use super::record::{BlobLocation, Payload};
use super::{Blob, Store, StoreError, copying, recover};
use crate::content::bitmap::Bitmap;
use crate::platform::{self, FileStat, NotPut, rename_new, stat_of};

impl Store {
    /// Flushes a blob and reads every chunk that this process has not hashed itself, so that all bytes of the
    /// file were hashed by the process that puts it in place. Returns the bad chunks; they are missing from
    /// then on and can be fetched again.
    ///
    /// # Errors
    /// The disk.
    pub fn prove(&self, blob: &Arc<Blob>) -> Result<Bitmap, StoreError> {
        self.inner.flusher.finish(blob)?;
        let bad = recover::check(blob, &blob.unproven(), &|_| true)?;
        for chunk in bad.iter().filter_map(|c| blob.geometry().chunk(c)) {
            blob.lost(chunk);
        }
        if !bad.is_empty() {
            recover::rewrite_map(&self.inner.layout, blob)?;
        }
        Ok(bad)
    }

    /// Completes a blob that stays in the store. `payload` is set for a directory's manifest.
    ///
    /// # Errors
    /// The disk.
    pub fn finish_stored(&self, blob: &Arc<Blob>, payload: Option<Payload>) -> Result<(), StoreError> {
        blob.extents.sync()?;
        disk::sync_dir(&self.inner.layout.blob_dir(blob.id()))?;
        self.completed(blob, BlobLocation::Store, payload)
    }

    /// Puts a fetched file in place atomically; an existing file is replaced only with `overwrite`.
    ///
    /// # Errors
    /// [`StoreError::User`] if something is there already, or the disk.
    pub fn finish_file(&self, blob: &Arc<Blob>, dest: &Path, overwrite: bool) -> Result<PathBuf, StoreError> {
        let (file, staging) =
            blob.extents.file().ok_or_else(|| StoreError::User("a folder is no file".into()))?;
        let (folder, hidden) = Folder::around(staging)?;
        blob.extents.sync()?;
        still_ours(file, &folder, hidden)?;
        put(&folder, hidden, dest, file, overwrite)?;
        let stamp = Stamp::of(file, dest)?;
        self.completed(blob, BlobLocation::File { path: dest.to_owned(), stamp }, None)?;
        self.end_place(blob, staging);
        Ok(dest.to_owned())
    }

    /// Ends the record of a hidden place whose file has its final name.
    pub(super) fn end_place(&self, blob: &Blob, staging: &Path) {
        if let Some(own) = Own::read(&self.inner.layout.blob_dir(blob.id()), staging) {
            own.end();
        }
    }

    /// Copies a complete blob to another place, sharing blocks where the file system can.
    ///
    /// # Errors
    /// The errors of [`Store::finish_file`]; [`StoreError::Changed`] if the copy does not verify.
    pub fn copy_out(&self, blob: &Blob, dest: &Path, overwrite: bool) -> Result<PathBuf, StoreError> {
        refuse_existing(dest, overwrite)?;
        let (source, from) =
            blob.extents.file().ok_or_else(|| StoreError::User("only a file can be copied out".into()))?;
        let parent = dest.parent().unwrap_or(dest);
        fs::create_dir_all(parent).map_err(|e| DiskError::new("create", parent, e))?;
        let folder = Folder::open(parent)?;
        let (copy, name) = folder.create_hidden(&blob.id().short(), 0o600)?;
        let copied = copying::copy(source, &copy);
        let result = copied.map_err(|e| StoreError::from(DiskError::new("copy", from, e)));
        let result = result.and_then(|()| {
            recover::check_file(&self.inner.layout, &copy, &folder.path().join(&name), blob)?;
            disk::sync(&copy, &folder.path().join(&name))?;
            still_ours(&copy, &folder, name.as_ref())?;
            put(&folder, name.as_ref(), dest, &copy, overwrite)
        });
        if result.is_err() && still_ours(&copy, &folder, name.as_ref()).is_ok() {
            let _ = folder.remove(&name);
        }
        result.map(|()| dest.to_owned())
    }
}

/// Refuses early what the final rename would refuse.
///
/// # Errors
/// [`StoreError::User`] if something is there that may not be replaced.
pub fn refuse_existing(dest: &Path, overwrite: bool) -> Result<(), StoreError> {
    let shown = || disk::PrintablePath(dest.to_owned());
    let is_special = |meta: fs::Metadata| !meta.is_file() && !meta.is_dir();
    // Never replaced: the name of a device, a link to something that is no file, and anything among the
    // devices (`/dev/stdout`). A FIFO of the very name is replaced (trust.md 2.3).
    let (itself, behind) = (fs::symlink_metadata(dest), fs::metadata(dest));
    let leads_astray = itself.as_ref().is_ok_and(fs::Metadata::is_symlink) && behind.is_ok_and(is_special);
    let is_among_devices = dest.parent().and_then(|above| above.canonicalize().ok()).as_deref()
        == Some(Path::new(platform::DEVICES));
    if leads_astray || is_among_devices || itself.as_ref().is_ok_and(platform::is_device) {
        return Err(StoreError::User(format!("{} is no file: -o names another place", shown())));
    }
    if !overwrite && itself.is_ok() {
        let shown = shown();
        return Err(StoreError::User(format!(
            "{shown} is already there: --overwrite replaces it, -o names another place"
        )));
    }
    Ok(())
}

/// Fails unless the hidden name still stands for this open file: another program may have put something else
/// there.
pub(super) fn still_ours(open: &File, folder: &Folder, hidden: &OsStr) -> Result<(), StoreError> {
    let ours = stat_of(open).map_err(|e| folder.error("inspect", hidden, e))?;
    is_still(&ours, folder, hidden)
}

/// Fails unless the hidden name still stands for the file or folder of this metadata.
pub(super) fn is_still(ours: &FileStat, folder: &Folder, hidden: &OsStr) -> Result<(), StoreError> {
    let there = beneath::stat_in(folder, hidden).map_err(|e| folder.error("inspect", hidden, e))?;
    if there.is_some_and(|there| there.is_same(ours)) {
        return Ok(());
    }
    let shown = disk::PrintablePath(folder.path().join(hidden));
    Err(StoreError::Changed(format!("another program has replaced {shown}: nothing was put in place")))
}

/// Renames an open file of ours to its final name and flushes the folder. The file gets the permissions of an
/// ordinary file.
fn put(folder: &Folder, from: &OsStr, dest: &Path, file: &File, overwrite: bool) -> Result<(), StoreError> {
    refuse_existing(dest, overwrite)?;
    platform::make_ordinary(file).map_err(|e| folder.error("share", from, e))?;
    let (into, name) = Folder::around(dest)?;
    let failed = |e| StoreError::from(DiskError::new("rename", dest, e));
    match rename_new((folder.handle(), from), (into.handle(), name)) {
        Ok(()) => {}
        Err(NotPut::Disk(e)) => return Err(failed(e)),
        Err(NotPut::Taken) if !overwrite => {
            refuse_existing(dest, false)?;
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        Err(NotPut::Taken) => {
            let there = beneath::stat_in(&into, name).map_err(failed)?;
            if there.is_some_and(|there| there.is_dir()) {
                let shown = disk::PrintablePath(dest.to_owned());
                return Err(StoreError::User(format!("{shown} is a folder: a file does not replace it")));
            }
            folder.handle().rename_over(from, into.handle(), name).map_err(failed)?;
        }
    }
    still_ours(file, &into, name)?;
    Ok(into.sync()?)
}
