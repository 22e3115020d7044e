//! The have-map of a partial blob: a small file of checksummed runs that is appended to. It may understate,
//! never overstate.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::disk::{self, DiskError};
use crate::content::bitmap::Bitmap;
use crate::id::ContentId;

/// Length of a record in bytes: first chunk, count, and four bytes of a BLAKE3 keyed with the blob's id, so
/// that neither a torn write nor a file of another blob is believed.
const RECORD: usize = 12;

/// The open have-map of one blob.
#[derive(Debug)]
pub(super) struct HaveFile {
    id: ContentId,
    path: PathBuf,
    file: File,
}

impl HaveFile {
    /// Opens, or creates, the map in a blob's folder and reads it.
    pub(super) fn open(dir: &Path, id: ContentId, chunks: u32) -> Result<(Self, Bitmap), DiskError> {
        let path = dir.join("have");
        let bitmap = read(&path, id, chunks);
        let mut file = disk::open_rw(&path, 0o600, true)?;
        // A torn tail would misalign every later record, so the valid part is written anew.
        let runs: Vec<u8> = bitmap.runs().flat_map(|run| record(id, run)).collect();
        let rewritten = file.set_len(0).and_then(|()| file.write_all(&runs));
        rewritten.map_err(|e| DiskError::new("write", &path, e))?;
        disk::sync(&file, &path)?;
        disk::sync_dir(dir)?;
        Ok((Self { id, path, file }, bitmap))
    }

    /// Enters chunks and flushes.
    pub(super) fn append(&mut self, chunks: &Bitmap) -> Result<(), DiskError> {
        let bytes: Vec<u8> = chunks.runs().flat_map(|run| record(self.id, run)).collect();
        self.file.write_all(&bytes).map_err(|e| DiskError::new("write", &self.path, e))?;
        disk::sync(&self.file, &self.path)
    }
}

/// Reads the map in a file, up to the first record that is not whole; a missing file is an empty map.
pub(super) fn read(path: &Path, id: ContentId, chunks: u32) -> Bitmap {
    let mut bitmap = Bitmap::new(chunks);
    for bytes in std::fs::read(path).unwrap_or_default().chunks_exact(RECORD) {
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let (first, count) = (word(0), word(4));
        let end = u64::from(first) + u64::from(count);
        if record(id, (first, count)) != bytes || end > u64::from(chunks) {
            break;
        }
        (first..first + count).for_each(|c| bitmap.set(c));
    }
    bitmap
}

fn record(id: ContentId, (first, count): (u32, u32)) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..4].copy_from_slice(&first.to_le_bytes());
    bytes[4..8].copy_from_slice(&count.to_le_bytes());
    let sum = blake3::keyed_hash(id.as_bytes(), &bytes[..8]);
    bytes[8..].copy_from_slice(&sum.as_bytes()[..4]);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Model of a crash (D35): whatever prefix of the file survives, and whatever byte is torn, no chunk
        /// is claimed that was not entered, and entering goes on.
        #[test]
        fn never_overstates(
            batches in prop::collection::vec(prop::collection::vec(0_u32..500, 1..20), 1..8),
            cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), torn: bool
        ) {
            let dir = tempfile::tempdir().unwrap();
            let id = ContentId::from(blake3::hash(b"blob"));
            let (mut map, mut all) = (HaveFile::open(dir.path(), id, 500).unwrap().0, Bitmap::new(500));
            for batch in &batches {
                let mut chunks = Bitmap::new(500);
                batch.iter().for_each(|c| { chunks.set(*c); all.set(*c); });
                map.append(&chunks).unwrap();
            }
            drop(map);
            let path = dir.path().join("have");
            prop_assert_eq!(&read(&path, id, 500), &all);
            prop_assert!(read(&path, ContentId::from(blake3::hash(b"other")), 500).is_empty());
            let mut bytes = std::fs::read(&path).unwrap();
            if torn { let at = flip.index(bytes.len()); bytes[at] ^= 0x10; }
            bytes.truncate(cut.index(bytes.len() + 1));
            std::fs::write(&path, &bytes).unwrap();
            let (mut map, left) = HaveFile::open(dir.path(), id, 500).unwrap();
            prop_assert!(left.iter().all(|c| all.get(c)));
            let mut one = Bitmap::new(500);
            one.set(499);
            map.append(&one).unwrap();
            prop_assert!(read(&path, id, 500).get(499));
        }
    }
}
