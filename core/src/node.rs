//! A running node: a handle for callers, an actor for each network, and a job for each command.

pub(crate) mod actor;
mod calls;
mod context;
mod detached;
mod jobs;
mod launch;
mod network;
mod networks;
mod runtime;
mod sources;
mod teller;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};

use crate::api::command::Command;
use crate::api::event::{Event, Failure, Fault};
use crate::discovery::port_mapping::PortMapping;
use crate::limits;
pub use crate::net::error::StartError;
use crate::net::shaping::Pace;
use crate::options::Options;
use crate::store::record::Domain;
use crate::store::{OpenError, Store};
use crate::transfer::session::SessionContext;
use crate::transfer::writer::Writer;
use actor::NetworkCommand;
use context::Context;
use detached::Detached;
use launch::{Launch, launch};
use network::Flag;
use networks::Networks;
pub use runtime::{runtime, runtime_for};
use teller::Teller;

/// Time after which an orderly stop is cut short.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A node that runs in this process.
///
/// [`Node::stop`] ends the node in order. A node that is only dropped leaves its networks running.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use swarm_core::{Node, Options};
///
/// let folder = tempfile::tempdir()?;
/// swarm_core::runtime()?.block_on(async {
///     let options = Options::new(folder.path()).listen("/ip4/127.0.0.1/tcp/0").without_mdns();
///     let node = Node::start(options).await?;
///     let status = node.status().await?;
///     assert!(status.running && status.blobs == 0);
///     println!("{} listens on {:?}", status.peer, status.listen);
///     node.stop().await;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Node {
    caller: Caller,
    actor: Option<JoinHandle<()>>,
    router: Option<PortMapping>,
    /// Tasks that end with the node.
    paces: Vec<AbortHandle>,
    /// Set to end the task that looks at the store.
    stopping: Flag,
    warm_up: WarmUp,
}

/// A thread that draws the first random number. It is joined, because the cipher library aborts the process
/// when it draws one while the process ends.
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

/// Handle that sends commands to a node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    context: Context,
}

impl Caller {
    /// Starts a job; its events arrive on the receiver, the final one last. Dropping the receiver cancels the
    /// job.
    pub async fn call(&self, command: Command) -> mpsc::Receiver<Event> {
        self.start(command)
    }

    /// Starts a job; see [`Caller::call`].
    fn start(&self, command: Command) -> mpsc::Receiver<Event> {
        let (teller, receiver) = Teller::new();
        tokio::spawn(jobs::run(self.context.clone(), command, teller));
        receiver
    }
}

impl Node {
    /// Opens the store and starts the networks (unless the node is `offline`).
    ///
    /// # Errors
    /// [`StartError`]: another process has the store, an option is wrong, or the disk or the network failed.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let home = options.home.clone();
        let (max_store, read_only) = (options.max_store, options.read_only);
        let opening = tokio::task::spawn_blocking(move || Store::open(&home, max_store, read_only));
        let store = opening.await.map_err(|e| StartError::Store(e.to_string()))?.map_err(|e| match e {
            OpenError::Busy { pid } => StartError::Busy { pid },
            OpenError::Disk(e) => StartError::Disk(e),
            OpenError::Version(text) => StartError::Store(text),
            OpenError::Meddlers(why, hint) => StartError::Refused(Failure::new(Fault::User, why).hint(hint)),
        })?;
        let started = Instant::now();
        // The process of a command ends with it, and leaves detached downloads to a daemon.
        let goes_on = options.daemon && !options.offline && !read_only;
        let offices = Arc::new(Networks::offline(&store));
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
                    detached: Arc::new(Detached::new(goes_on)),
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
            crate::net::Keypair::generate_ed25519()
        } else {
            crate::net::identity::load(&options.home)?
        };
        // The first random number of the cipher library takes tens of milliseconds, which the first handshake
        // would have to wait for.
        self.warm_up = WarmUp::start();
        let pace = Pace::start(options);
        self.paces = pace.tasks;
        let all = self.caller.context.store.clone();
        let store = all.within(Domain::Public);
        // Set before a peer can ask.
        let options = &Options { audience: Some(self.caller.context.public_default()), ..options.clone() };
        let (told, events) = mpsc::channel(limits::SESSION_QUEUE);
        let shared = SessionContext {
            writes: Writer::start(&store, &told),
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
        let with = networks::With {
            options: Options { audience: self.caller.context.said, ..options.clone() },
            store: all,
            ways: pace.ways,
            measured: pace.measured,
            limits: pace.now,
        };
        self.caller.context.offices = Arc::new(Box::pin(Networks::start(with)).await);
        self.caller.context.say_default().await;
        jobs::detached::go_on_with_all(&self.caller.context).await;
        let watch = sources::watch(self.caller.context.clone(), Arc::clone(&self.stopping));
        self.paces.push(watch);
        Ok(())
    }

    /// Starts a job; see [`Caller::call`].
    pub async fn call(&self, command: Command) -> mpsc::Receiver<Event> {
        self.caller.call(command).await
    }

    /// Returns a handle that sends commands to this node.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Ends the node in order: ends its sessions, flushes the store and gives up its lock.
    pub async fn stop(mut self) {
        self.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.caller.context.detached.end();
        self.caller.context.offices.stop().await;
        if let (Some(net), Some(actor)) = (&self.caller.context.net, self.actor.take()) {
            let _ = net.asks.send(NetworkCommand::Quit).await;
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
