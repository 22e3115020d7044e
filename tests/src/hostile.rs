//! A peer that speaks swarm's protocol over swarm's transport, and sends whatever a test wants.
//!
//! ```text
//! let lie = |turn: &Turn<'_>, honest: Vec<Out>| match turn.heard {
//!     Some(Message::Request { .. }) => Vec::new(),
//!     _ => honest,
//! };
//! let peer = Hostile::listen(vec![Offering::file(bytes)], lie);
//! let got = home.get(&id, &["--peer", peer.addr()]);
//! assert!(peer.heard(|message| matches!(message, Message::Request { .. })) > 0);
//! ```
//!
//! A [`Hostile`] runs in a thread with a runtime of its own and serves every connection in the same way: for
//! each message it works out the answer of an honest node ([`Offering`]) and sends what the test's script
//! makes of that. Bytes that the transport would never send go through [`raw`]; many connections that do
//! nothing are a [`crowd`].

pub mod bytes;
pub mod crowd;
pub mod dht;
mod net;
mod offering;
pub mod raw;
mod session;

pub use offering::{Offering, frames, hello};

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use swarm_core::wire::Message;
use swarm_core::wire::frame::DataHeader;
use tokio::sync::oneshot;

/// Address on which every hostile peer listens.
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// Something to send.
#[derive(Debug, Clone)]
pub enum Out {
    /// A message, as it is written.
    Control(Message),
    /// Bytes on the control stream, as they are.
    RawControl(Vec<u8>),
    /// Bytes on the control stream, one at a time with a pause after each.
    Trickle(Vec<u8>, Duration),
    /// A frame of data. The length in the header is what it says, however long the bytes are.
    Data(DataHeader, Vec<u8>),
    /// Bytes on the data stream, as they are.
    RawData(Vec<u8>),
    /// Nothing on the data stream for so long.
    Pause(Duration),
    /// Bytes that a function makes of 0, 1, 2 and so on up to a count, on the control stream.
    Flood(fn(u64) -> Vec<u8>, u64),
    /// From now on nothing is heard any more.
    Deaf,
    /// The connection breaks as soon as the data before it is written.
    Hangup,
}

/// One turn of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The message that was received; `None` at the start.
    pub heard: Option<&'a Message>,
    /// Which connection it is, counted from 0.
    pub session: usize,
}

impl Turn<'_> {
    /// It is the start.
    #[must_use]
    pub const fn is_start(&self) -> bool {
        self.heard.is_none()
    }

    /// The number the other end gives a blob it has just said it wants.
    #[must_use]
    pub const fn wanted(&self) -> Option<u32> {
        match self.heard {
            Some(Message::Want { blob, .. }) => Some(*blob),
            _ => None,
        }
    }
}

/// History of one connection so far.
#[derive(Debug, Clone)]
pub struct Log {
    /// Peer at the other end.
    pub peer: PeerId,
    /// Time at which both streams were open.
    pub began: Instant,
    /// Messages that it sent.
    pub heard: Vec<Message>,
    /// Payload bytes that went to it.
    pub sent: u64,
    /// Payload bytes that came from it.
    pub got: u64,
    /// When the first raw bytes were written.
    pub raw: Option<Instant>,
    /// When the last frame was written.
    pub last: Instant,
    /// A [`Out::Flood`] was written to its end.
    pub flooded: bool,
    /// When it was closed, by the other end or by a broken connection.
    pub ended: Option<Instant>,
}

impl Log {
    /// From the first raw bytes to the end.
    #[must_use]
    pub fn closed_after_raw(&self) -> Option<Duration> {
        Some(self.ended?.saturating_duration_since(self.raw?))
    }

    /// From the last frame to the end.
    #[must_use]
    pub fn closed_after_last(&self) -> Option<Duration> {
        Some(self.ended?.saturating_duration_since(self.last))
    }
}

type Script = dyn Fn(&Turn<'_>, Vec<Out>) -> Vec<Out> + Send + Sync;

/// State that all connections of one hostile peer share.
struct Shared {
    offerings: Vec<Offering>,
    script: Box<Script>,
    logs: Mutex<Vec<Log>>,
}

impl Shared {
    fn logs(&self) -> MutexGuard<'_, Vec<Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hostile peer in a thread of its own. It goes away with this value.
pub struct Hostile {
    addr: String,
    peer: PeerId,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Hostile {
    /// Listens on loopback and treats everybody who connects as the script says.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn listen<S>(offerings: Vec<Offering>, script: S) -> Self
    where
        S: Fn(&Turn<'_>, Vec<Out>) -> Vec<Out> + Send + Sync + 'static,
    {
        Self::start(offerings, script, None)
    }

    /// Dials somebody and treats it as the script says.
    ///
    /// # Panics
    /// When the address cannot be read.
    #[must_use]
    pub fn dial<S>(addr: &str, offerings: Vec<Offering>, script: S) -> Self
    where
        S: Fn(&Turn<'_>, Vec<Out>) -> Vec<Out> + Send + Sync + 'static,
    {
        let addr: Multiaddr = addr.parse().unwrap_or_else(|error| panic!("{addr}: {error}"));
        Self::start(offerings, script, Some(addr))
    }

    /// One that does what an honest node does.
    #[must_use]
    pub fn honest(offerings: Vec<Offering>) -> Self {
        Self::listen(offerings, |_, honest| honest)
    }

    fn start<S>(offerings: Vec<Offering>, script: S, dial: Option<Multiaddr>) -> Self
    where
        S: Fn(&Turn<'_>, Vec<Out>) -> Vec<Out> + Send + Sync + 'static,
    {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let shared = Arc::new(Shared { offerings, script: Box::new(script), logs: Mutex::default() });
        let dials = dial.is_some();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let used = Arc::clone(&shared);
        let run = async move {
            let work = async {
                // One that cannot connect has no logs: its test sees that.
                let _ = match dial {
                    Some(addr) => net::dial(&key, addr, used).await,
                    None => net::listen(&key, LOOPBACK, used, tell).await,
                };
            };
            tokio::select! {
                () = work => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::spawn(move || block_on(run));
        let addr = if dials { String::new() } else { listening(&told, peer) };
        Self { addr, peer, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns its `--peer` address.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Its peer id, as swarm prints it.
    #[must_use]
    pub fn peer(&self) -> String {
        self.peer.to_string()
    }

    /// Returns the history of every connection so far.
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        self.shared.logs().clone()
    }

    /// How often something was said by whoever connected.
    #[must_use]
    pub fn heard(&self, like: impl Fn(&Message) -> bool) -> usize {
        self.shared.logs().iter().flat_map(|log| &log.heard).filter(|message| like(message)).count()
    }

    /// Payload bytes that went out, over all connections.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.logs().iter().map(|log| log.sent).sum()
    }

    /// Whether there was a connection, and every one has ended.
    #[must_use]
    pub fn was_closed(&self) -> bool {
        let logs = self.shared.logs();
        !logs.is_empty() && logs.iter().all(|log| log.ended.is_some())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A script that panicked has failed its test already.
            let _ = thread.join();
        }
    }
}

fn listening(told: &std::sync::mpsc::Receiver<Multiaddr>, peer: PeerId) -> String {
    let addr = told.recv_timeout(Duration::from_secs(10)).expect("a hostile peer listens");
    format!("{addr}/p2p/{peer}")
}

/// Runs something on this thread, with a runtime of its own; what it spawned ends with it.
fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work);
}
