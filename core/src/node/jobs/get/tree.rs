//! Fetches a directory: its manifest into the store, then the bytes that its destination lacks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::follow::{Known, something_else};
use super::{GetJob, LOOK_AGAIN};
use crate::api::command::Destination;
use crate::api::event::{Event, Failure, Fault};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::manifest::Manifest;
use crate::content::path::{escape, sanitize_name};
use crate::content::seal::sealed_len;
use crate::content::tree::HashList;
use crate::exchange::DownloadView;
use crate::id::ContentId;
use crate::limits;
use crate::node::actor::NetworkCommand;
use crate::node::jobs::store_failure;
use crate::node::network::{blocking, failure};
use crate::schedule::ChunkOrder;
use crate::store::record::{BlobLocation, Payload, Record, Seal};
use crate::store::{Begin, Blob, Finder, Finished, Rights, StoreError, WritePlan, WriteTarget, survey};

impl GetJob {
    pub(super) async fn fetch_directory(
        &mut self,
        id: ContentId,
        learned: Known,
    ) -> Result<Option<Event>, Failure> {
        self.refuse_stream()?;
        if learned.list.geometry().len() > limits::MANIFEST_BYTES as u64 {
            return Err(failure(Fault::BadContent, "bad manifest: it is larger than allowed"));
        }
        let name = self.name_for(&learned);
        if let Some(manifest) = self.known_manifest(id).await {
            return self.fetch_tree(id, Arc::new(manifest), None, name).await;
        }
        let begin = self.to_begin(learned.list, name.clone(), WriteTarget::Store, None, None);
        let (blob, _) = self.download(begin, learned.only, ChunkOrder::Ascending, None).await?;
        let manifest = self.keep_manifest(&blob).await?;
        self.net.ask(NetworkCommand::Stop { id, whole: Some(blob) }).await;
        self.fetch_tree(id, Arc::new(manifest), None, name).await
    }

    pub(super) async fn known_manifest(&self, id: ContentId) -> Option<Manifest> {
        let store = self.context.store.clone();
        let known =
            move || store.record(id).filter(|r| r.payload.is_some()).and_then(|_| store.manifest(id).ok());
        blocking(known).await.ok().flatten()
    }

    /// Reads the manifest that was fetched. One that breaks the rules is forgotten, and with it the whole
    /// directory.
    async fn keep_manifest(&self, blob: &Arc<Blob>) -> Result<Manifest, Failure> {
        let (store, blob) = (self.context.store.clone(), Arc::clone(blob));
        let read = move || {
            let id = blob.id();
            store.finish_stored(&blob, None)?;
            let manifest = store.manifest(id).inspect_err(|_| {
                store.remove(id);
            })?;
            let files = manifest.file_offsets().count() as u64;
            let payload = Payload { id: manifest.payload, len: manifest.payload_len, files };
            store.finish_stored(&blob, Some(payload))?;
            Ok(manifest)
        };
        blocking(read).await?.map_err(|e: StoreError| match e {
            StoreError::Manifest(e) => failure(Fault::BadContent, format!("{e}: nothing of it was fetched")),
            other => store_failure(other),
        })
    }

    /// Compares a directory with its destination: what is there, and what may be put there.
    pub(super) async fn survey(
        &self,
        id: ContentId,
        manifest: &Arc<Manifest>,
        dest: &Path,
    ) -> Result<WritePlan, Failure> {
        let (store, manifest, select) =
            (self.context.store.clone(), Arc::clone(manifest), self.select.clone());
        let (dest, overwrite) = (dest.to_owned(), self.get.overwrite);
        let look = move || {
            let known = store.knows_tree(&dest, id, store.record(id).and_then(|record| record.payload));
            survey(&manifest, &dest, &select, Rights { overwrite, known })
        };
        blocking(look).await?.map_err(store_failure)
    }

    /// Returns the destination of a directory.
    fn tree_destination(&self, id: ContentId, name: &str, manifest: &Manifest) -> Result<PathBuf, Failure> {
        let name = sanitize_name(name);
        match &self.get.output {
            Destination::Store | Destination::Hold => Ok(PathBuf::new()),
            Destination::Into(folder) => Ok(folder.join(name)),
            Destination::Path(path) if path.is_dir() && !self.get.exact => {
                self.inside_or_over(id, path, &name, manifest)
            }
            Destination::Path(path) => Ok(path.clone()),
        }
    }

    /// Returns the destination for an output that is a folder. The directory goes into the folder, unless
    /// this store put an earlier version of the directory there: then it goes over it.
    fn inside_or_over(
        &self,
        id: ContentId,
        path: &Path,
        name: &str,
        manifest: &Manifest,
    ) -> Result<PathBuf, Failure> {
        let store = &self.context.store;
        let (inside, shown) = (path.join(name), escape(&path.to_string_lossy()));
        let ways = format!("-o {shown}/ puts it into that folder, --exact makes that folder the new version");
        match store.tree_at(path).filter(|there| *there == id || !store.is_origin(*there)) {
            Some(there) if there == id || self.get.overwrite => Ok(path.to_owned()),
            Some(there) => {
                let old = store.record(there).map_or_else(|| there.short(), |record| escape(&record.name));
                let text = format!(
                    "{shown} is {old} as it was fetched before: --overwrite makes it this version and leaves all other \
                     files in it, -o {shown}/ puts it into that folder"
                );
                Err(failure(Fault::User, text))
            }
            None if self.get.overwrite && !inside.exists() => {
                let tops = manifest.entries.iter().filter_map(|entry| entry.path.split('/').next());
                let looks_like_it = path.file_name().is_some_and(|own| own == name)
                    || tops.into_iter().any(|top| path.join(top).symlink_metadata().is_ok());
                match looks_like_it {
                    true => {
                        let text = format!(
                            "{shown} was not fetched by this node, and may be an earlier version of {}: {ways}",
                            escape(name)
                        );
                        Err(failure(Fault::User, text))
                    }
                    false => Ok(inside),
                }
            }
            None => Ok(inside),
        }
    }

    /// Fetches the missing bytes of a directory whose manifest is here. `None` if another job is fetching it:
    /// look again.
    pub(super) async fn fetch_tree(
        &mut self,
        id: ContentId,
        manifest: Arc<Manifest>,
        seal: Option<Seal>,
        name: String,
    ) -> Result<Option<Event>, Failure> {
        let dest = self.tree_destination(id, &name, &manifest)?;
        let (payload, len) = (manifest.payload, manifest.payload_len);
        let mut plan = self.survey(id, &manifest, &dest).await?;
        let kind = if seal.is_some() { ContentKind::Share } else { ContentKind::Directory };
        self.found(id, kind, &name, len, Some(manifest.file_offsets().count() as u64)).await;
        let chosen = manifest.file_offsets().filter(|(entry, ..)| self.select.wants(&entry.path));
        let selected: u64 = chosen.map(|(_, _, size)| size).sum();
        let travels = seal.map_or(len, |seal| sealed_len(seal.len));
        let whole = len > 0 && self.is_whole_elsewhere(payload, travels, &plan, &dest).await?;
        if whole && plan.is_done() {
            self.settle(id, &manifest, &dest).await?;
            return Ok(Some(self.done(id, dest, selected, selected, &DownloadView::default())));
        }
        let (list, only) = match self.tree_list(payload, travels, whole).await? {
            Some(Known { list, only, .. }) => (list, only),
            None => return Ok(None),
        };
        let Some(_claim) = self.claim(Some(&dest), id).await? else { return Ok(None) };
        if dest.symlink_metadata().is_ok() != plan.merges() {
            plan = self.survey(id, &manifest, &dest).await?;
        }
        let plan = Arc::new(plan);
        let target = WriteTarget::Tree {
            dest: dest.clone(),
            manifest: Arc::clone(&manifest),
            dir: id,
            plan: Arc::clone(&plan),
        };
        let begin = self.to_begin(list, name, target, Some(id), seal);
        let finder = self.finder(&begin).await?;
        let (blob, view) = match whole {
            true => match self.copies(&begin, finder.as_ref()).await? {
                Some(blob) => (blob, DownloadView::default()),
                // The bytes were not those of the record: the missing ones are fetched.
                None => return Ok(None),
            },
            false => self.download(begin, only, ChunkOrder::Rarest, finder).await?,
        };
        let (store, whole, overwrite) = (self.context.store.clone(), Arc::clone(&blob), self.get.overwrite);
        let (at, of) = (dest.clone(), Arc::clone(&manifest));
        let finished = move || {
            let tree = Finished { manifest: &of, dir: id, plan: &plan };
            store.finish_tree(&whole, &tree, &at, overwrite)
        };
        blocking(finished).await?.map_err(store_failure)?;
        drop(blob);
        self.count_uploads().await;
        let store = self.context.store.clone();
        let whole = blocking(move || store.blob(payload)).await?.filter(|blob| !blob.have().is_empty());
        self.net.ask(NetworkCommand::Stop { id: payload, whole }).await;
        self.settle(id, &manifest, &dest).await?;
        let resumed = self.here.min(selected);
        Ok(Some(self.done(id, dest, selected, resumed, &view)))
    }

    /// Returns true if the bytes of a directory are complete at another place of this store. A record whose
    /// bytes are gone or damaged stops to count as complete.
    async fn is_whole_elsewhere(
        &self,
        payload: ContentId,
        len: u64,
        plan: &WritePlan,
        dest: &Path,
    ) -> Result<bool, Failure> {
        if !self.is_whole(payload, len)? {
            return Ok(false);
        }
        let (store, here) = (self.context.store.clone(), dest.to_owned());
        let done = plan.is_done();
        let look = move || {
            let damaged = |record: Record| {
                matches!(record.place, BlobLocation::Tree { root, .. } if root == here) && !done
            };
            let whole = store.blob(payload).is_some() && !store.record(payload).is_some_and(damaged);
            if !whole {
                store.demote(payload)?;
            }
            Ok::<bool, StoreError>(whole)
        };
        let whole = blocking(look).await?.map_err(store_failure)?;
        if !whole {
            self.net.ask(NetworkCommand::Withdraw(payload)).await;
        }
        Ok(whole)
    }

    /// Returns the hash list of a directory's bytes: that of the store if no peer has to be asked for more,
    /// otherwise one that peers prove.
    async fn tree_list(&self, payload: ContentId, len: u64, whole: bool) -> Result<Option<Known>, Failure> {
        if len == 0 {
            let geometry = Geometry::new(0).map_err(|e| failure(Fault::BadContent, e.to_string()))?;
            let list = HashList::of(ContentKind::File, geometry, &[]);
            return Ok(Some(Known { list, name: None, only: None }));
        }
        if whole {
            let store = self.context.store.clone();
            let list = blocking(move || store.known_list(payload)).await?;
            if let Some(list) = list {
                if list.geometry().len() != len {
                    return Err(something_else(payload));
                }
                return Ok(Some(Known { list, name: None, only: None }));
            }
        }
        self.learn(payload, Some((ContentKind::File, len))).await
    }

    /// Copies all missing bytes from a complete copy at another place here. If they are not there, that copy
    /// is not complete.
    async fn copies(
        &mut self,
        begin: &Begin,
        finder: Option<&Arc<Finder>>,
    ) -> Result<Option<Arc<Blob>>, Failure> {
        self.scale = None;
        let blob = self.begin(begin).await?;
        if let Some(finder) = finder {
            self.gather(&blob, finder).await?;
        }
        self.measure(&begin.target, &blob);
        if blob.is_here() && self.prove(&blob).await? {
            return Ok(Some(blob));
        }
        let (store, id) = (self.context.store.clone(), blob.id());
        blocking(move || store.demote(id)).await?.map_err(store_failure)?;
        self.net.ask(NetworkCommand::Withdraw(id)).await;
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(None)
    }

    /// Deals with files that earlier versions left at the destination: they stay, or are deleted on request.
    pub(super) async fn settle(
        &self,
        id: ContentId,
        manifest: &Arc<Manifest>,
        dest: &Path,
    ) -> Result<(), Failure> {
        let (store, of, at) = (self.context.store.clone(), Arc::clone(manifest), dest.to_owned());
        let left = blocking(move || store.leftovers(&at, id, &of)).await?;
        if left.is_empty() {
            return Ok(());
        }
        let shown = escape(&dest.to_string_lossy());
        let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        if !self.get.delete {
            let verb = if left.len() == 1 { "stays" } else { "stay" };
            let text = format!("{} of an earlier version {verb} in {shown}", files(left.len()));
            let _ = self.events.send(Event::Notice { text }).await;
            return Ok(());
        }
        for leftover in &left {
            let text = format!("deletes {shown}/{}", leftover.shown());
            let _ = self.events.send(Event::Notice { text }).await;
        }
        let (store, of, at, all) =
            (self.context.store.clone(), Arc::clone(manifest), dest.to_owned(), left.len());
        let gone = blocking(move || store.delete_leftovers(&at, &of, left)).await?;
        if gone.len() < all {
            let text = format!("{} were changed, and stay", files(all - gone.len()));
            let _ = self.events.send(Event::Notice { text }).await;
        }
        Ok(())
    }

    /// Repairs a directory where this store put it.
    pub(super) async fn repair_tree(
        &mut self,
        blob: &Blob,
        root: &Path,
        dir: ContentId,
    ) -> Result<(), Failure> {
        let (store, record, root) = (self.context.store.clone(), blob.record().clone(), root.to_owned());
        let look = move || {
            store.refuse_published(&record)?;
            let manifest = store.tree_manifest(&record, dir)?;
            store.refuse_foreign(&manifest, &root, dir)?;
            store.demote(record.id)?;
            Ok((Arc::new(manifest), record))
        };
        let (manifest, record) = blocking(look).await?.map_err(store_failure)?;
        loop {
            let (of, name) = (Arc::clone(&manifest), record.name.clone());
            if self.fetch_tree(dir, of, record.seal, name).await?.is_some() {
                return Ok(());
            }
        }
    }
}
