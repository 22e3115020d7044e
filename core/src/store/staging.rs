//! The hidden place beside its destination where a download is put together, and found again by a later run.
//!
//! Its name can be guessed, so the place is made and never just opened: a file there is written to only if
//! this store made it ([`Own`]). Where a foreign file stands, another name is taken.

use std::fs;
use std::path::{Path, PathBuf};

use super::beneath::{self, Folder};
use super::disk::{self, DiskError};
use super::extents::{Extents, Tree};
use super::own::{Own, ROOT};
use super::record::{BlobLocation, Record};
use super::{Begin, Store, StoreError, WriteTarget};
use crate::content::manifest::{EntryKind, Manifest};
use crate::id::ContentId;
use crate::platform::{self, FileStat, stat_at, stat_of};

/// Characters of a destination's name that the hidden name begins with: long names are cut so that it still
/// fits.
const NAME: usize = 60;

/// Place where the bytes of a download go.
pub(super) struct Staged {
    pub(super) place: BlobLocation,
    pub(super) file: PathBuf,
    /// True if the download goes on with the bytes of an earlier run.
    pub(super) resumes: bool,
    own: Option<Own>,
}

impl Staged {
    /// Opens the place for writing.
    pub(super) fn open(self, target: &WriteTarget) -> Result<Extents, StoreError> {
        match (target, self.own) {
            (WriteTarget::Tree { manifest, plan, dest, .. }, Some(own)) => {
                Ok(Extents::tree(Tree::to_write(&self.file, manifest, plan, dest, own)?))
            }
            (_, own) => {
                let file = disk::open_rw(&self.file, 0o600, own.is_none())?;
                let seen = stat_of(&file).map_err(|e| DiskError::new("inspect", &self.file, e))?;
                let ours = own.is_none_or(|own| own.made(ROOT, seen.identity()));
                if !ours || !seen.is_file() || seen.names != 1 {
                    return Err(foreign(&self.file));
                }
                Ok(Extents::one(file, self.file))
            }
        }
    }
}

/// Returns the refusal of a hidden place that another program has taken.
fn foreign(path: &Path) -> StoreError {
    let error = std::io::Error::other("another program has put something there");
    DiskError::new("write", path, error).into()
}

impl Store {
    /// Finds or makes the place of a download. `before` is the record of an earlier run.
    pub(super) fn stage(&self, begin: &Begin, before: Option<Record>) -> Result<Staged, StoreError> {
        let id = begin.list.id();
        let (dest, dir) = match &begin.target {
            WriteTarget::Store => {
                let file = self.inner.layout.data(id, begin.seal.is_some());
                let resumes = match before {
                    Some(before) => self.take_over(before, &BlobLocation::Store, &file)?,
                    None => false,
                };
                if !resumes {
                    remove(&file)?;
                }
                return Ok(Staged { place: BlobLocation::Store, file, resumes, own: None });
            }
            WriteTarget::File(dest) => (dest, None),
            WriteTarget::Tree { dest, dir, .. } => (dest, Some(*dir)),
        };
        let beside = beside(dest)?;
        let usual = beside.path().join(self.hidden_name(dest, id));
        let place =
            |staging: &Path| BlobLocation::Part { staging: staging.to_owned(), dest: dest.clone(), dir };
        let folder = self.inner.layout.blob_dir(id);
        let left = before.as_ref().and_then(|before| self.left_at(before));
        // An earlier run may have had to take another name.
        let file = match &left {
            Some(left) if left.parent() == usual.parent() && is_variant(left, &usual) => left.clone(),
            _ => usual,
        };
        let began = before.is_some();
        let is_free = |file: &Path| fs::symlink_metadata(file).is_err();
        let is_ours = |file: &Path| Own::read(&folder, file).is_some_and(|own| own.stands());
        let is_left = left.as_ref().is_some_and(|left| same_file(left, &file));
        if let Some(before) = before
            && (is_free(&file) || is_left || is_ours(&file))
        {
            self.take_over(before, &place(&file), &file)?;
        }
        if let Some(own) = Own::read(&folder, &file).filter(Own::stands) {
            match begin.target.manifest().is_none_or(|manifest| is_all_ours(&file, manifest, &own)) {
                true if began => {
                    return Ok(Staged { place: place(&file), file, resumes: true, own: Some(own) });
                }
                true => {
                    let _ = own.clear();
                }
                // The list does not name these files: they are from a crash of the machine, or somebody
                // else's. They are read, and left alone.
                false => {}
            }
        }
        let name = self.hidden_name(dest, id);
        let file = match is_free(&file) {
            true => file,
            false => {
                let word = beneath::random_word().map_err(|e| DiskError::new("name", &file, e))?;
                beside.path().join(name.replace(".swarm-part", &format!(".{word}.swarm-part")))
            }
        };
        let own = make(&folder, &beside, &file, dir.is_some())?;
        Ok(Staged { place: place(&file), file, resumes: false, own: Some(own) })
    }

    /// Returns the usual name of the hidden place beside `dest`. The name contains a tag of this store: the
    /// node of another store may be fetching the same content to the same place.
    fn hidden_name(&self, dest: &Path, id: ContentId) -> String {
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let kept: String = name.chars().take(NAME).collect();
        format!(".{kept}.{}.{}.swarm-part", id.short(), self.inner.layout.tag())
    }

    /// Place of the bytes of an earlier run.
    fn left_at(&self, before: &Record) -> Option<PathBuf> {
        match &before.place {
            BlobLocation::Part { staging, .. } => Some(staging.clone()),
            BlobLocation::Store => Some(self.inner.layout.data(before.id, before.seal.is_some())),
            BlobLocation::File { .. } | BlobLocation::Tree { .. } => None,
        }
    }

    /// Moves the bytes of an earlier run to the place of this one. False if there is nothing to go on with.
    ///
    /// A crash may come between any two steps, and the record must then name a place where the bytes are: the
    /// new name is made first, then recorded, then the old one goes, which is noted beforehand. A file that
    /// cannot have two names (a folder, or by the rules of its file system) is renamed at once.
    fn take_over(&self, before: Record, place: &BlobLocation, file: &Path) -> Result<bool, StoreError> {
        let Some(left) = self.left_at(&before) else { return Ok(false) };
        let folder = self.inner.layout.blob_dir(before.id);
        let note = folder.join("moved");
        self.adopt_old(&before);
        drop_other_names(&folder, &left, file);
        if left == *file || fs::symlink_metadata(&left).is_err() {
            end_move(&note, file);
            return Ok(left == *file && fs::symlink_metadata(file).is_ok());
        }
        let in_store = before.place == BlobLocation::Store;
        let known = Own::read(&folder, &left);
        let linked = same_file(&left, file);
        let second = |own: &Own| linked && stat_at(&left).is_some_and(|seen| own.is_it(&seen));
        if !in_store && !known.as_ref().is_some_and(|own| own.stands() || second(own)) {
            return Ok(false);
        }
        let Some(seen) = stat_at(&left) else { return Ok(false) };
        let to_store = *place == BlobLocation::Store;
        let new = match (&known, to_store) {
            (_, true) => None,
            (Some(known), false) => Some(known.moved(&folder, file)?),
            (None, false) => {
                let new = Own::begin(&folder, file)?;
                new.note(ROOT, seen.identity())?;
                Some(new)
            }
        };
        let is_link = |left: &Path| linked || fs::hard_link(left, file).is_ok();
        disk::write_atomic(&note, left.as_os_str().as_encoded_bytes(), 0o600)?;
        if seen.is_dir() || !is_link(&left) {
            let _ = fs::remove_file(&note);
            let moved = rename_new(&left, file)?;
            let done = if moved { known } else { new };
            done.iter().for_each(Own::end);
            return Ok(moved);
        }
        self.save(&Record { place: place.clone(), ..before })?;
        end_move(&note, file);
        known.iter().for_each(Own::end);
        Ok(true)
    }

    /// Writes the list of made files for a download that an earlier version began: files there that belong to
    /// this user are entered.
    pub(super) fn adopt_old(&self, record: &Record) {
        let BlobLocation::Part { staging, dir, .. } = &record.place else { return };
        let folder = self.inner.layout.blob_dir(record.id);
        let Ok(meta) = fs::symlink_metadata(staging) else { return };
        let is_ours = platform::is_own(&meta) && !meta.is_symlink();
        if !is_ours || !Own::all(&folder).is_empty() || (meta.is_file() && platform::names(&meta) != 1) {
            return;
        }
        let adopted = Own::begin(&folder, staging).and_then(|own| {
            let seen = stat_at(staging);
            own.note(ROOT, seen.map_or(0, |seen| seen.identity()))?;
            let manifest = dir.and_then(|dir| super::shares::manifest(&self.inner.layout, record, dir).ok());
            let Some(manifest) = manifest.filter(|_| meta.is_dir()) else { return Ok(()) };
            let tree = Folder::open_itself(staging)?;
            for (number, path, _) in numbered(&manifest) {
                let stat = tree.stat(path).ok().flatten().filter(FileStat::is_file);
                if let Some(stat) = stat.filter(|stat| stat.names == 1) {
                    own.note(number, stat.identity())?;
                }
            }
            Ok(())
        });
        if let Err(error) = adopted {
            tracing::info!(%error, "what an earlier version began is left alone");
        }
    }
}

/// Numbers the files of a directory that have bytes; each comes with its path and its entry's number.
pub(super) fn numbered(manifest: &Manifest) -> impl Iterator<Item = (u32, &str, usize)> {
    let with_bytes = manifest
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.kind, EntryKind::File { size: 1.., .. }));
    (0..).zip(with_bytes).map(|(number, (at, entry))| (number, entry.path.as_str(), at))
}

/// Opens the folder that contains a destination, and makes it if missing.
fn beside(dest: &Path) -> Result<Folder, StoreError> {
    let shown = || disk::PrintablePath(dest.to_owned());
    let (Some(parent), Some(_)) = (dest.parent(), dest.file_name()) else {
        return Err(StoreError::User(format!("{} is no place for a file: name one with -o", shown())));
    };
    fs::create_dir_all(parent).map_err(|e| DiskError::new("create", parent, e))?;
    Ok(Folder::open(parent)?)
}

/// Makes the hidden place under a name that is free.
fn make(folder: &Path, beside: &Folder, file: &Path, is_dir: bool) -> Result<Own, StoreError> {
    disk::create_dir_all(folder)?;
    let own = Own::begin(folder, file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let made = match is_dir {
        true => beside.handle().make_folder(&name),
        false => beside.create(&name, 0o666).map(drop),
    };
    let stat = made.and_then(|()| beneath::stat_in(beside, name.as_ref()));
    match stat.map_err(|e| beside.error("create", &name, e))? {
        Some(stat) => own.note(ROOT, stat.identity())?,
        None => return Err(foreign(file)),
    }
    own.sync()?;
    Ok(own)
}

/// True if the hidden folder holds no file of the directory that was not made there.
fn is_all_ours(place: &Path, manifest: &Manifest, own: &Own) -> bool {
    let Ok(folder) = Folder::open_itself(place) else { return false };
    numbered(manifest).all(|(number, path, _)| match folder.stat(path) {
        Ok(Some(stat)) => stat.names == 1 && own.made(number, stat.identity()),
        Ok(None) => true,
        Err(_) => false,
    })
}

/// True if `left` is a name that was chosen because `usual` was taken.
fn is_variant(left: &Path, usual: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (left, usual) = (name(left), name(usual));
    left.starts_with(usual.trim_end_matches("swarm-part")) && left.ends_with(".swarm-part")
}

/// Removes other names of a file of ours, which an interrupted move has left.
fn drop_other_names(folder: &Path, left: &Path, file: &Path) {
    for own in Own::all(folder) {
        let other = own.place();
        if other != left && other != file && (same_file(other, left) || same_file(other, file)) {
            let _ = fs::remove_file(other);
            own.end();
        }
    }
}

/// Renames unless the new name is taken; false if the rename fails.
fn rename_new(from: &Path, to: &Path) -> Result<bool, StoreError> {
    let ((here, from), (there, to)) = (Folder::around(from)?, Folder::around(to)?);
    Ok(platform::rename_new((here.handle(), from), (there.handle(), to)).is_ok())
}

/// Removes an unusable file of an earlier run from the store.
fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DiskError::new("remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes the old name of a file that has moved, and then the note of it.
fn end_move(note: &Path, file: &Path) {
    if let Ok(bytes) = disk::read(note) {
        let old = platform::path_from_bytes(bytes);
        if old != file && same_file(&old, file) {
            let _ = fs::remove_file(&old);
        }
        let _ = fs::remove_file(note);
    }
}

/// True if two paths are names of one file.
fn same_file(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| {
        fs::symlink_metadata(path).ok().map(|meta| (platform::device(&meta), platform::inode(&meta)))
    };
    inode(one).is_some_and(|one| Some(one) == inode(other))
}
