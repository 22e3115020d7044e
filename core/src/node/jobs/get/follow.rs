//! Follows a download: waits for it, sends its progress, and gives it up at the deadline.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{GetJob, stopped};
use crate::api::command::Destination;
use crate::api::event::{Event, Failure, Fault};
use crate::content::geometry::{ChunkIndex, Geometry};
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::exchange::{Broken, DownloadView, Learned, Stage};
use crate::id::ContentId;
use crate::limits;
use crate::node::actor::NetworkCommand;
use crate::node::jobs::store_failure;
use crate::node::network::{blocking, failure};
use crate::schedule::ChunkOrder;
use crate::store::{Begin, Blob, Finder, Store};
use crate::transfer::session::event::Outcome;
use crate::transfer::writer;

/// Time until the caller is told what was tried, and between two such events.
const SEARCHING_EVERY: Duration = Duration::from_secs(3);
/// Time between two events of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Number of times that a download is completed, found wrong on disk and completed again before the disk is
/// blamed.
const PROOFS: u32 = 3;

/// End of a download.
pub(super) enum Ended {
    Complete,
    /// A flush found the disk full. Holds the error.
    Full(String),
}

/// Proven facts of an id.
pub(super) struct Known {
    pub(super) list: HashList,
    pub(super) name: Option<String>,
    pub(super) only: Option<Vec<u8>>,
}

impl From<&Learned> for Known {
    fn from(learned: &Learned) -> Self {
        Self { list: learned.list.clone(), name: learned.name.clone(), only: learned.only.clone() }
    }
}

/// Returns the facts that an earlier run proved, or that need no peer: the empty file is known to all.
fn known(store: &Store, id: ContentId) -> Option<Known> {
    if id == ContentKind::File.id_of(&[]) {
        let geometry = Geometry::new(0).ok()?;
        return Some(Known { list: HashList::of(ContentKind::File, geometry, &[]), name: None, only: None });
    }
    let record = store.record(id)?;
    let list = store.known_list(id)?;
    Some(Known { list, name: Some(record.name), only: None })
}

/// Returns the failure for content of a directory or share that is here and is something else.
pub(super) fn something_else(id: ContentId) -> Failure {
    failure(
        Fault::BadContent,
        format!("malformed by its publisher: it names {id} as its content, which is something else"),
    )
}

/// Returns the failure for a share whose bytes match its id and do not decrypt.
pub(super) fn malformed() -> Failure {
    failure(Fault::BadContent, "bad share: its publisher encrypted it wrongly")
}

/// Returns the failure for a deadline that passed although holders were there.
pub(super) fn not_complete(waited: Duration) -> Failure {
    Failure {
        fault: Fault::Timeout,
        message: format!("not complete after {:.1} s", waited.as_secs_f64()),
        hint: Some("verified data is kept: run the same command to resume".to_owned()),
    }
}

impl GetJob {
    /// Learns the length and kind of an id, from the store if an earlier run knew them, otherwise from peers.
    /// `None` if another job was fetching it and has now ended.
    pub(super) async fn learn(
        &self,
        id: ContentId,
        expect: Option<(ContentKind, u64)>,
    ) -> Result<Option<Known>, Failure> {
        let store = self.context.store.clone();
        let known = blocking(move || known(&store, id)).await?;
        let fits =
            |known: &Known| expect.is_none_or(|e| e == (known.list.kind(), known.list.geometry().len()));
        if !known.as_ref().is_none_or(fits) {
            return Err(something_else(id));
        }
        let ask = |reply| {
            let known = known.as_ref().map(|k| (k.list.geometry(), k.list.kind()));
            NetworkCommand::Learn {
                id,
                known,
                expect,
                owner: Arc::clone(&self.owner),
                hints: self.hints.clone(),
                reply,
            }
        };
        let (mut view, first) = self.net.question(ask).await.ok_or_else(stopped)?;
        if first && known.is_some() {
            return Ok(known);
        }
        let (mut told, mut notices) = (Instant::now(), 0);
        loop {
            let stage = view.borrow_and_update().stage.clone();
            let all = view.borrow().notices.clone();
            for text in all.iter().skip(notices) {
                let _ = self.events.send(Event::Notice { text: text.clone() }).await;
            }
            notices = all.len();
            match stage {
                Stage::Learned(learned) if first => return Ok(Some(Known::from(&*learned))),
                _ if first => {}
                _ => return self.wait_for_other(view).await,
            }
            if told.elapsed() >= SEARCHING_EVERY {
                told = Instant::now();
                let tried = view.borrow().tried.clone();
                let waited_ms = self.started.elapsed().as_millis() as u64;
                let _ = self.events.send(Event::Searching { waited_ms, tried }).await;
            }
            self.changed(&mut view, SEARCHING_EVERY.saturating_sub(told.elapsed())).await?;
        }
    }

    /// Shows the progress of another job that fetches this content.
    pub(super) async fn wait_for_other(
        &self,
        mut view: watch::Receiver<DownloadView>,
    ) -> Result<Option<Known>, Failure> {
        loop {
            let progress = view.borrow_and_update().progress.clone();
            let _ = self.events.try_send(Event::Progress(progress));
            if self.changed(&mut view, PROGRESS_EVERY).await.is_err() {
                self.check_deadline(false)?;
                return Ok(None);
            }
        }
    }

    /// Waits for a change of the download, for `most`, or for the deadline.
    pub(super) async fn changed(
        &self,
        view: &mut watch::Receiver<DownloadView>,
        most: Duration,
    ) -> Result<(), Failure> {
        let left = self.deadline.map_or(most, |d| most.min(d.saturating_duration_since(Instant::now())));
        if let Ok(Err(_)) = tokio::time::timeout(left, view.changed()).await {
            return Err(stopped());
        }
        let found = !matches!(view.borrow().stage, Stage::Searching);
        let tried = view.borrow().tried.clone();
        self.check_deadline(found).map_err(|mut e| {
            if !found {
                e.message = format!("{}; {}", e.message, tried.join("; "));
            }
            e
        })
    }

    pub(super) fn check_deadline(&self, found: bool) -> Result<(), Failure> {
        if self.deadline.is_none_or(|d| Instant::now() < d) {
            return Ok(());
        }
        let waited = self.started.elapsed().as_secs_f64();
        Err(if found {
            not_complete(self.started.elapsed())
        } else {
            Failure {
                fault: Fault::NotFound,
                message: format!("no reachable node has it (waited {waited:.1} s)"),
                hint: Some("is it still being published? Use a link, or --peer with the address of a source, to reach another network".to_owned()),
            }
        })
    }

    /// Writes a verified chunk that did not come over a data stream.
    pub(super) async fn write(
        &self,
        blob: &Arc<Blob>,
        chunk: ChunkIndex,
        mut bytes: Vec<u8>,
    ) -> Result<Outcome, Failure> {
        let room = self.context.store.room(bytes.len() as u64).await;
        let (store, blob) = (self.context.store.clone(), Arc::clone(blob));
        blocking(move || writer::put(&store, &blob, chunk, &mut bytes, room)).await
    }

    pub(super) async fn begin(&self, begin: &Begin) -> Result<Arc<Blob>, Failure> {
        let (store, begin) = (self.context.store.clone(), begin.clone());
        blocking(move || store.begin(begin)).await?.map_err(store_failure)
    }

    pub(super) async fn start(
        &self,
        blob: &Arc<Blob>,
        order: ChunkOrder,
    ) -> Result<watch::Receiver<DownloadView>, Failure> {
        let ask = |reply| {
            let (blob, owner, hints) = (Arc::clone(blob), Arc::clone(&self.owner), self.hints.clone());
            NetworkCommand::Start { blob, order, owner, hints, reply }
        };
        self.net.question(ask).await.ok_or_else(stopped)
    }

    /// Fetches a blob until it is complete and this process has hashed every chunk.
    pub(super) async fn download(
        &mut self,
        begin: Begin,
        mut only: Option<Vec<u8>>,
        order: ChunkOrder,
        finder: Option<Arc<Finder>>,
    ) -> Result<(Arc<Blob>, DownloadView), Failure> {
        let (mut proofs, mut stuck) = (0, 0);
        self.scale = None;
        let mut blob = self.begin(&begin).await?;
        loop {
            if let Some(finder) = &finder {
                self.gather(&blob, finder).await?;
            }
            self.leave_holes(&blob).await?;
            self.measure(&begin.target, &blob);
            if blob.is_here() && self.prove(&blob).await? {
                return Ok((blob, DownloadView::default()));
            }
            if let Some(bytes) = only.take()
                && let Some(chunk) = blob
                    .geometry()
                    .last()
                    .filter(|c| !blob.has(*c) && blob.geometry().size(*c) == bytes.len())
            {
                // If the disk refuses the chunk, it is fetched like any other, and the refusal is dealt with
                // there.
                self.write(&blob, chunk, bytes).await?;
            }
            let mut view = self.start(&blob, order).await?;
            match self.watch(&mut view, &blob, stuck).await? {
                Ended::Complete if self.prove(&blob).await? => {
                    let last = view.borrow().clone();
                    return Ok((blob, last));
                }
                Ended::Complete => proofs += 1,
                Ended::Full(error) => {
                    self.net.ask(NetworkCommand::Stop { id: blob.id(), whole: None }).await;
                    let text = format!("the disk is full, the download waits for room: {error}");
                    self.set_blocked(Some(format!("the disk is full: {error}")));
                    stuck = blob.have().count();
                    let _ = self.events.send(Event::Notice { text }).await;
                    tokio::time::sleep(limits::DISK_FULL_RETRY).await;
                    self.check_deadline(true)?;
                    blob = self.begin(&begin).await?;
                }
            }
            if proofs == PROOFS {
                let text = "the disk is faulty: verified data keeps reading back wrong";
                return Err(failure(Fault::Disk, text));
            }
        }
    }

    fn set_blocked(&self, reason: Option<String>) {
        *self.blocked.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn is_blocked(&self) -> bool {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Follows a download to its end and sends its events. `stuck` is the number of chunks that were here
    /// when the disk was full.
    pub(super) async fn watch(
        &self,
        view: &mut watch::Receiver<DownloadView>,
        blob: &Arc<Blob>,
        stuck: u32,
    ) -> Result<Ended, Failure> {
        let (mut banned, mut notices, mut prefix) = (0, 0, 0);
        let mut told = None::<Instant>;
        loop {
            let now = view.borrow_and_update().clone();
            for (peer, reason) in now.banned.iter().skip(banned) {
                let (peer, reason) = (peer.clone(), reason.clone());
                let _ = self.events.send(Event::Banned { peer, reason }).await;
            }
            for text in now.notices.iter().skip(notices) {
                let _ = self.events.send(Event::Notice { text: text.clone() }).await;
            }
            (banned, notices) = (now.banned.len(), now.notices.len());
            // The envelope of a share comes first, and is not the wanted content.
            let wanted = blob.kind() == ContentKind::File && now.prefix > prefix;
            if let (Destination::Store, true, Some(path)) = (&self.get.output, wanted, blob.file()) {
                prefix = now.prefix;
                let bytes = blob.plain_bytes(prefix);
                let _ = self.events.try_send(Event::Prefix { path, bytes });
            }
            let complete = matches!(now.stage, Stage::Complete);
            if now.blocked.is_some() {
                self.set_blocked(now.blocked.clone());
            } else if self.is_blocked() && (complete || blob.have().count() > stuck) {
                self.set_blocked(None);
            }
            if complete || told.is_none_or(|t| t.elapsed() >= PROGRESS_EVERY) {
                told = Some(Instant::now());
                let _ = self.events.try_send(Event::Progress(self.scaled(now.progress.clone())));
            }
            match now.broken {
                Some(Broken::Full(error)) => return Ok(Ended::Full(error)),
                Some(Broken::Disk(error)) => return Err(failure(Fault::Disk, error)),
                Some(Broken::Malformed) => return Err(malformed()),
                None if complete => return Ok(Ended::Complete),
                None => {}
            }
            self.changed(view, PROGRESS_EVERY).await?;
        }
    }

    /// Flushes the blob, and reads the bytes of an earlier run again. Returns false if some chunks must be
    /// fetched again.
    pub(super) async fn prove(&self, blob: &Arc<Blob>) -> Result<bool, Failure> {
        let (store, blob) = (self.context.store.clone(), Arc::clone(blob));
        let bad = blocking(move || store.prove(&blob)).await?.map_err(store_failure)?;
        Ok(bad.is_empty())
    }
}
