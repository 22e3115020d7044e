//! Fetches content: from an id or link to a file or tree in place.
//!
//! The stages are `learn` (length and kind), `begin` (place), `fetch` (the scheduler works), `prove` (bytes
//! of an earlier run are read again) and finish (one rename). A directory goes through them twice: for its
//! manifest, into the store, and for its files' bytes.

mod follow;
mod gather;
mod here;
mod networks;
mod share;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::actor::{Hints, NetworkCommand};
use super::super::context::Context;
use super::super::network::{Net, blocking, failure};
use super::super::teller::Teller;
use super::{blob_row, resolve, store_failure};
use crate::api::command::{Destination, Get, Network};
use crate::api::event::{BlobRow, BlobState, Done, Event, Failure, Fault};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::path::sanitize_name;
use crate::content::seal::ShareKey;
use crate::content::select::Select;
use crate::content::share::Fragment;
use crate::content::tree::HashList;
use crate::exchange::DownloadView;
use crate::id::ContentId;
use crate::options::Audience;
use crate::schedule::ChunkOrder;
use crate::store::record::{BlobLocation, Seal, StoredState};
use crate::store::{Begin, Blob, DestinationClaim, WriteTarget, refuse_existing};
use crate::transfer::watchers::Owner;
use follow::Known;
use gather::Scale;

/// Time between two looks at another job.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Extra time for code that looks at the deadline itself and knows better what was missing.
const LATE: Duration = Duration::from_millis(150);

/// A running get.
struct GetJob {
    context: Context,
    net: Net,
    get: Get,
    hints: Hints,
    name: Option<String>,
    /// Key that opens the content, if it is a share.
    key: Option<ShareKey>,
    select: Select,
    events: Teller,
    /// True if neither the command nor the link says in which network the content is.
    anywhere: bool,
    started: Instant,
    deadline: Option<Instant>,
    uploaded_before: u64,
    uploaded: u64,
    /// Scale of the progress if not all of a blob is fetched.
    scale: Option<Scale>,
    /// Bytes of the requested content that need not come from a peer.
    here: u64,
    /// Token of this job: while it lives, other jobs leave the blobs that it fetches to this one.
    owner: Arc<Owner>,
}

pub(crate) async fn get(context: Context, get: Get, events: Teller) -> Result<Event, Failure> {
    let started = Instant::now();
    let link = resolve(&context.store, get.target.expose())?;
    let anywhere = context.is_open(&get.network, &link);
    let context = context.for_fetching(&get.network, &link)?;
    // A node in an office serves nobody in the public network by default: content fetched there is for the
    // LAN.
    let unsaid = (get.network == Network::Public && context.is_unsaid()).then_some(Audience::Lan);
    let get = Get { serve: get.serve.or(unsaid), ..get };
    let select = Select::new(&get.include, &get.exclude).map_err(|e| failure(Fault::User, e.to_string()))?;
    let net = context.net.clone().ok_or_else(|| failure(Fault::User, "this node is offline"))?;
    let deadline = get.timeout_ms.map(|ms| started + Duration::from_millis(ms));
    let addresses = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
    let (peers, trackers) = (addresses(&link.peers), addresses(&link.trackers));
    let hints =
        Hints { peers, trackers, dht: addresses(&link.dht), webseeds: link.webseeds, audience: get.serve };
    let key = match link.fragment {
        Some(Fragment::Key(key)) => Some(key),
        Some(Fragment::Locked(_)) => return Err(failure(Fault::User, "this link is locked with a password")),
        None => None,
    };
    let (id, name) = (link.id, link.name);
    let uploaded_before = net.question(NetworkCommand::Uploaded).await.unwrap_or(0);
    let closed = events.clone();
    let mut job = GetJob {
        context,
        net,
        get,
        hints,
        name,
        key,
        select,
        events,
        anywhere,
        started,
        deadline,
        uploaded_before,
        uploaded: 0,
        scale: None,
        here: 0,
        owner: Arc::default(),
    };
    // Ends the job at any stage: a disk, for example, may answer late or never.
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until((deadline + LATE).into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = job.run(id) => result,
        () = closed.closed() => Err(failure(Fault::Interrupted, "stopped")),
        () = late => Err(follow::not_complete(started.elapsed())),
    }
}

/// Fetches bad chunks of a blob again, in place; for a directory, file by file.
pub(crate) async fn repair(
    context: &Context,
    blob: &Arc<Blob>,
    bad: &Bitmap,
    events: &Teller,
) -> Result<(), Failure> {
    let net = context.net.clone().ok_or_else(|| failure(Fault::User, "repair needs the network"))?;
    let tree = match &blob.record().place {
        BlobLocation::Tree { root, dir } => Some((root.clone(), *dir)),
        _ => None,
    };
    let output = tree.as_ref().map_or(Destination::Store, |(root, _)| Destination::Path(root.clone()));
    let get = Get { overwrite: tree.is_some(), exact: true, output, ..Get::new(blob.id()) };
    let mut job = GetJob {
        context: context.clone(),
        net,
        get,
        hints: Hints::default(),
        name: None,
        key: None,
        select: Select::default(),
        events: events.clone(),
        anywhere: false,
        started: Instant::now(),
        deadline: None,
        uploaded_before: 0,
        uploaded: 0,
        scale: None,
        here: 0,
        owner: Arc::default(),
    };
    if let Some((root, dir)) = tree {
        return job.repair_tree(blob, &root, dir).await;
    }
    let target = context.store.begin_repair(blob, bad).map_err(store_failure)?;
    let mut view = job.start(&target, ChunkOrder::Rarest).await?;
    job.watch(&mut view, &target).await?;
    job.prove(&target).await?;
    let (store, whole) = (context.store.clone(), Arc::clone(&target));
    blocking(move || store.finish_repair(&whole)).await?.map_err(store_failure)?;
    job.net.ask(NetworkCommand::Stop { id: target.id(), whole: Some(target) }).await;
    Ok(())
}

impl GetJob {
    async fn run(&mut self, id: ContentId) -> Result<Event, Failure> {
        self.choose_network(id).await?;
        self.say_who(id).await?;
        let done = self.bring(id).await?;
        // Sets it again for records that the download made.
        self.say_who(id).await?;
        Ok(done)
    }

    /// Sets the audience that the command gives, also on records that were here before.
    async fn say_who(&self, id: ContentId) -> Result<(), Failure> {
        let (store, audience) = (self.context.store.clone(), self.get.serve);
        let Some(record) = store.record(id).filter(|_| audience.is_some()) else { return Ok(()) };
        let all = || record.payload.map(|p| p.id).into_iter().chain([id]);
        if all().all(|id| store.record(id).is_none_or(|record| record.audience == audience)) {
            return Ok(());
        }
        blocking(move || store.set_audience(id, audience)).await?.map_err(store_failure)?;
        for id in all() {
            self.net.ask(NetworkCommand::Audience(id)).await;
        }
        Ok(())
    }

    async fn bring(&mut self, id: ContentId) -> Result<Event, Failure> {
        if let Some(done) = self.tree_in_place(id).await? {
            return Ok(done);
        }
        if let Destination::Path(path) = &self.get.output
            && !path.is_dir()
        {
            if let Some(done) = self.already_there(id, path.clone()).await? {
                return Ok(done);
            }
            if let Some(done) = self.share_in_place(id, path).await? {
                return Ok(done);
            }
            refuse_existing(path, self.get.overwrite).map_err(store_failure)?;
        }
        loop {
            match self.state(id) {
                Some(StoredState::Complete) => {
                    if let Some(done) = self.take_from_store(id).await? {
                        return Ok(done);
                    }
                    // The bytes were not those of the record: they are fetched.
                }
                _ => {
                    if let Some(done) = self.fetch(id).await? {
                        return Ok(done);
                    }
                    // Another job fetched it and has ended, with success or not: look again.
                }
            }
        }
    }

    fn state(&self, id: ContentId) -> Option<StoredState> {
        let record = self.context.store.record(id)?;
        match record.payload.filter(|p| p.len > 0) {
            // A directory is complete when its files' bytes are; its manifest is used in any state.
            Some(payload) => {
                self.context.store.record(payload.id).map(|r| r.state).or(Some(StoredState::Partial))
            }
            // The process died before it had read the manifest.
            None if record.kind != ContentKind::File && record.payload.is_none() => {
                Some(StoredState::Partial)
            }
            None => Some(record.state),
        }
    }

    fn done(&self, id: ContentId, path: PathBuf, len: u64, resumed: u64, view: &DownloadView) -> Event {
        Event::Done(Done {
            id: id.to_string(),
            path,
            len,
            resumed,
            took_ms: self.started.elapsed().as_millis() as u64,
            transfer_ms: view.transfer.as_millis() as u64,
            sources: view.progress.sources.clone(),
            uploaded: self.uploaded,
        })
    }

    /// Fetches content by its kind. `None` if another job fetched it meanwhile: look again.
    async fn fetch(&mut self, id: ContentId) -> Result<Option<Event>, Failure> {
        let Some(learned) = self.learn(id, None).await? else { return Ok(None) };
        match learned.list.kind() {
            ContentKind::Share => self.fetch_share(id, learned).await,
            _ if self.key.is_some() => Err(not_encrypted()),
            _ if matches!(self.get.output, Destination::Hold) => Err(not_blind()),
            ContentKind::File => self.fetch_file(id, learned).await,
            ContentKind::Directory => self.fetch_directory(id, learned).await,
        }
    }

    /// Returns the request to begin a blob for this job: part `of` a directory or a share, or a blob of its
    /// own.
    fn to_begin(
        &self,
        list: HashList,
        name: String,
        target: WriteTarget,
        of: Option<ContentId>,
        seal: Option<Seal>,
    ) -> Begin {
        Begin { list, name, target, of, audience: self.get.serve, seal, domain: self.context.domain }
    }

    async fn fetch_file(&mut self, id: ContentId, learned: Known) -> Result<Option<Event>, Failure> {
        let len = learned.list.geometry().len();
        let name = self.name_for(&learned);
        if let Some(done) = self.already_into(id, &name).await? {
            self.net.ask(NetworkCommand::Stop { id, whole: None }).await;
            return Ok(Some(done));
        }
        let dest = self.destination(&name)?;
        let Some(_claim) = self.claim(dest.as_deref(), id).await? else { return Ok(None) };
        // Other content may have been put there meanwhile.
        let dest = self.destination(&name).map(|_| dest)?;
        self.found(id, ContentKind::File, &name, len, None).await;
        let target = dest.clone().map_or(WriteTarget::Store, WriteTarget::File);
        let order = if matches!(self.get.output, Destination::Store) {
            ChunkOrder::Ascending
        } else {
            ChunkOrder::Rarest
        };
        let begin = self.to_begin(learned.list, name, target, None, None);
        let finder = self.finder(&begin).await?;
        let (blob, view) = self.download(begin, learned.only, order, finder).await?;
        let store = self.context.store.clone();
        let (overwrite, whole) = (self.get.overwrite, Arc::clone(&blob));
        let path = blocking(move || match dest {
            Some(dest) => store.finish_file(&whole, &dest, overwrite),
            None => store.finish_stored(&whole, None).map(|()| whole.file().unwrap_or_default()),
        });
        let path = path.await?.map_err(store_failure)?;
        if matches!(self.get.output, Destination::Store) {
            let _ = self.events.send(Event::Prefix { path: path.clone(), bytes: len }).await;
        }
        self.count_uploads().await;
        let resumed = self.here.max(blob.resumed()).min(len);
        self.net.ask(NetworkCommand::Stop { id, whole: Some(blob) }).await;
        Ok(Some(self.done(id, path, len, resumed, &view)))
    }

    /// Refuses to put a directory into the store: only a file can be streamed, and a directory is held at a
    /// place of its own.
    fn refuse_stream(&self) -> Result<(), Failure> {
        match self.get.output {
            Destination::Store => Err(failure(
                Fault::User,
                "a directory cannot be written to standard output: get it with -o PATH",
            )),
            Destination::Hold => Err(failure(
                Fault::User,
                "a directory cannot be held in the store: get it with -o PATH and --seed",
            )),
            Destination::Path(_) | Destination::Into(_) => Ok(()),
        }
    }

    /// Counts the bytes that this node gave to others since the job began.
    async fn count_uploads(&mut self) {
        if let Some(uploaded) = self.net.question(NetworkCommand::Uploaded).await {
            self.uploaded = uploaded.saturating_sub(self.uploaded_before);
        }
    }

    fn name_for(&self, learned: &Known) -> String {
        sanitize_name(self.name.as_deref().or(learned.name.as_deref()).unwrap_or("download"))
    }

    /// Returns the destination of a file; `None` for the store.
    fn destination(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        let name = sanitize_name(name);
        let dest = match &self.get.output {
            Destination::Store | Destination::Hold => return Ok(None),
            Destination::Into(folder) => folder.join(name),
            // A folder that exists takes the file.
            Destination::Path(path) if path.is_dir() && !self.get.exact => path.join(name),
            Destination::Path(path) => path.clone(),
        };
        refuse_existing(&dest, self.get.overwrite).map_err(store_failure)?;
        Ok(Some(dest))
    }

    /// Claims the destination, because two contents cannot go to one place. The outer `None` means that
    /// another job puts this content there and has had a moment to end; the inner one that there is nothing
    /// to claim.
    async fn claim(
        &self,
        dest: Option<&Path>,
        id: ContentId,
    ) -> Result<Option<Option<DestinationClaim>>, Failure> {
        let Some(dest) = dest else { return Ok(Some(None)) };
        match self.context.store.claim(dest, id) {
            Ok(claim) => Ok(Some(Some(claim))),
            Err(other) if other == id => {
                self.check_deadline(true)?;
                tokio::time::sleep(LOOK_AGAIN).await;
                Ok(None)
            }
            Err(other) => {
                let text = format!(
                    "{} is in use: {} is being fetched to it. Choose another place with -o",
                    dest.display(),
                    other
                );
                Err(failure(Fault::User, text))
            }
        }
    }

    async fn found(&self, id: ContentId, kind: ContentKind, name: &str, len: u64, files: Option<u64>) {
        let row = self.context.store.record(id).map(|r| blob_row(&self.context.store, &r, Some(0)));
        let fresh = BlobRow {
            id: id.to_string(),
            kind,
            name: name.to_owned(),
            len,
            have: 0,
            chunks: Geometry::new(len).map_or(0, |g| g.chunks()),
            files,
            state: BlobState::Downloading,
            trouble: None,
            path: None,
            serve: self.get.serve,
        };
        let row = row.map_or(fresh.clone(), |r| BlobRow { name: fresh.name, files, len, ..r });
        let _ = self.events.send(Event::Found(row)).await;
    }
}

fn not_encrypted() -> Failure {
    failure(
        Fault::BadContent,
        "the link has a key, but its content is not encrypted: whoever made the link made a mistake",
    )
}

fn not_blind() -> Failure {
    let hint = Some("use swarm hold without --blind".to_owned());
    Failure { hint, ..failure(Fault::User, "this item is not encrypted, so --blind does not apply") }
}

fn stopped() -> Failure {
    failure(Fault::Interrupted, "the node stopped")
}
