//! Requests of one peer that wait or are being answered. The tasks that write the session's data streams
//! share them.
//!
//! One task takes in the requests. Each stream has a task that takes the next request when it has written the
//! last chunk. So a stream that is slow, or waits for a lost packet, holds up one chunk and not those behind
//! it.
//!
//! The first stream shares its connection with the control stream. When the other streams have carried more
//! than it has, it leaves the chunks to them: otherwise grants and requests would wait behind chunks, on a
//! connection with a part of the speed of all.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::event::SessionEvent;
use super::{EventSender, SessionEnd};
use crate::exchange::SendCommand;
use crate::limits;
use crate::schedule::upload::{Asked, QueueOutcome, RequestQueue};
use crate::store::Stored;
use crate::wire::{Handle, LIST, Message, RefusalReason};

/// Number of a data stream in its session. The first has 0.
pub(super) type Number = usize;

/// Work for the task of one stream.
pub(super) enum SendWork {
    /// The chunk or hash list is to be read from this blob and sent.
    Send(Asked, Stored),
    /// The request is for a blob that is not open any longer: it crossed this node's `Gone`.
    Refuse(Asked),
    /// The stream is to be closed.
    Retire,
}

/// A request that will not be answered on a data stream, and the reason that the peer is told; `None` if the
/// peer is told nothing.
type Unanswered = (Asked, Option<RefusalReason>);

/// The requests of a session's peer, as the [module](self) describes.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    state: Mutex<SendQueueState>,
    /// Wakes a further stream.
    work: Notify,
    /// Wakes the first stream.
    first: Notify,
}

#[derive(Debug, Default)]
struct SendQueueState {
    /// Blobs that the peer may request, by the peer's handles.
    open: BTreeMap<Handle, Stored>,
    /// Requests that wait.
    queue: RequestQueue,
    /// The data streams, by number.
    streams: Vec<SendStream>,
}

#[derive(Debug, Default)]
struct SendStream {
    /// The chunk that is being sent. A cancel removes it.
    current: Option<Asked>,
    /// True if the stream carries no more chunks after the present one.
    retires: bool,
    /// Bytes of the whole chunks that it has carried.
    sent: u64,
}

impl SendQueue {
    fn state(&self) -> MutexGuard<'_, SendQueueState> {
        // No code panics while it holds the lock, so the lock is never poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream, and returns its number.
    pub(super) fn join(&self) -> Number {
        let streams = &mut self.state().streams;
        streams.push(SendStream::default());
        streams.len() - 1
    }

    /// Returns the number of streams that carry chunks, the first among them.
    pub(super) fn streams(&self) -> usize {
        self.state().streams.iter().filter(|stream| !stream.retires).count()
    }

    /// Has a stream end after the chunk that it is sending.
    pub(super) fn retire(&self, number: Number) {
        if let Some(stream) = self.state().streams.get_mut(number) {
            stream.retires = true;
        }
        self.wake_all();
    }

    /// Wakes the tasks of all streams that wait for work.
    fn wake_all(&self) {
        self.work.notify_waiters();
        self.first.notify_one();
    }

    /// Has all streams but the first end after the chunks that they are sending.
    pub(super) fn retire_further(&self) {
        self.state().streams.iter_mut().skip(1).for_each(|stream| stream.retires = true);
        self.wake_all();
    }

    /// Waits for the next work of this stream.
    pub(super) async fn next(&self, number: Number) -> SendWork {
        loop {
            // Enabled before the look, so that no request in between is missed.
            let mut told = pin!(if number == 0 { &self.first } else { &self.work }.notified());
            told.as_mut().enable();
            if let Some(next) = self.try_next(number) {
                return next;
            }
            told.await;
        }
    }

    /// Returns the next work of this stream, if there is any.
    pub(super) fn try_next(&self, number: Number) -> Option<SendWork> {
        let mut state = self.state();
        if state.streams.get(number).is_none_or(|stream| stream.retires) {
            return Some(SendWork::Retire);
        }
        if number == 0 && state.leaves_chunks() {
            return None;
        }
        let asked = state.queue.pop()?;
        let Some(source) = state.open.get(&asked.blob).cloned() else { return Some(SendWork::Refuse(asked)) };
        if let Some(stream) = state.streams.get_mut(number) {
            stream.current = Some(asked);
        }
        Some(SendWork::Send(asked, source))
    }

    /// Returns true if the chunk that a stream is sending is still wanted.
    pub(super) fn goes_on(&self, number: Number) -> bool {
        self.state().streams.get(number).is_some_and(|stream| stream.current.is_some())
    }

    /// Records that a stream has ended the chunk that it was sending, of this many bytes. Returns true if the
    /// chunk was sent as a whole, false if the peer cancelled it.
    pub(super) fn done(&self, number: Number, bytes: usize) -> bool {
        self.state().streams.get_mut(number).is_some_and(|stream| {
            let whole = stream.current.take().is_some();
            stream.sent += if whole { bytes as u64 } else { 0 };
            whole
        })
    }

    /// Carries out an order. Returns the requests that will not be answered on a data stream.
    ///
    /// # Errors
    /// [`SessionEnd::Protocol`] if the peer requests more chunks at once than may wait, or beyond 32 bits.
    pub(super) fn take(&self, serve: SendCommand<Stored>) -> Result<Vec<Unanswered>, SessionEnd> {
        let mut state = self.state();
        let mut unanswered = Vec::new();
        let mut more = 0;
        match serve {
            SendCommand::Open { blob, source } => {
                state.open.insert(blob, source);
            }
            SendCommand::Close { blob } => {
                state.open.remove(&blob);
                state.queue.close(blob);
                state.leave(|current| current.blob == blob);
            }
            SendCommand::List { blob } => {
                more += usize::from(state.push(Asked { blob, chunk: LIST }, &mut unanswered));
            }
            SendCommand::Request { blob, first, count } => {
                // Whether the chunks exist is checked when they are read.
                let end = first.checked_add(count).filter(|_| count as usize <= limits::REQUESTS_PER_PEER);
                let end = end.ok_or_else(|| SessionEnd::Protocol("asks for chunks that cannot be".into()))?;
                for chunk in first..end {
                    more += usize::from(state.push(Asked { blob, chunk }, &mut unanswered));
                }
            }
            SendCommand::Cancel { blob, chunk } => {
                let asked = Asked { blob, chunk };
                if state.queue.cancel(asked) {
                    unanswered.push((asked, None));
                }
                state.leave(|current| *current == asked);
            }
        }
        let streams = state.streams.len();
        drop(state);
        // A stream that is sending looks for more work by itself.
        (1..=more.min(streams)).for_each(|_| self.work.notify_one());
        if more > 0 {
            self.first.notify_one();
        }
        Ok(unanswered)
    }

    /// Carries out orders until the node ends the session.
    pub(super) async fn run(
        self: Arc<Self>,
        mut serves: mpsc::Receiver<SendCommand<Stored>>,
        tell: EventSender,
        outbox: mpsc::Sender<Message>,
    ) -> Result<(), SessionEnd> {
        while let Some(serve) = serves.recv().await {
            for (asked, why) in self.take(serve)? {
                if let Some(why) = why {
                    decline(&outbox, asked, why)?;
                }
                sent(&tell, asked, false).await?;
            }
        }
        Err(SessionEnd::Node)
    }
}

impl SendQueueState {
    /// Returns true if the first stream leaves the chunks to the others, because they have carried more than
    /// it.
    fn leaves_chunks(&self) -> bool {
        let mut further = self.streams.iter().skip(1).filter(|stream| !stream.retires).peekable();
        let first = self.streams.first().map_or(0, |stream| stream.sent);
        further.peek().is_some() && further.map(|stream| stream.sent).sum::<u64>() > first
    }

    /// Adds a request. Returns true if it waits now. A second request for a chunk that waits or is being sent
    /// leads to nothing: the chunk comes once. A hash list may be sent again: a peer that skipped the list
    /// that was pushed to it asks for it without a cancel.
    fn push(&mut self, asked: Asked, unanswered: &mut Vec<Unanswered>) -> bool {
        let is_under_way =
            asked.chunk != LIST && self.streams.iter().any(|stream| stream.current == Some(asked));
        match if is_under_way { QueueOutcome::Twice } else { self.queue.push(asked) } {
            QueueOutcome::Waits => return true,
            // The node counts requests: a chunk that was requested twice and is sent once is done twice.
            QueueOutcome::Twice => unanswered.push((asked, None)),
            QueueOutcome::Full => unanswered.push((asked, Some(RefusalReason::Busy))),
        }
        false
    }

    /// Has the streams stop sending the chunks for which `these` is true.
    fn leave(&mut self, these: impl Fn(&Asked) -> bool) {
        for stream in &mut self.streams {
            stream.current = stream.current.filter(|current| !these(current));
        }
    }
}

/// Tells the peer that it will not get a chunk.
///
/// # Errors
/// [`SessionEnd::Protocol`] if the queue of messages to the peer is full.
pub(super) fn decline(
    outbox: &mpsc::Sender<Message>,
    Asked { blob, chunk }: Asked,
    why: RefusalReason,
) -> Result<(), SessionEnd> {
    let full = |_| SessionEnd::Protocol("does not read what it is sent".into());
    outbox.try_send(Message::Decline { blob, chunk, why }).map_err(full)
}

/// Tells the node that a request is dealt with, so that a place of the uplink is free. A hash list takes no
/// place.
pub(super) async fn sent(
    tell: &EventSender,
    Asked { blob, chunk }: Asked,
    whole: bool,
) -> Result<(), SessionEnd> {
    if chunk == LIST {
        return Ok(());
    }
    tell.event(SessionEvent::Sent { blob, whole }).await
}
