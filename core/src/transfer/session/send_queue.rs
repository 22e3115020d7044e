//! Requests of one peer and what is read for it: shared by the tasks that answer on the session's data streams.
//!
//! One task takes in what the peer asks; each stream has a task that takes the next request when it has written the last one.
//! So a stream that is slow, or waits for what was lost, holds up one chunk and not those behind it.
//!
//! The first stream shares its connection with the control stream. When others have carried more than it has, it leaves the chunks to
//! them: what is granted and asked would wait behind chunks, on a connection with a part of the speed of all.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::event::SessionEvent;
use super::{EventSender, SendCommand, SessionEnd};
use crate::limits;
use crate::schedule::upload::{Asked, QueueOutcome, RequestQueue};
use crate::store::Blob;
use crate::wire::{Handle, LIST, Message, RefusalReason};

/// Place of a data stream among those of its session; 0 is the first one's.
pub(super) type Number = usize;

/// Work for the task of one stream.
pub(super) enum SendWork {
    /// Read this from there and send it.
    Send(Asked, Arc<Blob>),
    /// A request for a blob that is not open (any longer): it crossed our `Gone`. The peer knows.
    Refuse(Asked),
    /// The stream carries no more.
    Retire,
}

/// A request that will not be answered on a data stream, and the reason that the peer is told, if any.
type Unanswered = (Asked, Option<RefusalReason>);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    state: Mutex<SendQueueState>,
    /// Wakes a further stream.
    work: Notify,
    /// Wakes the first.
    first: Notify,
}

#[derive(Debug, Default)]
struct SendQueueState {
    open: BTreeMap<Handle, Arc<Blob>>,
    queue: RequestQueue,
    streams: Vec<SendStream>,
}

#[derive(Debug, Default)]
struct SendStream {
    /// The chunk that is being sent; a cancel takes it away.
    current: Option<Asked>,
    retires: bool,
    /// Bytes of whole chunks.
    sent: u64,
}

impl SendQueue {
    fn state(&self) -> MutexGuard<'_, SendQueueState> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more stream; its number.
    pub(super) fn join(&self) -> Number {
        let streams = &mut self.state().streams;
        streams.push(SendStream::default());
        streams.len() - 1
    }

    /// Streams that carry something, the first among them.
    pub(super) fn streams(&self) -> usize {
        self.state().streams.iter().filter(|stream| !stream.retires).count()
    }

    /// Has a stream end after what it is sending.
    pub(super) fn retire(&self, number: Number) {
        if let Some(stream) = self.state().streams.get_mut(number) {
            stream.retires = true;
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        self.work.notify_waiters();
        self.first.notify_one();
    }

    /// Has all streams but the first end so.
    pub(super) fn retire_further(&self) {
        self.state().streams.iter_mut().skip(1).for_each(|stream| stream.retires = true);
        self.wake_all();
    }

    /// Waits for the next thing to do on this stream.
    pub(super) async fn next(&self, number: Number) -> SendWork {
        loop {
            // Before looking: what comes in between is not missed.
            let mut told = pin!(if number == 0 { &self.first } else { &self.work }.notified());
            told.as_mut().enable();
            if let Some(next) = self.try_next(number) {
                return next;
            }
            told.await;
        }
    }

    /// The next thing to do on this stream, if there is any.
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

    /// Tells whether the chunk that a stream is sending is still wanted.
    pub(super) fn goes_on(&self, number: Number) -> bool {
        self.state().streams.get(number).is_some_and(|stream| stream.current.is_some())
    }

    /// A stream has sent its chunk of so many bytes, or as much of it as was wanted: true if that is all of it.
    pub(super) fn done(&self, number: Number, bytes: usize) -> bool {
        self.state().streams.get_mut(number).is_some_and(|stream| {
            let whole = stream.current.take().is_some();
            stream.sent += if whole { bytes as u64 } else { 0 };
            whole
        })
    }

    /// Takes in what the node or the peer says. Errors when the peer asks for what cannot be.
    pub(super) fn take(&self, serve: SendCommand) -> Result<Vec<Unanswered>, SessionEnd> {
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
                // A run beyond what may wait is a broken peer; its end is checked chunk by chunk.
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
        // A stream that is at work looks for more by itself.
        (1..=more.min(streams)).for_each(|_| self.work.notify_one());
        if more > 0 {
            self.first.notify_one();
        }
        Ok(unanswered)
    }

    /// Takes in all that is told, until the node ends the session.
    pub(super) async fn run(
        self: Arc<Self>,
        mut serves: mpsc::Receiver<SendCommand>,
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
    /// The first stream leaves the chunks to others: they have got going.
    fn leaves_chunks(&self) -> bool {
        let mut further = self.streams.iter().skip(1).filter(|stream| !stream.retires).peekable();
        let first = self.streams.first().map_or(0, |stream| stream.sent);
        further.peek().is_some() && further.map(|stream| stream.sent).sum::<u64>() > first
    }

    /// True if it waits now.
    fn push(&mut self, asked: Asked, unanswered: &mut Vec<Unanswered>) -> bool {
        match self.queue.push(asked) {
            QueueOutcome::Waits => return true,
            // The node counts requests: what is asked for twice and sent once is done twice.
            QueueOutcome::Twice => unanswered.push((asked, None)),
            QueueOutcome::Full => unanswered.push((asked, Some(RefusalReason::Busy))),
        }
        false
    }

    /// Has the streams leave off what they are sending of these.
    fn leave(&mut self, these: impl Fn(&Asked) -> bool) {
        for stream in &mut self.streams {
            stream.current = stream.current.filter(|current| !these(current));
        }
    }
}

/// Tells the peer that it will not get a chunk.
pub(super) fn decline(
    outbox: &mpsc::Sender<Message>,
    Asked { blob, chunk }: Asked,
    why: RefusalReason,
) -> Result<(), SessionEnd> {
    let full = |_| SessionEnd::Protocol("does not read what it is sent".into());
    outbox.try_send(Message::Decline { blob, chunk, why }).map_err(full)
}

/// Tells the node that there is a place free. Lists need none.
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
