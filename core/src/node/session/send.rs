//! The data stream, outbound: chunks read, verified, and sent in frames. One buffer a session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::io::WriteHalf;
use futures::{AsyncWrite, AsyncWriteExt};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::{End, Serve, SessionEvent, Tell};
use crate::limits;
use crate::metrics::Traffic;
use crate::node::limiter::Limiter;
use crate::node::pace::Directions;
use crate::schedule::upload::{Asked, Place, Uploads};
use crate::store::{Blob, ReadError};
use crate::wire::frame::{DataHeader, HEADER};
use crate::wire::{Handle, LIST, Message, Why};

pub(super) struct Sender {
    serves: mpsc::Receiver<Serve>,
    tell: Tell,
    outbox: mpsc::Sender<Message>,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    open: BTreeMap<Handle, Arc<Blob>>,
    queue: Uploads,
    /// Room up to [`FRONT`], then the chunk; the header of each frame overwrites bytes already sent.
    buffer: Vec<u8>,
    /// The chunk that is being sent; a cancel takes it away.
    current: Option<Asked>,
    /// Bytes of a data frame.
    frame: usize,
}

/// Where the chunk begins in its buffer, which begins with a page: not right behind the header. The kernel copies pages
/// with `rep movsb`, and AMD's Zen 3 and 4 do that byte by byte when the target lies 1 to 31 bytes behind the source
/// within a page (measured: 1.4 to 2 GB/s instead of 6.5 out of a file in memory).
const FRONT: usize = 128;

/// A frame that takes longer is too long: what comes after it waits.
const SLOW: Duration = Duration::from_millis(8);

impl Sender {
    pub(super) fn new(
        serves: mpsc::Receiver<Serve>,
        tell: Tell,
        outbox: mpsc::Sender<Message>,
        pace: &Directions,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            serves,
            tell,
            outbox,
            limiter: pace.up.clone(),
            traffic,
            open: BTreeMap::new(),
            queue: Uploads::default(),
            buffer: Vec::new(),
            current: None,
            frame: limits::DATA_FRAME,
        }
    }

    /// Answers requests until the node ends the session.
    pub(super) async fn run(mut self, mut stream: WriteHalf<Stream>) -> Result<(), End> {
        loop {
            while let Ok(serve) = self.serves.try_recv() {
                self.take(serve).await?;
            }
            match self.queue.pop() {
                Some(asked) => self.answer(asked, &mut stream).await?,
                None => {
                    stream.flush().await?;
                    let serve = self.serves.recv().await.ok_or(End::Node)?;
                    self.take(serve).await?;
                }
            }
        }
    }

    async fn take(&mut self, serve: Serve) -> Result<(), End> {
        match serve {
            Serve::Open { blob, source } => drop(self.open.insert(blob, source)),
            Serve::Close { blob } => {
                self.open.remove(&blob);
                self.queue.close(blob);
                self.current = self.current.filter(|asked| asked.blob != blob);
            }
            Serve::List { blob } => self.push(Asked { blob, chunk: LIST }).await?,
            Serve::Request { blob, first, count } => {
                // A run beyond what may wait is a broken peer; its end is checked chunk by chunk.
                let end = first.checked_add(count).filter(|_| count as usize <= limits::REQUESTS_PER_PEER);
                let end = end.ok_or_else(|| End::Protocol("asks for chunks that cannot be".into()))?;
                for chunk in first..end {
                    self.push(Asked { blob, chunk }).await?;
                }
            }
            Serve::Cancel { blob, chunk } => {
                let asked = Asked { blob, chunk };
                if self.queue.cancel(asked) {
                    self.sent(asked, false).await?;
                }
                self.current = self.current.filter(|current| *current != asked);
            }
        }
        Ok(())
    }

    async fn push(&mut self, asked: Asked) -> Result<(), End> {
        match self.queue.push(asked) {
            Place::Waits => return Ok(()),
            // The node counts requests: what is asked for twice and sent once is done twice.
            Place::Twice => {}
            Place::Full => self.decline(asked, Why::Busy)?,
        }
        self.sent(asked, false).await
    }

    fn decline(&self, Asked { blob, chunk }: Asked, why: Why) -> Result<(), End> {
        let full = |_| End::Protocol("does not read what it is sent".into());
        self.outbox.try_send(Message::Decline { blob, chunk, why }).map_err(full)
    }

    async fn answer(&mut self, asked: Asked, stream: &mut WriteHalf<Stream>) -> Result<(), End> {
        // Not open (any longer): a request that crossed our Gone. The peer knows.
        let Some(source) = self.open.get(&asked.blob).cloned() else {
            self.decline(asked, Why::Missing)?;
            return self.sent(asked, false).await;
        };
        match self.load(&source, asked.chunk) {
            Ok(()) => {}
            Err(ReadError::Missing(_)) => {
                self.decline(asked, Why::Missing)?;
                return self.sent(asked, false).await;
            }
            Err(error) => {
                tracing::warn!(id = %source.id(), %error, "cannot serve a chunk");
                self.decline(asked, Why::Missing)?;
                if let ReadError::Changed(_) = error {
                    self.tell.event(SessionEvent::SourceChanged(source.id())).await?;
                }
                return self.sent(asked, false).await;
            }
        }
        self.current = Some(asked);
        self.frames(asked, stream).await?;
        let whole = self.current.take().is_some();
        self.sent(asked, whole).await
    }

    /// Tells the node that there is a place free. Lists need none.
    async fn sent(&self, Asked { blob, chunk }: Asked, whole: bool) -> Result<(), End> {
        if chunk == LIST {
            return Ok(());
        }
        self.tell.event(SessionEvent::Sent { blob, whole }).await
    }

    /// Fills the buffer with the list or a verified chunk.
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

    async fn frames(&mut self, asked: Asked, stream: &mut WriteHalf<Stream>) -> Result<(), End> {
        let total = self.buffer.len() - FRONT;
        let mut offset = 0;
        while offset < total {
            let len = (total - offset).min(self.frame).min(self.limiter.step());
            let header =
                DataHeader { blob: asked.blob, chunk: asked.chunk, offset: offset as u32, len: len as u32 };
            let start_of_frame = FRONT - HEADER + offset;
            let bytes = &mut self.buffer[start_of_frame..start_of_frame + HEADER + len];
            bytes[..HEADER].copy_from_slice(&header.encode());
            self.limiter.pass(len).await;
            let start = Instant::now();
            write_all(stream, bytes, limits::SEND_PATIENCE).await?;
            self.traffic.sent(len as u64);
            if start.elapsed() > SLOW {
                self.frame = limits::DATA_FRAME_SLOW;
            } else if start.elapsed() < SLOW / 16 {
                self.frame = limits::DATA_FRAME;
            }
            offset += len;
            while let Ok(serve) = self.serves.try_recv() {
                self.take(serve).await?;
            }
            if self.current.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes all, as long as the peer goes on reading.
async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    patience: Duration,
) -> Result<(), End> {
    while !bytes.is_empty() {
        let written = tokio::time::timeout(patience, stream.write(bytes)).await;
        // No fault, perhaps: its disk may hang.
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

    /// A window: takes so many bytes.
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
        assert!(matches!(end, End::Lost(_)), "{end}");
    }
}
