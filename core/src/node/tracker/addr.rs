//! Addresses as a tracker looks at them: an IP, a port, TCP or QUIC.

use std::fmt;
use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

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
    let through = addr.iter().last() == Some(Protocol::P2pCircuit);
    let relay = addr.iter().any(|part| matches!(part, Protocol::P2p(_)));
    through.then_some(())?;
    relay.then(|| crate::node::discovery::ip_of(&addr))?
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
        let mut parts = addr.iter();
        let ip = match parts.next()? {
            Protocol::Ip4(ip) => ip.into(),
            Protocol::Ip6(ip) => IpAddr::from(ip).to_canonical(),
            _ => return None,
        };
        let (port, quic) = match (parts.next()?, parts.next()) {
            (Protocol::Tcp(port), None) => (port, false),
            (Protocol::Udp(port), Some(Protocol::QuicV1)) => (port, true),
            _ => return None,
        };
        (port != 0 && parts.next().is_none()).then_some(Self { ip, port, quic })
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
