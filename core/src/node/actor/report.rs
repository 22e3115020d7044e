//! How things are on a network, for a person.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::id::ContentId;
use crate::node::event::{Ban, Peer as PeerRow, Tracker as TrackerRow};
use crate::node::transfers::View;
use crate::node::why::Report as WhyReport;

/// How things are on the network.
#[derive(Debug)]
pub(in crate::node) struct Report {
    pub(in crate::node) peer: PeerId,
    pub(in crate::node) listen: Vec<Multiaddr>,
    pub(in crate::node) peers: Vec<PeerRow>,
    pub(in crate::node) banned: Vec<Ban>,
    /// Bans of this node by others.
    pub(in crate::node) banned_by: Vec<Ban>,
    pub(in crate::node) refused: Vec<(String, u64)>,
    pub(in crate::node) notices: Vec<String>,
    pub(in crate::node) trackers: Vec<TrackerRow>,
    pub(in crate::node) dht: Option<String>,
    pub(in crate::node) dht_serves: Vec<Multiaddr>,
    pub(in crate::node) reached: String,
    pub(in crate::node) router: Option<String>,
    pub(in crate::node) uploaded: u64,
    pub(in crate::node) downloaded: u64,
    pub(in crate::node) transfers: Vec<(ContentId, View)>,
    pub(in crate::node) holders: BTreeMap<ContentId, u32>,
}

impl Report {
    /// That of another network of the same node beside it.
    pub(in crate::node) fn join(&mut self, other: Self) {
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
    pub(super) fn report(&mut self) -> Report {
        let (uploaded, downloaded) = self.peers.traffic();
        let behaviour = self.network.behaviour();
        let mut refused: Vec<(String, u64)> = behaviour.gate.refused().rows();
        refused.push(("extra streams".to_owned(), behaviour.streams.refused()));
        refused.extend(self.dht.refused().iter().map(|(reason, n)| (format!("by the DHT: {reason}"), *n)));
        refused.retain(|(_, n)| *n > 0);
        let views = self.transfers.views();
        let holders = views.iter().map(|(id, v)| (*id, v.progress.holders)).collect();
        Report {
            peer: *self.network.local_peer_id(),
            listen: self.listen.borrow().clone(),
            peers: self.peers.rows(|key| self.transfers.rate(key)),
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

    pub(super) fn why(&self, id: ContentId) -> WhyReport {
        let facts = self.transfers.facts(id);
        let name =
            |key| self.peers.get(key).map_or_else(String::new, |p| format!("{} ({})", short(&p.id), p.addr));
        let names = facts.iter().flat_map(|f| &f.holders).map(|holder| name(holder.peer)).collect();
        let barred = self.barred.sentences();
        let routes = self.routes().into_iter().filter(|route| !barred.contains(route)).collect();
        WhyReport { facts, names, barred, routes }
    }
}

/// The last digits of a peer's id: its first ones are everybody's.
fn short(peer: &PeerId) -> String {
    let whole = peer.to_string();
    format!("..{}", whole.get(whole.len().saturating_sub(8)..).unwrap_or_default())
}
