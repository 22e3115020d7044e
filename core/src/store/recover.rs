//! Recovery and verification: the index from the records on disk, and chunks from the bytes on disk.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::disk::{self, DiskError, Stamp};
use super::extents::{Extents, Tree};
use super::have::{self, HaveFile};
use super::layout::Layout;
use super::meta::Meta;
use super::record::{BlobLocation, Record, StoredState};
use super::{Blob, OpenError, ReadError, Store, StoreError, read_list, shares};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::id::ContentId;
use crate::platform;

/// Fills the index from the records on disk.
pub(super) fn rebuild(layout: &Layout, meta: &Meta) -> Result<(), OpenError> {
    meta.clear();
    let folder = layout.blobs();
    let shelves = match fs::read_dir(&folder) {
        Ok(shelves) => shelves,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DiskError::new("list", &folder, e).into()),
    };
    let shelves: Vec<_> = shelves.flatten().map(|s| s.path()).collect();
    shelves.par_iter().for_each(|shelf| {
        for blob in fs::read_dir(shelf).into_iter().flatten().flatten() {
            if let Some(record) = record_in(&blob.path()) {
                meta.put(&record);
            }
        }
    });
    Ok(())
}

/// Reads the record in a blob's folder, if it is undamaged and belongs to the folder.
pub(super) fn record_in(dir: &Path) -> Option<Record> {
    let record = Record::decode(&fs::read(dir.join("info")).ok()?)?;
    (dir.file_name()?.to_str()? == record.id.to_string()).then_some(record)
}

/// Opens a blob for reading.
pub(super) fn open(layout: &Layout, record: &Record) -> Result<Blob, StoreError> {
    let list = read_list(layout, record.id)?;
    let dir = layout.blob_dir(record.id);
    let chunks = list.geometry().chunks();
    let have = match record.state {
        StoredState::Complete => Bitmap::full(chunks),
        StoredState::Partial => have::read(&dir.join("have"), record.id, chunks),
        StoredState::Changed => return Err(StoreError::Changed("the source has changed".into())),
        StoredState::Missing => return Err(StoreError::Changed("the source is gone".into())),
    };
    let extents = open_place(layout, record)?;
    if let (BlobLocation::File { path, .. }, Some((file, _))) = (&record.place, extents.file())
        && Stamp::of(file, path)?.size() != record.plain_len()
    {
        return Err(StoreError::Changed(format!(
            "{} has another size now",
            disk::PrintablePath(path.clone())
        )));
    }
    Ok(Blob::new(record.clone(), list, extents, &have, None))
}

fn open_place(layout: &Layout, record: &Record) -> Result<Extents, StoreError> {
    let one = |path: &Path| {
        // A FIFO in the place of a file must not block us.
        let file = platform::open_without_waiting(path).map_err(|e| DiskError::new("open", path, e))?;
        Ok(Extents::one(file, path.to_owned()))
    };
    let extents = match &record.place {
        BlobLocation::Store => one(&layout.data(record.id, record.seal.is_some())),
        BlobLocation::File { path, .. } => one(path),
        BlobLocation::Part { staging, dir: None, .. } => one(staging),
        BlobLocation::Part { dir: Some(_), .. } => {
            Err(StoreError::User("a directory that is still being fetched".into()))
        }
        BlobLocation::Tree { root, dir } => {
            let manifest = shares::manifest(layout, record, *dir)?;
            Ok(Extents::tree(Tree::new(root, &manifest)?))
        }
    };
    Ok(extents?.sealed(shares::sealer(layout, record.seal, record.of)?))
}

/// Hashes chunks whose bytes are on disk but not in the have-map (the process died between the two), and
/// marks the good ones.
pub(super) fn rescan(blob: Blob) -> Result<Blob, StoreError> {
    let geometry = blob.geometry();
    let mut candidates = blob.extents.allocated(geometry);
    let marked = blob.have();
    marked.iter().for_each(|c| candidates.clear(c));
    let bad = check(&blob, &candidates, &|_| true)?;
    let mut have = marked;
    candidates.iter().filter(|c| !bad.get(*c)).for_each(|c| have.set(c));
    let Blob { record, list, extents, map, .. } = blob;
    let mut map = map.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(map) = &mut map {
        extents.sync()?;
        map.append(&have)?;
    }
    Ok(Blob::new(record, list, extents, &have, map))
}

/// Reads these chunks on all cores and returns the bad ones. `on` gets the length of each chunk in bytes and
/// stops the check by returning false.
pub(super) fn check(
    blob: &Blob,
    chunks: &Bitmap,
    on: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Bitmap, StoreError> {
    let all: Vec<u32> = chunks.iter().collect();
    let failed: Result<Vec<Option<u32>>, StoreError> = all
        .par_iter()
        .map_init(Vec::new, |buffer, &number| {
            let Some(chunk) = blob.geometry().chunk(number) else { return Ok(None) };
            if !on(blob.geometry().size(chunk) as u64) {
                return Err(StoreError::Cancelled);
            }
            match blob.read_anyway(chunk, buffer) {
                Ok(()) => {
                    blob.proven.set(number);
                    Ok(None)
                }
                Err(ReadError::Disk(e)) => Err(e.into()),
                Err(_) => Ok(Some(number)),
            }
        })
        .collect();
    let mut bad = Bitmap::new(chunks.len());
    failed?.into_iter().flatten().for_each(|c| bad.set(c));
    Ok(bad)
}

/// Verifies a copied file against the hashes of its blob.
pub(super) fn check_file(layout: &Layout, copy: &File, path: &Path, blob: &Blob) -> Result<(), StoreError> {
    let changed = || format!("the copy of {} does not verify: its source has changed", blob.id());
    let seal = shares::sealer(layout, blob.record.seal, blob.record.of)?;
    let again = copy.try_clone().map_err(|e| DiskError::new("read", path, e))?;
    let extents = Extents::one(again, path.to_owned()).sealed(seal);
    // The chunk hashes do not cover bytes behind the last chunk.
    if copy.metadata().map_or(0, |meta| meta.len()) != blob.record.plain_len() {
        return Err(StoreError::Changed(changed()));
    }
    let full = Bitmap::full(blob.geometry().chunks());
    let copy = Blob::new(blob.record.clone(), blob.list.clone(), extents, &full, None);
    if check(&copy, &full, &|_| true)?.is_empty() {
        return Ok(());
    }
    Err(StoreError::Changed(changed()))
}

/// Writes the have-map anew, with exactly the chunks that the blob has.
pub(super) fn rewrite_map(layout: &Layout, blob: &Blob) -> Result<(), DiskError> {
    let dir = layout.blob_dir(blob.id());
    let _ = fs::remove_file(dir.join("have"));
    let (mut map, _) = HaveFile::open(&dir, blob.id(), blob.geometry().chunks())?;
    map.append(&blob.have())?;
    *blob.map.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(map);
    Ok(())
}

impl Store {
    /// Bytes of a partial blob that its have-map names, without reading them; 0 if the files with the bytes
    /// are gone.
    #[must_use]
    pub fn verified(&self, id: ContentId) -> u64 {
        let Some(record) = self.record(id).filter(|r| r.state == StoredState::Partial) else { return 0 };
        let part = match &record.place {
            BlobLocation::Part { staging, .. } => staging.clone(),
            BlobLocation::Tree { root, .. } => root.clone(),
            _ => self.inner.layout.data(id, record.seal.is_some()),
        };
        if !part.exists() {
            return 0;
        }
        let Ok(geometry) = Geometry::new(record.len) else { return 0 };
        let have = have::read(&self.inner.layout.blob_dir(id).join("have"), id, geometry.chunks());
        have.iter().filter_map(|c| geometry.chunk(c)).map(|c| geometry.size(c) as u64).sum()
    }

    /// Reads every chunk of a blob again. Returns the blob and its bad chunks; a complete blob with bad
    /// chunks is not served from then on. `progress` gets the length of each chunk in bytes.
    ///
    /// # Errors
    /// The source is gone, the disk, or `cancel` was set.
    pub fn verify(
        &self,
        id: ContentId,
        progress: &(dyn Fn(u64) + Sync),
        cancel: &AtomicBool,
    ) -> Result<(Arc<Blob>, Bitmap), StoreError> {
        let unknown = || StoreError::User(format!("{id} is not in this store"));
        let record = self.record(id).ok_or_else(unknown)?;
        let list = read_list(&self.inner.layout, id)?;
        let chunks = list.geometry().chunks();
        let have = match record.state {
            StoredState::Partial => have::read(&self.inner.layout.blob_dir(id).join("have"), id, chunks),
            StoredState::Complete | StoredState::Changed | StoredState::Missing => Bitmap::full(chunks),
        };
        let extents = open_place(&self.inner.layout, &record)?;
        if let (BlobLocation::File { path, .. }, Some((file, _))) = (&record.place, extents.file())
            && Stamp::of(file, path)?.size() != record.plain_len()
        {
            self.mark(id, StoredState::Changed);
            let shown = disk::PrintablePath(path.clone());
            return Err(StoreError::Changed(format!("{shown} has another size now")));
        }
        let blob = Blob::new(record, list, extents, &have, None);
        let on = |bytes| {
            progress(bytes);
            !cancel.load(Ordering::Relaxed)
        };
        let bad = check(&blob, &have, &on)?;
        match (bad.is_empty(), blob.record.state) {
            (false, StoredState::Partial) => {}
            (false, _) => drop(self.mark(id, StoredState::Changed)),
            (true, StoredState::Changed | StoredState::Missing) => self.mark_whole(id)?,
            (true, _) => {}
        }
        Ok((Arc::new(blob), bad))
    }
}
