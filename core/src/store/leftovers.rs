//! Files of earlier versions of a directory that the new version does not have: finding them and deleting
//! them. A file counts only if this store put it there and nobody has written to it since.

use std::collections::BTreeSet;
use std::path::Path;

use super::beneath::Folder;
use super::laid::{self, Mark};
use super::record::Record;
use super::{Store, shares, survey};
use crate::content::manifest::{EntryKind, Manifest, ManifestEntry};
use crate::content::path::escape;
use crate::id::ContentId;

/// A file of an earlier version that lies where it was put, and that the new version does not have.
#[derive(Debug, Clone)]
pub struct Leftover {
    path: String,
    id: Option<ContentId>,
    mark: Mark,
}

impl Leftover {
    /// Path beneath the folder, safe to print.
    #[must_use]
    pub fn shown(&self) -> String {
        escape(&self.path)
    }
}

impl Store {
    /// Finds the files that this store put into a folder for other versions, that nobody has written to
    /// since, and that this version does not have.
    #[must_use]
    pub fn leftovers(&self, dest: &Path, dir: ContentId, manifest: &Manifest) -> Vec<Leftover> {
        let Ok(folder) = Folder::open_itself(dest) else { return Vec::new() };
        let names: BTreeSet<&str> = manifest.entries.iter().map(|entry| entry.path.as_str()).collect();
        let mut found = Vec::new();
        for record in self.folders().into_iter().filter(|record| record.payload.is_some() && record.id != dir)
        {
            let laid = laid::read(&self.inner.layout, record.id);
            let Some(laid) = laid.into_iter().find(|laid| laid.root == dest) else { continue };
            let Some(old) = self.manifest_of(&record) else { continue };
            for mark in laid.files {
                let Some(entry) = old.entries.get(mark.entry as usize) else { continue };
                let is_free = !names.contains(entry.path.as_str());
                let stat = folder.stat(&entry.path).ok().flatten();
                if is_free && stat.is_some_and(|stat| mark.is(&stat)) {
                    found.push(Leftover { path: entry.path.clone(), id: id_of(entry), mark });
                }
            }
        }
        found
    }

    /// Deletes those leftovers that have exactly the bytes that were put there. Returns the deleted ones.
    #[must_use]
    pub fn delete_leftovers(
        &self,
        dest: &Path,
        manifest: &Manifest,
        leftovers: Vec<Leftover>,
    ) -> Vec<Leftover> {
        let Ok(folder) = Folder::open_itself(dest) else { return Vec::new() };
        let mut gone = Vec::new();
        for leftover in leftovers {
            let right = match leftover.id {
                Some(id) => folder.read(&leftover.path).and_then(survey::hash).is_ok_and(|there| there == id),
                None => true,
            };
            let stat = folder.stat(&leftover.path).ok().flatten();
            let is_it = stat.is_some_and(|stat| leftover.mark.is(&stat) && stat.names == 1);
            if right && is_it && folder.remove(&leftover.path).is_ok() {
                gone.push(leftover);
            }
        }
        // Folders that held nothing else go as well.
        let above = |leftover: &Leftover| {
            let ways = Path::new(&leftover.path).ancestors().skip(1);
            ways.filter_map(Path::to_str).filter(|way| !way.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut folders: BTreeSet<String> = gone.iter().flat_map(above).collect();
        for entry in &manifest.entries {
            folders.remove(&entry.path);
        }
        for path in folders.iter().rev() {
            let _ = folder.remove_dir(path);
        }
        let _ = folder.sync_all();
        gone
    }

    fn manifest_of(&self, record: &Record) -> Option<Manifest> {
        let payload = self.record(record.payload?.id)?;
        shares::manifest(&self.inner.layout, &payload, record.id).ok()
    }
}

fn id_of(entry: &ManifestEntry) -> Option<ContentId> {
    match &entry.kind {
        EntryKind::File { id, .. } => Some(*id),
        EntryKind::EmptyDir | EntryKind::Symlink { .. } => None,
    }
}
