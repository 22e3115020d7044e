//! What of a directory lies at its destination already, and what may be put there: found out before a byte is
//! fetched.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::StoreError;
use super::beneath::{self, Folder};
use super::disk::{DiskError, Shown};
use crate::content::manifest::{Entry, EntryKind, Manifest};
use crate::content::path::escape;
use crate::content::select::Select;
use crate::id::ContentId;

/// Names that a message lists before it only counts.
const NAMED: usize = 5;
/// Bytes read before they are hashed; all cores hash so many.
const PART: usize = 1 << 20;

/// What becomes of one entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// It was not asked for, and is not there.
    LeftOut,
    /// It is at the destination as it should be.
    InPlace,
    /// Nothing has its name there.
    Missing,
    /// Something else has its name there, which it will replace.
    Differs,
}

/// What becomes of each entry of a directory, in its order.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) spots: Vec<Spot>,
    /// The destination is there.
    pub(super) merges: bool,
}

/// What may be done at a destination that is there.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// Files that differ may be replaced.
    pub overwrite: bool,
    /// The store put this very directory there, or a part of it.
    pub known: bool,
}

impl Plan {
    /// Whether this entry is to be fetched and put in place.
    pub(super) fn brings(&self, entry: usize) -> bool {
        matches!(self.spots.get(entry), Some(Spot::Missing | Spot::Differs))
    }

    /// The destination is there.
    #[must_use]
    pub const fn merges(&self) -> bool {
        self.merges
    }

    /// Nothing is left out: the destination will have all of it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.spots.contains(&Spot::LeftOut)
    }

    /// Everything that was asked for is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        (0..self.spots.len()).all(|entry| !self.brings(entry))
    }

    fn fresh(manifest: &Manifest, select: &Select) -> Self {
        let spot = |entry: &Entry| if select.wants(&entry.path) { Spot::Missing } else { Spot::LeftOut };
        Self { spots: manifest.entries.iter().map(spot).collect(), merges: false }
    }
}

/// What a name at the destination is, before its bytes are looked at.
enum Look {
    Is(Spot),
    /// A file of the right length.
    Perhaps,
    /// What is never replaced: what it is.
    Blocked(&'static str, PathBuf),
}

/// Compares a directory with its destination.
///
/// # Errors
/// [`StoreError::User`] with the names of what stands in the way, or the disk.
pub fn survey(manifest: &Manifest, dest: &Path, select: &Select, rights: Rights) -> Result<Plan, StoreError> {
    match fs::symlink_metadata(dest) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Plan::fresh(manifest, select)),
        Err(e) => return Err(DiskError::new("inspect", dest, e).into()),
        Ok(meta) if !meta.is_dir() => {
            let what = if meta.is_symlink() { "a link" } else { "a file" };
            let shown = Shown(dest.to_owned());
            return Err(StoreError::User(format!(
                "{shown} is {what}, where a folder must be: -o names another place"
            )));
        }
        Ok(_) => {}
    }
    let folder = Folder::open_itself(dest)?;
    let asked = |entry: &Entry| select.wants(&entry.path);
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
        let (shown, more) = (Shown(dest.join(path)), blocked.len() - 1);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        return Err(StoreError::User(format!("{shown} is {what}{more}: nothing was fetched or changed")));
    }
    // Who knows nothing of the folder and may replace nothing there needs all of it to be there already.
    let is_new = |(look, entry): (&Look, &Entry)| {
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
    allowed(Plan { spots, merges: true }, manifest, dest, rights)
}

/// A plan that replaces only what may be replaced.
fn allowed(plan: Plan, manifest: &Manifest, dest: &Path, rights: Rights) -> Result<Plan, StoreError> {
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
            let (shown, names) = (Shown(dest.to_owned()), listed(&differ));
            Err(StoreError::User(format!(
                "in {shown} these files are not what was fetched: {names}; --overwrite restores them"
            )))
        }
        (false, false, _) => Err(there_already(dest)),
    }
}

/// Whether what no chunk brings (files without bytes, folders without files, links) is at a destination.
#[must_use]
pub fn rest_is_there(manifest: &Manifest, dest: &Path) -> bool {
    let Ok(folder) = Folder::open_itself(dest) else { return false };
    let mut rest =
        manifest.entries.iter().filter(|entry| !matches!(entry.kind, EntryKind::File { size: 1.., .. }));
    rest.all(|entry| matches!(look(&folder, entry), Ok(Look::Is(Spot::InPlace) | Look::Perhaps)))
}

/// The refusal of a folder that is there.
fn there_already(dest: &Path) -> StoreError {
    let shown = Shown(dest.to_owned());
    StoreError::User(format!(
        "{shown} is already there: --overwrite replaces the files of the same names in it and leaves all others, \
         -o names another place"
    ))
}

/// Some names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(NAMED).map(|name| escape(name)).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", first.join(", "))
}

fn look(folder: &Folder, entry: &Entry) -> io::Result<Look> {
    let path = Path::new(&entry.path);
    let stat = match folder.stat(&entry.path) {
        Ok(Some(stat)) => stat,
        Ok(None) => return Ok(Look::Is(Spot::Missing)),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Ok(Look::Blocked("no folder, where one must be", in_the_way(folder, path)));
        }
        Err(e) => return Err(e),
    };
    let (is_dir, is_link, is_file) =
        (beneath::is_dir(&stat), beneath::is_link(&stat), beneath::is_file(&stat));
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

/// The first name on the way that is no folder.
fn in_the_way(folder: &Folder, path: &Path) -> PathBuf {
    let ways: Vec<&Path> = path.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
    let is_no_folder = |way: &&&Path| {
        let stat = way.to_str().and_then(|way| folder.stat(way).ok().flatten());
        stat.is_some_and(|stat| !beneath::is_dir(&stat))
    };
    ways.iter().rev().find(is_no_folder).map_or_else(|| path.to_owned(), |way| way.to_path_buf())
}

/// A file of the right length: whether its bytes are right as well. Who may replace it also sees to whether
/// it can be run.
fn compare(folder: &Folder, entry: &Entry, overwrite: bool) -> Spot {
    let EntryKind::File { id, executable, .. } = &entry.kind else { return Spot::Differs };
    let same = folder.read(&entry.path).and_then(|file| {
        let mode = file.metadata().map(|meta| std::os::unix::fs::MetadataExt::mode(&meta))?;
        Ok((!overwrite || (mode & 0o100 != 0) == *executable) && hash(file)? == *id)
    });
    if same.unwrap_or(false) { Spot::InPlace } else { Spot::Differs }
}

/// The id of a file's bytes.
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
