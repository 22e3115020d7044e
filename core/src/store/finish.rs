//! A blob is whole: read it once more, flush it, and put it in place with one rename.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;

use super::beneath::{self, Folder, NotPut};
use super::disk::{self, DiskError, Stamp};
use super::own::Own;
use super::record::{Payload, Place};
use super::{Blob, Store, StoreError, copying, recover};
use crate::content::bitmap::Bitmap;

impl Store {
    /// Flushes a blob and reads every chunk that this process has not hashed itself, so that all bytes of the file were
    /// hashed by the process that puts it in place. Returns the chunks that are not what they should be; they are missing from then on and can be fetched again.
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
        self.completed(blob, Place::Store, payload)
    }

    /// Puts a fetched file in place: atomically, never over something that is there unless `overwrite`.
    ///
    /// # Errors
    /// [`StoreError::User`] when something is there, or the disk.
    pub fn finish_file(&self, blob: &Arc<Blob>, dest: &Path, overwrite: bool) -> Result<PathBuf, StoreError> {
        let (file, staging) =
            blob.extents.file().ok_or_else(|| StoreError::User("a folder is no file".into()))?;
        let (folder, hidden) = Folder::around(staging)?;
        blob.extents.sync()?;
        still_ours(file, &folder, hidden)?;
        put(&folder, hidden, dest, file, overwrite)?;
        let stamp = Stamp::of(file, dest)?;
        self.completed(blob, Place::File { path: dest.to_owned(), stamp }, None)?;
        self.end_place(blob, staging);
        Ok(dest.to_owned())
    }

    /// What was made at this hidden place has its name, and need not be known any longer.
    pub(super) fn end_place(&self, blob: &Blob, staging: &Path) {
        if let Some(own) = Own::read(&self.inner.layout.blob_dir(blob.id()), staging) {
            own.end();
        }
    }

    /// A whole blob that is here already is copied (with the same blocks where the file system can) to another place.
    ///
    /// # Errors
    /// As [`Store::finish_file`]; [`StoreError::Changed`] when the copy does not verify.
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
/// [`StoreError::User`] when something is there and may not be replaced.
pub fn refuse_existing(dest: &Path, overwrite: bool) -> Result<(), StoreError> {
    let shown = || disk::Shown(dest.to_owned());
    let is_special = |meta: fs::Metadata| !meta.is_file() && !meta.is_dir();
    let is_device =
        |meta: &fs::Metadata| meta.file_type().is_char_device() || meta.file_type().is_block_device();
    // A name for a device, a link to something that is no file, anything among the devices (`/dev/stdout`): never what
    // should be replaced. A FIFO of that very name is (trust.md 2.3).
    let (itself, behind) = (fs::symlink_metadata(dest), fs::metadata(dest));
    let leads_astray = itself.as_ref().is_ok_and(fs::Metadata::is_symlink) && behind.is_ok_and(is_special);
    let is_among_devices =
        dest.parent().and_then(|above| above.canonicalize().ok()).as_deref() == Some(Path::new("/dev"));
    if leads_astray || is_among_devices || itself.as_ref().is_ok_and(is_device) {
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

/// The hidden name still stands for what was written and verified: another program may have put something else there.
pub(super) fn still_ours(open: impl AsFd, folder: &Folder, hidden: &OsStr) -> Result<(), StoreError> {
    let ours = beneath::seen(open).map_err(|e| folder.error("inspect", hidden, e))?;
    let there = beneath::stat_in(folder, hidden).map_err(|e| folder.error("inspect", hidden, e))?;
    if there.is_some_and(|there| beneath::is_same(&there, &ours)) {
        return Ok(());
    }
    let shown = disk::Shown(folder.path().join(hidden));
    Err(StoreError::Changed(format!("another program has replaced {shown}: nothing was put in place")))
}

/// Gives a file of ours, which is open, its name, and flushes the folder. It is an ordinary file from then on.
fn put(folder: &Folder, from: &OsStr, dest: &Path, file: &File, overwrite: bool) -> Result<(), StoreError> {
    refuse_existing(dest, overwrite)?;
    let mode = Mode::from(0o666 & !umask());
    rustix::fs::fchmod(file, mode).map_err(|e| folder.error("share", from, e))?;
    let (into, name) = Folder::around(dest)?;
    let failed = |e| StoreError::from(DiskError::new("rename", dest, e));
    match beneath::put_new((folder.handle(), from), (into.handle(), name)) {
        Ok(()) => {}
        Err(NotPut::Disk(e)) => return Err(failed(e)),
        Err(NotPut::Taken) if !overwrite => {
            refuse_existing(dest, false)?;
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        Err(NotPut::Taken) => {
            let there = beneath::stat_in(&into, name).map_err(failed)?;
            if there.is_some_and(|there| beneath::is_dir(&there)) {
                let shown = disk::Shown(dest.to_owned());
                return Err(StoreError::User(format!("{shown} is a folder: a file does not replace it")));
            }
            let renamed = rustix::fs::renameat(folder.handle(), from, into.handle(), name);
            renamed.map_err(|e| failed(e.into()))?;
        }
    }
    still_ours(file, &into, name)?;
    Ok(into.sync()?)
}

/// The process' umask, which only a change of it tells; read through a file instead.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    line.and_then(|v| u32::from_str_radix(v.trim(), 8).ok()).unwrap_or(0o022)
}
