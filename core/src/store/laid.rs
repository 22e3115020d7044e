//! Lists of the files that were put in place in each folder, so that a later version knows which files there
//! are ours.
//!
//! The file `laid` lies in the folder of a directory's manifest: magic, postcard, and the BLAKE3 of both. It
//! is written before the files get their names and identifies each by its inode, which a rename keeps. A
//! crash therefore neither forgets a file nor claims one that belongs to somebody else.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{self, DiskError};
use super::layout::Layout;
use crate::id::ContentId;
use crate::limits;
use crate::platform::FileStat;

const MAGIC: &[u8; 8] = b"swarmld1";

/// The files of one directory that were put into one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Laid {
    #[serde(with = "super::exact_path")]
    pub(super) root: PathBuf,
    /// The files, ascending by entry.
    pub(super) files: Vec<Mark>,
}

/// One file, as it was put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Number of the file's entry in the manifest.
    pub(super) entry: u32,
    identity: u64,
    modified: (i64, u32),
}

impl Mark {
    pub(super) fn new(entry: u32, stat: &FileStat) -> Self {
        Self { entry, identity: stat.identity(), modified: stat.modified }
    }

    /// True if the name stands for that file and nobody has written to it since.
    pub(super) fn is(&self, stat: &FileStat) -> bool {
        self.modified == stat.modified && self.is_file(stat)
    }

    /// True if the name stands for that file, whatever its bytes by now.
    pub(super) fn is_file(&self, stat: &FileStat) -> bool {
        self.identity == stat.identity()
    }
}

fn file(layout: &Layout, dir: ContentId) -> PathBuf {
    layout.blob_dir(dir).join("laid")
}

/// Reads the folders and files in which a directory was put in place.
pub(super) fn read(layout: &Layout, dir: ContentId) -> Vec<Laid> {
    let read = || {
        let bytes = disk::read(&file(layout, dir)).ok()?;
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        let value = body.strip_prefix(MAGIC)?;
        (blake3::hash(body) == *hash).then(|| postcard::from_bytes(value).ok()).flatten()
    };
    read().unwrap_or_default()
}

/// Enters files of a directory that are about to be put into a folder. Earlier entries stay.
pub(super) fn add(layout: &Layout, dir: ContentId, root: &Path, marks: &[Mark]) -> Result<(), DiskError> {
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
