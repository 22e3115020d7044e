//! libp2p's DCUtR, told only of addresses that mean the same to the other end: two nodes behind different routers cannot use
//! each other's private addresses, and nobody shall make us try those of our own network by naming them.

use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId, dcutr};

use super::discovery::{class_of, endpoint, is_one_host, split_peer};
use super::event::Class;

/// See the module's text.
pub(crate) struct Punch {
    inner: dcutr::Behaviour,
    /// Relays of a private network are used: so are its addresses.
    pub(crate) private: bool,
}

impl Punch {
    /// Of this node.
    pub(crate) fn new(local: PeerId) -> Self {
        Self { inner: dcutr::Behaviour::new(local), private: false }
    }
}

/// Whether an address may be used by somebody who is elsewhere.
pub(crate) fn is_for_others(addr: &Multiaddr, private: bool) -> bool {
    // Exactly what we read: transports look at parts of an address only.
    endpoint(&split_peer(addr).0).is_some_and(|end| {
        !end.relayed
            && is_one_host(end.ip)
            && match class_of(end.ip) {
                Class::Host => false,
                Class::Lan => private,
                _ => true,
            }
    })
}

impl NetworkBehaviour for Punch {
    type ConnectionHandler = <dcutr::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = dcutr::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewExternalAddrCandidate(candidate) = &event
            && !is_for_others(candidate.addr, self.private)
        {
            return;
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<dcutr::Event, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::node::gate::{Gate, GateLimits};

    /// D48: what a peer names on the way through a router is dialled only if it is on the internet; what we decide on, anywhere.
    #[test]
    fn d48_nobody_names_addresses_of_ours() {
        let mut gate = Gate::new(GateLimits::default()).guarded();
        let dial = |gate: &mut Gate, number: usize, addrs: &[&str]| {
            let addrs: Vec<Multiaddr> = addrs.iter().map(|a| a.parse().expect("an address")).collect();
            let id = ConnectionId::new_unchecked(number);
            gate.handle_pending_outbound_connection(id, None, &addrs, Endpoint::Dialer).is_ok()
        };
        assert!(dial(&mut gate, 1, &["/ip4/45.1.2.3/tcp/1", "/ip6/2a0e::1/udp/1/quic-v1"]));
        for (at, bad) in [
            "/ip4/127.0.0.1/tcp/22",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip6/fe80::1/tcp/1",
            "/ip4/45.1.2.3/tcp/1/ip4/127.0.0.1/tcp/6379",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(!dial(&mut gate, 10 + at, &["/ip4/45.1.2.3/tcp/1", bad]), "{bad}");
            gate.decided(ConnectionId::new_unchecked(20 + at));
            assert!(dial(&mut gate, 20 + at, &[bad]), "{bad}");
        }
        assert!(!dial(&mut gate, 40, &["/ip4/45.1.2.3/tcp/1"; limits::PUNCH_ADDRS + 1]));
        assert_eq!(gate.refused().address, 6);
        gate.private = true;
        assert!(
            dial(&mut gate, 41, &["/ip4/192.168.1.1/tcp/4001"])
                && !dial(&mut gate, 42, &["/ip4/127.0.0.1/tcp/22"])
        );
    }

    /// Whoever connects and says nothing keeps nobody else out.
    #[test]
    fn d5_one_host_takes_few_places_before_its_handshakes() {
        let mut gate = Gate::new(GateLimits { per_lan_host: 1000, ..GateLimits::default() });
        let here: Multiaddr = "/ip4/10.0.0.1/tcp/4001".parse().expect("an address");
        let mut enter = |number: usize, from: &str| {
            let from = format!("/ip4/{from}/tcp/5").parse().expect("an address");
            gate.handle_pending_inbound_connection(ConnectionId::new_unchecked(number), &here, &from).is_ok()
        };
        let entered = (0..60).filter(|number| enter(*number, "10.0.0.7")).count();
        assert_eq!(entered, limits::PENDING_PER_HOST);
        assert!(enter(100, "10.0.0.8"));
    }
}
