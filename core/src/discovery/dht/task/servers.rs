//! Servers of the DHT: learning of them, checking that they can be reached, and how far away they are.

use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, identify, kad};

use super::{DhtNode, Query, Says, ServerCheck};
use crate::discovery::dht::records::RecordSubnet;
use crate::discovery::dht::routing::PROTOCOL;
use crate::discovery::reachability::is_gone;
use crate::distance::Distance;
use crate::limits;
use crate::net::address::{class_of, endpoint, ip_of, is_one_host, split_peer};

/// Checks at once, of peers that say they are servers.
const CHECKS: usize = 16;
/// Checks at once of peers from one subnet.
const CHECKS_OF_ORIGIN: usize = 2;
/// Time after which a check is given up.
const CHECK: Duration = Duration::from_secs(5);
/// Servers from one subnet that are remembered.
const REACHED_OF_ORIGIN: usize = 2;
/// Time without an answer after which servers without a known peer id are dialled again.
const SILENCE: Duration = Duration::from_secs(60);

/// Dials to a server that a peer or a link named.
const SAID_TRIES: u32 = 8;

impl DhtNode {
    pub(super) fn know(&mut self, addr: &Multiaddr, says: Says) {
        match split_peer(addr) {
            (_, Some(peer)) if peer == *self.network.local_peer_id() => {}
            (bare, Some(peer)) if says != Says::Other => {
                self.network.behaviour_mut().routing.trust(peer, &bare, says == Says::Owner);
            }
            (bare, Some(peer)) => {
                let known = self.said.iter().any(|(said, _)| said == addr);
                if !known {
                    if self.said.len() >= limits::DHT_NODES {
                        self.said.pop_front();
                    }
                    self.said.push_back((addr.clone(), 0));
                }
                self.call_said(peer, bare);
            }
            (bare, None) if !self.nameless.contains(&bare) => {
                if self.nameless.len() >= limits::DHT_NODES {
                    self.nameless.pop_back();
                }
                // Servers that our owner named come first.
                match says {
                    Says::Owner => self.nameless.push_front(bare.clone()),
                    _ => self.nameless.push_back(bare.clone()),
                }
                self.dial(DialOpts::unknown_peer_id().address(bare).allocate_new_port().build());
            }
            _ => {}
        }
    }

    fn call_said(&mut self, peer: PeerId, bare: Multiaddr) {
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![bare]);
        self.dial(options.allocate_new_port().build());
    }

    /// Dials the servers that others have named and that have not answered yet. While no server answers, also
    /// dials those whose peer ids are not known.
    pub(super) fn call(&mut self) {
        self.said.iter_mut().for_each(|(_, tries)| *tries += 1);
        self.said.retain(|(_, tries)| *tries < SAID_TRIES);
        for (addr, _) in self.said.clone() {
            if let (bare, Some(peer)) = split_peer(&addr) {
                self.call_said(peer, bare);
            }
        }
        if self.answered.is_none_or(|at| at.elapsed() >= SILENCE) {
            for addr in self.nameless.clone() {
                self.dial(DialOpts::unknown_peer_id().address(addr).allocate_new_port().build());
            }
        }
    }

    fn dial(&mut self, options: DialOpts) -> bool {
        self.network.behaviour_mut().gate.decided(options.connection_id());
        let dialled = self.network.dial(options);
        if let Err(error) = &dialled {
            tracing::debug!(%error, "a node of the DHT is not called");
        }
        dialled.is_ok()
    }

    pub(super) fn is_busy(&self) -> bool {
        let telling = |query: &Query| matches!(query, Query::Provide(_, Some(_)));
        !self.checks.is_empty() || self.queries.values().any(telling)
    }

    /// Ends checks that took too long. Lets announcements that took long go on with the servers found so far.
    pub(super) fn look(&mut self, now: Instant) {
        let refused = self.records().refused();
        self.dirty |= std::mem::replace(&mut self.refused, refused) != refused;
        let old: Vec<ConnectionId> =
            self.checks.iter().filter(|(_, check)| now - check.since >= CHECK).map(|(id, _)| *id).collect();
        for id in old {
            self.checks.remove(&id);
            self.network.close_connection(id);
        }
        for (id, query) in &mut self.queries {
            if let Query::Provide(_, since) = query
                && since.is_some_and(|since| now - since >= limits::DHT_TELL)
            {
                *since = None;
                if let Some(mut query) = self.network.behaviour_mut().routing.kad.query_mut(id) {
                    query.finish();
                }
            }
        }
    }

    /// Forgets addresses at which others saw us, after this address of ours has gone.
    pub(super) fn moved(&mut self, gone: &Multiaddr) {
        let Some(gone) = ip_of(gone).filter(|ip| !ip.is_loopback() && is_one_host(*ip)) else { return };
        let told = &self.told;
        let seen = self.network.external_addresses().filter(|addr| !told.contains(addr));
        let lost = seen.filter(|addr| is_gone(addr, gone, self.network.listeners())).cloned();
        for addr in lost.collect::<Vec<Multiaddr>>() {
            self.network.remove_external_address(&addr);
        }
        let hidden = self.network.external_addresses().all(|addr| self.told.contains(addr));
        if hidden && !self.part.server {
            self.network.behaviour_mut().routing.kad.set_mode(Some(kad::Mode::Client));
        }
    }

    /// Handles the identify message of a peer. A server that we dialled is confirmed. A server that dialled
    /// us is checked first: it is dialled at the addresses it names, but only at the IP address it came from,
    /// before others are sent to it.
    pub(super) fn identified(&mut self, id: ConnectionId, info: &identify::Info) {
        let Some(met) = self.met.get(&id).filter(|_| info.protocols.contains(&PROTOCOL)) else { return };
        let (peer, addr) = (met.peer, met.addr.clone());
        let Some(from) = ip_of(&addr) else { return };
        let origin = RecordSubnet::of(from);
        if met.dialled {
            self.answered = Some(Instant::now());
            self.said.retain(|(said, _)| split_peer(said).1 != Some(peer));
            self.network.behaviour_mut().routing.trust(peer, &addr, false);
            let same = |known: &Multiaddr| ip_of(known).is_some_and(|ip| RecordSubnet::of(ip) == origin);
            self.reached.retain(|known| split_peer(known).1 != Some(peer));
            if from.is_loopback()
                || self.reached.iter().filter(|known| same(known)).count() < REACHED_OF_ORIGIN
            {
                self.reached.insert(0, addr.with(Protocol::P2p(peer)));
                self.reached.truncate(limits::DHT_NODES);
            }
            return self.widen();
        }
        let known = self
            .network
            .behaviour_mut()
            .routing
            .kad
            .kbucket(peer)
            .is_some_and(|bucket| bucket.iter().any(|entry| *entry.node.key.preimage() == peer));
        let (of_origin, of_peer) = (
            self.checks.values().filter(|check| check.origin == origin).count(),
            self.checks.values().any(|check| check.peer == peer),
        );
        if known
            || of_peer
            || (of_origin >= CHECKS_OF_ORIGIN && !from.is_loopback())
            || self.checks.len() >= CHECKS
        {
            return;
        }
        let there = |addr: &Multiaddr| endpoint(addr).is_some_and(|end| !end.relayed && end.ip == from);
        let bare = info.listen_addrs.iter().map(|addr| split_peer(addr).0);
        let addrs: Vec<Multiaddr> = bare.filter(there).take(limits::DHT_ADDRS).collect();
        if addrs.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addrs);
        let options = options.allocate_new_port().build();
        let id = options.connection_id();
        if self.dial(options) {
            self.checks.insert(id, ServerCheck { peer, origin, since: Instant::now() });
        }
    }

    /// Updates the distance of the farthest known server, which limits the addresses that strangers may make
    /// us dial.
    pub(super) fn widen(&mut self) {
        let classes = |addrs: &[Multiaddr]| addrs.iter().filter_map(ip_of).map(class_of).max();
        let own: Vec<Multiaddr> =
            if self.serves() { self.network.listeners().cloned().collect() } else { Vec::new() };
        let behaviour = self.network.behaviour_mut();
        let widest = classes(&self.reached).or_else(|| behaviour.routing.named_by_owner());
        let widest = widest.or_else(|| classes(&own));
        let private = widest == Some(Distance::Lan);
        behaviour.routing.widest = widest;
        (behaviour.gate.private, behaviour.autonat.private) = (private, private);
    }
}
