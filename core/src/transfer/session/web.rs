//! A web seed as a peer: a task in place of the other end of a session. It sends the messages that a holder
//! of the whole blob would send. Requested chunks it reads from an HTTP server, and verifies them like those
//! of a peer.
//!
//! It is a holder of the last resort: it grants only chunks that no peer is known to have. So many nodes
//! together fetch about one copy of the blob from one server.

mod list;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use list::ListSearch;
use read::{ChunkReader, Read};

use super::event::{Outcome, SessionEvent};
use super::{EventSender, SessionContext, SessionEnd};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::exchange::{Lack, ReceiveCommand, SendCommand};
use crate::id::ContentId;
use crate::metrics::Traffic;
use crate::net::rate::Limiter;
use crate::store::{Store, Stored};
use crate::transfer::webseed::hash_list::ListFault;
use crate::transfer::webseed::{WebSeed, WebSeedError};
use crate::transfer::writer::Writer;
use crate::wire::{self, Handle, Have, Hello, Message, Offer, RefusalReason};

/// Chunks that are read at once: the server works at one while the request for another is under way.
const PARALLEL: usize = 3;
/// Requests that fail one after another before the session ends.
const FAILURES: u32 = 3;
/// Interval at which the task reports progress and looks for work.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before the next grant after the node refused one. After a failed request the pause is longer.
const REFUSED: Duration = Duration::from_millis(500);
/// Time in which the nodes of a site that want the same blob meet and agree on who fetches which chunk from
/// outside.
const MEETING: Duration = Duration::from_secs(1);

/// A web seed of one blob.
pub(crate) struct Web {
    pub(crate) url: String,
    /// True if the server may have an address that is not of the internet.
    pub(crate) private: bool,
    pub(crate) id: ContentId,
    pub(crate) lack: watch::Receiver<Lack>,
    pub(crate) news: watch::Sender<WebNews>,
}

/// Facts about a web seed that no message of a peer has.
#[derive(Debug, Clone, Default)]
pub(crate) struct WebNews {
    /// The reason, in words, for which the server is of less use than it could be.
    pub(crate) note: Option<String>,
    /// Time before which the server is asked for nothing, also by a later session.
    pub(crate) rest: Option<Instant>,
}

/// The ends of the node's channels to a session.
pub(super) struct Ends {
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) expected: mpsc::Receiver<ReceiveCommand<Stored>>,
    /// Kept open and never read: a server requests nothing.
    pub(super) _serves: mpsc::Receiver<SendCommand<Stored>>,
}

/// A chunk that is being read from the server.
struct ChunkRead {
    task: AbortHandle,
    /// Bytes that have arrived.
    got: Arc<AtomicU64>,
    /// Bytes of which the node has been told.
    told: u64,
    /// Start of the reading.
    since: Instant,
}

/// The task that plays the peer.
pub(super) struct WebSession {
    web: Web,
    /// The file on the server; `None` before [`Self::run`] begins.
    seed: Option<Arc<WebSeed>>,
    ends: Ends,
    tell: EventSender,
    store: Store,
    writes: Writer,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    /// The node's handle for the blob; `None` while the node does not want it.
    handle: Option<Handle>,
    /// Length of the file on the server, in bytes, once it is known.
    len: Option<u64>,
    /// The search for the hash list on the server.
    list: ListSearch,
    /// Start of the session.
    since: Instant,
    /// True once the node has the offer for its present want.
    offered: bool,
    /// Orders of the node for the chunks that it requests.
    expects: BTreeMap<(Handle, u32), ReceiveCommand<Stored>>,
    /// Requests that wait, the oldest first.
    waiting: Vec<(Handle, u32)>,
    /// Chunks that are being read. At most [`PARALLEL`].
    reading: BTreeMap<(Handle, u32), ChunkRead>,
    reads: JoinSet<((Handle, u32), Read)>,
    /// Granted chunks that the node has neither requested nor refused.
    granted: u32,
    /// Time before which nothing is granted.
    pause: Option<Instant>,
    /// Time before which the server is asked for nothing: it failed, or asks for a pause.
    rest: Option<Instant>,
    /// Requests that failed one after another. Requests that were under way together count once.
    failures: u32,
    /// Time of the last failure that counted.
    failed: Option<Instant>,
    /// The queue on which buffers come back from the threads that write.
    spare: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
}

impl WebSession {
    /// Returns the task for one web seed. It does nothing before [`Self::run`].
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
            list: ListSearch::new(),
            since: Instant::now(),
            offered: false,
            expects: BTreeMap::new(),
            waiting: Vec::new(),
            reading: BTreeMap::new(),
            reads: JoinSet::new(),
            granted: 0,
            pause: None,
            rest: None,
            failures: 0,
            failed: None,
            spare: mpsc::channel(PARALLEL),
        }
    }

    /// Plays the peer until the node ends the session or the server is of no use.
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
        let seed =
            Arc::new(WebSeed::new(&self.web.url, self.web.private).map_err(|error| self.lost(&error))?);
        self.len = Some(seed.len().await.map_err(|error| self.lost(&error))?);
        self.seed = Some(seed);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.ends.messages.recv() => self.hear(message.ok_or(SessionEnd::Node)?).await?,
                Some(Ok((key, read))) = self.reads.join_next() => self.read(key, read).await?,
                Some(Ok(read)) = self.list.asking.join_next() => self.listed(read),
                changed = self.web.lack.changed() => changed.map_err(|_| SessionEnd::Node)?,
                _ = look.tick() => self.progress().await?,
            }
            self.offer().await?;
            self.turn_away().await?;
            self.begin();
            self.grant().await?;
        }
    }

    /// Sends the node a message as if from a peer.
    async fn say(&self, message: Message) -> Result<(), SessionEnd> {
        self.tell.event(SessionEvent::Message(message)).await
    }

    /// Handles a message of the node to the peer.
    async fn hear(&mut self, message: Message) -> Result<(), SessionEnd> {
        // The node gives the order for a chunk before it requests the chunk.
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
                if let Some(bytes) = self.list.found.clone() {
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

    /// Keeps an order of the node for a chunk until the chunk is read.
    fn expect(&mut self, expect: ReceiveCommand<Stored>) {
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

    /// Gives up a chunk that the node no longer wants.
    fn cancel(&mut self, key: (Handle, u32)) {
        self.expects.remove(&key);
        self.waiting.retain(|waiting| *waiting != key);
        if let Some(reading) = self.reading.remove(&key) {
            reading.task.abort();
        }
    }

    /// Offers the whole blob once its chunks can be verified: by a hash list, or because there is only one.
    async fn offer(&mut self) -> Result<(), SessionEnd> {
        let (Some(blob), Some(len), false) = (self.handle, self.len, self.offered) else { return Ok(()) };
        let Ok(geometry) = Geometry::new(len) else {
            return Err(SessionEnd::Protocol("is longer than a file of swarm may be".to_owned()));
        };
        let learned = self.web.lack.borrow().learned;
        if !learned && geometry.chunks() > 1 && self.list.found.is_none() {
            // If the server has no hash list, a peer may still send it.
            if !self.is_resting() {
                self.list.ask(&self.web, geometry);
            }
            return Ok(());
        }
        self.offered = true;
        self.note(None);
        let offer = Offer { blob, kind: ContentKind::File, len, name: None, origin: false, have: Have::All };
        self.say(Message::Offer(offer)).await
    }

    /// Handles the end of a request for the hash list.
    fn listed(&mut self, read: Result<Vec<u8>, ListFault>) {
        match read {
            Ok(bytes) => {
                self.list.found = Some(bytes);
                self.note(None);
            }
            Err(fault) => {
                tracing::debug!(url = %self.web.url, %fault, "a hash list of a web seed");
                self.list.failed(&fault);
                if let Some(wait) = fault.wait() {
                    self.rest_for(wait);
                }
                self.note(Some(fault.to_string()));
            }
        }
    }

    /// Grants chunks that no peer has.
    async fn grant(&mut self) -> Result<(), SessionEnd> {
        let (Some(blob), true) = (self.handle, self.offered) else { return Ok(()) };
        if self.pause.is_some_and(|until| Instant::now() < until) || self.is_resting() {
            return Ok(());
        }
        let busy = self.granted + self.waiting.len() as u32 + self.reading.len() as u32;
        // Other nodes of the site may be about to fetch the same chunks: they have not met yet.
        let most = if self.since.elapsed() < MEETING { 1 } else { PARALLEL as u32 + 1 };
        let nowhere = self.web.lack.borrow().nowhere.min(most);
        let count = nowhere.saturating_sub(busy);
        if count == 0 {
            return Ok(());
        }
        self.granted += count;
        self.say(Message::Grant { blob, count, hint: None }).await
    }

    /// Starts to read the chunks that wait, as far as there are places.
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
            self.reading.insert(key, ChunkRead { task, got, told: 0, since: Instant::now() });
        }
    }

    /// Handles the end of reading a chunk.
    async fn read(&mut self, key: (Handle, u32), read: Read) -> Result<(), SessionEnd> {
        // The node may have cancelled the chunk meanwhile.
        let Some(reading) = self.reading.remove(&key) else { return Ok(()) };
        let (blob, chunk) = key;
        match read {
            Read::Done => {
                self.failures = 0;
                self.note(None);
            }
            Read::Only(bytes) => return self.tell.event(SessionEvent::Only { blob, bytes }).await,
            Read::Bad => {
                let outcome = Outcome::Bad;
                return self.tell.event(SessionEvent::Chunk { blob, chunk, bytes: 0, outcome }).await;
            }
            Read::Failed(error) => {
                tracing::debug!(url = %self.web.url, %error, "a web seed");
                if self.failed.is_none_or(|last| last <= reading.since) {
                    self.failures += 1;
                    self.failed = Some(Instant::now());
                }
                if error.is_final() || self.failures >= FAILURES {
                    return Err(self.lost(&error));
                }
                self.rest_for(error.wait().unwrap_or_default().max(REFUSED * (1 << self.failures)));
                self.note(Some(error.to_string()));
                return self.say(Message::Decline { blob, chunk, why: RefusalReason::Busy }).await;
            }
        }
        Ok(())
    }

    /// Declines the chunks that wait while the server rests.
    async fn turn_away(&mut self) -> Result<(), SessionEnd> {
        if !self.is_resting() {
            return Ok(());
        }
        for (blob, chunk) in std::mem::take(&mut self.waiting) {
            if self.expects.remove(&(blob, chunk)).is_some() {
                self.say(Message::Decline { blob, chunk, why: RefusalReason::Busy }).await?;
            }
        }
        Ok(())
    }

    /// Returns true if the server is asked for nothing now.
    fn is_resting(&self) -> bool {
        self.rest.is_some_and(|until| Instant::now() < until)
    }

    /// Asks the server for nothing for this long, and not before the end of a longer rest.
    fn rest_for(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        self.rest = Some(self.rest.map_or(until, |rest| rest.max(until)));
        self.web.news.send_modify(|news| news.rest = self.rest);
    }

    /// Notes what a person should know of the server; `None` if all is well again.
    fn note(&self, note: Option<String>) {
        self.web.news.send_modify(|news| news.note = note);
    }

    /// Returns the end of a session whose server failed.
    fn lost(&mut self, error: &WebSeedError) -> SessionEnd {
        if let Some(wait) = error.wait() {
            self.rest_for(wait);
        }
        SessionEnd::Refused(error.to_string())
    }

    /// Tells the node how far the chunks are, so that it notices a slow server.
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
