//! Peers with which a session ended for a reason that a person should know: what they said, or what they were
//! told. The list is short, each host has a share of it, and the oldest entry makes room.

use std::collections::VecDeque;
use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId};

use crate::limits;
use crate::net::address::{ip_of, subnet};

/// Last end of a session with one peer.
#[derive(Debug)]
struct PartingEntry {
    peer: PeerId,
    addr: Multiaddr,
    from: Option<IpAddr>,
    reason: String,
    count: u64,
}

/// The last ends of sessions, the oldest first. At most [`limits::PARTINGS`].
#[derive(Debug, Default)]
pub(crate) struct Partings(VecDeque<PartingEntry>);

impl Partings {
    /// Records the end of a session. Returns the sentence about it if it is news: if this peer did not part
    /// for this reason before.
    pub(crate) fn add(&mut self, peer: PeerId, addr: &Multiaddr, reason: &str) -> Option<String> {
        let from = ip_of(addr).map(subnet);
        let known = self.0.iter().position(|one| one.peer == peer).and_then(|at| self.0.remove(at));
        let (same, before) = known.map_or((false, 0), |one| (one.reason == reason, one.count));
        if self.0.iter().filter(|one| one.from == from).count() >= limits::PARTINGS_PER_NEIGHBOURHOOD
            && let Some(oldest) = self.0.iter().position(|one| one.from == from)
        {
            self.0.remove(oldest);
        }
        if self.0.len() >= limits::PARTINGS {
            self.0.pop_front();
        }
        let parting =
            PartingEntry { peer, addr: addr.clone(), from, reason: reason.to_owned(), count: before + 1 };
        let said = parting.sentence();
        self.0.push_back(parting);
        (!same).then_some(said)
    }

    /// Forgets a peer that takes part in a session again.
    pub(crate) fn met(&mut self, peer: &PeerId) {
        self.0.retain(|one| one.peer != *peer);
    }

    /// Returns a sentence for each peer, the last parting first.
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.0.iter().rev().map(PartingEntry::sentence).collect()
    }
}

impl PartingEntry {
    fn sentence(&self) -> String {
        let times = if self.count > 1 { format!(" ({} times)", self.count) } else { String::new() };
        format!("peer {} at {}: {}{times}", self.peer, self.addr, self.reason)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_list_is_short_and_no_neighbourhood_fills_it() {
        let mut partings = Partings::default();
        let at = |host: &str| format!("/ip4/{host}/tcp/4001").parse::<Multiaddr>().unwrap();
        let peer = PeerId::random();
        assert!(partings.add(peer, &at("192.0.2.1"), "odd").is_some());
        assert!(partings.add(peer, &at("192.0.2.1"), "odd").is_none(), "it is no news");
        assert!(partings.sentences()[0].ends_with("/ip4/192.0.2.1/tcp/4001: odd (2 times)"));
        for n in 0..100 {
            partings.add(PeerId::random(), &at(&format!("10.0.0.{n}")), "odd");
        }
        assert_eq!(partings.sentences().len(), 1 + limits::PARTINGS_PER_NEIGHBOURHOOD);
        for n in 0..100 {
            partings.add(PeerId::random(), &at(&format!("10.0.{n}.1")), "odd");
        }
        assert_eq!(partings.sentences().len(), limits::PARTINGS);
        partings.add(peer, &at("192.0.2.1"), "odd");
        partings.met(&peer);
        assert!(!partings.sentences().iter().any(|said| said.contains(&peer.to_string())));
    }
}
