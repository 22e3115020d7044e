//! Blobs on disk: where their bytes are, which chunks are verified, and what survives a crash.
//!
//! ```text
//! HOME/lock                   lock of the one owner, held for life (flock); pid inside
//! HOME/control.sock           the node's socket (0600)
//! HOME/identity               the node's key (0600)
//! HOME/bans                   banned peers (bans.old: the generation before)
//! HOME/incoming/              content that arrives on standard input
//! HOME/store/version          format; another one is refused
//! HOME/store/clean            present only after an orderly close (the index is valid); holds its count
//! HOME/store/changes          records changed since the index was last flushed: read again after a crash
//! HOME/store/index/           sled: a cache of the `info` files, rebuilt from them whenever in doubt
//! HOME/store/blobs/ab/<id>/   info (the record), list (hash list), have (verified chunks of a partial blob),
//!                             data (the bytes, unless they are served in place); of a share also its key
//!                             (0600), and plain in place of data where its plain content is kept here
//! ```
//!
//! **Order of writes.** Chunk data, flush, have-map, flush: the have-map may understate, never overstate.
//! After a crash, chunks that were written and not yet entered are found again by hashing the allocated
//! ranges that the have-map does not name. Everything else is written to a temporary name, flushed and
//! renamed, and its folder is flushed.
//!
//! All methods block; callers on an async runtime give them a thread.

mod adding;
mod begin;
mod beneath;
pub mod blob;
mod catalogue;
mod changes;
mod claims;
mod copying;
mod disk;
mod domains;
mod extents;
mod finish;
mod flush;
mod gc;
mod hash_list;
mod hashing;
mod have;
mod homes;
mod import;
mod import_request;
mod import_share;
mod laid;
mod layout;
mod leftovers;
mod local;
mod lock;
mod merge;
mod meta;
mod own;
pub mod record;
mod recover;
mod repair;
mod shares;
mod sources;
mod staging;
pub(crate) mod state_files;
mod survey;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::manifest::{Manifest, ManifestError};
use crate::content::share::ShareError;
use crate::content::tree::HashList;
use crate::id::ContentId;
use crate::options::Audience;
pub use begin::WriteTarget;
pub(crate) use blob::Stored;
pub use blob::{Blob, ReadError};
use changes::Changes;
pub use claims::DestinationClaim;
pub use disk::DiskError;
pub use finish::refuse_existing;
pub use flush::{Poisoned, Room};
pub use gc::Collected;
pub use import_request::Import;
pub use import_share::Secret;
use layout::Layout;
pub use leftovers::Leftover;
pub use local::Finder;
pub use lock::LockError;
pub use merge::Finished;
use record::{BlobLocation, Domain, Record, Seal};
pub use sources::{Settled, Sight};
pub use survey::{Rights, WritePlan, rest_is_there, survey};

/// Reason why an operation of the store failed. It says whose fault it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The request cannot be carried out as it stands.
    #[error("{0}")]
    User(String),
    /// A published path has a name that a manifest does not allow.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// Verified bytes have changed since.
    #[error("{0}")]
    Changed(String),
    /// The share is held for others, and its key is not here.
    #[error("it is encrypted, and its key is not here: it is in the link, after the \"#\"")]
    NoKey,
    /// The share is malformed, or sealed with another key.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The operation was cancelled.
    #[error("stopped")]
    Cancelled,
}

/// Reason why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns the store.
    #[error("another swarm (pid {pid}) uses this store")]
    Busy {
        /// Process id of the owner; 0 if unknown.
        pid: u32,
    },
    /// The store has another format, of another version.
    #[error("{0}")]
    Version(String),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A handle to the one store of a home folder; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Network whose content this handle shows; `None` for all content.
    view: Option<Domain>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    meta: meta::Meta,
    /// Journal of changed records. Held while a record changes, so that a checkpoint finds record and index
    /// in step.
    changes: Mutex<Option<Changes>>,
    flusher: flush::Flusher,
    claims: Arc<claims::Claims>,
    max_store: Option<u64>,
    read_only: bool,
    _lock: lock::Lock,
}

/// Request to begin a blob, or to go on with it.
#[derive(Debug, Clone)]
pub struct Begin {
    /// Hash list of the blob, proven against its id.
    pub list: HashList,
    /// Name to remember.
    pub name: String,
    /// Destination of the bytes.
    pub target: WriteTarget,
    /// For a directory's payload: the directory, whose tree the target is. For a share's content: the share.
    pub of: Option<ContentId>,
    /// Audience of the blob; `None` keeps the present one.
    pub audience: Option<Audience>,
    /// Seal of a share's content, which is decrypted as it is written: the key is here.
    pub seal: Option<Seal>,
    /// Network in which the blob is fetched and offered.
    pub domain: Domain,
}

impl Store {
    /// Opens the store of a home folder, creates it if need be, and takes its lock.
    ///
    /// # Errors
    /// [`OpenError::Busy`] with the owner's pid, [`OpenError::Version`] for a foreign format, or the disk.
    pub fn open(home: &Path, max_store: Option<u64>, read_only: bool) -> Result<Self, OpenError> {
        let layout = Layout::new(home);
        if !read_only {
            layout.create()?;
        }
        let lock = lock::Lock::take(&layout.lock(), read_only).map_err(|e| match e {
            LockError::Held(pid) => OpenError::Busy { pid },
            LockError::Disk(e) => OpenError::Disk(e),
        })?;
        layout.check_version(read_only)?;
        let meta = if read_only { meta::Meta::in_memory() } else { meta::Meta::open(&layout) };
        // A damaged index may open and hold fewer records than it had.
        let is_current = !meta.is_new()
            && match layout.closed_with() {
                Some(records) => records == meta.count(),
                None => changes::replay(&layout, &meta),
            };
        if !is_current {
            recover::rebuild(&layout, &meta)?;
        }
        let mut changes = None;
        if !read_only {
            meta.flush();
            changes = Some(Changes::checkpoint(&layout, meta.count())?);
            layout.mark_open()?;
        }
        let flusher = flush::Flusher::start();
        let store = Self {
            inner: Arc::new(Inner {
                layout,
                meta,
                changes: Mutex::new(changes),
                flusher,
                claims: Arc::default(),
                max_store,
                read_only,
                _lock: lock,
            }),
            view: None,
        };
        if !read_only {
            store.clear_incoming();
        }
        Ok(store)
    }

    /// Flushes everything and marks the store as closed in order.
    pub fn close(&self) {
        self.inner.flusher.stop();
        if !self.inner.read_only && self.inner.meta.flush() {
            let _ = self.inner.layout.mark_closed(self.inner.meta.count());
        }
    }

    /// The home folder: it holds the content that arrives on standard input, and temporary files on the
    /// store's file system.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.inner.layout.home().to_owned()
    }

    /// True if nothing may be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.inner.read_only
    }

    /// Returns this store as one network sees it: only that network's content, and small files
    /// ([`Store::keep`]) of its own.
    #[must_use]
    pub fn within(&self, domain: Domain) -> Self {
        Self { inner: Arc::clone(&self.inner), view: Some(domain) }
    }

    fn shows(&self, record: &Record) -> bool {
        self.view.is_none_or(|domain| record.is_of(domain))
    }

    /// The record of a blob.
    #[must_use]
    pub fn record(&self, id: ContentId) -> Option<Record> {
        self.inner.meta.get(id).filter(|record| self.shows(record))
    }

    /// The audience of a blob, if it has one of its own or its directory or share has one.
    #[must_use]
    pub fn audience(&self, id: ContentId) -> Option<Audience> {
        let record = self.record(id)?;
        record.audience.or_else(|| self.record(record.of?)?.audience)
    }

    /// Sets the audience of a blob, and of the bytes of a directory or share. `None` leaves it to the node's
    /// default.
    ///
    /// # Errors
    /// [`StoreError::User`] for an unknown blob or a read-only store, or the disk.
    pub fn set_audience(&self, id: ContentId, audience: Option<Audience>) -> Result<(), StoreError> {
        if self.inner.read_only {
            return Err(StoreError::User("the store is read-only: nothing can be changed".into()));
        }
        let record = self.record(id).ok_or_else(|| StoreError::User(format!("{id} is not here")))?;
        let payload = record.payload.and_then(|p| self.record(p.id)).filter(|p| p.of == Some(id));
        for id in payload.map(|p| p.id).into_iter().chain([id]) {
            self.replace(id, |record| record.map(|record| Record { audience, ..record }))?;
        }
        Ok(())
    }

    /// All records, by id.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut all = self.inner.meta.all();
        all.retain(|record| self.shows(record));
        all
    }

    /// The records whose bytes are at this path, or are to be put there, by id.
    #[must_use]
    pub(crate) fn at_path(&self, path: &Path) -> Vec<Record> {
        let at = |record: &Record| path_of(record).as_deref() == Some(path);
        self.some(&self.inner.meta.at_path(path)).filter(at).collect()
    }

    /// The records of directories, of shares, and of the bytes of folders, by id.
    #[must_use]
    pub(crate) fn folders(&self) -> Vec<Record> {
        self.some(&self.inner.meta.folders()).collect()
    }

    fn some(&self, ids: &[ContentId]) -> impl Iterator<Item = Record> {
        ids.iter().filter_map(|id| self.record(*id))
    }

    /// Returns how many blobs the store knows, without reading their records.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner.meta.count()
    }

    /// The ids that begin with these hex digits, at most `most`.
    #[must_use]
    pub fn by_prefix(&self, digits: &str, most: usize) -> Vec<ContentId> {
        self.inner.meta.by_prefix(digits, most)
    }

    /// Opens a complete blob, or the verified part of a partial one, for reading. `None` if the blob is
    /// unknown, has no usable bytes, or its source is gone.
    #[must_use]
    pub fn blob(&self, id: ContentId) -> Option<Arc<Blob>> {
        let record = self.record(id)?;
        match recover::open(&self.inner.layout, &record) {
            Ok(blob) => Some(Arc::new(blob)),
            Err(error) => {
                tracing::info!(%id, %error, "blob cannot be opened");
                None
            }
        }
    }

    /// The manifest of a directory that is complete here.
    ///
    /// # Errors
    /// The disk, a changed file, or a manifest that breaks the rules (it came from a peer).
    pub fn manifest(&self, id: ContentId) -> Result<Manifest, StoreError> {
        Ok(Manifest::decode(&self.bytes(id)?)?)
    }

    /// The hash list of a blob that this store knows, complete or not.
    #[must_use]
    pub fn known_list(&self, id: ContentId) -> Option<HashList> {
        read_list(&self.inner.layout, id).ok()
    }

    /// Waits until `bytes` more may be written without outrunning the disk by more than
    /// [`crate::limits::UNFLUSHED_BYTES`].
    pub async fn room(&self, bytes: u64) -> Room {
        self.inner.flusher.room(bytes).await
    }

    /// Reports that a chunk of a blob from [`Store::begin`] has been written: it will be flushed and entered
    /// in the have-map.
    pub fn written(&self, blob: &Arc<Blob>, chunk: u32) {
        self.inner.flusher.written(blob, chunk);
    }

    /// Blobs whose flush failed since the last call. They must be verified again before they are believed.
    #[must_use]
    pub fn poisoned(&self) -> Vec<Poisoned> {
        self.inner.flusher.poisoned(|id| self.view.is_none() || self.record(id).is_some())
    }

    fn save(&self, record: &Record) -> Result<(), DiskError> {
        self.replace(record.id, |_| Some(record.clone()))
    }

    /// Replaces the record of `id` by the result of `make`, which gets the present one; `None` leaves it.
    /// Nobody else changes the record meanwhile.
    fn replace(
        &self,
        id: ContentId,
        make: impl FnOnce(Option<Record>) -> Option<Record>,
    ) -> Result<(), DiskError> {
        if self.inner.read_only {
            return Ok(());
        }
        let mut changes = self.changing(id)?;
        let Some(record) = make(self.inner.meta.get(id)) else { return Ok(()) };
        record.save(&self.inner.layout)?;
        self.inner.meta.put(&record);
        self.changed(&mut changes)
    }

    /// Enters in the journal that the record of `id` is about to change.
    fn changing(&self, id: ContentId) -> Result<MutexGuard<'_, Option<Changes>>, DiskError> {
        let mut changes = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = &mut *changes {
            changes.note(&self.inner.layout, id, self.inner.meta.knows(id))?;
        }
        Ok(changes)
    }

    /// Begins a new journal if the present one is full. Record and index have changed by now.
    fn changed(&self, changes: &mut Option<Changes>) -> Result<(), DiskError> {
        if changes.as_ref().is_some_and(Changes::is_full) && self.inner.meta.flush() {
            *changes = Some(Changes::checkpoint(&self.inner.layout, self.inner.meta.count())?);
        }
        Ok(())
    }
}

/// Encodes a hash list for the disk: kind and length, so that it can be read without the record, then the
/// values.
fn list_file(list: &HashList) -> Vec<u8> {
    let mut bytes = vec![list.kind() as u8];
    bytes.extend(list.geometry().len().to_le_bytes());
    bytes.extend(list.encode());
    bytes
}

/// Reads a stored list and checks it against the id, like a list from a peer.
fn read_list(layout: &Layout, id: ContentId) -> Result<HashList, DiskError> {
    let path = layout.blob_dir(id).join("list");
    let bytes = disk::read(&path)?;
    let broken = || DiskError::corrupt(&path, "the hash list is damaged");
    let (head, values) = bytes.split_at_checked(9).ok_or_else(broken)?;
    let kind = [ContentKind::File, ContentKind::Directory, ContentKind::Share]
        .into_iter()
        .find(|kind| *kind as u8 == head[0]);
    let kind = kind.ok_or_else(broken)?;
    let len = u64::from_le_bytes(head[1..].try_into().map_err(|_| broken())?);
    let geometry = Geometry::new(len).map_err(|_| broken())?;
    HashList::decode(id, kind, geometry, values).map_err(|_| broken())
}

/// Path of a blob's bytes, or of its destination; `None` if they lie in the store.
#[must_use]
pub fn path_of(record: &Record) -> Option<PathBuf> {
    match &record.place {
        BlobLocation::Store => None,
        BlobLocation::File { path, .. } => Some(path.clone()),
        BlobLocation::Tree { root, .. } => Some(root.clone()),
        BlobLocation::Part { dest, .. } => Some(dest.clone()),
    }
}
