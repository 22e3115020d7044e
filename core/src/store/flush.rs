//! The flushing thread. It flushes chunk data, then enters the chunks in the have-map, so that writers wait
//! for the disk only when too much is unflushed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::blob::Blob;
use super::disk::DiskError;
use crate::content::bitmap::Bitmap;
use crate::exchange::Broken;
use crate::id::ContentId;
use crate::limits;

/// Bytes per permit of the semaphore that holds the writer back.
const UNIT: u64 = limits::CHUNK_MIN;

/// A blob whose flush failed. It must be opened and verified again before it is believed.
#[derive(Debug, Clone)]
pub struct Poisoned {
    /// Id of the blob.
    pub id: ContentId,
    /// Error of the disk, in words.
    pub error: String,
    /// True if the disk was full: the flush may be tried again.
    pub full: bool,
}

impl From<&Poisoned> for Broken {
    fn from(Poisoned { error, full, .. }: &Poisoned) -> Self {
        if *full { Self::Full(error.clone()) } else { Self::Disk(error.clone()) }
    }
}

/// Permission to write some bytes. It is given back when this is dropped, or, after [`Room::used`], once the
/// bytes are flushed.
#[derive(Debug)]
pub struct Room {
    semaphore: Arc<Semaphore>,
    units: usize,
}

impl Room {
    /// Says that the bytes were written and reported to the flusher.
    pub fn used(mut self) {
        self.units = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.units);
    }
}

enum FlushCommand {
    /// Something is to be flushed, soon or now.
    Look,
    /// Flush this blob now and report the result.
    Finish(Arc<Blob>, SyncSender<Result<(), DiskError>>),
    Stop,
}

/// A handle to the flushing thread.
#[derive(Debug)]
pub(super) struct Flusher {
    jobs: SyncSender<FlushCommand>,
    room: Arc<Semaphore>,
    pending: Arc<Mutex<Unflushed>>,
    poisoned: Arc<Mutex<Vec<Poisoned>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Pending {
    blob: Arc<Blob>,
    chunks: Bitmap,
    bytes: u64,
}

/// Chunks that were written and not yet flushed. Writers enter them here and wake the thread only when it has
/// work: waking it for every chunk would cost more than the chunk.
#[derive(Default)]
struct Unflushed {
    blobs: BTreeMap<ContentId, Pending>,
    bytes: u64,
    since: Option<Instant>,
}

struct Worker {
    jobs: Receiver<FlushCommand>,
    room: Arc<Semaphore>,
    poisoned: Arc<Mutex<Vec<Poisoned>>>,
    pending: Arc<Mutex<Unflushed>>,
}

impl Flusher {
    pub(super) fn start() -> Self {
        let permits = limits::UNFLUSHED_BYTES / UNIT;
        let (jobs, queue) = sync_channel(limits::COMMAND_QUEUE);
        let room = Arc::new(Semaphore::new(permits as usize));
        let poisoned = Arc::new(Mutex::new(Vec::new()));
        let pending = Arc::new(Mutex::new(Unflushed::default()));
        let worker = Worker {
            jobs: queue,
            room: Arc::clone(&room),
            poisoned: Arc::clone(&poisoned),
            pending: Arc::clone(&pending),
        };
        let thread = std::thread::Builder::new().name("flush".into()).spawn(move || worker.run());
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread for flushing: have-maps will not be kept");
        }
        Self { jobs, room, pending, poisoned, thread: Mutex::new(thread.ok()) }
    }

    /// Waits until `bytes` more may be written, and takes the permission.
    pub(super) async fn room(&self, bytes: u64) -> Room {
        let units = bytes.div_ceil(UNIT).clamp(1, limits::UNFLUSHED_BYTES / UNIT) as u32;
        let taken = self.room.acquire_many(units).await.map(SemaphorePermit::forget).is_ok();
        Room { semaphore: Arc::clone(&self.room), units: if taken { units as usize } else { 0 } }
    }

    pub(super) fn written(&self, blob: &Arc<Blob>, chunk: u32) {
        if lock(&self.pending).add(blob, chunk) {
            let _ = self.jobs.send(FlushCommand::Look);
        }
    }

    /// Flushes all written chunks of a blob and enters them in the have-map.
    pub(super) fn finish(&self, blob: &Arc<Blob>) -> Result<(), DiskError> {
        let (done, wait) = sync_channel(1);
        let gone = || blob.extents.error("flush", std::io::Error::other("the flushing thread has ended"));
        self.jobs.send(FlushCommand::Finish(Arc::clone(blob), done)).map_err(|_| gone())?;
        wait.recv().map_err(|_| gone())?
    }

    /// Takes the blobs whose flush failed and for which `ours` holds.
    pub(super) fn poisoned(&self, ours: impl Fn(ContentId) -> bool) -> Vec<Poisoned> {
        let mut all = self.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *all).into_iter().partition(|poisoned| ours(poisoned.id));
        *all = left;
        taken
    }

    /// Flushes everything and ends the thread.
    pub(super) fn stop(&self) {
        let _ = self.jobs.send(FlushCommand::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Unflushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unflushed").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn lock(pending: &Mutex<Unflushed>) -> MutexGuard<'_, Unflushed> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unflushed {
    /// Enters a chunk. True if the thread must look: at the first chunk, so that it knows the time, and when
    /// there is enough to flush.
    fn add(&mut self, blob: &Arc<Blob>, chunk: u32) -> bool {
        let Some(index) = blob.geometry().chunk(chunk) else { return false };
        let size = blob.geometry().size(index) as u64;
        let chunks = blob.geometry().chunks();
        let pending = self.blobs.entry(blob.id()).or_insert_with(|| Pending {
            blob: Arc::clone(blob),
            chunks: Bitmap::new(chunks),
            bytes: 0,
        });
        pending.chunks.set(chunk);
        pending.bytes += size.div_ceil(UNIT).max(1) * UNIT;
        let enough = self.bytes >= limits::FLUSH_BYTES;
        self.bytes += size;
        let first = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        first || (!enough && self.bytes >= limits::FLUSH_BYTES)
    }

    fn is_due(&self) -> bool {
        self.bytes >= limits::FLUSH_BYTES || self.since.is_some_and(|s| s.elapsed() >= limits::FLUSH_EVERY)
    }
}

impl Worker {
    fn run(&self) {
        loop {
            let since = lock(&self.pending).since;
            let wait =
                since.map_or(Duration::from_secs(3600), |s| limits::FLUSH_EVERY.saturating_sub(s.elapsed()));
            match self.jobs.recv_timeout(wait) {
                Ok(FlushCommand::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(FlushCommand::Finish(blob, done)) => {
                    let pending = lock(&self.pending).blobs.remove(&blob.id());
                    let _ = done.send(pending.map_or(Ok(()), |pending| self.flush(pending)));
                }
                Ok(FlushCommand::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush_all();
                    return;
                }
            }
            if lock(&self.pending).is_due() {
                self.flush_all();
            }
        }
    }

    fn flush_all(&self) {
        let all = std::mem::take(&mut *lock(&self.pending));
        for pending in all.blobs.into_values() {
            let _ = self.flush(pending);
        }
    }

    /// Flushes one blob. After an error the blob is poisoned: chunks written since the last flush are not
    /// believed.
    fn flush(&self, Pending { blob, chunks, bytes }: Pending) -> Result<(), DiskError> {
        let id = blob.id();
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
        // A chunk that reaches into a file that was not requested is not whole on disk.
        blob.extents.unreadable(blob.geometry()).iter().for_each(|c| entered.clear(c));
        match &mut *blob.map.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(map) => map.append(&entered),
            None => Ok(()),
        }
    }
}
