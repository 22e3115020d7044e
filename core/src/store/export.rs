//! Beginning (or going on with) a blob that is fetched: its hidden place beside the destination.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, DiskError};
use super::have::HaveFile;
use super::own::Own;
use super::record::{Domain, Payload, Place, Record, State};
use super::survey::Plan;
use super::{Begin, Blob, Store, StoreError, path_of, recover, shares};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::{Entry, EntryKind, Manifest};
use crate::id::ContentId;
use crate::limits;

/// Where fetched bytes go.
#[derive(Debug, Clone)]
pub enum Target {
    /// Into the store itself.
    Store,
    /// Into a file that will be at this absolute path.
    File(PathBuf),
    /// Into a tree that will be at this absolute path.
    Tree {
        /// Where.
        dest: PathBuf,
        /// Its files.
        manifest: Arc<Manifest>,
        /// Its id.
        dir: ContentId,
        /// Which of them are fetched, and which are there.
        plan: Arc<Plan>,
    },
}

impl Target {
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Tree { manifest, .. } => Some(manifest),
            Self::Store | Self::File(_) => None,
        }
    }

    /// Bytes of the files that are brought; `None` if that is all of the blob.
    fn bytes(&self) -> Option<u64> {
        let Self::Tree { manifest, plan, .. } = self else { return None };
        let size = |(at, entry): (usize, &Entry)| match entry.kind {
            EntryKind::File { size, .. } if plan.brings(at) => size,
            _ => 0,
        };
        Some(manifest.entries.iter().enumerate().map(size).sum())
    }
}

impl Store {
    /// Begins a blob, or goes on with what is there of it: verified chunks are kept, and chunks that were written but not
    /// entered before a crash are found again.
    ///
    /// # Errors
    /// Not enough room, a destination that cannot be written, or the disk.
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
        // What is whole here stays what it is until the copy is whole, too: whatever is wanted of it may be a lie.
        let is_copy = here.as_ref().is_some_and(|r| r.state == State::Complete);
        // What was fetched as it travels does not go on as what it is when it is opened, nor the other way round.
        let (before, other) = match here.filter(|_| !is_copy) {
            Some(before) if before.seal != begin.seal => {
                if before.of != begin.of {
                    return Err(StoreError::User(format!(
                        "{id} is being fetched as something else: swarm rm it first"
                    )));
                }
                (None, Some(before))
            }
            before => (before, None),
        };
        let seal = shares::sealer(&self.inner.layout, begin.seal, begin.of)?;
        disk::create_dir_all(&dir)?;
        if let Some(other) = other {
            self.clear_places(&other);
        }
        let left = before.as_ref().and_then(|before| match &before.place {
            Place::Part { staging, .. } => Some(staging.clone()),
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
            state: State::Partial,
            payload: None,
            of: begin.of,
            audience: begin.audience.or(said),
            seal: begin.seal,
            domains,
        };
        let extents = staged.open(&begin.target)?.sealed(seal);
        if !is_copy {
            self.save_new(&record, &begin.list)?;
        }
        let blob = Blob::new(record, begin.list, extents, &have, map);
        let mut blob = if resumes { recover::rescan(blob)? } else { blob };
        blob.left = left;
        Ok(Arc::new(blob))
    }

    /// Enough room for `missing` bytes, with the reserve; a quota's room is made by evicting.
    fn check_room(
        &self,
        target: &Target,
        id: ContentId,
        missing: u64,
        beside: &Path,
    ) -> Result<(), StoreError> {
        if matches!(target, Target::Store) {
            self.make_room(missing, Some(id))?;
        }
        match disk::free(beside) {
            Some(free) if free < missing.saturating_add(limits::DISK_RESERVE) && missing > 0 => {
                let text = format!(
                    "{missing} bytes are needed and {free} are free ({} are kept free)",
                    limits::DISK_RESERVE
                );
                let source = std::io::Error::new(std::io::ErrorKind::StorageFull, text);
                Err(DiskError::new("make room in", beside, source).into())
            }
            _ => Ok(()),
        }
    }

    /// What is there of a blob changes from `Partial` to complete at this path.
    pub(super) fn completed(
        &self,
        blob: &Blob,
        place: Place,
        payload: Option<Payload>,
    ) -> Result<(), StoreError> {
        let ours = &blob.record;
        let mut taken = true;
        self.replace(ours.id, |now| {
            // A copy of what is whole here takes its place only if that is of the same directory or share, and not published here.
            let stays = |now: &Record| {
                now.state == State::Complete && (now.origin || now.of != ours.of || now.kind != ours.kind)
            };
            taken = !now.as_ref().is_some_and(stays);
            // What was said of it meanwhile counts.
            let audience = now.as_ref().map_or(ours.audience, |now| now.audience.or(ours.audience));
            let domains = now.map(|now| now.domains).filter(|d| !d.is_empty());
            let domains = domains.unwrap_or_else(|| ours.domains.clone());
            taken.then(|| Record {
                place,
                state: State::Complete,
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
            // Its good bytes were taken over.
            Own::read(&self.inner.layout.blob_dir(ours.id), left).map(|own| own.clear());
        }
        // What was held for others before its key came: it is made of the plain bytes from now on.
        if taken && ours.seal.is_some() {
            let _ = fs::remove_file(self.inner.layout.data(ours.id, false));
        }
        Ok(())
    }
}

/// Where a blob may be offered that is begun: where it already is, or there.
fn domains_of(here: Option<&Record>, begin: &Begin) -> Result<Vec<Domain>, StoreError> {
    match here {
        Some(here) if here.domains.is_empty() => Ok(vec![begin.domain]),
        Some(here) if here.state == State::Partial && !here.is_of(begin.domain) => {
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
    /// The chunks that this process has not hashed yet, as far as they can be read.
    #[must_use]
    pub(super) fn unproven(&self) -> Bitmap {
        let mut left = self.have();
        let unreadable = self.extents.unreadable(self.geometry());
        let done: Vec<u32> = left.iter().filter(|c| self.proven.get(*c) || unreadable.get(*c)).collect();
        done.into_iter().for_each(|c| left.clear(c));
        left
    }

    /// Where the bytes of this blob are, or will be.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        path_of(&self.record)
    }

    /// The file that holds the bytes now, if it is one file.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.extents.file().map(|(_, path)| path.to_owned())
    }
}
