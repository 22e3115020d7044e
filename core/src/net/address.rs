//! Addresses taken apart: host, port, transport and peer, and how near the host is.
//!
//! The crate asks "is this address local?" in three places, and the answers differ for the shared ranges
//! 100.64.0.0/10 (RFC 6598), 198.18.0.0/15 (RFC 2544) and 192.0.0.0/24:
//!
//! - `class_of` says where an address has a meaning and counts the shared ranges as local: providers and
//!   private networks over the internet use them internally, and the internet does not route them. So a peer
//!   elsewhere is not told of such an address, a stranger that names one is held to the rules for private
//!   addresses, and the rate limits for the internet do not apply to it.
//! - `ConnectionOrigin::of` chooses the limits for an inbound connection and counts the shared ranges as
//!   public: their hosts are mostly other customers of a provider. They are also limited by /24, and cannot
//!   use up the places of the local network.
//! - `is_near` in `transfer/peers.rs` says which peers get content that is meant for the local network. It
//!   does not count the shared ranges, again because of a provider's other customers, but counts global IPv6
//!   addresses in a /64 of ours, because a local network with IPv6 has global addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::distance::Distance;
use crate::net::error::StartError;

/// Returns the host that a dial to this address reaches; `None` for an address through a relay, which only
/// forwards.
pub(crate) fn host_of(addr: &Multiaddr) -> Option<IpAddr> {
    endpoint_on_link(addr).filter(|end| !end.relayed).map(|end| end.ip)
}

/// Host, port and transport of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// IP address of the host, or of the relay in a relayed address.
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    /// True for QUIC, false for TCP.
    pub(crate) quic: bool,
    pub(crate) relayed: bool,
}

/// Reads `/ip4|ip6/../tcp/..`, `/ip4|ip6/../udp/../quic-v1`, and either followed by `/p2p/../p2p-circuit`;
/// returns `None` for every other form. The transports look at parts of an address only: extra parts before
/// or behind could mean another host to them than to us.
pub(crate) fn endpoint(addr: &Multiaddr) -> Option<Endpoint> {
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

/// Reads the forms of [`endpoint`], and `/ip6zone/<interface>/ip6/fe80::../tcp/..`. The zone is the name of
/// an interface of this machine, so such an address is never taken from strangers, who cannot know it.
pub(crate) fn endpoint_on_link(addr: &Multiaddr) -> Option<Endpoint> {
    let Some((_, rest)) = split_zone(addr) else { return endpoint(addr) };
    let link_local = |end: &Endpoint| matches!(end.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    endpoint(&rest).filter(|end| link_local(end) && !end.quic && !end.relayed)
}

/// Splits an address into the zone at its beginning and the rest; `None` if it has no zone.
pub(crate) fn split_zone(addr: &Multiaddr) -> Option<(String, Multiaddr)> {
    let mut parts = addr.iter();
    let Protocol::Ip6zone(zone) = parts.next()? else { return None };
    Some((zone.into_owned(), parts.collect()))
}

/// Splits an address into the part before a trailing `/p2p/..` and the peer id in it.
pub(crate) fn split_peer(addr: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut bare = addr.clone();
    match bare.pop() {
        Some(Protocol::P2p(peer)) => (bare, Some(peer)),
        _ => (addr.clone(), None),
    }
}

/// Returns the first IP address in a multiaddr; an IPv4-mapped IPv6 address becomes the IPv4 address.
pub(crate) fn ip_of(addr: &Multiaddr) -> Option<IpAddr> {
    addr.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(ip.into(), Into::into)),
        _ => None,
    })
}

/// Returns how near an address is, judged by the address alone. The module's text compares this with the
/// other two notions of "local".
pub(crate) const fn class_of(ip: IpAddr) -> Distance {
    match ip {
        ip if ip.is_loopback() => Distance::Host,
        // Providers and private networks over the internet use the shared ranges among themselves.
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || is_shared(ip) => Distance::Lan,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Distance::Lan,
        _ => Distance::Wan,
    }
}

/// Returns the address with its host part set to zero (/24 for IPv4, /64 for IPv6). It stands for a site that
/// has no name.
#[must_use]
pub const fn subnet(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & !0xff)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u64::MAX as u128))),
    }
}

/// True for an address that the internet routes, by `class_of`.
#[must_use]
pub const fn is_public(ip: IpAddr) -> bool {
    matches!(class_of(ip), Distance::Wan)
}

/// True unless the address is unspecified, multicast, broadcast, or link-local, which means another host on
/// every link.
#[must_use]
pub const fn is_one_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local())
        }
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
    }
}

/// True for the shared ranges 100.64.0.0/10, 198.18.0.0/15 and 192.0.0.0/24.
pub(crate) const fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    matches!((a, b, c), (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0))
}

/// True for an address that leads through a relay.
pub(crate) fn is_relayed(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| part == Protocol::P2pCircuit)
}

pub(crate) fn parse(texts: &[String], flag: &str) -> Result<Vec<Multiaddr>, StartError> {
    let read = |text: &String| {
        let example = "/ip4/192.168.1.20/tcp/4001";
        let shown = crate::content::path::escape(text);
        text.parse().map_err(|_| {
            StartError::Option(format!("{flag} {shown} is not a multiaddr (one looks like {example})"))
        })
    };
    texts.iter().map(read).collect()
}

/// Returns the IP address of the peer itself; `None` behind a relay, or when the address begins with a name.
pub(super) fn remote_ip(address: &Multiaddr) -> Option<IpAddr> {
    if address.iter().any(|part| part == Protocol::P2pCircuit) {
        return None;
    }
    match address.iter().find(|part| !matches!(part, Protocol::Ip6zone(_)))? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

/// Origin of an inbound connection, as the connection limits distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionOrigin {
    /// This machine.
    Loopback,
    /// A host of the local network, by its private, unique-local or link-local address.
    Lan(IpAddr),
    /// A public address, or one in a shared range such as 100.64.0.0/10.
    Public(IpAddr),
    /// No address of its own, because the connection came through a relay. Only the totals apply.
    Unknown,
}

impl ConnectionOrigin {
    /// Classifies the address of a peer. An IPv4 address written as an IPv6 one is the IPv4 address. The
    /// module's text says why this differs from [`class_of`].
    pub(crate) fn of(ip: Option<IpAddr>) -> Self {
        let Some(ip) = ip.map(|ip| ip.to_canonical()) else { return ConnectionOrigin::Unknown };
        let lan = match ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        match ip {
            _ if ip.is_loopback() => ConnectionOrigin::Loopback,
            _ if lan => ConnectionOrigin::Lan(ip),
            _ => ConnectionOrigin::Public(ip),
        }
    }

    /// Returns the address, if it tells hosts apart: `None` for loopback and relayed connections.
    pub(crate) const fn host(self) -> Option<IpAddr> {
        match self {
            ConnectionOrigin::Lan(ip) | ConnectionOrigin::Public(ip) => Some(ip),
            ConnectionOrigin::Loopback | ConnectionOrigin::Unknown => None,
        }
    }
}

/// Address at which a node is reached directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// IP address of the node.
    pub ip: IpAddr,
    /// Port of the node, not 0.
    pub port: u16,
    /// True for QUIC, false for TCP.
    pub quic: bool,
}

/// Returns `way` with another IP address and the same port and transport.
#[must_use]
pub const fn with_ip(way: Way, ip: IpAddr) -> Way {
    Way { ip, ..way }
}

/// Returns the relay's IP address, if this binary multiaddr leads through a relay.
#[must_use]
pub fn relay_of(bytes: &[u8]) -> Option<IpAddr> {
    let addr = Multiaddr::try_from(bytes.to_vec()).ok()?;
    endpoint(&addr).filter(|end| end.relayed).map(|end| end.ip)
}

impl Way {
    /// Reads a binary multiaddr of the forms `/ip4|ip6/../tcp/..` and `/ip4|ip6/../udp/../quic-v1`; returns
    /// `None` for every other form and for port 0.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::from(&Multiaddr::try_from(bytes.to_vec()).ok()?)
    }

    /// Reads the text of a multiaddr, with the rules of [`Way::read`].
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::from(&text.parse().ok()?)
    }

    fn from(addr: &Multiaddr) -> Option<Self> {
        let end = endpoint(addr).filter(|end| !end.relayed && end.port != 0)?;
        Some(Self { ip: end.ip, port: end.port, quic: end.quic })
    }

    fn multiaddr(self) -> Multiaddr {
        let ip = Multiaddr::from(self.ip);
        if self.quic {
            ip.with(Protocol::Udp(self.port)).with(Protocol::QuicV1)
        } else {
            ip.with(Protocol::Tcp(self.port))
        }
    }

    /// Returns the address as a binary multiaddr.
    #[must_use]
    pub fn write(self) -> Vec<u8> {
        self.multiaddr().to_vec()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.multiaddr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_zone_stands_before_a_link_local_tcp_address_only() {
        for (text, host) in [
            ("/ip6zone/eth0/ip6/fe80::1/tcp/4001", Some("fe80::1")),
            ("/ip6/fe80::1/tcp/4001", Some("fe80::1")),
            ("/ip6zone/eth0/ip6/fd00::1/tcp/4001", None),
            ("/ip6zone/eth0/ip6/::1/tcp/4001", None),
            ("/ip6zone/eth0/ip4/127.0.0.1/tcp/4001", None),
            ("/ip6zone/eth0/ip6/fe80::1/udp/4001/quic-v1", None),
            ("/ip6zone/eth0/ip6zone/eth1/ip6/fe80::1/tcp/4001", None),
        ] {
            let addr: Multiaddr = text.parse().unwrap();
            assert_eq!(host_of(&addr), host.map(|host| host.parse().unwrap()), "{text}");
            let zoned = split_zone(&addr).is_some();
            assert!(!zoned || endpoint(&addr).is_none(), "{text} is refused where strangers name it");
        }
    }
}
