//! The threads that write verified chunks: a disk that takes its time slows its transfers down, never the node.

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
    pub(crate) room: Room,
    /// Whom to tell, and as what.
    pub(crate) from: PeerKey,
    pub(crate) blob: u32,
    /// Bytes that were not told of yet.
    pub(crate) fresh: u64,
    /// Where the buffer goes for the next chunk, if there is room.
    pub(crate) spare: mpsc::Sender<Vec<u8>>,
}

/// To the threads that write. There are two, for a directory of small files costs more time in the kernel than its bytes do;
/// the second is given only what the first has no room for, so that a slow transfer does not wake both for each chunk.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    first: mpsc::Sender<Write>,
    second: mpsc::Sender<Write>,
}

impl Writer {
    /// Starts the threads; they end when the last handle is dropped.
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

    /// Hands a chunk over; waits while the disk is far behind. False when the threads have ended.
    pub(crate) async fn write(&self, write: Write) -> bool {
        let write = match self.first.try_send(write) {
            Ok(()) => return true,
            Err(TrySendError::Full(write) | TrySendError::Closed(write)) => write,
        };
        // Whichever has room first; one alone will do.
        tokio::select! {
            biased;
            Ok(room) = self.first.reserve() => room.send(write),
            Ok(room) = self.second.reserve() => room.send(write),
            else => return false,
        }
        true
    }
}

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
        Err(e) => Outcome::Disk { full: e.is_full() || e.is_out_of_files(), error: e.to_string() },
    }
}
