//! The reading of one chunk from a web server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::super::EventSender;
use crate::exchange::ReceiveCommand;
use crate::metrics::Traffic;
use crate::net::rate::Limiter;
use crate::store::{Store, Stored};
use crate::transfer::webseed::{WebSeed, WebSeedError};
use crate::transfer::writer::{Write, Writer};

/// The result of reading a chunk.
pub(super) enum Read {
    /// The chunk was handed to the threads that write. They tell the node.
    Done,
    /// The only chunk of a blob that is being learned; `None` if it did not verify.
    Only(Option<Vec<u8>>),
    /// The chunk did not verify.
    Bad,
    /// The server did not send the chunk.
    Failed(WebSeedError),
}

/// The task that reads one chunk from the server.
pub(super) struct ChunkReader {
    pub(super) seed: Arc<WebSeed>,
    pub(super) limiter: Limiter,
    pub(super) traffic: Arc<Traffic>,
    pub(super) got: Arc<AtomicU64>,
    pub(super) store: Store,
    pub(super) writes: Writer,
    pub(super) tell: EventSender,
    pub(super) spare: mpsc::Sender<Vec<u8>>,
    pub(super) buffer: Vec<u8>,
}

impl ChunkReader {
    /// Reads and verifies the chunk, and hands it to the threads that write.
    pub(super) async fn run(mut self, expect: ReceiveCommand<Stored>) -> Read {
        let (geometry, index, mut check) = match &expect {
            ReceiveCommand::Chunk { chunk, target, .. } => match target.geometry().chunk(*chunk) {
                Some(index) => (target.geometry(), index, target.list().check(index)),
                None => return Read::Done,
            },
            ReceiveCommand::Only { list, .. } => match list.geometry().last() {
                Some(index) => (list.geometry(), index, list.check(index)),
                None => return Read::Only(Some(Vec::new())),
            },
            _ => return Read::Done,
        };
        let (from, size) = (geometry.offset(index), geometry.size(index));
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        bytes.reserve_exact(size);
        let mut left = size;
        while left > 0 {
            let step = left.min(self.limiter.step());
            self.limiter.pass(step).await;
            left -= step;
        }
        let (got, traffic) = (&self.got, &self.traffic);
        let take = |piece: &[u8]| {
            check.update(piece);
            bytes.extend_from_slice(piece);
            got.fetch_add(piece.len() as u64, Ordering::Relaxed);
            traffic.received(piece.len() as u64);
        };
        if let Err(error) = self.seed.read(from..from + size as u64, take).await {
            return Read::Failed(error);
        }
        let passes = check.passes();
        match expect {
            ReceiveCommand::Only { .. } => Read::Only(passes.then_some(bytes)),
            ReceiveCommand::Chunk { blob, target, .. } if passes => {
                let room = self.store.room(size as u64).await;
                let (from, spare) = (self.tell.key, self.spare);
                let write = Write { target, chunk: index, bytes, room, from, blob, fresh: 0, spare };
                self.writes.write(write).await;
                Read::Done
            }
            _ => Read::Bad,
        }
    }
}
