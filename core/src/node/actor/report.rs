//! Reports on the state of a network, for a person.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::api::status::{BanRow, PeerRow, TrackerRow};
use crate::exchange::{DownloadView, Facts};
use crate::id::ContentId;

/// The state of a download and its surroundings, for `swarm why`.
#[derive(Debug, Default)]
pub(in crate::node) struct DownloadReport {
    /// The state of the download; `None` if this network does not fetch the blob.
    pub(crate) facts: Option<Facts>,
    /// Names of the holders in `facts`, in their order.
    pub(crate) names: Vec<String>,
    /// Bans of this node by others, a sentence each.
    pub(crate) barred: Vec<String>,
    /// Results of every way of finding others, a line each.
    pub(crate) routes: Vec<String>,
}

/// The state of a network, for the status reports.
#[derive(Debug)]
pub(crate) struct NetworkReport {
    pub(crate) peer: PeerId,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: Vec<PeerRow>,
    pub(crate) banned: Vec<BanRow>,
    /// Bans of this node by others.
    pub(crate) banned_by: Vec<BanRow>,
    /// Reasons for which connections and requests were refused, with how often.
    pub(crate) refused: Vec<(String, u64)>,
    /// Sentences that a person should read.
    pub(crate) notices: Vec<String>,
    pub(crate) trackers: Vec<TrackerRow>,
    /// The state of the DHT in words; `None` if it is not used.
    pub(crate) dht: Option<String>,
    /// Addresses at which this node is a server of the DHT.
    pub(crate) dht_serves: Vec<Multiaddr>,
    /// The ways on which others reach this node, in words.
    pub(crate) reached: String,
    /// The state of the router in words; `None` if it is not asked.
    pub(crate) router: Option<String>,
    /// Payload bytes sent to peers since the start.
    pub(crate) uploaded: u64,
    /// Payload bytes received from peers since the start.
    pub(crate) downloaded: u64,
    pub(crate) transfers: Vec<(ContentId, DownloadView)>,
    /// Number of known holders of each blob that is being fetched.
    pub(crate) holders: BTreeMap<ContentId, u32>,
}

impl NetworkReport {
    /// Adds the report on another network of the same node. Peer id, addresses, trackers and DHT stay those
    /// of the first network.
    pub(crate) fn join(&mut self, other: Self) {
        self.peers.extend(other.peers);
        self.banned.extend(other.banned);
        self.banned_by.extend(other.banned_by);
        for (reason, count) in other.refused {
            match self.refused.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, all)) => *all += count,
                None => self.refused.push((reason, count)),
            }
        }
        self.notices.extend(other.notices);
        self.uploaded += other.uploaded;
        self.downloaded += other.downloaded;
        self.transfers.extend(other.transfers);
        for (id, count) in other.holders {
            *self.holders.entry(id).or_default() += count;
        }
    }
}

impl Actor {
    /// Returns the state of the network.
    pub(super) fn report(&mut self) -> NetworkReport {
        let (uploaded, downloaded) = self.peers.traffic();
        let behaviour = self.network.behaviour();
        let mut refused: Vec<(String, u64)> = behaviour.gate.refused().rows();
        refused.push(("extra streams".to_owned(), behaviour.streams.refused()));
        refused.extend(self.dht.refused().iter().map(|(reason, n)| (format!("by the DHT: {reason}"), *n)));
        refused.retain(|(_, n)| *n > 0);
        let views = self.watchers.views(&self.downloads);
        let holders = views.iter().map(|(id, v)| (*id, v.progress.holders)).collect();
        NetworkReport {
            peer: *self.network.local_peer_id(),
            listen: self.listen.borrow().clone(),
            peers: self.peers.rows(|key| self.downloads.rate(key)),
            banned: self.peers.bans.rows(),
            refused,
            banned_by: self.remembered.refusals.rows(),
            notices: self.notices(),
            trackers: self.trackers.rows(),
            dht: self.dht.row(),
            dht_serves: self.dht.serves(),
            reached: self.nat.reach.state(&self.listen.borrow()),
            router: self.nat.router(),
            uploaded,
            downloaded,
            transfers: views,
            holders,
        }
    }

    /// Returns sentences about peers that a person should read.
    fn notices(&self) -> Vec<String> {
        let mut all = self.remembered.refusals.sentences();
        all.extend(self.partings.sentences());
        all
    }

    /// Returns the results of every way of finding others, a line each.
    pub(super) fn routes(&self) -> Vec<String> {
        let mut routes = self.remembered.refusals.sentences();
        routes.extend(self.discovery.tried(self.settings.mdns));
        routes.extend(self.trackers.tried());
        if self.office.is_none() {
            routes.push(self.dht.tried());
        }
        routes.extend(self.webs.routes());
        routes.extend(self.partings.sentences());
        routes
    }

    /// Returns the state of a download and its surroundings.
    pub(super) fn why(&self, id: ContentId) -> DownloadReport {
        let facts = self.downloads.facts(id, self.now());
        let name =
            |key| self.peers.get(key).map_or_else(String::new, |p| format!("{} ({})", short(&p.id), p.addr));
        let names = facts.iter().flat_map(|f| &f.holders).map(|holder| name(holder.peer)).collect();
        let barred = self.remembered.refusals.sentences();
        let routes = self.routes().into_iter().filter(|route| !barred.contains(route)).collect();
        DownloadReport { facts, names, barred, routes }
    }
}

/// Returns the last 8 characters of a peer id. The first ones are the same for all peers.
fn short(peer: &PeerId) -> String {
    let whole = peer.to_string();
    format!("..{}", whole.get(whole.len().saturating_sub(8)..).unwrap_or_default())
}
