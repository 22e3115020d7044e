//! Many streams over one connection: yamux (`/yamux/1.0.0`) with frames, windows and limits of our own.
//!
//! libp2p-yamux lets one set only the number of streams, so this puts the crate `yamux` behind libp2p's
//! [`StreamMuxer`] itself. What differs: frames of 64 KiB (stock 16 KiB), 48 MiB of windows at most (stock 1 GiB),
//! at most 64 streams, and an end to a close that the peer does not let finish.
//!
//! What happens when a limit is reached:
//! - A peer opens a stream while 64 are live (both directions count, and so do those nobody has asked for yet): that
//!   one stream is reset, every other stream goes on. The opener reads end of file and cannot write.
//! - We want a stream while 64 are live: `poll_outbound` waits until one is dropped.
//! - 128 streams are open or were dropped but could not be told so, because the peer reads nothing: yamux asks
//!   it to "go away" and reads no more until that is sent; a stock peer then closes the connection.
//!
//! Mind: yamux reports a reset, and a connection that broke, as end of file to a reader, just like a proper close.
//! Only a frame that says how long it is can tell a whole message from a cut one. And yamux stops reading while a
//! "pong" or "go away" waits to be written, so whoever reads must never wait for a write.

use std::collections::VecDeque;
use std::future::{self, Future, Ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite};
use futures::task::AtomicWaker;
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use yamux::{Connection, ConnectionError, Mode};

use super::read_ahead::JoinWrites;
use crate::{limits, wire};

/// The name both ends agree on; from the yamux and libp2p specs.
const PROTOCOL: &str = "/yamux/1.0.0";

/// Live streams of one connection, both directions together. We need a handful; other protocols of libp2p open one
/// per exchange.
pub(crate) const STREAMS: usize = 64;

/// Streams yamux itself keeps: the live ones and as many that were refused or dropped and wait to be told so.
const YAMUX_STREAMS: usize = 2 * STREAMS;

/// Bytes in one frame: 16 KiB cost a quarter of the speed, more than 64 KiB gained nothing (engine.md).
/// One data frame of ours with its header fits exactly: no second, tiny frame follows each.
const FRAME: usize = limits::DATA_FRAME + wire::frame::HEADER;

/// What all windows of a connection may grow together beyond the 256 KiB that yamux grants each stream, bytes. A
/// window must hold twice what is under way, since it is renewed by halves: 16 MiB carry 1 GB/s over 8 ms and
/// 1 Gbit/s over 67 ms.
const WINDOW_GROWTH: usize = 16 << 20;

/// New streams taken from yamux before other work of the task gets a turn.
const ARRIVALS_PER_TURN: usize = 16;

/// How long a close may take to flush and say goodbye. libp2p counts a connection as open until then, so that a peer
/// who reads nothing would keep its place for ever.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The upgrade of an authenticated byte stream to a [`Muxer`].
#[derive(Debug, Clone)]
pub(crate) struct Yamux {
    config: yamux::Config,
}

impl Yamux {
    /// The one configuration we use.
    pub(crate) fn new() -> Self {
        let mut config = yamux::Config::default();
        // yamux asserts at each step that the total holds the first window of every stream: fewer streams go first.
        config.set_max_num_streams(YAMUX_STREAMS);
        let first_windows = YAMUX_STREAMS * yamux::DEFAULT_CREDIT as usize;
        config.set_max_connection_receive_window(Some(first_windows + WINDOW_GROWTH));
        config.set_split_send_size(FRAME);
        // What arrived before a connection broke is still worth reading: chunks verify one by one.
        config.set_read_after_close(true);
        Self { config }
    }

    fn muxer<C: AsyncRead + AsyncWrite + Unpin>(self, socket: C, mode: Mode) -> Muxer<JoinWrites<C>> {
        let connection = Connection::new(JoinWrites::new(socket), self.config, mode);
        Muxer { connection, arrived: VecDeque::new(), acceptor: None, places: Arc::default(), closing: None }
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
    type Output = Muxer<JoinWrites<C>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(self.muxer(socket, Mode::Server)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<JoinWrites<C>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(self.muxer(socket, Mode::Client)))
    }
}

/// Why a whole connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MuxerError {
    /// The socket broke, or the peer closed it or spoke no yamux.
    #[error("yamux: {0}")]
    Yamux(#[from] ConnectionError),
    /// We closed it and the peer did not let us finish within [`CLOSE_TIMEOUT`].
    #[error("yamux: the peer did not let the connection close")]
    CloseTimeout,
}

/// One connection and its streams. [`StreamMuxer::poll`] does all the work, as its contract allows; the other methods
/// only hand over what it has brought.
#[derive(Debug)]
pub(crate) struct Muxer<C> {
    connection: Connection<C>,
    /// Streams the peer opened and nobody has asked for yet; each has its place, so there are at most [`STREAMS`].
    arrived: VecDeque<Substream>,
    /// Whoever waits for `arrived`.
    acceptor: Option<Waker>,
    places: Arc<Places>,
    closing: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<C> Muxer<C> {
    /// Keeps a stream the peer opened, or resets it (by dropping it) when there is no place left.
    fn admit(&mut self, stream: yamux::Stream) {
        let Some(place) = self.places.take() else {
            tracing::debug!(%stream, "refused a stream: {STREAMS} are live");
            return;
        };
        self.arrived.push_back(Substream { stream, _place: place });
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.wake();
        }
    }
}

impl<C> StreamMuxer for Muxer<C>
where
    C: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Substream = Substream;
    type Error = MuxerError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, MuxerError>> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        self.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Substream, MuxerError>> {
        // First, or a place that becomes free in between would wake nobody.
        self.places.waiting.register(cx.waker());
        let Some(place) = self.places.take() else {
            return Poll::Pending;
        };
        let stream = ready!(self.connection.poll_new_outbound(cx))?;
        Poll::Ready(Ok(Substream { stream, _place: place }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), MuxerError>> {
        if let Poll::Ready(closed) = self.connection.poll_close(cx) {
            return Poll::Ready(closed.map_err(MuxerError::from));
        }
        let deadline = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        deadline.as_mut().poll(cx).map(|()| Err(MuxerError::CloseTimeout))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, MuxerError>> {
        for _ in 0..ARRIVALS_PER_TURN {
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => self.admit(stream),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Err(ConnectionError::Closed.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Counts the live streams of one connection.
#[derive(Debug, Default)]
struct Places {
    taken: AtomicUsize,
    /// The muxer's task, when it waits for a stream to be dropped.
    waiting: AtomicWaker,
}

impl Places {
    fn take(self: &Arc<Self>) -> Option<Place> {
        let one_more = |taken| (taken < STREAMS).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Place(self.clone()))
    }
}

/// The right of one stream to live; dropping it lets another one in.
#[derive(Debug)]
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.waiting.wake();
    }
}

/// One stream. Dropping it without a close resets it.
#[derive(Debug)]
pub(crate) struct Substream {
    // Fields drop in this order: the stream is gone before its place is free.
    stream: yamux::Stream,
    _place: Place,
}

impl AsyncRead for Substream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;
    use futures::future::{poll_fn, try_join_all};
    use futures::io::{AsyncReadExt, AsyncWriteExt};
    use libp2p::core::muxing::StreamMuxerExt;
    use libp2p::tcp::tokio::TcpStream;
    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::node::secure::tests::{LONG, pipe};

    type Tested = Muxer<JoinWrites<TcpStream>>;

    fn ours(socket: TcpStream, mode: Mode) -> Tested {
        Yamux::new().muxer(socket, mode)
    }

    /// Runs a muxer in a task of its own, as libp2p does: yields `outbound` streams, and whatever arrives. A `greedy`
    /// one forgets how many it has.
    fn run(mut muxer: Tested, mut outbound: usize, greedy: bool) -> mpsc::Receiver<Substream> {
        let (streams, handle) = mpsc::channel(1000);
        tokio::spawn(poll_fn(move |cx| {
            while muxer.poll_unpin(cx)?.is_pending() {
                if greedy {
                    muxer.places = Arc::default();
                }
                let opened = (outbound > 0).then(|| muxer.poll_outbound_unpin(cx));
                let stream = if let Some(Poll::Ready(stream)) = opened {
                    outbound -= 1;
                    stream?
                } else {
                    ready!(muxer.poll_inbound_unpin(cx))?
                };
                let _ = streams.try_send(stream);
            }
            Poll::Ready(Ok::<(), MuxerError>(()))
        }));
        handle
    }

    async fn next(streams: &mut mpsc::Receiver<Substream>) -> Substream {
        timeout(LONG, streams.recv()).await.expect("a stream in time").expect("the connection lives")
    }

    /// Writes `bytes` and reads as many, each in a task of its own.
    async fn saturate(stream: Substream, bytes: usize) {
        let (mut read, mut write) = stream.split();
        let writing = tokio::spawn(async move {
            write.write_all(&vec![7; bytes]).await.unwrap();
            write.flush().await.unwrap();
        });
        read.read_exact(&mut vec![0; bytes]).await.unwrap();
        writing.await.unwrap();
    }

    /// Far more than all windows and socket buffers hold, both ways at once, over one stream and over many.
    #[tokio::test]
    async fn both_ends_write_much_and_nobody_waits_for_ever() {
        for count in [1, 16] {
            let (near, far) = pipe().await;
            let (mut near, mut far) =
                (run(ours(near, Mode::Client), count, false), run(ours(far, Mode::Server), 0, false));
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(tokio::spawn(saturate(next(&mut near).await, (96 << 20) / count)));
                all.push(tokio::spawn(saturate(next(&mut far).await, (96 << 20) / count)));
            }
            timeout(LONG, try_join_all(all)).await.expect("no deadlock").unwrap();
        }
    }

    #[tokio::test]
    async fn streams_beyond_the_limit_are_reset_and_the_others_go_on() {
        const EXTRA: usize = 16;
        let (near, far) = pipe().await;
        let stock = Yamux { config: yamux::Config::default() }.muxer(near, Mode::Client);
        let (mut near, mut far) =
            (run(stock, STREAMS + EXTRA + 1, true), run(ours(far, Mode::Server), 0, false));
        let busy = tokio::spawn(saturate(next(&mut near).await, 64 << 20));
        let busy_too = tokio::spawn(saturate(next(&mut far).await, 64 << 20));

        // yamux tells the peer of a stream with its first byte.
        let mut opened = Vec::new();
        for _ in 1..STREAMS + EXTRA {
            let mut stream = next(&mut near).await;
            stream.write_all(&[1]).await.unwrap();
            opened.push(stream);
        }
        let mut taken = Vec::new();
        for _ in 1..STREAMS {
            taken.push(next(&mut far).await);
        }
        for refused in &mut opened[STREAMS - 1..] {
            assert_eq!(timeout(LONG, refused.read(&mut [0])).await.expect("a reset").unwrap(), 0);
            assert!(refused.write_all(&[1]).await.is_err());
        }
        assert!(far.try_recv().is_err(), "no more than {STREAMS} streams are taken");

        taken.pop();
        next(&mut near).await.write_all(&[1]).await.unwrap();
        next(&mut far).await;
        timeout(LONG, try_join_all([busy, busy_too])).await.expect("the others go on").unwrap();
    }

    #[tokio::test]
    async fn our_own_stream_beyond_the_limit_waits_for_a_place() {
        let (near, far) = pipe().await;
        let (mut near, _far) =
            (run(ours(near, Mode::Client), STREAMS + 1, false), run(ours(far, Mode::Server), 0, false));
        let mut streams = vec![next(&mut near).await];
        while streams.len() < STREAMS {
            streams.push(next(&mut near).await);
        }
        tokio::task::yield_now().await;
        assert!(near.try_recv().is_err());
        streams.pop();
        next(&mut near).await;
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_cannot_hold_a_close_up() {
        let (near, _far) = pipe().await;
        let (mut muxer, mut streams) = (ours(near, Mode::Client), Vec::new());
        // All first windows together are more than the buffers of a socket.
        for _ in 0..STREAMS {
            let mut stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.unwrap();
            while stream.write(&[0; FRAME]).now_or_never().is_some() {
                let _ = poll_fn(|cx| Poll::Ready(muxer.poll_unpin(cx))).await;
            }
            streams.push(stream);
        }
        muxer.closing = Some(Box::pin(tokio::time::sleep(Duration::from_millis(20))));
        let closed = timeout(LONG, muxer.close()).await.expect("a close ends");
        assert!(matches!(closed, Err(MuxerError::CloseTimeout)), "{closed:?}");
    }
}
