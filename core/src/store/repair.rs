//! Writing bad chunks anew: only to what this store put there, and never through another name of it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::beneath::Folder;
use super::disk::{self, DiskError, Shown, Stamp};
use super::extents::Extents;
use super::finish::still_ours;
use super::record::{Place, Record, State};
use super::{Blob, Store, StoreError, copying, laid, path_of, shares};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::Manifest;
use crate::id::ContentId;

impl Store {
    /// Opens a blob of which some chunks are bad for writing them anew. What its owner published and then
    /// edited is never overwritten, nor what stands there in its place. The files of a directory are put in
    /// place one by one: [`Store::refuse_foreign`].
    ///
    /// # Errors
    /// [`StoreError::User`] for a published source or a file that is another one by now, or the disk.
    pub fn begin_repair(&self, blob: &Blob, bad: &Bitmap) -> Result<Arc<Blob>, StoreError> {
        self.refuse_published(&blob.record)?;
        let extents = match &blob.record.place {
            Place::File { path, stamp } => open_again(path, stamp)?,
            Place::Store => {
                let path = self.inner.layout.data(blob.id(), blob.record.seal.is_some());
                Extents::one(disk::open_rw(&path, 0o600, false)?, path)
            }
            Place::Part { .. } | Place::Tree { .. } => {
                return Err(StoreError::User("a directory is repaired where it was put".into()));
            }
        };
        let extents = extents.sealed(shares::sealer(&self.inner.layout, blob.record.seal, blob.record.of)?);
        let mut have = blob.have();
        bad.iter().for_each(|c| have.clear(c));
        Ok(Arc::new(Blob::new(blob.record.clone(), blob.list.clone(), extents, &have, None)))
    }

    /// Who published a file and edited it wants it so.
    ///
    /// # Errors
    /// [`StoreError::User`] then.
    pub fn refuse_published(&self, record: &Record) -> Result<(), StoreError> {
        if record.origin && record.place != Place::Store {
            let shown = Shown(path_of(record).unwrap_or_default());
            return Err(StoreError::User(format!(
                "{shown} was published from here and edited since: publish it again"
            )));
        }
        Ok(())
    }

    /// Every chunk of a blob verifies again: it is put in the place of the bad one, if it is not the same
    /// file, and may be served.
    ///
    /// # Errors
    /// The disk.
    pub fn finish_repair(&self, blob: &Blob) -> Result<(), StoreError> {
        let (Place::File { path, stamp }, Some((file, at))) = (&blob.record.place, blob.extents.file())
        else {
            return self.mark_whole(blob.id());
        };
        if at != path {
            blob.extents.sync()?;
            let (folder, name) = Folder::around(path)?;
            let hidden = at.file_name().unwrap_or_default();
            still_ours(file, &folder, hidden)?;
            is_it(&open_to_write(path)?, path, stamp)?;
            rustix::fs::renameat(folder.handle(), hidden, folder.handle(), name)
                .map_err(|e| DiskError::new("rename", path, e))?;
            folder.sync()?;
        }
        self.mark_whole(blob.id())
    }

    /// Every chunk of a blob verifies: it may be served.
    ///
    /// # Errors
    /// The disk.
    pub fn mark_whole(&self, id: ContentId) -> Result<(), StoreError> {
        let Some(mut record) = self.record(id) else { return Ok(()) };
        if let Place::File { path, stamp } = &mut record.place {
            *stamp = Stamp::of(&disk::open(path)?, path)?;
        }
        record.state = State::Complete;
        Ok(self.save(&record)?)
    }

    /// Of the files of a directory that are bad, those that this store did not put there are left to their
    /// owner.
    ///
    /// # Errors
    /// [`StoreError::User`] with the name of one.
    pub fn refuse_foreign(&self, manifest: &Manifest, root: &Path, dir: ContentId) -> Result<(), StoreError> {
        let folder = Folder::open_itself(root)?;
        let laid = laid::read(&self.inner.layout, dir).into_iter().find(|laid| laid.root == root);
        let marks: std::collections::BTreeMap<u32, laid::Mark> =
            laid.into_iter().flat_map(|laid| laid.files).map(|mark| (mark.entry, mark)).collect();
        for (at, entry) in manifest.entries.iter().enumerate() {
            let crate::content::manifest::EntryKind::File { size, id, .. } = entry.kind else { continue };
            let Ok(Some(stat)) = folder.stat(&entry.path) else { continue };
            let mark = u32::try_from(at).ok().and_then(|at| marks.get(&at));
            if mark.is_some_and(|mark| mark.is_file(&stat)) {
                continue;
            }
            let right = stat.size == size
                && folder.read(&entry.path).and_then(super::survey::hash).is_ok_and(|there| there == id);
            if !right {
                let shown = Shown(root.join(&entry.path));
                return Err(StoreError::User(format!(
                    "{shown} is not the file that was put there: it was left as it is"
                )));
            }
        }
        Ok(())
    }
}

fn open_to_write(path: &Path) -> Result<File, DiskError> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
    opened.map(File::from).map_err(|e| DiskError::new("open", path, e))
}

/// The file is the one that was put there.
fn is_it(file: &File, path: &Path, stamp: &Stamp) -> Result<std::fs::Metadata, StoreError> {
    let meta = file.metadata().map_err(|e| DiskError::new("inspect", path, e))?;
    if meta.is_file() && meta.ino() == stamp.inode() {
        return Ok(meta);
    }
    let shown = Shown(path.to_owned());
    Err(StoreError::User(format!("{shown} is not the file that was put there: it was left as it is")))
}

/// The file of a blob, if it is the one that was put there; a copy of it beside, if it has other names, which
/// would change with it, or if the system cannot tell for sure.
fn open_again(path: &Path, stamp: &Stamp) -> Result<Extents, StoreError> {
    let file = open_to_write(path)?;
    let meta = is_it(&file, path, stamp)?;
    if meta.dev() == stamp.device() && meta.nlink() == 1 {
        return Ok(Extents::one(file, path.to_owned()));
    }
    let (folder, _) = Folder::around(path)?;
    let (copy, name) = folder.create_hidden("repair", meta.mode() & 0o777)?;
    let at = folder.path().join(name);
    copying::copy(&file, &copy).map_err(|e| DiskError::new("copy", path, e))?;
    Ok(Extents::one(copy, at))
}
