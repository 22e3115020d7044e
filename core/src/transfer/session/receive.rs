//! The receiving half of a data stream: frames become chunks, which are verified and written. The bytes are
//! copied once, from the transport's buffer into the chunk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::event::{Outcome, SessionEvent};
use super::pending::{Back, Coming, PendingRequests, Purpose, RequestKey, Taken};
use super::send_queue::Number;
use super::{EventSender, SessionContext, SessionEnd};
use crate::content::geometry::ChunkIndex;
use crate::limits;
use crate::metrics::Traffic;
use crate::net::rate::Limiter;
use crate::store::{Blob, Store};
use crate::transfer::writer::{Write, Writer};
use crate::wire::frame::{DataHeader, HEADER};
use crate::wire::{Handle, LIST};

/// Bytes of a chunk after which the node is told of them: enough to see that a slow holder is alive, at few
/// events.
const REPORT_BYTES: u64 = 256 << 10;
/// Time after which the node is told of fewer bytes than [`REPORT_BYTES`].
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// Buffers that are kept for the next chunks.
const SPARE: usize = 3;

/// The task that reads one data stream.
pub(super) struct Receiver {
    pending: Arc<PendingRequests>,
    /// Number of the stream in its session.
    number: Number,
    tell: EventSender,
    store: Store,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    writes: Writer,
    /// The queue on which buffers come back from the thread that writes.
    returns: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    /// Number of frames that were not requested.
    stray: u32,
    /// The last time the node was told of a part of a chunk.
    reported: Instant,
}

impl Receiver {
    /// Returns the task for the stream with this number.
    pub(super) fn new(
        pending: Arc<PendingRequests>,
        number: Number,
        tell: EventSender,
        shared: &SessionContext,
        limiter: Limiter,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            pending,
            number,
            tell,
            store: shared.store.clone(),
            limiter,
            traffic,
            writes: shared.writes.clone(),
            returns: mpsc::channel(SPARE),
            stray: 0,
            reported: Instant::now(),
        }
    }

    /// Reads frames until the peer closes the stream.
    ///
    /// # Errors
    /// [`SessionEnd::Lost`] if the stream breaks or ends within a chunk, [`SessionEnd::Protocol`] if a frame
    /// is malformed or too many were not requested.
    pub(super) async fn run(mut self, mut stream: impl AsyncRead + Unpin) -> Result<(), SessionEnd> {
        let mut header = [0; HEADER];
        loop {
            if stream.read(&mut header[..1]).await? == 0 {
                let cut = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return if self.pending.is_part_way(self.number) { Err(cut.into()) } else { Ok(()) };
            }
            stream.read_exact(&mut header[1..]).await?;
            let header = DataHeader::decode(header).map_err(|e| SessionEnd::Protocol(e.to_string()))?;
            self.frame(header, &mut stream).await?;
        }
    }

    /// Reads the bytes of one frame to their place, or past them.
    async fn frame(
        &mut self,
        header: DataHeader,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), SessionEnd> {
        let (key, len) = ((header.blob, header.chunk), header.len as usize);
        self.traffic.received(len as u64);
        let mut coming = match self.pending.take(header, self.number).await {
            Taken::Here(coming) => coming,
            Taken::Late => return self.skip(len, stream).await,
            Taken::Stray => {
                self.stray += 1;
                // A chunk whose frames do not follow each other never becomes whole: its request stays
                // unanswered.
                if self.stray >= limits::STRAY_FRAMES {
                    return Err(SessionEnd::Protocol("sent bytes that were not asked for".into()));
                }
                return self.skip(len, stream).await;
            }
        };
        if coming.bytes.is_empty() {
            let mut bytes = self.returns.1.try_recv().unwrap_or_default();
            bytes.resize(coming.size, 0);
            coming.bytes = bytes;
        }
        let (start, end) = (coming.got, coming.got + len);
        // No more is read at once than the limiter lets pass: for bytes that are read, the peer may send
        // others.
        while coming.got < end {
            let stop = end.min(coming.got + self.limiter.step());
            self.limiter.pass(stop - coming.got).await;
            self.part(&mut coming, key, (stop, end), stream).await?;
        }
        if let Purpose::Only(check) | Purpose::Write(_, check) = &mut coming.purpose {
            check.update(&coming.bytes[start..end]);
        }
        let fresh = self.due(&mut coming, key);
        match self.pending.give_back(key, coming) {
            Back::Whole(whole) => return self.whole(key, whole).await,
            Back::Unwanted(bytes) => self.recycle(bytes),
            Back::Continues => {}
        }
        if let Some(bytes) = fresh {
            self.tell.event(SessionEvent::Bytes { blob: key.0, chunk: key.1, bytes }).await?;
        }
        Ok(())
    }

    /// Reads a part of a frame, up to `stop` in the chunk; the frame ends at `end`. On a slow line a frame
    /// takes seconds, so the node is told of parts of it.
    async fn part(
        &mut self,
        coming: &mut Coming,
        key: RequestKey,
        (stop, end): (usize, usize),
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), SessionEnd> {
        while coming.got < stop {
            match stream.read(&mut coming.bytes[coming.got..stop]).await? {
                0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                some => coming.got += some,
            }
            if coming.got < end
                && let Some(bytes) = self.due(coming, key)
            {
                self.tell.event(SessionEvent::Bytes { blob: key.0, chunk: key.1, bytes }).await?;
            }
        }
        Ok(())
    }

    /// Returns the bytes of a chunk of which the node is to be told now; `None` if it is too early.
    fn due(&mut self, coming: &mut Coming, (_, chunk): RequestKey) -> Option<u64> {
        let fresh = (coming.got - coming.reported) as u64;
        let due = fresh >= REPORT_BYTES || self.reported.elapsed() >= REPORT_EVERY;
        if chunk == LIST || coming.got == coming.size || !due {
            return None;
        }
        coming.reported = coming.got;
        self.reported = Instant::now();
        Some(fresh)
    }

    /// Reads past bytes that are not wanted.
    async fn skip(
        &mut self,
        mut left: usize,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), SessionEnd> {
        let mut sink = [0; 4096];
        while left > 0 {
            let step = left.min(sink.len());
            self.limiter.pass(step).await;
            stream.read_exact(&mut sink[..step]).await?;
            left -= step;
        }
        Ok(())
    }

    /// Hands on a chunk or a hash list that has arrived as a whole.
    async fn whole(&mut self, (blob, chunk): (Handle, u32), coming: Coming) -> Result<(), SessionEnd> {
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

    /// Hands a verified chunk to the threads that write. Waits while the disk is far behind.
    async fn hand_over(
        &self,
        target: Arc<Blob>,
        chunk: ChunkIndex,
        bytes: Vec<u8>,
        (blob, fresh): (Handle, u64),
    ) -> Result<(), SessionEnd> {
        let room = self.store.room(bytes.len() as u64).await;
        let (from, spare) = (self.tell.key, self.returns.0.clone());
        let write = Write { target, chunk, bytes, room, from, blob, fresh, spare };
        if self.writes.write(write).await { Ok(()) } else { Err(SessionEnd::Node) }
    }

    /// Keeps a buffer for a later chunk, if there is room.
    fn recycle(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let _ = self.returns.0.try_send(bytes);
        }
    }
}
