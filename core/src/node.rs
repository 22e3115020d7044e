//! A running node: a handle for whoever asks, a driver on the network, a job for each request.

pub mod command;
pub mod event;
pub mod tracker;
pub mod transport;

mod actor;
mod background;
mod bans;
mod behaviour;
mod dht;
mod discovery;
mod gate;
mod gate_counts;
mod get;
mod identity;
mod jobs;
mod limiter;
mod memory;
pub mod moderation;
mod pace;
mod peers;
mod publish;
mod punch;
mod reach;
mod router;
mod seeking;
mod session;
mod sharing;
mod shown;
mod socket;
mod stream;
mod stream_handler;
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
mod stream_tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::transport::TransportError;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::limits;
use crate::options::{Audience, Options};
use crate::store::record::State;
use crate::store::{DiskError, OpenError, Store};
use actor::{Actor, Ask, Parts, in_short, root_cause};
use behaviour::Behaviour;
use command::Command;
use dht::Dht;
use event::{Event, Limits};
use pace::Pace;
use reach::Reach;
use router::{Mapped, Router};
use tracker::Trackers;

/// How long an orderly end may take before it is cut short.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long a start waits for the first address to listen on.
const LISTEN_WITHIN: Duration = Duration::from_secs(2);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process runs the node of this store.
    #[error("another swarm (pid {pid}) uses this store and does not answer: end it, or use another --home")]
    Busy {
        /// That process.
        pid: u32,
    },
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
    /// Who may fetch what nothing was said of.
    audience: Audience,
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
        let (events, receiver) = mpsc::channel(limits::EVENT_QUEUE);
        tokio::spawn(jobs::run(self.context.clone(), command, events));
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
        let mut node = Self {
            caller: Caller {
                context: Context {
                    store,
                    net: None,
                    home: options.home.clone(),
                    started,
                    audience: options.audience,
                },
            },
            actor: None,
            router: None,
            paces: Vec::new(),
            warm_up: WarmUp(None),
        };
        if !options.offline {
            node.connect(&options).await?;
        }
        Ok(node)
    }

    async fn connect(&mut self, options: &Options) -> Result<(), StartError> {
        let Addresses { given, listen, trackers, dht, external, relays } = Addresses::of(options)?;
        let key = if options.read_only {
            libp2p::identity::Keypair::generate_ed25519()
        } else {
            identity::load(&options.home)?
        };
        // The first random number of the cipher library takes tens of milliseconds: not in the first handshake's time.
        self.warm_up = WarmUp::start();
        let site = options.site.as_deref().map(site).transpose()?;
        let mut network = network(&key, options)?;
        let peer = *network.local_peer_id();
        let anywhere = listen_on(&mut network, &listen, &self.caller.context.store)?;
        let pace = Pace::start(options);
        self.paces = pace.tasks;
        let store = self.caller.context.store.clone();
        let (asks, asked) = mpsc::channel(limits::COMMAND_QUEUE);
        let (told, events) = mpsc::channel(limits::SESSION_QUEUE);
        let (addrs, mut listening) = watch::channel(Vec::new());
        let mut trackers = Trackers::new(trackers, key.clone(), site.clone());
        let mut dht = Dht::new(key, dht, &listen, options, &store);
        let _ = tokio::time::timeout(LISTEN_WITHIN, dht.ready()).await;
        if options.resident {
            for record in store.records().iter().filter(|record| record.state == State::Complete) {
                let audience = record.audience.unwrap_or(options.audience);
                if audience != Audience::Nobody {
                    trackers.holds(record.id);
                }
                if audience == Audience::Anyone {
                    dht.holds(record.id, false);
                }
            }
        }
        self.router = options.upnp.then(|| Router::start(listening.clone()));
        let mapped = self.router.as_ref().map(Router::mapped);
        let actor = Actor::new(Parts {
            network,
            store: store.clone(),
            asks: asked,
            events,
            shared: session::Shared {
                writes: writer::Writer::start(&store, &told),
                store,
                ways: pace.ways,
                measured: pace.measured,
                events: told,
            },
            listen: addrs,
            given,
            anywhere,
            mapped: mapped.clone(),
            reach: Reach::new(external.clone(), relays.clone(), options),
            trackers,
            dht,
            private_webseeds: options.private_webseeds,
            audience: options.audience,
            mdns: options.mdns,
            site,
            limit_lan: options.limit_lan,
            seed: seed(&peer),
        });
        self.actor = Some(tokio::spawn(actor.run()));
        let _ = tokio::time::timeout(LISTEN_WITHIN, listening.wait_for(|all| !all.is_empty())).await;
        self.caller.context.net = Some(Net {
            asks,
            listen: listening,
            peer,
            limits: pace.now,
            trackers: options.trackers.clone().into(),
            dht: if options.dht { options.dht_servers.clone().into() } else { Arc::default() },
            external: external.into(),
            mapped,
            relays: relays.into(),
        });
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

/// Our transport and behaviours as libp2p's swarm, driven by the node's actor.
fn network(
    key: &libp2p::identity::Keypair,
    options: &Options,
) -> Result<libp2p::Swarm<Behaviour>, StartError> {
    let failed = |verb: &str| {
        let verb = verb.to_owned();
        move |source| StartError::Network { verb, source }
    };
    let (relays, relayed) = libp2p::relay::client::new(key.public().to_peer_id());
    let transport = transport::build_with_relays(key, options.background, relays);
    let transport = transport.map_err(failed("set up encryption"))?;
    let behaviour = Behaviour::new(key, options, relayed).map_err(failed("watch the network interfaces"))?;
    Ok(transport::network(key, transport, behaviour, Duration::ZERO))
}

/// Listens there, or everywhere. Returns what is listened on with any port.
fn listen_on(
    network: &mut libp2p::Swarm<Behaviour>,
    listen: &[Multiaddr],
    store: &Store,
) -> Result<Vec<Multiaddr>, StartError> {
    if listen.is_empty() {
        return listen_everywhere(network, store);
    }
    for addr in listen {
        let failed = |e: TransportError<io::Error>| StartError::Network {
            verb: format!("listen on {addr}"),
            source: io::Error::other(root_cause(&e)),
        };
        network.listen_on(addr.clone()).map_err(failed)?;
    }
    Ok(Vec::new())
}

/// All interfaces, TCP and QUIC, the ports of the last run or any; IPv6 where there is any. Returns what is listened on, with
/// any port.
fn listen_everywhere(
    network: &mut libp2p::Swarm<Behaviour>,
    store: &Store,
) -> Result<Vec<Multiaddr>, StartError> {
    let mut heard = Vec::new();
    for addr in ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"]
    {
        let addr: Multiaddr = addr.parse().map_err(|_| StartError::Option(addr.to_owned()))?;
        let last = memory::with_last_port(store, &addr);
        match last.into_iter().chain([addr.clone()]).find_map(|addr| network.listen_on(addr).ok()) {
            Some(_) => heard.push(addr),
            None => tracing::debug!(%addr, "not listening"),
        }
    }
    if !heard.is_empty() {
        return Ok(heard);
    }
    let source = io::Error::other("no address could be listened on");
    Err(StartError::Network { verb: "listen".to_owned(), source })
}

/// Addresses of the options, read.
struct Addresses {
    given: Vec<Multiaddr>,
    listen: Vec<Multiaddr>,
    trackers: Vec<Multiaddr>,
    dht: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    relays: Vec<Multiaddr>,
}

impl Addresses {
    fn of(options: &Options) -> Result<Self, StartError> {
        let given = parse(&options.peers, "--peer")?;
        let listen = parse(&options.listen, "--listen")?;
        let trackers = parse(&options.trackers, "--tracker")?;
        let dht = parse(&options.dht_servers, "--dht")?;
        let external = parse(&options.external, "--external")?;
        let relays = parse(&options.relays, "--relay")?;
        let all = [
            (&given, "--peer"),
            (&trackers, "--tracker"),
            (&dht, "--dht"),
            (&external, "--external"),
            (&relays, "--relay"),
        ];
        for (addrs, flag) in all {
            // Only trackers have names.
            let known = |addr: &Multiaddr| discovery::endpoint(&discovery::split_peer(addr).0).is_some();
            let named = |addr: &Multiaddr| flag == "--tracker" && tracker::conn::is_endpoint(addr);
            let odd = |addr: &&Multiaddr| !known(addr) && !named(addr);
            if let Some(odd) = addrs.iter().find(odd) {
                return Err(StartError::Option(format!(
                    "{flag} {odd} leads nowhere that swarm knows how to reach"
                )));
            }
        }
        if let Some(nobody) = relays.iter().find(|addr| discovery::split_peer(addr).1.is_none()) {
            return Err(StartError::Option(format!(
                "--relay {nobody} does not end with /p2p/ and who it is"
            )));
        }
        if trackers.len() > limits::TRACKERS {
            return Err(StartError::Option(format!("more than {} trackers", limits::TRACKERS)));
        }
        if dht.len() > limits::DHT_NODES {
            return Err(StartError::Option(format!("more than {} servers of the DHT", limits::DHT_NODES)));
        }
        Ok(Self { given, listen, trackers, dht, external, relays })
    }
}

fn parse(texts: &[String], flag: &str) -> Result<Vec<Multiaddr>, StartError> {
    let read = |text: &String| {
        let example = "/ip4/192.168.1.20/tcp/4001";
        let shown = crate::content::path::escape(text);
        text.parse().map_err(|_| {
            StartError::Option(format!("{flag} {shown} is not a multiaddr (one looks like {example})"))
        })
    };
    texts.iter().map(read).collect()
}

/// A name for a site that others can show.
fn site(name: &str) -> Result<String, StartError> {
    let fits = !name.is_empty() && name.len() <= limits::SITE_BYTES && !name.chars().any(char::is_control);
    let shown = crate::content::path::escape(name);
    let most = limits::SITE_BYTES;
    fits.then(|| name.to_owned()).ok_or_else(|| {
        StartError::Option(format!(
            "--site {shown} is not a name of 1 to {most} bytes without control characters"
        ))
    })
}

/// Tie-breaks differ from node to node and from start to start.
fn seed(peer: &PeerId) -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    let hash = blake3::Hasher::new().update(&peer.to_bytes()).update(&now.to_le_bytes()).finalize();
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or([0; 8]))
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
