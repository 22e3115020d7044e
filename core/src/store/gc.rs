//! Removal of blobs: one by request, those that nothing refers to any longer, and those that a quota has no
//! room for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::own::Own;
use super::record::{BlobLocation, Record, StoredState};
use super::{Store, StoreError, path_of, recover};
use crate::id::ContentId;
use crate::platform;

/// Longest time between the end of standard input and its publication.
const HANDED_OVER: Duration = Duration::from_secs(60);
/// Longest time that a command reads its standard input without touching the file.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Result of [`Store::gc`]: what it deleted, or would delete.
#[derive(Debug, Default)]
pub struct Collected {
    /// Bytes freed.
    pub freed: u64,
    /// Ids of blobs, and file names.
    pub removed: Vec<String>,
}

impl Store {
    /// Forgets a blob and, for a directory, the bytes of its files. The bytes in the store are deleted, and
    /// those that a download left beside its destination; files served in place are left alone. Returns the
    /// bytes freed.
    pub fn remove(&self, id: ContentId) -> u64 {
        let Some(record) = self.record(id) else { return 0 };
        let payload = record.payload.and_then(|p| self.record(p.id));
        let payload = payload.filter(|p| p.of == Some(id)).map_or(0, |payload| self.discard(&payload));
        payload + self.discard(&record)
    }

    /// Forgets a blob whose bytes are gone or have changed, so that it can be fetched again. Files outside
    /// the store are left alone.
    pub fn drop_record(&self, id: ContentId) {
        self.forget(id);
    }

    /// Removes a record and its folder, and nothing else.
    pub(super) fn forget(&self, id: ContentId) {
        let changing = self.changing(id);
        self.inner.meta.remove(id);
        let _ = fs::remove_dir_all(self.inner.layout.blob_dir(id));
        if let Ok(mut changes) = changing {
            let _ = self.changed(&mut changes);
        }
    }

    fn discard(&self, record: &Record) -> u64 {
        let mut freed = size_of(&self.inner.layout.blob_dir(record.id));
        freed += self.clear_places(record);
        self.forget(record.id);
        freed
    }

    /// Removes the files that a download made outside the store, and nothing that others put there. Returns
    /// the bytes freed.
    pub(super) fn clear_places(&self, record: &Record) -> u64 {
        self.adopt_old(record);
        let mut freed = 0;
        for own in Own::all(&self.inner.layout.blob_dir(record.id)) {
            let place = own.place().to_owned();
            let before = size_of(&place);
            own.clear();
            freed += before - size_of(&place).min(before);
        }
        freed
    }

    /// Deletes (or with `dry_run` only names) leftovers of crashes and records whose files are gone.
    pub fn gc(&self, dry_run: bool) -> Collected {
        let mut collected = Collected::default();
        for record in self.records().into_iter().filter(is_orphan) {
            collected.removed.push(record.id.to_string());
            collected.freed += size_of(&self.inner.layout.blob_dir(record.id));
            if !dry_run {
                self.discard(&record);
            }
        }
        if self.inner.claims.is_empty() {
            self.clear_left(dry_run, &mut collected);
        }
        let folders = fs::read_dir(self.inner.layout.blobs()).into_iter().flatten().flatten();
        let blobs = folders.flat_map(|shelf| fs::read_dir(shelf.path()).into_iter().flatten().flatten());
        let strays = blobs.map(|b| b.path()).filter(|dir| recover::record_in(dir).is_none());
        let incoming =
            fs::read_dir(self.inner.layout.incoming()).into_iter().flatten().flatten().map(|f| f.path());
        let incoming = incoming.filter(|path| is_abandoned(path));
        for path in strays.chain(incoming) {
            collected.freed += size_of(&path);
            collected.removed.push(path.display().to_string());
            if !dry_run {
                let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            }
        }
        collected
    }

    /// Removes hidden places that no download will go on with.
    fn clear_left(&self, dry_run: bool, collected: &mut Collected) {
        for record in self.records() {
            for own in Own::all(&self.inner.layout.blob_dir(record.id)) {
                let place = own.place().to_owned();
                let goes_on =
                    matches!(&record.place, BlobLocation::Part { staging, .. } if *staging == place);
                if goes_on || !own.stands() {
                    continue;
                }
                collected.freed += size_of(&place);
                collected.removed.push(place.display().to_string());
                if !dry_run {
                    own.clear();
                }
            }
        }
    }

    /// Removes old files of killed commands from the folder for standard input.
    pub(super) fn clear_incoming(&self) {
        let entries = fs::read_dir(self.inner.layout.incoming()).into_iter().flatten().flatten();
        let old =
            |e: &fs::DirEntry| e.metadata().ok()?.modified().ok()?.elapsed().ok().filter(|age| *age > STALE);
        for entry in entries.filter(|e| old(e).is_some()) {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Bytes that the store holds itself.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.records().iter().filter(|r| r.place == BlobLocation::Store).map(|r| r.len).sum()
    }

    /// Makes room for `bytes` more under the quota. The oldest complete blobs that were fetched from others
    /// go first; never a blob that is being fetched or was published here, and never `but`, which is about to
    /// be copied.
    ///
    /// # Errors
    /// [`StoreError::User`] if that is not enough.
    pub(super) fn make_room(&self, bytes: u64, but: Option<ContentId>) -> Result<(), StoreError> {
        let Some(most) = self.inner.max_store else { return Ok(()) };
        let mut stored = self.stored();
        let mut evictable: Vec<Record> = self
            .records()
            .into_iter()
            .filter(|r| {
                r.place == BlobLocation::Store
                    && r.state == StoredState::Complete
                    && !r.origin
                    && r.payload.is_none()
                    && Some(r.id) != but
            })
            .collect();
        let least = stored - evictable.iter().map(|r| r.len).sum::<u64>();
        if least.saturating_add(bytes) > most {
            return Err(StoreError::User(format!(
                "{} do not fit into the store: {} of --max-store {} cannot be evicted; raise it, or fetch to a \
                 file with -o",
                human(bytes),
                human(least),
                human(most)
            )));
        }
        evictable.sort_unstable_by_key(|r| r.added);
        for record in evictable {
            if stored.saturating_add(bytes) <= most {
                break;
            }
            stored -= record.len;
            tracing::info!(id = %record.id, "evicted for the quota");
            self.discard(&record);
        }
        Ok(())
    }
}

/// Writes bytes for a person: a whole number below 1 KiB, otherwise with one digit after the point.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// True for standard input that nobody writes or publishes. Its writer holds a lock on it and publishes it at
/// once.
fn is_abandoned(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
    let locked = || fs::File::open(path).is_ok_and(|file| file.try_lock().is_err());
    age.is_some_and(|age| age > HANDED_OVER) && !locked()
}

/// True for a record whose bytes can no longer be had.
fn is_orphan(record: &Record) -> bool {
    match (&record.place, record.state) {
        (BlobLocation::Part { staging, .. }, _) => fs::symlink_metadata(staging).is_err(),
        (BlobLocation::File { .. } | BlobLocation::Tree { .. }, _) => {
            path_of(record).is_none_or(|p| !p.exists())
        }
        (BlobLocation::Store, _) => false,
    }
}

fn size_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return platform::allocated_bytes(&meta);
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|e| size_of(&e.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn bytes_are_written_in_human_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (25_165_824, "24.0 MiB"),
            (67_108_864, "64.0 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
