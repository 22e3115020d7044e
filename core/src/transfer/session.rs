//! One session with a peer: tasks that move bytes. All decisions are the node's.
//!
//! ```text
//! control stream -> control::read  -> node (all messages but requests for a hash list)
//!                                  -> queue (requests for a hash list)
//! node           -> control::write -> control stream
//! node           -> pending          <- receive::run <- data streams: verify, write, tell the node
//! node           -> queue           -> send::run    -> data streams: read, verify
//! ```
//! Reading never waits for writing: each direction of each stream has its own task. All queues are bounded,
//! and a peer that lets one overflow is dropped.
//!
//! A session begins with one data stream. Over a distance it gets more, each on a connection of its own. One
//! connection carries no more than the kernel buffers for it, begins with a few packets, and slows down for
//! each packet that is lost.

pub(crate) mod control;
pub(crate) mod event;
mod pending;
mod receive;
mod send;
mod send_queue;
#[cfg(test)]
mod tests;
pub(crate) mod web;
mod work;

use std::sync::Arc;
use std::time::Duration;

use futures::AsyncReadExt;
use libp2p::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::writer::Writer;
use crate::exchange::{ReceiveCommand, SendCommand};
use crate::limits;
use crate::metrics::Traffic;
use crate::net::ledbat::Measured;
use crate::net::shaping::{Directions, Near, Shaping};
use crate::net::streams::handler::refusal;
use crate::schedule::PeerKey;
use crate::store::{Store, Stored};
use crate::wire::Message;
use event::SessionEvent;
use pending::PendingRequests;
use receive::Receiver;
use send::Sender;
use send_queue::{Number, SendQueue};

/// Time that is given to the last messages to a peer before its connection is closed.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(250);

/// The node's end of a session. Dropping it ends the tasks, but for the one that writes the last messages.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) outbox: mpsc::Sender<Message>,
    pub(crate) serves: mpsc::Sender<SendCommand<Stored>>,
    pub(crate) traffic: Arc<Traffic>,
    bytes: Bytes,
    tasks: JoinSet<()>,
}

/// The way on which the chunks of a session come.
#[derive(Debug)]
enum Bytes {
    /// Data streams of a peer.
    Streams(Box<DataStreams>),
    /// Requests to a web server.
    Web(mpsc::Sender<ReceiveCommand<Stored>>),
}

/// The data streams of a session and what their tasks share.
#[derive(Debug)]
struct DataStreams {
    pending: Arc<PendingRequests>,
    queue: Arc<SendQueue>,
    tell: EventSender,
    shared: SessionContext,
    pace: Directions,
    /// Number of data streams in the life of the session.
    joined: usize,
}

/// The parts of a node that all of its sessions share.
#[derive(Debug, Clone)]
pub(crate) struct SessionContext {
    pub(crate) store: Store,
    pub(crate) ways: Shaping,
    pub(crate) measured: Option<mpsc::Sender<Measured>>,
    pub(crate) events: mpsc::Sender<(PeerKey, SessionEvent)>,
    pub(crate) writes: Writer,
}

impl Session {
    /// Starts the tasks of a session over its two streams.
    pub(crate) fn start(
        key: PeerKey,
        control: Stream,
        data: Stream,
        shared: &SessionContext,
        near: Near,
    ) -> Self {
        let pace = shared.ways.of(near).clone();
        let traffic = Arc::new(Traffic::default());
        let (outbox, messages) = mpsc::channel(limits::OUTBOX);
        let (serves, requests) = mpsc::channel(limits::OUTBOX);
        let (control_in, control_out) = control.split();
        let tell = EventSender { key, events: shared.events.clone() };
        let mut tasks = JoinSet::new();
        let ending = tell.clone();
        let measured = shared.measured.clone().filter(|_| !near.here);
        if let Some(measured) = &measured {
            let (traffic, outbox, outside) = (Arc::clone(&traffic), outbox.downgrade(), near.outside);
            let _ = measured.try_send(Measured::Begins { key, outside, traffic, outbox });
        }
        let reader = control::read(control_in, tell.clone(), serves.clone(), measured, Arc::clone(&traffic));
        tasks.spawn(async move { ending.closed(reader.await).await });
        let ending = tell.clone();
        // This task does not end with the session: it writes the messages that wait, and ends when all
        // senders are gone.
        tokio::spawn(async move { ending.closed(control::write(control_out, messages).await).await });
        let (pending, queue, ending) =
            (Arc::new(PendingRequests::default()), Arc::new(SendQueue::default()), tell.clone());
        let asked = Arc::clone(&queue).run(requests, tell.clone(), outbox.clone());
        tasks.spawn(async move { ending.closed(asked.await).await });
        let streams = DataStreams { pending, queue, tell, shared: shared.clone(), pace, joined: 0 };
        let mut session = Self { outbox, serves, traffic, bytes: Bytes::Streams(Box::new(streams)), tasks };
        session.carry(data);
        session
    }

    /// Adds a data stream. If there are as many as may be, it carries chunks to this node only and ends
    /// without harm: the other end may have begun to send on it.
    pub(crate) fn widen(&mut self, data: Stream) {
        let may = self.may_widen();
        let Bytes::Streams(streams) = &self.bytes else { return };
        let (full, queue) = (streams.queue.streams() >= limits::DATA_STREAMS, Arc::clone(&streams.queue));
        if may {
            streams.pending.widen();
            let number = self.carry(data);
            if full {
                queue.retire(number);
            }
        }
    }

    /// Returns true if the session may have another data stream: it has not yet had
    /// [`limits::DATA_STREAMS_EVER`].
    pub(crate) fn may_widen(&self) -> bool {
        matches!(&self.bytes, Bytes::Streams(streams) if streams.joined < limits::DATA_STREAMS_EVER)
    }

    /// Ends all data streams but the first, each after the chunk that it carries.
    pub(crate) fn narrow(&self) {
        if let Bytes::Streams(streams) = &self.bytes {
            streams.queue.retire_further();
        }
    }

    /// Returns the number of data streams that carry chunks.
    pub(crate) fn width(&self) -> usize {
        match &self.bytes {
            Bytes::Streams(streams) => streams.queue.streams(),
            Bytes::Web(_) => 1,
        }
    }

    /// Gives an order to the tasks that receive. Returns false if their queue is full.
    pub(crate) fn expect(&self, expect: ReceiveCommand<Stored>) -> bool {
        match &self.bytes {
            Bytes::Streams(streams) => streams.pending.expect(expect),
            Bytes::Web(expects) => return expects.try_send(expect).is_ok(),
        }
        true
    }

    /// Starts the tasks of a data stream, and returns its number. The session ends when the first stream
    /// ends, and at an error of any stream. The other streams end when both sides have closed them.
    fn carry(&mut self, data: Stream) -> Number {
        let Bytes::Streams(streams) = &mut self.bytes else { return 0 };
        streams.joined += 1;
        let (data_in, data_out) = data.split();
        let DataStreams { pending, queue, tell, shared, pace, .. } = &**streams;
        let number = queue.join();
        let (limiter, traffic) = (pace.down.clone(), Arc::clone(&self.traffic));
        let receiver = Receiver::new(Arc::clone(pending), number, tell.clone(), shared, limiter, traffic);
        let (ending, retiring) = (tell.clone(), Arc::clone(queue));
        self.tasks.spawn(async move {
            let ended = receiver.run(data_in).await;
            match ended {
                Ok(()) if number > 0 => retiring.retire(number),
                ended => ending.closed(ended).await,
            }
        });
        let sender = Sender {
            queue: Arc::clone(queue),
            number,
            tell: tell.clone(),
            outbox: self.outbox.clone(),
            limiter: pace.up.clone(),
            traffic: Arc::clone(&self.traffic),
        };
        let ending = tell.clone();
        self.tasks.spawn(async move {
            let ended = sender.run(data_out).await;
            if number == 0 || ended.is_err() {
                ending.closed(ended).await;
            }
        });
        number
    }
}

impl Session {
    /// Starts the session of a web seed: one task plays the peer.
    pub(crate) fn start_web(key: PeerKey, web: web::Web, shared: &SessionContext, near: Near) -> Self {
        let traffic = Arc::new(Traffic::default());
        let (outbox, messages) = mpsc::channel(limits::OUTBOX);
        let (expects, expected) = mpsc::channel(limits::OUTBOX);
        let (serves, _serves) = mpsc::channel(limits::OUTBOX);
        let tell = EventSender { key, events: shared.events.clone() };
        let ends = web::Ends { messages, expected, _serves };
        let limiter = shared.ways.of(near).down.clone();
        let mut task = web::WebSession::new(web, ends, tell.clone(), shared, limiter, Arc::clone(&traffic));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = Box::pin(task.run()).await;
            tell.closed(ended).await;
            // The task reads no messages any longer. The node is to hear the reason before a message fails.
            tokio::time::sleep(LAST_WORDS).await;
        });
        Self { outbox, serves, traffic, bytes: Bytes::Web(expects), tasks }
    }
}

#[cfg(test)]
impl Session {
    /// Returns a session without tasks, and the messages that the peer is sent.
    pub(crate) fn without_peer() -> (Self, mpsc::Receiver<Message>) {
        let (outbox, messages) = mpsc::channel(limits::OUTBOX);
        let (serves, _) = mpsc::channel(1);
        let (expects, _) = mpsc::channel(1);
        let session = Self {
            outbox,
            serves,
            traffic: Arc::default(),
            bytes: Bytes::Web(expects),
            tasks: JoinSet::new(),
        };
        (session, messages)
    }
}

/// The reason for which a task of a session ended. The end of any task ends the session, but for that of a
/// further data stream that both sides have closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    /// The connection is lost.
    #[error("connection lost: {0}")]
    Lost(std::io::Error),
    /// The peer does not take part in sessions.
    #[error("{0}")]
    Refused(String),
    /// The peer broke the protocol, and is banned.
    #[error("broke the protocol: {0}")]
    Protocol(String),
    /// The node ended the session.
    #[error("closed")]
    Node,
    /// The peer ended the session in order.
    #[error("closed by the peer")]
    Peer,
}

impl From<std::io::Error> for SessionEnd {
    fn from(error: std::io::Error) -> Self {
        refusal(&error).map_or(Self::Lost(error), Self::Refused)
    }
}

/// The queue of events from a session to the node.
#[derive(Debug, Clone)]
pub(super) struct EventSender {
    pub(crate) key: PeerKey,
    events: mpsc::Sender<(PeerKey, SessionEvent)>,
}

impl EventSender {
    /// Sends an event. Waits for room, so that a node that is behind slows its peers down.
    ///
    /// # Errors
    /// [`SessionEnd::Node`] if the node is gone.
    pub(crate) async fn event(&self, event: SessionEvent) -> Result<(), SessionEnd> {
        self.events.send((self.key, event)).await.map_err(|_| SessionEnd::Node)
    }

    /// Tells the node that a task has ended, and why.
    async fn closed(&self, result: Result<(), SessionEnd>) {
        let _ = self.event(SessionEvent::Closed(result.err().unwrap_or(SessionEnd::Peer))).await;
    }
}
