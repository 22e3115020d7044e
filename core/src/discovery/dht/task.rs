//! The task that takes part in the DHT. It runs a libp2p swarm of its own beside that of the sessions, with
//! its own connections and limits, so that neither takes the other's slots. It carries out commands and
//! reports the outcomes.

mod queries;
mod servers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::{self, QueryId};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, identify};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::mark::mark;
use super::plan::{DhtAction, Sought};
use super::records::{ProviderStore, RecordSubnet, RefusedRecords};
use super::routing::{PROTOCOL, Routing};
use crate::discovery::peer_cache;
use crate::distance::Distance;
use crate::limits;
use crate::net::address::{ip_of, split_peer};
use crate::net::behaviour::identify as show;
use crate::net::connection_limits::{ConnectionLimits, GateLimits};
use crate::net::filter::autonat::Tested;
use crate::net::filter::ping::PingAnswers;
use crate::net::transport;
use crate::wire::tracker::SwarmKey;

/// Preferred port of a DHT node, if it is free.
const PORT: u16 = 4772;
/// Time between refreshes of the routing table, on nodes that stay.
const REFRESH: Duration = Duration::from_secs(300);
/// Pause before a server without a known peer id is dialled again, while no server answers.
const CALL_AGAIN: Duration = Duration::from_secs(15);
/// Time that an unused connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// Shortest time between two reports of the state.
const SHOW: Duration = Duration::from_millis(250);
/// Time between looks at server checks and long announcements.
const LOOK: Duration = Duration::from_secs(1);

/// Command to the task.
#[derive(Debug)]
pub(super) enum DhtCommand {
    /// Use a server that somebody named.
    Know(Multiaddr, Says),
    /// Carry out a search or an announcement.
    Do(DhtAction),
    /// Use these addresses of our sessions; the list is complete.
    Addresses(Vec<Multiaddr>),
}

/// Party that named a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// Our owner.
    Owner,
    /// An earlier run, which reached the server.
    Memory,
    /// A peer or a link: the server is dialled before others are sent to it.
    Other,
}

/// Event from the task.
#[derive(Debug)]
pub(crate) enum DhtEvent {
    /// A peer is said to hold this content, with addresses. All holders of one answer share its number.
    Found { answer: u64, key: SwarmKey, peer: PeerId, addrs: Vec<Multiaddr> },
    /// A search has ended.
    Sought(SwarmKey, Sought),
    /// An announcement has ended; the number counts the servers that it was sent to. The protocol has no
    /// answer to it, and a server does not name a holder to the holder itself.
    Provided(SwarmKey, u32),
    /// The state has changed.
    State(DhtStatus),
}

/// State of the node's part in the DHT.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct DhtStatus {
    /// Servers in the routing table.
    pub(super) servers: usize,
    /// Servers that were reached, as addresses with their peer ids.
    pub(super) reached: Vec<Multiaddr>,
    /// Addresses of our own server with its peer id; empty on a node that only asks.
    pub(super) serves: Vec<Multiaddr>,
    /// Distance of the farthest server that was reached, or else was given.
    pub(super) widest: Option<Distance>,
    /// Records that others told us.
    pub(super) records: usize,
    /// Connections and requests that were refused, by reason.
    pub(super) refused: Vec<(String, u64)>,
}

/// Part of a node in the DHT.
#[derive(Debug, Clone)]
pub(super) struct DhtConfig {
    /// True if the node stays, and may become a server once it can be reached.
    pub(super) resident: bool,
    /// True if the node is a server at once.
    pub(super) server: bool,
    /// IP addresses to listen at.
    pub(super) at: Vec<IpAddr>,
}

#[derive(NetworkBehaviour)]
struct DhtBehaviour {
    gate: ConnectionLimits,
    routing: Routing,
    identify: identify::Behaviour,
    autonat: Tested,
    autonat_server: autonat::v2::server::Behaviour,
    ping: PingAnswers,
}

enum Query {
    /// A search, with the holders named so far and their addresses.
    Seek(SwarmKey, BTreeMap<PeerId, Vec<Multiaddr>>),
    /// An announcement, with its start; `None` once it has been told to go on with the servers found so far.
    Provide(SwarmKey, Option<Instant>),
}

/// A connection with a DHT node.
struct Met {
    peer: PeerId,
    addr: Multiaddr,
    dialled: bool,
}

/// A dial that checks a peer which says that it is a server.
struct ServerCheck {
    peer: PeerId,
    origin: RecordSubnet,
    since: Instant,
}

/// The task's swarm, and the state of its queries.
pub(super) struct DhtNode {
    network: libp2p::Swarm<DhtBehaviour>,
    part: DhtConfig,
    orders: mpsc::Receiver<DhtCommand>,
    news: mpsc::Sender<DhtEvent>,
    untold: Vec<DhtEvent>,
    queries: HashMap<QueryId, Query>,
    met: HashMap<ConnectionId, Met>,
    /// Servers that peers and links name, and the number of dials to each.
    said: VecDeque<(Multiaddr, u32)>,
    /// Servers whose peer ids are not known.
    nameless: VecDeque<Multiaddr>,
    reached: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
    checks: HashMap<ConnectionId, ServerCheck>,
    /// Answers to searches so far.
    answers: u64,
    /// Time at which a server last answered.
    answered: Option<Instant>,
    state: DhtStatus,
    /// Requests that were refused, as last looked at.
    refused: RefusedRecords,
    /// True if the state may have changed since `shown`, the time of the last report.
    dirty: bool,
    shown: Instant,
}

impl DhtNode {
    /// Sets up the swarm, and listens if others may connect.
    pub(super) fn new(
        key: &Keypair,
        part: DhtConfig,
        orders: mpsc::Receiver<DhtCommand>,
        news: mpsc::Sender<DhtEvent>,
    ) -> std::io::Result<Self> {
        let local = key.public().to_peer_id();
        let kademlia =
            kad::Behaviour::with_config(local, ProviderStore::new(local, limits::DHT_RECORDS), config());
        let behaviour = DhtBehaviour {
            gate: ConnectionLimits::new(GateLimits { per_peer: 4, ..GateLimits::default() }).guarded(),
            routing: Routing::new(kademlia),
            identify: identify::Behaviour::new(show(key)),
            autonat: Tested::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
            ping: PingAnswers,
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
            said: VecDeque::new(),
            nameless: VecDeque::new(),
            reached: Vec::new(),
            told: Vec::new(),
            checks: HashMap::new(),
            answers: 0,
            answered: None,
            state: DhtStatus::default(),
            refused: RefusedRecords::default(),
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
        let port = if all(PORT).any(|addr| peer_cache::is_taken(&addr)) { 0 } else { PORT };
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

    /// Runs until the sender of commands is gone.
    pub(super) async fn run(mut self) {
        let mut refresh = tokio::time::interval(REFRESH);
        let mut call = tokio::time::interval(CALL_AGAIN);
        let mut look = tokio::time::interval(LOOK);
        // Ticks that were missed are not made up for.
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
                _ = look.tick(), if self.is_busy() || self.serves() => self.look(Instant::now()),
                () = tokio::time::sleep_until((self.shown + SHOW).into()), if self.dirty => self.show(),
            }
            self.dirty |= heard;
            if self.state.servers == 0 || self.shown.elapsed() >= SHOW {
                self.show();
            }
            for news in std::mem::take(&mut self.untold) {
                // The receiver is gone only when the node stops.
                let _ = self.news.send(news).await;
            }
        }
    }

    fn order(&mut self, order: DhtCommand) {
        match order {
            DhtCommand::Know(addr, says) => {
                self.know(&addr, says);
                self.widen();
            }
            DhtCommand::Do(DhtAction::Seek(key)) => {
                let id = self.network.behaviour_mut().routing.kad.get_providers(key.to_vec().into());
                self.queries.insert(id, Query::Seek(key, BTreeMap::new()));
            }
            DhtCommand::Do(DhtAction::Provide(key)) => {
                // Kademlia keeps only the last addresses that it learns of, so ours are added again.
                self.told.iter().for_each(|addr| self.network.add_external_address(addr.clone()));
                match self.network.behaviour_mut().routing.kad.start_providing(key.to_vec().into()) {
                    Ok(id) => drop(self.queries.insert(id, Query::Provide(key, Some(Instant::now())))),
                    Err(_) => self.tell(DhtEvent::Provided(key, 0)),
                }
            }
            DhtCommand::Do(DhtAction::Withdraw(key)) => {
                self.network.behaviour_mut().routing.kad.stop_providing(&key.to_vec().into());
            }
            DhtCommand::Addresses(addrs) => {
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
            // The bootstrap fails only if no server is known.
            let _ = self.network.behaviour_mut().routing.kad.bootstrap();
        }
    }

    /// Returns what others have told.
    fn records(&mut self) -> &mut ProviderStore {
        self.network.behaviour_mut().routing.kad.store_mut()
    }

    fn servers(&mut self) -> usize {
        self.network.behaviour_mut().routing.kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    fn tell(&mut self, news: DhtEvent) {
        self.untold.push(news);
    }

    fn event(&mut self, event: SwarmEvent<DhtBehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(DhtBehaviourEvent::Routing(event)) => self.routed(event),
            SwarmEvent::Behaviour(DhtBehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                info,
                ..
            })) => self.identified(connection_id, &info),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let addr = split_peer(endpoint.get_remote_address()).0;
                if let Some(ip) = ip_of(&addr) {
                    self.records().met(peer_id, ip);
                }
                let dialled = matches!(endpoint, ConnectedPoint::Dialer { .. });
                self.met.insert(connection_id, Met { peer: peer_id, addr, dialled });
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.met.remove(&connection_id);
                self.checks.remove(&connection_id);
                if num_established == 0 {
                    self.records().left(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, .. } => {
                self.checks.remove(&connection_id);
                // A server that is connected in another way is still reachable.
                if let Some(peer) = peer_id.filter(|peer| !self.records().is_met(peer)) {
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

    /// Reports the state, if it has changed.
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
        refused.extend(behaviour.routing.kad.store_mut().refused().rows());
        refused.retain(|(_, n)| *n > 0);
        let records = behaviour.routing.kad.store_mut().len();
        let state = DhtStatus { servers, reached: self.reached.clone(), serves, widest, records, refused };
        if state != self.state {
            self.state = state.clone();
            self.tell(DhtEvent::State(state));
        }
    }
}

fn config() -> kad::Config {
    let mut config = kad::Config::new(PROTOCOL);
    // The store refuses values, and the sender of one then sees its stream reset. With a filter in place of
    // the store, libp2p would answer that the value is stored.
    config.set_record_filtering(kad::StoreInserts::Unfiltered);
    // We plan announcements and refreshes ourselves.
    config.set_provider_record_ttl(Some(limits::DHT_EXPIRES));
    config.set_provider_publication_interval(None);
    config.set_publication_interval(None);
    config.set_replication_interval(None);
    config.set_periodic_bootstrap_interval(None);
    config.set_caching(kad::Caching::Disabled);
    // A lying server only misleads the path that it is on.
    config.disjoint_query_paths(true);
    config.set_parallelism(NonZeroUsize::new(limits::DHT_PATHS).unwrap_or(NonZeroUsize::MIN));
    config.set_query_timeout(limits::DHT_QUERY);
    config.set_max_packet_size(limits::DHT_MESSAGE);
    config.set_substreams_timeout(limits::STREAM_TIMEOUT);
    config
}
