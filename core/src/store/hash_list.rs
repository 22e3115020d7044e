//! The hash list of a file, written beside the file for a web server.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::beneath::Folder;
use super::disk::{DiskError, PrintablePath};
use super::{Store, StoreError};
use crate::id::ContentId;
use crate::limits;
use crate::platform::{NotPut, rename_new};

impl Store {
    /// Refuses a path at which something other than a hash list of this store stands.
    ///
    /// # Errors
    /// [`StoreError::User`] in that case.
    pub fn refuse_list(&self, path: &Path) -> Result<(), StoreError> {
        let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
        let known = meta.is_file() && meta.len() <= limits::HASH_LIST_BYTES as u64 && {
            let there = fs::read(path).unwrap_or_default();
            let ours = self.records().into_iter().filter(|record| record.origin);
            ours.filter_map(|record| self.known_list(record.id)).any(|list| list.encode() == there)
        };
        match known {
            true => Ok(()),
            false => Err(StoreError::User(format!(
                "{} is there already, and is no hash list that was written from here: --hash-list names another file",
                PrintablePath(path.to_owned())
            ))),
        }
    }

    /// Writes the hash list of a blob in its wire format, replacing an earlier hash list but nothing else.
    ///
    /// # Errors
    /// The errors of [`Store::refuse_list`], or the disk.
    pub fn write_list(&self, id: ContentId, path: &Path) -> Result<(), StoreError> {
        let list = self.known_list(id).map_or_else(Vec::new, |list| list.encode());
        let (folder, name) = Folder::around(path)?;
        let (mut file, hidden) = folder.create_hidden("list", 0o666)?;
        let failed = |e: std::io::Error| StoreError::from(DiskError::new("write", path, e));
        let written = file.write_all(&list).and_then(|()| file.sync_data()).map_err(failed);
        let put = written.and_then(|()| {
            match rename_new((folder.handle(), hidden.as_ref()), (folder.handle(), name)) {
                Ok(()) => Ok(()),
                Err(NotPut::Disk(e)) => Err(failed(e)),
                Err(NotPut::Taken) => {
                    self.refuse_list(path)?;
                    let renamed = folder.handle().rename_over(&hidden, folder.handle(), name);
                    renamed.map_err(failed)
                }
            }
        });
        if put.is_err() {
            let _ = folder.remove(&hidden);
        }
        put
    }
}
