//! Servers: who they are, whether they are there, and how far away.

use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, identify, kad};

use super::{Check, Member, Query, Says};
use crate::limits;
use crate::node::dht::records::Origin;
use crate::node::dht::routing::PROTOCOL;
use crate::node::discovery::{class_of, endpoint, ip_of, is_one_host, split_peer};
use crate::node::event::Class;
use crate::node::reach::is_gone;

/// Servers that say they are are called at once, to see whether they can be reached: so many...
const CHECKS: usize = 16;
/// ...and of one network so many...
const CHECKS_OF_ORIGIN: usize = 2;
/// ...each of which is let go after this.
const CHECK: Duration = Duration::from_secs(5);
/// Of one network so many servers are remembered.
const REACHED_OF_ORIGIN: usize = 2;
/// While nobody has answered for so long, those of whom only the address is known are called.
const SILENCE: Duration = Duration::from_secs(60);

/// Whom a peer or a link names is called so often.
const SAID_TRIES: u32 = 8;

impl Member {
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
                // Our owner's stand first.
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

    /// Calls those whom others have named and who did not answer yet, and those of whom only the address is known, while
    /// nobody answers.
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

    /// Lets go of whom it has checked, and tells whoever was found near a key when the search takes long.
    pub(super) fn look(&mut self, now: Instant) {
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

    /// An address of ours is gone: what others have seen of it says nothing any longer.
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

    /// Somebody shows what it is. A server that we have called is one; one that has come to us is called where it says, and
    /// nowhere but where it came from, before anybody is sent to it.
    pub(super) fn identified(&mut self, id: ConnectionId, info: &identify::Info) {
        let Some(met) = self.met.get(&id).filter(|_| info.protocols.contains(&PROTOCOL)) else { return };
        let (peer, addr) = (met.peer, met.addr.clone());
        let Some(from) = ip_of(&addr) else { return };
        let origin = Origin::of(from);
        if met.dialled {
            self.answered = Some(Instant::now());
            self.said.retain(|(said, _)| split_peer(said).1 != Some(peer));
            self.network.behaviour_mut().routing.trust(peer, &addr, false);
            let same = |known: &Multiaddr| ip_of(known).is_some_and(|ip| Origin::of(ip) == origin);
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
            self.checks.insert(id, Check { peer, origin, since: Instant::now() });
        }
    }

    /// Takes in how far away those are whom we know: where strangers may send us depends on it.
    pub(super) fn widen(&mut self) {
        let classes = |addrs: &[Multiaddr]| addrs.iter().filter_map(ip_of).map(class_of).max();
        let own: Vec<Multiaddr> =
            if self.serves() { self.network.listeners().cloned().collect() } else { Vec::new() };
        let behaviour = self.network.behaviour_mut();
        let widest = classes(&self.reached).or_else(|| behaviour.routing.named_by_owner());
        let widest = widest.or_else(|| classes(&own));
        let private = widest == Some(Class::Lan);
        behaviour.routing.widest = widest;
        (behaviour.gate.private, behaviour.autonat.private) = (private, private);
    }
}
