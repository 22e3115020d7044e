//! State of one yamux connection without its socket: the streams, and the frames that wait to be sent. The
//! connection feeds in the frames that arrive and sends the queued ones; the streams read and write.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use super::buffer::{Buffer, Buffers};
use super::frame::{ACK, FIN, FrameKind, Header, RST, SYN};
use super::{FRAME, MuxerError, STREAMS};

/// Bytes that each side may send on a new stream before it hears from the other; from the specification.
pub(super) const FIRST_WINDOW: u32 = 256 << 10;
/// Bytes read before a steady window is renewed: a few packets.
const STEADY_STEP: u32 = 16 << 10;

/// Bytes by which all windows of a connection together may grow beyond the first ones. A window must hold
/// twice the bytes in flight, since it is renewed by halves: 16 MiB carry 1 GB/s over 8 ms and 1 Gbit/s over
/// 67 ms.
pub(super) const WINDOW_GROWTH: u32 = 16 << 20;

/// Bytes in the queue from which writers must wait: enough for a few system calls.
const OUT_BYTES: usize = 256 << 10;
/// Frames in the queue from which writers must wait.
const OUT_FRAMES: usize = 128;
/// Frames without payload in the queue, above which we read no more: the peer keeps asking but takes no
/// answers. A peer that keeps to the rules causes three at most per stream, so that two honest peers never
/// stop each other.
pub(super) const OUT_FULL: usize = 4 * STREAMS;

/// Side of the connection; it decides which stream ids are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The dialler, whose streams have odd ids.
    Client,
    /// The listener, whose streams have even ids.
    Server,
}

/// Payload that follows a header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    /// Id of the stream, which may be gone.
    pub(super) stream: u32,
    /// Bytes still to come.
    pub(super) left: usize,
    /// True if the stream ends after this payload.
    fin: bool,
}

/// Streams of one connection and the frames that wait to be sent.
#[derive(Debug)]
pub(super) struct YamuxState {
    side: Side,
    next: u32,
    streams: BTreeMap<u32, StreamState>,
    /// Ids of streams that the peer opened and that nobody has accepted yet.
    arrived: VecDeque<u32>,
    out: VecDeque<Queued>,
    out_bytes: usize,
    /// Frames without payload in `out`.
    answers: usize,
    /// True if a writer waits for the queue to become shorter.
    crowded: bool,
    /// True after the last frame was queued.
    closing: bool,
    pub(super) buffers: Buffers,
    /// Bytes of [`WINDOW_GROWTH`] in use.
    grown: u32,
    growth: Growth,
    ended: bool,
    /// Waker of the connection's task.
    pub(super) task: Option<Waker>,
    acceptor: Option<Waker>,
    opener: Option<Waker>,
}

/// Frame that waits to be sent, and the stream whose payload it carries, if any.
#[derive(Debug)]
struct Queued {
    frame: Buffer,
    of: Option<u32>,
}

#[derive(Debug)]
struct StreamState {
    /// Flags to send with our first frame.
    flags: u16,
    /// Bytes we may still send.
    allowed: u32,
    /// Bytes that the peer may have in flight and unread (`window`), and how many of them it may still send
    /// (`granted`).
    window: u32,
    granted: u32,
    /// Bytes that a header announced and that are still to come.
    coming: u32,
    received: VecDeque<Buffer>,
    unread: u32,
    /// Frames of this stream in the connection's queue.
    queued: usize,
    /// Bytes read since the window was last renewed.
    consumed: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
    fin_received: bool,
    fin_sent: bool,
    reset: bool,
}

impl StreamState {
    const fn new(flags: u16) -> Self {
        Self {
            flags,
            allowed: FIRST_WINDOW,
            window: FIRST_WINDOW,
            granted: FIRST_WINDOW,
            coming: 0,
            received: VecDeque::new(),
            unread: 0,
            queued: 0,
            consumed: 0,
            reader: None,
            writer: None,
            fin_received: false,
            fin_sent: false,
            reset: false,
        }
    }

    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

const fn violated(what: &'static str) -> MuxerError {
    MuxerError::Protocol(what)
}

impl YamuxState {
    pub(super) fn new(side: Side, growth: Growth) -> Self {
        Self {
            side,
            next: if side == Side::Client { 1 } else { 2 },
            streams: BTreeMap::new(),
            arrived: VecDeque::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            answers: 0,
            crowded: false,
            closing: false,
            buffers: Buffers::default(),
            grown: 0,
            growth,
            ended: false,
            task: None,
            acceptor: None,
            opener: None,
        }
    }

    // The connection's side.

    /// Handles a header; returns the payload that follows it, if any.
    pub(super) fn header(&mut self, header: Header) -> Result<Option<Body>, MuxerError> {
        match header.kind {
            FrameKind::Ping if header.has(SYN) => {
                self.answer(Header::new(FrameKind::Ping, ACK, 0, header.len));
                return Ok(None);
            }
            FrameKind::Ping => return Ok(None),
            FrameKind::GoAway => return Err(MuxerError::GoneAway(header.len)),
            FrameKind::Data | FrameKind::Window => {}
        }
        if header.has(SYN) {
            self.arrive(header.stream)?;
        }
        // Frames of a stream that is already gone here may still be in flight for a while.
        let stream = self.streams.get_mut(&header.stream);
        let len = header.len as usize;
        match (header.kind, stream) {
            (FrameKind::Data, Some(stream)) => {
                if header.len > stream.granted || (stream.fin_received && header.len > 0) {
                    return Err(violated("sent more of a stream than it may"));
                }
                stream.granted -= header.len;
                stream.coming += header.len;
                if header.has(RST) {
                    stream.reset = true;
                    stream.wake();
                } else if header.has(FIN) && header.len == 0 {
                    stream.fin_received = true;
                    stream.wake();
                }
            }
            (FrameKind::Data, None) if header.len > FIRST_WINDOW + WINDOW_GROWTH => {
                return Err(violated("sent more of a stream than it may"));
            }
            (_, Some(stream)) => {
                let allowed = stream.allowed.checked_add(header.len);
                stream.allowed = allowed.ok_or(violated("granted more than a window can be"))?;
                stream.reset |= header.has(RST);
                stream.fin_received |= header.has(FIN);
                stream.wake();
            }
            (_, None) => {}
        }
        let body = Body { stream: header.stream, left: len, fin: header.has(FIN) };
        Ok(Some(body).filter(|_| header.kind == FrameKind::Data && len > 0))
    }

    fn arrive(&mut self, id: u32) -> Result<(), MuxerError> {
        let theirs = if self.side == Side::Client { 0 } else { 1 };
        if id == 0 || id % 2 != theirs || self.streams.contains_key(&id) {
            return Err(violated("opened a stream it may not open"));
        }
        if self.streams.len() >= STREAMS {
            tracing::debug!(id, "refused a stream: {STREAMS} are live");
            self.answer(Header::new(FrameKind::Data, RST, id, 0));
            return Ok(());
        }
        self.streams.insert(id, StreamState::new(ACK));
        self.arrived.push_back(id);
        self.acceptor.take().into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Returns a buffer with room for bytes of a payload; [`YamuxState::received`] takes it back.
    pub(super) fn room(&mut self, body: Body) -> Buffer {
        let last = self.streams.get_mut(&body.stream).and_then(|stream| {
            let has_room = stream.received.back_mut().is_some_and(|last| !last.room().is_empty());
            if has_room { stream.received.pop_back() } else { None }
        });
        last.unwrap_or_else(|| self.buffers.get(body.left))
    }

    /// Takes back the buffer of [`YamuxState::room`] with `count` more bytes of the payload in it; `count`
    /// may be 0.
    pub(super) fn received(&mut self, body: &mut Body, buffer: Buffer, count: usize) {
        body.left -= count;
        let Some(stream) = self.streams.get_mut(&body.stream).filter(|_| buffer.len() > 0) else {
            self.buffers.put(buffer);
            return;
        };
        stream.received.push_back(buffer);
        if count > 0 {
            // The count is smaller if the id was given to a new stream meanwhile.
            stream.coming = stream.coming.saturating_sub(count as u32);
            stream.unread += count as u32;
            stream.fin_received |= body.fin && body.left == 0;
            stream.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Returns the next frame to send.
    pub(super) fn next_frame(&mut self) -> Option<Buffer> {
        let Queued { frame, of } = self.out.pop_front()?;
        match of.map(|id| self.streams.get_mut(&id)) {
            Some(Some(stream)) => {
                stream.queued = stream.queued.saturating_sub(1);
                // The stream gets its turn, however much the others have queued.
                if stream.queued == 0 {
                    stream.writer.take().into_iter().for_each(Waker::wake);
                }
            }
            Some(None) => {}
            None => self.answers -= 1,
        }
        self.out_bytes -= frame.len();
        if self.crowded && !self.is_crowded() {
            self.crowded = false;
            self.streams.values_mut().filter_map(|stream| stream.writer.take()).for_each(Waker::wake);
        }
        Some(frame)
    }

    fn is_crowded(&self) -> bool {
        self.out_bytes >= OUT_BYTES || self.out.len() >= OUT_FRAMES
    }

    /// Returns the number of queued frames without payload.
    pub(super) const fn answers(&self) -> usize {
        self.answers
    }

    /// Queues the last frame, which tells the peer why the connection ends.
    pub(super) fn go_away(&mut self, why: u32) {
        self.answer(Header::new(FrameKind::GoAway, 0, 0, why));
        self.closing = true;
    }

    /// Ends the connection. Bytes that have arrived can still be read.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.streams.values_mut().for_each(StreamState::wake);
        [self.acceptor.take(), self.opener.take()].into_iter().flatten().for_each(Waker::wake);
    }

    fn answer(&mut self, header: Header) {
        if !self.closing {
            self.answers += 1;
            self.push(Buffers::control(header), None);
        }
    }

    fn push(&mut self, frame: Buffer, of: Option<u32>) {
        self.out_bytes += frame.len();
        self.out.push_back(Queued { frame, of });
        self.task.take().into_iter().for_each(Waker::wake);
    }

    // The streams' side.

    /// Returns the id of a stream that the peer has opened.
    pub(super) fn poll_arrived(&mut self, cx: &Context<'_>) -> Poll<u32> {
        match self.arrived.pop_front() {
            Some(id) => Poll::Ready(id),
            None => {
                self.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Opens a stream of ours, once there is a slot for it; returns its id.
    pub(super) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<Result<u32, MuxerError>> {
        if self.ended {
            return Poll::Ready(Err(MuxerError::Closed));
        }
        if self.streams.len() >= STREAMS {
            self.opener = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let id = self.next;
        let Some(next) = id.checked_add(2) else { return Poll::Ready(Err(MuxerError::Closed)) };
        self.next = next;
        self.streams.insert(id, StreamState::new(SYN));
        Poll::Ready(Ok(id))
    }

    pub(super) fn poll_read(
        &mut self,
        id: u32,
        cx: &Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Ok(0)) };
        let mut filled = 0;
        while filled < into.len() {
            let Some(front) = stream.received.front_mut() else { break };
            let count = front.len().min(into.len() - filled);
            into[filled..filled + count].copy_from_slice(&front.filled()[..count]);
            front.consume(count);
            filled += count;
            if front.len() == 0
                && let Some(done) = stream.received.pop_front()
            {
                self.buffers.put(done);
            }
        }
        if filled > 0 || into.is_empty() {
            stream.unread -= filled as u32;
            stream.consumed += filled as u32;
            let more = !stream.fin_received && !stream.reset && !self.ended;
            if more && stream.consumed >= self.growth.renew_at(stream.window) {
                self.renew(id);
            }
            return Poll::Ready(Ok(filled));
        }
        if stream.fin_received {
            return Poll::Ready(Ok(0));
        }
        if stream.reset || self.ended {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        stream.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Lets the peer send as much again. If the reader has little left to read, it is faster than the window
    /// allows, and the window grows.
    fn renew(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.unread <= stream.window / 4 {
            let more = self.growth.take(stream.window.min(WINDOW_GROWTH - self.grown));
            stream.window += more;
            self.grown += more;
        }
        let held = stream.granted.saturating_add(stream.coming).saturating_add(stream.unread);
        let credit = stream.window.saturating_sub(held);
        stream.granted += credit;
        stream.consumed = 0;
        let flags = std::mem::take(&mut stream.flags);
        self.answer(Header::new(FrameKind::Window, flags, id, credit));
    }

    pub(super) fn poll_write(&mut self, id: u32, cx: &Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let over = self.ended || self.closing;
        let crowded = self.is_crowded();
        let stream = self.streams.get_mut(&id).filter(|s| !s.fin_sent && !s.reset && !over);
        let Some(stream) = stream else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // A stream with nothing queued may always queue one frame, so that the control stream gets through
        // beside a busy one.
        if (crowded && stream.queued > 0) || stream.allowed == 0 {
            self.crowded |= crowded;
            stream.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = from.len().min(FRAME).min(stream.allowed as usize);
        stream.allowed -= count as u32;
        let flags = std::mem::take(&mut stream.flags);
        let header = Header::new(FrameKind::Data, flags, id, count as u32);
        let frame = self.buffers.frame(header, &from[..count]);
        stream.queued += 1;
        self.push(frame, Some(id));
        Poll::Ready(Ok(count))
    }

    /// Ends our direction of a stream.
    pub(super) fn close(&mut self, id: u32) {
        let ended = self.ended;
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.fin_sent && !s.reset && !ended) {
            stream.fin_sent = true;
            let flags = std::mem::take(&mut stream.flags) | FIN;
            self.answer(Header::new(FrameKind::Data, flags, id, 0));
        }
    }

    /// Drops a stream that nobody holds any longer. It is reset, unless both sides are done or the peer never
    /// heard of it.
    pub(super) fn forget(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.grown -= stream.window - FIRST_WINDOW;
        self.growth.give(stream.window - FIRST_WINDOW);
        stream.received.into_iter().for_each(|buffer| self.buffers.put(buffer));
        let unknown = stream.flags & SYN != 0;
        let done = stream.fin_sent && stream.fin_received;
        if !unknown && !done && !stream.reset && !self.ended {
            self.answer(Header::new(FrameKind::Data, RST, id, 0));
        }
        // The connection's task counts its streams, even if the peer need not hear of the end.
        [self.opener.take(), self.task.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

impl Drop for YamuxState {
    fn drop(&mut self) {
        self.growth.give(self.grown);
    }
}

/// Bytes by which all windows of all connections may still grow together, and the way in which windows are
/// renewed.
#[derive(Debug, Clone)]
pub(super) struct Growth {
    left: Arc<AtomicU32>,
    steady: bool,
}

impl Growth {
    pub(super) fn new(bytes: u32) -> Self {
        Self { left: Arc::new(AtomicU32::new(bytes)), steady: false }
    }

    /// Makes a growth of zero, with windows that are renewed in small steps: a reader that is held back gets
    /// no bursts.
    pub(super) fn steady() -> Self {
        Self { steady: true, ..Self::new(0) }
    }

    /// Returns the bytes to read of a window before it is renewed.
    const fn renew_at(&self, window: u32) -> u32 {
        if self.steady { STEADY_STEP } else { window / 2 }
    }

    /// Takes as much of `wanted` as is left, in bytes.
    fn take(&self, wanted: u32) -> u32 {
        let mut taken = 0;
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            taken = wanted.min(left);
            Some(left - taken)
        });
        taken
    }

    fn give(&self, bytes: u32) {
        self.left.fetch_add(bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
