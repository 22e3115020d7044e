//! The sending half of a data stream: chunks are read, verified, and sent in frames. Each stream has one
//! buffer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::event::SessionEvent;
use super::send_queue::{Number, SendQueue, SendWork, decline, sent};
use super::{EventSender, SessionEnd};
use crate::limits;
use crate::metrics::Traffic;
use crate::net::rate::Limiter;
use crate::net::seldom::Seldom;
use crate::schedule::upload::Asked;
use crate::store::{Blob, ReadError};
use crate::wire::frame::{DataHeader, HEADER};
use crate::wire::{LIST, Message, RefusalReason};

/// The task that writes one data stream.
pub(super) struct Sender {
    pub(super) queue: Arc<SendQueue>,
    /// Number of the stream in its session.
    pub(super) number: Number,
    pub(super) tell: EventSender,
    pub(super) outbox: mpsc::Sender<Message>,
    pub(super) limiter: Limiter,
    pub(super) traffic: Arc<Traffic>,
}

/// Offset of the chunk in its buffer, in bytes. The buffer begins with a page, and the chunk not right behind
/// the header: the kernel copies pages with `rep movsb`, and AMD's Zen 3 and 4 do that byte by byte if the
/// target lies 1 to 31 bytes behind the source within a page (measured: 1.4 to 2 GB/s instead of 6.5 out of a
/// file in memory).
const FRONT: usize = 128;

/// Time to write a frame beyond which the next frames are shorter, because control messages wait behind a
/// frame.
const SLOW: Duration = Duration::from_millis(8);

/// Time after which the node is told how much of a chunk has been sent.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A chunk that is being sent, and the length of its frames.
struct Outgoing {
    /// Room up to [`FRONT`], then the chunk. The header of each frame overwrites bytes that have been sent.
    buffer: Vec<u8>,
    /// Longest payload of a data frame, in bytes.
    frame: usize,
    /// Limits the lines of the log: a peer may ask again for a chunk that cannot be read.
    said: Seldom,
}

impl Sender {
    /// Answers requests until the session ends, or until the stream retires; then it closes the stream.
    pub(super) async fn run(self, mut stream: impl AsyncWrite + Unpin) -> Result<(), SessionEnd> {
        let mut out = Outgoing { buffer: Vec::new(), frame: limits::DATA_FRAME, said: Seldom::default() };
        loop {
            let next = match self.queue.try_next(self.number) {
                Some(next) => next,
                None => {
                    stream.flush().await?;
                    self.queue.next(self.number).await
                }
            };
            match next {
                SendWork::Send(asked, source) => self.answer(asked, &source, &mut out, &mut stream).await?,
                SendWork::Refuse(asked) => {
                    decline(&self.outbox, asked, RefusalReason::Missing)?;
                    sent(&self.tell, asked, false).await?;
                }
                SendWork::Retire => return Ok(stream.close().await?),
            }
        }
    }

    /// Reads a requested chunk and sends it, or declines the request.
    async fn answer(
        &self,
        asked: Asked,
        source: &Blob,
        out: &mut Outgoing,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), SessionEnd> {
        match out.load(source, asked.chunk) {
            Ok(()) => {}
            Err(ReadError::Missing(_)) => {
                decline(&self.outbox, asked, RefusalReason::Missing)?;
                self.queue.done(self.number, 0);
                return sent(&self.tell, asked, false).await;
            }
            Err(error) => {
                if let Some(hidden) = out.said.due(Instant::now()) {
                    tracing::warn!(id = %source.id(), %error, hidden, "cannot serve a chunk");
                }
                decline(&self.outbox, asked, RefusalReason::Missing)?;
                if let ReadError::Changed(_) = error {
                    self.tell.event(SessionEvent::SourceChanged(source.id())).await?;
                }
                self.queue.done(self.number, 0);
                return sent(&self.tell, asked, false).await;
            }
        }
        self.frames(asked, out, stream).await?;
        let whole = self.queue.done(self.number, out.buffer.len() - FRONT);
        sent(&self.tell, asked, whole).await
    }

    /// Sends the chunk in the buffer, until it is whole or the peer cancels it.
    async fn frames(
        &self,
        asked: Asked,
        out: &mut Outgoing,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), SessionEnd> {
        let total = out.buffer.len() - FRONT;
        let (mut offset, mut reported) = (0, (0, Instant::now()));
        while offset < total && self.queue.goes_on(self.number) {
            let len = (total - offset).min(out.frame).min(self.limiter.step());
            let header =
                DataHeader { blob: asked.blob, chunk: asked.chunk, offset: offset as u32, len: len as u32 };
            let begin = FRONT - HEADER + offset;
            let bytes = &mut out.buffer[begin..begin + HEADER + len];
            bytes[..HEADER].copy_from_slice(&header.encode());
            self.limiter.pass(len).await;
            let start = Instant::now();
            write_all(stream, bytes, limits::SEND_PATIENCE).await?;
            self.traffic.sent(len as u64);
            if start.elapsed() > SLOW {
                out.frame = limits::DATA_FRAME_SLOW;
            } else if start.elapsed() < SLOW / 16 {
                out.frame = limits::DATA_FRAME;
            }
            offset += len;
            if asked.chunk != LIST && reported.1.elapsed() >= REPORT_EVERY && offset < total {
                let bytes = (offset - reported.0) as u64;
                self.tell.event(SessionEvent::Sending { blob: asked.blob, bytes }).await?;
                reported = (offset, Instant::now());
            }
        }
        Ok(())
    }
}

impl Outgoing {
    /// Fills the buffer with the hash list or with a chunk, which it verifies.
    fn load(&mut self, source: &Blob, chunk: u32) -> Result<(), ReadError> {
        if chunk == LIST {
            let list = source.list().encode();
            self.buffer.resize(FRONT, 0);
            self.buffer.truncate(FRONT);
            self.buffer.extend(list);
            return Ok(());
        }
        let index = source.geometry().chunk(chunk).ok_or(ReadError::Missing(chunk))?;
        self.buffer.resize(FRONT + source.geometry().size(index), 0);
        source.read_into(index, &mut self.buffer[FRONT..])
    }
}

/// Writes all bytes.
///
/// # Errors
/// [`SessionEnd::Lost`] if the stream breaks, or if the peer reads nothing for as long as `patience`.
async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    patience: Duration,
) -> Result<(), SessionEnd> {
    while !bytes.is_empty() {
        let written = tokio::time::timeout(patience, stream.write(bytes)).await;
        // Not a breach of the protocol: the peer's disk may hang.
        let unread = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "does not read what it asked for");
        match written.map_err(unread)?? {
            0 => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    /// A stream that takes this many bytes, and no more.
    struct Window(usize);

    impl AsyncWrite for Window {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            let some = bytes.len().min(self.0).min(10);
            self.0 -= some;
            if some == 0 { Poll::Pending } else { Poll::Ready(Ok(some)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_let_go() {
        let patience = Duration::from_millis(5);
        write_all(&mut Window(64), &[0; 64], patience).await.expect("fits the window");
        let end = write_all(&mut Window(63), &[0; 64], patience).await.expect_err("does not");
        assert!(matches!(end, SessionEnd::Lost(_)), "{end}");
    }
}
