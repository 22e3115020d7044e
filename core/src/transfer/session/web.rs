//! A web seed as a peer: a task in place of the other end of a session. It says what a holder of everything would say, and
//! what it is asked for it reads from an HTTP server, chunk by chunk, verified like anybody's.
//!
//! It is a holder of the last resort: it offers places only for chunks that nobody else is known to have, so that what many
//! nodes fetch of one server is about one copy of the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::event::{Outcome, SessionEvent};
use super::{EventSender, ReceiveCommand, SendCommand, SessionContext, SessionEnd};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::tree::encoded_len;
use crate::exchange::Lack;
use crate::id::ContentId;
use crate::metrics::Traffic;
use crate::net::rate::Limiter;
use crate::store::Store;
use crate::transfer::webseed::{WebSeed, WebSeedError};
use crate::transfer::writer::{Write, Writer};
use crate::wire::{self, Handle, Have, Hello, Message, Offer, RefusalReason};

/// Chunks read at once: one is under way while another is asked for.
const PARALLEL: usize = 3;
/// Requests that fail one after another before it is left alone.
const FAILURES: u32 = 3;
/// How often it looks what there is to do.
const LOOK: Duration = Duration::from_millis(50);
/// After a refusal it offers nothing for this long.
const REFUSED: Duration = Duration::from_millis(500);
/// So long it takes until those who want the same have met and agreed on who fetches what from outside.
const MEETING: Duration = Duration::from_secs(1);
/// Its hash list is asked of the server when no peer has told it for so long.
const LIST_AFTER: Duration = Duration::from_secs(2);
/// What the hash list is called there, behind the name of the file.
const LIST_NAME: &str = ".swarm";

/// See the module's text.
pub(crate) struct Web {
    pub(crate) url: String,
    pub(crate) private: bool,
    pub(crate) id: ContentId,
    pub(crate) lack: watch::Receiver<Lack>,
}

/// The node's ends of the channels of a session.
pub(super) struct Ends {
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) expected: mpsc::Receiver<ReceiveCommand>,
    /// Nothing is ever served to a server.
    pub(super) _serves: mpsc::Receiver<SendCommand>,
}

/// A chunk that is being read.
struct ChunkRead {
    task: AbortHandle,
    got: Arc<AtomicU64>,
    told: u64,
}

/// What became of one.
enum Read {
    /// Its event is on the way.
    Done,
    Only(Option<Vec<u8>>),
    Bad,
    Failed(WebSeedError),
}

pub(super) struct WebSession {
    web: Web,
    /// There from the beginning of [`Self::run`] on.
    seed: Option<Arc<WebSeed>>,
    ends: Ends,
    tell: EventSender,
    store: Store,
    writes: Writer,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    /// The node's number for what it wants.
    handle: Option<Handle>,
    len: Option<u64>,
    list: Option<Vec<u8>>,
    since: Instant,
    looked_for_list: bool,
    offered: bool,
    expects: BTreeMap<(Handle, u32), ReceiveCommand>,
    waiting: Vec<(Handle, u32)>,
    reading: BTreeMap<(Handle, u32), ChunkRead>,
    reads: JoinSet<((Handle, u32), Read)>,
    /// Places offered and not answered.
    granted: u32,
    pause: Option<Instant>,
    failures: u32,
    spare: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
}

impl WebSession {
    pub(super) fn new(
        web: Web,
        ends: Ends,
        tell: EventSender,
        shared: &SessionContext,
        limiter: Limiter,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            web,
            seed: None,
            ends,
            tell,
            store: shared.store.clone(),
            writes: shared.writes.clone(),
            limiter,
            traffic,
            handle: None,
            len: None,
            list: None,
            since: Instant::now(),
            looked_for_list: false,
            offered: false,
            expects: BTreeMap::new(),
            waiting: Vec::new(),
            reading: BTreeMap::new(),
            reads: JoinSet::new(),
            granted: 0,
            pause: None,
            failures: 0,
            spare: mpsc::channel(PARALLEL),
        }
    }

    /// Plays the peer until the node ends it, or the server is of no use.
    pub(super) async fn run(&mut self) -> Result<(), SessionEnd> {
        let hello = Hello {
            version: wire::VERSION,
            agent: "web seed".to_owned(),
            tcp: Vec::new(),
            quic: Vec::new(),
            site: None,
            relayed: Vec::new(),
            dht: Vec::new(),
        };
        self.say(Message::Hello(hello)).await?;
        let seed = Arc::new(WebSeed::new(&self.web.url, self.web.private).map_err(lost)?);
        self.len = Some(seed.len().await.map_err(lost)?);
        self.seed = Some(seed);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.ends.messages.recv() => self.hear(message.ok_or(SessionEnd::Node)?).await?,
                Some(Ok((key, read))) = self.reads.join_next() => self.read(key, read).await?,
                changed = self.web.lack.changed() => changed.map_err(|_| SessionEnd::Node)?,
                _ = look.tick() => self.progress().await?,
            }
            self.offer().await?;
            self.begin();
            self.grant().await?;
        }
    }

    async fn say(&self, message: Message) -> Result<(), SessionEnd> {
        self.tell.event(SessionEvent::Message(message)).await
    }

    async fn hear(&mut self, message: Message) -> Result<(), SessionEnd> {
        // What is to be done with a chunk was told before it is asked for.
        while let Ok(expect) = self.ends.expected.try_recv() {
            self.expect(expect);
        }
        match message {
            Message::Ping(number) => return self.say(Message::Pong(number)).await,
            Message::Want { blob, id } if id == self.web.id => {
                (self.handle, self.offered) = (Some(blob), false)
            }
            Message::Want { blob, .. } => return self.say(Message::Absent { blob }).await,
            Message::Unwant { blob } if Some(blob) == self.handle => self.handle = None,
            Message::List { blob } => {
                if let Some(bytes) = self.list.clone() {
                    return self.tell.event(SessionEvent::List { blob, bytes }).await;
                }
            }
            Message::Request { blob, first, count } => {
                self.granted = self.granted.saturating_sub(count);
                let end = first.saturating_add(count.min(crate::limits::REQUESTS_PER_PEER as u32));
                self.waiting.extend((first..end).map(|chunk| (blob, chunk)));
            }
            Message::Refuse { count, .. } => {
                self.granted = self.granted.saturating_sub(count);
                self.pause = Some(Instant::now() + REFUSED);
            }
            Message::Need { .. } => self.pause = None,
            Message::Cancel { blob, chunk } => self.cancel((blob, chunk)),
            _ => {}
        }
        Ok(())
    }

    fn expect(&mut self, expect: ReceiveCommand) {
        let key = match &expect {
            ReceiveCommand::Chunk { blob, chunk, .. } => (*blob, *chunk),
            ReceiveCommand::Only { blob, .. } => (*blob, 0),
            ReceiveCommand::List { .. }
            | ReceiveCommand::Beginning { .. }
            | ReceiveCommand::Begun { .. }
            | ReceiveCommand::Forget { .. } => {
                return;
            }
            ReceiveCommand::Cancel { blob, chunk } => return self.cancel((*blob, *chunk)),
        };
        self.expects.insert(key, expect);
    }

    fn cancel(&mut self, key: (Handle, u32)) {
        self.expects.remove(&key);
        self.waiting.retain(|waiting| *waiting != key);
        if let Some(reading) = self.reading.remove(&key) {
            reading.task.abort();
        }
    }

    /// Says what there is, once it can be verified: with a hash list, or of one chunk.
    async fn offer(&mut self) -> Result<(), SessionEnd> {
        let (Some(blob), Some(len), false) = (self.handle, self.len, self.offered) else { return Ok(()) };
        let Ok(geometry) = Geometry::new(len) else {
            return Err(SessionEnd::Protocol("is longer than a file of swarm may be".to_owned()));
        };
        let learned = self.web.lack.borrow().learned;
        if !learned && geometry.chunks() > 1 && self.list.is_none() {
            if self.since.elapsed() < LIST_AFTER || std::mem::replace(&mut self.looked_for_list, true) {
                return Ok(());
            }
            // A server that has no such list is asked once; peers may still come.
            self.list = self.ask_list(encoded_len(geometry)).await;
            if self.list.is_none() {
                return Ok(());
            }
        }
        self.offered = true;
        let offer = Offer { blob, kind: ContentKind::File, len, name: None, origin: false, have: Have::All };
        self.say(Message::Offer(offer)).await
    }

    async fn ask_list(&self, len: usize) -> Option<Vec<u8>> {
        let url = self.web.url.clone() + LIST_NAME;
        let seed = WebSeed::new(&url, self.web.private).ok()?;
        if seed.len().await.ok()? != len as u64 {
            return None;
        }
        let mut bytes = Vec::with_capacity(len);
        seed.read(0..len as u64, |piece| bytes.extend_from_slice(piece)).await.ok()?;
        Some(bytes)
    }

    /// Offers places for what nobody else has.
    async fn grant(&mut self) -> Result<(), SessionEnd> {
        let (Some(blob), true) = (self.handle, self.offered) else { return Ok(()) };
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let busy = self.granted + self.waiting.len() as u32 + self.reading.len() as u32;
        // Others of the site may be about to ask for the same: they have not met yet.
        let most = if self.since.elapsed() < MEETING { 1 } else { PARALLEL as u32 + 1 };
        let nowhere = self.web.lack.borrow().nowhere.min(most);
        let count = nowhere.saturating_sub(busy);
        if count == 0 {
            return Ok(());
        }
        self.granted += count;
        self.say(Message::Grant { blob, count, hint: None }).await
    }

    /// Begins to read what waits.
    fn begin(&mut self) {
        let Some(seed) = &self.seed else { return };
        while self.reading.len() < PARALLEL && !self.waiting.is_empty() {
            let key = self.waiting.remove(0);
            let Some(expect) = self.expects.remove(&key) else { continue };
            let got = Arc::new(AtomicU64::new(0));
            let reader = ChunkReader {
                seed: Arc::clone(seed),
                limiter: self.limiter.clone(),
                traffic: Arc::clone(&self.traffic),
                got: Arc::clone(&got),
                store: self.store.clone(),
                writes: self.writes.clone(),
                tell: self.tell.clone(),
                spare: self.spare.0.clone(),
                buffer: self.spare.1.try_recv().unwrap_or_default(),
            };
            let task = self.reads.spawn(async move { (key, reader.run(expect).await) });
            self.reading.insert(key, ChunkRead { task, got, told: 0 });
        }
    }

    /// One has ended.
    async fn read(&mut self, key: (Handle, u32), read: Read) -> Result<(), SessionEnd> {
        if self.reading.remove(&key).is_none() {
            // Cancelled meanwhile.
            return Ok(());
        }
        let (blob, chunk) = key;
        match read {
            Read::Done => self.failures = 0,
            Read::Only(bytes) => return self.tell.event(SessionEvent::Only { blob, bytes }).await,
            Read::Bad => {
                let outcome = Outcome::Bad;
                return self.tell.event(SessionEvent::Chunk { blob, chunk, bytes: 0, outcome }).await;
            }
            Read::Failed(error) => {
                self.failures += 1;
                tracing::debug!(url = %self.web.url, %error, "a web seed");
                if error.is_final() || self.failures >= FAILURES {
                    return Err(lost(error));
                }
                self.pause = Some(Instant::now() + REFUSED * (1 << self.failures));
                return self.say(Message::Decline { blob, chunk, why: RefusalReason::Busy }).await;
            }
        }
        Ok(())
    }

    /// Tells how far chunks are, so that a slow server is noticed.
    async fn progress(&mut self) -> Result<(), SessionEnd> {
        let mut news = Vec::new();
        for ((blob, chunk), reading) in &mut self.reading {
            let got = reading.got.load(Ordering::Relaxed);
            if got > reading.told {
                news.push((*blob, *chunk, got - std::mem::replace(&mut reading.told, got)));
            }
        }
        for (blob, chunk, bytes) in news {
            self.tell.event(SessionEvent::Bytes { blob, chunk, bytes }).await?;
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value)] // It is handed to `map_err`.
fn lost(error: WebSeedError) -> SessionEnd {
    SessionEnd::Lost(std::io::Error::other(error.to_string()))
}

/// Reads one chunk.
struct ChunkReader {
    seed: Arc<WebSeed>,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    got: Arc<AtomicU64>,
    store: Store,
    writes: Writer,
    tell: EventSender,
    spare: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl ChunkReader {
    async fn run(mut self, expect: ReceiveCommand) -> Read {
        let (geometry, index, mut check) = match &expect {
            ReceiveCommand::Chunk { chunk, target, .. } => match target.geometry().chunk(*chunk) {
                Some(index) => (target.geometry(), index, target.list().check(index)),
                None => return Read::Done,
            },
            ReceiveCommand::Only { list, .. } => match list.geometry().last() {
                Some(index) => (list.geometry(), index, list.check(index)),
                None => return Read::Only(Some(Vec::new())),
            },
            _ => return Read::Done,
        };
        let (from, size) = (geometry.offset(index), geometry.size(index));
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        bytes.reserve_exact(size);
        let mut left = size;
        while left > 0 {
            let step = left.min(self.limiter.step());
            self.limiter.pass(step).await;
            left -= step;
        }
        let (got, traffic) = (&self.got, &self.traffic);
        let take = |piece: &[u8]| {
            check.update(piece);
            bytes.extend_from_slice(piece);
            got.fetch_add(piece.len() as u64, Ordering::Relaxed);
            traffic.received(piece.len() as u64);
        };
        if let Err(error) = self.seed.read(from..from + size as u64, take).await {
            return Read::Failed(error);
        }
        let passes = check.passes();
        match expect {
            ReceiveCommand::Only { .. } => Read::Only(passes.then_some(bytes)),
            ReceiveCommand::Chunk { blob, target, .. } if passes => {
                let room = self.store.room(size as u64).await;
                let (from, spare) = (self.tell.key, self.spare);
                let write = Write { target, chunk: index, bytes, room, from, blob, fresh: 0, spare };
                self.writes.write(write).await;
                Read::Done
            }
            _ => Read::Bad,
        }
    }
}
