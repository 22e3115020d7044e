//! One session with a peer: four tasks that move bytes and decide nothing.
//!
//! ```text
//! control stream -> control::read  -> node (everything but requests for the list, and cancels)
//!                                  -> send::run (those)
//! node           -> control::write -> control stream
//! data stream    -> receive::run   -> verify, write, tell the node
//! send::run      -> read, verify   -> data stream
//! ```
//! Reading never waits for writing: each direction of each stream has its own task. All queues are bounded; a peer that
//! lets one overflow is dropped.

pub(super) mod control;
pub(super) mod receive;
pub(super) mod send;
pub(super) mod web;

use std::sync::Arc;
use std::time::Duration;

use futures::AsyncReadExt;
use libp2p::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::background::Measured;
use super::pace::Ways;
use super::stream_handler::refusal;
use super::writer::Writer;
use crate::content::tree::HashList;
use crate::id::ContentId;
use crate::limits;
use crate::metrics::Traffic;
use crate::schedule::PeerKey;
use crate::store::{Blob, Store};
use crate::wire::{Handle, Message};

/// How long the last words to a peer may take.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(250);

/// What a session tells the node.
#[derive(Debug)]
pub(super) enum SessionEvent {
    /// A control message that is the node's business.
    Message(Message),
    /// The hash list that was asked for.
    List { blob: Handle, bytes: Vec<u8> },
    /// The only chunk of a blob that is being learned, if it verified.
    Only { blob: Handle, bytes: Option<Vec<u8>> },
    /// A part of a chunk arrived.
    Bytes { blob: Handle, chunk: u32, bytes: u64 },
    /// A chunk arrived, with the bytes not yet told of.
    Chunk { blob: Handle, chunk: u32, bytes: u64, outcome: Outcome },
    /// A chunk the peer was to be sent went out, or (not `whole`) will not.
    Sent { blob: Handle, whole: bool },
    /// A blob we serve no longer has the bytes it was verified with.
    SourceChanged(ContentId),
    /// The session is over.
    Closed(String),
}

/// What became of a chunk that arrived.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Verified and written.
    Written,
    /// Verified, and still not what its share says.
    Malformed,
    /// Not what it should be.
    Bad,
    /// It could not be written.
    Disk { full: bool, error: String },
}

/// What the receiving task is told to expect.
#[derive(Debug)]
pub(super) enum Expect {
    /// The hash list, of this many bytes.
    List { blob: Handle, len: usize },
    /// The only chunk, to be verified and handed over.
    Only { blob: Handle, list: Arc<HashList> },
    /// A chunk, to be verified and written.
    Chunk { blob: Handle, chunk: u32, target: Arc<Blob> },
    /// It may still come, but nobody wants it.
    Cancel { blob: Handle, chunk: u32 },
}

/// What the sending task is told.
#[derive(Debug)]
pub(super) enum Serve {
    /// The peer's number for a blob that we serve.
    Open { blob: Handle, source: Arc<Blob> },
    /// No longer.
    Close { blob: Handle },
    /// Send the peer chunks it asked for.
    Request { blob: Handle, first: u32, count: u32 },
    /// The peer asks for the hash list.
    List { blob: Handle },
    /// The peer no longer wants a chunk.
    Cancel { blob: Handle, chunk: u32 },
}

/// The node's end of a session. Dropping it ends the tasks.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) outbox: mpsc::Sender<Message>,
    pub(super) expects: mpsc::Sender<Expect>,
    pub(super) serves: mpsc::Sender<Serve>,
    pub(super) traffic: Arc<Traffic>,
    _tasks: JoinSet<()>,
}

/// What all sessions share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) ways: Ways,
    pub(super) measured: Option<mpsc::Sender<Measured>>,
    pub(super) events: mpsc::Sender<(PeerKey, SessionEvent)>,
    pub(super) writes: Writer,
}

/// What a peer's distance means for its session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near {
    /// The node's rate limits are for it.
    pub(super) limited: bool,
    /// It is neither on this machine nor in its network.
    pub(super) outside: bool,
    /// It is on this machine.
    pub(super) here: bool,
}

impl Session {
    /// Starts the tasks of a session over its two streams.
    pub(super) fn start(key: PeerKey, control: Stream, data: Stream, shared: &Shared, near: Near) -> Self {
        let pace = shared.ways.of(near);
        let traffic = Arc::new(Traffic::default());
        let (outbox, messages) = mpsc::channel(limits::OUTBOX);
        let (expects, expected) = mpsc::channel(limits::OUTBOX);
        let (serves, requests) = mpsc::channel(limits::OUTBOX);
        let (control_in, control_out) = control.split();
        let (data_in, data_out) = data.split();
        let tell = Tell { key, events: shared.events.clone() };
        let mut tasks = JoinSet::new();
        let ending = tell.clone();
        let measured = shared.measured.clone().filter(|_| !near.here);
        if let Some(measured) = &measured {
            let (traffic, outbox, outside) = (Arc::clone(&traffic), outbox.downgrade(), near.outside);
            let _ = measured.try_send(Measured::Begins { key, outside, traffic, outbox });
        }
        let reader = control::read(control_in, tell.clone(), serves.clone(), measured);
        tasks.spawn(async move { ending.closed(reader.await).await });
        let ending = tell.clone();
        // Not one of those that end with the session: it writes what waits, and ends when nobody has more to say.
        tokio::spawn(async move { ending.closed(control::write(control_out, messages).await).await });
        let receiver = receive::Receiver::new(expected, tell.clone(), shared, pace, Arc::clone(&traffic));
        let ending = tell.clone();
        tasks.spawn(async move { ending.closed(receiver.run(data_in).await).await });
        let sender = send::Sender::new(requests, tell.clone(), outbox.clone(), pace, Arc::clone(&traffic));
        tasks.spawn(async move { tell.closed(sender.run(data_out).await).await });
        Self { outbox, expects, serves, traffic, _tasks: tasks }
    }
}

impl Session {
    /// Starts the session of a web seed: one task, in place of a peer.
    pub(super) fn start_web(key: PeerKey, web: web::Web, shared: &Shared, near: Near) -> Self {
        let traffic = Arc::new(Traffic::default());
        let (outbox, messages) = mpsc::channel(limits::OUTBOX);
        let (expects, expected) = mpsc::channel(limits::OUTBOX);
        let (serves, _serves) = mpsc::channel(limits::OUTBOX);
        let tell = Tell { key, events: shared.events.clone() };
        let ends = web::Ends { messages, expected, _serves };
        let limiter = shared.ways.of(near).down.clone();
        let mut task = web::Task::new(web, ends, tell.clone(), shared, limiter, Arc::clone(&traffic));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = Box::pin(task.run()).await;
            tell.closed(ended).await;
            // Nothing is read any longer: the node is to hear why, before it finds that out.
            tokio::time::sleep(LAST_WORDS).await;
        });
        Self { outbox, expects, serves, traffic, _tasks: tasks }
    }
}

/// Why a session's task ended. Any of them ends the session.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The connection.
    #[error("connection lost: {0}")]
    Lost(std::io::Error),
    /// The peer does not take part in sessions.
    #[error("{0}")]
    Refused(String),
    /// The peer broke the rules.
    #[error("broke the protocol: {0}")]
    Protocol(String),
    /// The node ended it.
    #[error("closed")]
    Node,
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        refusal(&error).map_or(Self::Lost(error), Self::Refused)
    }
}

/// A session's way to the node.
#[derive(Debug, Clone)]
pub(super) struct Tell {
    pub(super) key: PeerKey,
    events: mpsc::Sender<(PeerKey, SessionEvent)>,
}

impl Tell {
    /// Waits for room: a node that is behind slows its peers down.
    pub(super) async fn event(&self, event: SessionEvent) -> Result<(), End> {
        self.events.send((self.key, event)).await.map_err(|_| End::Node)
    }

    async fn closed(&self, result: Result<(), End>) {
        let reason = result.err().map_or_else(|| "closed by the peer".to_owned(), |e| e.to_string());
        let _ = self.event(SessionEvent::Closed(reason)).await;
    }
}
