//! The buffers around TLS, so that one system call carries a whole frame: [`ReadAhead`] below it, [`JoinWrites`] above.
//!
//! - rustls asks its socket for at most 4 KiB at a time: four or five system calls a record. [`ReadAhead`] makes them
//!   copies out of one buffer (measured: 1,760 -> 2,000-2,300 MB/s, engine.md).
//! - yamux writes the 12 bytes of a frame's header by themselves, and TLS makes a record, a system call and, without
//!   Nagle, a packet of them. [`JoinWrites`] keeps them until the body comes (measured: the sender's CPU falls from
//!   1.20 to 0.73 s per GB).
//! - rustls copies a payload behind the 5 bytes of a record's header. Where both buffers start a page, that copy runs
//!   at 2 GB/s instead of 30: glibc before 2.40 copies more than 2 KiB with `rep movsb`, which AMD's Zen 3 and 4 do
//!   byte by byte when the target lies 1 to 15 bytes behind the source within a page. [`JoinWrites`] hands on pieces
//!   of 2 KiB, which glibc copies another way (measured: 0.73 -> 0.63 s per GB; without joining 1.20 -> 0.70).

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};

/// Bytes held back for the next write: many yamux headers (12 bytes), hardly any payload.
const HOLD: usize = 512;

/// Bytes copied at once below: glibc's threshold is 2,112.
const PIECE: usize = 2 << 10;

/// Pieces of one write, the held bytes among them: a frame of 64 KiB and its header.
const PIECES: usize = 34;

/// Bytes read at once: four full TLS records. More gained nothing, and every connection holds one such buffer.
const READ_AHEAD: usize = 64 << 10;

/// A byte stream whose reads come from a buffer of 64 KiB; writes pass straight through.
#[derive(Debug)]
pub(crate) struct ReadAhead<C> {
    inner: C,
    buffer: Box<[u8]>,
    /// The part of `buffer` that was read from `inner` and not yet handed on.
    unread: Range<usize>,
}

impl<C> ReadAhead<C> {
    /// Puts a buffer of 64 KiB in front of `inner`.
    pub(crate) fn new(inner: C) -> Self {
        Self { inner, buffer: vec![0; READ_AHEAD].into_boxed_slice(), unread: 0..0 }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for ReadAhead<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.buffer))?;
            this.unread = 0..read;
        }
        let available = &this.buffer[this.unread.clone()];
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        this.unread.start += count;
        Poll::Ready(Ok(count))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for ReadAhead<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A byte stream that holds small writes back until a larger one or a flush takes them along; reads pass straight
/// through. Whoever writes must flush, as yamux does whenever it has nothing more to write.
#[derive(Debug)]
pub(crate) struct JoinWrites<C> {
    inner: C,
    /// Accepted and not yet written, at most [`HOLD`] bytes.
    held: Vec<u8>,
}

impl<C> JoinWrites<C> {
    /// Joins small writes to `inner`.
    pub(crate) fn new(inner: C) -> Self {
        Self { inner, held: Vec::with_capacity(HOLD) }
    }
}

impl<C: AsyncWrite + Unpin> JoinWrites<C> {
    /// Writes what is held and then `from`, as far as `inner` takes it, and forgets what was held and is written.
    /// Yields how much of `from` was written.
    fn poll_both(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let parts = std::iter::once(&*self.held).chain(from.chunks(PIECE));
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_held = written.min(self.held.len());
        self.held.drain(..of_held);
        Poll::Ready(Ok(written - of_held))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for JoinWrites<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for JoinWrites<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.held.len() + from.len() <= HOLD {
                this.held.extend_from_slice(from);
                return Poll::Ready(Ok(from.len()));
            }
            let written = ready!(this.poll_both(cx, from))?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.held.is_empty() {
            ready!(this.poll_both(cx, &[]))?;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::io::{AsyncReadExt, AsyncWriteExt};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A socket that takes or yields as many bytes as its script says, and is not ready where that says 0.
    struct Moody {
        script: Vec<usize>,
        step: usize,
        bytes: Vec<u8>,
    }

    impl Moody {
        fn poll_mood(&mut self, cx: &Context<'_>) -> Poll<usize> {
            self.step += 1;
            match self.script[self.step % self.script.len()] {
                0 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                most => Poll::Ready(most),
            }
        }
    }

    impl AsyncWrite for Moody {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            from: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = &from[..ready!(self.poll_mood(cx)).min(from.len())];
            self.bytes.extend_from_slice(taken);
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            from: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let joined: Vec<u8> = from.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(cx, &joined)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Moody {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let most = ready!(self.poll_mood(cx)).min(into.len()).min(self.bytes.len());
            into[..most].copy_from_slice(&self.bytes[..most]);
            self.bytes.drain(..most);
            Poll::Ready(Ok(most))
        }
    }

    /// Ends in a small step, so that the socket gets on at last.
    fn script() -> impl Strategy<Value = Vec<usize>> {
        vec(prop_oneof![Just(0), 1..20_usize, 1..100_000_usize], 0..6)
            .prop_map(|head| [head, vec![97]].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn nothing_is_lost_doubled_or_moved(
            script in script(),
            sizes in vec(prop_oneof![1..20_usize, 500..530_usize, 1..9_000_usize], 0..8),
        ) {
            let bytes: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|index| ((index * 31) >> 3) as u8).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let moody = |bytes| Moody { script: script.clone(), step: 0, bytes };

            let mut writer = JoinWrites::new(moody(Vec::new()));
            let mut rest = &bytes[..];
            for size in sizes {
                let (part, after) = rest.split_at(size);
                runtime.block_on(writer.write_all(part)).unwrap();
                prop_assert!(writer.held.len() <= HOLD);
                rest = after;
            }
            runtime.block_on(writer.close()).unwrap();
            prop_assert!(writer.inner.bytes == bytes);

            let mut read = Vec::new();
            runtime.block_on(ReadAhead::new(moody(bytes.clone())).read_to_end(&mut read)).unwrap();
            prop_assert!(read == bytes);
        }
    }
}
