//! A TCP socket whose backlog in the kernel follows its speed.
//!
//! Linux accepts up to megabytes that it cannot send yet. On a fast link that saves wake-ups. On a slow link
//! everything written later waits behind them for seconds: grants, cancels, the first byte of another chunk.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::tcp::tokio::TcpStream;
use socket2::{SockRef, TcpKeepalive};

use super::wakeups;
use crate::limits;
use crate::platform;

/// Time in which the backlog should be sent.
const BACKLOG: Duration = Duration::from_millis(10);
/// Interval of keepalive probes on an idle connection.
const ALIVE: Duration = Duration::from_secs(30);
/// Shortest time over which the speed is measured.
const METER: Duration = Duration::from_millis(50);

/// A TCP connection that adjusts how many unsent bytes the kernel accepts.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    since: Instant,
    sent: u64,
    backlog: u32,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Address translation forgets idle connections. Sessions send their own probes; their further
        // connections do not.
        let alive = TcpKeepalive::new().with_time(ALIVE).with_interval(ALIVE);
        if let Err(error) = SockRef::from(&stream.0).set_tcp_keepalive(&alive) {
            tracing::debug!(%error, "no keepalive");
        }
        let mut socket = Self { stream, since: Instant::now(), sent: 0, backlog: 0 };
        socket.keep(limits::UNSENT_BYTES.start * 4);
        socket
    }

    /// Limits the bytes that the kernel accepts beyond those it has sent.
    fn keep(&mut self, bytes: u32) {
        if bytes == self.backlog {
            return;
        }
        self.backlog = bytes;
        if let Err(error) = platform::limit_unsent(&self.stream.0, bytes) {
            tracing::debug!(%error, "the kernel keeps its own backlog");
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let elapsed = self.since.elapsed();
        if elapsed < METER {
            return;
        }
        // A power of two changes only when the speed really does.
        let due = u128::from(self.sent) * BACKLOG.as_micros() / elapsed.as_micros();
        let limits = limits::UNSENT_BYTES;
        self.keep((due as u32).next_power_of_two().clamp(limits.start, limits.end));
        (self.since, self.sent) = (Instant::now(), 0);
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if let Poll::Ready(Ok(bytes)) = read {
            wakeups::read(bytes);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, from);
        if let Poll::Ready(Ok(bytes)) = sent {
            self.sent(bytes);
        }
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
