//! The hidden place beside its destination where a download is put together, found again by a later run.
//!
//! Its name can be guessed, so that it is made and never just opened: what stands there is written to only if
//! it is what this store made there ([`Own`]). Where something of somebody's stands, another name is taken.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::beneath::{self, Folder};
use super::disk::{self, DiskError};
use super::extents::{Extents, Tree};
use super::own::{Own, ROOT};
use super::record::{Place, Record};
use super::{Begin, Store, StoreError, Target};
use crate::content::manifest::{EntryKind, Manifest};
use crate::id::ContentId;

/// Characters of a destination's name that the hidden one begins with: long names are cut so that it still
/// fits.
const NAME: usize = 60;

/// Where the bytes of a download go.
pub(super) struct Staged {
    pub(super) place: Place,
    pub(super) file: PathBuf,
    /// What an earlier run left there is gone on with.
    pub(super) resumes: bool,
    own: Option<Own>,
}

impl Staged {
    /// Opens it.
    pub(super) fn open(self, target: &Target) -> Result<Extents, StoreError> {
        match (target, self.own) {
            (Target::Tree { manifest, plan, dest, .. }, Some(own)) => {
                Ok(Extents::tree(Tree::to_write(&self.file, manifest, plan, dest, own)?))
            }
            (_, own) => {
                let file = disk::open_rw(&self.file, 0o600, own.is_none())?;
                let seen = beneath::seen(&file).map_err(|e| DiskError::new("inspect", &self.file, e))?;
                let ours = own.is_none_or(|own| own.made(ROOT, seen.identity()));
                if !ours || !beneath::is_file(&seen) || seen.names != 1 {
                    return Err(foreign(&self.file));
                }
                Ok(Extents::one(file, self.file))
            }
        }
    }
}

/// The refusal of a hidden place that is somebody else's.
fn foreign(path: &Path) -> StoreError {
    let error = std::io::Error::other("another program has put something there");
    DiskError::new("write", path, error).into()
}

impl Store {
    /// Finds or makes the place of a download. `before` is what is known of an earlier run.
    pub(super) fn stage(&self, begin: &Begin, before: Option<Record>) -> Result<Staged, StoreError> {
        let id = begin.list.id();
        let (dest, dir) = match &begin.target {
            Target::Store => {
                let file = self.inner.layout.data(id, begin.seal.is_some());
                let resumes = match before {
                    Some(before) => self.take_over(before, &Place::Store, &file)?,
                    None => false,
                };
                if !resumes {
                    remove(&file)?;
                }
                return Ok(Staged { place: Place::Store, file, resumes, own: None });
            }
            Target::File(dest) => (dest, None),
            Target::Tree { dest, dir, .. } => (dest, Some(*dir)),
        };
        let beside = beside(dest)?;
        let usual = beside.path().join(self.hidden_name(dest, id));
        let place = |staging: &Path| Place::Part { staging: staging.to_owned(), dest: dest.clone(), dir };
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
                // Files that nobody knows of: a crash of the machine, or somebody's. They are read, and left
                // alone.
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

    /// The usual name of the hidden place beside `dest`. It is this store's alone: another's node may be
    /// fetching the same to the same place.
    fn hidden_name(&self, dest: &Path, id: ContentId) -> String {
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let kept: String = name.chars().take(NAME).collect();
        format!(".{kept}.{}.{}.swarm-part", id.short(), self.inner.layout.tag())
    }

    /// Where the bytes of an earlier run are.
    fn left_at(&self, before: &Record) -> Option<PathBuf> {
        match &before.place {
            Place::Part { staging, .. } => Some(staging.clone()),
            Place::Store => Some(self.inner.layout.data(before.id, before.seal.is_some())),
            Place::File { .. } | Place::Tree { .. } => None,
        }
    }

    /// Brings what an earlier run left to where this run wants it. False if there is nothing to go on with.
    ///
    /// A crash may come between any two steps, and the record must then name a place where the bytes are: the
    /// new name is made first, then recorded, then the old one goes, which is noted beforehand. Where a file
    /// cannot have two names (a folder, another file system's rules) it is renamed at once.
    fn take_over(&self, before: Record, place: &Place, file: &Path) -> Result<bool, StoreError> {
        let Some(left) = self.left_at(&before) else { return Ok(false) };
        let folder = self.inner.layout.blob_dir(before.id);
        let note = folder.join("moved");
        self.adopt_old(&before);
        drop_other_names(&folder, &left, file);
        if left == *file || fs::symlink_metadata(&left).is_err() {
            end_move(&note, file);
            return Ok(left == *file && fs::symlink_metadata(file).is_ok());
        }
        let in_store = before.place == Place::Store;
        let known = Own::read(&folder, &left);
        let linked = same_file(&left, file);
        let second = |own: &Own| linked && beneath::seen_at(&left).is_some_and(|seen| own.is_it(&seen));
        if !in_store && !known.as_ref().is_some_and(|own| own.stands() || second(own)) {
            return Ok(false);
        }
        let Some(seen) = beneath::seen_at(&left) else { return Ok(false) };
        let to_store = *place == Place::Store;
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
        if beneath::is_dir(&seen) || !is_link(&left) {
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

    /// A download that an earlier version began has no list of what was made: what is there and is ours
    /// becomes one.
    pub(super) fn adopt_old(&self, record: &Record) {
        let Place::Part { staging, dir, .. } = &record.place else { return };
        let folder = self.inner.layout.blob_dir(record.id);
        let Ok(meta) = fs::symlink_metadata(staging) else { return };
        let is_ours = meta.uid() == rustix::process::geteuid().as_raw() && !meta.is_symlink();
        if !is_ours || !Own::all(&folder).is_empty() || (meta.is_file() && meta.nlink() != 1) {
            return;
        }
        let adopted = Own::begin(&folder, staging).and_then(|own| {
            let seen = beneath::seen_at(staging);
            own.note(ROOT, seen.map_or(0, |seen| seen.identity()))?;
            let manifest = dir.and_then(|dir| super::shares::manifest(&self.inner.layout, record, dir).ok());
            let Some(manifest) = manifest.filter(|_| meta.is_dir()) else { return Ok(()) };
            let tree = Folder::open_itself(staging)?;
            for (number, path, _) in numbered(&manifest) {
                let stat = tree.stat(path).ok().flatten().filter(beneath::is_file);
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

/// The files of a directory that have bytes, by their numbers; with their entries' numbers.
pub(super) fn numbered(manifest: &Manifest) -> impl Iterator<Item = (u32, &str, usize)> {
    let with_bytes = manifest
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.kind, EntryKind::File { size: 1.., .. }));
    (0..).zip(with_bytes).map(|(number, (at, entry))| (number, entry.path.as_str(), at))
}

/// The folder in which a destination lies, made if missing.
fn beside(dest: &Path) -> Result<Folder, StoreError> {
    let shown = || disk::Shown(dest.to_owned());
    let (Some(parent), Some(_)) = (dest.parent(), dest.file_name()) else {
        return Err(StoreError::User(format!("{} is no place for a file: name one with -o", shown())));
    };
    if dest.to_str().is_none() {
        return Err(StoreError::User(format!(
            "{} is not UTF-8: a path like that cannot be remembered",
            shown()
        )));
    }
    fs::create_dir_all(parent).map_err(|e| DiskError::new("create", parent, e))?;
    Ok(Folder::open(parent)?)
}

/// Makes the hidden place: a name that nothing had.
fn make(folder: &Path, beside: &Folder, file: &Path, is_dir: bool) -> Result<Own, StoreError> {
    disk::create_dir_all(folder)?;
    let own = Own::begin(folder, file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let made = match is_dir {
        true => {
            let made = rustix::fs::mkdirat(beside.handle(), &*name, rustix::fs::Mode::from(0o777));
            made.map_err(std::io::Error::from)
        }
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

/// The hidden folder holds no file of the directory that was not made there.
fn is_all_ours(place: &Path, manifest: &Manifest, own: &Own) -> bool {
    let Ok(folder) = Folder::open_itself(place) else { return false };
    numbered(manifest).all(|(number, path, _)| match folder.stat(path) {
        Ok(Some(stat)) => stat.names == 1 && own.made(number, stat.identity()),
        Ok(None) => true,
        Err(_) => false,
    })
}

/// `left` is what `usual` becomes where that name is taken.
fn is_variant(left: &Path, usual: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (left, usual) = (name(left), name(usual));
    left.starts_with(usual.trim_end_matches("swarm-part")) && left.ends_with(".swarm-part")
}

/// Other names of a file of ours that a move which was cut short has left.
fn drop_other_names(folder: &Path, left: &Path, file: &Path) {
    for own in Own::all(folder) {
        let other = own.place();
        if other != left && other != file && (same_file(other, left) || same_file(other, file)) {
            let _ = fs::remove_file(other);
            own.end();
        }
    }
}

/// Renames, unless something has that name; false if it cannot be done.
fn rename_new(from: &Path, to: &Path) -> Result<bool, StoreError> {
    let ((here, from), (there, to)) = (Folder::around(from)?, Folder::around(to)?);
    Ok(beneath::put_new((here.handle(), from), (there.handle(), to)).is_ok())
}

/// What an earlier run left in the store, and nothing can be made of.
fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
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
