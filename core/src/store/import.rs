//! Publishing: one pass over the bytes yields id and hash list together, on all cores.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::{self, DiskError, Stamp};
use super::hashing::{self, FilePiece};
use super::record::{BlobLocation, Domain, Payload, Record, StoredState};
use super::{Store, StoreError, copying, homes};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::manifest::{EntryKind, Manifest, ManifestEntry};
use crate::content::path::{self, Rules};
use crate::content::tree::HashList;
use crate::id::ContentId;
use crate::limits;
use crate::options::Audience;
use crate::platform;
use crate::store::import_request::{Import, changed};

impl Store {
    /// Publishes a file or a folder: hashes it, remembers where it is, and returns its record. The
    /// publication survives a power cut once this returns.
    ///
    /// # Errors
    /// A path that a manifest does not allow, a source that changes while it is read, or the disk.
    pub fn import(&self, import: &Import<'_>) -> Result<Record, StoreError> {
        if self.is_tree(import)? {
            return self.import_tree(import);
        }
        if import.copy || import.take { self.import_copy(import) } else { self.import_in_place(import) }
    }

    /// True if a folder is to be published; fails for a path that cannot be published.
    pub(super) fn is_tree(&self, import: &Import<'_>) -> Result<bool, StoreError> {
        if self.inner.read_only {
            return Err(StoreError::User("the store is read-only: nothing can be published".into()));
        }
        let shown = || disk::PrintablePath(import.path.to_owned());
        if import.path.to_str().is_none() {
            return Err(StoreError::User(format!(
                "{} is not UTF-8: a path like that cannot be remembered",
                shown()
            )));
        }
        let meta = fs::metadata(import.path).map_err(|e| DiskError::new("read", import.path, e))?;
        if !meta.is_file() && !meta.is_dir() {
            return Err(StoreError::User(format!("{} is neither a file nor a folder", shown())));
        }
        homes::refuse_home(import.path, import.take)?;
        if meta.is_dir() && import.copy {
            let hint = "publish an archive of it, or leave out --copy to serve it in place";
            return Err(StoreError::User(format!("a folder cannot be copied into the store: {hint}")));
        }
        path::check_component(&import.name, import.rules)
            .map_err(|e| StoreError::User(format!("{e}; give another name with --name")))?;
        Ok(meta.is_dir())
    }

    /// Records a file that proved to be a requested content: it is served in place from then on.
    ///
    /// # Errors
    /// The errors of [`Store::import`].
    pub fn adopt(
        &self,
        path: &Path,
        audience: Option<Audience>,
        domain: Domain,
    ) -> Result<Record, StoreError> {
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut record = self.import(&Import {
            path,
            name: path::sanitize_name(&name),
            copy: false,
            take: false,
            rules: Rules::Portable,
            symlinks: false,
            skipped_homes: None,
            audience,
            domain,
            progress: &|_, _| {},
            cancel: &AtomicBool::new(false),
        })?;
        record.origin = false;
        self.save(&record)?;
        Ok(record)
    }

    fn import_in_place(&self, import: &Import<'_>) -> Result<Record, StoreError> {
        let file = disk::open(import.path)?;
        let stamp = Stamp::of(&file, import.path)?;
        let piece = FilePiece { file: import.path.to_owned(), start: 0, size: stamp.size() };
        let list = hashing::hash(stamp.size(), &[piece], import, &mut |_, _| {})?;
        if Stamp::of(&file, import.path)? != stamp {
            return Err(changed(import.path));
        }
        let place = BlobLocation::File { path: import.path.to_owned(), stamp };
        self.remember_from(&list, import, place, (None, None), Some(&file))
    }

    /// Publishes a copy. The copy is hashed, so a source that changes meanwhile does no harm.
    fn import_copy(&self, import: &Import<'_>) -> Result<Record, StoreError> {
        self.copied(import, |temp| self.import_temp(import, temp))
    }

    /// Copies a file into the store under a temporary name, from which `then` takes it on.
    pub(super) fn copied(
        &self,
        import: &Import<'_>,
        then: impl FnOnce(&Path) -> Result<Record, StoreError>,
    ) -> Result<Record, StoreError> {
        // Several publications may be under way at once.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temp = self.inner.layout.incoming().join(format!("copy-{}-{number}", std::process::id()));
        let len = fs::metadata(import.path).map_or(0, |m| m.len());
        self.make_room(len, None)?;
        if import.take {
            disk::rename(import.path, &temp)?;
        } else {
            let (from, to) = (disk::open(import.path)?, disk::create_new(&temp, 0o600)?);
            copying::copy(&from, &to).map_err(|e| DiskError::new("copy into the store", import.path, e))?;
        }
        let result = then(&temp);
        if result.is_err() {
            let _ = fs::remove_file(&temp);
        }
        result
    }

    fn import_temp(&self, import: &Import<'_>, temp: &Path) -> Result<Record, StoreError> {
        let file = disk::open(temp)?;
        let len = Stamp::of(&file, temp)?.size();
        let piece = FilePiece { file: temp.to_owned(), start: 0, size: len };
        let list = hashing::hash(len, &[piece], import, &mut |_, _| {})?;
        disk::sync(&file, temp)?;
        let dir = self.inner.layout.blob_dir(list.id());
        disk::create_dir_all(&dir)?;
        disk::rename(temp, &dir.join("data"))?;
        self.remember(&list, import, BlobLocation::Store, None, None)
    }

    fn import_tree(&self, import: &Import<'_>) -> Result<Record, StoreError> {
        let (manifest, list) = read_tree(import)?;
        let files = manifest.file_offsets().count() as u64;
        let bytes = manifest.encode()?;
        let geometry = Geometry::new(bytes.len() as u64).map_err(|e| StoreError::User(e.to_string()))?;
        let manifest_list = HashList::of(ContentKind::Directory, geometry, &bytes);
        disk::sync_fs(import.path)?;
        let place = BlobLocation::Tree { root: import.path.to_owned(), dir: manifest_list.id() };
        let dir = self.inner.layout.blob_dir(manifest_list.id());
        disk::create_dir_all(&dir)?;
        disk::write_atomic(&dir.join("data"), &bytes, 0o600)?;
        self.remember(&list, import, place, None, Some(manifest_list.id()))?;
        let payload = Payload { id: list.id(), len: manifest.payload_len, files };
        self.remember(&manifest_list, import, BlobLocation::Store, Some(payload), None)
    }

    fn remember(
        &self,
        list: &HashList,
        import: &Import<'_>,
        place: BlobLocation,
        payload: Option<Payload>,
        of: Option<ContentId>,
    ) -> Result<Record, StoreError> {
        self.remember_from(list, import, place, (payload, of), None)
    }

    /// Remembers published content. A `source` is flushed with the record.
    fn remember_from(
        &self,
        list: &HashList,
        import: &Import<'_>,
        place: BlobLocation,
        (payload, of): (Option<Payload>, Option<ContentId>),
        source: Option<&fs::File>,
    ) -> Result<Record, StoreError> {
        let before = self.record(list.id());
        // Bytes that are whole in the store already are kept there: the source may go away.
        let stored = before
            .as_ref()
            .is_some_and(|r| r.place == BlobLocation::Store && r.state == StoredState::Complete);
        // A file that was published by itself does not become a mere part of a directory.
        let own = before
            .as_ref()
            .is_some_and(|r| r.of.is_none() && r.state == StoredState::Complete && of.is_some());
        let record = Record {
            id: list.id(),
            kind: list.kind(),
            len: list.geometry().len(),
            name: import.name.clone(),
            origin: true,
            added: Record::now(),
            place: if stored { BlobLocation::Store } else { place },
            state: StoredState::Complete,
            payload,
            of: if own { None } else { of },
            audience: import.audience.or_else(|| before.as_ref().and_then(|r| r.audience)),
            seal: None,
            domains: with(before.map_or_else(Vec::new, |r| r.domains), import.domain),
        };
        self.save_new(&record, list, source.map(|file| (file, import.path)))?;
        let _ = fs::remove_file(self.inner.layout.blob_dir(list.id()).join("have"));
        Ok(record)
    }
}

/// Adds a domain to a sorted list.
fn with(mut domains: Vec<Domain>, more: Domain) -> Vec<Domain> {
    domains.push(more);
    domains.sort_unstable();
    domains.dedup();
    domains
}

/// Hashes the files of a folder. Returns the manifest and the hash list of their bytes.
pub(super) fn read_tree(import: &Import<'_>) -> Result<(Manifest, HashList), StoreError> {
    let mut entries = walk(import)?;
    let (mut pieces, mut start) = (Vec::new(), 0_u64);
    for entry in &entries {
        if let EntryKind::File { size, .. } = entry.kind {
            pieces.push(FilePiece { file: import.path.join(&entry.path), start, size });
            start = start.saturating_add(size);
        }
    }
    let mut ids = vec![ContentId::from(blake3::hash(b"")); pieces.len()];
    let list = hashing::hash(start, &pieces, import, &mut |piece, id| ids[piece] = id)?;
    let mut ids = ids.into_iter();
    for entry in &mut entries {
        if let EntryKind::File { id, .. } = &mut entry.kind {
            *id = ids.next().unwrap_or(*id);
        }
    }
    Ok((Manifest { rules: import.rules, payload: list.id(), payload_len: start, entries }, list))
}

/// Lists the entries of a tree, sorted by path; the ids of files are still to be filled in.
fn walk(import: &Import<'_>) -> Result<Vec<ManifestEntry>, StoreError> {
    let mut entries = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(above) = folders.pop() {
        let folder = import.path.join(&above);
        let listing = fs::read_dir(&folder).map_err(|e| DiskError::new("list", &folder, e))?;
        let before = entries.len() + folders.len();
        let listing: Vec<_> =
            listing.collect::<Result<_, _>>().map_err(|e| DiskError::new("list", &folder, e))?;
        let may_be_home = |item: &fs::DirEntry| item.file_name().to_str().is_some_and(homes::may_be_home);
        if listing.iter().any(may_be_home) && homes::is_home(&folder) {
            match import.skipped_homes {
                Some(skipped) if !above.is_empty() => {
                    skipped.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
                    continue;
                }
                _ => return Err(homes::refusal(&folder, &folder)),
            }
        }
        for item in listing {
            let name = item.file_name();
            let name = path::check_component_bytes(name.as_encoded_bytes(), import.rules)
                .map_err(|e| StoreError::User(format!("in {}: {e}", disk::PrintablePath(folder.clone()))))?;
            let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
            let meta = item.metadata().map_err(|e| DiskError::new("inspect", &item.path(), e))?;
            if meta.is_dir() {
                folders.push(path);
            } else {
                entries.push(ManifestEntry { kind: kind_of(import, &item.path(), &meta)?, path });
            }
            if entries.len() + folders.len() > limits::MANIFEST_ENTRIES {
                let most = limits::MANIFEST_ENTRIES;
                return Err(StoreError::User(format!(
                    "more than {most} entries: publish an archive of it instead"
                )));
            }
        }
        if entries.len() + folders.len() == before && !above.is_empty() {
            entries.push(ManifestEntry { path: above, kind: EntryKind::EmptyDir });
        }
    }
    entries.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok(entries)
}

fn kind_of(import: &Import<'_>, path: &Path, meta: &fs::Metadata) -> Result<EntryKind, StoreError> {
    let shown = || disk::PrintablePath(path.to_owned());
    if meta.is_file() {
        let id = ContentId::from(blake3::hash(b""));
        return Ok(EntryKind::File {
            size: meta.len(),
            id,
            executable: platform::permissions(meta) & 0o111 != 0,
        });
    }
    if !meta.is_symlink() {
        return Err(StoreError::User(format!("{} is neither a file, a folder nor a link", shown())));
    }
    if !import.symlinks {
        return Err(StoreError::User(format!(
            "{} is a symbolic link: publish with --symlinks to keep it",
            shown()
        )));
    }
    let target = fs::read_link(path).map_err(|e| DiskError::new("read", path, e))?;
    match target.into_os_string().into_string() {
        Ok(target) => Ok(EntryKind::Symlink { target }),
        Err(_) => Err(StoreError::User(format!("the target of {} is not UTF-8", shown()))),
    }
}
