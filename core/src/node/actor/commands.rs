//! Commands that the jobs of a node give to its network.

use std::sync::Arc;
use std::time::Instant;

use libp2p::Multiaddr;
use tokio::sync::{oneshot, watch};

use super::{Actor, DownloadReport, MembershipCommand, NetworkReport};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::discovery::candidates::AddressSource;
use crate::exchange::DownloadView;
use crate::id::ContentId;
use crate::net::address::{is_relayed, split_peer};
use crate::options::Audience;
use crate::schedule::ChunkOrder;
use crate::store::Blob;
use crate::transfer::watchers::Owner;

/// Places where holders may be found, as a link or a person names them.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Hints {
    /// Addresses of peers.
    pub(crate) peers: Vec<Multiaddr>,
    /// Addresses of trackers.
    pub(crate) trackers: Vec<Multiaddr>,
    /// Addresses of servers of the DHT.
    pub(crate) dht: Vec<Multiaddr>,
    /// URLs of web seeds.
    pub(crate) webseeds: Vec<String>,
    /// The peers that may fetch the blob from this node; `None` for the node's default audience.
    pub(crate) audience: Option<Audience>,
}

/// A command of a job to its network.
#[derive(Debug)]
pub(in crate::node) enum NetworkCommand {
    /// Finds out what an id is, unless that is `known`. The second part of the answer is true if no other job
    /// fetches the blob.
    Learn {
        id: ContentId,
        known: Option<(Geometry, ContentKind)>,
        expect: Option<(ContentKind, u64)>,
        owner: Arc<Owner>,
        hints: Hints,
        reply: oneshot::Sender<(watch::Receiver<DownloadView>, bool)>,
    },
    /// Fetches chunks into this blob.
    Start {
        blob: Arc<Blob>,
        order: ChunkOrder,
        owner: Arc<Owner>,
        hints: Hints,
        reply: oneshot::Sender<watch::Receiver<DownloadView>>,
    },
    /// Ends a download. If the blob is whole now, it is served from `whole` from now on.
    Stop { id: ContentId, whole: Option<Arc<Blob>> },
    /// The record of a blob has changed: peers that want the blob are served from it as it is now.
    Publish(Arc<Blob>),
    /// A blob may not be served any longer.
    Withdraw(ContentId),
    /// Bytes of a whole blob are gone or have changed.
    Lost(ContentId),
    /// Other peers than before may fetch a blob.
    Audience(ContentId),
    /// Sets the peers that may fetch a blob without an audience of its own.
    Default(Audience),
    /// Dials peers that may be members of the office.
    Meet(Hints),
    /// A command to the network of an office.
    Office(MembershipCommand),
    /// Asks for the circumstances that hold a download up.
    Why { id: ContentId, reply: oneshot::Sender<DownloadReport> },
    /// Asks for the payload bytes sent to peers since the start.
    Uploaded(oneshot::Sender<u64>),
    /// Asks for the state of the network.
    Report(oneshot::Sender<NetworkReport>),
    /// Ends the network.
    Quit,
}

impl Actor {
    /// Carries out a command of a job.
    pub(super) fn command(&mut self, command: NetworkCommand) {
        match command {
            NetworkCommand::Learn { id, known, expect, owner, hints, reply } => {
                self.hints(id, &hints);
                let running = self.watchers.watch(id);
                let ours = running.is_none();
                let view = running.unwrap_or_else(|| self.watchers.add(id, &owner));
                if ours {
                    self.exchange(|downloads, uploads, fx| {
                        // A download that still runs has lost its owner.
                        downloads.stop(id, fx, uploads);
                        downloads.learn(id, known, expect, fx);
                    });
                }
                let _ = reply.send((view, ours));
            }
            NetworkCommand::Start { blob, order, owner, hints, reply } => {
                self.hints(blob.id(), &hints);
                // A blob of another network is copied from here, and not offered in this one.
                let ours = blob.record().is_of(self.settings.domain);
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
                    // A partial blob is offered only while a job fetches it.
                    None => self.withdraw(id),
                }
            }
            NetworkCommand::Publish(blob) => self.share(blob),
            NetworkCommand::Withdraw(id) => self.withdraw(id),
            NetworkCommand::Lost(id) => self.lost(id),
            NetworkCommand::Audience(id) => self.audience_changed(id),
            NetworkCommand::Default(audience) => {
                if self.settings.audience != audience {
                    self.settings.audience = audience;
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
            NetworkCommand::Office(command) => self.office_ask(command),
            NetworkCommand::Why { id, reply } => drop(reply.send(self.why(id))),
            NetworkCommand::Uploaded(reply) => drop(reply.send(self.peers.traffic().0)),
            NetworkCommand::Report(reply) => drop(reply.send(self.report())),
            NetworkCommand::Quit => {}
        }
    }

    /// Looks for holders of a blob at the places that the hints name, and on all other ways.
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
        self.webs.add(id, &hints.webseeds);
        hints.dht.iter().for_each(|addr| self.dht.linked(addr));
        self.trackers.wants(id);
        let tells = hints.audience.unwrap_or_else(|| self.audience(id)) == Audience::Anyone;
        self.look.notify_one();
        self.dht.wants(id, tells);
        self.discovery.hurry(now);
    }
}
