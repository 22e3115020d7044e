//! Paths of everything in a home folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::OpenError;
use super::disk::{self, DiskError};
use crate::id::ContentId;

/// Format that this version writes.
const VERSION: &str = "swarm store 3\n";

/// The paths of one home folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    home: PathBuf,
}

impl Layout {
    pub(super) fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.home.join("lock")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    /// Returns a short tag that tells this store's hidden files from those of other stores.
    pub(super) fn tag(&self) -> String {
        let home = self.home.canonicalize().unwrap_or_else(|_| self.home.clone());
        let hash = blake3::hash(home.as_os_str().as_encoded_bytes()).to_hex();
        hash[..6].to_owned()
    }

    pub(super) fn index(&self) -> PathBuf {
        self.store().join("index")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.store().join("blobs")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.home.join("incoming")
    }

    /// Folder of the detached downloads.
    pub(super) fn detached(&self) -> PathBuf {
        self.store().join("detached")
    }

    pub(super) fn changes(&self) -> PathBuf {
        self.store().join("changes")
    }

    fn clean(&self) -> PathBuf {
        self.store().join("clean")
    }

    pub(super) fn blob_dir(&self, id: ContentId) -> PathBuf {
        let hex = id.to_string();
        self.blobs().join(&hex[..2]).join(hex)
    }

    pub(super) fn create(&self) -> Result<(), DiskError> {
        [self.blobs(), self.incoming()].iter().try_for_each(|dir| disk::create_dir_all(dir))
    }

    /// Path of a blob's bytes in the store: sealed ones, or with `plain` the plain ones of a share's content.
    pub(super) fn data(&self, id: ContentId, plain: bool) -> PathBuf {
        self.blob_dir(id).join(if plain { "plain" } else { "data" })
    }

    /// Writes the version of a new store; refuses a store of another version.
    pub(super) fn check_version(&self, read_only: bool) -> Result<(), OpenError> {
        let path = self.store().join("version");
        match fs::read_to_string(&path) {
            Ok(text) if text == VERSION => Ok(()),
            Ok(text) => Err(OpenError::Version(format!(
                "the store in {} was made by another version of swarm (\"{}\"): use that version, or another --home",
                disk::PrintablePath(self.home.clone()),
                crate::content::path::escape(text.chars().take(40).collect::<String>().trim_end())
            ))),
            Err(_) if read_only => Err(OpenError::Version(format!(
                "there is no store in {}",
                disk::PrintablePath(self.home.clone())
            ))),
            Err(_) => Ok(disk::write_atomic(&path, VERSION.as_bytes(), 0o600)?),
        }
    }

    /// Count of records at the last orderly close; `None` if the store was not closed in order.
    pub(super) fn closed_with(&self) -> Option<u64> {
        fs::read_to_string(self.clean()).ok()?.trim_end().parse().ok()
    }

    pub(super) fn mark_open(&self) -> Result<(), DiskError> {
        match fs::remove_file(self.clean()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::new("remove", &self.clean(), e))
            }
            Err(_) => Ok(()),
            Ok(()) => disk::sync_dir(&self.store()),
        }
    }

    pub(super) fn mark_closed(&self, records: u64) -> Result<(), DiskError> {
        disk::write_atomic(&self.clean(), format!("{records}\n").as_bytes(), 0o600)
    }
}
