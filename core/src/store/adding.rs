//! New blobs: hash list and record, written and flushed together.
//!
//! A new blob has nothing that a crash could damage, so that the order of its writes does not matter: list
//! and record prove themselves, and a blob without either is unknown. All names are made first. Then the
//! files are flushed at once, and then their folders. On a journalling file system all of this is one commit
//! of the journal, where a flush after each step is five; commands that run at once share a commit.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use super::disk::{self, DiskError};
use super::record::Record;
use super::{Store, list_file};
use crate::content::tree::HashList;

impl Store {
    /// Writes a blob's folder: list and record, flushed. `source` is a file whose bytes are to be flushed as
    /// well. A record that was there before is replaced so that a crash leaves one of both.
    pub(super) fn save_new(
        &self,
        record: &Record,
        list: &HashList,
        source: Option<(&File, &Path)>,
    ) -> Result<(), DiskError> {
        let dir = self.inner.layout.blob_dir(record.id);
        let shelf = dir.parent().unwrap_or(&dir);
        // The parent folder may be new as well.
        let blobs = self.inner.layout.blobs();
        disk::create_dir_all(&dir)?;
        let (listed, info) = (dir.join("list"), dir.join("info"));
        if info.exists() || self.inner.read_only {
            source.map_or(Ok(()), |(file, path)| disk::sync(file, path))?;
            disk::write_atomic(&listed, &list_file(list), 0o600)?;
            self.save(record)?;
            disk::sync_dir(shelf)?;
            return disk::sync_dir(&blobs);
        }
        let mut files = vec![(write(&listed, &list_file(list))?, listed)];
        {
            // Other changes go on while this one is flushed.
            let mut changes = self.changing(record.id)?;
            files.push((write(&info, &record.encode())?, info.clone()));
            self.inner.meta.put(record);
            self.changed(&mut changes)?;
        }
        let mut flushes: Vec<(&File, &Path)> = files.iter().map(|(file, path)| (file, &**path)).collect();
        flushes.extend(source);
        let flushed = flush(&flushes).and_then(|()| flush_folders(&[&dir, shelf, &blobs]));
        if flushed.is_err() {
            let _changes = self.changing(record.id)?;
            let _ = fs::remove_file(&info);
            self.inner.meta.remove(record.id);
        }
        flushed
    }
}

/// Writes a file under a temporary name and renames it. It is not flushed yet.
fn write(path: &Path, bytes: &[u8]) -> Result<File, DiskError> {
    let temp: PathBuf = path.with_extension("new");
    let _ = fs::remove_file(&temp);
    let mut file = disk::create_new(&temp, 0o600)?;
    file.write_all(bytes).map_err(|e| DiskError::new("write", &temp, e))?;
    disk::rename(&temp, path)?;
    Ok(file)
}

/// Flushes files, all at once.
fn flush(files: &[(&File, &Path)]) -> Result<(), DiskError> {
    at_once(files, |(file, path)| disk::sync(file, path))
}

/// Flushes the names in folders, all at once.
fn flush_folders(folders: &[&Path]) -> Result<(), DiskError> {
    at_once(folders, |folder| disk::sync_dir(folder))
}

/// Calls `act` for each item on a thread of its own, and returns the first error. Where there are no more
/// threads, the calls come one after another.
fn at_once<T: Copy + Send>(
    items: &[T],
    act: impl Fn(T) -> Result<(), DiskError> + Sync,
) -> Result<(), DiskError> {
    let Some((first, rest)) = items.split_first() else { return Ok(()) };
    let act = &act;
    thread::scope(|scope| {
        let start = |item: &T| {
            let item = *item;
            thread::Builder::new().spawn_scoped(scope, move || act(item)).map_err(|_| item)
        };
        let others: Vec<_> = rest.iter().map(start).collect();
        let mut result = act(*first);
        for other in others {
            let done = match other {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(ended())),
                Err(item) => act(item),
            };
            result = result.and(done);
        }
        result
    })
}

/// Returns the error for a thread that panicked: it flushed nothing.
fn ended() -> DiskError {
    DiskError::new("flush", Path::new("the store"), std::io::Error::other("a thread ended"))
}
