//! libp2p's Kademlia, held to our rules about addresses: what strangers name is dialled only where it leads to a server of
//! the DHT that may be meant for us, and where a holder's sessions are reached is told beside where its DHT is, marked, so
//! that nobody looks for the one at the other.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, Behaviour as Kademlia};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, StreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::records::Records;
use crate::limits;
use crate::node::discovery::{SERVICE_PORTS, class_of, endpoint, is_one_host, split_peer};
use crate::node::event::Class;
use crate::node::reach::is_relayed;
use crate::wire::dht::{self, MARK};
use crate::wire::tracker::Key;

/// The protocol's name as libp2p wants it.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new(dht::PROTOCOL);

/// See [`limits::DHT_CALLS_PER_HOST`].
const CALLS_WITHIN: Duration = Duration::from_secs(60);

/// An address of ours for sessions, as it is told.
pub(super) fn mark(addr: &Multiaddr) -> Multiaddr {
    addr.clone().with(Protocol::Sni(MARK.into()))
}

/// The address behind a mark; none where there is no mark.
pub(super) fn unmark(addr: &Multiaddr) -> Option<Multiaddr> {
    let (mut bare, _) = split_peer(addr);
    match bare.pop() {
        Some(Protocol::Sni(mark)) if mark == MARK => Some(bare),
        _ => None,
    }
}

/// See the module's text.
pub(super) struct Routing {
    pub(super) kad: Kademlia<Records>,
    /// Servers that somebody other than the DHT told us of.
    trusted: BTreeMap<PeerId, Trusted>,
    next: u64,
    /// How far away the farthest server is that was reached: those of the internet name no addresses of our network.
    pub(super) widest: Option<Class>,
    /// Calls to each host because strangers named it, lately.
    called: BTreeMap<IpAddr, VecDeque<Instant>>,
}

#[derive(Debug)]
struct Trusted {
    /// Our owner named it: it is never forgotten.
    owner: bool,
    since: u64,
    addrs: Vec<Multiaddr>,
}

impl Routing {
    /// Of a node that answers nobody yet.
    pub(super) fn new(kad: Kademlia<Records>) -> Self {
        let mut new = Self { kad, trusted: BTreeMap::new(), next: 0, widest: None, called: BTreeMap::new() };
        new.kad.set_mode(Some(kad::Mode::Client));
        new
    }

    /// A server is there, as our owner says, or as we have seen.
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
        // Where it was met last stands first.
        known.addrs.retain(|known| known != addr);
        known.addrs.insert(0, addr.clone());
        known.addrs.truncate(limits::PEER_ADDRS);
        self.kad.add_address(&peer, addr.clone());
    }

    /// How far away the farthest server is that our owner has named.
    pub(super) fn named_by_owner(&self) -> Option<Class> {
        let owners = self.trusted.values().filter(|known| known.owner).flat_map(|known| &known.addrs);
        owners.filter_map(|addr| endpoint(addr).map(|end| class_of(end.ip))).max()
    }

    /// Where a holder of this that the query under way has named, or our own records, says that it is reached.
    pub(super) fn addresses_of(&mut self, key: &Key, peer: PeerId) -> Vec<Multiaddr> {
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

    /// Whether this host may be called once more because strangers named it; this machine may always.
    fn may_call(&mut self, addr: &Multiaddr, counted: &mut Vec<IpAddr>, now: Instant) -> bool {
        let Some(end) = endpoint(addr).filter(|end| end.port >= SERVICE_PORTS) else { return false };
        if class_of(end.ip) == Class::Host || counted.contains(&end.ip) {
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

    /// Whether strangers may send us there.
    fn may_name(&self, addr: &Multiaddr) -> bool {
        endpoint(addr).is_some_and(|end| {
            let class = class_of(end.ip);
            is_one_host(end.ip)
                && end.port != 0
                && (class == Class::Wan
                    || (end.port >= SERVICE_PORTS && self.widest.is_some_and(|widest| class >= widest)))
        })
    }
}

impl NetworkBehaviour for Routing {
    type ConnectionHandler = THandler<Kademlia<Records>>;
    type ToSwarm = kad::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    /// The addresses of a server that a query wants to ask: those that may be dialled, and few.
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
        // TCP and QUIC of one host are one call.
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

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.kad.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<kad::Event, THandlerInEvent<Self>>> {
        self.kad.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn routing() -> Routing {
        let local = PeerId::random();
        let kad = Kademlia::with_config(local, Records::new(local, 100), kad::Config::new(PROTOCOL));
        Routing::new(kad)
    }

    #[test]
    fn where_sessions_are_reached_is_marked() {
        for text in ["/ip4/45.1.2.3/tcp/4001", "/ip6/2a0e::1/udp/1/quic-v1"] {
            let plain = addr(text);
            let told = mark(&plain).with_p2p(PeerId::random()).unwrap();
            assert_eq!(unmark(&told), Some(plain.clone()));
            assert_eq!(unmark(&plain), None);
            assert_eq!(endpoint(&split_peer(&told).0), None, "nobody dials it as it is");
        }
        assert_eq!(unmark(&addr("/ip4/45.1.2.3/tcp/4001/sni/other")), None);
    }

    /// D48: the DHT of the internet names no addresses of ours, that of an office none of this machine.
    #[test]
    fn d48_strangers_name_no_addresses_of_ours() {
        let mut routing = routing();
        let may = |routing: &Routing, text: &str| routing.may_name(&addr(text));
        let (wan, lan, service) =
            ("/ip4/45.1.2.3/tcp/80", "/ip4/192.168.1.9/tcp/4001", "/ip4/192.168.1.1/tcp/80");
        assert!(may(&routing, wan) && !may(&routing, lan), "nobody was reached yet");
        routing.widest = Some(Class::Lan);
        assert!(may(&routing, wan) && may(&routing, lan) && !may(&routing, service));
        assert!(!may(&routing, "/ip4/127.0.0.1/tcp/4001"));
        routing.widest = Some(Class::Wan);
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
        // What strangers name at one host is called a few times, what we know ourselves always.
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
        let origin = super::super::records::Origin::of([45, 1, 2, 3].into());
        routing.kad.store_mut().tell(record, origin, Instant::now());
        assert_eq!(routing.addresses_of(&key, peer), [addr("/ip4/45.1.2.3/tcp/4001")]);
    }
}
