//! The task that takes part in the DHT: a network of its own beside that of the sessions, with its own connections and
//! limits, so that neither ever takes the other's places. It does what it is told, and tells what came of it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::identity::Keypair;
use libp2p::kad::{self, GetProvidersOk, InboundRequest, ProgressStep, QueryId, QueryResult, QueryStats};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, autonat, identify};
use tokio::sync::mpsc;

use super::plan::{Sought, Task};
use super::records::{Origin, Records};
use super::routing::{PROTOCOL, Routing, mark};
use crate::limits;
use crate::node::behaviour::identify as show;
use crate::node::discovery::{endpoint, ip_of, split_peer};
use crate::node::event::Class;
use crate::node::gate::{Gate, GateLimits};
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
/// Servers that say they are are called at once, to see whether they can be reached.
const CHECKS: usize = 16;

/// What the task is told.
#[derive(Debug)]
pub(super) enum Order {
    /// A server is there.
    Know(Multiaddr),
    /// To be done now.
    Do(Task),
    /// Where our sessions are reached: all of it.
    Addresses(Vec<Multiaddr>),
}

/// What it tells.
#[derive(Debug)]
pub(in crate::node) enum News {
    /// Somebody is said to have this, and to be reached there.
    Found { key: Key, peer: PeerId, addrs: Vec<Multiaddr> },
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
    /// How far away the farthest of those who are, or were, connected is.
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
    autonat: autonat::v2::client::Behaviour,
    autonat_server: autonat::v2::server::Behaviour,
}

enum Query {
    Seek(Key, BTreeSet<PeerId>),
    Provide(Key),
}

/// See the module's text.
pub(super) struct Member {
    network: libp2p::Swarm<Behaviour>,
    part: Part,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<News>,
    untold: Vec<News>,
    queries: HashMap<QueryId, Query>,
    /// Who is connected, from where.
    from: HashMap<PeerId, IpAddr>,
    /// Addresses without an id.
    nameless: Vec<Multiaddr>,
    reached: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
    checks: BTreeSet<PeerId>,
    state: State,
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
            autonat: autonat::v2::client::Behaviour::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
        };
        let transport = transport::build(key, false)?;
        let built = SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_other_transport(|_| transport)
            .and_then(|built| built.with_behaviour(|_| behaviour).map_err(|never| match never {}));
        let Ok(built) = built;
        let network = built.with_swarm_config(|c| c.with_idle_connection_timeout(IDLE)).build();
        let mut new = Self {
            network,
            part,
            orders,
            news,
            untold: Vec::new(),
            queries: HashMap::new(),
            from: HashMap::new(),
            nameless: Vec::new(),
            reached: Vec::new(),
            told: Vec::new(),
            checks: BTreeSet::new(),
            state: State::default(),
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
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                event = self.network.select_next_some() => self.event(event),
                _ = refresh.tick() => if self.part.resident { self.refresh() },
                _ = call.tick() => self.call(),
            }
            self.show();
            for news in std::mem::take(&mut self.untold) {
                // Nobody listens any longer only when the node stops.
                let _ = self.news.send(news).await;
            }
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Know(addr) => match split_peer(&addr) {
                (bare, Some(peer)) if peer != *self.network.local_peer_id() => {
                    self.network.behaviour_mut().routing.know(peer, &bare);
                }
                (_, Some(_)) => {}
                (bare, None) if !self.nameless.contains(&bare) && self.nameless.len() < limits::DHT_NODES => {
                    self.nameless.push(bare);
                    self.call();
                }
                _ => {}
            },
            Order::Do(Task::Seek(key)) => {
                let id = self.network.behaviour_mut().routing.kad.get_providers(key.to_vec().into());
                self.queries.insert(id, Query::Seek(key, BTreeSet::new()));
            }
            Order::Do(Task::Provide(key)) => {
                match self.network.behaviour_mut().routing.kad.start_providing(key.to_vec().into()) {
                    Ok(id) => drop(self.queries.insert(id, Query::Provide(key))),
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

    /// Calls those of whom only the address is known, while there is nobody else.
    fn call(&mut self) {
        if self.servers() == 0 {
            for addr in self.nameless.clone() {
                self.dial(DialOpts::unknown_peer_id().address(addr).allocate_new_port().build());
            }
        }
    }

    fn dial(&mut self, options: DialOpts) {
        self.network.behaviour_mut().gate.decided(options.connection_id());
        if let Err(error) = self.network.dial(options) {
            tracing::debug!(%error, "a node of the DHT is not called");
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
                peer_id,
                info,
                ..
            })) => self.shown(peer_id, &info),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let remote = endpoint.get_remote_address();
                if let Some(ip) = ip_of(remote) {
                    self.from.insert(peer_id, ip);
                }
                let behaviour = self.network.behaviour_mut();
                behaviour.routing.met(remote);
                behaviour.gate.private = behaviour.routing.widest == Some(Class::Lan);
                if let ConnectedPoint::Dialer { address, .. } = &endpoint {
                    let whole = split_peer(address).0.with(Protocol::P2p(peer_id));
                    self.checks.remove(&peer_id);
                    self.reached.retain(|known| split_peer(known).1 != Some(peer_id));
                    self.reached.insert(0, whole);
                    self.reached.truncate(limits::DHT_NODES);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.from.remove(&peer_id);
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), .. } => {
                self.checks.remove(&peer);
                self.reached.retain(|known| split_peer(known).1 != Some(peer));
            }
            SwarmEvent::NewListenAddr { address, .. } if self.part.server => {
                self.network.add_external_address(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.network.remove_external_address(&address),
            SwarmEvent::ExternalAddrConfirmed { address } => {
                tracing::info!(%address, "a server of the DHT: others reach it");
                if !self.serves() {
                    self.serve();
                }
            }
            SwarmEvent::ExternalAddrExpired { .. } => {
                let hidden = self.network.external_addresses().all(|addr| self.told.contains(addr));
                if hidden && !self.part.server {
                    self.network.behaviour_mut().routing.kad.set_mode(Some(kad::Mode::Client));
                }
            }
            _ => {}
        }
    }

    /// Somebody says that it is a server, and where: who came to us is called there, and nowhere but where it came from,
    /// before anybody is sent to it.
    fn shown(&mut self, peer: PeerId, info: &identify::Info) {
        let known = self
            .network
            .behaviour_mut()
            .routing
            .kad
            .kbucket(peer)
            .is_some_and(|bucket| bucket.iter().any(|entry| *entry.node.key.preimage() == peer));
        let (serves, room) = (info.protocols.contains(&PROTOCOL), self.checks.len() < CHECKS);
        let Some(from) = self.from.get(&peer).filter(|_| serves && !known && room) else { return };
        let there = |addr: &Multiaddr| endpoint(addr).is_some_and(|end| !end.relayed && end.ip == *from);
        let bare = info.listen_addrs.iter().map(|addr| split_peer(addr).0);
        let addrs: Vec<Multiaddr> = bare.filter(there).take(limits::DHT_ADDRS).collect();
        if !addrs.is_empty() && self.checks.insert(peer) {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addrs);
            self.dial(options.allocate_new_port().build());
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
        match self.queries.get_mut(&id) {
            Some(Query::Seek(key, named)) => {
                let routing = &mut self.network.behaviour_mut().routing;
                if let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) =
                    result
                {
                    for peer in providers.into_iter().filter(|peer| *peer != local) {
                        if named.len() < limits::DHT_NAMED && named.insert(peer) {
                            found.push(News::Found { key: *key, peer, addrs: routing.addresses_of(peer) });
                        }
                    }
                }
                if named.len() >= limits::DHT_NAMED
                    && let Some(mut query) = routing.kad.query_mut(&id)
                {
                    query.finish();
                }
            }
            Some(Query::Provide(_)) => {}
            None => return,
        }
        for news in found {
            self.tell(news);
        }
        if !step.last {
            return;
        }
        match self.queries.remove(&id) {
            Some(Query::Seek(key, named)) => {
                let (asked, answered) = (stats.num_requests(), stats.num_successes());
                self.tell(News::Sought(key, Sought { asked, answered, named: named.len() as u32 }));
            }
            Some(Query::Provide(key)) => self.tell(News::Provided(key, stats.num_successes())),
            None => {}
        }
    }

    /// Tells how things are, if they are otherwise.
    fn show(&mut self) {
        let local = *self.network.local_peer_id();
        let whole = |addr: &Multiaddr| split_peer(addr).0.with(Protocol::P2p(local));
        let serves = if self.serves() { self.network.listeners().map(whole).collect() } else { Vec::new() };
        let servers = self.servers();
        let behaviour = self.network.behaviour_mut();
        let mut refused = behaviour.gate.refused().rows();
        refused.retain(|(_, n)| *n > 0);
        let records = behaviour.routing.kad.store_mut().len();
        let widest = behaviour.routing.widest;
        let state = State { servers, reached: self.reached.clone(), serves, widest, records, refused };
        if state != self.state {
            self.state = state.clone();
            self.tell(News::State(state));
        }
    }
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
    // Servers that lie about who is near keep a search from at most one of its ways.
    config.disjoint_query_paths(true);
    config.set_parallelism(NonZeroUsize::new(limits::DHT_PATHS).unwrap_or(NonZeroUsize::MIN));
    config.set_query_timeout(limits::DHT_QUERY);
    config.set_substreams_timeout(limits::STREAM_TIMEOUT);
    config
}
