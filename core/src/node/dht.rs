//! The DHT: one more way of finding who has what, for those who know no tracker in common. A hint like all others, and
//! nobody's only way.
//!
//! Who can be reached by others is a server: it keeps a part of who has what. Everybody else only asks. A node takes part as
//! soon as it knows one server, from its owner, a link, an earlier run or a peer that is one.
//!
//! ```text
//! the actor -- what is wanted and held --> plan --> task (a network of its own) --> Kademlia
//!           <-- who is said to have it, how it went -----/                          held by routing, records
//! ```

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

use super::discovery::{endpoint, ip_of, is_one_host, split_peer};
use super::event::Class;
use crate::id::ContentId;
use crate::limits;
use crate::options::Options;
use crate::store::Store;
use crate::wire::dht::key_of;
use crate::wire::tracker::Key;
pub(super) use named::Named;
use named::Waiting;
use plan::{Plan, Sought};
pub(super) use task::News;
use task::{Member, Order, Part, Says, State};

/// Servers that were reached, under the home folder.
const KEPT: &str = "dht";
/// A clock that is so far ahead of ours has seen us sleep.
const SLEPT: Duration = Duration::from_secs(60);
/// How often they are written.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Dht {
    key: Keypair,
    part: Part,
    /// Turned off by the owner.
    off: bool,
    plan: Plan,
    ids: BTreeMap<Key, ContentId>,
    state: State,
    orders: Option<mpsc::Sender<Order>>,
    task: Option<AbortHandle>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    waiting: Waiting,
    /// Where others reach us, as was told last, and as was told last when there was any.
    told: Vec<Multiaddr>,
    last: Vec<Multiaddr>,
    /// Servers of earlier runs, and what is in the file.
    earlier: Vec<Multiaddr>,
    kept: Vec<Multiaddr>,
    saved: Instant,
    clock: (Instant, SystemTime),
    /// Why there is none.
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
    /// Under this identity, with these servers to begin with and those of earlier runs. One that is a server listens where
    /// sessions are listened for, on a port of its own.
    pub(super) fn new(
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
        let part = Part { resident: options.resident, server: options.dht_server, at };
        let kept: Vec<String> =
            serde_json::from_slice(&store.kept(KEPT).unwrap_or_default()).unwrap_or_default();
        let kept: Vec<Multiaddr> =
            kept.iter().take(limits::DHT_NODES).filter_map(|text| text.parse().ok()).collect();
        let mut new = Self {
            key,
            part,
            off: !options.dht,
            plan: Plan::default(),
            ids: BTreeMap::new(),
            state: State::default(),
            orders: None,
            task: None,
            news: mpsc::channel(limits::COMMAND_QUEUE),
            waiting: Waiting::default(),
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
        match Member::new(&self.key, self.part.clone(), ordered, self.news.0.clone()) {
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
            self.order(Order::Know(addr, says));
        }
    }

    /// A link says that a server is there.
    pub(super) fn linked(&mut self, addr: &Multiaddr) {
        self.know(addr.clone(), Says::Other);
    }

    /// A peer of ours says that it is one, at these ports.
    pub(super) fn peer(&mut self, peer: PeerId, addr: &Multiaddr, ports: &[u16]) {
        let Some(end) = endpoint(&split_peer(addr).0).filter(|end| !end.relayed) else { return };
        for port in ports.iter().take(limits::DHT_ADDRS).filter(|port| **port != 0) {
            let at = Multiaddr::from(end.ip).with(Protocol::Tcp(*port));
            self.know(at.with(Protocol::P2p(peer)), Says::Other);
        }
    }

    fn order(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// This is being fetched.
    /// `tells`: that we have some of it is told there as well, after a while.
    pub(super) fn wants(&mut self, id: ContentId, tells: bool) {
        self.ids.insert(key_of(id), id);
        self.plan.wants(key_of(id), tells, Instant::now());
        self.tend(true, Instant::now());
    }

    /// This is whole. What a node has when it starts is told of in its turn.
    pub(super) fn holds(&mut self, id: ContentId, at_once: bool) {
        self.ids.insert(key_of(id), id);
        self.plan.holds(key_of(id), at_once, Instant::now());
    }

    /// Neither, any longer.
    pub(super) fn drops(&mut self, id: ContentId) {
        self.ids.remove(&key_of(id));
        self.plan.drops(key_of(id));
    }

    /// What is fetched no longer, without having been told of otherwise.
    pub(super) fn settle(&mut self, active: impl Fn(ContentId) -> bool) {
        let ids = &self.ids;
        let ended = |key: &Key| ids.get(key).copied().filter(|id| !active(*id));
        let ended: Vec<ContentId> = self.plan.wanted().filter_map(|key| ended(&key)).collect();
        ended.into_iter().for_each(|id| self.drops(id));
    }

    /// Where our sessions are reached.
    pub(super) fn addresses(&mut self, addrs: Vec<Multiaddr>) {
        if self.told != addrs && self.order(Order::Addresses(addrs.clone())) {
            // What was told before leads to where we no longer are, or does not lead to all places.
            if !self.last.is_empty() && addrs.iter().any(|addr| !self.last.contains(addr)) {
                self.plan.moved(Instant::now());
            }
            if !addrs.is_empty() {
                self.last.clone_from(&addrs);
            }
            self.told = addrs;
        }
    }

    /// Looks for, and tells of, what is due. To be called once a second; `lacks` tells whether more holders are worth finding.
    pub(super) fn tend(&mut self, lacks: bool, now: Instant) {
        if self.has_slept(now) {
            self.plan.moved(now);
            self.plan.hurry(now);
        }
        if self.state.servers == 0 && !self.part.server {
            return;
        }
        // Others can do nothing with what they cannot reach.
        for task in self.plan.due(lacks, !self.told.is_empty(), now) {
            if !self.order(Order::Do(task)) {
                self.plan.put_off(task, now);
            }
        }
    }

    /// The machine was suspended, which our clock does not see and those of others do: what was told has aged.
    fn has_slept(&mut self, now: Instant) -> bool {
        let (then, wall) = std::mem::replace(&mut self.clock, (now, SystemTime::now()));
        let passed = self.clock.1.duration_since(wall).unwrap_or_default();
        passed > now.duration_since(then) + SLEPT
    }

    /// Whom to call now of those who were named.
    pub(super) fn named(&mut self, now: Instant) -> Vec<Named> {
        if self.plan.wanted().next().is_none() {
            self.waiting.clear();
        }
        self.waiting.due(now)
    }

    /// Keeps who was reached for the next run.
    pub(super) fn save(&mut self, store: &Store, at_once: bool) {
        if !(at_once || self.saved.elapsed() >= SAVE_EVERY) {
            return;
        }
        self.saved = Instant::now();
        // Those of earlier runs stand behind: perhaps there is no network now, or they were not needed.
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

    /// The next thing that the task tells, for [`Self::heard`].
    pub(super) async fn news(&mut self) -> Option<News> {
        self.news.1.recv().await
    }

    /// Takes it in.
    pub(super) fn heard(&mut self, news: News, now: Instant) {
        match news {
            News::Found { answer, key, peer, addrs } => {
                if self.ids.contains_key(&key) {
                    self.waiting.add(answer, Named { peer, addrs });
                }
            }
            News::Sought(key, sought) => self.plan.sought(key, sought, now),
            News::Provided(key, servers) => {
                let lot = u64::from_le_bytes(std::array::from_fn(|at| key[at]));
                self.plan.provided(key, servers, lot, now);
            }
            News::State(state) => {
                let new = state.reached.iter().any(|addr| !self.state.reached.contains(addr));
                if new || (self.state.servers == 0 && state.servers > 0) {
                    self.plan.hurry(now);
                }
                self.state = state;
            }
        }
    }

    /// How others find a server of ours: its ports for TCP.
    pub(super) fn ports(&self) -> Vec<u16> {
        let ends = self.state.serves.iter().filter_map(|addr| endpoint(&split_peer(addr).0));
        let mut ports: Vec<u16> = ends.filter(|end| !end.quic).map(|end| end.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(limits::DHT_ADDRS);
        ports
    }

    /// Where we are a server: what others can begin with.
    pub(super) fn serves(&self) -> Vec<Multiaddr> {
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

    /// Waits until others can begin with us, where that is wanted.
    pub(super) async fn ready(&mut self) {
        while self.part.server && !self.off && self.state.serves.is_empty() {
            let Some(news) = self.news().await else { return };
            self.heard(news, Instant::now());
        }
    }

    /// How far away the farthest of those is who take part: nodes nearer than that are no use to all.
    pub(super) fn widest(&self) -> Class {
        self.state.widest.unwrap_or(Class::Wan)
    }

    /// Connections it refused.
    pub(super) fn refused(&self) -> &[(String, u64)] {
        &self.state.refused
    }

    /// One phrase, for a person who waits.
    pub(super) fn tried(&self) -> String {
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

    /// The row of `swarm status`; none while nothing is known of any DHT.
    pub(super) fn row(&self) -> Option<String> {
        self.orders.as_ref()?;
        let State { servers, serves, records, .. } = &self.state;
        let part = match serves.is_empty() {
            true => "asks only".to_owned(),
            false => format!("a server with {}", count(*records as u64, "record")),
        };
        let told = count(self.plan.told() as u64, "content");
        Some(format!("{} known, {part}, told of {told}", count(*servers as u64, "server")))
    }
}

fn count(number: impl Into<u64>, what: &str) -> String {
    let number = number.into();
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
