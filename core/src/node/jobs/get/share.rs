//! Fetches a share: first its envelope, as a directory's manifest; then, with the key, its content to its
//! destination, or, without one, its content as it travels, to be held for others.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::GetJob;
use super::follow::Known;
use crate::api::command::Destination;
use crate::api::event::{Event, Failure, Fault};
use crate::content::kind::ContentKind;
use crate::content::path::sanitize_name;
use crate::content::share::{Description, Outside};
use crate::exchange::DownloadView;
use crate::id::ContentId;
use crate::limits;
use crate::node::actor::NetworkCommand;
use crate::node::jobs::store_failure;
use crate::node::network::{blocking, failure};
use crate::schedule::ChunkOrder;
use crate::store::record::{BlobLocation, Payload, Seal, StoredState};
use crate::store::{Begin, StoreError, WriteTarget};

/// Name of a share whose name is not known.
const NAMELESS: &str = "share";

impl GetJob {
    /// Fetches the envelope, and then the content that it names.
    pub(super) async fn fetch_share(
        &mut self,
        id: ContentId,
        learned: Known,
    ) -> Result<Option<Event>, Failure> {
        if learned.list.geometry().len() > limits::ENVELOPE_BYTES as u64 {
            return Err(failure(Fault::BadContent, "bad share: it is larger than allowed"));
        }
        // An earlier run may have fetched all of it, and ended before it looked inside.
        if self.context.store.record(id).is_none_or(|record| record.state != StoredState::Complete) {
            let (name, target) = (NAMELESS.to_owned(), WriteTarget::Store);
            let begin = self.to_begin(learned.list, name, target, None, None);
            let (blob, _) = self.download(begin, learned.only, ChunkOrder::Ascending, None).await?;
            let (store, whole) = (self.context.store.clone(), Arc::clone(&blob));
            blocking(move || store.finish_stored(&whole, None)).await?.map_err(store_failure)?;
            self.net.ask(NetworkCommand::Stop { id, whole: Some(blob) }).await;
        } else {
            let store = self.context.store.clone();
            let whole = blocking(move || store.blob(id)).await?;
            self.net.ask(NetworkCommand::Stop { id, whole }).await;
        }
        self.open_share(id).await
    }

    /// Opens the envelope of a share, which is here, and fetches its content.
    pub(super) async fn open_share(&mut self, id: ContentId) -> Result<Option<Event>, Failure> {
        let (store, key) = (self.context.store.clone(), self.key.clone());
        if matches!(self.get.output, Destination::Hold) {
            let outside = blocking(move || store.share_outside(id)).await?.map_err(store_failure)?;
            return self.hold(id, outside).await;
        }
        let opened = move || {
            let (outside, description) = store.share_description(id, key.as_ref())?;
            let files = description.manifest.as_ref().map_or(0, |m| m.file_offsets().count() as u64);
            let payload = Payload { id: outside.content, len: description.len, files };
            store.keep_share(id, key.as_ref(), &description.safe_name(), payload)?;
            Ok((outside, description))
        };
        let (outside, description) = blocking(opened).await?.map_err(|error: StoreError| match error {
            StoreError::Manifest(e) => failure(Fault::BadContent, format!("{e}: nothing of it was fetched")),
            other => store_failure(other),
        })?;
        let name = sanitize_name(self.name.as_deref().unwrap_or(&description.name));
        let seal = Seal { len: description.len, salt: outside.salt };
        match description {
            Description { manifest: Some(manifest), .. } => {
                self.refuse_stream()?;
                self.fetch_tree(id, Arc::new(manifest), Some(seal), name).await
            }
            Description { manifest: None, .. } => self.fetch_content(id, outside, seal, name).await,
        }
    }

    /// Fetches the content of a shared file.
    async fn fetch_content(
        &mut self,
        id: ContentId,
        outside: Outside,
        seal: Seal,
        name: String,
    ) -> Result<Option<Event>, Failure> {
        let content = outside.content;
        if let Destination::Into(folder) | Destination::Path(folder) = &self.get.output
            && folder.is_dir()
            && let Some(done) = self.share_in_place(id, &folder.join(&name)).await?
        {
            return Ok(Some(done));
        }
        let dest = self.destination(&name)?;
        let Some(_claim) = self.claim(dest.as_deref(), id).await? else { return Ok(None) };
        let dest = self.destination(&name).map(|_| dest)?;
        self.found(id, ContentKind::Share, &name, seal.len, None).await;
        let target = dest.clone().map_or(WriteTarget::Store, WriteTarget::File);
        let audience = self.get.serve;
        let domain = self.context.domain;
        let begin = |list| Begin { list, name, target, of: Some(id), audience, seal: Some(seal), domain };
        let whole = self.is_whole(content, outside.content_len)?;
        let here = self.context.store.record(content).filter(|_| whole);
        let (store, overwrite) = (self.context.store.clone(), self.get.overwrite);
        let source = match here {
            // Its plain bytes are somewhere on this machine: they are copied from there.
            Some(record) if record.seal == Some(seal) && record.of == Some(id) => {
                // Content that was published here and edited is left for its owner to publish again.
                let path = self.copy_out(content, dest, seal.len, !record.origin).await?;
                return Ok(path.map(|path| self.done(id, path, seal.len, seal.len, &DownloadView::default())));
            }
            Some(_) => blocking(move || store.blob(content)).await?,
            None => None,
        };
        let (blob, view) = match source {
            Some(source) => {
                (self.copy_chunks(begin(source.list().clone()), source).await?, DownloadView::default())
            }
            None => {
                let expect = Some((ContentKind::File, outside.content_len));
                let Some(learned) = self.learn(content, expect).await? else { return Ok(None) };
                let order = if dest.is_some() { ChunkOrder::Rarest } else { ChunkOrder::Ascending };
                let begin = begin(learned.list);
                let finder = self.finder(&begin).await?;
                self.download(begin, learned.only, order, finder).await?
            }
        };
        let (store, whole) = (self.context.store.clone(), Arc::clone(&blob));
        let finished = move || match dest {
            Some(dest) => store.finish_file(&whole, &dest, overwrite),
            None => store.finish_stored(&whole, None).map(|()| whole.file().unwrap_or_default()),
        };
        let path = blocking(finished).await?.map_err(store_failure)?;
        if matches!(self.get.output, Destination::Store) {
            let _ = self.events.send(Event::Prefix { path: path.clone(), bytes: seal.len }).await;
        }
        self.count_uploads().await;
        let resumed = self.here.max(blob.resumed()).min(seal.len);
        self.net.ask(NetworkCommand::Stop { id: content, whole: Some(blob) }).await;
        Ok(Some(self.done(id, path, seal.len, resumed, &view)))
    }

    /// Fetches the content as it travels, to hold it for peers that have the key.
    async fn hold(&mut self, id: ContentId, outside: Outside) -> Result<Option<Event>, Failure> {
        let Outside { content, content_len: len, .. } = outside;
        let store = self.context.store.clone();
        if store.record(id).is_some_and(|record| record.payload.is_none()) {
            let payload = Payload { id: content, len, files: 0 };
            let kept = move || store.keep_share(id, None, NAMELESS, payload);
            blocking(kept).await?.map_err(store_failure)?;
        }
        self.found(id, ContentKind::Share, NAMELESS, len, None).await;
        let here = self.is_whole(content, len)?;
        let store = self.context.store.clone();
        let verified = move || {
            here && store
                .verify(content, &|_| {}, &AtomicBool::new(false))
                .is_ok_and(|(_, bad)| bad.is_empty())
        };
        if blocking(verified).await? {
            return Ok(Some(self.done(id, self.context.home.clone(), len, len, &DownloadView::default())));
        }
        let Some(learned) = self.learn(content, Some((ContentKind::File, len))).await? else {
            return Ok(None);
        };
        // Without even a name of this node's, which would tell something to nodes without the key.
        let name = String::new();
        let begin = self.to_begin(learned.list, name, WriteTarget::Store, Some(id), None);
        let (blob, view) = self.download(begin, learned.only, ChunkOrder::Rarest, None).await?;
        let (store, whole) = (self.context.store.clone(), Arc::clone(&blob));
        blocking(move || store.finish_stored(&whole, None)).await?.map_err(store_failure)?;
        self.count_uploads().await;
        let resumed = blob.resumed();
        self.net.ask(NetworkCommand::Stop { id: content, whole: Some(blob) }).await;
        Ok(Some(self.done(id, self.context.home.clone(), len, resumed, &view)))
    }

    /// Returns the answer if this store put the file of the share at its destination earlier and every byte
    /// of it verifies.
    pub(super) async fn share_in_place(&self, id: ContentId, path: &Path) -> Result<Option<Event>, Failure> {
        let store = self.context.store.clone();
        let share = store.record(id).filter(|record| record.kind == ContentKind::Share);
        let Some(content) = share.and_then(|record| store.record(record.payload?.id)) else {
            return Ok(None);
        };
        let at = matches!(&content.place, BlobLocation::File { path: there, .. } if there == path);
        let Some(seal) = content.seal.filter(|_| at) else { return Ok(None) };
        let verify = move || store.verify(content.id, &|_| {}, &AtomicBool::new(false));
        let whole = blocking(verify).await?.is_ok_and(|(_, bad)| bad.is_empty());
        Ok(whole.then(|| self.done(id, path.to_owned(), seal.len, seal.len, &DownloadView::default())))
    }
}
