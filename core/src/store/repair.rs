//! Repair of bad chunks. Only files that this store put in place are written, and never through another name
//! of the file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::beneath::Folder;
use super::disk::{self, DiskError, PrintablePath, Stamp};
use super::extents::Extents;
use super::finish::still_ours;
use super::record::{BlobLocation, Record, StoredState};
use super::{Blob, Store, StoreError, copying, laid, path_of, shares};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::Manifest;
use crate::id::ContentId;
use crate::platform;

impl Store {
    /// Opens a blob with bad chunks for writing them anew. A file that its owner published and then edited is
    /// never overwritten, nor a file that stands in its place. For the files of a directory, which are put in
    /// place one by one, see [`Store::refuse_foreign`].
    ///
    /// # Errors
    /// [`StoreError::User`] for a published source or a replaced file, or the disk.
    pub fn begin_repair(&self, blob: &Blob, bad: &Bitmap) -> Result<Arc<Blob>, StoreError> {
        self.refuse_published(&blob.record)?;
        let extents = match &blob.record.place {
            BlobLocation::File { path, stamp } => open_again(path, stamp)?,
            BlobLocation::Store => {
                let path = self.inner.layout.data(blob.id(), blob.record.seal.is_some());
                Extents::one(disk::open_rw(&path, 0o600, false)?, path)
            }
            BlobLocation::Part { .. } | BlobLocation::Tree { .. } => {
                return Err(StoreError::User("a directory is repaired where it was put".into()));
            }
        };
        let extents = extents.sealed(shares::sealer(&self.inner.layout, blob.record.seal, blob.record.of)?);
        let mut have = blob.have();
        bad.iter().for_each(|c| have.clear(c));
        Ok(Arc::new(Blob::new(blob.record.clone(), blob.list.clone(), extents, &have, None)))
    }

    /// Refuses to repair a published file: its owner edited it on purpose.
    ///
    /// # Errors
    /// [`StoreError::User`] in that case.
    pub fn refuse_published(&self, record: &Record) -> Result<(), StoreError> {
        if record.origin && record.place != BlobLocation::Store {
            let shown = PrintablePath(path_of(record).unwrap_or_default());
            return Err(StoreError::User(format!(
                "{shown} was published from here and edited since: publish it again"
            )));
        }
        Ok(())
    }

    /// Ends a repair after which every chunk verifies: a repaired copy takes the place of the bad file, and
    /// the blob may be served.
    ///
    /// # Errors
    /// The disk.
    pub fn finish_repair(&self, blob: &Blob) -> Result<(), StoreError> {
        let (BlobLocation::File { path, stamp }, Some((file, at))) =
            (&blob.record.place, blob.extents.file())
        else {
            return self.mark_whole(blob.id());
        };
        if at != path {
            blob.extents.sync()?;
            let (folder, name) = Folder::around(path)?;
            let hidden = at.file_name().unwrap_or_default();
            still_ours(file, &folder, hidden)?;
            is_it(&open_to_write(path)?, path, stamp)?;
            folder
                .handle()
                .rename_over(hidden, folder.handle(), name)
                .map_err(|e| DiskError::new("rename", path, e))?;
            folder.sync()?;
        }
        self.mark_whole(blob.id())
    }

    /// Marks a blob whose every chunk verifies as complete: it may be served.
    ///
    /// # Errors
    /// The disk.
    pub fn mark_whole(&self, id: ContentId) -> Result<(), StoreError> {
        let Some(mut record) = self.record(id) else { return Ok(()) };
        if let BlobLocation::File { path, stamp } = &mut record.place {
            *stamp = Stamp::of(&disk::open(path)?, path)?;
        }
        record.state = StoredState::Complete;
        Ok(self.save(&record)?)
    }

    /// Refuses to repair bad files of a directory that this store did not put there: they are left to their
    /// owner.
    ///
    /// # Errors
    /// [`StoreError::User`] with the name of one of them.
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
                let shown = PrintablePath(root.join(&entry.path));
                return Err(StoreError::User(format!(
                    "{shown} is not the file that was put there: it was left as it is"
                )));
            }
        }
        Ok(())
    }
}

fn open_to_write(path: &Path) -> Result<File, DiskError> {
    platform::open_itself_to_write(path).map_err(|e| DiskError::new("open", path, e))
}

/// Fails unless the open file is the one that was put there.
fn is_it(file: &File, path: &Path, stamp: &Stamp) -> Result<std::fs::Metadata, StoreError> {
    let meta = file.metadata().map_err(|e| DiskError::new("inspect", path, e))?;
    if meta.is_file() && platform::inode(&meta) == stamp.inode() {
        return Ok(meta);
    }
    let shown = PrintablePath(path.to_owned());
    Err(StoreError::User(format!("{shown} is not the file that was put there: it was left as it is")))
}

/// Opens the file of a blob, if it is the one that was put there. Returns a copy beside it if the file has
/// other names, which would change with it, or if its device number changed, so that the inode alone proves
/// nothing.
fn open_again(path: &Path, stamp: &Stamp) -> Result<Extents, StoreError> {
    let file = open_to_write(path)?;
    let meta = is_it(&file, path, stamp)?;
    if platform::device(&meta) == stamp.device() && platform::names(&meta) == 1 {
        return Ok(Extents::one(file, path.to_owned()));
    }
    let (folder, _) = Folder::around(path)?;
    let (copy, name) = folder.create_hidden("repair", platform::permissions(&meta))?;
    let at = folder.path().join(name);
    copying::copy(&file, &copy).map_err(|e| DiskError::new("copy", path, e))?;
    Ok(Extents::one(copy, at))
}
