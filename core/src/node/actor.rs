//! The driver of one network: a loop that hands every event to the part of the node that decides about it.
//! The loop itself decides nothing.
//!
//! The `impl Actor` blocks of the child modules hold the handlers, one module for each source of events.

mod clock;
mod commands;
mod dials;
mod messages;
mod nat;
mod network;
mod offering;
mod office;
mod remembered;
mod report;
mod statements;
mod webseeds;
mod widen;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::discovery::ask_around::Seeking;
use crate::discovery::candidates::{AddressSource, Candidates};
use crate::discovery::dht::Dht;
use crate::discovery::peer_cache;
use crate::discovery::tracker::Trackers;
use crate::exchange::{Downloads, Effects, Uploads};
use crate::id::ContentId;
use crate::limits;
use crate::membership::{Admission, OfficeState};
use crate::net::behaviour::Behaviour;
use crate::net::multicast::Neighbour;
use crate::net::seldom::Seldom;
use crate::net::shaping::Near;
use crate::options::{Audience, Options};
use crate::schedule::{Now, PeerKey};
use crate::store::record::Domain;
use crate::store::{Store, Stored};
use crate::transfer::bans::Bans;
use crate::transfer::peers::{Partings, Peer, Peers};
use crate::transfer::session::SessionContext;
use crate::transfer::session::event::SessionEvent;
use crate::transfer::watchers::Watchers;
use clock::Clock;
pub(super) use commands::{Hints, NetworkCommand};
use dials::Dials;
pub(super) use nat::Nat;
pub(super) use office::MembershipCommand;
use remembered::Remembered;
use report::DownloadReport;
pub(crate) use report::NetworkReport;
use webseeds::WebSeeds;

/// The swarm of libp2p. It has libp2p's name for it in its type alone: a process of this program is a node.
type NodeSwarm = libp2p::Swarm<Behaviour>;

/// Time between two ticks while nothing is fetched or given.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Result of a look into the store by a task.
#[derive(Debug)]
pub(super) enum LookedUp {
    /// A blob that was opened, `None` if it could not be. The last part is true if its bytes turned out to be
    /// lost.
    Opened(ContentId, Option<Stored>, bool),
    /// The time has passed after which peers that are denied this blob are told that it is absent.
    Denied(ContentId),
}

/// The queues that the loop reads, besides the events of libp2p. All are bounded.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Commands of the node's jobs.
    commands: mpsc::Receiver<NetworkCommand>,
    /// Events of the sessions.
    sessions: mpsc::Receiver<(PeerKey, SessionEvent)>,
    /// Results of looks into the store, and the end of the queue that these tasks write to.
    opened: (mpsc::Sender<LookedUp>, mpsc::Receiver<LookedUp>),
    /// News of neighbours on the local network.
    beacons: mpsc::Receiver<Neighbour>,
    /// The tasks that listen for beacons. They end with the actor.
    _tasks: JoinSet<()>,
}

impl Inbox {
    /// Returns the inbox that reads these queues. `tasks` are the tasks that write to `beacons`.
    pub(super) fn new(
        commands: mpsc::Receiver<NetworkCommand>,
        sessions: mpsc::Receiver<(PeerKey, SessionEvent)>,
        beacons: mpsc::Receiver<Neighbour>,
        tasks: JoinSet<()>,
    ) -> Self {
        Self { commands, sessions, opened: mpsc::channel(limits::COMMAND_QUEUE), beacons, _tasks: tasks }
    }
}

/// The settings of one network. Only the audience changes while the network runs.
#[derive(Debug)]
pub(super) struct NetworkSettings {
    /// The peers that may fetch a blob without an audience of its own.
    audience: Audience,
    /// The network: the public one, or that of an office.
    domain: Domain,
    /// The name of this node's site, if it was given one.
    site: Option<String>,
    /// True if others are told at start of all blobs that are here.
    resident: bool,
    /// True if peers of the local network are looked for by multicast.
    mdns: bool,
    /// True if the limits of rate hold for the local network too.
    limit_lan: bool,
    /// True if web seeds may have addresses that are not of the internet.
    private_webseeds: bool,
    /// Decides ties: differs from node to node and from start to start.
    seed: u64,
}

impl NetworkSettings {
    /// Returns the settings of the public network, or of the network of this office.
    pub(super) fn new(
        options: &Options,
        site: Option<String>,
        office: Option<&OfficeState>,
        seed: u64,
    ) -> Self {
        let domain = office.map_or(Domain::Public, |office| Domain::Office(office.id()));
        let audience = match (office, options.audience) {
            (Some(_), None | Some(Audience::Anyone)) => Audience::Office,
            (None, Some(Audience::Office)) => Audience::Nobody,
            (_, said) => said.unwrap_or_default(),
        };
        let Options { resident, mdns, limit_lan, private_webseeds, .. } = *options;
        Self { audience, domain, site, resident, mdns, limit_lan, private_webseeds, seed }
    }
}

/// The ways on which the nodes of a network find each other, as they are when the network starts.
pub(super) struct Ways {
    /// Addresses that the owner of this node names, to be dialled in any case.
    pub(super) given: Vec<Multiaddr>,
    /// Ways through address translation.
    pub(super) nat: Nat,
    pub(super) trackers: Trackers,
    pub(super) dht: Dht,
    /// The addresses on which this node listens, for all who ask.
    pub(super) listen: watch::Sender<Vec<Multiaddr>>,
    /// The addresses on which this node listens on any port.
    pub(super) anywhere: Vec<Multiaddr>,
    /// Has the neighbours on the local network announce themselves.
    pub(super) look: Arc<Notify>,
}

/// The state of one network, which the loop owns.
pub(super) struct Actor {
    network: NodeSwarm,
    store: Store,
    inbox: Inbox,
    settings: NetworkSettings,
    clock: Clock,
    /// The parts that all sessions share.
    shared: SessionContext,
    peers: Peers,
    downloads: Downloads<Stored>,
    uploads: Uploads<Stored>,
    watchers: Watchers,
    webs: WebSeeds,
    /// Candidates for a dial.
    discovery: Candidates,
    dials: Dials,
    remembered: Remembered,
    seeking: Seeking,
    trackers: Trackers,
    dht: Dht,
    nat: Nat,
    /// The state of the office whose network this is; `None` for the public network.
    office: Option<OfficeState>,
    /// Members that are called although there are enough others.
    urgent: BTreeSet<PeerId>,
    /// Has the neighbours on the local network announce themselves.
    look: Arc<Notify>,
    /// The addresses on which this node listens.
    listen: watch::Sender<Vec<Multiaddr>>,
    /// The addresses on which this node listens on any port, until the ports are remembered.
    anywhere: Vec<Multiaddr>,
    /// Ends of sessions that a person should know of.
    partings: Partings,
    /// Limits the lines of the log about them.
    said: Seldom,
    /// Limits the lines of the log about chunks that peers call bad.
    complaints: Seldom,
    /// Limits the lines of the log about connections that could not be taken.
    listening: Seldom,
    /// Connections of peers that are told why they are let go, and the times since which they wait.
    closing: Vec<(Instant, PeerId, ConnectionId)>,
}

impl Actor {
    /// Returns the actor of a network that listens already. It has told trackers and the DHT of the blobs
    /// that are here, if it is to.
    pub(super) fn new(
        mut network: NodeSwarm,
        shared: SessionContext,
        inbox: Inbox,
        settings: NetworkSettings,
        ways: Ways,
        office: Option<OfficeState>,
    ) -> Self {
        let Ways { given, nat, trackers, dht, listen, anywhere, look } = ways;
        let now = Instant::now();
        let store = shared.store.clone();
        let (bans, decided) = Bans::load(&store);
        decided.iter().for_each(|decided| network.behaviour_mut().gate.ban(decided));
        use_relays(&mut network, &nat, office.as_ref());
        let remembered = Remembered::load(&store);
        let mut discovery = Candidates::default();
        remembered.name_to(&mut discovery, now);
        given.iter().for_each(|addr| discovery.found(addr, None, AddressSource::Given, now));
        remembered.bar_in(&mut discovery);
        let mut new = Self {
            network,
            store,
            inbox,
            clock: Clock::new(now),
            shared,
            peers: Peers::new(bans, settings.seed),
            downloads: Downloads::new(settings.seed),
            uploads: Uploads::default(),
            watchers: Watchers::default(),
            webs: WebSeeds::default(),
            discovery,
            dials: Dials::default(),
            remembered,
            seeking: Seeking::default(),
            trackers,
            dht,
            nat,
            office,
            urgent: BTreeSet::new(),
            look,
            listen,
            anywhere,
            partings: Partings::default(),
            said: Seldom::default(),
            complaints: Seldom::default(),
            listening: Seldom::default(),
            closing: Vec::new(),
            settings,
        };
        if new.settings.resident {
            new.announce_all(false);
        }
        new.meet_members();
        new
    }

    /// Returns the time since the network started.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Lets downloads and uploads decide about an event, then carries out their decisions and shows the views
    /// that have changed.
    pub(super) fn exchange<T>(
        &mut self,
        decide: impl FnOnce(&mut Downloads<Stored>, &mut Uploads<Stored>, &mut Effects<'_, Stored>) -> T,
    ) -> T {
        let mut effects = Effects::new(self.now(), &self.peers);
        let decided = decide(&mut self.downloads, &mut self.uploads, &mut effects);
        let effects = effects.into_list();
        self.peers.carry_out(effects);
        self.watchers.publish(&mut self.downloads);
        decided
    }

    /// Returns the time at which the next [`Actor::tick`] is due.
    fn next_tick(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.downloads.next_tick(self.now()).unwrap_or(IDLE_TICK)
    }

    /// Runs until the network is told to quit or all handles to it are gone.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::Instant::now();
        loop {
            self.exchange(|downloads, uploads, fx| downloads.shared(fx, uploads));
            self.end_doomed();
            self.dial();
            self.announce();
            tick = tick.min(self.next_tick());
            tokio::select! {
                command = self.inbox.commands.recv() => match command {
                    Some(NetworkCommand::Quit) | None => return self.end().await,
                    Some(command) => self.command(command),
                },
                Some((key, event)) = self.inbox.sessions.recv() => self.session(key, event),
                Some(result) = self.inbox.opened.1.recv() => self.looked_up(result),
                Some(knock) = next_knock(&mut self.office) => self.knocked(knock),
                Some(neighbour) = self.inbox.beacons.recv() => self.announced(neighbour),
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

    /// Writes down what the next run needs, and takes leave of office, DHT and trackers.
    async fn end(&mut self) {
        self.peers.bans.save_now(&self.store);
        let given: Vec<_> = self.peers.givers().collect();
        given.into_iter().for_each(|(peer, addr)| self.remembered.peers.met(peer, &addr));
        self.remembered.peers.save(&self.store);
        if let Some(office) = &mut self.office {
            office.close().await;
        }
        self.dht.save(&self.store, true);
        self.trackers.leave().await;
    }

    /// Handles the end of a session. `reason` is `None` if another session with the same peer takes its
    /// place.
    fn peer_down(&mut self, key: PeerKey, reason: Option<&str>) {
        if let Some(peer) = self.peers.remove(key) {
            if let Some((peer, addr)) = peer.worth() {
                self.remembered.peers.met(peer, &addr);
            }
            if let Some(office) = &mut self.office {
                office.peer_down(key);
            }
            if peer.bads > 0
                && let Some(hidden) = self.complaints.due(Instant::now())
            {
                let (peer, count) = (peer.id, peer.bads);
                tracing::warn!(%peer, count, hidden, "a peer says that chunks we sent did not verify");
            }
            self.left(&peer, reason);
            self.uploads.peer_down(key);
            self.exchange(|downloads, uploads, fx| downloads.peer_down(key, fx, uploads));
        }
    }

    /// Has a peer that left dialled again: soon if it had introduced itself, else as after a dial that
    /// failed.
    fn left(&mut self, peer: &Peer, reason: Option<&str>) {
        let now = Instant::now();
        if !peer.dialled || peer.hello.is_some() {
            return self.discovery.lost(peer.id, reason, now);
        }
        let Some(reason) = reason else {
            self.discovery.met(peer.id, &peer.addr, true, now);
            return self.discovery.lost(peer.id, None, now);
        };
        let reason = self.remembered.refusals.sentence(&peer.id).unwrap_or_else(|| reason.to_owned());
        self.discovery.unmet(peer.id, &peer.addr, &reason, !self.downloads.is_idle(), now);
    }

    /// Does the periodic work: that of the scheduler each time, the rest when its interval has passed.
    fn tick(&mut self) {
        let now = Instant::now();
        let orphans = self.watchers.take_orphans();
        self.tell_limits();
        self.exchange(|downloads, uploads, fx| {
            orphans.into_iter().for_each(|id| downloads.stop(id, fx, uploads));
            downloads.tick(fx, uploads);
        });
        self.close_parted();
        if self.clock.may_show(now) {
            let tried = if self.downloads.is_idle() { Vec::new() } else { self.routes() };
            self.downloads.show(&tried, self.now());
            self.tend_webs();
        }
        if self.clock.may_tend(now) {
            self.tend(now);
        }
    }

    /// Tells the scheduler the limits of uploads that are in force.
    fn tell_limits(&mut self) {
        let limit = |limited, outside| self.shared.ways.of(Near { limited, outside, here: false }).up.limit();
        let (near, far) = (limit(self.settings.limit_lan, false), limit(true, true));
        self.downloads.limited(near, far, self.now());
    }

    /// Does the work of every second.
    fn tend(&mut self, now: Instant) {
        self.peers.bans.save(&self.store);
        self.remembered.peers.save_now_and_then(&self.store);
        self.peers.probe(now);
        for peer in self.peers.lively() {
            self.network.behaviour_mut().gate.used(peer, now);
        }
        self.exchange(|_, uploads, fx| uploads.offer_waiting(fx));
        self.tend_widths();
        // The ports of a node that ends before that are not looked for again.
        if self.clock.has_settled(now) && !self.anywhere.is_empty() {
            peer_cache::keep_ports(&self.store, &std::mem::take(&mut self.anywhere), &self.listen.borrow());
        }
        self.ask_around(now);
        if self.downloads.room(&self.peers, self.now()) > 0 {
            self.look.notify_one();
        }
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

/// Has the network use the relays that the options name: each may tell this node at which address it sees it.
fn use_relays(network: &mut NodeSwarm, nat: &Nat, office: Option<&OfficeState>) {
    for relay in nat.reach.relays() {
        network.behaviour_mut().identify.with(relay);
        network.behaviour_mut().streams.share(relay);
        if let Some(office) = office {
            network.behaviour_mut().streams.leave(relay);
            office.relay(relay);
        }
    }
}

/// Waits for the next newcomer at the door of an office; for ever if there is no office.
async fn next_knock(office: &mut Option<OfficeState>) -> Option<Admission> {
    match office {
        Some(office) => office.knock().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_fits_its_network() {
        let audience = |audience| {
            let options = Options { audience, ..Options::new(std::path::PathBuf::new()) };
            NetworkSettings::new(&options, None, None, 0).audience
        };
        assert_eq!(audience(None), Audience::default());
        assert_eq!(audience(Some(Audience::Lan)), Audience::Lan);
        assert_eq!(audience(Some(Audience::Office)), Audience::Nobody, "the public network has no members");
    }
}
