//! The addresses of a node: those that it announces, and the one at which it was seen. An announced address
//! is not believed to be that of the announcer, except as far as it is checked here.

use std::net::IpAddr;

use swarm_core::limits;
use swarm_core::net::address::{Way, is_one_host, is_public, relay_of, with_ip};

/// Ports of each kind that are tried at the address at which the node was seen.
const PORTS: usize = 2;
/// Ways through relays that are passed on.
const RELAYED: usize = 2;

/// The addresses of one node as binary multiaddrs, the likeliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach(Vec<Vec<u8>>);

impl Reach {
    /// Returns the addresses of a node that was seen at `from` and announces `said`. First comes the address
    /// at which it was seen, with the announced ports; then come the announced addresses: private ones are
    /// for its neighbours.
    #[must_use]
    pub fn new(from: IpAddr, said: &[Vec<u8>]) -> Self {
        let ways: Vec<(Way, &Vec<u8>)> =
            said.iter().filter_map(|addr| Some((Way::read(addr)?, addr))).collect();
        let mut all: Vec<Vec<u8>> = Vec::new();
        let mut ports: Vec<Way> = Vec::new();
        // For a node on the internet only announced addresses count: behind a router the ports that it knows
        // are not those of the router.
        for (way, _) in ways.iter().filter(|(way, _)| way.ip == from || !is_public(from)) {
            let port = with_ip(*way, from);
            let of_kind = ports.iter().filter(|other| other.quic == way.quic).count();
            if !ports.contains(&port) && of_kind < PORTS {
                ports.push(port);
                all.push(port.write());
            }
        }
        for (way, addr) in ways {
            let here = from.is_loopback() || !way.ip.is_loopback();
            // No node can point at others: a public address must be its own, or one of the other family.
            let own = !is_public(way.ip) || way.ip == from || way.ip.is_ipv4() != from.is_ipv4();
            if here
                && own
                && is_one_host(way.ip)
                && addr.len() <= limits::TRACKED_ADDR_BYTES
                && !all.contains(addr)
            {
                all.push(addr.clone());
            }
        }
        all.truncate(limits::PEER_ADDRS - RELAYED);
        let fits = |addr: &&Vec<u8>| addr.len() <= limits::TRACKED_ADDR_BYTES;
        let relayed = said.iter().filter(fits).filter(|addr| relay_of(addr).is_some_and(is_one_host));
        all.extend(relayed.take(RELAYED).cloned());
        Self(all)
    }

    /// Returns the addresses in the form in which the registry keeps them: each with its length before it,
    /// one byte.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for addr in &self.0 {
            // At most `TRACKED_ADDR_BYTES` long.
            bytes.push(addr.len() as u8);
            bytes.extend_from_slice(addr);
        }
        bytes
    }
}

/// Reads the addresses that [`Reach::encode`] wrote.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = bytes.split_first()
        && let Some((addr, rest)) = rest.split_at_checked(usize::from(*len))
    {
        all.push(addr.to_vec());
        bytes = rest;
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addr(text: &str) -> Vec<u8> {
        Way::of(text).unwrap().write()
    }

    fn reach(from: &str, said: &[&str]) -> Vec<String> {
        let said: Vec<Vec<u8>> = said.iter().map(|text| addr(text)).collect();
        let Reach(all) = Reach::new(from.parse().unwrap(), &said);
        assert_eq!(decode(&Reach(all.clone()).encode()), all);
        all.iter().map(|addr| Way::read(addr).unwrap().to_string()).collect()
    }

    #[test]
    fn where_it_was_seen_comes_first() {
        let said = ["/ip4/192.168.1.9/tcp/4001", "/ip4/192.168.1.9/udp/4002/quic-v1"];
        assert_eq!(reach("45.1.2.3", &said), said, "its router's ports are not its own");
        let external = ["/ip4/45.1.2.3/tcp/4001", "/ip4/192.168.1.9/tcp/4001", "/ip4/45.9.9.9/tcp/80"];
        assert_eq!(reach("45.1.2.3", &external), external[..2], "nobody points at others");
        assert_eq!(
            reach("10.0.0.7", &said)[..2],
            ["/ip4/10.0.0.7/tcp/4001", "/ip4/10.0.0.7/udp/4002/quic-v1"]
        );
        assert_eq!(reach("192.168.1.9", &said), said, "each once");
    }

    #[test]
    fn what_means_nobody_or_another_is_left_out() {
        let said =
            ["/ip4/127.0.0.1/tcp/1", "/ip4/224.0.0.1/tcp/1", "/ip4/169.254.1.1/tcp/1", "/ip4/0.0.0.0/tcp/1"];
        assert_eq!(reach("10.0.0.7", &said), ["/ip4/10.0.0.7/tcp/1"]);
        assert_eq!(
            reach("127.0.0.1", &said[..1]),
            ["/ip4/127.0.0.1/tcp/1"],
            "on one machine it means somebody"
        );
        let Reach(none) = Reach::new([10, 0, 0, 7].into(), &[vec![1, 2, 3], Vec::new()]);
        assert!(none.is_empty(), "what is no address is no address");
    }
}
