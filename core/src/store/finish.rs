//! A blob is whole: read it once more, flush it, and put it in place with one rename.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::disk::{self, DiskError, Stamp};
use super::record::{Payload, Place, State};
use super::{Blob, Store, StoreError, recover};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::{EntryKind, Manifest};
use crate::content::select::Select;
use crate::id::ContentId;

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
        // What began in the store is for nobody else; what is put in place is an ordinary file.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o666 & !umask()));
        blob.extents.sync()?;
        still_ours(file, staging)?;
        put(staging, dest, overwrite)?;
        let stamp = Stamp::of(&disk::open(dest)?, dest)?;
        self.completed(blob, Place::File { path: dest.to_owned(), stamp }, None)?;
        Ok(dest.to_owned())
    }

    /// Puts a fetched tree in place: empty files, empty folders and links are added to the hidden folder, then it is
    /// renamed. With `overwrite` an old tree is exchanged for the new one in one step and then deleted.
    ///
    /// # Errors
    /// As [`Store::finish_file`].
    pub fn finish_tree(
        &self,
        blob: &Arc<Blob>,
        tree: &Finished<'_>,
        dest: &Path,
        overwrite: bool,
    ) -> Result<PathBuf, StoreError> {
        let staging = blob.extents.path().to_owned();
        // As it was opened: its name may stand for something else by now.
        let dir = blob.extents.dir().ok_or_else(|| StoreError::User("a file is no folder".into()))?;
        add_the_rest(dir, &staging, tree)?;
        disk::sync_fs(&staging)?;
        still_ours(dir, &staging)?;
        put(&staging, dest, overwrite)?;
        if tree.select.is_everything() {
            self.completed(blob, Place::Tree { root: dest.to_owned(), dir: tree.dir }, None)?;
        } else {
            // A part of a directory is not offered to others: only whole chunks are, and the edges are not whole. What is whole
            // here anyway stays.
            if self.record(blob.id()).is_none_or(|record| record.state == State::Partial) {
                self.forget(blob.id());
            }
        }
        Ok(dest.to_owned())
    }

    /// A whole blob that is here already is copied (a reflink where the file system can) to another place.
    ///
    /// # Errors
    /// As [`Store::finish_file`]; [`StoreError::Changed`] when the copy does not verify.
    pub fn copy_out(&self, blob: &Blob, dest: &Path, overwrite: bool) -> Result<PathBuf, StoreError> {
        refuse_existing(dest, overwrite)?;
        let source = blob.file().ok_or_else(|| StoreError::User("only a file can be copied out".into()))?;
        let parent = dest.parent().unwrap_or(dest);
        fs::create_dir_all(parent).map_err(|e| DiskError::new("create", parent, e))?;
        // Several copies may be under way at once.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let temp = parent.join(format!(".{}.{pid}-{number}.swarm-copy", blob.id().short()));
        let _ = fs::remove_file(&temp);
        let copied =
            reflink_copy::reflink_or_copy(&source, &temp).map_err(|e| DiskError::new("copy", &source, e));
        let result = copied.map_err(StoreError::from).and_then(|_| {
            let file = disk::open(&temp)?;
            // The store's own files are for nobody else; what is put in place is an ordinary file.
            let _ = file.set_permissions(fs::Permissions::from_mode(0o666 & !umask()));
            recover::check_file(&self.inner.layout, &temp, blob)?;
            disk::sync(&file, &temp)?;
            put(&temp, dest, overwrite)
        });
        if result.is_err() {
            let _ = fs::remove_file(&temp);
        }
        result.map(|()| dest.to_owned())
    }
}

/// A fetched directory whose files' bytes are all there.
#[derive(Debug)]
pub struct Finished<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its id.
    pub dir: ContentId,
    /// The files that were asked for.
    pub select: &'a Select,
}

/// What no chunk brings: files without bytes, folders without files, and links (last, so that nothing is written through
/// one).
fn add_the_rest(dir: &Dir, root: &Path, tree: &Finished<'_>) -> Result<(), StoreError> {
    let error = |verb, path: &str, e| StoreError::from(DiskError::new(verb, &root.join(path), e));
    let parent = |path: &str| match path.rsplit_once('/') {
        Some((above, _)) => dir.create_dir_all(above).map_err(|e| error("create", above, e)),
        None => Ok(()),
    };
    let wanted = || tree.manifest.entries.iter().filter(|e| tree.select.wants(&e.path));
    for entry in wanted() {
        match &entry.kind {
            EntryKind::File { size: 0, executable, .. } => {
                parent(&entry.path)?;
                let mut options = OpenOptions::new();
                options.write(true).create(true).mode(if *executable { 0o777 } else { 0o666 });
                dir.open_with(&entry.path, &options).map_err(|e| error("create", &entry.path, e))?;
            }
            EntryKind::EmptyDir => {
                dir.create_dir_all(&entry.path).map_err(|e| error("create", &entry.path, e))?;
            }
            EntryKind::File { .. } | EntryKind::Symlink { .. } => {}
        }
    }
    for entry in wanted() {
        if let EntryKind::Symlink { target } = &entry.kind {
            parent(&entry.path)?;
            match dir.symlink_contents(target, &entry.path) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error("link", &entry.path, e));
                }
                _ => {}
            }
        }
    }
    Ok(())
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
fn still_ours(open: impl AsFd, staging: &Path) -> Result<(), StoreError> {
    let ours =
        rustix::fs::fstat(open).map_err(|e| DiskError::new("inspect", staging, std::io::Error::from(e)))?;
    let there = fs::symlink_metadata(staging).map_err(|e| DiskError::new("inspect", staging, e))?;
    if (there.dev(), there.ino()) == (ours.st_dev, ours.st_ino) {
        return Ok(());
    }
    let shown = disk::Shown(staging.to_owned());
    Err(StoreError::Changed(format!("another program has replaced {shown}: nothing was put in place")))
}

/// Renames `from` (beside `dest`, or on another file system) to `dest` and flushes the folder.
fn put(from: &Path, dest: &Path, overwrite: bool) -> Result<(), StoreError> {
    match put_once(from, dest, overwrite) {
        Err(StoreError::Disk(e))
            if e.source.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) =>
        {
            let near = dest.with_file_name(format!(".{}.swarm-copy", std::process::id()));
            fs::copy(from, &near).map_err(|e| DiskError::new("copy", &near, e))?;
            disk::sync(&disk::open(&near)?, &near)?;
            put_once(&near, dest, overwrite)?;
            fs::remove_file(from).map_err(|e| DiskError::new("remove", from, e))?;
        }
        other => other?,
    }
    Ok(disk::sync_dir(dest.parent().unwrap_or(dest))?)
}

fn put_once(from: &Path, dest: &Path, overwrite: bool) -> Result<(), StoreError> {
    match renameat_with(CWD, from, CWD, dest, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::EXIST) if !overwrite => return refuse_existing(dest, false),
        Err(rustix::io::Errno::EXIST) => {}
        // A file system that cannot refuse to replace: look first.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => refuse_existing(dest, overwrite)?,
        Err(e) => return Err(DiskError::new("rename", dest, e).into()),
    }
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    match (is_folder(from), is_folder(dest)) {
        (false, false) => return Ok(disk::rename(from, dest)?),
        (false, true) => {
            let shown = disk::Shown(dest.to_owned());
            return Err(StoreError::User(format!("{shown} is a folder: a file does not replace it")));
        }
        (true, _) => {}
    }
    // A tree is replaced in one step; what was there is then deleted under the hidden name.
    renameat_with(CWD, from, CWD, dest, RenameFlags::EXCHANGE)
        .map_err(|e| DiskError::new("exchange", dest, e))?;
    let old = if is_folder(from) { fs::remove_dir_all(from) } else { fs::remove_file(from) };
    old.map_err(|e| DiskError::new("remove", from, e).into())
}

/// The process' umask, which only a change of it tells; read through a file instead.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    line.and_then(|v| u32::from_str_radix(v.trim(), 8).ok()).unwrap_or(0o022)
}
