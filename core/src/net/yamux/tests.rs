//! Our yamux against libp2p's stock one, and its limits over real sockets.
#![allow(clippy::unwrap_used)]

use futures::FutureExt;
use futures::future::{poll_fn, try_join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::StreamMuxerExt;
use libp2p::tcp::tokio::TcpStream;
use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::net::tls::tests::{LONG, pipe};

/// Common bounds of both kinds of streams.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for S {}
type Streams = mpsc::Receiver<Box<dyn Duplex>>;

/// Runs a muxer in a task of its own, as libp2p does: yields `outbound` streams, and all streams that arrive.
fn ours(socket: TcpStream, side: Side, mut outbound: usize) -> Streams {
    let mut muxer = Muxer::new(socket, side, Growth::new(u32::MAX));
    let (streams, handle) = mpsc::channel::<Box<dyn Duplex>>(1000);
    tokio::spawn(poll_fn(move |cx| {
        while muxer.poll_unpin(cx)?.is_pending() {
            let opened = (outbound > 0).then(|| muxer.poll_outbound_unpin(cx));
            let stream = if let Some(Poll::Ready(stream)) = opened {
                outbound -= 1;
                stream?
            } else {
                ready!(muxer.poll_inbound_unpin(cx))?
            };
            let _ = streams.try_send(Box::new(stream));
        }
        Poll::Ready(Ok::<(), MuxerError>(()))
    }));
    handle
}

/// Runs the stock muxer in a task of its own; it keeps to no limit of ours.
fn stock(socket: TcpStream, mode: yamux::Mode, mut outbound: usize) -> Streams {
    let mut muxer = yamux::Connection::new(socket, yamux::Config::default(), mode);
    let (streams, handle) = mpsc::channel::<Box<dyn Duplex>>(1000);
    tokio::spawn(poll_fn(move |cx| {
        loop {
            if outbound > 0
                && let Poll::Ready(stream) = muxer.poll_new_outbound(cx)
            {
                outbound -= 1;
                let _ = streams.try_send(Box::new(stream?));
                continue;
            }
            match ready!(muxer.poll_next_inbound(cx)) {
                Some(stream) => drop(streams.try_send(Box::new(stream?))),
                None => return Poll::Ready(Ok::<(), yamux::ConnectionError>(())),
            }
        }
    }));
    handle
}

async fn next(streams: &mut Streams) -> Box<dyn Duplex> {
    timeout(LONG, streams.recv()).await.expect("a stream in time").expect("the connection lives")
}

/// Writes `bytes` and reads as many, each in a task of its own, and compares them.
async fn saturate(stream: Box<dyn Duplex>, bytes: usize) {
    let pattern = |at: usize| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8;
    let (mut read, mut write) = stream.split();
    let writing = tokio::spawn(async move {
        let all: Vec<u8> = (0..bytes).map(pattern).collect();
        for part in all.chunks(100_003) {
            write.write_all(part).await.unwrap();
        }
        write.close().await.unwrap();
    });
    let mut got = Vec::new();
    read.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), bytes);
    assert!(got.iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
    writing.await.unwrap();
}

/// Far more bytes than all windows and socket buffers hold, both ways at once, over one stream and over many,
/// also with the stock crate on either side.
#[tokio::test]
async fn both_ends_write_much_and_nobody_waits_for_ever() {
    for (near_is_stock, far_is_stock) in [(false, false), (true, false), (false, true)] {
        for count in [1, 16] {
            let (near, far) = pipe().await;
            let mut near = match near_is_stock {
                true => stock(near, yamux::Mode::Client, count),
                false => ours(near, Side::Client, count),
            };
            let mut far = match far_is_stock {
                true => stock(far, yamux::Mode::Server, 0),
                false => ours(far, Side::Server, 0),
            };
            let mut all = Vec::new();
            for _ in 0..count {
                // The peer learns of a stream with its first byte.
                all.push(tokio::spawn(saturate(next(&mut near).await, (6 << 20) / count)));
                all.push(tokio::spawn(saturate(next(&mut far).await, (6 << 20) / count)));
            }
            timeout(LONG, try_join_all(all)).await.expect("no deadlock").unwrap();
        }
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_reset_and_the_others_go_on() {
    const EXTRA: usize = 16;
    let (near, far) = pipe().await;
    let (mut near, mut far) =
        (stock(near, yamux::Mode::Client, STREAMS + EXTRA + 1), ours(far, Side::Server, 0));
    let busy = tokio::spawn(saturate(next(&mut near).await, 6 << 20));
    let busy_too = tokio::spawn(saturate(next(&mut far).await, 6 << 20));

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
    let (mut near, _far) = (ours(near, Side::Client, STREAMS + 1), ours(far, Side::Server, 0));
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
    let (mut muxer, mut streams) = (Muxer::new(near, Side::Client, Growth::new(0)), Vec::new());
    // All first windows together are more than a socket's buffers.
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

/// A peer that keeps asking and reads no answer: the queue of answers stays small, and we stop reading.
#[tokio::test]
async fn a_flood_of_questions_is_not_answered_for_ever() {
    let (near, mut far) = pipe().await;
    let mut muxer = Muxer::new(near, Side::Server, Growth::new(0));
    let ping = Header::new(frame::FrameKind::Ping, frame::SYN, 0, 7).encode().repeat(10_000);
    let flooding = tokio::spawn(async move { while far.write_all(&ping).await.is_ok() {} });
    let mut quiet = 0;
    // Until nothing moves any more: the flood fills the buffers of both sockets.
    while quiet < 3 {
        let before = lock(&muxer.state).answers();
        let moved = timeout(Duration::from_millis(50), poll_fn(|cx| muxer.poll_unpin(cx))).await;
        assert!(moved.is_err(), "the connection ended: {moved:?}");
        assert!(lock(&muxer.state).answers() <= OUT_FULL + 1);
        quiet = if lock(&muxer.state).answers() == before { quiet + 1 } else { 0 };
    }
    flooding.abort();
}
