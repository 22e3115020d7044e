//! Parts of an address: host, port, way and peer, and how near the host is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::node::event::Class;

/// The host that is called; none through a relay, which only passes the call on.
pub(in crate::node) fn host_of(addr: &Multiaddr) -> Option<IpAddr> {
    endpoint(addr).filter(|end| !end.relayed).map(|end| end.ip)
}

/// Host, port and way of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Endpoint {
    /// Of the host, or of the relay before it.
    pub(in crate::node) ip: IpAddr,
    pub(in crate::node) port: u16,
    /// By QUIC; else by TCP.
    pub(in crate::node) quic: bool,
    pub(in crate::node) relayed: bool,
}

/// Reads `/ip4|ip6/../tcp/..`, `/ip4|ip6/../udp/../quic-v1`, and `../p2p/../p2p-circuit` behind either; nothing else. The
/// transports look at parts of an address only: what stands before or behind could mean another host to them than to us.
pub(in crate::node) fn endpoint(addr: &Multiaddr) -> Option<Endpoint> {
    let mut parts = addr.iter().peekable();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => IpAddr::from(ip).to_canonical(),
        _ => return None,
    };
    let (port, quic) = match parts.next()? {
        Protocol::Tcp(port) => (port, false),
        Protocol::Udp(port) => (matches!(parts.next()?, Protocol::QuicV1).then_some(port)?, true),
        _ => return None,
    };
    let relayed = match (parts.next(), parts.next()) {
        (None, None) => false,
        (Some(Protocol::P2p(_)), Some(Protocol::P2pCircuit)) => true,
        _ => return None,
    };
    parts.next().is_none().then_some(Endpoint { ip, port, quic, relayed })
}

/// An address without a trailing `/p2p/..`, and that id.
pub(in crate::node) fn split_peer(addr: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut bare = addr.clone();
    match bare.pop() {
        Some(Protocol::P2p(peer)) => (bare, Some(peer)),
        _ => (addr.clone(), None),
    }
}

/// The address' IP.
pub(in crate::node) fn ip_of(addr: &Multiaddr) -> Option<IpAddr> {
    addr.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(ip.into(), Into::into)),
        _ => None,
    })
}

/// How near an address is, by itself.
pub(in crate::node) const fn class_of(ip: IpAddr) -> Class {
    match ip {
        ip if ip.is_loopback() => Class::Host,
        // With those that providers and private networks over the internet use among themselves (RFC 6598, RFC 2544).
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || is_shared(ip) => Class::Lan,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Class::Lan,
        _ => Class::Wan,
    }
}

/// The address with zeros for the host (/24, /64).
pub(in crate::node) const fn subnet(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & !0xff)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u64::MAX as u128))),
    }
}

/// Not a group, nobody, or an address that means another host on every link.
pub(in crate::node) const fn is_one_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local())
        }
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
    }
}

/// 100.64.0.0/10, 198.18.0.0/15 and 192.0.0.0/24.
pub(in crate::node) const fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    matches!((a, b, c), (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0))
}
