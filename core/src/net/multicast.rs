//! Multicast DNS sockets (RFC 6762) for IPv4 and IPv6, and the rules for the packets that count.
//!
//! A packet is sent from one local address at a time, so that its source is an address at which the sender
//! can be reached. A received packet counts only if its source is on a link of this machine and not this
//! machine's loopback, and only so many packets of one source count (`sources.rs`). Loopback is never used.

mod sources;
pub(crate) mod station;
pub(crate) mod timing;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::task::{Context, Poll};
use std::time::Instant;

use if_addrs::{IfAddr, Interface};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use self::sources::Sources;
use super::address::{endpoint, ip_of};
use crate::limits;
use crate::platform::share_port;

/// Groups and port of multicast DNS, from RFC 6762.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;
/// Hop limit of every packet, from RFC 6762, section 11.
const HOPS: u32 = 255;
/// Largest packet that is read, from RFC 6762, section 17. The rest of a longer one is lost.
pub(crate) const PACKET: usize = 9000;

/// News of a neighbour on the local network, for the node's actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Neighbour {
    /// The neighbour says that it is reached at these addresses. `epoch` is the number of the office's secret
    /// with which it was said; 0 outside of offices.
    Found { peer: PeerId, addrs: Vec<Multiaddr>, epoch: u32 },
    /// Nothing was heard of the neighbour for as long as its announcement holds.
    Gone(PeerId),
}

/// Address of a host on the local network: the IP address and, for a link-local IPv6 address, the index of
/// the interface (otherwise 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LanAddress {
    pub(crate) ip: IpAddr,
    pub(crate) scope: u32,
}

impl LanAddress {
    fn of(from: SocketAddr) -> Self {
        match from {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
                Self { ip: (*v6.ip()).into(), scope: v6.scope_id() }
            }
            from => Self { ip: from.ip(), scope: 0 },
        }
    }
}

/// Local address from which packets are sent.
#[derive(Debug)]
struct SendingSocket {
    link: InterfaceAddress,
    socket: StdSocket,
}

/// Address of an interface of this machine, with its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InterfaceAddress {
    at: LanAddress,
    prefix: u8,
    index: u32,
    name: String,
}

impl InterfaceAddress {
    fn of(interface: Interface) -> Option<Self> {
        let (ip, prefix) = match interface.addr {
            IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        };
        let index = interface.index.filter(|_| !ip.is_loopback() && !ip.is_unspecified())?;
        let scope = if is_link_local_v6(ip) { index } else { 0 };
        Some(Self { at: LanAddress { ip, scope }, prefix, index, name: interface.name })
    }

    /// True if `other` is in the prefix of this address, and on the same interface if that is known.
    fn reaches(&self, other: LanAddress) -> bool {
        let (differ, len) = match (self.at.ip, other.ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (u128::from(own.to_bits() ^ other.to_bits()), 32_u32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits(), 128),
            _ => return false,
        };
        let host_bits = len.saturating_sub(self.prefix.into());
        self.at.scope == other.scope && differ.checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// Sockets of multicast DNS on all interfaces of this machine.
#[derive(Debug, Default)]
pub(crate) struct Multicast {
    links: Vec<InterfaceAddress>,
    senders: BTreeMap<(LanAddress, u32), SendingSocket>,
    v4: Option<UdpSocket>,
    /// Receiving sockets for IPv6 by index of the interface. Bound to the group, so that they take no unicast
    /// packets away from other programs.
    v6: BTreeMap<u32, UdpSocket>,
    sources: Sources,
    /// True if an address could not be used yet, because the system still examines it, for example.
    pub(crate) incomplete: bool,
    turn: usize,
}

impl Multicast {
    /// Looks at the interfaces again: opens sockets for new addresses and closes those of addresses that are
    /// gone. Returns true if there are new ones. Must be called within a tokio runtime.
    pub(crate) fn refresh(&mut self) -> bool {
        self.incomplete = false;
        self.sources.forget(limits::LAN_TTL, Instant::now());
        match if_addrs::get_if_addrs() {
            Ok(found) => {
                self.links = found.into_iter().filter_map(InterfaceAddress::of).collect();
                // Those that are few and of most use come first.
                self.links.sort_by_key(|link| (is_link_local_v6(link.at.ip), link.at.ip.is_ipv6(), link.at));
                self.links.truncate(limits::LAN_INTERFACES);
            }
            Err(error) => {
                tracing::debug!(%error, "the network interfaces cannot be listed");
                self.incomplete = true;
            }
        }
        let links = &self.links;
        self.senders.retain(|_, sender| links.contains(&sender.link));
        self.v6.retain(|index, _| links.iter().any(|link| link.index == *index && link.at.ip.is_ipv6()));
        let mut new = false;
        for link in self.links.clone() {
            let key = (link.at, link.index);
            if self.senders.contains_key(&key) {
                continue;
            }
            let opened = self.hear(&link).and_then(|()| sender(&link));
            match opened {
                Ok(socket) => {
                    self.senders.insert(key, SendingSocket { link, socket });
                    new = true;
                }
                Err(error) => {
                    tracing::debug!(ip = %link.at.ip, %error, "the local network is not used from there");
                    self.incomplete = true;
                }
            }
        }
        new
    }

    /// Receives what is sent to the group on this interface.
    fn hear(&mut self, link: &InterfaceAddress) -> io::Result<()> {
        match link.at.ip {
            IpAddr::V4(ip) => {
                let socket = match self.v4.take() {
                    Some(socket) => socket,
                    None => receiver((GROUP_V4, PORT).into())?,
                };
                // It may be a member of the group there already.
                let _ = socket.join_multicast_v4(GROUP_V4, ip);
                self.v4 = Some(socket);
            }
            IpAddr::V6(_) if !self.v6.contains_key(&link.index) => {
                let socket = receiver(SocketAddrV6::new(GROUP_V6, PORT, 0, link.index).into())?;
                socket.join_multicast_v6(&GROUP_V6, link.index)?;
                self.v6.insert(link.index, socket);
            }
            IpAddr::V6(_) => {}
        }
        Ok(())
    }

    /// Waits for a packet that counts, and returns its length and where it came from.
    ///
    /// # Errors
    /// The error of the socket; the next call may succeed.
    pub(crate) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, LanAddress)> {
        loop {
            let (len, from) = poll_fn(|cx| self.poll_receive(cx, buffer)).await?;
            let from = LanAddress::of(from);
            if self.is_on_link(from) && self.sources.admits(from, Instant::now()) {
                return Ok((len, from));
            }
        }
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let sockets: Vec<&UdpSocket> = self.v4.iter().chain(self.v6.values()).collect();
        // Each socket has its turn, so that a flood on one network is not heard instead of the others.
        for at in 0..sockets.len() {
            let at = (self.turn + at) % sockets.len();
            let mut into = ReadBuf::new(buffer);
            if let Poll::Ready(received) = sockets[at].poll_recv_from(cx, &mut into) {
                self.turn = at + 1;
                return Poll::Ready(received.map(|from| (into.filled().len(), from)));
            }
        }
        Poll::Pending
    }

    fn is_on_link(&self, from: LanAddress) -> bool {
        let link_local = match from.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local() && from.scope != 0,
        };
        !from.ip.is_loopback() && (link_local || self.links.iter().any(|link| link.reaches(from)))
    }

    /// Returns the local addresses from which packets can be sent.
    pub(crate) fn addresses(&self) -> Vec<LanAddress> {
        self.senders.keys().map(|(at, _)| *at).collect()
    }

    /// Returns the local addresses from which a host at this address can be spoken to.
    pub(crate) fn towards(&self, host: LanAddress) -> Vec<LanAddress> {
        let links = self.senders.values().map(|sender| &sender.link);
        links.filter(|link| link.reaches(host)).map(|link| link.at).collect()
    }

    /// Sends a packet to all hosts on the link of this local address.
    pub(crate) fn send(&self, at: LanAddress, packet: &[u8]) {
        for ((_, index), sender) in self.senders.iter().filter(|((own, _), _)| *own == at) {
            let group: SocketAddr = match at.ip {
                IpAddr::V4(_) => (GROUP_V4, PORT).into(),
                IpAddr::V6(_) => SocketAddrV6::new(GROUP_V6, PORT, 0, *index).into(),
            };
            if let Err(error) = sender.socket.send_to(packet, group) {
                tracing::debug!(ip = %at.ip, %error, "nothing was sent to the local network");
            }
        }
    }

    /// Keeps of addresses that `from` has announced those that lead to it, at most [`limits::LAN_ADDRS`]. A
    /// link-local IPv6 address gets its zone.
    pub(crate) fn of_sender(
        &self,
        from: LanAddress,
        addrs: impl Iterator<Item = Multiaddr>,
    ) -> Vec<Multiaddr> {
        let leads_there =
            |addr: &Multiaddr| endpoint(addr).is_some_and(|end| !end.relayed && end.ip == from.ip);
        let zone = self.links.iter().find(|link| link.index == from.scope).map(|link| &link.name);
        let zoned = |addr: Multiaddr| {
            if from.scope == 0 {
                return Some(addr);
            }
            // The transport reaches such an address by TCP only.
            let tcp = addr.iter().any(|part| matches!(part, Protocol::Tcp(_)));
            let zone = Protocol::Ip6zone(zone.filter(|_| tcp)?.as_str().into());
            Some(std::iter::once(zone).chain(addr.iter()).collect())
        };
        addrs.filter(leads_there).filter_map(zoned).take(limits::LAN_ADDRS).collect()
    }

    /// Returns how many hosts were heard lately.
    pub(crate) fn hosts(&self) -> usize {
        self.sources.len()
    }
}

/// Returns the listen addresses that are announced from this local address: those with that IP.
pub(crate) fn announced(at: LanAddress, listen: &[Multiaddr]) -> impl Iterator<Item = &Multiaddr> {
    listen.iter().filter(move |addr| ip_of(addr) == Some(at.ip)).take(limits::LAN_ADDRS)
}

const fn is_link_local_v6(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Returns the index of the interface with this name.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if there is none, or the error of listing the interfaces.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let found = if_addrs::get_if_addrs()?.into_iter().find(|interface| interface.name == name);
    found
        .and_then(|interface| interface.index)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no network interface of that name"))
}

/// Opens a socket that hears the group. Other sockets of this machine hear it as well.
fn receiver(group: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp(group)?;
    socket.set_reuse_address(true)?;
    share_port(&socket)?;
    socket.bind(&group.into())?;
    UdpSocket::from_std(socket.into())
}

/// Opens a socket that speaks on one interface, from one address.
fn sender(link: &InterfaceAddress) -> io::Result<StdSocket> {
    let from = match link.at.ip {
        IpAddr::V4(ip) => SocketAddr::from((ip, 0)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, link.at.scope).into(),
    };
    let socket = udp(from)?;
    socket.bind(&from.into())?;
    match link.at.ip {
        IpAddr::V4(ip) => {
            socket.set_multicast_if_v4(&ip)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(HOPS)?;
        }
        IpAddr::V6(_) => {
            socket.set_multicast_if_v6(link.index)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(HOPS)?;
        }
    }
    Ok(socket.into())
}

fn udp(of: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(of), Type::DGRAM, Some(SocketProtocol::UDP))?;
    socket.set_nonblocking(true)?;
    if of.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(ip: &str, scope: u32) -> LanAddress {
        LanAddress { ip: ip.parse().unwrap(), scope }
    }

    fn link(ip: &str, prefix: u8, index: u32, name: &str) -> InterfaceAddress {
        let address = at(ip, 0);
        let scope = if is_link_local_v6(address.ip) { index } else { 0 };
        InterfaceAddress { at: LanAddress { scope, ..address }, prefix, index, name: name.to_owned() }
    }

    fn multicast() -> Multicast {
        let links = vec![
            link("10.0.0.1", 24, 2, "eth0"),
            link("fd00::1", 64, 2, "eth0"),
            link("fe80::1", 64, 2, "eth0"),
            link("192.0.2.7", 32, 3, "tun0"),
        ];
        Multicast { links, ..Multicast::default() }
    }

    #[test]
    fn a_packet_counts_only_from_a_link_of_ours() {
        let multicast = multicast();
        for (from, counts) in [
            (at("10.0.0.77", 0), true),
            (at("10.0.1.77", 0), false),
            (at("127.0.0.1", 0), false),
            (at("169.254.3.4", 0), true),
            (at("192.0.2.7", 0), true),
            (at("192.0.2.8", 0), false),
            (at("8.8.8.8", 0), false),
            (at("fd00::5", 0), true),
            (at("fd00:0:0:1::5", 0), false),
            (at("fe80::5", 2), true),
            (at("fe80::5", 0), false),
            (at("::1", 0), false),
        ] {
            assert_eq!(multicast.is_on_link(from), counts, "{from:?}");
        }
    }

    #[test]
    fn announced_addresses_lead_to_their_sender_only() {
        let multicast = multicast();
        let keep = |from: LanAddress, addrs: &[&str]| -> Vec<String> {
            let addrs = addrs.iter().map(|addr| addr.parse().unwrap());
            multicast.of_sender(from, addrs).iter().map(ToString::to_string).collect()
        };
        let addrs = [
            "/ip4/10.0.0.9/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.5/tcp/1",
            "/ip4/10.0.0.5/udp/1/quic-v1",
            "/ip6zone/eth0/ip6/fe80::5/tcp/1",
            "/ip6/fe80::5/tcp/1",
            "/ip6/fe80::5/udp/1/quic-v1",
            "/dns4/localhost/tcp/1",
        ];
        assert_eq!(keep(at("10.0.0.5", 0), &addrs), [addrs[2], addrs[3]]);
        assert_eq!(keep(at("fe80::5", 2), &addrs), [addrs[4]]);
        assert_eq!(keep(at("fe80::5", 9), &addrs), [""; 0], "there is no such interface");
        let many: Vec<String> = (1..99).map(|port| format!("/ip4/10.0.0.5/tcp/{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(keep(at("10.0.0.5", 0), &many).len(), limits::LAN_ADDRS);
    }
}
