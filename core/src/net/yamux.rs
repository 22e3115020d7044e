//! Stream multiplexing over one connection: [yamux](https://github.com/hashicorp/yamux/blob/master/spec.md)
//! (`/yamux/1.0.0`), so that we talk to every libp2p node, optimized for bulk transfers.
//!
//! The crate that libp2p brings zeroes a fresh buffer for every frame, copies every byte once more in each
//! direction, and grows windows by up to 1 GiB. Here payloads go from the decrypted record into reused
//! buffers (the figures are in `core/ARCHITECTURE.md`). Frames have 64 KiB, all windows of a connection grow
//! by 16 MiB at most, 64 streams may live, and a close that the peer does not let finish times out.
//!
//! When a limit is reached:
//! - A peer opens a stream while 64 are live (in both directions together, including those that nobody has
//!   accepted yet): that stream is reset, and all others go on.
//! - We open a stream while 64 are live: `poll_outbound` waits until one is dropped.
//! - A peer sends more than a window allows, or breaks another rule: it is told so and the connection ends.
//! - A peer sends pings or other questions and reads no answers: we stop reading until it does.
//!
//! A stream that the peer closed reads as ended. A stream that was reset, or whose connection broke, first
//! yields everything that had arrived and then an error.

use std::future::{self, Future, Ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};

use crate::{limits, wire};
use buffer::Buffer;
use frame::{HEADER, Header};
use state::{Body, Growth, OUT_FULL, Side, YamuxState};

mod buffer;
mod frame;
mod state;
#[cfg(test)]
mod tests;

/// Name of yamux in the negotiation; from the yamux and libp2p specs.
const PROTOCOL: &str = "/yamux/1.0.0";

/// Most live streams of one connection, both directions together. We need a handful; other protocols of
/// libp2p open one per exchange.
pub(crate) const STREAMS: usize = 64;

/// Most bytes of payload in one frame: 16 KiB cost a quarter of the speed, more than 64 KiB gained nothing.
/// One data frame of ours fits exactly with its header, so that no tiny second frame follows each.
const FRAME: usize = limits::DATA_FRAME + wire::frame::HEADER;

/// Bytes read before waiting readers get their turn, so that they find the bytes in the processor's cache.
const TURN: usize = 128 << 10;

/// Time that a close may take to flush and say goodbye. libp2p counts a connection as open until then, so
/// that a peer that reads nothing would otherwise keep its slot for ever.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reason for a normal end of a connection; from the specification.
const NORMAL: u32 = 0;
/// Reason for an end after a broken rule; from the specification.
const PROTOCOL_ERROR: u32 = 1;

/// Upgrade of an authenticated byte stream to a [`Muxer`]. All clones share one bound on how much the windows
/// of their connections may grow together.
#[derive(Debug, Clone)]
pub(crate) struct Yamux(Growth);

impl Yamux {
    /// Makes the upgrade; [`build`](super::transport::build) explains `steady`.
    pub(crate) fn new(steady: bool) -> Self {
        Self(if steady { Growth::steady() } else { Growth::new(limits::WINDOW_GROWTH) })
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C> InboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(Muxer::new(socket, Side::Server, self.0)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(Muxer::new(socket, Side::Client, self.0)))
    }
}

/// Reason why a whole connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MuxerError {
    /// The socket broke.
    #[error("yamux: {0}")]
    Socket(#[from] io::Error),
    /// The peer broke a rule.
    #[error("yamux: the peer {0}")]
    Protocol(&'static str),
    /// The peer ended the connection.
    #[error("yamux: the peer went away (reason {0})")]
    GoneAway(u32),
    /// The connection is over.
    #[error("yamux: the connection is closed")]
    Closed,
    /// We closed it and the peer did not let us finish within [`CLOSE_TIMEOUT`].
    #[error("yamux: the peer did not let the connection close")]
    CloseTimeout,
}

/// Locks the state. The lock is held for a copy of at most one frame, and everything runs on one thread, one
/// task at a time.
fn lock(state: &Mutex<YamuxState>) -> MutexGuard<'_, YamuxState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection. [`StreamMuxer::poll`] does all the work on the socket; the other methods only hand over
/// its results.
#[derive(Debug)]
pub(crate) struct Muxer<C> {
    socket: C,
    state: Arc<Mutex<YamuxState>>,
    /// Header that is arriving, of which `arrived` bytes are there.
    header: [u8; HEADER],
    arrived: usize,
    /// Payload that is arriving.
    body: Option<Body>,
    /// Frame that is being written; it holds the bytes that remain.
    sending: Option<Buffer>,
    unflushed: bool,
    said_goodbye: bool,
    closing: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<C> Muxer<C> {
    fn new(socket: C, side: Side, growth: Growth) -> Self {
        Self {
            socket,
            state: Arc::new(Mutex::new(YamuxState::new(side, growth))),
            header: [0; HEADER],
            arrived: 0,
            body: None,
            sending: None,
            unflushed: false,
            said_goodbye: false,
            closing: None,
        }
    }

    fn substream(&self, id: u32) -> Substream {
        Substream { id, state: self.state.clone() }
    }
}

impl<C> Drop for Muxer<C> {
    fn drop(&mut self) {
        lock(&self.state).end();
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    /// Writes all queued frames. Ready when the socket has taken and flushed them.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let next = self.sending.take().or_else(|| lock(&self.state).next_frame());
            let Some(mut frame) = next else { break };
            self.unflushed = true;
            let sent = loop {
                if frame.len() == 0 {
                    break Poll::Ready(Ok(()));
                }
                match Pin::new(&mut self.socket).poll_write(cx, frame.filled()) {
                    Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => frame.consume(count),
                    Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                    Poll::Pending => break Poll::Pending,
                }
            };
            if frame.len() > 0 {
                self.sending = Some(frame);
                ready!(sent)?;
            } else {
                lock(&self.state).buffers.put(frame);
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads frames. Ready when the turn is over and there may be more.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MuxerError>> {
        let mut turn = 0;
        while turn < TURN {
            let mut state = lock(&self.state);
            if state.answers() > OUT_FULL {
                return Poll::Pending;
            }
            let Some(body) = &mut self.body else {
                let into = &mut self.header[self.arrived..];
                let count = ready!(Pin::new(&mut self.socket).poll_read(cx, into))?;
                if count == 0 {
                    return Poll::Ready(Err(MuxerError::Closed));
                }
                (self.arrived, turn) = (self.arrived + count, turn + count);
                if self.arrived == HEADER {
                    self.arrived = 0;
                    let unknown = MuxerError::Protocol("does not speak yamux");
                    self.body = state.header(Header::decode(self.header).ok_or(unknown)?)?;
                }
                continue;
            };
            let mut buffer = state.room(*body);
            let most = buffer.room().len().min(body.left);
            let read = Pin::new(&mut self.socket).poll_read(cx, &mut buffer.room()[..most]);
            let count = if let Poll::Ready(Ok(count)) = read { count } else { 0 };
            buffer.grow(count);
            state.received(body, buffer, count);
            if body.left == 0 {
                self.body = None;
            }
            turn += count;
            if ready!(read)? == 0 {
                return Poll::Ready(Err(MuxerError::Closed));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Result<(), MuxerError> {
        lock(&self.state).task = Some(cx.waker().clone());
        let sent = self.poll_send(cx);
        loop {
            match self.poll_receive(cx) {
                // Frames that arrived before the connection broke are still worth reading.
                Poll::Ready(Ok(())) if matches!(sent, Poll::Ready(Err(_))) => {}
                Poll::Ready(Ok(())) => {
                    cx.waker().wake_by_ref();
                    return Ok(());
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        match sent {
            Poll::Ready(sent) => Ok(sent?),
            Poll::Pending => Ok(()),
        }
    }
}

impl<C> StreamMuxer for Muxer<C>
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Substream = Substream;
    type Error = MuxerError;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, MuxerError>> {
        let id = ready!(lock(&self.state).poll_arrived(cx));
        Poll::Ready(Ok(self.substream(id)))
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, MuxerError>> {
        let id = ready!(lock(&self.state).poll_open(cx))?;
        Poll::Ready(Ok(self.substream(id)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), MuxerError>> {
        let this = &mut *self;
        if !this.said_goodbye {
            this.said_goodbye = true;
            lock(&this.state).go_away(NORMAL);
        }
        let mut closed = this.poll_send(cx);
        if let Poll::Ready(Ok(())) = closed {
            closed = Pin::new(&mut this.socket).poll_close(cx);
        }
        if let Poll::Ready(closed) = closed {
            lock(&this.state).end();
            return Poll::Ready(closed.map_err(MuxerError::from));
        }
        let deadline = this.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        deadline.as_mut().poll(cx).map(|()| Err(MuxerError::CloseTimeout))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, MuxerError>> {
        let Err(error) = self.poll_work(cx) else { return Poll::Pending };
        let mut state = lock(&self.state);
        state.end();
        if let MuxerError::Protocol(_) = error {
            state.go_away(PROTOCOL_ERROR);
            drop(state);
            let _ = self.poll_send(cx);
        }
        Poll::Ready(Err(error))
    }
}

/// One stream. Dropping it resets it, unless both sides have closed it.
#[derive(Debug)]
pub(crate) struct Substream {
    id: u32,
    state: Arc<Mutex<YamuxState>>,
}

impl AsyncRead for Substream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        lock(&self.state).poll_read(self.id, cx, into)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.state).poll_write(self.id, cx, from)
    }

    /// Ready at once: the connection sends its frames as soon as the socket takes them and never holds any
    /// back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.state).close(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        lock(&self.state).forget(self.id);
    }
}
