//! How things are on a network, for a person.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::api::status::{BanRow, PeerRow, TrackerRow};
use crate::exchange::{DownloadView, Facts};
use crate::id::ContentId;

/// A download and its surroundings.
#[derive(Debug, Default)]
pub(in crate::node) struct DownloadReport {
    pub(crate) facts: Option<Facts>,
    /// Names of the holders in `facts`, in that order.
    pub(crate) names: Vec<String>,
    /// Bans of this node by others, a sentence each.
    pub(crate) barred: Vec<String>,
    /// What every way of finding others found.
    pub(crate) routes: Vec<String>,
}

/// How things are on the network.
#[derive(Debug)]
pub(crate) struct NetworkReport {
    pub(crate) peer: PeerId,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: Vec<PeerRow>,
    pub(crate) banned: Vec<BanRow>,
    /// Bans of this node by others.
    pub(crate) banned_by: Vec<BanRow>,
    pub(crate) refused: Vec<(String, u64)>,
    pub(crate) notices: Vec<String>,
    pub(crate) trackers: Vec<TrackerRow>,
    pub(crate) dht: Option<String>,
    pub(crate) dht_serves: Vec<Multiaddr>,
    pub(crate) reached: String,
    pub(crate) router: Option<String>,
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
    pub(crate) transfers: Vec<(ContentId, DownloadView)>,
    pub(crate) holders: BTreeMap<ContentId, u32>,
}

impl NetworkReport {
    /// That of another network of the same node beside it.
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
            banned_by: self.barred.rows(),
            notices: self.barred.sentences(),
            trackers: self.trackers.rows(),
            dht: self.dht.row(),
            dht_serves: self.dht.serves(),
            reached: self.reach.state(&self.listen.borrow()),
            router: self.mapped.as_ref().map(|mapped| mapped.borrow().state.clone()),
            uploaded,
            downloaded,
            transfers: views,
            holders,
        }
    }

    /// Results of every way of finding others, a line each.
    pub(super) fn routes(&self) -> Vec<String> {
        let mut routes = self.barred.sentences();
        routes.extend(self.discovery.tried(self.mdns));
        routes.extend(self.trackers.tried());
        if self.office.is_none() {
            routes.push(self.dht.tried());
        }
        routes.extend(self.web_routes());
        routes
    }

    pub(super) fn why(&self, id: ContentId) -> DownloadReport {
        let facts = self.downloads.facts(id, self.now());
        let name =
            |key| self.peers.get(key).map_or_else(String::new, |p| format!("{} ({})", short(&p.id), p.addr));
        let names = facts.iter().flat_map(|f| &f.holders).map(|holder| name(holder.peer)).collect();
        let barred = self.barred.sentences();
        let routes = self.routes().into_iter().filter(|route| !barred.contains(route)).collect();
        DownloadReport { facts, names, barred, routes }
    }
}

/// The last digits of a peer's id: its first ones are everybody's.
fn short(peer: &PeerId) -> String {
    let whole = peer.to_string();
    format!("..{}", whole.get(whole.len().saturating_sub(8)..).unwrap_or_default())
}
