//! Shares in the store: their keys and their envelopes.
//!
//! The key lies in the envelope's folder, in a file of its own that only the owner can read: neither the
//! index nor a record has it. A share without a key is held for others, and nothing is known of its content.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::disk::{self, DiskError};
use super::layout::Layout;
use super::record::{Payload, Record, Seal};
use super::{Blob, Store, StoreError};
use crate::content::manifest::Manifest;
use crate::content::seal::{Sealer, ShareKey, SharePart};
use crate::content::share::{Description, Fragment, Outside, open_envelope};
use crate::id::ContentId;

fn key_file(layout: &Layout, id: ContentId) -> PathBuf {
    layout.blob_dir(id).join("key")
}

fn lock_file(layout: &Layout, id: ContentId) -> PathBuf {
    layout.blob_dir(id).join("locked")
}

/// Writes the key of a share.
pub(super) fn keep_key(layout: &Layout, id: ContentId, key: &ShareKey) -> Result<(), DiskError> {
    disk::create_dir_all(&layout.blob_dir(id))?;
    disk::write_atomic(&key_file(layout, id), key.expose(), 0o600)
}

/// Reads the key of a share, if it is here.
fn key(layout: &Layout, id: ContentId) -> Option<ShareKey> {
    let bytes = Zeroizing::new(disk::read(&key_file(layout, id)).ok()?);
    Some(ShareKey::from_bytes(bytes.as_slice().try_into().ok()?))
}

/// Returns the sealer that turns the plain bytes on disk into those of the blob; `None` if the disk holds the
/// blob's own bytes.
pub(super) fn sealer(
    layout: &Layout,
    seal: Option<Seal>,
    of: Option<ContentId>,
) -> Result<Option<Sealer>, StoreError> {
    let Some(Seal { len, salt }) = seal else { return Ok(None) };
    let key = of.and_then(|of| key(layout, of));
    let key = key.ok_or_else(|| StoreError::Changed("the key of the share is gone from the store".into()))?;
    Ok(Some(Sealer::new(&key, &salt, SharePart::Content, len)))
}

/// Reads the manifest of a directory, or of a directory that is shared.
pub(super) fn manifest(layout: &Layout, record: &Record, dir: ContentId) -> Result<Manifest, StoreError> {
    let bytes = disk::read(&layout.data(dir, false))?;
    if record.seal.is_none() {
        return Ok(Manifest::decode(&bytes)?);
    }
    let (_, description) = opened(layout, dir, &bytes, None)?;
    description.manifest.ok_or_else(|| StoreError::Changed("the share is of a file by now".into()))
}

fn opened(
    layout: &Layout,
    id: ContentId,
    envelope: &[u8],
    given: Option<&ShareKey>,
) -> Result<(Outside, Description), StoreError> {
    let kept = key(layout, id);
    let key = given.or(kept.as_ref()).ok_or(StoreError::NoKey)?;
    Ok(open_envelope(envelope, key)?)
}

impl Store {
    /// The key of a share, if it is here.
    #[must_use]
    pub fn share_key(&self, id: ContentId) -> Option<ShareKey> {
        key(&self.inner.layout, id)
    }

    /// Fragment for a link to a share, after the `#`: the key, or the key locked with a password; `None`
    /// without a key.
    #[must_use]
    pub fn share_fragment(&self, id: ContentId) -> Option<Fragment> {
        let locked = disk::read(&lock_file(&self.inner.layout, id)).ok();
        let locked =
            locked.and_then(|bytes| Some(Fragment::Locked(Box::new(bytes.as_slice().try_into().ok()?))));
        locked.or_else(|| self.share_key(id).map(Fragment::Key))
    }

    /// Stores the locked key, which links to this share contain in place of the key from now on.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_lock(&self, id: ContentId, fragment: &Fragment) -> Result<(), StoreError> {
        let Fragment::Locked(locked) = fragment else { return Ok(()) };
        Ok(disk::write_atomic(&lock_file(&self.inner.layout, id), &**locked, 0o600)?)
    }

    /// The part of a share's envelope that everybody can read.
    ///
    /// # Errors
    /// The disk, or a malformed envelope.
    pub fn share_outside(&self, id: ContentId) -> Result<Outside, StoreError> {
        Ok(Outside::decode(&self.bytes(id)?)?)
    }

    /// The part of a share's envelope that needs the key: the given one, or the one that is here.
    ///
    /// # Errors
    /// The errors of [`Store::share_outside`], [`StoreError::NoKey`], or a wrong key.
    pub fn share_description(
        &self,
        id: ContentId,
        key: Option<&ShareKey>,
    ) -> Result<(Outside, Description), StoreError> {
        opened(&self.inner.layout, id, &self.bytes(id)?, key)
    }

    /// Keeps a fetched envelope, with its payload and (after [`Store::share_description`] succeeded with it)
    /// the key.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_share(
        &self,
        id: ContentId,
        key: Option<&ShareKey>,
        name: &str,
        payload: Payload,
    ) -> Result<(), StoreError> {
        let gone = || StoreError::Changed(format!("{id} is no longer here"));
        if let Some(key) = key {
            keep_key(&self.inner.layout, id, key)?;
        }
        let record = self.record(id).ok_or_else(gone)?;
        if record.payload == Some(payload) && record.name == name {
            return Ok(());
        }
        Ok(self.save(&Record { name: name.to_owned(), payload: Some(payload), ..record })?)
    }

    /// All bytes of a blob that is short enough to be held in memory.
    ///
    /// # Errors
    /// The blob is not here, it has changed, or the disk.
    pub(super) fn bytes(&self, id: ContentId) -> Result<Vec<u8>, StoreError> {
        let blob: Arc<Blob> = self.blob(id).ok_or_else(|| StoreError::User(format!("{id} is not here")))?;
        let mut all = Vec::with_capacity(blob.geometry().len() as usize);
        let mut chunk_bytes = Vec::new();
        for chunk in blob.geometry().iter() {
            blob.read(chunk, &mut chunk_bytes).map_err(StoreError::from)?;
            all.extend_from_slice(&chunk_bytes);
        }
        Ok(all)
    }
}
