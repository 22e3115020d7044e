//! A running tracker: it takes announcements in, sends answers, and counts both.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use swarm_core::discovery::tracker::listener::{AnnounceCall, Counts, DeskOptions, TrackerListener};
use swarm_core::limits;
use swarm_core::net::address::{is_public, subnet};
use swarm_core::net::error::StartError;
use swarm_core::store::DiskError;
use swarm_core::wire::PeerAddrs;
use swarm_core::wire::tracker::{Announce, Found, TrackerAnswer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http;
use crate::reach::{self, Reach};
use crate::registry::{At, Bounds, Registry, Shares};

/// The default port of a tracker, for TCP and QUIC.
pub const PORT: u16 = 4770;
/// The default port of a tracker's page.
pub const HTTP_PORT: u16 = 4771;

/// Seconds between two announcements of a node: the least, used while there is little to do, and the most.
const INTERVAL: (u32, u32) = (60, 1800);
/// Nodes for each second of the interval: the connection of an announcement costs about a millisecond.
const NODES_A_SECOND: usize = 500;
/// Seconds that a node should leave between announcements with news: the least, used while there is little to
/// do, and the most.
const PAUSE: (u32, u32) = (5, 60);
/// Announcements per second beyond which nodes are asked to leave more time.
const BUSY: u64 = 5000;
/// Halves of a node's interval after which the node is forgotten.
const FORGOTTEN_AFTER: u32 = 5;
/// The interval at which the tracker forgets nodes and counts its work.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Seconds over which announcements are counted.
const COUNTED: usize = 10;

/// The settings of a tracker.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the tracker's key; created (0700) when missing.
    pub home: PathBuf,
    /// Multiaddrs to listen on; if empty, all interfaces, TCP and QUIC, port [`PORT`].
    pub listen: Vec<String>,
    /// The address of the tracker's page; `None` for no page.
    pub http: Option<SocketAddr>,
    /// The most connections at once.
    pub connections: usize,
    /// The most connections at once from one address, which may be that of a whole office. Thirty times as
    /// many nodes may come from it.
    pub per_address: usize,
    /// The most nodes. There may be four times as many members of swarms.
    pub nodes: usize,
    /// The least number of seconds between two announcements of a node; `None` for 60.
    pub interval: Option<u32>,
    /// Announcements per second that one connection is answered in the long run.
    pub rate: u32,
    /// Multiaddrs at which the tracker is reached, if it cannot know them because its router forwards them.
    pub external: Vec<String>,
    /// True if content may pass through the tracker's relay.
    pub relay_content: bool,
}

impl Options {
    /// Returns the settings of a tracker in `home` with every default.
    #[must_use]
    pub const fn new(home: PathBuf) -> Self {
        Self {
            home,
            listen: Vec::new(),
            http: None,
            connections: 8192,
            per_address: 1024,
            nodes: 1_000_000,
            interval: None,
            rate: 10,
            external: Vec::new(),
            relay_content: false,
        }
    }
}

/// The counters of a tracker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Seconds since the tracker's start.
    pub uptime: u64,
    /// Nodes that the tracker knows.
    pub nodes: u64,
    /// Swarms that the tracker knows.
    pub swarms: u64,
    /// Members, over all swarms.
    pub members: u64,
    /// Open connections.
    pub connections: u64,
    /// Announcements since the tracker's start.
    pub announcements: u64,
    /// Announcements per second, lately.
    pub rate: u64,
    /// Announcements that were refused because the tracker is full or the node takes part in too many swarms.
    pub turned_away: u64,
    /// Invalid messages.
    pub bad: u64,
    /// Refused connections by reason.
    pub refused: Vec<(String, u64)>,
    /// Seconds between two announcements of a node.
    pub interval: u64,
    /// The time of the count, which is repeated about once a second.
    pub at: Option<Instant>,
}

/// A running tracker. It ends when this value is dropped.
#[derive(Debug)]
pub struct Server {
    listen: watch::Receiver<Vec<String>>,
    /// The address of the tracker's page, if it has one.
    pub http: Option<SocketAddr>,
    _tasks: JoinSet<()>,
    /// The lock on the tracker's folder, which is held as long as it runs.
    _lock: File,
}

impl Server {
    /// Starts a tracker, which listens and answers from now on.
    ///
    /// # Errors
    /// [`StartError`] for an address that is invalid or taken, and for a folder or key that cannot be used.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        make_home(&options.home)?;
        let lock = lock(&options.home)?;
        let mut listen = options.listen.clone();
        if listen.is_empty() {
            listen = everywhere();
        }
        let listener = TrackerListener::open(
            &options.home,
            &DeskOptions {
                listen,
                connections: options.connections,
                per_address: options.per_address,
                rate: options.rate,
                external: options.external.clone(),
                relay_content: options.relay_content,
            },
        )?;
        let (numbers, shown) = watch::channel(Counters::default());
        let mut tasks = JoinSet::new();
        let mut at = None;
        if let Some(address) = options.http {
            let failed =
                |source| StartError::Network { verb: format!("listen on {address} for HTTP"), source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            at = listener.local_addr().ok();
            tasks.spawn(http::serve(listener, shown));
        }
        let mut addresses = listener.listen.clone();
        tasks.spawn(Tracker::new(options, numbers, Arc::clone(&listener.counts)).run(listener));
        let first = addresses.wait_for(|all| !all.is_empty());
        let _ = tokio::time::timeout(Duration::from_secs(2), first).await;
        Ok(Self { listen: addresses, http: at, _tasks: tasks, _lock: lock })
    }

    /// Returns the addresses at which the tracker is reached, with `/p2p/..`, the likeliest first.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let mut all = self.listen.borrow().clone();
        let rank = |addr: &String| {
            let here = addr.starts_with("/ip4/127.") || addr.starts_with("/ip6/::1/");
            (here, addr.starts_with("/ip6/"), addr.contains("/udp/"), addr.clone())
        };
        all.sort_by_key(rank);
        all
    }
}

/// Returns the addresses of all interfaces, TCP and QUIC, with IPv6 if there is any.
fn everywhere() -> Vec<String> {
    let v6 = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let mut all = vec![format!("/ip4/0.0.0.0/tcp/{PORT}"), format!("/ip4/0.0.0.0/udp/{PORT}/quic-v1")];
    if v6 {
        all.extend([format!("/ip6/::/tcp/{PORT}"), format!("/ip6/::/udp/{PORT}/quic-v1")]);
    }
    all
}

/// Locks the folder. Two trackers in one folder would be the same one for everybody, and each would know
/// half.
fn lock(home: &Path) -> Result<File, StartError> {
    let path = home.join("lock");
    let failed = |e| StartError::Disk(DiskError::new("create", &path, e));
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(e)) => Err(StartError::Disk(DiskError::new("lock", &path, e))),
        Err(TryLockError::WouldBlock) => {
            let home = home.display();
            Err(StartError::Option(format!("a tracker is already running in {home}: use another --home")))
        }
    }
}

fn make_home(home: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.map_err(|e| StartError::Disk(DiskError::new("create", home, e)))
}

/// The peer id of an Ed25519 key, by which the registry names a node. Other keys have longer ids, and no
/// swarm node has such a key.
type Name = [u8; 38];

/// The registry and its counters.
struct Tracker {
    registry: Registry<Name>,
    started: Instant,
    /// A random state: without it, sites could be made to fall together.
    hash: RandomState,
    least_interval: u32,
    most_nodes: usize,
    announcements: u64,
    turned_away: u64,
    /// The number of announcements at each of the last seconds.
    seconds: VecDeque<u64>,
    numbers: watch::Sender<Counters>,
    counts: Arc<Counts>,
}

impl Tracker {
    fn new(options: &Options, numbers: watch::Sender<Counters>, counts: Arc<Counts>) -> Self {
        let bounds = Bounds {
            nodes: options.nodes,
            members: (options.nodes * 4).max(100_000),
            per_node: 100_000,
            per_origin: u32::try_from(options.per_address * 30).unwrap_or(u32::MAX),
            members_per_origin: u32::try_from((options.nodes / 2).max(20_000)).unwrap_or(u32::MAX),
        };
        let hash = RandomState::new();
        Self {
            registry: Registry::new(bounds, hash.hash_one(0)),
            started: Instant::now(),
            hash,
            least_interval: options.interval.unwrap_or(INTERVAL.0),
            most_nodes: options.nodes,
            announcements: 0,
            turned_away: 0,
            seconds: VecDeque::new(),
            numbers,
            counts,
        }
    }

    async fn run(mut self, mut listener: TrackerListener) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                call = listener.calls.recv() => match call {
                    Some(call) => self.answer(call),
                    // Nobody accepts connections any more, and that must be noticed.
                    None => return,
                },
                _ = look.tick() => {
                    self.registry.expire(self.started.elapsed());
                    self.count(listener.refused.borrow().clone());
                }
            }
        }
    }

    fn answer(&mut self, call: AnnounceCall) {
        self.announcements += 1;
        let mut answer = TrackerAnswer {
            interval: self.interval(),
            pause: self.pause(),
            seen: call.seen,
            ..TrackerAnswer::default()
        };
        match <Name>::try_from(call.node.as_slice()) {
            Ok(name) if call.announce.leave => self.registry.forget(&name),
            Ok(name) => self.take_in(&name, call.from, &call.announce, &mut answer),
            Err(_) => answer.refused = Some("the peer id is not that of a swarm node".to_owned()),
        }
        self.turned_away += u64::from(answer.refused.is_some());
        // A node that has gone does not wait for the answer.
        let _ = call.reply.send(answer);
    }

    fn take_in(&mut self, name: &Name, from: IpAddr, announce: &Announce, answer: &mut TrackerAnswer) {
        let expires =
            self.started.elapsed() + Duration::from_secs(answer.interval.into()) * FORGOTTEN_AFTER / 2;
        let at =
            At { site: self.site(announce.site.as_deref(), from), origin: self.hash.hash_one(network(from)) };
        let reach = Reach::new(from, &announce.addrs).encode();
        if let Err(refused) = self.registry.heard(name, at, &reach, expires) {
            answer.refused = Some(refused.to_string());
            return;
        }
        let known = self.registry.version(name);
        answer.version = known;
        if announce.base == 0 || announce.base == known {
            let news = announce.base != announce.version;
            let changes = (&announce.add[..], &announce.drop[..]);
            answer.version = announce.version;
            if news
                && let Err(refused) =
                    self.registry.change(name, announce.base == 0, changes, announce.version)
            {
                answer.refused = Some(refused.to_string());
            }
        }
        for key in &announce.ask {
            let (members, whole) = self.registry.swarm(key);
            let named = self.registry.sample(name, key, Shares::default());
            let peer = |named: crate::registry::Named<'_, Name>| PeerAddrs {
                peer: named.name.to_vec(),
                addrs: reach::decode(named.reach),
            };
            let peers = named.into_iter().take(limits::ANSWER_PEERS).map(peer).collect();
            answer.found.push(Found { key: *key, members: members as u64, whole: whole as u64, peers });
        }
    }

    /// Returns the site of a node: by its name, else by the internet address that it shares with others, else
    /// by its subnet.
    fn site(&self, name: Option<&str>, from: IpAddr) -> u64 {
        match name {
            Some(name) => self.hash.hash_one((0, name)),
            None => self.hash.hash_one((1, if is_public(from) { network(from) } else { subnet(from) })),
        }
    }

    fn interval(&self) -> u32 {
        let by_load = u32::try_from(self.registry.nodes() / NODES_A_SECOND).unwrap_or(u32::MAX);
        by_load.clamp(self.least_interval, INTERVAL.1.max(self.least_interval))
    }

    fn pause(&self) -> u32 {
        let by_load = u64::from(PAUSE.0) * (self.rate() / BUSY).max(1);
        u32::try_from(by_load).unwrap_or(u32::MAX).clamp(PAUSE.0, PAUSE.1)
    }

    /// Returns the announcements per second, lately.
    fn rate(&self) -> u64 {
        let since = self.seconds.front().copied().unwrap_or(0);
        (self.announcements - since) / self.seconds.len().max(1) as u64
    }

    fn count(&mut self, refused: Vec<(String, u64)>) {
        if self.seconds.len() == COUNTED {
            self.seconds.pop_front();
        }
        self.seconds.push_back(self.announcements);
        if self.registry.nodes() >= self.most_nodes {
            tracing::warn!(nodes = self.most_nodes, "full: no further node is taken in");
        }
        self.numbers.send_replace(Counters {
            uptime: self.started.elapsed().as_secs(),
            nodes: self.registry.nodes() as u64,
            swarms: self.registry.swarms() as u64,
            members: self.registry.members() as u64,
            connections: self.counts.connections.load(Ordering::Relaxed),
            announcements: self.announcements,
            rate: self.rate(),
            turned_away: self.turned_away,
            bad: self.counts.bad.load(Ordering::Relaxed),
            refused,
            interval: self.interval().into(),
            at: Some(Instant::now()),
        });
    }
}

/// Returns the network that one customer of a provider has: an address, or a /64.
fn network(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { ip } else { subnet(ip) }
}
