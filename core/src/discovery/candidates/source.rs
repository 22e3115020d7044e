//! Sources of addresses, and the rules for the addresses that each source may make us try.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId};

use crate::distance::Distance;
use crate::net::address::{Endpoint, class_of, endpoint, is_one_host, split_peer};

/// First port that strangers may name in a private network. Ports below belong to a machine's own services,
/// which speak other protocols.
pub(crate) const SERVICE_PORTS: u16 = 1024;

/// Source of an address, the most trusted first. Every address is only a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AddressSource {
    /// The `--peer` option: dialled at once, and again whenever the connection is lost.
    Given,
    /// The link of a download.
    Link,
    /// Multicast DNS on the local network.
    Lan,
    /// An earlier run, in which the peer gave us something.
    Remembered,
    /// A tracker.
    Tracker,
    /// The DHT.
    Dht,
    /// Another peer.
    Exchange,
}

impl AddressSource {
    /// True if the address is a stranger's word, which may be meant to harm the host at the address.
    pub(super) const fn is_hearsay(self) -> bool {
        matches!(self, Self::Tracker | Self::Dht | Self::Exchange)
    }
}

/// Party that made us try an address, for the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    Peer(PeerId),
    Tracker(u64),
}

/// Source that names peers: a tracker or the DHT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerSource {
    pub(super) source: AddressSource,
    /// Number of the source, unique among all of them.
    pub(super) number: u64,
    /// IP address of the tracker, if known.
    pub(super) at: Option<IpAddr>,
    /// True if only a link vouches for this tracker.
    pub(super) linked: bool,
}

impl PeerSource {
    /// The DHT. Its addresses were checked when they came in, because the rules depend on where its servers
    /// are.
    pub(crate) const DHT: Self =
        Self { source: AddressSource::Dht, number: u64::MAX, at: None, linked: false };

    /// Makes the source for a tracker with this number and IP address; `linked` is true if only a link
    /// vouches for it.
    pub(crate) const fn new(number: u64, at: Option<IpAddr>, linked: bool) -> Self {
        Self { source: AddressSource::Tracker, number, at, linked }
    }

    /// True if this source may make us dial the address. A tracker may name addresses of the internet.
    /// Addresses of a private network are allowed if the tracker is in one itself, or if our owner configured
    /// it and the port is no service port. Only a tracker on this machine may name this machine. The address
    /// must always belong to one host.
    pub(super) fn may_name(self, addr: &Multiaddr) -> bool {
        let Some(Endpoint { ip, port, .. }) = endpoint(&split_peer(addr).0) else { return false };
        let at = self.at.map(class_of);
        is_one_host(ip)
            && port != 0
            && match class_of(ip) {
                _ if self.source == AddressSource::Dht => true,
                Distance::Host => at == Some(Distance::Host),
                Distance::Lan => {
                    at.is_some_and(|at| at <= Distance::Lan) || (!self.linked && port >= SERVICE_PORTS)
                }
                _ => true,
            }
    }
}
