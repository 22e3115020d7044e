//! Uses content that is here already: at its destination, or somewhere else in this store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{GetJob, follow, not_blind, not_encrypted};
use crate::api::command::Destination;
use crate::api::event::{Event, Failure, Fault};
use crate::content::kind::ContentKind;
use crate::content::path::sanitize_name;
use crate::exchange::DownloadView;
use crate::id::ContentId;
use crate::node::actor::NetworkCommand;
use crate::node::jobs::store_failure;
use crate::node::network::{blocking, failure};
use crate::store::record::{BlobLocation, StoredState};
use crate::store::{Begin, Blob, Store, StoreError, rest_is_there};
use crate::transfer::session::event::Outcome;

impl GetJob {
    /// Returns the answer if the wanted file is at its destination already: nothing is fetched or
    /// overwritten.
    pub(super) async fn already_there(&self, id: ContentId, path: PathBuf) -> Result<Option<Event>, Failure> {
        let len = match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => meta.len(),
            _ => return Ok(None),
        };
        let known =
            self.context.store.record(id).is_some_and(|r| r.kind == ContentKind::File && r.len == len);
        if !known && self.get.overwrite {
            return Ok(None);
        }
        let hashed = {
            let path = path.clone();
            blocking(move || {
                let mut hasher = blake3::Hasher::new();
                let file = std::fs::File::open(&path).ok()?;
                hasher.update_reader(file).ok().map(|h| ContentId::from(h.finalize()))
            })
            .await?
        };
        if hashed != Some(id) {
            return Ok(None);
        }
        self.adopt(id, path.clone()).await;
        Ok(Some(self.done(id, path, len, len, &DownloadView::default())))
    }

    /// Shares a file from its destination, if the store did not know it. A failure is harmless.
    pub(super) async fn adopt(&self, id: ContentId, path: PathBuf) {
        let (store, audience, domain) = (self.context.store.clone(), self.get.serve, self.context.domain);
        let adopted = blocking(move || match store.record(id) {
            Some(_) => None,
            None => store.adopt(&path, audience, domain).ok().and_then(|_| store.blob(id)),
        });
        if let Ok(Some(blob)) = adopted.await {
            self.net.ask(NetworkCommand::Publish(blob)).await;
        }
    }

    /// Returns the answer if this store put the directory at its destination earlier and every byte of it
    /// verifies.
    pub(super) async fn tree_in_place(&self, id: ContentId) -> Result<Option<Event>, Failure> {
        let Some(record) = self.context.store.record(id) else { return Ok(None) };
        let Some(payload) = record.payload.and_then(|p| self.context.store.record(p.id)) else {
            return Ok(None);
        };
        let BlobLocation::Tree { root, dir } = payload.place.clone() else { return Ok(None) };
        let name = sanitize_name(self.name.as_deref().unwrap_or(&record.name));
        let wanted = match &self.get.output {
            Destination::Path(path) => *path == root || (!self.get.exact && path.join(name) == root),
            Destination::Into(path) => path.join(name) == root,
            Destination::Store | Destination::Hold => false,
        };
        if !wanted || dir != id || !self.select.is_everything() || payload.state == StoredState::Partial {
            return Ok(None);
        }
        let (store, id_of_bytes) = (self.context.store.clone(), payload.id);
        let checked = blocking(move || {
            let checked = store.verify(id_of_bytes, &|_| {}, &AtomicBool::new(false));
            let whole = matches!(&checked, Ok((_, bad)) if bad.is_empty());
            if !whole && !payload.origin {
                // Its good chunks stay known and shared.
                let good = checked.map(|(blob, bad)| blob.have().without(&bad)).ok();
                store.keep_good(id_of_bytes, good.as_ref())?;
            }
            Ok::<bool, StoreError>(whole)
        });
        if !checked.await?.map_err(store_failure)? {
            self.net.ask(NetworkCommand::Withdraw(payload.id)).await;
            return Ok(None);
        }
        // Entries without bytes may be missing, or belong to somebody else by now.
        let Some(manifest) = self.known_manifest(id).await else { return Ok(None) };
        let (manifest, at) = (Arc::new(manifest), root.clone());
        let rest = Arc::clone(&manifest);
        if !blocking(move || rest_is_there(&rest, &at)).await? {
            return Ok(None);
        }
        self.settle(id, &manifest, &root).await?;
        Ok(Some(self.done(id, root, payload.plain_len(), payload.plain_len(), &DownloadView::default())))
    }

    /// Returns the answer if the file is in its folder already; for when its name there is known.
    pub(super) async fn already_into(&self, id: ContentId, name: &str) -> Result<Option<Event>, Failure> {
        match &self.get.output {
            Destination::Into(folder) => self.already_there(id, folder.join(sanitize_name(name))).await,
            Destination::Path(path) if path.is_dir() => {
                self.already_there(id, path.join(sanitize_name(name))).await
            }
            Destination::Path(_) | Destination::Store | Destination::Hold => Ok(None),
        }
    }

    /// Returns true if the bytes that a directory or a share names are complete here.
    ///
    /// # Errors
    /// The id is here and names other content than the directory or share says.
    pub(super) fn is_whole(&self, id: ContentId, len: u64) -> Result<bool, Failure> {
        let Some(record) = self.context.store.record(id) else { return Ok(false) };
        if record.kind != ContentKind::File || record.len != len {
            return Err(follow::something_else(id));
        }
        Ok(record.state == StoredState::Complete)
    }

    /// Copies content that is complete in the store to its destination, verified on the way.
    pub(super) async fn take_from_store(&mut self, id: ContentId) -> Result<Option<Event>, Failure> {
        let unknown = || failure(Fault::Verification, format!("{id} is no longer in the store"));
        let record = self.context.store.record(id).ok_or_else(unknown)?;
        if record.kind == ContentKind::Share {
            return self.open_share(id).await;
        }
        if self.key.is_some() {
            return Err(not_encrypted());
        }
        if matches!(self.get.output, Destination::Hold) {
            return Err(not_blind());
        }
        if record.kind == ContentKind::Directory {
            self.refuse_stream()?;
            let manifest = self.known_manifest(id).await.ok_or_else(unknown)?;
            let name = self.name.clone().unwrap_or_else(|| record.name.clone());
            return self.fetch_tree(id, Arc::new(manifest), None, name).await;
        }
        let name = sanitize_name(self.name.as_deref().unwrap_or(&record.name));
        if let Some(done) = self.already_into(id, &name).await? {
            return Ok(Some(done));
        }
        let (len, dest) = (record.len, self.destination(&name)?);
        let Some(_claim) = self.claim(dest.as_deref(), id).await? else { return Ok(None) };
        let dest = self.destination(&name).map(|_| dest)?;
        self.found(id, ContentKind::File, &name, len, None).await;
        let path = self.copy_out(id, dest, len, true).await?;
        Ok(path.map(|path| self.done(id, path, len, len, &DownloadView::default())))
    }

    /// Copies the file of a complete blob to its destination; `len` is its length on disk in bytes. `None` if
    /// the file was changed: then the record is given up (if it may be), so that the blob is fetched again.
    pub(super) async fn copy_out(
        &self,
        id: ContentId,
        dest: Option<PathBuf>,
        len: u64,
        again: bool,
    ) -> Result<Option<PathBuf>, Failure> {
        let (store, overwrite) = (self.context.store.clone(), self.get.overwrite);
        let copied = blocking(move || match store.blob(id) {
            Some(_) => copy_from_store(&store, id, dest.as_deref(), overwrite),
            None => Err(StoreError::Changed("it is no longer where it was".into())),
        });
        let path = match copied.await? {
            Err(StoreError::Changed(why)) if again => {
                tracing::info!(%id, why, "the local copy has changed: it is fetched again");
                self.net.ask(NetworkCommand::Withdraw(id)).await;
                let store = self.context.store.clone();
                // Its remains are a place to look for good chunks.
                blocking(move || store.demote(id)).await?.map_err(store_failure)?;
                return Ok(None);
            }
            copied => copied.map_err(store_failure)?,
        };
        if matches!(self.get.output, Destination::Store) {
            let _ = self.events.send(Event::Prefix { path: path.clone(), bytes: len }).await;
        }
        Ok(Some(path))
    }

    /// Copies the chunks of a tree whose bytes are complete at another place here.
    pub(super) async fn copy_chunks(&self, begin: Begin, source: Arc<Blob>) -> Result<Arc<Blob>, Failure> {
        let blob = self.begin(&begin).await?;
        let mut buffer = Vec::new();
        for chunk in source.geometry().iter() {
            if blob.has(chunk) {
                continue;
            }
            source.read(chunk, &mut buffer).map_err(|e| store_failure(e.into()))?;
            match self.write(&blob, chunk, std::mem::take(&mut buffer)).await? {
                Outcome::Disk { error, .. } => return Err(failure(Fault::Disk, error)),
                Outcome::Malformed => return Err(follow::malformed()),
                Outcome::Written | Outcome::Bad => {}
            }
        }
        self.prove(&blob).await?;
        Ok(blob)
    }
}

fn copy_from_store(
    store: &Store,
    id: ContentId,
    dest: Option<&Path>,
    overwrite: bool,
) -> Result<PathBuf, StoreError> {
    let gone =
        || StoreError::Changed("its source has changed since it was published: publish it again".into());
    match dest {
        Some(dest) => store.copy_out(&*store.blob(id).ok_or_else(gone)?, dest, overwrite),
        None => {
            let (blob, bad) = store.verify(id, &|_| {}, &AtomicBool::new(false))?;
            if bad.is_empty() { blob.file().ok_or_else(gone) } else { Err(gone()) }
        }
    }
}
