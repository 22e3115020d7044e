//! The data stream, inbound: frames into chunks, chunks verified and written. One copy from the transport's buffer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::AsyncReadExt;
use futures::io::ReadHalf;
use libp2p::Stream;
use tokio::sync::mpsc;

use super::{End, Expect, Outcome, SessionEvent, Shared, Tell};
use crate::content::geometry::ChunkIndex;
use crate::content::tree::Check;
use crate::limits;
use crate::metrics::Traffic;
use crate::node::limiter::Limiter;
use crate::node::pace::Directions;
use crate::node::writer::{Write, Writer};
use crate::store::{Blob, Store};
use crate::wire::frame::{DataHeader, HEADER};
use crate::wire::{Handle, LIST};

/// The node hears of a chunk's bytes in steps of this many, or after this long.
const REPORT_BYTES: u64 = 256 << 10;
/// See [`REPORT_BYTES`].
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// Buffers kept for the next chunks.
const SPARE: usize = 3;

/// What a chunk is for.
enum Purpose {
    List,
    Only(Box<Check>),
    Write(Arc<Blob>, Box<Check>),
}

/// A chunk that was asked for, as far as it has arrived.
struct Coming {
    purpose: Purpose,
    size: usize,
    bytes: Vec<u8>,
    got: usize,
    reported: usize,
}

pub(super) struct Receiver {
    expects: mpsc::Receiver<Expect>,
    tell: Tell,
    store: Store,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    coming: BTreeMap<(Handle, u32), Coming>,
    cancelled: BTreeSet<(Handle, u32)>,
    writes: Writer,
    /// Buffers come back from the thread that writes.
    returns: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    stray: u32,
    reported: Instant,
}

impl Receiver {
    pub(super) fn new(
        expects: mpsc::Receiver<Expect>,
        tell: Tell,
        shared: &Shared,
        pace: &Directions,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            expects,
            tell,
            store: shared.store.clone(),
            limiter: pace.down.clone(),
            traffic,
            coming: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            writes: shared.writes.clone(),
            returns: mpsc::channel(SPARE),
            stray: 0,
            reported: Instant::now(),
        }
    }

    /// Reads frames until the stream ends or the peer breaks the rules.
    pub(super) async fn run(mut self, mut stream: ReadHalf<Stream>) -> Result<(), End> {
        let mut header = [0; HEADER];
        loop {
            stream.read_exact(&mut header).await?;
            let header = DataHeader::decode(header).map_err(|e| End::Protocol(e.to_string()))?;
            // What was asked was told us before it was asked: it is in the queue by now.
            while let Ok(expect) = self.expects.try_recv() {
                self.expect(expect);
            }
            self.frame(header, &mut stream).await?;
        }
    }

    fn expect(&mut self, expect: Expect) {
        let (key, purpose, size) = match expect {
            Expect::List { blob, len } => ((blob, LIST), Purpose::List, len),
            Expect::Only { blob, list } => {
                let Some(index) = list.geometry().last() else { return };
                let size = list.geometry().size(index);
                ((blob, index.get()), Purpose::Only(Box::new(list.check(index))), size)
            }
            Expect::Chunk { blob, chunk, target } => {
                let Some(index) = target.geometry().chunk(chunk) else { return };
                let size = target.geometry().size(index);
                let check = Box::new(target.list().check(index));
                ((blob, chunk), Purpose::Write(target, check), size)
            }
            Expect::Cancel { blob, chunk } => {
                if let Some(coming) = self.coming.remove(&(blob, chunk)) {
                    self.recycle(coming.bytes);
                    // A few frames may be under way. The set is bounded: an old cancel is as good as forgotten.
                    if self.cancelled.len() >= limits::REQUESTS_PER_PEER {
                        self.cancelled.pop_first();
                    }
                    self.cancelled.insert((blob, chunk));
                }
                return;
            }
        };
        // Asked for again after a cancel: frames of the cut answer may still come before those of the new one, so the key
        // stays among the cancelled until the chunk is whole.
        self.coming.insert(key, Coming { purpose, size, bytes: Vec::new(), got: 0, reported: 0 });
    }

    async fn frame(&mut self, header: DataHeader, stream: &mut ReadHalf<Stream>) -> Result<(), End> {
        let (key, len) = ((header.blob, header.chunk), header.len as usize);
        self.traffic.received(len as u64);
        let fits =
            self.coming.get(&key).is_some_and(|c| c.got == header.offset as usize && c.got + len <= c.size);
        if !fits {
            return self.stray(key, header, stream).await;
        }
        let Some(coming) = self.coming.get_mut(&key) else { return Ok(()) };
        if coming.bytes.is_empty() {
            let mut bytes = self.returns.1.try_recv().unwrap_or_default();
            bytes.resize(coming.size, 0);
            coming.bytes = bytes;
        }
        // As much of it at once as may pass at once: what is read, the peer may send again.
        for part in coming.bytes[coming.got..coming.got + len].chunks_mut(self.limiter.step()) {
            self.limiter.pass(part.len()).await;
            stream.read_exact(part).await?;
        }
        if let Purpose::Only(check) | Purpose::Write(_, check) = &mut coming.purpose {
            check.update(&coming.bytes[coming.got..coming.got + len]);
        }
        coming.got += len;
        if coming.got == coming.size {
            self.cancelled.remove(&key);
            return match self.coming.remove(&key) {
                Some(whole) => self.whole(key, whole).await,
                None => Ok(()),
            };
        }
        let fresh = (coming.got - coming.reported) as u64;
        if header.chunk != LIST && (fresh >= REPORT_BYTES || self.reported.elapsed() >= REPORT_EVERY) {
            coming.reported = coming.got;
            self.reported = Instant::now();
            self.tell.event(SessionEvent::Bytes { blob: key.0, chunk: key.1, bytes: fresh }).await?;
        }
        Ok(())
    }

    /// Bytes nobody asked for, or that do not fit: read past them, and close after a few. What was cancelled is no fault.
    async fn stray(
        &mut self,
        key: (Handle, u32),
        header: DataHeader,
        stream: &mut ReadHalf<Stream>,
    ) -> Result<(), End> {
        if !self.cancelled.contains(&key) {
            self.stray += 1;
            // A chunk that goes on where it should not is broken for good: its request is as good as unanswered.
            if self.stray >= limits::STRAY_FRAMES {
                return Err(End::Protocol("sent bytes that were not asked for".into()));
            }
        }
        let mut sink = [0; 4096];
        let mut left = header.len as usize;
        while left > 0 {
            let step = left.min(sink.len());
            self.limiter.pass(step).await;
            stream.read_exact(&mut sink[..step]).await?;
            left -= step;
        }
        Ok(())
    }

    async fn whole(&mut self, (blob, chunk): (Handle, u32), coming: Coming) -> Result<(), End> {
        let fresh = (coming.got - coming.reported) as u64;
        let event = match &coming.purpose {
            Purpose::List => return self.tell.event(SessionEvent::List { blob, bytes: coming.bytes }).await,
            Purpose::Only(check) => {
                let bytes = check.passes().then_some(coming.bytes);
                return self.tell.event(SessionEvent::Only { blob, bytes }).await;
            }
            Purpose::Write(target, check) => {
                let Some(index) = target.geometry().chunk(chunk) else { return Ok(()) };
                if check.passes() {
                    let target = Arc::clone(target);
                    return self.hand_over(target, index, coming.bytes, (blob, fresh)).await;
                }
                SessionEvent::Chunk { blob, chunk, bytes: fresh, outcome: Outcome::Bad }
            }
        };
        self.recycle(coming.bytes);
        self.tell.event(event).await
    }

    /// To the thread that writes; waits while the disk is far behind.
    async fn hand_over(
        &self,
        target: Arc<Blob>,
        chunk: ChunkIndex,
        bytes: Vec<u8>,
        (blob, fresh): (Handle, u64),
    ) -> Result<(), End> {
        let room = self.store.room(bytes.len() as u64).await;
        let (from, spare) = (self.tell.key, self.returns.0.clone());
        let write = Write { target, chunk, bytes, room, from, blob, fresh, spare };
        if self.writes.write(write).await { Ok(()) } else { Err(End::Node) }
    }

    fn recycle(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let _ = self.returns.0.try_send(bytes);
        }
    }
}
