//! Beginning, or going on with, a blob that is fetched: its hidden place beside the destination, room on the
//! disk, and completion of its record.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, DiskError};
use super::gc::human;
use super::have::HaveFile;
use super::own::Own;
use super::record::{BlobLocation, Domain, Payload, Record, StoredState};
use super::survey::WritePlan;
use super::{Begin, Blob, Store, StoreError, path_of, recover, shares};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::{EntryKind, Manifest, ManifestEntry};
use crate::id::ContentId;
use crate::limits;

/// Destination of fetched bytes.
#[derive(Debug, Clone)]
pub enum WriteTarget {
    /// The store itself.
    Store,
    /// A file at this absolute path.
    File(PathBuf),
    /// A directory tree.
    Tree {
        /// Absolute path of the tree.
        dest: PathBuf,
        /// Manifest of the directory.
        manifest: Arc<Manifest>,
        /// Id of the directory.
        dir: ContentId,
        /// Plan that says which files are fetched and which are already there.
        plan: Arc<WritePlan>,
    },
}

impl WriteTarget {
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Tree { manifest, .. } => Some(manifest),
            Self::Store | Self::File(_) => None,
        }
    }

    /// Bytes of the files that the plan fetches; `None` if the target is the whole blob.
    fn bytes(&self) -> Option<u64> {
        let Self::Tree { manifest, plan, .. } = self else { return None };
        let size = |(at, entry): (usize, &ManifestEntry)| match entry.kind {
            EntryKind::File { size, .. } if plan.brings(at) => size,
            _ => 0,
        };
        Some(manifest.entries.iter().enumerate().map(size).sum())
    }
}

impl Store {
    /// Begins a blob, or goes on with an earlier run: verified chunks are kept, and chunks that were written
    /// but not entered before a crash are found again.
    ///
    /// # Errors
    /// Too little room, a destination that cannot be written, or the disk.
    pub fn begin(&self, begin: Begin) -> Result<Arc<Blob>, StoreError> {
        if self.inner.read_only {
            return Err(StoreError::User("the store is read-only: nothing can be fetched into it".into()));
        }
        let id = begin.list.id();
        let geometry = begin.list.geometry();
        let dir = self.inner.layout.blob_dir(id);
        let here = self.record(id);
        let domains = domains_of(here.as_ref(), &begin)?;
        let said = here.as_ref().and_then(|r| r.audience).or_else(|| self.audience(begin.of?));
        // The record of a complete blob stays until the copy is complete: what the request says of the blob
        // may be false.
        let is_copy = here.as_ref().is_some_and(|r| r.state == StoredState::Complete);
        let (before, other) = earlier_run(here.filter(|_| !is_copy), &begin)?;
        let seal = shares::sealer(&self.inner.layout, begin.seal, begin.of)?;
        disk::create_dir_all(&dir)?;
        if let Some(other) = other {
            self.clear_places(&other);
        }
        let left = before.as_ref().and_then(|before| match &before.place {
            BlobLocation::Part { staging, .. } => Some(staging.clone()),
            _ => None,
        });
        let staged = self.stage(&begin, before)?;
        let (place, resumes) = (staged.place.clone(), staged.resumes);
        let beside = staged.file.parent().unwrap_or(&staged.file).to_owned();
        let beside = beside.as_path();
        let left = left.filter(|left| *left != staged.file);
        if !resumes && !is_copy {
            let _ = fs::remove_file(dir.join("have"));
        }
        let (map, have) = match is_copy {
            true => (None, Bitmap::new(geometry.chunks())),
            false => HaveFile::open(&dir, id, geometry.chunks()).map(|(map, have)| (Some(map), have))?,
        };
        let wanted = begin.target.bytes().unwrap_or_else(|| geometry.len());
        let missing = wanted.saturating_sub(u64::from(have.count()) * geometry.chunk_size());
        if let Err(full) = self.check_room(&begin.target, id, missing, beside) {
            if let Some(own) = Own::read(&dir, &staged.file).filter(|_| !resumes) {
                own.clear();
            }
            return Err(full);
        }
        let record = Record {
            id,
            kind: begin.list.kind(),
            len: geometry.len(),
            name: begin.name,
            origin: false,
            added: Record::now(),
            place,
            state: StoredState::Partial,
            payload: None,
            of: begin.of,
            audience: begin.audience.or(said),
            seal: begin.seal,
            domains,
        };
        let extents = staged.open(&begin.target)?.sealed(seal);
        if !is_copy {
            self.save_new(&record, &begin.list, None)?;
        }
        let blob = Blob::new(record, begin.list, extents, &have, map);
        let mut blob = if resumes { recover::rescan(blob)? } else { blob };
        blob.left = left;
        Ok(Arc::new(blob))
    }

    /// Fails unless there is room for `missing` bytes and the reserve. Under a quota, room is made by
    /// evicting.
    fn check_room(
        &self,
        target: &WriteTarget,
        id: ContentId,
        missing: u64,
        beside: &Path,
    ) -> Result<(), StoreError> {
        if matches!(target, WriteTarget::Store) {
            self.make_room(missing, Some(id))?;
        }
        match disk::free(beside) {
            Some(free) if free < missing.saturating_add(limits::DISK_RESERVE) && missing > 0 => {
                let text = format!(
                    "{} are needed and {} are free ({} are kept free)",
                    human(missing),
                    human(free),
                    human(limits::DISK_RESERVE)
                );
                let source = std::io::Error::new(std::io::ErrorKind::StorageFull, text);
                Err(DiskError::new("make room in", beside, source).into())
            }
            _ => Ok(()),
        }
    }

    /// Turns the record of a partial blob into a complete one at this place.
    pub(super) fn completed(
        &self,
        blob: &Blob,
        place: BlobLocation,
        payload: Option<Payload>,
    ) -> Result<(), StoreError> {
        let ours = &blob.record;
        let mut taken = true;
        self.replace(ours.id, |now| {
            // A copy takes the place of a complete blob only if that belongs to the same directory or share,
            // and was not published here.
            let stays = |now: &Record| {
                now.state == StoredState::Complete
                    && (now.origin || now.of != ours.of || now.kind != ours.kind)
            };
            taken = !now.as_ref().is_some_and(stays);
            // An audience that was set meanwhile counts.
            let audience = now.as_ref().map_or(ours.audience, |now| now.audience.or(ours.audience));
            let domains = now.map(|now| now.domains).filter(|d| !d.is_empty());
            let domains = domains.unwrap_or_else(|| ours.domains.clone());
            taken.then(|| Record {
                place,
                state: StoredState::Complete,
                payload,
                audience,
                domains,
                ..ours.clone()
            })
        })?;
        if taken {
            let _ = fs::remove_file(self.inner.layout.blob_dir(ours.id).join("have"));
        }
        if taken && let Some(left) = &blob.left {
            // The good bytes of that place were taken over.
            Own::read(&self.inner.layout.blob_dir(ours.id), left).map(|own| own.clear());
        }
        // The sealed bytes that were held for others before the key came are not needed: they are made of the
        // plain bytes from now on.
        if taken && ours.seal.is_some() {
            let _ = fs::remove_file(self.inner.layout.data(ours.id, false));
        }
        Ok(())
    }
}

/// Tells the two uses of an unfinished record apart: (the download that this one goes on with, the download
/// whose bytes it cannot use). Bytes that were fetched sealed cannot go on as plain bytes, nor the other way
/// round.
///
/// # Errors
/// The blob is being fetched as part of something else.
fn earlier_run(here: Option<Record>, begin: &Begin) -> Result<(Option<Record>, Option<Record>), StoreError> {
    match here {
        Some(before) if before.seal != begin.seal => {
            if before.of != begin.of {
                let id = before.id;
                return Err(StoreError::User(format!(
                    "{id} is being fetched as something else: swarm rm it first"
                )));
            }
            Ok((None, Some(before)))
        }
        before => Ok((before, None)),
    }
}

/// Networks in which a begun blob may be offered: those it is already in, else the network of the request.
fn domains_of(here: Option<&Record>, begin: &Begin) -> Result<Vec<Domain>, StoreError> {
    match here {
        Some(here) if here.domains.is_empty() => Ok(vec![begin.domain]),
        Some(here) if here.state == StoredState::Partial && !here.is_of(begin.domain) => {
            let id = here.id;
            Err(StoreError::User(format!(
                "{id} is being fetched in another network: swarm rm it first, or go on there"
            )))
        }
        Some(here) => Ok(here.domains.clone()),
        None => Ok(vec![begin.domain]),
    }
}

impl Blob {
    /// Chunks that this process has not hashed yet, as far as they can be read.
    #[must_use]
    pub(super) fn unproven(&self) -> Bitmap {
        let mut left = self.have();
        let unreadable = self.extents.unreadable(self.geometry());
        let done: Vec<u32> = left.iter().filter(|c| self.proven.get(*c) || unreadable.get(*c)).collect();
        done.into_iter().for_each(|c| left.clear(c));
        left
    }

    /// Path where the bytes of this blob are or will be; `None` if that is in the store.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        path_of(&self.record)
    }

    /// Path of the file that holds the bytes now, if it is one file.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.extents.file().map(|(_, path)| path.to_owned())
    }
}
