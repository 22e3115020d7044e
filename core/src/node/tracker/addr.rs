//! Addresses as a tracker looks at them: an IP, a port, TCP or QUIC.

use std::fmt;
use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::node::discovery::{self, class_of, endpoint};
use crate::node::event::Class;

/// An address of the internet.
#[must_use]
pub const fn is_public(ip: IpAddr) -> bool {
    matches!(class_of(ip), Class::Wan)
}

/// Not a group, nobody, or an address that means another host on every link.
#[must_use]
pub const fn is_one_host(ip: IpAddr) -> bool {
    discovery::is_one_host(ip)
}

/// The address with zeros for the host (/24, /64): a site, where it has no name.
#[must_use]
pub const fn subnet(ip: IpAddr) -> IpAddr {
    discovery::subnet(ip)
}

/// One way to reach a node directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Where.
    pub ip: IpAddr,
    /// On which port.
    pub port: u16,
    /// By QUIC; else by TCP.
    pub quic: bool,
}

/// The same port at another address.
#[must_use]
pub const fn with_ip(way: Way, ip: IpAddr) -> Way {
    Way { ip, ..way }
}

/// Whether a binary multiaddr leads through a relay, and where that is.
#[must_use]
pub fn relay_of(bytes: &[u8]) -> Option<IpAddr> {
    let addr = Multiaddr::try_from(bytes.to_vec()).ok()?;
    endpoint(&addr).filter(|end| end.relayed).map(|end| end.ip)
}

impl Way {
    /// Reads a binary multiaddr of the forms `/ip4|ip6/../tcp/..` and `/ip4|ip6/../udp/../quic-v1`; nothing else is one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::from(&Multiaddr::try_from(bytes.to_vec()).ok()?)
    }

    /// The same as text.
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

    /// As a binary multiaddr.
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
