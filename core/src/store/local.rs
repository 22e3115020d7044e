//! Chunks from local files: before a peer is asked for a chunk, it is put together from files that may have
//! its bytes, and used if its hash is right.

pub(super) mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::extents::Extents;
use super::record::{BlobLocation, Record, StoredState};
use super::{Begin, Store, StoreError, WriteTarget, laid, shares};
use crate::content::geometry::ChunkIndex;
use crate::content::kind::ContentKind;
use crate::content::manifest::{EntryKind, Manifest};
use crate::content::tree::HashList;
use crate::id::ContentId;
use crate::limits;
use runs::{LocalFiles, LocalRun};

/// Finds chunks of one blob among the local files.
#[derive(Debug)]
pub struct Finder {
    list: HashList,
    attempts: Vec<Extents>,
}

impl Finder {
    /// Puts a chunk together from local files. True if its verified bytes are in `buffer` then.
    #[must_use]
    pub fn find(&self, chunk: ChunkIndex, buffer: &mut Vec<u8>) -> bool {
        let geometry = self.list.geometry();
        buffer.resize(geometry.size(chunk), 0);
        self.attempts.iter().any(|extents| {
            // Hashing costs far more than a missing file.
            if extents.read_at(geometry.offset(chunk), buffer).is_err() {
                return false;
            }
            let mut check = self.list.check(chunk);
            check.update(buffer);
            check.passes()
        })
    }

    /// True if no local file may have bytes of the blob.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }
}

impl Store {
    /// Finds the files that may have bytes of a blob that is about to be fetched: at its destination,
    /// wherever it or its directory was put or begun before, and those of other contents that have the same
    /// files.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] for a share whose key is not here.
    pub fn finder(&self, begin: &Begin) -> Result<Finder, StoreError> {
        let id = begin.list.id();
        let mut sources = LocalFiles::default();
        let mut wanted: BTreeMap<ContentId, Vec<usize>> = BTreeMap::new();
        let place = self.record(id).map(|record| record.place);
        match &begin.target {
            WriteTarget::Tree { dest, manifest, dir, .. } => {
                for (entry, start, size) in manifest.file_offsets() {
                    if let (EntryKind::File { id, .. }, 1..) = (&entry.kind, size) {
                        wanted.entry(*id).or_default().push(sources.pieces.len());
                        sources.pieces.push(LocalRun { start, size, at: Vec::new() });
                    }
                }
                let mut roots = vec![dest.clone()];
                match place {
                    Some(BlobLocation::Tree { root, .. }) => roots.push(root),
                    Some(BlobLocation::Part { staging, .. }) => roots.push(staging),
                    _ => {}
                }
                let laid = laid::read(&self.inner.layout, *dir);
                roots.extend(laid.into_iter().rev().map(|laid| laid.root));
                roots.iter().for_each(|root| sources.add_tree(manifest, root));
            }
            WriteTarget::File(_) | WriteTarget::Store => {
                let size = begin.seal.map_or_else(|| begin.list.geometry().len(), |seal| seal.len);
                sources.pieces.push(LocalRun { start: 0, size, at: Vec::new() });
                if let WriteTarget::File(dest) = &begin.target {
                    sources.add_file(&[0], dest);
                }
                match place {
                    Some(BlobLocation::File { path, .. }) => sources.add_file(&[0], &path),
                    Some(BlobLocation::Part { staging, dir: None, .. }) => sources.add_file(&[0], &staging),
                    _ => {}
                }
                if begin.seal.is_none() {
                    wanted.entry(id).or_default().push(0);
                }
            }
        }
        self.add_others(&mut sources, &wanted);
        sources.prune(begin.list.geometry().chunk_size());
        let most = sources.pieces.iter().map(|piece| piece.at.len()).max().unwrap_or(0);
        let sources = Arc::new(sources);
        let attempt = |attempt| {
            let seal = shares::sealer(&self.inner.layout, begin.seal, begin.of)?;
            Ok(Extents::spread(Arc::clone(&sources), attempt).sealed(seal))
        };
        let attempts = (0..most).map(attempt).collect::<Result<_, StoreError>>()?;
        Ok(Finder { list: begin.list.clone(), attempts })
    }

    /// Adds the same files in other contents.
    fn add_others(&self, sources: &mut LocalFiles, wanted: &BTreeMap<ContentId, Vec<usize>>) {
        for (id, pieces) in wanted {
            let whole = |record: &Record| {
                record.kind == ContentKind::File
                    && record.state == StoredState::Complete
                    && record.seal.is_none()
            };
            let Some(record) = self.record(*id).filter(whole) else { continue };
            match &record.place {
                BlobLocation::File { path, .. } => sources.add_file(pieces, path),
                BlobLocation::Store => sources.add_file(pieces, &self.inner.layout.data(record.id, false)),
                BlobLocation::Tree { .. } | BlobLocation::Part { .. } => {}
            }
        }
        let mut trees = 0;
        for record in self.folders() {
            if trees < limits::SOURCE_TREES
                && let Some((root, manifest)) = self.tree_of(&record)
            {
                trees += 1;
                let folder = sources.folder(&root);
                for (entry, ..) in manifest.file_offsets() {
                    if let EntryKind::File { id, .. } = &entry.kind
                        && let Some(pieces) = wanted.get(id)
                    {
                        sources.add(pieces, folder, &entry.path);
                    }
                }
            }
        }
    }

    /// Returns the folder and the manifest of a directory that is in place.
    fn tree_of(&self, record: &Record) -> Option<(std::path::PathBuf, Manifest)> {
        let payload = self.record(record.payload?.id)?;
        let BlobLocation::Tree { root, dir } = &payload.place else { return None };
        let manifest = shares::manifest(&self.inner.layout, &payload, *dir).ok()?;
        root.is_dir().then(|| (root.clone(), manifest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::content::geometry::Geometry;
    use crate::store::record::Domain;

    #[test]
    fn only_what_is_there_is_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("home"), None, false).unwrap();
        let (bytes, dest) = (vec![7; 200_000], home.path().join("dest"));
        let list = HashList::of(ContentKind::File, Geometry::new(bytes.len() as u64).unwrap(), &bytes);
        let chunk = list.geometry().chunk(0).unwrap();
        let begin = Begin {
            list,
            name: "f".to_owned(),
            target: WriteTarget::File(dest.clone()),
            of: None,
            audience: None,
            seal: None,
            domain: Domain::Public,
        };
        assert!(store.finder(&begin).unwrap().is_empty(), "nothing is there");
        std::fs::write(&dest, &bytes).unwrap();
        let finder = store.finder(&begin).unwrap();
        let mut buffer = Vec::new();
        assert!(finder.find(chunk, &mut buffer));
        assert_eq!(buffer, bytes[..buffer.len()]);
        std::fs::write(&dest, "short").unwrap();
        assert!(!finder.find(chunk, &mut Vec::new()));
        std::fs::remove_file(&dest).unwrap();
        // The bytes of the last attempt are still in the buffer: they were not read now.
        assert!(!finder.find(chunk, &mut buffer));
    }
}
