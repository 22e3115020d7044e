//! One session with a peer: tasks that move bytes and decide nothing.
//!
//! ```text
//! control stream -> control::read  -> node (everything but requests for the list, and cancels)
//!                                  -> desk (those)
//! node           -> control::write -> control stream
//! node           -> board          <- receive::run <- data streams: verify, write, tell the node
//! node           -> desk           -> send::run    -> data streams: read, verify
//! ```
//! Reading never waits for writing: each direction of each stream has its own task. All queues are bounded; a peer that
//! lets one overflow is dropped.
//!
//! A session begins with one data stream. Over a distance it gets more, each on a connection of its own: one connection is
//! bound by what the kernel buffers for it, grows from nothing once, and slows down for each packet that is lost.

mod board;
pub(super) mod control;
mod desk;
mod receive;
mod send;
#[cfg(test)]
mod tests;
pub(super) mod web;

use std::sync::Arc;
use std::time::Duration;

use futures::AsyncReadExt;
use libp2p::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::board::Board;
use self::desk::{Desk, Number};
use self::receive::Receiver;
use self::send::Sender;
use super::background::Measured;
use super::pace::{Directions, Ways};
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

/// Orders of the node to the tasks that receive.
#[derive(Debug)]
pub(super) enum Expect {
    /// The holder of a blob sends some of it before it is asked: its stream waits until it is known what that is.
    Beginning { blob: Handle },
    /// The end of that: what else comes so is not wanted. It may still be under way if the holder has `promised` to send it.
    Begun { blob: Handle, promised: bool },
    /// All that was asked of a blob may still come, but nobody wants it.
    Forget { blob: Handle },
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
    pub(super) serves: mpsc::Sender<Serve>,
    pub(super) traffic: Arc<Traffic>,
    bytes: Bytes,
    tasks: JoinSet<()>,
}

/// The way of a session's chunks.
#[derive(Debug)]
enum Bytes {
    /// Data streams.
    Streams(Box<Streams>),
    /// Requests to a web server.
    Web(mpsc::Sender<Expect>),
}

/// The data streams of a session and what their tasks share.
#[derive(Debug)]
struct Streams {
    board: Arc<Board>,
    desk: Arc<Desk>,
    tell: Tell,
    shared: Shared,
    pace: Directions,
    /// So many have there been.
    joined: usize,
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
        let pace = shared.ways.of(near).clone();
        let traffic = Arc::new(Traffic::default());
        let (outbox, messages) = mpsc::channel(limits::OUTBOX);
        let (serves, requests) = mpsc::channel(limits::OUTBOX);
        let (control_in, control_out) = control.split();
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
        let (board, desk, ending) = (Arc::new(Board::default()), Arc::new(Desk::default()), tell.clone());
        let asked = Arc::clone(&desk).run(requests, tell.clone(), outbox.clone());
        tasks.spawn(async move { ending.closed(asked.await).await });
        let streams = Streams { board, desk, tell, shared: shared.clone(), pace, joined: 0 };
        let mut session = Self { outbox, serves, traffic, bytes: Bytes::Streams(Box::new(streams)), tasks };
        session.carry(data);
        session
    }

    /// Has chunks pass over this stream as well. Where there are as many as may be, it ends again without harm: the other end
    /// may have begun to send on it.
    pub(super) fn widen(&mut self, data: Stream) {
        let may = self.may_widen();
        let Bytes::Streams(streams) = &self.bytes else { return };
        let (full, desk) = (streams.desk.streams() >= limits::DATA_STREAMS, Arc::clone(&streams.desk));
        if may {
            streams.board.widen();
            let number = self.carry(data);
            if full {
                desk.retire(number);
            }
        }
    }

    /// Tells whether it may have another data stream, after all that it has had.
    pub(super) fn may_widen(&self) -> bool {
        matches!(&self.bytes, Bytes::Streams(streams) if streams.joined < limits::DATA_STREAMS_EVER)
    }

    /// Ends all data streams but the first, each after the chunk that it carries.
    pub(super) fn narrow(&self) {
        if let Bytes::Streams(streams) = &self.bytes {
            streams.desk.retire_further();
        }
    }

    /// Data streams that carry chunks.
    pub(super) fn width(&self) -> usize {
        match &self.bytes {
            Bytes::Streams(streams) => streams.desk.streams(),
            Bytes::Web(_) => 1,
        }
    }

    /// Notes what is asked for. False when there is no room for it.
    pub(super) fn expect(&self, expect: Expect) -> bool {
        match &self.bytes {
            Bytes::Streams(streams) => streams.board.expect(expect),
            Bytes::Web(expects) => return expects.try_send(expect).is_ok(),
        }
        true
    }

    /// Starts the tasks of a data stream; its number. The first one's end is that of the session, and so is an error of any.
    /// Others end when both sides have closed them.
    fn carry(&mut self, data: Stream) -> Number {
        let Bytes::Streams(streams) = &mut self.bytes else { return 0 };
        streams.joined += 1;
        let (data_in, data_out) = data.split();
        let Streams { board, desk, tell, shared, pace, .. } = &**streams;
        let number = desk.join();
        let (limiter, traffic) = (pace.down.clone(), Arc::clone(&self.traffic));
        let receiver = Receiver::new(Arc::clone(board), number, tell.clone(), shared, limiter, traffic);
        let (ending, retiring) = (tell.clone(), Arc::clone(desk));
        self.tasks.spawn(async move {
            let ended = receiver.run(data_in).await;
            match ended {
                Ok(()) if number > 0 => retiring.retire(number),
                ended => ending.closed(ended).await,
            }
        });
        let sender = Sender {
            desk: Arc::clone(desk),
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
        Self { outbox, serves, traffic, bytes: Bytes::Web(expects), tasks }
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
