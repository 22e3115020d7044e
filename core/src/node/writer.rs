//! The threads that write verified chunks: a disk that takes its time slows its transfers down, never the node.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::session::{Outcome, SessionEvent};
use crate::content::geometry::ChunkIndex;
use crate::limits;
use crate::schedule::PeerKey;
use crate::store::{Blob, Store};

/// A verified chunk on its way to the disk.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) target: Arc<Blob>,
    pub(super) chunk: ChunkIndex,
    pub(super) bytes: Vec<u8>,
    /// Whom to tell, and as what.
    pub(super) from: PeerKey,
    pub(super) blob: u32,
    /// Bytes that were not told of yet.
    pub(super) fresh: u64,
    /// Where the buffer goes for the next chunk, if there is room.
    pub(super) spare: mpsc::Sender<Vec<u8>>,
}

/// Threads that write: a directory of small files costs more time in the kernel than its bytes do.
const THREADS: usize = 2;

/// Starts the threads; they end when the last sender is dropped.
pub(super) fn start(store: &Store, events: &mpsc::Sender<(PeerKey, SessionEvent)>) -> mpsc::Sender<Write> {
    let (writes, queue) = mpsc::channel(limits::WRITE_QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..THREADS {
        let (store, queue, events) = (store.clone(), queue.clone(), events.clone());
        let run = move || run(&store, &queue, &events);
        if let Err(error) = std::thread::Builder::new().name("write".into()).spawn(run) {
            tracing::error!(%error, "no thread for writing");
        }
    }
    writes
}

fn run(store: &Store, queue: &Mutex<mpsc::Receiver<Write>>, events: &mpsc::Sender<(PeerKey, SessionEvent)>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(write) = next else { return };
        let outcome = put(store, &write.target, write.chunk, &write.bytes);
        let (blob, chunk, bytes) = (write.blob, write.chunk.get(), write.fresh);
        let event = SessionEvent::Chunk { blob, chunk, bytes, outcome };
        if events.blocking_send((write.from, event)).is_err() {
            return;
        }
        let _ = write.spare.try_send(write.bytes);
    }
}

/// Writes a verified chunk and hands it to the flusher.
pub(super) fn put(store: &Store, target: &Arc<Blob>, chunk: ChunkIndex, bytes: &[u8]) -> Outcome {
    match target.write(chunk, bytes) {
        Ok(()) => {
            store.written(target, chunk.get());
            Outcome::Written
        }
        Err(e) => Outcome::Disk { full: e.is_full() || e.is_out_of_files(), error: e.to_string() },
    }
}
