//! The threads that write verified chunks, so that a slow disk slows its transfers down and not the node.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::session::event::{Outcome, SessionEvent};
use crate::content::geometry::ChunkIndex;
use crate::limits;
use crate::schedule::PeerKey;
use crate::store::{Blob, Room, Store};

/// A verified chunk on its way to the disk.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) target: Arc<Blob>,
    pub(crate) chunk: ChunkIndex,
    pub(crate) bytes: Vec<u8>,
    /// The chunk's share of the bytes that may wait for the disk.
    pub(crate) room: Room,
    /// The session that brought the chunk.
    pub(crate) from: PeerKey,
    /// The node's handle for the blob in this session.
    pub(crate) blob: u32,
    /// Bytes of the chunk of which the node has not been told.
    pub(crate) fresh: u64,
    /// The queue to which the buffer goes for the next chunk, if there is room.
    pub(crate) spare: mpsc::Sender<Vec<u8>>,
}

/// The queues to the two threads that write. There are two because a directory of small files costs more time
/// in the kernel than its bytes do. The second gets only the chunks for which the first has no room, so that
/// a slow transfer does not wake both threads for each chunk.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    first: mpsc::Sender<Write>,
    second: mpsc::Sender<Write>,
}

impl Writer {
    /// Starts the threads. They end when the last handle is dropped.
    pub(crate) fn start(store: &Store, events: &mpsc::Sender<(PeerKey, SessionEvent)>) -> Self {
        let thread = || {
            let (writes, queue) = mpsc::channel(limits::WRITE_QUEUE / 2);
            let (store, events) = (store.clone(), events.clone());
            let run = move || run(&store, queue, &events);
            if let Err(error) = std::thread::Builder::new().name("write".into()).spawn(run) {
                tracing::error!(%error, "no thread for writing");
            }
            writes
        };
        Self { first: thread(), second: thread() }
    }

    /// Hands a chunk to the threads. Waits while the disk is far behind. Returns false if the threads have
    /// ended.
    pub(crate) async fn write(&self, write: Write) -> bool {
        let write = match self.first.try_send(write) {
            Ok(()) => return true,
            Err(TrySendError::Full(write) | TrySendError::Closed(write)) => write,
        };
        // The thread that has room first gets the chunk. It is no failure if only one of them runs.
        tokio::select! {
            biased;
            Ok(room) = self.first.reserve() => room.send(write),
            Ok(room) = self.second.reserve() => room.send(write),
            else => return false,
        }
        true
    }
}

/// Writes chunks and tells the node, until the last handle or the node is gone.
fn run(store: &Store, mut queue: mpsc::Receiver<Write>, events: &mpsc::Sender<(PeerKey, SessionEvent)>) {
    while let Some(mut write) = queue.blocking_recv() {
        let outcome = put(store, &write.target, write.chunk, &mut write.bytes, write.room);
        let (blob, chunk, bytes) = (write.blob, write.chunk.get(), write.fresh);
        let event = SessionEvent::Chunk { blob, chunk, bytes, outcome };
        if events.blocking_send((write.from, event)).is_err() {
            return;
        }
        let _ = write.spare.try_send(write.bytes);
    }
}

/// Writes a verified chunk and hands it to the flusher.
pub(crate) fn put(
    store: &Store,
    target: &Arc<Blob>,
    chunk: ChunkIndex,
    bytes: &mut [u8],
    room: Room,
) -> Outcome {
    match target.write(chunk, bytes) {
        Ok(()) => {
            store.written(target, chunk.get());
            room.used();
            Outcome::Written
        }
        Err(e) if e.is_malformed() => Outcome::Malformed,
        Err(e) => Outcome::Disk {
            full: e.is_full() || e.is_out_of_files(),
            lasting: e.is_too_large(),
            error: e.to_string(),
        },
    }
}
