//! libp2p's Kademlia with our rules about addresses. An address that strangers name is dialled only if it can
//! belong to a DHT server that is meant for us. A holder announces the addresses of its sessions beside those
//! of its DHT server, and marks them, so that nobody looks for the one at the other.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, Behaviour as Kademlia};
use libp2p::swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, StreamProtocol, THandler};
use libp2p::{Multiaddr, PeerId};

use super::mark::unmark;
use super::records::ProviderStore;
use crate::discovery::candidates::SERVICE_PORTS;
use crate::distance::Distance;
use crate::limits;
use crate::net::address::{class_of, endpoint, is_one_host, is_relayed, split_peer};
use crate::net::filter::delegate_to;
use crate::wire::dht;
use crate::wire::tracker::SwarmKey;

/// Name of the DHT protocol, as libp2p wants it.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new(dht::PROTOCOL);

/// Period for which [`limits::DHT_CALLS_PER_HOST`] counts.
const CALLS_WITHIN: Duration = Duration::from_secs(60);

/// Kademlia and the rules for the addresses that its queries dial.
pub(super) struct Routing {
    pub(super) kad: Kademlia<ProviderStore>,
    /// Servers known from a source other than the DHT.
    trusted: BTreeMap<PeerId, Trusted>,
    next: u64,
    /// Distance of the farthest server that was reached. Servers of the internet may not name addresses of
    /// our network.
    pub(super) widest: Option<Distance>,
    /// Times of recent dials to each host because strangers named it.
    called: BTreeMap<IpAddr, VecDeque<Instant>>,
}

#[derive(Debug)]
struct Trusted {
    /// True if our owner named the server, so that it is never forgotten.
    owner: bool,
    since: u64,
    addrs: Vec<Multiaddr>,
}

impl Routing {
    /// Wraps the Kademlia of a node that does not answer requests yet.
    pub(super) fn new(kad: Kademlia<ProviderStore>) -> Self {
        let mut new = Self { kad, trusted: BTreeMap::new(), next: 0, widest: None, called: BTreeMap::new() };
        new.kad.set_mode(Some(kad::Mode::Client));
        new
    }

    /// Adds a server that our owner named or that we have met.
    pub(super) fn trust(&mut self, peer: PeerId, addr: &Multiaddr, owner: bool) {
        if self.trusted.len() >= 2 * limits::DHT_NODES && !self.trusted.contains_key(&peer) {
            let oldest =
                self.trusted.iter().filter(|(_, known)| !known.owner).min_by_key(|(_, known)| known.since);
            let Some(oldest) = oldest.map(|(peer, _)| *peer) else { return };
            self.trusted.remove(&oldest);
        }
        self.next += 1;
        let known =
            self.trusted.entry(peer).or_insert(Trusted { owner, since: self.next, addrs: Vec::new() });
        known.owner |= owner;
        // The address at which the server was met last comes first.
        known.addrs.retain(|known| known != addr);
        known.addrs.insert(0, addr.clone());
        known.addrs.truncate(limits::PEER_ADDRS);
        self.kad.add_address(&peer, addr.clone());
    }

    /// Returns the distance of the farthest server that our owner has named.
    pub(super) fn named_by_owner(&self) -> Option<Distance> {
        let owners = self.trusted.values().filter(|known| known.owner).flat_map(|known| &known.addrs);
        owners.filter_map(|addr| endpoint(addr).map(|end| class_of(end.ip))).max()
    }

    /// Returns the addresses of a holder's sessions, as named by the query in progress or by our own records.
    pub(super) fn addresses_of(&mut self, key: &SwarmKey, peer: PeerId) -> Vec<Multiaddr> {
        let mut all = self.all_of(ConnectionId::new_unchecked(usize::MAX), peer);
        let told = self.kad.store_mut().providers(&key.to_vec().into());
        all.extend(
            told.into_iter().filter(|record| record.provider == peer).flat_map(|record| record.addresses),
        );
        let mut addrs: Vec<Multiaddr> = all.iter().filter_map(unmark).collect();
        addrs.retain(|addr| addr.len() <= limits::TRACKED_ADDR_BYTES && self.may_name(addr));
        addrs.sort_unstable();
        addrs.dedup();
        addrs.truncate(limits::PEER_ADDRS);
        addrs
    }

    fn all_of(&mut self, id: ConnectionId, peer: PeerId) -> Vec<Multiaddr> {
        let dialler = Endpoint::Dialer;
        self.kad.handle_pending_outbound_connection(id, Some(peer), &[], dialler).unwrap_or_default()
    }

    /// True if this host may be dialled once more because strangers named it. This machine may always be
    /// dialled.
    fn may_call(&mut self, addr: &Multiaddr, counted: &mut Vec<IpAddr>, now: Instant) -> bool {
        let Some(end) = endpoint(addr).filter(|end| end.port >= SERVICE_PORTS) else { return false };
        if class_of(end.ip) == Distance::Host || counted.contains(&end.ip) {
            return true;
        }
        let recent = |t: &Instant| now.duration_since(*t) < CALLS_WITHIN;
        if self.called.len() >= limits::CONNECTIONS {
            self.called.retain(|_, times| times.back().is_some_and(recent));
        }
        let full = self.called.len() >= 2 * limits::CONNECTIONS && !self.called.contains_key(&end.ip);
        let times = self.called.entry(end.ip).or_default();
        times.retain(recent);
        let may = !full && times.len() < limits::DHT_CALLS_PER_HOST;
        if may {
            times.push_back(now);
            counted.push(end.ip);
        }
        may
    }

    /// True if strangers may make us dial this address.
    fn may_name(&self, addr: &Multiaddr) -> bool {
        endpoint(addr).is_some_and(|end| {
            let class = class_of(end.ip);
            is_one_host(end.ip)
                && end.port != 0
                && (class == Distance::Wan
                    || (end.port >= SERVICE_PORTS && self.widest.is_some_and(|widest| class >= widest)))
        })
    }
}

impl NetworkBehaviour for Routing {
    type ConnectionHandler = THandler<Kademlia<ProviderStore>>;
    type ToSwarm = kad::Event;

    delegate_to!(kad);

    /// Returns the addresses at which a query may dial a server: the allowed ones, and few.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer.filter(|_| addresses.is_empty()) else { return Ok(Vec::new()) };
        let all = self.all_of(id, peer);
        let mut may = self.trusted.get(&peer).map(|known| known.addrs.clone()).unwrap_or_default();
        may.truncate(limits::DHT_ADDRS);
        // TCP and QUIC of one host count as one dial.
        let (now, mut counted) = (Instant::now(), Vec::new());
        for addr in all.iter().map(|addr| split_peer(addr).0) {
            let new = may.len() < limits::DHT_ADDRS && !may.contains(&addr) && !is_relayed(&addr);
            if new && self.may_name(&addr) && self.may_call(&addr, &mut counted, now) {
                may.push(addr);
            }
        }
        Ok(may)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.kad.on_swarm_event(event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mark::mark;
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn routing() -> Routing {
        let local = PeerId::random();
        let kad = Kademlia::with_config(local, ProviderStore::new(local, 100), kad::Config::new(PROTOCOL));
        Routing::new(kad)
    }

    /// D48: the DHT of the internet names no addresses of our network, and that of an office none of this
    /// machine.
    #[test]
    fn d48_strangers_name_no_addresses_of_ours() {
        let mut routing = routing();
        let may = |routing: &Routing, text: &str| routing.may_name(&addr(text));
        let (wan, lan, service) =
            ("/ip4/45.1.2.3/tcp/80", "/ip4/192.168.1.9/tcp/4001", "/ip4/192.168.1.1/tcp/80");
        assert!(may(&routing, wan) && !may(&routing, lan), "nobody was reached yet");
        routing.widest = Some(Distance::Lan);
        assert!(may(&routing, wan) && may(&routing, lan) && !may(&routing, service));
        assert!(!may(&routing, "/ip4/127.0.0.1/tcp/4001"));
        routing.widest = Some(Distance::Wan);
        assert!(may(&routing, wan) && !may(&routing, lan));
        assert!(!may(&routing, "/ip4/224.0.0.1/tcp/4001") && !may(&routing, "/ip4/45.1.2.3/tcp/0"));
    }

    #[test]
    fn what_we_know_ourselves_is_dialled_wherever_it_is() {
        let (mut routing, peer) = (routing(), PeerId::random());
        let dialled = |routing: &mut Routing, peer| {
            let id = ConnectionId::new_unchecked(1);
            routing.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer).unwrap()
        };
        routing.trust(peer, &addr("/ip4/192.168.1.2/tcp/4772"), false);
        assert_eq!(dialled(&mut routing, peer), [addr("/ip4/192.168.1.2/tcp/4772")]);
        let other = PeerId::random();
        routing.kad.add_address(&other, addr("/ip4/192.168.1.2/tcp/4772"));
        routing.kad.add_address(&other, mark(&addr("/ip4/45.1.2.3/tcp/4772")));
        assert!(dialled(&mut routing, other).is_empty());
        assert_eq!(routing.addresses_of(&[0; 32], other), [addr("/ip4/45.1.2.3/tcp/4772")]);
        routing.kad.add_address(&other, addr("/ip4/45.1.2.3/tcp/4772"));
        assert_eq!(dialled(&mut routing, other), [addr("/ip4/45.1.2.3/tcp/4772")]);
        // Hosts that strangers name are dialled a few times, addresses that we know ourselves always.
        let calls = (0..500).filter(|_| !dialled(&mut routing, other).is_empty()).count();
        assert_eq!(calls, limits::DHT_CALLS_PER_HOST - 1);
        assert_eq!(dialled(&mut routing, peer).len(), 1);
        (0..500).for_each(|_| routing.trust(PeerId::random(), &addr("/ip4/45.1.2.9/tcp/4772"), false));
        assert!(routing.trusted.len() <= 2 * limits::DHT_NODES);
    }

    #[test]
    fn holders_that_told_us_are_found_here() {
        let (mut routing, peer, key) = (routing(), PeerId::random(), [7; 32]);
        let told = vec![mark(&addr("/ip4/45.1.2.3/tcp/4001"))];
        let record = kad::ProviderRecord::new(key.to_vec(), peer, told);
        let origin = super::super::records::RecordSubnet::of([45, 1, 2, 3].into());
        routing.kad.store_mut().tell(record, origin, Instant::now());
        assert_eq!(routing.addresses_of(&key, peer), [addr("/ip4/45.1.2.3/tcp/4001")]);
    }
}
