//! The thread beside the path: flushes chunk data, then enters it in the have-map.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::blob::Blob;
use super::disk::DiskError;
use crate::content::bitmap::Bitmap;
use crate::id::ContentId;
use crate::limits;

/// Bytes of one permit of the semaphore that holds the writer back.
const UNIT: u64 = limits::CHUNK_MIN;

/// A blob whose flush failed: it is not believed before it is opened and verified again.
#[derive(Debug, Clone)]
pub struct Poisoned {
    /// Its id.
    pub id: ContentId,
    /// What the disk said.
    pub error: String,
    /// It may be tried again: the disk was full.
    pub full: bool,
}

enum Job {
    Written(Arc<Blob>, u32),
    /// Flush this blob now and say so.
    Finish(Arc<Blob>, SyncSender<Result<(), DiskError>>),
    Stop,
}

/// A handle to the thread.
#[derive(Debug)]
pub(super) struct Flusher {
    jobs: SyncSender<Job>,
    room: Arc<Semaphore>,
    poisoned: Arc<Mutex<Vec<Poisoned>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Pending {
    blob: Arc<Blob>,
    chunks: Bitmap,
    bytes: u64,
}

struct Worker {
    jobs: Receiver<Job>,
    room: Arc<Semaphore>,
    poisoned: Arc<Mutex<Vec<Poisoned>>>,
    pending: BTreeMap<ContentId, Pending>,
    bytes: u64,
    since: Option<Instant>,
}

impl Flusher {
    pub(super) fn start() -> Self {
        // As many jobs as chunks fit into the permits, and some: the queue is never what holds the writer back.
        let permits = limits::UNFLUSHED_BYTES / UNIT;
        let (jobs, queue) = sync_channel(permits as usize + limits::COMMAND_QUEUE);
        let room = Arc::new(Semaphore::new(permits as usize));
        let poisoned = Arc::new(Mutex::new(Vec::new()));
        let mut worker = Worker {
            jobs: queue,
            room: Arc::clone(&room),
            poisoned: Arc::clone(&poisoned),
            pending: BTreeMap::new(),
            bytes: 0,
            since: None,
        };
        let thread = std::thread::Builder::new().name("flush".into()).spawn(move || worker.run());
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread for flushing: have-maps will not be kept");
        }
        Self { jobs, room, poisoned, thread: Mutex::new(thread.ok()) }
    }

    /// Waits until `bytes` more may be written, and takes them.
    pub(super) async fn room(&self, bytes: u64) {
        let units = bytes.div_ceil(UNIT).clamp(1, limits::UNFLUSHED_BYTES / UNIT) as u32;
        if let Ok(permits) = self.room.acquire_many(units).await {
            permits.forget();
        }
    }

    pub(super) fn written(&self, blob: &Arc<Blob>, chunk: u32) {
        let _ = self.jobs.send(Job::Written(Arc::clone(blob), chunk));
    }

    /// Flushes, reads back and enters all that was written of a blob.
    pub(super) fn finish(&self, blob: &Arc<Blob>) -> Result<(), DiskError> {
        let (done, wait) = sync_channel(1);
        let gone = || blob.extents.error("flush", std::io::Error::other("the flushing thread has ended"));
        self.jobs.send(Job::Finish(Arc::clone(blob), done)).map_err(|_| gone())?;
        wait.recv().map_err(|_| gone())?
    }

    pub(super) fn poisoned(&self) -> Vec<Poisoned> {
        std::mem::take(&mut *self.poisoned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Flushes everything and ends the thread.
    pub(super) fn stop(&self) {
        let _ = self.jobs.send(Job::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn run(&mut self) {
        loop {
            let wait = self
                .since
                .map_or(Duration::from_secs(3600), |s| limits::FLUSH_EVERY.saturating_sub(s.elapsed()));
            match self.jobs.recv_timeout(wait) {
                Ok(Job::Written(blob, chunk)) => self.add(blob, chunk),
                Ok(Job::Finish(blob, done)) => {
                    let result = self.flush(blob.id());
                    let _ = done.send(result);
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush_all();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.bytes >= limits::FLUSH_BYTES
                || self.since.is_some_and(|s| s.elapsed() >= limits::FLUSH_EVERY)
            {
                self.flush_all();
            }
        }
    }

    fn add(&mut self, blob: Arc<Blob>, chunk: u32) {
        let Some(index) = blob.geometry().chunk(chunk) else { return };
        let size = blob.geometry().size(index) as u64;
        let chunks = blob.geometry().chunks();
        let pending = self.pending.entry(blob.id()).or_insert_with(|| Pending {
            blob,
            chunks: Bitmap::new(chunks),
            bytes: 0,
        });
        pending.chunks.set(chunk);
        pending.bytes += size.div_ceil(UNIT).max(1) * UNIT;
        self.bytes += size;
        self.since.get_or_insert_with(Instant::now);
    }

    fn flush_all(&mut self) {
        while let Some((&id, _)) = self.pending.first_key_value() {
            let _ = self.flush(id);
        }
        self.bytes = 0;
        self.since = None;
    }

    /// One blob. On an error it is poisoned: what was written since the last flush is not believed again.
    fn flush(&mut self, id: ContentId) -> Result<(), DiskError> {
        let Some(Pending { blob, chunks, bytes }) = self.pending.remove(&id) else { return Ok(()) };
        let result = self.flush_chunks(&blob, &chunks);
        self.room.add_permits((bytes / UNIT) as usize);
        if let Err(error) = &result {
            blob.poison();
            tracing::warn!(%id, %error, "flush failed");
            let note = Poisoned { id, error: error.to_string(), full: error.is_full() };
            self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        }
        result
    }

    fn flush_chunks(&self, blob: &Blob, chunks: &Bitmap) -> Result<(), DiskError> {
        blob.extents.sync()?;
        let mut entered = chunks.clone();
        // A chunk that reaches into a file that was not asked for is not whole on disk.
        blob.extents.unreadable(blob.geometry()).iter().for_each(|c| entered.clear(c));
        match &mut *blob.map.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(map) => map.append(&entered),
            None => Ok(()),
        }
    }
}
