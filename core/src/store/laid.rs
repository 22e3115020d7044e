//! What was put in place in which folder: so that a later version knows which files there are ours.
//!
//! `laid` in the folder of a directory's manifest: magic, postcard, and the BLAKE3 of both. It is written
//! before the files get their names and says which files those are (a rename keeps the inode), so that a
//! crash neither forgets one nor claims one that is somebody's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::beneath::Seen;
use super::disk::{self, DiskError};
use super::layout::Layout;
use crate::id::ContentId;
use crate::limits;

const MAGIC: &[u8; 8] = b"swarmld1";

/// The files of one directory that were put into one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Laid {
    pub(super) root: PathBuf,
    /// Ascending by entry.
    pub(super) files: Vec<Mark>,
}

/// One file, as it was put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Its number in the manifest.
    pub(super) entry: u32,
    identity: u64,
    modified: (i64, u32),
}

impl Mark {
    pub(super) fn new(entry: u32, stat: &Seen) -> Self {
        Self { entry, identity: stat.identity(), modified: stat.modified }
    }

    /// What stands there is that file, and nobody has written to it since.
    pub(super) fn is(&self, stat: &Seen) -> bool {
        self.modified == stat.modified && self.is_file(stat)
    }

    /// What stands there is that file, whatever it holds by now.
    pub(super) fn is_file(&self, stat: &Seen) -> bool {
        self.identity == stat.identity()
    }
}

fn file(layout: &Layout, dir: ContentId) -> PathBuf {
    layout.blob_dir(dir).join("laid")
}

/// What was put in place of a directory, and where.
pub(super) fn read(layout: &Layout, dir: ContentId) -> Vec<Laid> {
    let read = || {
        let bytes = disk::read(&file(layout, dir)).ok()?;
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        let value = body.strip_prefix(MAGIC)?;
        (blake3::hash(body) == *hash).then(|| postcard::from_bytes(value).ok()).flatten()
    };
    read().unwrap_or_default()
}

/// These files of a directory are about to be put into a folder; what was put there before stays known.
pub(super) fn add(layout: &Layout, dir: ContentId, root: &Path, marks: &[Mark]) -> Result<(), DiskError> {
    if root.to_str().is_none() {
        return Ok(());
    }
    let mut all = read(layout, dir);
    let at = all.iter().position(|laid| laid.root == root);
    let mut files: std::collections::BTreeMap<u32, Mark> =
        at.map(|at| all.remove(at)).into_iter().flat_map(|laid| laid.files).map(|m| (m.entry, m)).collect();
    files.extend(marks.iter().map(|mark| (mark.entry, *mark)));
    all.push(Laid { root: root.to_owned(), files: files.into_values().collect() });
    let spare = all.len().saturating_sub(limits::LAID_FOLDERS);
    all.drain(..spare);
    let mut bytes = postcard::to_extend(&all, MAGIC.to_vec()).unwrap_or_default();
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    disk::create_dir_all(&layout.blob_dir(dir))?;
    disk::write_atomic(&file(layout, dir), &bytes, 0o600)
}
