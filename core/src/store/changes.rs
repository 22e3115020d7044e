//! Journal of the records that changed since the index was last known to be on disk. After a crash only those
//! are read again, instead of the record of every blob (100,000 of them take 2 s from memory and 10 s from a
//! disk).
//!
//! `HOME/store/changes` begins with a line `BOOT RECORDS`: the kernel's boot id, and the number of records in
//! the index at the checkpoint. Entries of 33 bytes follow: 1 if the index knew the id before, else 0, and
//! the id. An entry is written before its record is. The journal is never flushed to the disk: a process that
//! dies leaves its writes to the kernel, and after a crash of the machine the boot id differs and the index
//! is built anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;

use super::disk::{self, DiskError};
use super::layout::Layout;
use super::meta::Meta;
use super::recover;
use crate::id::ContentId;
use crate::platform::boot;

/// Entries until the next checkpoint: reading this many records takes some tenths of a second.
const MOST: usize = 4096;

/// Length of an entry in bytes.
const ENTRY: usize = 33;

/// The journal, open for appending.
#[derive(Debug)]
pub(super) struct Changes {
    file: File,
    entries: usize,
}

impl Changes {
    /// Begins a new journal. The index, with `records` records, is on disk.
    pub(super) fn checkpoint(layout: &Layout, records: u64) -> Result<Self, DiskError> {
        let path = layout.changes();
        // Without a boot id one start of the machine looks like another: the journal is never believed.
        let text = format!("{} {records}\n", boot().unwrap_or_else(|| "-".into()));
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut made = disk::create_new(&new, 0o600)?;
        let written = made.write_all(text.as_bytes()).and_then(|()| fs::rename(&new, &path));
        written.map_err(|e| DiskError::new("write", &path, e))?;
        let file =
            OpenOptions::new().append(true).open(&path).map_err(|e| DiskError::new("open", &path, e))?;
        Ok(Self { file, entries: 0 })
    }

    /// Enters that the record of `id` is about to change; `known` says whether the index has it.
    pub(super) fn note(&mut self, layout: &Layout, id: ContentId, known: bool) -> Result<(), DiskError> {
        let mut entry = [0; ENTRY];
        entry[0] = u8::from(known);
        entry[1..].copy_from_slice(id.as_bytes());
        self.entries += 1;
        self.file.write_all(&entry).map_err(|e| DiskError::new("write", &layout.changes(), e))
    }

    /// True if it is time for a checkpoint.
    pub(super) const fn is_full(&self) -> bool {
        self.entries >= MOST
    }
}

/// Brings an index that was not closed in order up to date. False if the journal does not tell what it lacks.
pub(super) fn replay(layout: &Layout, meta: &Meta) -> bool {
    let Some((records, changed)) = read(layout) else { return false };
    let known = changed.values().filter(|known| **known).count() as u64;
    let untouched = meta.count_without(|id| changed.contains_key(&id));
    // A damaged index may open and hold fewer records than it had.
    if untouched + known != records {
        return false;
    }
    for id in changed.keys() {
        match recover::record_in(&layout.blob_dir(*id)) {
            Some(record) => meta.put(&record),
            None => meta.remove(*id),
        }
    }
    tracing::debug!(changes = changed.len(), "the index is up to date again");
    true
}

/// Reads the number of records at the checkpoint, and for each id that changed since whether the index knew
/// it then.
fn read(layout: &Layout) -> Option<(u64, BTreeMap<ContentId, bool>)> {
    let bytes = disk::read(&layout.changes()).ok()?;
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (boot_then, records) = std::str::from_utf8(&bytes[..line]).ok()?.split_once(' ')?;
    if boot()? != boot_then {
        return None;
    }
    let mut changed = BTreeMap::new();
    // The record of a truncated entry was not touched.
    for entry in bytes[line + 1..].chunks_exact(ENTRY) {
        let id = ContentId::from_bytes(entry[1..].try_into().ok()?);
        changed.entry(id).or_insert(entry[0] == 1);
    }
    Some((records.parse().ok()?, changed))
}
