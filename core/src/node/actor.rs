//! The driver: one loop that hands every event to the part whose business it is. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, mdns};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::bans::Bans;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::discovery::{Discovery, Name, Source, ip_of, split_peer};
use super::event::{Ban, Class, Peer as PeerRow};
use super::peers::{Peer, Peers, class_at, same_site, site_of};
use super::session::{LAST_WORDS, Near, Session, SessionEvent, Shared};
use super::sharing::{Next, Sharing};
use super::stream;
use super::transfers::{Owner, Transfers, View};
use crate::content::geometry::Geometry;
use crate::content::tree::Kind;
use crate::id::ContentId;
use crate::limits;
use crate::schedule::{Order, PeerKey};
use crate::store::{Blob, Store};
use crate::wire::{self, Hello, Message};

/// The swarm of libp2p: its word, its type; ours is called a node.
type Network = libp2p::Swarm<Behaviour>;

/// How often views are brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// What the jobs of a node ask of its network.
#[derive(Debug)]
pub(super) enum Ask {
    /// Find out what an id is, unless that is known. The answer's second part is true if nobody else is at it.
    Learn {
        id: ContentId,
        known: Option<(Geometry, Kind)>,
        expect: Option<(Kind, u64)>,
        owner: Arc<Owner>,
        hints: Vec<Multiaddr>,
        reply: oneshot::Sender<(watch::Receiver<View>, bool)>,
    },
    /// Fetch into this blob.
    Start {
        blob: Arc<Blob>,
        order: Order,
        owner: Arc<Owner>,
        hints: Vec<Multiaddr>,
        reply: oneshot::Sender<watch::Receiver<View>>,
    },
    /// No longer; if it is whole now, it goes on being served from `whole`.
    Stop { id: ContentId, whole: Option<Arc<Blob>> },
    /// The blob's record has changed: open it anew for those who want it.
    Publish(Arc<Blob>),
    /// It may not be served any longer.
    Withdraw(ContentId),
    /// How things are.
    Report(oneshot::Sender<Report>),
    /// End.
    Quit,
}

/// How things are on the network.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) peer: PeerId,
    pub(super) listen: Vec<Multiaddr>,
    pub(super) peers: Vec<PeerRow>,
    pub(super) banned: Vec<Ban>,
    pub(super) refused: Vec<(String, u64)>,
    pub(super) notices: Vec<String>,
    pub(super) uploaded: u64,
    pub(super) downloaded: u64,
    pub(super) transfers: Vec<(ContentId, View)>,
    pub(super) holders: BTreeMap<ContentId, u32>,
}

/// Everything the loop owns.
pub(super) struct Actor {
    network: Network,
    store: Store,
    asks: mpsc::Receiver<Ask>,
    events: mpsc::Receiver<(PeerKey, SessionEvent)>,
    opened: (mpsc::Sender<Opened>, mpsc::Receiver<Opened>),
    shared: Shared,
    peers: Peers,
    transfers: Transfers,
    sharing: Sharing,
    discovery: Discovery,
    mdns: bool,
    site: Option<String>,
    limit_lan: bool,
    dials: BTreeMap<ConnectionId, Name>,
    /// Connections of peers that were banned, and since when they wait to be closed.
    closing: Vec<(Instant, PeerId, ConnectionId)>,
    listen: watch::Sender<Vec<Multiaddr>>,
    /// What a person should know, newest first.
    notices: Vec<String>,
    shown: Instant,
    slow: Instant,
}

type Opened = (ContentId, Option<Arc<Blob>>);

/// What an actor is made of.
pub(super) struct Parts {
    pub(super) network: Network,
    pub(super) store: Store,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) events: mpsc::Receiver<(PeerKey, SessionEvent)>,
    pub(super) shared: Shared,
    pub(super) listen: watch::Sender<Vec<Multiaddr>>,
    pub(super) given: Vec<Multiaddr>,
    pub(super) mdns: bool,
    pub(super) site: Option<String>,
    pub(super) limit_lan: bool,
    pub(super) seed: u64,
}

impl Actor {
    pub(super) fn new(parts: Parts) -> Self {
        let mut discovery = Discovery::default();
        let now = Instant::now();
        let (bans, decided) = Bans::load(&parts.store);
        let mut network = parts.network;
        decided.iter().for_each(|decided| network.behaviour_mut().gate.ban(decided));
        parts.given.iter().for_each(|addr| discovery.found(addr, None, Source::Given, now));
        Self {
            network,
            store: parts.store,
            asks: parts.asks,
            events: parts.events,
            opened: mpsc::channel(limits::COMMAND_QUEUE),
            shared: parts.shared,
            peers: Peers::new(bans),
            transfers: Transfers::new(parts.seed),
            sharing: Sharing::default(),
            discovery,
            mdns: parts.mdns,
            site: parts.site,
            limit_lan: parts.limit_lan,
            dials: BTreeMap::new(),
            closing: Vec::new(),
            listen: parts.listen,
            notices: Vec::new(),
            shown: now,
            slow: now,
        }
    }

    /// Runs until it is told to quit or all handles are gone.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::Instant::now();
        loop {
            self.transfers.shared(&mut self.peers, &mut self.sharing);
            self.end_doomed();
            self.dial();
            let next = tokio::time::Instant::now() + self.transfers.next_tick();
            tick = tick.min(next);
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(Ask::Quit) | None => return self.peers.bans.save_now(&self.store),
                    Some(ask) => self.ask(ask),
                },
                Some((key, event)) = self.events.recv() => self.session(key, event),
                Some((id, blob)) = self.opened.1.recv() => self.sharing.opened(id, blob, &mut self.peers),
                event = self.network.select_next_some() => self.network_event(event),
                () = sleep_until(tick) => {
                    self.tick();
                    tick = tokio::time::Instant::now() + self.transfers.next_tick();
                }
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Learn { id, known, expect, owner, hints, reply } => {
                self.hints(&hints);
                let (peers, sharing) = (&mut self.peers, &mut self.sharing);
                let _ = reply.send(self.transfers.learn(id, known, expect, &owner, peers, sharing));
            }
            Ask::Start { blob, order, owner, hints, reply } => {
                self.hints(&hints);
                let _ = reply.send(self.transfers.start(
                    &blob,
                    order,
                    &owner,
                    &mut self.peers,
                    &mut self.sharing,
                ));
            }
            Ask::Stop { id, whole } => {
                self.transfers.stop(id, &mut self.peers, &mut self.sharing);
                match whole {
                    Some(blob) => self.sharing.share(blob, &mut self.peers),
                    // What is partial is offered only while somebody is at it.
                    None => self.sharing.withdraw(id, &mut self.peers),
                }
            }
            Ask::Publish(blob) => self.sharing.share(blob, &mut self.peers),
            Ask::Withdraw(id) => self.sharing.withdraw(id, &mut self.peers),
            Ask::Report(reply) => drop(reply.send(self.report())),
            Ask::Quit => {}
        }
    }

    fn hints(&mut self, hints: &[Multiaddr]) {
        let now = Instant::now();
        hints.iter().for_each(|addr| self.discovery.found(addr, None, Source::Link, now));
        self.discovery.hurry(now);
    }

    fn network_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.stream_event(event),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (peer, addr) in found {
                    self.discovery.found(&addr, Some(peer), Source::Lan, now);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Expired(gone))) => {
                gone.into_iter().for_each(|(peer, _)| self.discovery.expired(peer));
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                let all = self.network.listeners().cloned().collect();
                self.listen.send_replace(all);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(name) = self.dials.remove(&connection_id) {
                    self.discovery.failed(&name, in_short(&error), !self.transfers.is_idle(), now);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listening"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "stopped listening")
            }
            _ => {}
        }
    }

    fn stream_event(&mut self, event: stream::Event) {
        let now = Instant::now();
        match event {
            stream::Event::Ready { peer, connection, endpoint, control, data } => {
                self.dials.remove(&connection);
                let addr = remote(&endpoint);
                self.discovery.connected(peer, &addr, endpoint.is_dialer(), now);
                let class = class_at(&addr, &self.listen.borrow());
                let key = self.peers.next_key();
                let (outside, here) = (class > Class::Lan, class == Class::Host);
                let near = Near { limited: self.limit_lan || outside, outside, here };
                let session = Session::start(key, control, data, &self.shared, near);
                let mut met = Peer::new(peer, connection, addr, class, session);
                met.dialled = endpoint.is_dialer();
                self.peers.add(key, met);
                let hello = self.hello();
                self.peers.send(key, Message::Hello(hello));
            }
            stream::Event::Closed { peer, connection, error } => {
                tracing::debug!(%peer, ?error, "session ended");
                let key = self.peers.key_of(&peer);
                // A session that replaced it is none of its business.
                if let Some(key) =
                    key.filter(|k| self.peers.get(*k).is_some_and(|p| p.connection == connection))
                {
                    self.peer_down(key);
                }
            }
            stream::Event::Failed { peer, connection, reason } => {
                self.dials.remove(&connection);
                self.discovery.failed(&Name::Peer(peer), reason, !self.transfers.is_idle(), now);
            }
        }
    }

    fn hello(&self) -> Hello {
        let listen = self.listen.borrow();
        let ports = |read: fn(&Protocol<'_>) -> Option<u16>| {
            let mut ports: Vec<u16> = listen.iter().filter_map(|a| a.iter().find_map(|p| read(&p))).collect();
            ports.sort_unstable();
            ports.dedup();
            ports.truncate(limits::PEER_ADDRS);
            ports
        };
        Hello {
            version: wire::VERSION,
            agent: concat!("swarm/", env!("CARGO_PKG_VERSION")).to_owned(),
            tcp: ports(|p| if let Protocol::Tcp(port) = p { Some(*port) } else { None }),
            quic: ports(|p| if let Protocol::Udp(port) = p { Some(*port) } else { None }),
            site: self.site.clone(),
        }
    }

    fn peer_down(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.remove(key) {
            self.discovery.lost(peer.id, Instant::now());
            self.sharing.peer_down(key);
            self.transfers.peer_down(key, &mut self.peers, &mut self.sharing);
        }
    }

    fn session(&mut self, key: PeerKey, event: SessionEvent) {
        // What a peer delivered before it went is as good as ever.
        if self.peers.get(key).is_none() && !matches!(event, SessionEvent::Chunk { .. }) {
            return;
        }
        match event {
            SessionEvent::Message(message) => {
                self.peers.heard(key, Instant::now());
                self.message(key, message);
            }
            SessionEvent::List { blob, bytes } => self.transfers.list(key, blob, &bytes, &mut self.peers),
            SessionEvent::Only { blob, bytes } => {
                self.transfers.only_chunk(key, blob, bytes, &mut self.peers);
            }
            SessionEvent::Bytes { blob, chunk, bytes } => self.transfers.bytes(key, blob, chunk, bytes),
            SessionEvent::Chunk { blob, chunk, bytes, outcome } => {
                self.transfers.chunk(key, (blob, chunk, bytes), outcome, &mut self.peers, &mut self.sharing);
            }
            SessionEvent::Sent { blob, whole } => {
                self.transfers.sent(key, (blob, whole), &mut self.peers, &self.sharing);
            }
            SessionEvent::SourceChanged(id) => {
                tracing::warn!(%id, "the source changed: it is served no longer");
                let name = self.store.record(id).map_or_else(|| id.short(), |record| record.name);
                self.store.mark_changed(id);
                self.sharing.withdraw(id, &mut self.peers);
                self.notices.truncate(limits::NOTICES - 1);
                self.notices
                    .insert(0, format!("{name} has changed since it was published and is shared no longer"));
            }
            SessionEvent::Closed(reason) => {
                let ban = reason.starts_with("broke the protocol");
                self.peers.doom(key, reason, ban);
            }
        }
    }

    fn message(&mut self, key: PeerKey, message: Message) {
        let introduced = self.peers.get(key).is_some_and(|p| p.hello.is_some());
        match (message, introduced) {
            (Message::Hello(hello), false) => self.introduced(key, hello),
            (Message::Hello(_), true) | (_, false) => self.peers.doom(key, "spoke out of turn", true),
            (Message::Want { blob, id }, true) => self.want(key, blob, id),
            (Message::Unwant { blob }, true) => self.sharing.unwant(key, blob, &mut self.peers),
            (Message::Offer(offer), true) => {
                self.transfers.offer(key, offer, &mut self.peers, &mut self.sharing)
            }
            (Message::Have { blob, add }, true) => {
                self.transfers.have(key, blob, add, &mut self.peers, &mut self.sharing);
            }
            (Message::Gone { blob } | Message::Absent { blob }, true) => {
                self.transfers.gone(key, blob, &mut self.peers, &mut self.sharing);
            }
            (Message::Decline { blob, chunk, why }, true) => {
                self.transfers.declined(key, blob, chunk, why, &mut self.peers, &mut self.sharing);
            }
            (Message::Bad { chunk, .. }, true) => {
                tracing::warn!(chunk, "a peer says that a chunk we sent did not verify");
            }
            (Message::Peers { blob, peers }, true) => self.exchanged(key, blob, peers),
            (Message::Ping(n), true) => self.peers.send(key, Message::Pong(n)),
            (Message::Pong(n), true) => self.peers.pong(key, n, Instant::now()),
            // The session's own task keeps these.
            (Message::List { .. } | Message::Cancel { .. }, true) => {}
            (message, true) => self.giving(key, message),
        }
    }

    /// What is said about giving and taking.
    fn giving(&mut self, key: PeerKey, message: Message) {
        let (transfers, peers, sharing) = (&mut self.transfers, &mut self.peers, &self.sharing);
        match message {
            Message::Request { blob, first, count } => {
                transfers.asked(key, (blob, first, count), peers, sharing)
            }
            Message::Need { blob, add, drop } => transfers.needs(key, blob, (add, drop), peers, sharing),
            Message::Grant { blob, count, hint } => {
                transfers.granted(key, (blob, count, hint), peers, sharing)
            }
            Message::Refuse { blob, count, busy } => {
                transfers.refused(key, (blob, count, busy), peers, sharing)
            }
            Message::Gateways { id, beats } => transfers.gateways(key, id, &beats, peers, sharing),
            _ => {}
        }
    }

    fn introduced(&mut self, key: PeerKey, hello: Hello) {
        if hello.version != wire::VERSION {
            let (theirs, ours) = (hello.version, wire::VERSION);
            return self.peers.doom(
                key,
                format!("speaks version {theirs} of the protocol, we speak {ours}"),
                false,
            );
        }
        if let Some(peer) = self.peers.get_mut(key) {
            let names = (self.site.as_deref(), hello.site.as_deref());
            let local = same_site(names, &peer.addr, &self.listen.borrow());
            if local {
                peer.class = peer.class.min(Class::Site);
            }
            let elsewhere = (!local).then(|| site_of(names.1, &peer.addr));
            peer.hello = Some(hello);
            let class = peer.class;
            self.transfers.peer_up(key, class, elsewhere, &mut self.peers);
        }
    }

    fn want(&mut self, key: PeerKey, blob: u32, id: ContentId) {
        match self.sharing.want(key, blob, id, &mut self.peers) {
            None => self.peers.doom(key, "wants more blobs at once than allowed", true),
            Some(next) => {
                let holders = self.transfers.holders(id);
                self.sharing.introduce(key, id, &holders, &mut self.peers);
                if next == Next::Open {
                    let (store, opened) = (self.store.clone(), self.opened.0.clone());
                    tokio::spawn(async move {
                        let blob = tokio::task::spawn_blocking(move || store.blob(id)).await.ok().flatten();
                        let _ = opened.send((id, blob)).await;
                    });
                }
            }
        }
    }

    fn exchanged(&mut self, key: PeerKey, blob: u32, peers: Vec<wire::PeerAddrs>) {
        let Some(by) = self.peers.get(key).map(|p| (p.id, p.class)) else { return };
        if self.transfers.id_of(blob).is_none() {
            return;
        }
        let own = *self.network.local_peer_id();
        for named in peers {
            let Ok(peer) = PeerId::from_bytes(&named.peer) else { continue };
            if peer == own || self.peers.key_of(&peer).is_some() {
                continue;
            }
            for addr in named.addrs {
                let Ok(addr) = Multiaddr::try_from(addr) else { continue };
                self.discovery.exchanged(&split_peer(&addr).0, peer, by, Instant::now());
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.transfers.tick(&mut self.peers, &mut self.sharing);
        self.close_banned();
        if now.duration_since(self.shown) >= SHOW_EVERY {
            self.shown = now;
            let tried = if self.transfers.is_idle() { Vec::new() } else { self.discovery.tried(self.mdns) };
            self.transfers.show(&tried);
        }
        if now.duration_since(self.slow) >= Duration::from_secs(1) {
            self.slow = now;
            self.peers.bans.save(&self.store);
            self.peers.probe(now);
            let transfers = &self.transfers;
            self.sharing.prune(|id| transfers.is_active(id));
            for poisoned in self.store.poisoned() {
                tracing::error!(id = %poisoned.id, error = %poisoned.error, "a flush failed");
                self.transfers.poisoned(&poisoned);
                self.sharing.withdraw(poisoned.id, &mut self.peers);
            }
        }
    }

    /// Ends the sessions that were found to be bad while the last event was dealt with.
    fn end_doomed(&mut self) {
        for doomed in self.peers.take_doomed() {
            let Some(id) = self.peers.id_of(doomed.key) else { continue };
            tracing::debug!(peer = %id, reason = %doomed.reason, ban = doomed.ban, "session ends");
            let ban = doomed.ban;
            if ban {
                let decided = self.peers.ban(id, doomed.key, doomed.reason);
                self.network.behaviour_mut().gate.ban(&decided);
            }
            // Who is banned after it went may be back by now.
            let key = if ban { self.peers.key_of(&id) } else { Some(doomed.key) };
            let Some((key, connection)) = key.and_then(|key| Some((key, self.peers.get(key)?.connection)))
            else {
                continue;
            };
            self.peer_down(key);
            if ban {
                self.closing.push((Instant::now(), id, connection));
            } else {
                self.network.behaviour_mut().streams.close(id, connection);
            }
        }
    }

    /// Whoever is banned is told why, if it listens; then its connection is closed.
    fn close_banned(&mut self) {
        let streams = &mut self.network.behaviour_mut().streams;
        self.closing.retain(|(since, peer, connection)| {
            let waits = since.elapsed() < LAST_WORDS;
            if !waits {
                streams.close(*peer, *connection);
            }
            waits
        });
    }

    fn dial(&mut self) {
        let now = Instant::now();
        let room = || self.transfers.room(&self.peers);
        for dial in self.discovery.due(!self.transfers.is_idle(), room, now) {
            let opts = match &dial.name {
                Name::Peer(peer) => DialOpts::peer_id(*peer)
                    .condition(PeerCondition::Always)
                    .addresses(dial.addrs.clone())
                    .allocate_new_port()
                    .build(),
                Name::Addr(addr) => {
                    DialOpts::unknown_peer_id().address(addr.clone()).allocate_new_port().build()
                }
            };
            self.dials.insert(opts.connection_id(), dial.name.clone());
            let connection = opts.connection_id();
            if let Err(error) = self.network.dial(opts) {
                self.dials.remove(&connection);
                self.discovery.failed(&dial.name, in_short(&error), !self.transfers.is_idle(), now);
            }
        }
    }

    fn report(&mut self) -> Report {
        let (uploaded, downloaded) = self.peers.traffic();
        let behaviour = self.network.behaviour();
        let mut refused: Vec<(String, u64)> = behaviour.gate.refused().rows();
        refused.push(("extra streams".to_owned(), behaviour.streams.refused()));
        refused.retain(|(_, n)| *n > 0);
        let views = self.transfers.views();
        let holders = views.iter().map(|(id, v)| (*id, v.progress.holders)).collect();
        Report {
            peer: *self.network.local_peer_id(),
            listen: self.listen.borrow().clone(),
            peers: self.peers.rows(|key| self.transfers.rate(key)),
            banned: self.peers.bans.rows(),
            refused,
            notices: self.notices.clone(),
            uploaded,
            downloaded,
            transfers: views,
            holders,
        }
    }
}

fn remote(endpoint: &ConnectedPoint) -> Multiaddr {
    let addr = match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
    };
    split_peer(addr).0
}

/// A dial error in the words of a person who waits.
fn in_short(error: &DialError) -> String {
    match error {
        DialError::Transport(all) => {
            let first = all.first().map(|(addr, e)| (ip_of(addr), root_cause(e)));
            first.map_or_else(|| "no address to try".to_owned(), |(_, cause)| cause)
        }
        DialError::WrongPeerId { obtained, .. } => format!("another node answered there ({obtained})"),
        DialError::LocalPeerId { .. } => "that is this node itself".to_owned(),
        other => root_cause(other),
    }
}

/// The innermost error is the one that says something.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
