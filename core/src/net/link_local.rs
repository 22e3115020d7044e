//! TCP that also reaches link-local IPv6 addresses, `/ip6zone/<interface>/ip6/fe80::../tcp/..`: they mean
//! another host on every link, and libp2p's transport has no notion of links.

use std::io;
use std::net::SocketAddrV6;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::tcp::tokio::{TcpStream, Transport as TcpTransport};
use libp2p::{Multiaddr, tcp};
use tokio::net::TcpSocket;

use super::address::{split_peer, split_zone};
use super::multicast::interface_index;

/// libp2p's TCP transport, with dials to link-local addresses added.
pub(crate) struct LinkLocalTcp(TcpTransport);

impl LinkLocalTcp {
    /// Makes the transport. Its connections send without waiting for more bytes (`TCP_NODELAY`).
    pub(crate) fn new() -> Self {
        Self(TcpTransport::new(tcp::Config::new().nodelay(true)))
    }
}

/// Reads a link-local address with its zone.
fn link_local(addr: &Multiaddr) -> Option<(String, SocketAddrV6)> {
    let (zone, rest) = split_zone(&split_peer(addr).0)?;
    let mut parts = rest.iter();
    match (parts.next()?, parts.next()?, parts.next()) {
        (Protocol::Ip6(ip), Protocol::Tcp(port), None) if ip.is_unicast_link_local() && port != 0 => {
            Some((zone, SocketAddrV6::new(ip, port, 0, 0)))
        }
        _ => None,
    }
}

async fn connect(zone: String, mut to: SocketAddrV6) -> io::Result<TcpStream> {
    to.set_scope_id(interface_index(&zone)?);
    let socket = TcpSocket::new_v6()?;
    socket.set_nodelay(true)?;
    Ok(TcpStream(socket.connect(to.into()).await?))
}

impl Transport for LinkLocalTcp {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <TcpTransport as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<TcpStream>>;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if split_zone(&addr).is_none() {
            return Ok(self.0.dial(addr, opts)?.boxed());
        }
        let (zone, to) = link_local(&addr).ok_or(TransportError::MultiaddrNotSupported(addr))?;
        Ok(connect(zone, to).boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
