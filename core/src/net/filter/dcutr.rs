//! Filter around libp2p's DCUtR (hole punching): it only learns of addresses that mean the same host to the
//! other end. Two nodes behind different routers cannot use each other's private addresses, and a peer must
//! not make us dial addresses of our own network by naming them.

use libp2p::swarm::{FromSwarm, NetworkBehaviour};
use libp2p::{Multiaddr, PeerId, dcutr};

use super::super::address::{class_of, endpoint, is_one_host, split_peer};
use crate::distance::Distance;

/// DCUtR that ignores our addresses unless [`is_for_others`] allows them.
pub(crate) struct DcutrFilter {
    inner: dcutr::Behaviour,
    /// True if relays of a private network are in use, so that private addresses are useful too.
    pub(crate) private: bool,
}

impl DcutrFilter {
    /// Makes the filter for the node with this peer id.
    pub(crate) fn new(local: PeerId) -> Self {
        Self { inner: dcutr::Behaviour::new(local), private: false }
    }
}

/// True if a peer elsewhere can use this address. With `private`, addresses of the local network count as
/// well.
pub(crate) fn is_for_others(addr: &Multiaddr, private: bool) -> bool {
    // Only the exact forms that we read: transports look at parts of an address only.
    endpoint(&split_peer(addr).0).is_some_and(|end| {
        !end.relayed
            && is_one_host(end.ip)
            && match class_of(end.ip) {
                Distance::Host => false,
                Distance::Lan => private,
                _ => true,
            }
    })
}

impl NetworkBehaviour for DcutrFilter {
    type ConnectionHandler = <dcutr::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = dcutr::Event;

    delegate_to!(inner);

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::NewExternalAddrCandidate(candidate) = &event
            && !is_for_others(candidate.addr, self.private)
        {
            return;
        }
        self.inner.on_swarm_event(event);
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::Endpoint;
    use libp2p::swarm::ConnectionId;

    use super::*;
    use crate::limits;
    use crate::net::connection_limits::{ConnectionLimits, GateLimits};

    /// D48: an address that a peer names for hole punching is dialled only if it is on the internet; our own
    /// dials go anywhere.
    #[test]
    fn d48_nobody_names_addresses_of_ours() {
        let mut gate = ConnectionLimits::new(GateLimits::default()).guarded();
        let dial = |gate: &mut ConnectionLimits, number: usize, addrs: &[&str]| {
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

    /// D5: peers that connect and stay silent keep nobody else out.
    #[test]
    fn d5_one_host_takes_few_places_before_its_handshakes() {
        let mut gate = ConnectionLimits::new(GateLimits { per_lan_host: 1000, ..GateLimits::default() });
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
