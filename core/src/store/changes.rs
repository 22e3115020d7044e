//! What has changed since the index was last known to be on disk: after a crash only that is read again, instead of
//! the record of every blob (100,000 of them take 2 s from memory and 10 s from a disk).
//!
//! `HOME/store/changes` begins with a line `BOOT RECORDS`: the kernel's boot id, and how many records the index had at
//! the checkpoint. Then 33 bytes an entry: 1 if the index knew the id before, else 0, and the id. An entry is written
//! before its record is. Nothing of it is flushed to the disk: a process that dies leaves what it wrote to the kernel,
//! and after a crash of the machine the boot id differs and the index is built anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;

use super::disk::{self, DiskError};
use super::layout::Layout;
use super::meta::Meta;
use super::recover;
use crate::id::ContentId;

/// Entries until the next checkpoint: reading as many records takes some tenths of a second.
const MOST: usize = 4096;

/// Bytes of an entry.
const ENTRY: usize = 33;

/// The journal, open for more.
#[derive(Debug)]
pub(super) struct Changes {
    file: File,
    entries: usize,
}

/// The kernel's name for the time since the machine started; `None` where there is none.
fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim_end().to_owned()).filter(|boot| !boot.is_empty())
}

impl Changes {
    /// Begins anew: the index, with so many records, is on disk.
    pub(super) fn checkpoint(layout: &Layout, records: u64) -> Result<Self, DiskError> {
        let path = layout.changes();
        // Where nothing tells one start of the machine from another, the journal is never believed.
        let text = format!("{} {records}\n", boot().unwrap_or_else(|| "-".into()));
        let new = path.with_extension("new");
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|e| DiskError::new("write", &path, e))?;
        let file =
            OpenOptions::new().append(true).open(&path).map_err(|e| DiskError::new("open", &path, e))?;
        Ok(Self { file, entries: 0 })
    }

    /// The record of `id` is about to change.
    pub(super) fn note(&mut self, layout: &Layout, id: ContentId, known: bool) -> Result<(), DiskError> {
        let mut entry = [0; ENTRY];
        entry[0] = u8::from(known);
        entry[1..].copy_from_slice(id.as_bytes());
        self.entries += 1;
        self.file.write_all(&entry).map_err(|e| DiskError::new("write", &layout.changes(), e))
    }

    /// It is time for a checkpoint.
    pub(super) const fn is_full(&self) -> bool {
        self.entries >= MOST
    }
}

/// Brings an index that was not closed in order up to date. False when it cannot be told what it lacks.
pub(super) fn replay(layout: &Layout, meta: &Meta) -> bool {
    let Some((records, changed)) = read(layout) else { return false };
    let known = changed.values().filter(|known| **known).count() as u64;
    let untouched = meta.count_without(|id| changed.contains_key(&id));
    // A damaged index may open and hold less than it did.
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

/// Records at the checkpoint, and for each id that changed since whether the index knew it then.
fn read(layout: &Layout) -> Option<(u64, BTreeMap<ContentId, bool>)> {
    let bytes = disk::read(&layout.changes()).ok()?;
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (boot_then, records) = std::str::from_utf8(&bytes[..line]).ok()?.split_once(' ')?;
    if boot()? != boot_then {
        return None;
    }
    let mut changed = BTreeMap::new();
    // An entry cut short is one whose record was not touched.
    for entry in bytes[line + 1..].chunks_exact(ENTRY) {
        let id = ContentId::from_bytes(entry[1..].try_into().ok()?);
        changed.entry(id).or_insert(entry[0] == 1);
    }
    Some((records.parse().ok()?, changed))
}
