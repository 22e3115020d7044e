//! Checks of the disk against the records. Files that are served in place may be edited, moved or deleted by
//! anybody at any time. A look compares only metadata; bytes are read where that does not decide.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::{PrintablePath, Stamp};
use super::record::{BlobLocation, Record, StoredState};
use super::{Store, StoreError, path_of, recover, shares};
use crate::content::manifest::{EntryKind, Manifest};
use crate::id::ContentId;
use crate::platform;

/// Count of changed or missing files of a folder that a message names.
const NAMED: usize = 3;

/// Result of a look at the place of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nothing differs from the record.
    Same,
    /// Files are missing, or cannot be read. Holds their names.
    Gone(Vec<String>),
    /// Files have another length. Holds their names.
    Changed(Vec<String>),
    /// Files were touched, and only their bytes tell whether they changed. Holds the names within a folder,
    /// or that of the file itself.
    Touched(Vec<String>),
}

/// Outcome of bringing a record in line with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The record did not change.
    As(StoredState),
    /// A complete record is no longer complete.
    Lost(StoredState),
    /// An incomplete record is complete again.
    Healed,
}

impl Sight {
    fn state(&self) -> Option<StoredState> {
        match self {
            Self::Same | Self::Touched(_) => None,
            Self::Gone(_) => Some(StoredState::Missing),
            Self::Changed(_) => Some(StoredState::Changed),
        }
    }
}

/// Metadata of a file as it would be opened; fails if it is no file, or may not be read.
fn look_at(path: &Path) -> io::Result<Metadata> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    platform::can_read(path)?;
    Ok(meta)
}

/// True if an error means that a file cannot be had; other errors may pass.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

impl Store {
    /// Looks whether the bytes of a record are in their place. With `each`, looks at every file of a folder,
    /// else only at the folder.
    #[must_use]
    pub fn look(&self, record: &Record, each: bool) -> Sight {
        let own = self.inner.layout.data(record.id, record.seal.is_some());
        let name = |path: &Path| vec![PrintablePath(path.to_owned()).to_string()];
        match &record.place {
            BlobLocation::Part { .. } => Sight::Same,
            BlobLocation::Store => match fs::metadata(&own) {
                Ok(meta) if meta.len() == record.plain_len() || record.state == StoredState::Partial => {
                    Sight::Same
                }
                Ok(_) => Sight::Changed(name(&own)),
                Err(error) if is_gone(&error) && record.state != StoredState::Partial => {
                    Sight::Gone(name(&own))
                }
                Err(_) => Sight::Same,
            },
            BlobLocation::File { path, stamp } => match look_at(path) {
                Ok(meta) if meta.len() != record.plain_len() => Sight::Changed(name(path)),
                Ok(meta) if Stamp::from(&meta).is_like(stamp) => Sight::Same,
                Ok(_) => Sight::Touched(name(path)),
                Err(error) if is_gone(&error) => Sight::Gone(name(path)),
                Err(_) => Sight::Same,
            },
            BlobLocation::Tree { root, dir } => match fs::metadata(root) {
                Ok(meta) if !meta.is_dir() => Sight::Gone(name(root)),
                Ok(_) if each => self.look_into(record, root, *dir),
                Err(error) if is_gone(&error) => Sight::Gone(name(root)),
                Ok(_) | Err(_) => Sight::Same,
            },
        }
    }

    /// Looks at each file of a folder.
    fn look_into(&self, record: &Record, root: &Path, dir: ContentId) -> Sight {
        let Ok(manifest) = shares::manifest(&self.inner.layout, record, dir) else { return Sight::Same };
        // The record was written when all files were in place.
        let info = self.inner.layout.blob_dir(record.id).join("info");
        let remembered = fs::metadata(info).map_or((i64::MAX, 0), |meta| platform::changed_at(&meta));
        let (mut gone, mut changed, mut touched) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, _, size) in manifest.file_offsets().filter(|(_, _, size)| *size > 0) {
            match look_at(&root.join(&entry.path)) {
                Err(error) if is_gone(&error) => gone.push(entry.path.clone()),
                Err(_) => {}
                Ok(meta) if meta.len() != size => changed.push(entry.path.clone()),
                Ok(meta) if platform::changed_at(&meta) >= remembered => touched.push(entry.path.clone()),
                Ok(_) => {}
            }
        }
        match (gone.is_empty(), changed.is_empty(), touched.is_empty()) {
            (false, ..) => Sight::Gone(gone),
            (_, false, _) => Sight::Changed(changed),
            (.., false) => Sight::Touched(touched),
            _ => Sight::Same,
        }
    }

    /// Brings a record in line with the disk after a look. True if it was complete and is not.
    pub fn glance(&self, record: &Record) -> bool {
        self.seen(record, false)
    }

    /// Brings a record in line with the disk after a look at each file of a folder. True if it was complete
    /// and is not.
    pub fn glance_into(&self, record: &Record) -> bool {
        self.seen(record, true)
    }

    fn seen(&self, record: &Record, each: bool) -> bool {
        if record.state != StoredState::Complete {
            return false;
        }
        self.look(record, each).state().is_some_and(|state| self.mark(record.id, state))
    }

    /// Brings a record in line with the disk; touched files are read. A record that was found to be changed
    /// is examined again only when the user asks for it ([`Store::verify`]).
    ///
    /// # Errors
    /// The disk, or `cancel` was set.
    pub fn settle(&self, record: &Record, cancel: &AtomicBool) -> Result<Settled, StoreError> {
        let stays = Ok(Settled::As(record.state));
        if !matches!(record.state, StoredState::Complete | StoredState::Missing) {
            return stays;
        }
        let sight = self.look(record, true);
        let state = match (&sight, &record.place) {
            (Sight::Touched(files), BlobLocation::Tree { root, dir }) => {
                self.read_files(record, (root, *dir), files, cancel)?
            }
            (Sight::Touched(_), _) => match self.verify(record.id, &|_| {}, cancel) {
                Ok((_, bad)) if bad.is_empty() => StoredState::Complete,
                Ok(_) | Err(StoreError::Changed(_)) => StoredState::Changed,
                Err(other) => return Err(other),
            },
            (sight, _) => sight.state().unwrap_or(StoredState::Complete),
        };
        match (record.state, state) {
            (StoredState::Complete, StoredState::Complete) if matches!(sight, Sight::Touched(_)) => {
                self.mark_whole(record.id)?;
                stays
            }
            (was, now) if was == now => stays,
            (_, StoredState::Complete) => {
                self.mark_whole(record.id)?;
                Ok(Settled::Healed)
            }
            (was, now) => {
                self.mark(record.id, now);
                Ok(if was == StoredState::Complete { Settled::Lost(now) } else { Settled::As(now) })
            }
        }
    }

    /// Reads these files of a folder and returns how they compare with the manifest.
    fn read_files(
        &self,
        record: &Record,
        (root, dir): (&Path, ContentId),
        files: &[String],
        cancel: &AtomicBool,
    ) -> Result<StoredState, StoreError> {
        let manifest: Manifest = shares::manifest(&self.inner.layout, record, dir)?;
        for entry in &manifest.entries {
            let EntryKind::File { id, .. } = entry.kind else { continue };
            if files.binary_search(&entry.path).is_err() {
                continue;
            }
            let mut file = match fs::File::open(root.join(&entry.path)) {
                Ok(file) => file,
                Err(error) if is_gone(&error) => return Ok(StoredState::Missing),
                Err(error) => {
                    return Err(super::DiskError::new("open", &root.join(&entry.path), error).into());
                }
            };
            let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
            loop {
                if cancel.load(Ordering::Relaxed) {
                    return Err(StoreError::Cancelled);
                }
                match io::Read::read(&mut file, &mut buffer) {
                    Ok(0) => break,
                    Ok(got) => drop(hasher.update(&buffer[..got])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        return Err(super::DiskError::new("read", &root.join(&entry.path), error).into());
                    }
                }
            }
            if ContentId::from(hasher.finalize()) != id {
                return Ok(StoredState::Changed);
            }
        }
        Ok(StoredState::Complete)
    }

    /// Marks a complete record as no longer complete. True if that is new; it is then logged, once: of
    /// several threads that find the same loss, the one that changes the record reports it.
    pub fn mark(&self, id: ContentId, state: StoredState) -> bool {
        let differs = |record: &Record| record.state != StoredState::Partial && record.state != state;
        let Some(record) = self.record(id).filter(differs) else { return false };
        let mut was = None;
        let marked = |present: Option<Record>| {
            let present = present.filter(differs)?;
            was = Some(present.state);
            Some(Record { state, ..present })
        };
        let saved = if self.inner.read_only {
            self.replace_in_memory(id, marked);
            Ok(())
        } else {
            self.replace(id, marked)
        };
        if saved.is_ok() && was.is_none() {
            return false;
        }
        let path = PrintablePath(
            path_of(&record).unwrap_or_else(|| self.inner.layout.data(id, record.seal.is_some())),
        );
        match state {
            StoredState::Missing => {
                tracing::error!(%id, %path, "what is shared is gone: it is shared no longer")
            }
            _ => tracing::error!(%id, %path, "what is shared has changed: it is shared no longer"),
        }
        if let Err(error) = saved {
            tracing::warn!(%id, %error, "that cannot be remembered");
        }
        was.unwrap_or(record.state) == StoredState::Complete
    }

    /// Replaces the record of `id` in the index of a read-only store, which forgets it at the end of the run.
    fn replace_in_memory(&self, id: ContentId, make: impl FnOnce(Option<Record>) -> Option<Record>) {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = make(self.inner.meta.get(id)) {
            self.inner.meta.put(&record);
        }
    }

    /// Opens a blob for reading. A missing or replaced source is marked; the second value is true if that is
    /// new.
    #[must_use]
    pub fn open_or_mark(&self, id: ContentId) -> (Option<std::sync::Arc<super::Blob>>, bool) {
        let Some(record) = self.record(id) else { return (None, false) };
        match recover::open(&self.inner.layout, &record) {
            Ok(blob) => (Some(std::sync::Arc::new(blob)), false),
            Err(error) => {
                tracing::info!(%id, %error, "blob cannot be opened");
                (None, self.glance(&record))
            }
        }
    }

    /// True if a blob is complete here, and so is its payload.
    #[must_use]
    pub fn is_whole(&self, id: ContentId) -> bool {
        let whole = |record: &Record| record.state == StoredState::Complete;
        let Some(record) = self.record(id).filter(whole) else { return false };
        record.payload.is_none_or(|p| p.len == 0 || self.record(p.id).as_ref().is_some_and(whole))
    }

    /// True if peers can fetch it here: all of it, or the part of a directory that is in place.
    #[must_use]
    pub fn is_offered(&self, id: ContentId) -> bool {
        let Some(record) = self.record(id).filter(Record::is_offered) else { return false };
        record
            .payload
            .is_none_or(|p| p.len == 0 || self.record(p.id).as_ref().is_some_and(Record::is_offered))
    }

    /// The blob, and the directory or share that it is the payload of: neither can be fetched once its bytes
    /// are gone.
    #[must_use]
    pub fn with_whole(&self, id: ContentId) -> Vec<ContentId> {
        let of = self.record(id).and_then(|record| record.of);
        std::iter::once(id).chain(of).collect()
    }

    /// Finds content that was published from a path (or put there) before `by`, and is no longer there, and
    /// marks it.
    pub fn superseded(&self, path: &Path, by: &Record, cancel: &AtomicBool) -> Vec<Record> {
        let new = [Some(by.id), by.payload.map(|payload| payload.id)];
        let here = |r: &Record| r.state == StoredState::Complete && !new.contains(&Some(r.id));
        let older = self.at_path(path).into_iter().filter(here);
        let plain = |r: &Record| r.seal.is_none() && matches!(r.place, BlobLocation::File { .. });
        let read_whole =
            self.record(by.id).is_some_and(|by| plain(&by) && path_of(&by).as_deref() == Some(path));
        let lost = |r: &Record| {
            // The file that was just read is another one.
            let other = read_whole && plain(r);
            if other {
                self.mark(r.id, StoredState::Changed)
            } else {
                matches!(self.settle(r, cancel), Ok(Settled::Lost(_)))
            }
        };
        older.filter(lost).collect()
    }

    /// Records, out of these, whose bytes are gone or changed, with a text for the owner: what happened, and
    /// the command to type. At most `most`.
    #[must_use]
    pub fn troubles(&self, records: &[Record], most: usize) -> Vec<(ContentId, String)> {
        let lost = |record: &&Record| self.lost_part(record).is_some();
        let lost: Vec<&Record> = records.iter().filter(lost).take(most).collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let mut present = BTreeMap::new();
        for record in self.records().into_iter().filter(|r| r.state == StoredState::Complete) {
            present.extend(path_of(&record).map(|path| (path, record.of.unwrap_or(record.id))));
        }
        let said =
            |record: &&Record| Some((record.id, self.trouble(record, &self.lost_part(record)?, &present)));
        lost.iter().filter_map(said).collect()
    }

    /// The part of a record whose bytes are gone or changed: the record itself, or its payload.
    fn lost_part(&self, record: &Record) -> Option<Record> {
        let part = match record.payload.filter(|payload| payload.len > 0) {
            Some(payload) if record.state == StoredState::Complete => self.record(payload.id)?,
            _ => record.clone(),
        };
        matches!(part.state, StoredState::Missing | StoredState::Changed).then_some(part)
    }

    fn trouble(&self, record: &Record, lost: &Record, present: &BTreeMap<PathBuf, ContentId>) -> String {
        let (id, since) = (record.id.short(), if lost.origin { "published" } else { "fetched" });
        let Some(path) = path_of(lost) else {
            return format!("is gone from the store, or damaged there: swarm get {id} fetches it again");
        };
        let at = typed(&path);
        let sight = self.look(lost, true);
        // A changed file may have gone since.
        let state = if matches!(sight, Sight::Gone(_)) { StoredState::Missing } else { lost.state };
        let files = match (&lost.place, sight) {
            (
                BlobLocation::Tree { .. },
                Sight::Gone(files) | Sight::Changed(files) | Sight::Touched(files),
            ) => some_of(&files),
            _ => String::new(),
        };
        let verify = format!("swarm verify {id}");
        match (state, present.get(&path)) {
            (StoredState::Missing, _) => format!(
                "is gone since it was {since}, and is shared no longer ({at}{files}): put it back and type {verify}, \
                 or forget it with swarm rm {id}"
            ),
            (_, Some(now)) => format!(
                "has changed since it was {since}, and is shared no longer ({at}{files}): what is there now is shared \
                 as {}",
                now.short()
            ),
            (_, None) => format!(
                "has changed since it was {since}, and is shared no longer ({at}{files}): swarm publish {at} shares \
                 what is there now; if the old bytes come back, type {verify}"
            ),
        }
    }
}

/// Lists a few names of many.
fn some_of(files: &[String]) -> String {
    let shown: Vec<String> =
        files.iter().take(NAMED).map(|name| PrintablePath(PathBuf::from(name)).to_string()).collect();
    let more = match files.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(": {}{more}", shown.join(", "))
}

/// Formats a path as it is typed.
fn typed(path: &Path) -> String {
    let shown = PrintablePath(path.to_owned()).to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    if shown.chars().all(plain) || shown.contains('\'') { shown } else { format!("'{shown}'") }
}

#[cfg(test)]
mod tests;
