//! Publishing a share. Nothing encrypted is written to the disk: the sealed bytes are made of the plain ones
//! whenever they are read.

use std::path::Path;

use super::disk::{self, Stamp};
use super::extents::{Extents, Tree};
use super::import::read_tree;
use super::import_request::{Import, changed};
use super::record::{BlobLocation, Payload, Record, Seal, StoredState};
use super::{Store, StoreError, hashing, shares};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::manifest::Manifest;
use crate::content::seal::{SALT, Sealer, ShareKey, SharePart, sealed_len};
use crate::content::share::{Description, Outside, seal_envelope};
use crate::content::tree::HashList;
use crate::id::ContentId;

/// Key and salt of a new share; both are random.
#[derive(Debug)]
pub struct Secret {
    /// The key.
    pub key: ShareKey,
    /// The salt.
    pub salt: [u8; SALT],
}

impl Store {
    /// Publishes a file or a folder as a share, with a new key. Returns the record of the share. The files of
    /// a folder are read twice, since their ids are those of their plain bytes. The publication survives a
    /// power cut once this returns.
    ///
    /// # Errors
    /// The errors of [`Store::import`].
    pub fn import_share(&self, import: &Import<'_>, secret: &Secret) -> Result<Record, StoreError> {
        if self.is_tree(import)? {
            let (manifest, _) = read_tree(import)?;
            let extents = Extents::tree(Tree::new(import.path, &manifest)?);
            let list = self.sealed_list(extents, manifest.payload_len, import, secret)?;
            disk::sync_fs(import.path)?;
            let manifest = Manifest { payload: list.id(), ..manifest };
            let place = |dir| BlobLocation::Tree { root: import.path.to_owned(), dir };
            return self.remember_share(&list, manifest.payload_len, Some(manifest), import, secret, place);
        }
        if import.copy || import.take {
            return self.copied(import, |temp| {
                let (list, len, _) = self.seal_file(temp, import, secret)?;
                let plain = self.inner.layout.data(list.id(), true);
                disk::create_dir_all(&self.inner.layout.blob_dir(list.id()))?;
                disk::rename(temp, &plain)?;
                self.remember_share(&list, len, None, import, secret, |_| BlobLocation::Store)
            });
        }
        let (list, len, stamp) = self.seal_file(import.path, import, secret)?;
        let place = |_| BlobLocation::File { path: import.path.to_owned(), stamp };
        self.remember_share(&list, len, None, import, secret, place)
    }

    fn seal_file(
        &self,
        path: &Path,
        import: &Import<'_>,
        secret: &Secret,
    ) -> Result<(HashList, u64, Stamp), StoreError> {
        let file = disk::open(path)?;
        let stamp = Stamp::of(&file, path)?;
        let again = disk::open(path)?;
        let list = self.sealed_list(Extents::one(again, path.to_owned()), stamp.size(), import, secret)?;
        if Stamp::of(&file, path)? != stamp {
            return Err(changed(path));
        }
        disk::sync(&file, path)?;
        Ok((list, stamp.size(), stamp))
    }

    fn sealed_list(
        &self,
        plain: Extents,
        len: u64,
        import: &Import<'_>,
        secret: &Secret,
    ) -> Result<HashList, StoreError> {
        let geometry = Geometry::new(sealed_len(len)).map_err(|e| StoreError::User(e.to_string()))?;
        let sealer = Sealer::new(&secret.key, &secret.salt, SharePart::Content, len);
        hashing::extents(&plain.sealed(Some(sealer)), geometry, import)
    }

    /// Stores key, content and envelope, in this order, so that everything an entry names exists.
    fn remember_share(
        &self,
        list: &HashList,
        len: u64,
        manifest: Option<Manifest>,
        import: &Import<'_>,
        secret: &Secret,
        place: impl FnOnce(ContentId) -> BlobLocation,
    ) -> Result<Record, StoreError> {
        let files = manifest.as_ref().map_or(0, |manifest| manifest.file_offsets().count() as u64);
        let outside = Outside { content: list.id(), content_len: list.geometry().len(), salt: secret.salt };
        let description = Description { name: import.name.clone(), len, manifest };
        let envelope = seal_envelope(&outside, &description, &secret.key)?;
        let geometry = Geometry::new(envelope.len() as u64).map_err(|e| StoreError::User(e.to_string()))?;
        let envelope_list = HashList::of(ContentKind::Share, geometry, &envelope);
        let id = envelope_list.id();
        shares::keep_key(&self.inner.layout, id, &secret.key)?;
        disk::write_atomic(&self.inner.layout.data(id, false), &envelope, 0o600)?;
        let content = Record {
            id: list.id(),
            kind: ContentKind::File,
            len: list.geometry().len(),
            name: import.name.clone(),
            origin: true,
            added: Record::now(),
            place: place(id),
            state: StoredState::Complete,
            payload: None,
            of: Some(id),
            audience: import.audience,
            seal: Some(Seal { len, salt: secret.salt }),
            domains: vec![import.domain],
        };
        self.save_new(&content, list, None)?;
        let record = Record {
            id,
            kind: ContentKind::Share,
            len: geometry.len(),
            place: BlobLocation::Store,
            payload: Some(Payload { id: content.id, len, files }),
            of: None,
            seal: None,
            ..content
        };
        self.save_new(&record, &envelope_list, None)?;
        Ok(record)
    }
}
