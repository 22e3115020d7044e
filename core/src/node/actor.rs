//! The driver: one loop that hands every event to the part whose business it is. It decides nothing.

mod messages;
mod nat;
mod network;
mod office;
mod report;
mod webseeds;
mod widen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::discovery::ask_around::Seeking;
use crate::discovery::candidates::{AddressSource, Candidates, Name};
use crate::discovery::dht::Dht;
use crate::discovery::peer_cache::{self, Memory};
use crate::discovery::port_mapping::Mapped;
use crate::discovery::reachability::Reachability;
use crate::discovery::refusals::Refusals;
use crate::discovery::tracker::Trackers;
use crate::exchange::{Access, DownloadView, Downloads, Uploads};
use crate::id::ContentId;
use crate::limits;
use crate::membership::{Admission, OfficeState, now as office_now};
use crate::net::address::{is_relayed, split_peer};
use crate::net::behaviour::Behaviour;
use crate::options::Audience;
use crate::schedule::{ChunkOrder, Now, PeerKey};
use crate::store::record::Domain;
use crate::store::{Blob, Store};
use crate::transfer::bans::Bans;
use crate::transfer::peers::{Peer, Peers};
use crate::transfer::session::SessionContext;
use crate::transfer::session::event::SessionEvent;
use crate::transfer::watchers::{Owner, Watchers};
pub(super) use office::MembershipCommand;
use report::DownloadReport;
pub(crate) use report::NetworkReport;

/// The swarm of libp2p: its word, its type; ours is called a node.
type NodeSwarm = libp2p::Swarm<Behaviour>;

/// How often views are brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// After this all addresses are listened on.
const SETTLED: Duration = Duration::from_secs(2);

/// Where a link says that holders may be found.
#[derive(Debug, Clone, Default)]
pub(super) struct Hints {
    pub(crate) peers: Vec<Multiaddr>,
    pub(crate) trackers: Vec<Multiaddr>,
    pub(crate) dht: Vec<Multiaddr>,
    pub(crate) webseeds: Vec<String>,
    /// Who may fetch it of us, if that is said.
    pub(crate) audience: Option<Audience>,
}

/// What the jobs of a node ask of its network.
#[derive(Debug)]
pub(super) enum NetworkCommand {
    /// Find out what an id is, unless that is known. The answer's second part is true if nobody else is at it.
    Learn {
        id: ContentId,
        known: Option<(Geometry, ContentKind)>,
        expect: Option<(ContentKind, u64)>,
        owner: Arc<Owner>,
        hints: Hints,
        reply: oneshot::Sender<(watch::Receiver<DownloadView>, bool)>,
    },
    /// Fetch into this blob.
    Start {
        blob: Arc<Blob>,
        order: ChunkOrder,
        owner: Arc<Owner>,
        hints: Hints,
        reply: oneshot::Sender<watch::Receiver<DownloadView>>,
    },
    /// No longer; if it is whole now, it goes on being served from `whole`.
    Stop { id: ContentId, whole: Option<Arc<Blob>> },
    /// The blob's record has changed: open it anew for those who want it.
    Publish(Arc<Blob>),
    /// It may not be served any longer.
    Withdraw(ContentId),
    /// Bytes that were whole are gone or have changed.
    Lost(ContentId),
    /// Others may fetch it than before.
    Audience(ContentId),
    /// Who may fetch what nothing was said of.
    Default(Audience),
    /// There may be members.
    Meet(Hints),
    /// What is asked of the network of an office.
    Office(MembershipCommand),
    /// What holds a download up.
    Why { id: ContentId, reply: oneshot::Sender<DownloadReport> },
    /// How things are.
    Report(oneshot::Sender<NetworkReport>),
    /// End.
    Quit,
}

/// Everything the loop owns.
pub(super) struct Actor {
    network: NodeSwarm,
    store: Store,
    asks: mpsc::Receiver<NetworkCommand>,
    events: mpsc::Receiver<(PeerKey, SessionEvent)>,
    opened: (mpsc::Sender<OpenedBlob>, mpsc::Receiver<OpenedBlob>),
    shared: SessionContext,
    peers: Peers,
    barred: Refusals,
    downloads: Downloads<Arc<Blob>>,
    uploads: Uploads<Arc<Blob>>,
    watchers: Watchers,
    discovery: Candidates,
    seeking: Seeking,
    memory: Memory,
    reach: Reachability,
    /// Peers and ways to them through relays, for later.
    held: Vec<(PeerId, Vec<Multiaddr>, Option<crate::discovery::candidates::PeerSource>)>,
    mapped: Option<watch::Receiver<Mapped>>,
    trackers: Trackers,
    dht: Dht,
    webs: Vec<webseeds::WebSource>,
    private_webseeds: bool,
    audience: Audience,
    domain: Domain,
    /// If this is the network of an office.
    office: Option<OfficeState>,
    /// Members that are called although there are others enough.
    urgent: BTreeSet<PeerId>,
    /// Members that announce themselves on the local network.
    beacons: mpsc::Receiver<(PeerId, Vec<Multiaddr>, u32)>,
    /// Has them asked where they are.
    look: Arc<Notify>,
    /// Ends with the actor.
    _tasks: JoinSet<()>,
    /// Where we listen on any port, until that is remembered.
    anywhere: Vec<Multiaddr>,
    started: Instant,
    mdns: bool,
    site: Option<String>,
    limit_lan: bool,
    dials: BTreeMap<ConnectionId, Name>,
    /// Dials for further data streams, and whose sessions they are for.
    widening: BTreeMap<ConnectionId, PeerKey>,
    /// Connections of peers that were banned, and since when they wait to be closed.
    closing: Vec<(Instant, PeerId, ConnectionId)>,
    listen: watch::Sender<Vec<Multiaddr>>,
    shown: Instant,
    slow: Instant,
}

/// A blob that was opened; the last part is true if it turned out to be lost.
type OpenedBlob = (ContentId, Option<Arc<Blob>>, bool);

/// What an actor is made of.
pub(super) struct Parts {
    pub(crate) network: NodeSwarm,
    pub(crate) store: Store,
    pub(crate) asks: mpsc::Receiver<NetworkCommand>,
    pub(crate) events: mpsc::Receiver<(PeerKey, SessionEvent)>,
    pub(crate) shared: SessionContext,
    pub(crate) listen: watch::Sender<Vec<Multiaddr>>,
    pub(crate) given: Vec<Multiaddr>,
    /// Where we listen on any port.
    pub(super) anywhere: Vec<Multiaddr>,
    /// What the router lets in, if it is asked.
    pub(crate) mapped: Option<watch::Receiver<Mapped>>,
    pub(crate) reach: Reachability,
    pub(crate) trackers: Trackers,
    pub(crate) dht: Dht,
    pub(super) private_webseeds: bool,
    /// Who may fetch what nothing was said of, if that was said.
    pub(crate) audience: Option<Audience>,
    /// Others are told of all that is here.
    pub(crate) resident: bool,
    pub(crate) mdns: bool,
    pub(crate) site: Option<String>,
    pub(super) limit_lan: bool,
    pub(crate) seed: u64,
    pub(crate) office: Option<OfficeState>,
    pub(super) beacons: mpsc::Receiver<(PeerId, Vec<Multiaddr>, u32)>,
    pub(crate) look: Arc<Notify>,
    pub(crate) tasks: JoinSet<()>,
}

impl Actor {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut discovery = Candidates::default();
        let now = Instant::now();
        let (bans, decided) = Bans::load(&parts.store);
        let mut network = parts.network;
        decided.iter().for_each(|decided| network.behaviour_mut().gate.ban(decided));
        for relay in parts.reach.relays() {
            network.behaviour_mut().identify.with(relay);
            if let Some(office) = &parts.office {
                network.behaviour_mut().streams.leave(relay);
                office.relay(relay);
            }
        }
        let domain = parts.office.as_ref().map_or(Domain::Public, |office| Domain::Office(office.id()));
        let audience = match (&parts.office, parts.audience) {
            (Some(_), None | Some(Audience::Anyone)) => Audience::Office,
            (None, Some(Audience::Office)) => Audience::Nobody,
            (_, said) => said.unwrap_or_default(),
        };
        let memory = Memory::load(&parts.store);
        memory.peers().for_each(|(peer, addr)| {
            discovery.found(&addr, Some(peer), AddressSource::Remembered, now);
        });
        parts.given.iter().for_each(|addr| discovery.found(addr, None, AddressSource::Given, now));
        let barred = Refusals::load(&parts.store);
        for (peer, until) in barred.peers() {
            discovery.bar(peer, until, barred.sentence(&peer).unwrap_or_default());
        }
        let mut new = Self {
            network,
            store: parts.store,
            asks: parts.asks,
            events: parts.events,
            opened: mpsc::channel(limits::COMMAND_QUEUE),
            shared: parts.shared,
            peers: Peers::new(bans, parts.seed),
            barred,
            downloads: Downloads::new(parts.seed),
            uploads: Uploads::default(),
            watchers: Watchers::default(),
            discovery,
            seeking: Seeking::default(),
            memory,
            mapped: parts.mapped,
            reach: parts.reach,
            held: Vec::new(),
            trackers: parts.trackers,
            dht: parts.dht,
            webs: Vec::new(),
            private_webseeds: parts.private_webseeds,
            audience,
            domain,
            office: parts.office,
            urgent: BTreeSet::new(),
            beacons: parts.beacons,
            look: parts.look,
            _tasks: parts.tasks,
            anywhere: parts.anywhere,
            started: now,
            mdns: parts.mdns,
            site: parts.site,
            limit_lan: parts.limit_lan,
            dials: BTreeMap::new(),
            widening: BTreeMap::new(),
            closing: Vec::new(),
            listen: parts.listen,
            shown: now,
            slow: now,
        };
        if parts.resident {
            new.announce_all(false);
        }
        new.meet_members();
        new
    }

    /// Trackers and the DHT are told of all that is whole.
    fn announce_all(&mut self, fresh: bool) {
        let mut ids: Vec<ContentId> = self.store.records().iter().map(|record| record.id).collect();
        ids.retain(|id| self.store.is_offered(*id));
        for id in ids {
            let access = self.access(id);
            self.announce_held(id, &access, fresh);
        }
    }

    /// Time since the network started.
    pub(super) fn now(&self) -> Now {
        self.started.elapsed()
    }

    /// Runs until it is told to quit or all handles are gone.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::Instant::now();
        loop {
            self.exchange(|downloads, uploads, fx| downloads.shared(fx, uploads));
            self.end_doomed();
            self.dial();
            self.announce();
            tick = tick.min(self.next_tick());
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(NetworkCommand::Quit) | None => {
                        self.peers.bans.save_now(&self.store);
                        let given: Vec<_> = self.peers.givers().collect();
                        given.into_iter().for_each(|(peer, addr)| self.memory.met(peer, &addr));
                        self.memory.save(&self.store);
                        if let Some(office) = &mut self.office {
                            office.close().await;
                        }
                        self.dht.save(&self.store, true);
                        return self.trackers.leave().await;
                    }
                    Some(ask) => self.ask(ask),
                },
                Some((key, event)) = self.events.recv() => self.session(key, event),
                Some((id, blob, lost)) = self.opened.1.recv() => {
                    if lost {
                        self.lost(id);
                    }
                    let access = self.access(id);
                    self.exchange(|_, uploads, fx| uploads.opened(id, blob, &access, fx));
                }
                Some(knock) = next_knock(&mut self.office) => self.knocked(knock),
                Some((peer, addrs, epoch)) = self.beacons.recv() => self.announced(peer, &addrs, epoch),
                Some(reply) = self.trackers.reply() => self.tracked(reply),
                Some(news) = self.dht.news() => {
                    self.dht.heard(news, Instant::now());
                    self.tend_dht(Instant::now());
                }
                event = self.network.select_next_some() => self.network_event(event),
                () = sleep_until(tick) => {
                    self.tick();
                    tick = self.next_tick();
                }
            }
        }
    }

    fn ask(&mut self, ask: NetworkCommand) {
        match ask {
            NetworkCommand::Learn { id, known, expect, owner, hints, reply } => {
                self.hints(id, &hints);
                let running = self.watchers.watch(id);
                let ours = running.is_none();
                let view = running.unwrap_or_else(|| self.watchers.add(id, &owner));
                if ours {
                    self.exchange(|downloads, uploads, fx| {
                        // The owner of one that runs still is gone.
                        downloads.stop(id, fx, uploads);
                        downloads.learn(id, known, expect, fx);
                    });
                }
                let _ = reply.send((view, ours));
            }
            NetworkCommand::Start { blob, order, owner, hints, reply } => {
                self.hints(blob.id(), &hints);
                // What is of another network is copied from here, and not offered in this one.
                let ours = blob.record().is_of(self.domain);
                let access = ours.then(|| self.access(blob.id()));
                let view = self.watchers.watch_or_add(blob.id(), &owner);
                self.exchange(|downloads, uploads, fx| downloads.start(&blob, (order, access), fx, uploads));
                let _ = reply.send(view);
            }
            NetworkCommand::Stop { id, whole } => {
                self.watchers.remove(id);
                self.exchange(|downloads, uploads, fx| downloads.stop(id, fx, uploads));
                match whole {
                    Some(blob) => self.share(blob),
                    // What is partial is offered only while somebody is at it.
                    None => self.withdraw(id),
                }
            }
            NetworkCommand::Publish(blob) => self.share(blob),
            NetworkCommand::Withdraw(id) => self.withdraw(id),
            NetworkCommand::Lost(id) => self.lost(id),
            NetworkCommand::Audience(id) => self.audience_changed(id),
            NetworkCommand::Default(audience) => {
                if self.audience != audience {
                    self.audience = audience;
                    self.store.records().iter().for_each(|record| self.audience_changed(record.id));
                }
            }
            NetworkCommand::Meet(hints) => {
                let now = Instant::now();
                hints
                    .peers
                    .iter()
                    .for_each(|addr| self.discovery.found(addr, None, AddressSource::Link, now));
            }
            NetworkCommand::Office(ask) => self.office_ask(ask),
            NetworkCommand::Why { id, reply } => drop(reply.send(self.why(id))),
            NetworkCommand::Report(reply) => drop(reply.send(self.report())),
            NetworkCommand::Quit => {}
        }
    }

    fn hints(&mut self, id: ContentId, hints: &Hints) {
        let now = Instant::now();
        for addr in &hints.peers {
            match split_peer(addr) {
                (way, Some(peer)) if is_relayed(&way) => self.relayed_hint(way, peer),
                _ => self.discovery.found(addr, None, AddressSource::Link, now),
            }
        }
        self.release(now);
        hints.trackers.iter().for_each(|addr| self.trackers.linked(addr, id));
        self.web_hints(id, &hints.webseeds);
        hints.dht.iter().for_each(|addr| self.dht.linked(addr));
        self.trackers.wants(id);
        let tells = hints.audience.unwrap_or_else(|| self.audience(id)) == Audience::Anyone;
        if self.office.is_some() {
            self.look.notify_one();
        }
        self.dht.wants(id, tells);
        self.discovery.hurry(now);
    }

    fn share(&mut self, blob: Arc<Blob>) {
        let id = blob.id();
        if !blob.record().is_of(self.domain) {
            return;
        }
        let access = self.access(id);
        if blob.is_shareable() {
            self.announce_held(id, &access, true);
        }
        self.exchange(|_, uploads, fx| uploads.share(blob, &access, fx));
    }

    /// Tells trackers and the DHT of what is whole, as far as they are for those who may fetch it, and takes back what is not.
    fn announce_held(&mut self, id: ContentId, access: &Access, fresh: bool) {
        match access.is_nobody() {
            true => self.trackers.drops(id),
            false => self.trackers.holds(id),
        }
        // The DHT is for everybody: who is told of a holder there must be able to fetch of it.
        match access.audience {
            Audience::Anyone => self.dht.holds(id, fresh),
            Audience::Nobody | Audience::Lan | Audience::Office => self.dht.drops(id),
        }
    }

    /// Who may fetch this of us, and why.
    fn access(&mut self, id: ContentId) -> Access {
        let office = self.office.as_mut().map(|office| office.vouchers(id, office_now()));
        Access { audience: self.audience(id), office }
    }

    /// Who may fetch this of us.
    fn audience(&self, id: ContentId) -> Audience {
        self.store.audience(id).unwrap_or(self.audience)
    }

    /// Everybody is told anew: to who may not fetch it any longer it is gone.
    fn audience_changed(&mut self, id: ContentId) {
        let access = self.access(id);
        let whole = self.store.is_offered(id);
        // What is still being fetched is looked for as before.
        if whole && !self.downloads.is_active(id) {
            self.announce_held(id, &access, true);
        }
        match self.uploads.open(id) {
            Some(blob) => self.exchange(|_, uploads, fx| uploads.share(blob, &access, fx)),
            None if whole => {
                self.exchange(|_, uploads, fx| uploads.admit(id, &access, fx));
                self.open(id);
            }
            None => {}
        }
    }

    /// Opens what is in the store, for those who want it.
    fn open(&self, id: ContentId) {
        let (store, opened) = (self.store.clone(), self.opened.0.clone());
        tokio::spawn(async move {
            let (blob, lost) =
                tokio::task::spawn_blocking(move || store.open_or_mark(id)).await.unwrap_or_default();
            let _ = opened.send((id, blob, lost)).await;
        });
    }

    /// Takes back a blob that is whole no longer, and the directory or share whose content it is.
    pub(crate) fn lost(&mut self, id: ContentId) {
        // What others have of it may be on its way here by now.
        for id in self
            .store
            .with_whole(id)
            .into_iter()
            .filter(|id| !self.downloads.is_active(*id))
            .collect::<Vec<_>>()
        {
            self.withdraw(id);
        }
    }

    fn withdraw(&mut self, id: ContentId) {
        if let Some(office) = &mut self.office {
            office.forget(id);
        }
        self.trackers.drops(id);
        self.dht.drops(id);
        self.exchange(|_, uploads, fx| uploads.withdraw(id, fx));
    }

    fn announce(&mut self) {
        if self.trackers.is_due() {
            let lacks = self.downloads.room(&self.peers, self.now()) > 0 || self.contacts_lacking() > 0;
            let addrs: Vec<Multiaddr> =
                self.reach.addresses().chain(&*self.listen.borrow()).cloned().collect();
            self.trackers.announce(lacks, &addrs, Instant::now());
        }
    }

    /// A session has ended: why, unless another one with the same peer takes its place.
    fn peer_down(&mut self, key: PeerKey, reason: Option<&str>) {
        if let Some(peer) = self.peers.remove(key) {
            if let Some((peer, addr)) = peer.worth() {
                self.memory.met(peer, &addr);
            }
            if let Some(office) = &mut self.office {
                office.peer_down(key);
            }
            self.left(&peer, reason);
            self.uploads.peer_down(key);
            self.exchange(|downloads, uploads, fx| downloads.peer_down(key, fx, uploads));
        }
    }

    /// Has a peer that left dialled again: soon if it had spoken with us, else as after a dial that failed.
    fn left(&mut self, peer: &Peer, reason: Option<&str>) {
        let now = Instant::now();
        if !peer.dialled || peer.hello.is_some() {
            return self.discovery.lost(peer.id, now);
        }
        let Some(reason) = reason else {
            self.discovery.met(peer.id, &peer.addr, true, now);
            return self.discovery.lost(peer.id, now);
        };
        let reason = self.barred.sentence(&peer.id).unwrap_or_else(|| reason.to_owned());
        self.discovery.unmet(peer.id, &peer.addr, &reason, !self.downloads.is_idle(), now);
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let orphans = self.watchers.take_orphans();
        self.exchange(|downloads, uploads, fx| {
            orphans.into_iter().for_each(|id| downloads.stop(id, fx, uploads));
            downloads.tick(fx, uploads);
        });
        self.close_banned();
        if now.duration_since(self.shown) >= SHOW_EVERY {
            self.shown = now;
            let tried = if self.downloads.is_idle() { Vec::new() } else { self.routes() };
            self.downloads.show(&tried, self.now());
            self.tend_webs();
        }
        if now.duration_since(self.slow) >= Duration::from_secs(1) {
            self.slow = now;
            self.peers.bans.save(&self.store);
            self.memory.save_now_and_then(&self.store);
            self.peers.probe(now);
            self.exchange(|_, uploads, fx| uploads.offer_waiting(fx));
            self.tend_widths();
            // Whoever ends before that is not looked for again.
            if now.duration_since(self.started) >= SETTLED && !self.anywhere.is_empty() {
                peer_cache::keep_ports(
                    &self.store,
                    &std::mem::take(&mut self.anywhere),
                    &self.listen.borrow(),
                );
            }
            self.ask_around(now);
            self.reach_out(now);
            let downloads = &self.downloads;
            self.uploads.prune(|id| downloads.is_active(id));
            let meeting = self.office.as_ref().map(OfficeState::meeting);
            self.trackers.settle(|id| downloads.is_active(id) || meeting == Some(id));
            self.dht.settle(|id| downloads.is_active(id));
            self.tend_dht(now);
            self.tend_office();
            for poisoned in self.store.poisoned() {
                tracing::error!(id = %poisoned.id, error = %poisoned.error, "a flush failed");
                self.downloads.is_broken(poisoned.id, (&poisoned).into());
                self.withdraw(poisoned.id);
            }
        }
    }
}

/// The next who knocks at the door of an office.
async fn next_knock(office: &mut Option<OfficeState>) -> Option<Admission> {
    match office {
        Some(office) => office.knock().await,
        None => std::future::pending().await,
    }
}
