//! The DHT: another way of finding holders, for nodes that share no tracker. What it says is a hint like all
//! others, and no node depends on it alone.
//!
//! A node that others can reach is a server and stores a part of the records; every other node only asks. A
//! node joins as soon as it knows one server, from its owner, a link, an earlier run or a peer that is a
//! server.
//!
//! ```text
//! the actor -- wanted and held contents --> plan --> task (a libp2p swarm of its own) --> Kademlia
//!           <-- holders, outcomes of searches ----/                                  with routing, records
//! ```

mod mark;
mod named;
mod plan;
mod records;
mod routing;
mod task;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::distance::Distance;
use crate::id::ContentId;
use crate::limits;
use crate::net::address::{endpoint, ip_of, is_one_host, split_peer};
use crate::options::Options;
use crate::store::Store;
use crate::wire::dht::key_of;
use crate::wire::tracker::SwarmKey;
pub(crate) use named::Provider;
use named::ProviderQueue;
use plan::{DhtPlan, Sought};
pub(crate) use task::DhtEvent;
use task::{DhtCommand, DhtConfig, DhtNode, DhtStatus, Says};

/// File under the home folder that lists reached servers.
const KEPT: &str = "dht";
/// If the wall clock advanced this much more than the monotonic clock, the machine was suspended.
const SLEPT: Duration = Duration::from_secs(60);
/// Time between two writes of the file.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// A node's part in the DHT, as the actor sees it.
#[derive(Debug)]
pub(crate) struct Dht {
    key: Keypair,
    part: DhtConfig,
    /// True if the owner has turned the DHT off, or if it could not be started.
    off: bool,
    plan: DhtPlan,
    ids: BTreeMap<SwarmKey, ContentId>,
    state: DhtStatus,
    orders: Option<mpsc::Sender<DhtCommand>>,
    task: Option<AbortHandle>,
    news: (mpsc::Sender<DhtEvent>, mpsc::Receiver<DhtEvent>),
    waiting: ProviderQueue,
    /// Addresses of our sessions as last told to the task, and the last list that was not empty.
    told: Vec<Multiaddr>,
    last: Vec<Multiaddr>,
    /// Servers of earlier runs, and the servers in the file.
    earlier: Vec<Multiaddr>,
    kept: Vec<Multiaddr>,
    saved: Instant,
    clock: (Instant, SystemTime),
    /// Error that kept the DHT from starting.
    broken: Option<String>,
}

impl Drop for Dht {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Dht {
    /// Makes the node's part in the DHT under this identity. It begins with the given servers and those of
    /// earlier runs. A server listens at the IP addresses of the sessions, on a port of its own.
    pub(crate) fn new(
        key: Keypair,
        given: Vec<Multiaddr>,
        listen: &[Multiaddr],
        options: &Options,
        store: &Store,
    ) -> Self {
        let mut at: Vec<IpAddr> = listen.iter().filter_map(ip_of).collect();
        at.sort_unstable();
        at.dedup();
        if at.is_empty() {
            at = vec![IpAddr::from([0, 0, 0, 0]), IpAddr::from([0_u16; 8])];
        }
        let part = DhtConfig { resident: options.resident, server: options.dht_server, at };
        let kept: Vec<String> =
            serde_json::from_slice(&store.kept(KEPT).unwrap_or_default()).unwrap_or_default();
        let kept: Vec<Multiaddr> =
            kept.iter().take(limits::DHT_NODES).filter_map(|text| text.parse().ok()).collect();
        let mut new = Self {
            key,
            part,
            off: !options.dht,
            plan: DhtPlan::default(),
            ids: BTreeMap::new(),
            state: DhtStatus::default(),
            orders: None,
            task: None,
            news: mpsc::channel(limits::COMMAND_QUEUE),
            waiting: ProviderQueue::default(),
            told: Vec::new(),
            last: Vec::new(),
            earlier: kept.clone(),
            kept: kept.clone(),
            saved: Instant::now(),
            clock: (Instant::now(), SystemTime::now()),
            broken: None,
        };
        if new.part.server {
            new.start();
        }
        given.into_iter().for_each(|addr| new.know(addr, Says::Owner));
        kept.into_iter().for_each(|addr| new.know(addr, Says::Memory));
        new
    }

    fn start(&mut self) {
        if self.off || self.orders.is_some() {
            return;
        }
        let (orders, ordered) = mpsc::channel(4 * limits::DHT_NODES);
        match DhtNode::new(&self.key, self.part.clone(), ordered, self.news.0.clone()) {
            Ok(member) => {
                self.task = Some(tokio::spawn(member.run()).abort_handle());
                self.orders = Some(orders);
            }
            Err(error) => {
                tracing::warn!(%error, "the DHT cannot be used");
                (self.off, self.broken) = (true, Some(error.to_string()));
            }
        }
    }

    fn know(&mut self, addr: Multiaddr, says: Says) {
        if endpoint(&split_peer(&addr).0).is_some_and(|end| !end.relayed) {
            self.start();
            self.order(DhtCommand::Know(addr, says));
        }
    }

    /// Adds a server that a link names.
    pub(crate) fn linked(&mut self, addr: &Multiaddr) {
        self.know(addr.clone(), Says::Other);
    }

    /// Adds a server that a peer of ours says it runs, at these TCP ports.
    pub(crate) fn peer(&mut self, peer: PeerId, addr: &Multiaddr, ports: &[u16]) {
        let Some(end) = endpoint(&split_peer(addr).0).filter(|end| !end.relayed) else { return };
        for port in ports.iter().take(limits::DHT_ADDRS).filter(|port| **port != 0) {
            let at = Multiaddr::from(end.ip).with(Protocol::Tcp(*port));
            self.know(at.with(Protocol::P2p(peer)), Says::Other);
        }
    }

    fn order(&self, order: DhtCommand) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// Searches for holders of this content. With `tells`, others are told after a while that we hold some of
    /// it.
    pub(crate) fn wants(&mut self, id: ContentId, tells: bool) {
        self.ids.insert(key_of(id), id);
        self.plan.wants(key_of(id), tells, Instant::now());
        self.tend(true, Instant::now());
    }

    /// Announces that we hold all of this content, at once or, for the contents a node starts with, in turn.
    pub(crate) fn holds(&mut self, id: ContentId, at_once: bool) {
        self.ids.insert(key_of(id), id);
        self.plan.holds(key_of(id), at_once, Instant::now());
    }

    /// Stops both the search for this content and its announcements.
    pub(crate) fn drops(&mut self, id: ContentId) {
        self.ids.remove(&key_of(id));
        self.plan.drops(key_of(id));
    }

    /// Drops the contents whose download ended without notice.
    pub(crate) fn settle(&mut self, active: impl Fn(ContentId) -> bool) {
        let ids = &self.ids;
        let ended = |key: &SwarmKey| ids.get(key).copied().filter(|id| !active(*id));
        let ended: Vec<ContentId> = self.plan.wanted().filter_map(|key| ended(&key)).collect();
        ended.into_iter().for_each(|id| self.drops(id));
    }

    /// Tells the task the addresses of our sessions.
    pub(crate) fn addresses(&mut self, addrs: Vec<Multiaddr>) {
        if self.told != addrs && self.order(DhtCommand::Addresses(addrs.clone())) {
            // Earlier announcements name addresses that have gone, or lack new ones.
            if !self.last.is_empty() && addrs.iter().any(|addr| !self.last.contains(addr)) {
                self.plan.moved(Instant::now());
            }
            if !addrs.is_empty() {
                self.last.clone_from(&addrs);
            }
            self.told = addrs;
        }
    }

    /// Runs the searches and announcements that are due. To be called once a second; `lacks` tells whether
    /// more holders are worth finding.
    pub(crate) fn tend(&mut self, lacks: bool, now: Instant) {
        if self.has_slept(now) {
            self.plan.moved(now);
            self.plan.hurry(now);
        }
        if self.state.servers == 0 && !self.part.server {
            return;
        }
        // Without an address of ours, others could do nothing with an announcement.
        for task in self.plan.due(lacks, !self.told.is_empty(), now) {
            if !self.order(DhtCommand::Do(task)) {
                self.plan.put_off(task, now);
            }
        }
    }

    /// True if the machine was suspended. Our monotonic clock does not count that time, but the clocks of
    /// others do, so our announcements have aged.
    fn has_slept(&mut self, now: Instant) -> bool {
        let (then, wall) = std::mem::replace(&mut self.clock, (now, SystemTime::now()));
        let passed = self.clock.1.duration_since(wall).unwrap_or_default();
        passed > now.duration_since(then) + SLEPT
    }

    /// Returns the named holders to dial now.
    pub(crate) fn named(&mut self, now: Instant) -> Vec<Provider> {
        if self.plan.wanted().next().is_none() {
            self.waiting.clear();
        }
        self.waiting.due(now)
    }

    /// Writes the reached servers for the next run.
    pub(crate) fn save(&mut self, store: &Store, at_once: bool) {
        if !(at_once || self.saved.elapsed() >= SAVE_EVERY) {
            return;
        }
        self.saved = Instant::now();
        // Servers of earlier runs come last but stay: perhaps there is no network now, or they were not
        // needed.
        let mut all = self.state.reached.clone();
        all.extend(self.earlier.iter().filter(|addr| !self.state.reached.contains(addr)).cloned());
        all.truncate(limits::DHT_NODES);
        if all == self.kept {
            return;
        }
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        if let Ok(bytes) = serde_json::to_vec(&texts)
            && let Err(error) = store.keep(KEPT, &bytes)
        {
            tracing::warn!(%error, "the servers of the DHT cannot be kept");
        }
        self.kept = all;
    }

    /// Returns the next event of the task, for [`Self::heard`].
    pub(crate) async fn news(&mut self) -> Option<DhtEvent> {
        self.news.1.recv().await
    }

    /// Handles an event of the task.
    pub(crate) fn heard(&mut self, news: DhtEvent, now: Instant) {
        match news {
            DhtEvent::Found { answer, key, peer, addrs } => {
                if self.ids.contains_key(&key) {
                    self.waiting.add(answer, Provider { peer, addrs });
                }
            }
            DhtEvent::Sought(key, sought) => self.plan.sought(key, sought, now),
            DhtEvent::Provided(key, servers) => {
                let lot = u64::from_le_bytes(std::array::from_fn(|at| key[at]));
                self.plan.provided(key, servers, lot, now);
            }
            DhtEvent::State(state) => {
                let new = state.reached.iter().any(|addr| !self.state.reached.contains(addr));
                if new || (self.state.servers == 0 && state.servers > 0) {
                    self.plan.hurry(now);
                }
                self.state = state;
            }
        }
    }

    /// Returns the TCP ports of our DHT server, for peers that want to join.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let ends = self.state.serves.iter().filter_map(|addr| endpoint(&split_peer(addr).0));
        let mut ports: Vec<u16> = ends.filter(|end| !end.quic).map(|end| end.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(limits::DHT_ADDRS);
        ports
    }

    /// Returns the addresses of our DHT server that others can join with.
    pub(crate) fn serves(&self) -> Vec<Multiaddr> {
        let of_use = |addr: &&Multiaddr| {
            endpoint(&split_peer(addr).0).is_some_and(|end| !end.quic && is_one_host(end.ip))
        };
        let mut all: Vec<Multiaddr> = self.state.serves.iter().filter(of_use).cloned().collect();
        let here = |addr: &Multiaddr| ip_of(addr).is_some_and(|ip| ip.is_loopback());
        if !all.iter().all(here) {
            all.retain(|addr| !here(addr));
        }
        all.sort_by_key(ip_of);
        all
    }

    /// Waits until others can join with us, if this node is to be a server.
    pub(crate) async fn ready(&mut self) {
        while self.part.server && !self.off && self.state.serves.is_empty() {
            let Some(news) = self.news().await else { return };
            self.heard(news, Instant::now());
        }
    }

    /// Returns the distance of the farthest server. Nodes nearer than that are of no use to all members.
    pub(crate) fn widest(&self) -> Distance {
        self.state.widest.unwrap_or(Distance::Wan)
    }

    /// Returns the connections that the DHT refused, by reason.
    pub(crate) fn refused(&self) -> &[(String, u64)] {
        &self.state.refused
    }

    /// Describes the state of the searches in one phrase, for a person who waits.
    pub(crate) fn tried(&self) -> String {
        if let Some(broken) = &self.broken {
            return format!("DHT: {broken}");
        }
        if self.off {
            return "DHT: off".to_owned();
        }
        if self.state.servers == 0 {
            return match self.orders {
                Some(_) if self.state.serves.is_empty() => {
                    "DHT: none of the known servers was reached".to_owned()
                }
                Some(_) => "DHT: no other server is known".to_owned(),
                None => "DHT: no server is known (--dht names one)".to_owned(),
            };
        }
        let found: Vec<Option<Sought>> = self.plan.wanted().map(|key| self.plan.found(&key)).collect();
        let ended: Vec<Sought> = found.iter().flatten().copied().collect();
        if ended.is_empty() {
            let asks = if found.is_empty() { "nothing is asked" } else { "asking" };
            return format!("DHT: {asks}");
        }
        let sum = |part: fn(&Sought) -> u32| ended.iter().map(part).fold(0, u32::saturating_add);
        match (sum(|s| s.asked), sum(|s| s.answered), sum(|s| s.named)) {
            (asked, 0, _) if asked > 0 => format!("DHT: {} asked, no answer", count(asked, "server")),
            (_, answered, 0) => format!("DHT: {} answered, none knows a holder", count(answered, "server")),
            (_, answered, named) => {
                format!("DHT: {} answered and named {}", count(answered, "server"), count(named, "node"))
            }
        }
    }

    /// Returns the row of `swarm status`; `None` while no DHT is known.
    pub(crate) fn row(&self) -> Option<String> {
        self.orders.as_ref()?;
        let DhtStatus { servers, serves, records, .. } = &self.state;
        let part = match serves.is_empty() {
            true => "asks only".to_owned(),
            false => format!("a server with {}", count(*records as u64, "record")),
        };
        let told = count(self.plan.told() as u64, "content");
        let refused = match self.plan.refused() as u64 {
            0 => String::new(),
            more => format!(" ({} that no server took)", count(more, "more content")),
        };
        Some(format!("{} known, {part}, told of {told}{refused}", count(*servers as u64, "server")))
    }
}

fn count(number: impl Into<u64>, what: &str) -> String {
    let number = number.into();
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
