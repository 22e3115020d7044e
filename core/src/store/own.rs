//! Files that a download has made outside the store, told from files that others put in their place.
//!
//! Beside the have-map of a blob lies a file `own-HASH` for each hidden place that the blob is written to. It
//! has the path of the place (its length in two bytes first), then 16 bytes for each file made there: its
//! number among the directory's files ([`ROOT`] for the place itself, [`OTHER`] for entries without chunks),
//! its identity (inode and time of birth), and four bytes of a BLAKE3 of both. The path is written before the
//! place is made, and files that are not entered are not touched: a crash leaves too much rather than taking
//! somebody's file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::beneath::Folder;
use super::disk::{self, DiskError};
use crate::platform::{FileStat, path_bytes, path_from_bytes, stat_at};

/// Number of the place itself.
pub(super) const ROOT: u32 = u32::MAX;
/// Number of empty files and links.
pub(super) const OTHER: u32 = u32::MAX - 1;
/// Length of an entry in bytes.
const ENTRY: usize = 16;
/// First characters of the names of these files.
const PREFIX: &str = "own-";

/// List of the files made at one hidden place.
#[derive(Debug)]
pub(super) struct Own {
    log: PathBuf,
    place: PathBuf,
    state: Mutex<OwnState>,
    making: Mutex<()>,
}

#[derive(Debug)]
struct OwnState {
    file: File,
    inodes: BTreeMap<u32, u64>,
    others: BTreeSet<u64>,
}

impl Own {
    /// Begins a new list for a place that is about to be made. `folder` is the blob's folder.
    pub(super) fn begin(folder: &Path, place: &Path) -> Result<Self, DiskError> {
        let log = log_of(folder, place);
        let path = path_bytes(place);
        let mut head = u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes().to_vec();
        head.extend(path);
        disk::write_atomic(&log, &head, 0o600)?;
        Self::read(folder, place).ok_or_else(|| DiskError::corrupt(&log, "it was replaced"))
    }

    /// Path of the place.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Reads the list of a place, if there is one.
    pub(super) fn read(folder: &Path, place: &Path) -> Option<Self> {
        let log = log_of(folder, place);
        let (said, entries) = decode(&disk::read(&log).ok()?)?;
        if said != place {
            return None;
        }
        let mut file = disk::open_rw(&log, 0o600, false).ok()?;
        let (mut inodes, mut others) = (BTreeMap::new(), BTreeSet::new());
        // A torn tail would misalign later entries.
        let len = 2 + place.as_os_str().len() + entries.len() * ENTRY;
        file.set_len(len as u64).ok()?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).ok()?;
        for (number, inode) in entries {
            match number {
                OTHER => drop(others.insert(inode)),
                number => drop(inodes.insert(number, inode)),
            }
        }
        Some(Self {
            log,
            place: place.to_owned(),
            state: Mutex::new(OwnState { file, inodes, others }),
            making: Mutex::new(()),
        })
    }

    /// Reads the lists of all places of a blob.
    pub(super) fn all(folder: &Path) -> Vec<Self> {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let logs = names.filter(|name| name.to_string_lossy().starts_with(PREFIX));
        let places = logs.filter_map(|name| Some(decode(&disk::read(&folder.join(name)).ok()?)?.0));
        places.filter_map(|place| Self::read(folder, &place)).collect()
    }

    /// Returns a lock under which nobody else makes a file at the place.
    pub(super) fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a file that was made at the place.
    pub(super) fn note(&self, number: u32, inode: u64) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.file.write_all(&entry(number, inode)).map_err(|e| DiskError::new("write", &self.log, e))?;
        match number {
            OTHER => drop(state.others.insert(inode)),
            number => drop(state.inodes.insert(number, inode)),
        }
        Ok(())
    }

    /// True if the file of this number was made here with this identity.
    pub(super) fn made(&self, number: u32, inode: u64) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).inodes.get(&number) == Some(&inode)
    }

    /// True if an empty file or a link of this identity was made here.
    pub(super) fn made_other(&self, inode: u64) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).others.contains(&inode)
    }

    /// Flushes the entries.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        disk::sync(&state.file, &self.log)
    }

    /// True if the place still holds the file or folder that was made there. An empty file or folder counts
    /// if a crash came before it could be entered.
    pub(super) fn stands(&self) -> bool {
        let Some(seen) = stat_at(&self.place) else { return false };
        let is_dir = seen.is_dir();
        // A file with a second name would change under that name as well.
        let is_single_file = seen.is_file() && seen.names == 1;
        (is_dir || is_single_file) && self.is_it(&seen)
    }

    /// True if this metadata is that of the file or folder made at the place; a file may have other names.
    pub(super) fn is_it(&self, seen: &FileStat) -> bool {
        let known = self.state.lock().unwrap_or_else(PoisonError::into_inner).inodes.get(&ROOT).copied();
        let is_empty = || match seen.is_dir() {
            true => fs::read_dir(&self.place).is_ok_and(|mut entries| entries.next().is_none()),
            false => seen.is_file() && seen.size == 0,
        };
        match known {
            Some(identity) => seen.identity() == identity,
            None => is_empty() && self.note(ROOT, seen.identity()).is_ok(),
        }
    }

    /// Copies the list for another name of the place.
    pub(super) fn moved(&self, folder: &Path, place: &Path) -> Result<Self, DiskError> {
        let new = Self::begin(folder, place)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, inode) in &state.inodes {
            new.note(*number, *inode)?;
        }
        state.others.iter().try_for_each(|inode| new.note(OTHER, *inode))?;
        drop(state);
        new.sync()?;
        Ok(new)
    }

    /// Removes the list: the place has its final name, or is gone.
    pub(super) fn end(&self) {
        let _ = fs::remove_file(&self.log);
    }

    /// Removes the files made at the place, and nothing else. True if nothing is left there.
    pub(super) fn clear(&self) -> bool {
        if !self.stands() {
            self.end();
            return fs::symlink_metadata(&self.place).is_err();
        }
        let is_dir = fs::symlink_metadata(&self.place).is_ok_and(|meta| meta.is_dir());
        let _ = match is_dir {
            true => self.clear_folder(),
            false => fs::remove_file(&self.place),
        };
        self.end();
        fs::symlink_metadata(&self.place).is_err()
    }

    fn clear_folder(&self) -> std::io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ours: BTreeSet<u64> = state.inodes.values().chain(&state.others).copied().collect();
        let folder = Folder::open_itself(&self.place).map_err(|e| e.source)?;
        folder.each(&mut |entry| {
            let _ = match entry.stat.is_dir() {
                true => entry.remove_folder(),
                false if ours.contains(&entry.stat.identity()) => entry.remove_file(),
                false => Ok(()),
            };
        })?;
        fs::remove_dir(&self.place)
    }
}

fn log_of(folder: &Path, place: &Path) -> PathBuf {
    let hash = blake3::hash(path_bytes(place)).to_hex();
    folder.join(format!("{PREFIX}{}", &hash[..16]))
}

fn entry(number: u32, inode: u64) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..12].copy_from_slice(&inode.to_le_bytes());
    let sum = blake3::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.as_bytes()[..4]);
    bytes
}

/// Decodes the place and its entries, up to the first entry that is not whole.
fn decode(bytes: &[u8]) -> Option<(PathBuf, Vec<(u32, u64)>)> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (place, entries) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let read = |bytes: &[u8]| {
        let number = u32::from_le_bytes(bytes[..4].try_into().ok()?);
        let inode = u64::from_le_bytes(bytes[4..12].try_into().ok()?);
        (entry(number, inode) == bytes).then_some((number, inode))
    };
    let entries = entries.chunks_exact(ENTRY).map_while(read).collect();
    Some((path_from_bytes(place.to_vec()), entries))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_was_made_is_cleared_whatever_of_the_list_survives() {
        let root = tempfile::tempdir().unwrap();
        let blob = root.path().join("blob");
        fs::create_dir(&blob).unwrap();
        for cut in [0, 1, 15, 16, 40, 1000] {
            let place = root.path().join("place");
            fs::create_dir_all(place.join("below")).unwrap();
            let own = Own::begin(&blob, &place).unwrap();
            let identity = |path: &Path| stat_at(path).unwrap().identity();
            own.note(ROOT, identity(&place)).unwrap();
            for (number, name) in (0..).zip(["below/a", "below/b", "c"]) {
                fs::write(place.join(name), name).unwrap();
                own.note(number, identity(&place.join(name))).unwrap();
            }
            fs::write(place.join("below/mine"), "mine").unwrap();
            // Somebody has replaced one of the files.
            fs::write(place.join("new"), "mine").unwrap();
            fs::rename(place.join("new"), place.join("c")).unwrap();
            let log = log_of(&blob, &place);
            let len = fs::metadata(&log).unwrap().len();
            File::options().write(true).open(&log).unwrap().set_len(len.saturating_sub(cut)).unwrap();
            if let Some(own) = Own::read(&blob, &place) {
                assert!(!own.clear(), "{cut}");
            }
            assert_eq!(fs::read(place.join("below/mine")).unwrap(), b"mine", "{cut}");
            assert_eq!(fs::read(place.join("c")).unwrap(), b"mine", "{cut}");
            assert_eq!(place.join("below/a").exists(), cut >= 40, "{cut}");
            fs::remove_dir_all(&place).unwrap();
            let _ = fs::remove_file(&log);
        }
    }

    #[test]
    fn a_second_name_or_another_file_is_not_what_was_made() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("place");
        let own = Own::begin(root.path(), &place).unwrap();
        assert!(!own.stands());
        fs::write(&place, "").unwrap();
        assert!(own.stands(), "an empty file is what a crash leaves");
        fs::write(&place, "bytes").unwrap();
        assert!(own.stands());
        fs::hard_link(&place, root.path().join("second")).unwrap();
        assert!(!own.stands());
        fs::remove_file(&place).unwrap();
        Folder::open(root.path()).unwrap().create_link("place", "second").unwrap();
        assert!(!own.stands());
        fs::remove_file(&place).unwrap();
        fs::write(&place, "others").unwrap();
        assert!(!own.stands());
    }
}
