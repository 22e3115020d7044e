//! Putting a fetched directory in place: with one rename where nothing is, else file by file into the folder
//! that is there.
//!
//! Only names of the directory are touched, each by one rename, so that a crash leaves of every file the old
//! bytes or the new ones. The next run finds the files that are in place and goes on with the rest.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::beneath::Folder;
use super::disk::{DiskError, PrintablePath};
use super::finish::is_still;
use super::have::HaveFile;
use super::laid::{self, Mark};
use super::own::{OTHER, Own};
use super::record::{BlobLocation, Payload, Record, StoredState};
use super::staging::numbered;
use super::survey::{Spot, WritePlan};
use super::{Blob, Store, StoreError, shares};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::{EntryKind, Manifest, ManifestEntry};
use crate::id::ContentId;
use crate::platform::{self, FileStat, NotPut, rename_new, stat_of};

/// A fetched directory whose files are complete.
#[derive(Debug)]
pub struct Finished<'a> {
    /// Manifest of the directory.
    pub manifest: &'a Manifest,
    /// Id of the directory.
    pub dir: ContentId,
    /// Plan that says which files were fetched.
    pub plan: &'a WritePlan,
}

impl Store {
    /// Puts a fetched tree in place.
    ///
    /// # Errors
    /// [`StoreError::User`] if something came to stand in the way, [`StoreError::Changed`] if another program
    /// has put something into the hidden folder, or the disk.
    pub fn finish_tree(
        &self,
        blob: &Arc<Blob>,
        tree: &Finished<'_>,
        dest: &Path,
        overwrite: bool,
    ) -> Result<(), StoreError> {
        let staging = blob.extents.path().to_owned();
        let (dir, own) = blob.extents.made().ok_or_else(|| StoreError::User("a file is no folder".into()))?;
        let (beside, hidden) = Folder::around(&staging)?;
        // The handle as it was opened: its name may stand for something else by now.
        let handle = dir.try_clone().map_err(|e| DiskError::new("open", &staging, e))?;
        let made = Folder::of(handle.into_std_file().into(), &staging);
        add_the_rest(&made, own, tree)?;
        drop_the_unwanted(&made, own, tree);
        let marks = marks(&made, own, tree)?;
        made.sync_all()?;
        own.sync()?;
        let ours = || stat_of(made.handle()).map_err(|e| DiskError::new("inspect", &staging, e));
        is_still(&ours()?, &beside, hidden)?;
        laid::add(&self.inner.layout, tree.dir, dest, &marks)?;
        let (around, name) = Folder::around(dest)?;
        let whole = match tree.plan.merges {
            true => Err(NotPut::Taken),
            false => rename_new((beside.handle(), hidden), (around.handle(), name)),
        };
        let failed = |e| StoreError::from(DiskError::new("rename", dest, e));
        match whole {
            Ok(()) => is_still(&ours()?, &around, name)?,
            Err(NotPut::Disk(e)) => return Err(failed(e)),
            // Something came to stand there during the download.
            Err(NotPut::Taken) if !tree.plan.merges && !overwrite => {
                super::refuse_existing(dest, false)?;
                return Err(failed(io::ErrorKind::AlreadyExists.into()));
            }
            Err(NotPut::Taken) => {
                merge(&made, tree, &Folder::open_itself(dest)?, overwrite)?;
                own.clear();
            }
        }
        around.sync()?;
        self.put_in_place(blob, tree, dest)?;
        self.end_place(blob, &staging);
        self.others_at(dest, tree)
    }

    /// Records the tree at its destination: all of it, or the chunks that are whole there.
    fn put_in_place(&self, blob: &Blob, tree: &Finished<'_>, dest: &Path) -> Result<(), StoreError> {
        let place = BlobLocation::Tree { root: dest.to_owned(), dir: tree.dir };
        let mut have = blob.have();
        blob.extents.unreadable(blob.geometry()).iter().for_each(|c| have.clear(c));
        if have.is_full() && tree.plan.is_whole() {
            return self.completed(blob, place, None);
        }
        let id = blob.id();
        if self.record(id).is_some_and(|record| record.state == StoredState::Complete) {
            return Ok(());
        }
        self.set_have(blob, &have)?;
        self.replace(id, |now| {
            let now = now?;
            Some(Record { place, state: StoredState::Partial, ..now })
        })?;
        Ok(())
    }

    /// Replaces the have-map of a blob.
    fn set_have(&self, blob: &Blob, have: &Bitmap) -> Result<(), DiskError> {
        *blob.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        self.write_have(blob.id(), have)
    }

    fn write_have(&self, id: ContentId, have: &Bitmap) -> Result<(), DiskError> {
        let dir = self.inner.layout.blob_dir(id);
        let _ = std::fs::remove_file(dir.join("have"));
        let (mut map, _) = HaveFile::open(&dir, id, have.len())?;
        map.append(have)
    }

    /// Turns a complete blob into a partial one without chunks; its place stays the same.
    ///
    /// # Errors
    /// The disk.
    pub fn demote(&self, id: ContentId) -> Result<(), StoreError> {
        let Some(record) = self.record(id).filter(|record| record.state != StoredState::Partial) else {
            return Ok(());
        };
        if let Ok(geometry) = crate::content::geometry::Geometry::new(record.len) {
            self.write_have(id, &Bitmap::new(geometry.chunks()))?;
        }
        Ok(self
            .replace(id, |now| now.map(|now| Record { state: StoredState::Partial, origin: false, ..now }))?)
    }

    /// Turns a complete blob into a partial one that has only the `good` chunks where it lies; with `None` it
    /// has none.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_good(&self, id: ContentId, good: Option<&Bitmap>) -> Result<(), StoreError> {
        self.demote(id)?;
        Ok(good.map_or(Ok(()), |good| self.write_have(id, good))?)
    }

    /// Updates the records of other versions in the same folder: they keep the chunks that the new version
    /// left.
    fn others_at(&self, dest: &Path, tree: &Finished<'_>) -> Result<(), StoreError> {
        for record in self.folders() {
            let BlobLocation::Tree { root, dir } = &record.place else { continue };
            if root != dest || *dir == tree.dir {
                continue;
            }
            if record.origin {
                self.mark(record.id, StoredState::Changed);
                continue;
            }
            let kept = self.still_there(&record, *dir, dest);
            if record.state == StoredState::Complete && kept.as_ref().is_some_and(Bitmap::is_full) {
                continue;
            }
            match kept {
                Some(kept) => self.write_have(record.id, &kept)?,
                None => self.demote(record.id)?,
            }
            self.replace(record.id, |now| now.map(|now| Record { state: StoredState::Partial, ..now }))?;
        }
        Ok(())
    }

    /// Chunks of an earlier version all of whose files are as they were put there; `None` if that cannot be
    /// told.
    fn still_there(&self, record: &Record, dir: ContentId, dest: &Path) -> Option<Bitmap> {
        if record.seal.is_some() {
            return None;
        }
        let geometry = crate::content::geometry::Geometry::new(record.len).ok()?;
        let had = match record.state {
            StoredState::Partial => {
                let have = self.inner.layout.blob_dir(record.id).join("have");
                super::have::read(&have, record.id, geometry.chunks())
            }
            StoredState::Complete | StoredState::Changed | StoredState::Missing => {
                Bitmap::full(geometry.chunks())
            }
        };
        let manifest = shares::manifest(&self.inner.layout, record, dir).ok()?;
        let folder = Folder::open_itself(dest).ok()?;
        let laid = laid::read(&self.inner.layout, dir).into_iter().find(|laid| laid.root == dest);
        let marks: std::collections::BTreeMap<u32, Mark> =
            laid.into_iter().flat_map(|laid| laid.files).map(|mark| (mark.entry, mark)).collect();
        let mut kept = had;
        let mut start = 0;
        for (at, entry) in manifest.entries.iter().enumerate() {
            let EntryKind::File { size: size @ 1.., .. } = entry.kind else { continue };
            let stat = folder.stat(&entry.path).ok().flatten();
            let mark = u32::try_from(at).ok().and_then(|at| marks.get(&at));
            if !stat.is_some_and(|stat| mark.is_some_and(|mark| mark.is(&stat))) {
                let chunk = |byte| geometry.chunk_at(byte).map_or(0, |chunk| chunk.get());
                (chunk(start)..=chunk(start + size - 1)).for_each(|chunk| kept.clear(chunk));
            }
            start += size;
        }
        Some(kept)
    }

    /// True if the content was published from here.
    #[must_use]
    pub fn is_origin(&self, id: ContentId) -> bool {
        self.record(id).is_some_and(|record| record.origin)
    }

    /// The manifest of the directory that a payload belongs to.
    ///
    /// # Errors
    /// The manifest is not here, or damaged.
    pub fn tree_manifest(&self, record: &Record, dir: ContentId) -> Result<Manifest, StoreError> {
        shares::manifest(&self.inner.layout, record, dir)
    }

    /// The directory that this store put at a path, or has begun to put there; of several the last one.
    #[must_use]
    pub fn tree_at(&self, path: &Path) -> Option<ContentId> {
        let inode = |path: &Path| {
            std::fs::metadata(path).ok().map(|meta| (platform::device(&meta), platform::inode(&meta)))
        };
        let here = inode(path);
        let is_here = |other: &Path| other == path || (here.is_some() && inode(other) == here);
        let mut found = None;
        for record in self.folders() {
            let dir = match &record.place {
                BlobLocation::Tree { root, dir } if is_here(root) => Some(*dir),
                BlobLocation::Part { dest, dir: Some(dir), .. } if is_here(dest) => Some(*dir),
                _ => None,
            };
            if let Some(dir) = dir
                && found.as_ref().is_none_or(|(added, _)| *added < record.added)
            {
                found = Some((record.added, dir));
            }
        }
        found.map(|(_, dir)| dir)
    }

    /// True if a directory was put at a path, or a part of it, or is about to be.
    #[must_use]
    pub fn knows_tree(&self, path: &Path, dir: ContentId, payload: Option<Payload>) -> bool {
        let laid = laid::read(&self.inner.layout, dir).into_iter().find(|laid| laid.root == path);
        if let Some(laid) = laid {
            // The folder of that name may be somebody else's by now: then nothing in it is a file that was
            // put there.
            let (Some(manifest), Ok(folder)) = (self.any_manifest(dir, payload), Folder::open_itself(path))
            else {
                return false;
            };
            return laid.files.iter().any(|mark| {
                let entry = manifest.entries.get(mark.entry as usize);
                let stat = entry.and_then(|entry| folder.stat(&entry.path).ok().flatten());
                stat.is_some_and(|stat| mark.is_file(&stat))
            });
        }
        let place = payload.and_then(|payload| self.record(payload.id)).map(|record| record.place);
        // Earlier versions of this program kept no list of files.
        matches!(place, Some(BlobLocation::Tree { root, dir: of }) if root == path && of == dir)
    }

    fn any_manifest(&self, dir: ContentId, payload: Option<Payload>) -> Option<Manifest> {
        let payload = self.record(payload?.id)?;
        shares::manifest(&self.inner.layout, &payload, dir).ok()
    }
}

/// The entries that are put in place, with their numbers.
fn brought<'a>(tree: &Finished<'a>) -> impl Iterator<Item = (usize, &'a ManifestEntry)> {
    let plan = tree.plan;
    tree.manifest.entries.iter().enumerate().filter(move |(at, _)| plan.brings(*at))
}

/// Adds the entries that have no chunks: empty files, empty folders, and links. Links come last, so that
/// nothing is written through one.
fn add_the_rest(made: &Folder, own: &Own, tree: &Finished<'_>) -> Result<(), StoreError> {
    let error = |verb, path: &str, e: io::Error| StoreError::from(made.error(verb, path, e));
    let above = |path: &str| match path.rsplit_once('/') {
        Some((above, _)) => made.make(above).map_err(|e| error("create", above, e)),
        None => Ok(()),
    };
    let note = |path: &str| match made.stat(path) {
        Ok(Some(stat)) => Ok(own.note(OTHER, stat.identity())?),
        Ok(None) => Ok(()),
        Err(e) => Err(error("inspect", path, e)),
    };
    for (_, entry) in brought(tree) {
        let path = entry.path.as_str();
        match &entry.kind {
            EntryKind::File { size: 0, executable, .. } => {
                above(path)?;
                match made.create(path, if *executable { 0o777 } else { 0o666 }) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    made => {
                        made.map_err(|e| error("create", path, e))?;
                        note(path)?;
                    }
                }
            }
            EntryKind::EmptyDir => made.make(path).map_err(|e| error("create", path, e))?,
            EntryKind::File { .. } | EntryKind::Symlink { .. } => {}
        }
    }
    for (_, entry) in brought(tree) {
        if let EntryKind::Symlink { target } = &entry.kind {
            above(&entry.path)?;
            match made.create_link(&entry.path, target) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(|e| error("link", &entry.path, e))?;
                    note(&entry.path)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes files that an earlier run began and that this one was not asked for.
fn drop_the_unwanted(made: &Folder, own: &Own, tree: &Finished<'_>) {
    for (number, path, at) in numbered(tree.manifest).filter(|(_, _, at)| !tree.plan.brings(*at)) {
        let stat = made.stat(path).ok().flatten();
        if stat.is_some_and(|stat| own.made(number, stat.identity())) {
            let _ = made.remove(path);
            let mut above = Path::new(&tree.manifest.entries[at].path).parent();
            while let Some(folder) = above.and_then(Path::to_str).filter(|folder| !folder.is_empty()) {
                let _ = made.remove_dir(folder);
                above = Path::new(folder).parent();
            }
        }
    }
}

/// Returns the marks of the files about to be put in place. Each must be the file that was made and verified.
fn marks(made: &Folder, own: &Own, tree: &Finished<'_>) -> Result<Vec<Mark>, StoreError> {
    let mut numbers: std::collections::BTreeMap<usize, u32> =
        numbered(tree.manifest).map(|(number, _, at)| (at, number)).collect();
    let mut marks = Vec::new();
    for (at, entry) in brought(tree) {
        let stat = made.stat(&entry.path).map_err(|e| made.error("inspect", &entry.path, e))?;
        let number = numbers.remove(&at);
        let ours = |stat: &FileStat| match (&entry.kind, number) {
            (EntryKind::EmptyDir, _) => stat.is_dir(),
            (_, Some(number)) => stat.is_file() && own.made(number, stat.identity()) && stat.names == 1,
            (_, None) => own.made_other(stat.identity()),
        };
        match stat.filter(ours) {
            None => return Err(replaced(made, &entry.path)),
            Some(stat) if entry.kind != EntryKind::EmptyDir => {
                marks.push(Mark::new(u32::try_from(at).unwrap_or(u32::MAX), &stat));
            }
            Some(_) => {}
        }
    }
    Ok(marks)
}

fn replaced(made: &Folder, path: &str) -> StoreError {
    let shown = PrintablePath(made.path().join(path));
    StoreError::Changed(format!("another program has replaced {shown}: it was not put in place"))
}

/// Puts each file under its name in the folder that is there.
fn merge(made: &Folder, tree: &Finished<'_>, into: &Folder, overwrite: bool) -> Result<(), StoreError> {
    for links in [false, true] {
        for (at, entry) in brought(tree) {
            if matches!(entry.kind, EntryKind::Symlink { .. }) != links {
                continue;
            }
            let path = entry.path.as_str();
            let folder = match &entry.kind {
                EntryKind::EmptyDir => Some(path),
                _ => path.rsplit_once('/').map(|(above, _)| above),
            };
            if let Some(folder) = folder {
                let blocked = |e: io::Error| match e.kind() {
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                        let shown = PrintablePath(into.path().join(folder));
                        StoreError::User(format!(
                            "{shown} is no folder, where one must be: -o names another place"
                        ))
                    }
                    _ => into.error("create", folder, e).into(),
                };
                into.make(folder).map_err(blocked)?;
            }
            if entry.kind != EntryKind::EmptyDir {
                put(made, into, path, tree.plan.spots[at], overwrite)?;
            }
        }
    }
    Ok(into.sync_all()?)
}

fn put(made: &Folder, into: &Folder, path: &str, spot: Spot, overwrite: bool) -> Result<(), StoreError> {
    match made.put_new(path, into, path) {
        Ok(()) => return Ok(()),
        Err(NotPut::Disk(e)) => return Err(into.error("rename", path, e).into()),
        Err(NotPut::Taken) => {}
    }
    let shown = || PrintablePath(into.path().join(path));
    if !(overwrite || spot == Spot::Differs) {
        let text = format!("{} is there by now: --overwrite replaces it, -o names another place", shown());
        return Err(StoreError::User(text));
    }
    let there = into.stat(path).map_err(|e| into.error("inspect", path, e))?;
    if there.is_some_and(|there| !there.is_file() && !there.is_link()) {
        return Err(StoreError::User(format!("{} is no file: -o names another place", shown())));
    }
    Ok(made.put_over(path, into, path).map_err(|e| into.error("rename", path, e))?)
}
