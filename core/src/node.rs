//! A running node: a handle for whoever asks, a driver on the network, a job for each request.

pub mod command;
pub mod event;
pub mod tracker;
pub mod transport;

mod actor;
mod background;
mod bans;
mod barred;
mod behaviour;
mod dht;
mod discovery;
mod eager;
mod gate;
mod gate_counts;
mod get;
mod identity;
mod jobs;
mod launch;
mod limiter;
mod members;
mod memory;
pub mod moderation;
mod notices;
mod office;
mod offices;
mod pace;
mod peers;
mod place;
mod publish;
mod punch;
mod reach;
mod rivals;
mod router;
mod seeking;
mod session;
mod sharing;
mod shown;
mod socket;
mod sources;
mod stream;
mod stream_handler;
mod teller;
mod tested;
mod tls;
mod transfers;
mod webseed;
mod why;
mod writer;
mod yamux;

#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod rivals_tests;
#[cfg(test)]
mod stream_tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::limits;
use crate::options::{Audience, Options};
use crate::store::record::{Domain, Record};
use crate::store::{DiskError, OpenError, Store};
use actor::{Ask, in_short, root_cause};
use command::Command;
use event::{Event, Limits};
use launch::{Launch, launch};
use offices::Offices;
use pace::Pace;
use router::{Mapped, Router};
use teller::Teller;

/// How long an orderly end may take before it is cut short.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process runs the node of this store.
    #[error("another swarm (pid {pid}) uses this store and does not answer: end it, or use another --home")]
    Busy {
        /// That process.
        pid: u32,
    },
    /// The node that runs for the store does not answer, or is of another version.
    #[error("{}", .0.message)]
    Refused(event::Failure),
    /// An option that cannot be.
    #[error("{0}")]
    Option(String),
    /// The store's format, or the disk.
    #[error("{0}")]
    Store(String),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The network.
    #[error("cannot {verb}: {source}")]
    Network {
        /// What was tried.
        verb: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// Whose fault it was.
    #[must_use]
    pub const fn fault(&self) -> event::Fault {
        match self {
            Self::Disk(_) => event::Fault::Disk,
            Self::Busy { .. } => event::Fault::NoAnswer,
            Self::Refused(failure) => failure.fault,
            _ => event::Fault::User,
        }
    }
}

/// What every job gets.
#[derive(Debug, Clone)]
struct Context {
    store: Store,
    net: Option<Net>,
    home: PathBuf,
    started: Instant,
    /// Who may fetch what nothing was said of, if the node's owner says.
    said: Option<Audience>,
    /// Where this job is at work; `net` is the network of that.
    domain: Domain,
    /// The network of all nodes.
    public: Option<Net>,
    offices: Arc<Offices>,
}

impl Context {
    /// Who may fetch what nothing was said of, in the network of all nodes. Once a node is of an office, that has to be said.
    fn public_default(&self) -> Audience {
        let unsaid = if self.offices.is_empty() { Audience::Lan } else { Audience::Nobody };
        match self.said {
            None => unsaid,
            Some(Audience::Office) => Audience::Nobody,
            Some(said) => said,
        }
    }

    /// This node is of an office, and nothing was said of what others may fetch.
    fn is_unsaid(&self) -> bool {
        !self.offices.is_empty() && matches!(self.said, None | Some(Audience::Office))
    }

    /// The same in an office.
    fn office_default(&self) -> Audience {
        match self.said {
            None | Some(Audience::Anyone) => Audience::Office,
            Some(said) => said,
        }
    }

    /// Who may fetch this.
    fn audience(&self, record: &Record) -> Audience {
        if record.domains.is_empty() {
            return Audience::Nobody;
        }
        let unsaid = if record.office().is_some() { self.office_default() } else { self.public_default() };
        self.store.audience(record.id).unwrap_or(unsaid)
    }

    /// Tells the network of all nodes who may fetch what nothing was said of.
    async fn say_default(&self) {
        if let Some(net) = self.public.as_ref().or(self.net.as_ref()) {
            net.ask(Ask::Default(self.public_default())).await;
        }
    }

    /// The same job, at work in an office.
    fn within(mut self, office: &offices::Office) -> Self {
        self.domain = Domain::Office(office.id);
        self.public = self.public.take().or_else(|| self.net.take());
        self.net = Some(office.net.clone());
        self
    }

    /// All networks of this node.
    fn nets(&self) -> Vec<Net> {
        let public = self.public.clone().or_else(|| self.net.clone());
        public.into_iter().chain(self.offices.all().into_iter().map(|office| office.net)).collect()
    }

    /// The same is said to all networks of this node.
    async fn ask_all(&self, ask: impl Fn() -> Ask) {
        for net in self.nets() {
            net.ask(ask()).await;
        }
    }
}

/// A job's way to the network.
#[derive(Debug, Clone)]
struct Net {
    asks: mpsc::Sender<Ask>,
    listen: watch::Receiver<Vec<Multiaddr>>,
    peer: PeerId,
    limits: watch::Receiver<Limits>,
    trackers: Arc<[String]>,
    /// Servers of the DHT that links name.
    dht: Arc<[String]>,
    /// Where others reach us, as our owner says.
    external: Arc<[Multiaddr]>,
    /// The same, by its router.
    mapped: Option<watch::Receiver<Mapped>>,
    /// And through which relays.
    relays: Arc<[Multiaddr]>,
}

/// A node that runs in this process.
#[derive(Debug)]
pub struct Node {
    caller: Caller,
    actor: Option<JoinHandle<()>>,
    router: Option<Router>,
    /// Tasks that end with the node.
    paces: Vec<AbortHandle>,
    /// Ends what looks at the store.
    stopping: Flag,
    warm_up: WarmUp,
}

/// A thread that asks for the first random number. Waited for: the cipher library aborts the process when it is asked for
/// one while the process ends.
#[derive(Debug)]
struct WarmUp(Option<std::thread::JoinHandle<bool>>);

impl WarmUp {
    fn start() -> Self {
        let fill = || rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut [0; 32]).is_ok();
        Self(std::thread::Builder::new().spawn(fill).ok())
    }
}

impl Drop for WarmUp {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// Calls a node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    context: Context,
}

impl Caller {
    /// Starts a job; its events arrive on the receiver, the final one last. Dropping the receiver cancels the job.
    pub async fn call(&self, command: Command) -> mpsc::Receiver<Event> {
        let (teller, receiver) = Teller::new();
        tokio::spawn(jobs::run(self.context.clone(), command, teller));
        receiver
    }
}

impl Node {
    /// Opens the store and starts the network (unless `offline`).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let home = options.home.clone();
        let (max_store, read_only) = (options.max_store, options.read_only);
        let opening = tokio::task::spawn_blocking(move || Store::open(&home, max_store, read_only));
        let store = opening.await.map_err(|e| StartError::Store(e.to_string()))?.map_err(|e| match e {
            OpenError::Busy { pid } => StartError::Busy { pid },
            OpenError::Disk(e) => StartError::Disk(e),
            OpenError::Version(text) => StartError::Store(text),
        })?;
        let started = Instant::now();
        let offices = Arc::new(Offices::offline(&store));
        let mut node = Self {
            caller: Caller {
                context: Context {
                    store,
                    net: None,
                    home: options.home.clone(),
                    started,
                    said: options.audience,
                    domain: Domain::Public,
                    public: None,
                    offices,
                },
            },
            actor: None,
            router: None,
            paces: Vec::new(),
            stopping: Flag::default(),
            warm_up: WarmUp(None),
        };
        if !options.offline {
            node.connect(&options).await?;
        }
        Ok(node)
    }

    async fn connect(&mut self, options: &Options) -> Result<(), StartError> {
        let key = if options.read_only {
            libp2p::identity::Keypair::generate_ed25519()
        } else {
            identity::load(&options.home)?
        };
        // The first random number of the cipher library takes tens of milliseconds: not in the first handshake's time.
        self.warm_up = WarmUp::start();
        let pace = Pace::start(options);
        self.paces = pace.tasks;
        let all = self.caller.context.store.clone();
        let store = all.within(Domain::Public);
        // Before anybody can ask.
        let options = &Options { audience: Some(self.caller.context.public_default()), ..options.clone() };
        let (told, events) = mpsc::channel(limits::SESSION_QUEUE);
        let shared = session::Shared {
            writes: writer::Writer::start(&store, &told),
            store: store.clone(),
            ways: pace.ways.clone(),
            measured: pace.measured.clone(),
            events: told,
        };
        let launched = Box::pin(launch(Launch {
            options,
            keypair: key,
            store,
            shared,
            events,
            limits: pace.now.clone(),
            office: None,
        }))
        .await?;
        self.actor = Some(launched.actor);
        self.router = launched.router;
        self.caller.context.net = Some(launched.net);
        let with = offices::With {
            options: Options { audience: self.caller.context.said, ..options.clone() },
            store: all,
            ways: pace.ways,
            measured: pace.measured,
            limits: pace.now,
        };
        self.caller.context.offices = Arc::new(Box::pin(Offices::start(with)).await);
        self.caller.context.say_default().await;
        let watch = sources::watch(self.caller.context.clone(), Arc::clone(&self.stopping));
        self.paces.push(watch);
        Ok(())
    }

    /// Starts a job; see [`Caller::call`].
    pub async fn call(&self, command: Command) -> mpsc::Receiver<Event> {
        self.caller.call(command).await
    }

    /// What calls it.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Ends in order: sessions; flush; lock.
    pub async fn stop(mut self) {
        self.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.caller.context.offices.stop().await;
        if let (Some(net), Some(actor)) = (&self.caller.context.net, self.actor.take()) {
            let _ = net.asks.send(Ask::Quit).await;
            let _ = tokio::time::timeout(STOP_WITHIN, actor).await;
        }
        if let Some(router) = self.router.take() {
            router.stop().await;
        }
        self.paces.iter().for_each(AbortHandle::abort);
        let store = self.caller.context.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

impl Net {
    async fn ask(&self, ask: Ask) {
        // The actor is gone only while the node stops; whoever waits for an answer then sees that.
        let _ = self.asks.send(ask).await;
    }

    async fn question<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.ask(ask(reply)).await;
        answer.await.ok()
    }
}

/// A failure of a job, as its last event.
fn failure(fault: event::Fault, message: impl Into<String>) -> event::Failure {
    event::Failure { fault, message: message.into(), hint: None }
}

/// Runs a blocking piece of work of the store.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, event::Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| failure(event::Fault::Disk, format!("a task of the store ended: {e}")))
}

/// Shares a value with a blocking piece of work.
type Flag = Arc<std::sync::atomic::AtomicBool>;
