#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicBool;

use futures::AsyncWriteExt;
use libp2p::tcp::tokio::TcpStream;
use socket2::SockRef;

use super::pending::{Back, Taken};
use super::send_queue::SendWork;
use super::*;
use crate::content::path::Rules;
use crate::store::record::Domain;
use crate::store::{Begin, Import, WriteTarget};
use crate::transfer::session::event::Outcome;
use crate::wire::frame::{DataHeader, HEADER};
use crate::wire::{Handle, LIST};

const BLOB: Handle = 7;

/// Two stores: one with a file of 3 MiB, which one end gives, and one into which the other end takes it.
struct World {
    _home: tempfile::TempDir,
    given: Stored,
    taken: Stored,
    taker: Store,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let bytes: Vec<u8> =
            (0..3 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&path, bytes).unwrap();
        let store = |name: &str| Store::open(&home.path().join(name), None, false).unwrap();
        let (giver, taker) = (store("giver"), store("taker"));
        let import = Import {
            path: &path,
            name: "file".to_owned(),
            copy: false,
            take: false,
            rules: Rules::Portable,
            symlinks: false,
            skipped_homes: None,
            audience: None,
            domain: Domain::Public,
            progress: &|_, _| {},
            cancel: &AtomicBool::new(false),
        };
        let record = giver.import(&import).unwrap();
        let given = giver.blob(record.id).unwrap();
        let begin = Begin {
            list: given.list().clone(),
            name: "file".to_owned(),
            target: WriteTarget::Store,
            of: None,
            audience: None,
            seal: None,
            domain: Domain::Public,
        };
        let taken = taker.begin(begin).unwrap();
        Self { _home: home, given, taken, taker }
    }

    fn expect(&self, chunk: u32) -> ReceiveCommand<Stored> {
        ReceiveCommand::Chunk { blob: BLOB, chunk, target: Arc::clone(&self.taken) }
    }

    /// Returns the header of a frame with a whole chunk, or with its first (0) or second (1) half.
    fn header(&self, chunk: u32, half: Option<u32>) -> DataHeader {
        let size = self.given.geometry().size(self.given.geometry().chunk(chunk).unwrap()) as u32;
        let (offset, len) = half.map_or((0, size), |half| (half * size / 2, size / 2));
        DataHeader { blob: BLOB, chunk, offset, len }
    }
}

/// The state of a task that reads a data stream, and the events that it sends.
struct Reading {
    pending: Arc<PendingRequests>,
    events: mpsc::Receiver<(PeerKey, SessionEvent)>,
    shared: SessionContext,
}

impl Reading {
    fn new(store: &Store) -> Self {
        let (told, events) = mpsc::channel(64);
        let writes = Writer::start(store, &told);
        let shared = SessionContext {
            store: store.clone(),
            ways: Shaping::default(),
            measured: None,
            events: told,
            writes,
        };
        Self { pending: Arc::new(PendingRequests::default()), events, shared }
    }

    fn receiver(&self, number: usize) -> Receiver {
        let tell = EventSender { key: PeerKey(1), events: self.shared.events.clone() };
        let limiter = crate::net::rate::Limiter::default();
        Receiver::new(Arc::clone(&self.pending), number, tell, &self.shared, limiter, Arc::default())
    }
}

/// Returns the ends of a connection that buffers less than a chunk.
async fn pipe() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(tokio::net::TcpStream::connect(there), listener.accept());
    let near = near.unwrap();
    SockRef::from(&near).set_send_buffer_size(16 << 10).unwrap();
    (TcpStream(near), TcpStream(far.unwrap().0))
}

#[tokio::test]
async fn chunks_come_over_all_streams_and_make_the_blob_whole() {
    let world = World::new();
    let mut reading = Reading::new(&world.taker);
    let chunks = world.given.geometry().chunks();
    let queue = Arc::new(SendQueue::default());
    let (serves, asked) = mpsc::channel(64);
    let (outbox, _messages) = mpsc::channel(64);
    let (events, mut sent) = mpsc::channel(1024);
    let tell = EventSender { key: PeerKey(2), events };
    tokio::spawn(Arc::clone(&queue).run(asked, tell.clone(), outbox.clone()));
    let mut carried = Vec::new();
    reading.pending.widen();
    for number in 0..3 {
        assert_eq!(queue.join(), number);
        let (near, far) = pipe().await;
        let traffic = Arc::new(Traffic::default());
        carried.push(Arc::clone(&traffic));
        let sender = Sender {
            queue: Arc::clone(&queue),
            number,
            tell: tell.clone(),
            outbox: outbox.clone(),
            limiter: crate::net::rate::Limiter::default(),
            traffic,
        };
        tokio::spawn(sender.run(near));
        tokio::spawn(reading.receiver(number).run(far));
    }
    (0..chunks).for_each(|chunk| reading.pending.expect(world.expect(chunk)));
    serves.send(SendCommand::Open { blob: BLOB, source: Arc::clone(&world.given) }).await.unwrap();
    serves.send(SendCommand::Request { blob: BLOB, first: 0, count: chunks }).await.unwrap();
    let mut written = 0;
    while written < chunks {
        match reading.events.recv().await.unwrap().1 {
            SessionEvent::Chunk { outcome, .. } => {
                assert!(matches!(outcome, Outcome::Written), "{outcome:?}");
                written += 1;
            }
            SessionEvent::Bytes { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.taken.have().count(), chunks);
    for _ in 0..chunks {
        assert!(matches!(sent.recv().await.unwrap().1, SessionEvent::Sent { blob: BLOB, whole: true }));
    }
    assert!(carried[1..].iter().all(|traffic| traffic.up() > 0), "each further stream carried some");
}

#[tokio::test]
async fn frames_of_a_cut_answer_are_no_fault_on_whatever_stream_they_come() {
    let world = World::new();
    let pending = PendingRequests::default();
    pending.widen();
    pending.expect(world.expect(3));
    let Taken::Here(mut first) = pending.take(world.header(3, Some(0)), 1).await else { panic!("wanted") };
    let half = first.size / 2;
    first.got = half;
    assert!(matches!(pending.give_back((BLOB, 3), first), Back::Continues));
    assert!(matches!(pending.take(world.header(3, Some(1)), 0).await, Taken::Stray), "another stream");
    pending.expect(ReceiveCommand::Cancel { blob: BLOB, chunk: 3 });
    assert!(!pending.is_part_way(1));
    pending.expect(world.expect(3));
    assert!(matches!(pending.take(world.header(3, Some(1)), 1).await, Taken::Late), "of the cut answer");
    let Taken::Here(mut again) = pending.take(world.header(3, None), 0).await else { panic!("wanted") };
    again.got = again.size;
    assert!(matches!(pending.give_back((BLOB, 3), again), Back::Whole(_)));
    assert!(matches!(pending.take(world.header(3, Some(1)), 1).await, Taken::Late), "later than all");
    assert!(matches!(pending.take(world.header(4, None), 1).await, Taken::Stray), "never asked for");
}

#[tokio::test]
async fn what_is_given_up_half_way_does_not_end_the_stream_that_brought_it() {
    let world = World::new();
    let pending = PendingRequests::default();
    pending.widen();
    (0..8).for_each(|chunk| pending.expect(world.expect(chunk)));
    let Taken::Here(mut first) = pending.take(world.header(3, Some(0)), 1).await else { panic!("wanted") };
    first.got = first.size / 2;
    assert!(matches!(pending.give_back((BLOB, 3), first), Back::Continues));
    assert!(pending.is_part_way(1));
    pending.expect(ReceiveCommand::Forget { blob: BLOB });
    assert!(!pending.is_part_way(1));
    for chunk in 0..8 {
        assert!(matches!(pending.take(world.header(chunk, None), 0).await, Taken::Late), "{chunk}");
    }
}

#[tokio::test]
async fn many_cancels_forget_the_oldest() {
    let world = World::new();
    let pending = PendingRequests::default();
    let most = 2 * limits::REQUESTS_PER_PEER as Handle;
    for blob in (0..=most).rev() {
        pending.expect(ReceiveCommand::Chunk { blob, chunk: 0, target: Arc::clone(&world.taken) });
        pending.expect(ReceiveCommand::Cancel { blob, chunk: 0 });
    }
    let header = |blob| DataHeader { blob, chunk: 0, offset: 0, len: 64 };
    assert!(matches!(pending.take(header(0), 0).await, Taken::Late), "the latest");
    assert!(matches!(pending.take(header(most), 0).await, Taken::Stray), "the oldest");
}

#[tokio::test]
async fn what_is_cancelled_while_a_frame_is_read_is_not_handed_over() {
    let world = World::new();
    let pending = PendingRequests::default();
    pending.expect(world.expect(0));
    let Taken::Here(mut coming) = pending.take(world.header(0, None), 0).await else { panic!("wanted") };
    pending.expect(ReceiveCommand::Cancel { blob: BLOB, chunk: 0 });
    pending.expect(world.expect(0));
    coming.got = coming.size;
    assert!(matches!(pending.give_back((BLOB, 0), coming), Back::Unwanted(_)));
    assert!(
        matches!(pending.take(world.header(0, None), 0).await, Taken::Here(_)),
        "the second request stands"
    );
}

#[tokio::test]
async fn what_comes_of_a_blob_that_is_begun_waits_until_it_is_known() {
    let world = World::new();
    let list = DataHeader { blob: BLOB, chunk: LIST, offset: 0, len: 64 };
    for (header, known) in [
        (list, ReceiveCommand::List { blob: BLOB, len: 64 }),
        (world.header(2, None), world.expect(2)),
        (list, ReceiveCommand::Begun { blob: BLOB, promised: true }),
        (world.header(2, None), ReceiveCommand::Begun { blob: BLOB, promised: true }),
    ] {
        let pending = Arc::new(PendingRequests::default());
        pending.expect(ReceiveCommand::Beginning { blob: BLOB });
        let waiting = tokio::spawn({
            let pending = Arc::clone(&pending);
            async move { matches!(pending.take(header, 0).await, Taken::Here(_)) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let wanted = !matches!(known, ReceiveCommand::Begun { .. });
        pending.expect(known);
        assert_eq!(waiting.await.unwrap(), wanted);
    }
}

#[tokio::test]
async fn after_the_beginning_no_more_is_let_pass_than_can_have_been_under_way() {
    let pending = PendingRequests::default();
    pending.expect(ReceiveCommand::Beginning { blob: BLOB });
    pending.expect(ReceiveCommand::Begun { blob: BLOB, promised: true });
    let header = DataHeader { blob: BLOB, chunk: 0, offset: 0, len: limits::DATA_FRAME as u32 };
    for _ in 0..limits::BEGINNING_BYTES / limits::DATA_FRAME {
        assert!(matches!(pending.take(header, 0).await, Taken::Late));
    }
    assert!(matches!(pending.take(header, 0).await, Taken::Stray));
    // A peer that has promised nothing sends nothing.
    let pending = PendingRequests::default();
    pending.expect(ReceiveCommand::Beginning { blob: BLOB });
    pending.expect(ReceiveCommand::Begun { blob: BLOB, promised: false });
    assert!(matches!(pending.take(header, 0).await, Taken::Stray));
}

#[tokio::test]
async fn a_further_stream_may_end_between_chunks_and_not_within_one() {
    let world = World::new();
    for within in [false, true] {
        let reading = Reading::new(&world.taker);
        let (mut near, far) = pipe().await;
        reading.pending.expect(world.expect(1));
        let header = world.header(1, Some(0));
        let mut frame = header.encode().to_vec();
        frame.resize(HEADER + header.len as usize, 0);
        if within {
            near.write_all(&frame).await.unwrap();
        }
        near.close().await.unwrap();
        let ended = reading.receiver(1).run(far).await;
        assert_eq!(matches!(ended, Err(SessionEnd::Lost(_))), within, "{ended:?}");
        assert_eq!(ended.is_ok(), !within);
    }
}

#[tokio::test]
async fn the_first_stream_leaves_chunks_to_others_that_have_got_going() {
    let world = World::new();
    let queue = Arc::new(SendQueue::default());
    assert_eq!((queue.join(), queue.join(), queue.join()), (0, 1, 2));
    queue.take(SendCommand::Open { blob: BLOB, source: Arc::clone(&world.given) }).unwrap();
    queue.take(SendCommand::Request { blob: BLOB, first: 0, count: 9 }).unwrap();
    let sends = |number, bytes| {
        let sends = matches!(queue.try_next(number), Some(SendWork::Send(..)));
        assert!(!sends || queue.done(number, bytes));
        sends
    };
    assert!(sends(0, 100) && sends(1, 100) && sends(0, 1), "as much as the first");
    assert!(sends(2, 100) && !sends(0, 100), "more");
    queue.retire_further();
    assert!(sends(0, 300), "alone again");
    assert_eq!(queue.join(), 3);
    assert!(sends(3, 401) && sends(0, 1), "not yet");
    assert!(sends(3, 2) && !sends(0, 1), "but now");
    // A stream that waits for work is woken.
    let waits = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { matches!(queue.next(0).await, SendWork::Send(..)) }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    queue.retire(3);
    queue.take(SendCommand::Request { blob: BLOB, first: 9, count: 1 }).unwrap();
    assert!(waits.await.unwrap());
}

#[tokio::test]
async fn a_stream_that_retires_ends_after_its_chunk_and_others_go_on() {
    let world = World::new();
    let queue = SendQueue::default();
    assert_eq!((queue.join(), queue.join()), (0, 1));
    let asked = |chunk| SendCommand::Request { blob: BLOB, first: chunk, count: 1 };
    assert!(
        queue.take(SendCommand::Open { blob: BLOB, source: Arc::clone(&world.given) }).unwrap().is_empty()
    );
    assert!(queue.take(asked(0)).unwrap().is_empty() && queue.take(asked(1)).unwrap().is_empty());
    assert!(matches!(queue.next(1).await, SendWork::Send(..)));
    queue.retire_further();
    assert_eq!(queue.streams(), 1);
    assert!(queue.goes_on(1) && queue.done(1, 1), "what it carries is carried to its end");
    assert!(matches!(queue.next(1).await, SendWork::Retire));
    assert!(matches!(queue.next(0).await, SendWork::Send(..)));
}

#[tokio::test]
async fn a_chunk_that_is_requested_twice_is_sent_once() {
    let world = World::new();
    let queue = SendQueue::default();
    assert_eq!((queue.join(), queue.join()), (0, 1));
    let request = || queue.take(SendCommand::Request { blob: BLOB, first: 4, count: 1 }).unwrap();
    let is_dropped = |unanswered: &[_]| matches!(unanswered, [(asked, None)] if *asked == CHUNK_4);
    const CHUNK_4: crate::schedule::upload::Asked = crate::schedule::upload::Asked { blob: BLOB, chunk: 4 };
    queue.take(SendCommand::Open { blob: BLOB, source: Arc::clone(&world.given) }).unwrap();
    assert!(request().is_empty());
    assert!(is_dropped(&request()), "while it waits");
    assert!(matches!(queue.try_next(1), Some(SendWork::Send(CHUNK_4, _))));
    assert!(is_dropped(&request()), "while it is being sent");
    assert!(queue.try_next(0).is_none(), "the other stream has nothing to send");
    // A cancel takes the first request back, so that the next one counts.
    assert!(queue.take(SendCommand::Cancel { blob: BLOB, chunk: 4 }).unwrap().is_empty());
    assert!(request().is_empty());
    assert!(matches!(queue.try_next(0), Some(SendWork::Send(CHUNK_4, _))));
    assert!(queue.done(0, 1) && !queue.done(1, 1), "the second request was answered, the first was not");
    assert!(request().is_empty(), "a chunk that was sent may be requested anew");
}
