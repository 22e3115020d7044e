//! The task that takes part in the DHT: a network of its own beside that of the sessions, with its own connections and
//! limits, so that neither ever takes the other's places. It does what it is told, and tells what came of it.

mod servers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::{self, GetProvidersOk, InboundRequest, ProgressStep, QueryId, QueryResult, QueryStats};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, identify};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::plan::{Sought, Task};
use super::records::{Origin, Records};
use super::routing::{PROTOCOL, Routing, mark};
use crate::limits;
use crate::node::behaviour::identify as show;
use crate::node::discovery::{ip_of, split_peer};
use crate::node::event::Class;
use crate::node::gate::{Gate, GateLimits};
use crate::node::tested::Tested;
use crate::node::{memory, transport};
use crate::wire::tracker::Key;

/// The port of a node of the DHT, where it is free.
const PORT: u16 = 4772;
/// The routing table is refreshed this often by those who stay.
const REFRESH: Duration = Duration::from_secs(300);
/// Who was given without an id is called again after this, while nobody is known.
const CALL_AGAIN: Duration = Duration::from_secs(15);
/// A connection is kept for so long after it was used last.
const IDLE: Duration = Duration::from_secs(20);
/// How things are is told this often at most.
const SHOW: Duration = Duration::from_millis(250);
/// What takes its time is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// What the task is told.
#[derive(Debug)]
pub(super) enum Order {
    /// A server is there, as somebody says.
    Know(Multiaddr, Says),
    /// To be done now.
    Do(Task),
    /// Where our sessions are reached: all of it.
    Addresses(Vec<Multiaddr>),
}

/// Who says that a server is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Our owner.
    Owner,
    /// An earlier run, which reached it.
    Memory,
    /// A peer or a link: it is called before others are sent there.
    Other,
}

/// What it tells.
#[derive(Debug)]
pub(in crate::node) enum News {
    /// Somebody is said to have this, and to be reached there. Those of one answer have one number.
    Found { answer: u64, key: Key, peer: PeerId, addrs: Vec<Multiaddr> },
    /// A search has ended.
    Sought(Key, Sought),
    /// We have said to so many servers that we have this.
    Provided(Key, u32),
    /// How things are.
    State(State),
}

/// How things are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::node) struct State {
    /// Servers in the routing table.
    pub(super) servers: usize,
    /// Those that were reached, by whole address.
    pub(super) reached: Vec<Multiaddr>,
    /// Where we are a server ourselves, by whole address.
    pub(super) serves: Vec<Multiaddr>,
    /// How far away the farthest server is that was reached, or else is given.
    pub(super) widest: Option<Class>,
    /// What others told us.
    pub(super) records: usize,
    /// Connections that were refused, by reason.
    pub(super) refused: Vec<(String, u64)>,
}

/// How a node takes part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// It stays, and may become a server when it can be reached.
    pub(super) resident: bool,
    /// It is a server at once.
    pub(super) server: bool,
    /// Where it listens.
    pub(super) at: Vec<IpAddr>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    gate: Gate,
    routing: Routing,
    identify: identify::Behaviour,
    autonat: Tested,
    autonat_server: autonat::v2::server::Behaviour,
}

enum Query {
    /// Who was named, and where.
    Seek(Key, BTreeMap<PeerId, Vec<Multiaddr>>),
    /// Since when, until it goes on with whoever was found.
    Provide(Key, Option<Instant>),
}

/// A connection.
struct Met {
    peer: PeerId,
    addr: Multiaddr,
    dialled: bool,
}

/// A call of somebody who says that it is a server.
struct Check {
    peer: PeerId,
    origin: Origin,
    since: Instant,
}

/// See the module's text.
pub(super) struct Member {
    network: libp2p::Swarm<Behaviour>,
    part: Part,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<News>,
    untold: Vec<News>,
    queries: HashMap<QueryId, Query>,
    met: HashMap<ConnectionId, Met>,
    /// Who is connected, from where.
    from: HashMap<PeerId, IpAddr>,
    /// Whom peers and links name, and how often they were called.
    said: VecDeque<(Multiaddr, u32)>,
    /// Addresses without an id.
    nameless: VecDeque<Multiaddr>,
    reached: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
    checks: HashMap<ConnectionId, Check>,
    /// Answers to searches so far.
    answers: u64,
    /// When a server was heard of last.
    answered: Option<Instant>,
    state: State,
    /// It may be otherwise, and when it was told last.
    dirty: bool,
    shown: Instant,
}

impl Member {
    /// Sets everything up, and listens where others may come.
    pub(super) fn new(
        key: &Keypair,
        part: Part,
        orders: mpsc::Receiver<Order>,
        news: mpsc::Sender<News>,
    ) -> std::io::Result<Self> {
        let local = key.public().to_peer_id();
        let kademlia = kad::Behaviour::with_config(local, Records::new(local, limits::DHT_RECORDS), config());
        let behaviour = Behaviour {
            gate: Gate::new(GateLimits { per_peer: 4, ..GateLimits::default() }).guarded(),
            routing: Routing::new(kademlia),
            identify: identify::Behaviour::new(show(key)),
            autonat: Tested::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
        };
        let transport = transport::build(key, false)?;
        let network = transport::network(key, transport, behaviour, IDLE, Version::V1);
        let mut new = Self {
            network,
            part,
            orders,
            news,
            untold: Vec::new(),
            queries: HashMap::new(),
            met: HashMap::new(),
            from: HashMap::new(),
            said: VecDeque::new(),
            nameless: VecDeque::new(),
            reached: Vec::new(),
            told: Vec::new(),
            checks: HashMap::new(),
            answers: 0,
            answered: None,
            state: State::default(),
            dirty: true,
            shown: Instant::now(),
        };
        if new.part.server || new.part.resident {
            new.listen();
        }
        if new.part.server {
            new.serve();
        }
        Ok(new)
    }

    fn listen(&mut self) {
        let both = |ip: IpAddr, port| {
            let ip = Multiaddr::from(ip);
            [ip.clone().with(Protocol::Tcp(port)), ip.with(Protocol::Udp(port)).with(Protocol::QuicV1)]
        };
        let all = |port| self.part.at.iter().flat_map(move |ip| both(*ip, port));
        let port = if all(PORT).any(|addr| memory::is_taken(&addr)) { 0 } else { PORT };
        for addr in all(port).collect::<Vec<Multiaddr>>() {
            if let Err(error) = self.network.listen_on(addr) {
                tracing::debug!(%error, "the DHT is not listened for there");
            }
        }
    }

    fn serve(&mut self) {
        self.network.behaviour_mut().routing.kad.set_mode(Some(kad::Mode::Server));
        self.refresh();
    }

    fn serves(&self) -> bool {
        self.network.behaviour().routing.kad.mode() == kad::Mode::Server
    }

    /// Runs until nobody gives orders any longer.
    pub(super) async fn run(mut self) {
        let mut refresh = tokio::time::interval(REFRESH);
        let mut call = tokio::time::interval(CALL_AGAIN);
        let mut look = tokio::time::interval(LOOK);
        // What was missed while nobody looked is not made up for.
        for timer in [&mut refresh, &mut call, &mut look] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let mut heard = false;
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                event = self.network.select_next_some() => {
                    self.event(event);
                    heard = true;
                }
                _ = refresh.tick() => if self.part.resident { self.refresh() },
                _ = call.tick() => self.call(),
                _ = look.tick(), if self.is_busy() => self.look(Instant::now()),
                () = tokio::time::sleep_until((self.shown + SHOW).into()), if self.dirty => self.show(),
            }
            self.dirty |= heard;
            if self.state.servers == 0 || self.shown.elapsed() >= SHOW {
                self.show();
            }
            for news in std::mem::take(&mut self.untold) {
                // Nobody listens any longer only when the node stops.
                let _ = self.news.send(news).await;
            }
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Know(addr, says) => {
                self.know(&addr, says);
                self.widen();
            }
            Order::Do(Task::Seek(key)) => {
                let id = self.network.behaviour_mut().routing.kad.get_providers(key.to_vec().into());
                self.queries.insert(id, Query::Seek(key, BTreeMap::new()));
            }
            Order::Do(Task::Provide(key)) => {
                // Kademlia keeps the last addresses of all that it hears of.
                self.told.iter().for_each(|addr| self.network.add_external_address(addr.clone()));
                match self.network.behaviour_mut().routing.kad.start_providing(key.to_vec().into()) {
                    Ok(id) => drop(self.queries.insert(id, Query::Provide(key, Some(Instant::now())))),
                    Err(_) => self.tell(News::Provided(key, 0)),
                }
            }
            Order::Do(Task::Withdraw(key)) => {
                self.network.behaviour_mut().routing.kad.stop_providing(&key.to_vec().into());
            }
            Order::Addresses(addrs) => {
                let new: Vec<Multiaddr> = addrs.iter().map(mark).collect();
                for gone in self.told.iter().filter(|addr| !new.contains(addr)) {
                    self.network.remove_external_address(gone);
                }
                for addr in new.iter().filter(|addr| !self.told.contains(addr)) {
                    self.network.add_external_address(addr.clone());
                }
                self.told = new;
            }
        }
    }

    fn refresh(&mut self) {
        if self.servers() > 0 {
            // It fails only where nobody is known.
            let _ = self.network.behaviour_mut().routing.kad.bootstrap();
        }
    }

    fn servers(&mut self) -> usize {
        self.network.behaviour_mut().routing.kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    fn tell(&mut self, news: News) {
        self.untold.push(news);
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Routing(event)) => self.routed(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                info,
                ..
            })) => self.identified(connection_id, &info),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let addr = split_peer(endpoint.get_remote_address()).0;
                if let Some(ip) = ip_of(&addr) {
                    self.from.insert(peer_id, ip);
                }
                let dialled = matches!(endpoint, ConnectedPoint::Dialer { .. });
                self.met.insert(connection_id, Met { peer: peer_id, addr, dialled });
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.met.remove(&connection_id);
                self.checks.remove(&connection_id);
                if num_established == 0 {
                    self.from.remove(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, .. } => {
                self.checks.remove(&connection_id);
                // One that is connected otherwise is no less there.
                if let Some(peer) = peer_id.filter(|peer| !self.from.contains_key(peer)) {
                    self.reached.retain(|known| split_peer(known).1 != Some(peer));
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.moved(&address),
            SwarmEvent::ExternalAddrConfirmed { address } => {
                tracing::info!(%address, "a server of the DHT: others reach it");
                if !self.serves() {
                    self.serve();
                }
            }
            _ => {}
        }
    }

    fn routed(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } } => {
                // It is from the provider itself.
                if let Some(ip) = self.from.get(&record.provider) {
                    let origin = Origin::of(*ip);
                    let store = self.network.behaviour_mut().routing.kad.store_mut();
                    store.tell(record, origin, Instant::now());
                }
            }
            kad::Event::OutboundQueryProgressed { id, result, stats, step } => {
                self.progressed(id, result, &stats, &step);
            }
            _ => {}
        }
    }

    fn progressed(&mut self, id: QueryId, result: QueryResult, stats: &QueryStats, step: &ProgressStep) {
        let local = *self.network.local_peer_id();
        let mut found = Vec::new();
        let (failed, query) = (is_failure(&result), self.queries.get_mut(&id));
        if stats.num_successes() > 0 {
            self.answered = Some(Instant::now());
        }
        if let (Some(Query::Seek(key, named)), Some(providers)) = (query, providers(result)) {
            self.answers += 1;
            let routing = &mut self.network.behaviour_mut().routing;
            let mut left = limits::DHT_PROVIDERS;
            for peer in providers.into_iter().filter(|peer| *peer != local) {
                let addrs = routing.addresses_of(key, peer);
                // Who comes without an address, or with none that is new, does not count.
                let known = named.get(&peer);
                let full = known.is_none() && named.len() >= limits::DHT_NAMED;
                if left == 0
                    || full
                    || addrs.iter().all(|addr| known.is_some_and(|known| known.contains(addr)))
                {
                    continue;
                }
                left -= 1;
                let known = named.entry(peer).or_default();
                known.extend(addrs.iter().cloned());
                known.truncate(2 * limits::PEER_ADDRS);
                found.push(News::Found { answer: self.answers, key: *key, peer, addrs });
            }
        }
        self.untold.extend(found);
        if !step.last {
            return;
        }
        match self.queries.remove(&id) {
            Some(Query::Seek(key, named)) => {
                let (asked, answered) = (stats.num_requests(), stats.num_successes());
                self.tell(News::Sought(key, Sought { asked, answered, named: named.len() as u32 }));
            }
            // One that took too long has told nobody.
            Some(Query::Provide(key, _)) => {
                self.tell(News::Provided(key, if failed { 0 } else { stats.num_successes() }));
            }
            None => {}
        }
    }

    /// Tells how things are, if they are otherwise.
    fn show(&mut self) {
        (self.dirty, self.shown) = (false, Instant::now());
        let local = *self.network.local_peer_id();
        let whole = |addr: &Multiaddr| split_peer(addr).0.with(Protocol::P2p(local));
        let serves: Vec<Multiaddr> =
            if self.serves() { self.network.listeners().map(whole).collect() } else { Vec::new() };
        self.widen();
        let servers = self.servers();
        let behaviour = self.network.behaviour_mut();
        let widest = behaviour.routing.widest;
        let mut refused = behaviour.gate.refused().rows();
        refused.retain(|(_, n)| *n > 0);
        let records = behaviour.routing.kad.store_mut().len();
        let state = State { servers, reached: self.reached.clone(), serves, widest, records, refused };
        if state != self.state {
            self.state = state.clone();
            self.tell(News::State(state));
        }
    }
}

/// The holders that one answer names, if this is one.
fn providers(result: QueryResult) -> Option<std::collections::HashSet<PeerId>> {
    match result {
        QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => Some(providers),
        _ => None,
    }
}

const fn is_failure(result: &QueryResult) -> bool {
    matches!(result, QueryResult::StartProviding(Err(_)))
}

fn config() -> kad::Config {
    let mut config = kad::Config::new(PROTOCOL);
    // Who has what is taken in by us; when to tell and to refresh is planned by us.
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    config.set_provider_record_ttl(Some(limits::DHT_EXPIRES));
    config.set_provider_publication_interval(None);
    config.set_publication_interval(None);
    config.set_replication_interval(None);
    config.set_periodic_bootstrap_interval(None);
    config.set_caching(kad::Caching::Disabled);
    // A server that lies about who is near leads astray the way that it stands on.
    config.disjoint_query_paths(true);
    config.set_parallelism(NonZeroUsize::new(limits::DHT_PATHS).unwrap_or(NonZeroUsize::MIN));
    config.set_query_timeout(limits::DHT_QUERY);
    config.set_max_packet_size(limits::DHT_MESSAGE);
    config.set_substreams_timeout(limits::STREAM_TIMEOUT);
    config
}
