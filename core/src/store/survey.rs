//! Comparison of a directory with its destination before a byte is fetched: the files that are there already,
//! and the places where others may be put.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::StoreError;
use super::beneath::Folder;
use super::disk::{DiskError, PrintablePath};
use crate::content::manifest::{EntryKind, Manifest, ManifestEntry};
use crate::content::path::escape;
use crate::content::select::Select;
use crate::id::ContentId;
use crate::platform;

/// Names that a message lists before it only counts.
const NAMED: usize = 5;
/// Bytes read before all cores hash them.
const PART: usize = 1 << 20;

/// Fate of one entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// The entry was not requested, and is not there.
    LeftOut,
    /// The entry is at the destination as it should be.
    InPlace,
    /// Nothing has the entry's name there.
    Missing,
    /// Another file has the entry's name there; the entry replaces it.
    Differs,
}

/// Fate of each entry of a directory, in its order.
#[derive(Debug, Clone)]
pub struct WritePlan {
    pub(super) spots: Vec<Spot>,
    /// True if the destination exists.
    pub(super) merges: bool,
}

/// Rights at a destination that exists.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// True if files that differ may be replaced.
    pub overwrite: bool,
    /// True if the store put this very directory there, or a part of it.
    pub known: bool,
}

impl WritePlan {
    /// True if this entry is to be fetched and put in place.
    pub(super) fn brings(&self, entry: usize) -> bool {
        matches!(self.spots.get(entry), Some(Spot::Missing | Spot::Differs))
    }

    /// True if the destination exists.
    #[must_use]
    pub const fn merges(&self) -> bool {
        self.merges
    }

    /// True if no entry is left out: the destination will have the whole directory.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.spots.contains(&Spot::LeftOut)
    }

    /// True if every requested entry is in place.
    #[must_use]
    pub fn is_done(&self) -> bool {
        (0..self.spots.len()).all(|entry| !self.brings(entry))
    }

    fn fresh(manifest: &Manifest, select: &Select) -> Self {
        let spot =
            |entry: &ManifestEntry| if select.wants(&entry.path) { Spot::Missing } else { Spot::LeftOut };
        Self { spots: manifest.entries.iter().map(spot).collect(), merges: false }
    }
}

/// Kind of a name at the destination, before its bytes are read.
enum Look {
    Is(Spot),
    /// A file of the right length.
    Perhaps,
    /// Something that is never replaced: its description and its path.
    Blocked(&'static str, PathBuf),
}

/// Compares a directory with its destination.
///
/// # Errors
/// [`StoreError::User`] with the names that stand in the way, or the disk.
pub fn survey(
    manifest: &Manifest,
    dest: &Path,
    select: &Select,
    rights: Rights,
) -> Result<WritePlan, StoreError> {
    match fs::symlink_metadata(dest) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(WritePlan::fresh(manifest, select)),
        Err(e) => return Err(DiskError::new("inspect", dest, e).into()),
        Ok(meta) if !meta.is_dir() => {
            let what = if meta.is_symlink() { "a link" } else { "a file" };
            let shown = PrintablePath(dest.to_owned());
            return Err(StoreError::User(format!(
                "{shown} is {what}, where a folder must be: -o names another place"
            )));
        }
        Ok(_) => {}
    }
    let folder = Folder::open_itself(dest)?;
    let asked = |entry: &ManifestEntry| select.wants(&entry.path);
    let mut looks = Vec::with_capacity(manifest.entries.len());
    let mut blocked = Vec::new();
    for entry in &manifest.entries {
        let look = match asked(entry) || rights.known {
            true => look(&folder, entry).map_err(|e| folder.error("inspect", &entry.path, e))?,
            false => Look::Is(Spot::LeftOut),
        };
        if let (Look::Blocked(what, path), true) = (&look, asked(entry)) {
            blocked.push((*what, path.clone()));
        }
        looks.push(look);
    }
    if let Some((what, path)) = blocked.first() {
        let (shown, more) = (PrintablePath(dest.join(path)), blocked.len() - 1);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        return Err(StoreError::User(format!("{shown} is {what}{more}: nothing was fetched or changed")));
    }
    // If the folder is unknown and nothing in it may be replaced, all requested entries must be there
    // already.
    let is_new = |(look, entry): (&Look, &ManifestEntry)| {
        asked(entry) && matches!(look, Look::Is(Spot::Missing | Spot::Differs))
    };
    if !rights.overwrite && !rights.known && looks.iter().zip(&manifest.entries).any(is_new) {
        return Err(there_already(dest));
    }
    let spots: Vec<Spot> = looks
        .par_iter()
        .zip(&manifest.entries)
        .map(|(look, entry)| {
            let spot = match look {
                Look::Is(spot) => *spot,
                Look::Perhaps => compare(&folder, entry, rights.overwrite),
                Look::Blocked(..) => Spot::LeftOut,
            };
            if asked(entry) || spot == Spot::InPlace { spot } else { Spot::LeftOut }
        })
        .collect();
    allowed(WritePlan { spots, merges: true }, manifest, dest, rights)
}

/// Checks that a plan replaces only files that may be replaced.
fn allowed(
    plan: WritePlan,
    manifest: &Manifest,
    dest: &Path,
    rights: Rights,
) -> Result<WritePlan, StoreError> {
    let differ: Vec<&str> = manifest
        .entries
        .iter()
        .zip(&plan.spots)
        .filter(|(_, spot)| **spot == Spot::Differs)
        .map(|(entry, _)| entry.path.as_str())
        .collect();
    match (rights.overwrite, rights.known, differ.is_empty() && plan.is_done()) {
        (true, ..) | (_, _, true) => Ok(plan),
        (false, true, _) if differ.is_empty() => Ok(plan),
        (false, true, _) => {
            let (shown, names) = (PrintablePath(dest.to_owned()), listed(&differ));
            Err(StoreError::User(format!(
                "in {shown} these files are not what was fetched: {names}; --overwrite restores them"
            )))
        }
        (false, false, _) => Err(there_already(dest)),
    }
}

/// True if the entries without chunks (empty files, empty folders, links) are at a destination.
#[must_use]
pub fn rest_is_there(manifest: &Manifest, dest: &Path) -> bool {
    let Ok(folder) = Folder::open_itself(dest) else { return false };
    let mut rest =
        manifest.entries.iter().filter(|entry| !matches!(entry.kind, EntryKind::File { size: 1.., .. }));
    rest.all(|entry| matches!(look(&folder, entry), Ok(Look::Is(Spot::InPlace) | Look::Perhaps)))
}

/// Returns the refusal of a folder that is there already.
fn there_already(dest: &Path) -> StoreError {
    let shown = PrintablePath(dest.to_owned());
    StoreError::User(format!(
        "{shown} is already there: --overwrite replaces the files of the same names in it and leaves all others, \
         -o names another place"
    ))
}

/// Lists some names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(NAMED).map(|name| escape(name)).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn look(folder: &Folder, entry: &ManifestEntry) -> io::Result<Look> {
    let path = Path::new(&entry.path);
    let stat = match folder.stat(&entry.path) {
        Ok(Some(stat)) => stat,
        Ok(None) => return Ok(Look::Is(Spot::Missing)),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Ok(Look::Blocked("no folder, where one must be", in_the_way(folder, path)));
        }
        Err(e) => return Err(e),
    };
    let (is_dir, is_link, is_file) = (stat.is_dir(), stat.is_link(), stat.is_file());
    Ok(match &entry.kind {
        EntryKind::EmptyDir if is_dir => Look::Is(Spot::InPlace),
        EntryKind::EmptyDir => Look::Blocked("no folder, where one must be", path.to_owned()),
        _ if is_dir => Look::Blocked("a folder, where a file must be", path.to_owned()),
        _ if !is_link && !is_file => Look::Blocked("neither a file nor a folder", path.to_owned()),
        EntryKind::Symlink { target } if is_link => match folder.link(&entry.path)? == target.as_bytes() {
            true => Look::Is(Spot::InPlace),
            false => Look::Is(Spot::Differs),
        },
        EntryKind::File { size, .. } if is_file && stat.size == *size => Look::Perhaps,
        EntryKind::Symlink { .. } | EntryKind::File { .. } => Look::Is(Spot::Differs),
    })
}

/// First part of a path that is no folder.
fn in_the_way(folder: &Folder, path: &Path) -> PathBuf {
    let ways: Vec<&Path> = path.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
    let is_no_folder = |way: &&&Path| {
        let stat = way.to_str().and_then(|way| folder.stat(way).ok().flatten());
        stat.is_some_and(|stat| !stat.is_dir())
    };
    ways.iter().rev().find(is_no_folder).map_or_else(|| path.to_owned(), |way| way.to_path_buf())
}

/// Compares the bytes of a file of the right length. If it may be replaced, its executable bit must be right
/// as well.
fn compare(folder: &Folder, entry: &ManifestEntry, overwrite: bool) -> Spot {
    let EntryKind::File { id, executable, .. } = &entry.kind else { return Spot::Differs };
    let same = folder.read(&entry.path).and_then(|file| {
        let mode = file.metadata().map(|meta| platform::permissions(&meta))?;
        Ok((!overwrite || (mode & 0o100 != 0) == *executable) && hash(file)? == *id)
    });
    if same.unwrap_or(false) { Spot::InPlace } else { Spot::Differs }
}

/// Hashes a file to its id.
pub(super) fn hash(mut file: fs::File) -> io::Result<ContentId> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; PART];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        match filled {
            0 => return Ok(hasher.finalize().into()),
            PART => hasher.update_rayon(&buffer),
            filled => hasher.update(&buffer[..filled]),
        };
    }
}
