//! Beginning (or going on with) a blob that is fetched: its hidden place beside the destination.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, DiskError};
use super::extents::{Extents, Tree};
use super::have::HaveFile;
use super::record::{Domain, Payload, Place, Record, State};
use super::{Begin, Blob, Store, StoreError, path_of, recover, shares};
use crate::content::bitmap::Bitmap;
use crate::content::manifest::Manifest;
use crate::content::select::Select;
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
        /// Which of them.
        select: Select,
    },
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
        let (place, file) = match &begin.target {
            Target::Store => (Place::Store, self.inner.layout.data(id, begin.seal.is_some())),
            Target::File(dest) => self.part(dest, id, None)?,
            Target::Tree { dest, dir, .. } => self.part(dest, id, Some(*dir))?,
        };
        disk::create_dir_all(&dir)?;
        let resumes = match before {
            Some(before) => self.move_part(before, &place, &file)?,
            None => false,
        };
        let beside = file.parent().unwrap_or(&file);
        if !resumes {
            self.check_room(&begin.target, id, geometry.len(), beside)?;
        }
        if let Some(Record { place: Place::Part { staging, .. }, .. }) = other {
            let _ = remove_stale(&staging);
        }
        if !resumes {
            if !is_copy {
                let _ = fs::remove_file(dir.join("have"));
            }
            remove_stale(&file)?;
        }
        let (map, have) = match is_copy {
            true => (None, Bitmap::new(geometry.chunks())),
            false => HaveFile::open(&dir, id, geometry.chunks()).map(|(map, have)| (Some(map), have))?,
        };
        if resumes {
            let missing = geometry.len().saturating_sub(u64::from(have.count()) * geometry.chunk_size());
            self.check_room(&begin.target, id, missing, beside)?;
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
        let extents = open_target(&begin.target, &file)?.sealed(seal);
        if !is_copy {
            self.save_new(&record, &begin.list)?;
        }
        let blob = Blob::new(record, begin.list, extents, &have, map);
        let blob = if resumes { recover::rescan(blob)? } else { blob };
        Ok(Arc::new(blob))
    }

    /// Brings what an earlier run left to where this run wants it. False if there is nothing to go on with.
    ///
    /// A crash may come between any two steps, and the record must then name a place where the bytes are: the new name
    /// is made first, then recorded, then the old one goes, which is noted beforehand. Where a file cannot have two names
    /// (a folder, another file system's rules) it is renamed at once.
    fn move_part(&self, before: Record, place: &Place, file: &Path) -> Result<bool, StoreError> {
        let left = match &before.place {
            Place::Part { staging, .. } => staging.clone(),
            Place::Store => self.inner.layout.data(before.id, before.seal.is_some()),
            Place::File { .. } | Place::Tree { .. } => return Ok(false),
        };
        let note = self.inner.layout.blob_dir(before.id).join("moved");
        if left == *file || !left.exists() {
            end_move(&note, file);
            return Ok(left == *file && file.exists());
        }
        if left.is_dir() {
            return Ok(fs::rename(&left, file).is_ok());
        }
        disk::write_atomic(&note, left.as_os_str().as_encoded_bytes(), 0o600)?;
        // It may have that name already: from a run that was killed just here.
        if !same_file(&left, file) && fs::hard_link(&left, file).is_err() {
            let _ = fs::remove_file(&note);
            return Ok(fs::rename(&left, file).is_ok());
        }
        self.save(&Record { place: place.clone(), ..before })?;
        end_move(&note, file);
        Ok(true)
    }

    /// The hidden name beside `dest`, in a folder that is made if missing. It is this store's alone: another's node may be
    /// fetching the same to the same place.
    fn part(
        &self,
        dest: &Path,
        id: ContentId,
        dir: Option<ContentId>,
    ) -> Result<(Place, PathBuf), StoreError> {
        let (Some(parent), Some(name)) = (dest.parent(), dest.file_name()) else {
            let shown = disk::Shown(dest.to_owned());
            return Err(StoreError::User(format!("{shown} is no place for a file: name one with -o")));
        };
        if dest.to_str().is_none() {
            let shown = disk::Shown(dest.to_owned());
            return Err(StoreError::User(format!(
                "{shown} is not UTF-8: a path like that cannot be remembered"
            )));
        }
        fs::create_dir_all(parent).map_err(|e| DiskError::new("create", parent, e))?;
        // Long names are cut so that the hidden one still fits.
        let name = name.to_string_lossy();
        let kept: String = name.chars().take(60).collect();
        let (id, store) = (id.short(), self.inner.layout.tag());
        let staging = parent.join(format!(".{kept}.{id}.{store}.swarm-part"));
        Ok((Place::Part { staging: staging.clone(), dest: dest.to_owned(), dir }, staging))
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

/// What an earlier run left, and nothing can be made of.
fn remove_stale(path: &Path) -> Result<(), DiskError> {
    match if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DiskError::new("remove", path, e)),
        _ => Ok(()),
    }
}

/// The old name of a file that has moved goes, and with it the note of it.
fn end_move(note: &Path, file: &Path) {
    if let Ok(bytes) = disk::read(note) {
        let old = PathBuf::from(std::ffi::OsString::from_vec(bytes));
        if old != file && same_file(&old, file) {
            let _ = fs::remove_file(&old);
        }
        let _ = fs::remove_file(note);
    }
}

/// Two names of one file.
fn same_file(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    inode(one).is_some_and(|one| Some(one) == inode(other))
}

fn open_target(target: &Target, file: &Path) -> Result<Extents, StoreError> {
    match target {
        Target::Store => Ok(Extents::one(disk::open_rw(file, 0o600, true)?, file.to_owned())),
        Target::File(_) => Ok(Extents::one(disk::open_rw(file, 0o666, true)?, file.to_owned())),
        Target::Tree { manifest, select, .. } => {
            match fs::create_dir(file) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(DiskError::new("create", file, e).into());
                }
                _ => {}
            }
            Ok(Extents::tree(Tree::new(file, manifest, |path| select.wants(path), true)?))
        }
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
