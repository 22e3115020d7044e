//! How two nodes are connected: TCP with TLS (Noise for peers that speak nothing else) and yamux, or QUIC.
//!
//! TCP is the fast way within a network, QUIC the way through address translation and loss. There is no DNS here:
//! addresses are numbers.

use std::io;
use std::time::Duration;

use futures::TryFutureExt;
use futures::future::{BoxFuture, Either};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OptionalTransport, Transport};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version};
use libp2p::identity::Keypair;
use libp2p::swarm::{Config, NetworkBehaviour};
use libp2p::{PeerId, noise, quic, relay, tcp};

use super::eager;
use super::office::Door;
use super::socket::Socket;
use super::tls::record::SecureStream;
use super::tls::{self, Tls, TlsError};
use super::yamux::{STREAMS, Yamux};
use crate::limits::HANDSHAKE_TIMEOUT;

/// The name of Noise in the negotiation; from the libp2p Noise spec.
const NOISE: &str = "/noise";

/// Builds the transport of the node whose identity is `keypair`: it listens on and dials `/ip4|ip6/../tcp/..` and
/// `/ip4|ip6/../udp/../quic-v1`, and its connections carry at most 64 streams. A handshake that takes longer than
/// [`HANDSHAKE_TIMEOUT`] fails.
///
/// With `steady` a peer is let send in small steps, each as soon as the one before was read, and no window grows.
///
/// The peer id in the output is proven. Whether it is the one that was dialled is for the caller to compare; libp2p's
/// `Swarm` does (`DialError::WrongPeerId`).
///
/// Use it within a tokio runtime that has I/O and time.
///
/// # Errors
/// [`io::ErrorKind::Other`] when no certificate can be signed with `keypair` or no Noise key be made from it.
pub fn build(keypair: &Keypair, steady: bool) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    assemble(keypair, steady, OptionalTransport::none(), None)
}

/// A network of this identity: what `behaviour` does on the connections of a transport. One that was not used for `idle` is closed.
/// With `V1Lazy` a substream for which one protocol is proposed is there before the other end has answered, and a refusal is an
/// error of its first read.
pub(crate) fn network<B: NetworkBehaviour>(
    keypair: &Keypair,
    transport: Boxed<(PeerId, StreamMuxerBox)>,
    behaviour: B,
    idle: Duration,
    negotiation: Version,
) -> libp2p::Swarm<B> {
    let config = Config::with_tokio_executor()
        .with_idle_connection_timeout(idle)
        .with_substream_upgrade_protocol_override(negotiation);
    libp2p::Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config)
}

/// The same for a node that goes through relays as well: `/../p2p/..relay../p2p-circuit`. What goes through one is encrypted
/// from end to end, as everything else. Behind the `door` of an office there are members only.
///
/// # Errors
/// As [`build`].
pub(in crate::node) fn build_with_relays(
    keypair: &Keypair,
    steady: bool,
    relays: relay::client::Transport,
    door: Option<Door>,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    assemble(keypair, steady, OptionalTransport::some(relays), door)
}

fn assemble(
    keypair: &Keypair,
    steady: bool,
    relays: OptionalTransport<relay::client::Transport>,
    door: Option<Door>,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    // First, because libp2p-quic panics where this returns an error.
    let tls = Tls::new(keypair).map_err(io::Error::other)?;
    let noise = noise::Config::new(keypair).map_err(io::Error::other)?;
    let security = Security { tls, noise, protocols: &[tls::PROTOCOL, NOISE] };
    let relayed = relays
        .upgrade(Version::V1Lazy)
        .authenticate(security.clone())
        .multiplex(Yamux::new(steady))
        .timeout(HANDSHAKE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let tcp = |protocols| {
        let security = Security { protocols, ..security.clone() };
        tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
            .map(|stream, _| Socket::new(stream))
            .upgrade(Version::V1Lazy)
            .authenticate(security)
            .multiplex(Yamux::new(steady))
            .timeout(HANDSHAKE_TIMEOUT)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed()
    };
    let tcp = eager::Tcp::new(tcp(&[tls::PROTOCOL, NOISE]), tcp(&[tls::PROTOCOL]), tcp(&[NOISE]));
    let quic = quic::tokio::Transport::new(quic_config(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = quic.or_transport(tcp).map(|either, _| either.into_inner());
    // First: the others would take the relay's own address for the whole.
    let all = relayed.or_transport(direct).map(|either, _| either.into_inner());
    Ok(match door {
        Some(door) => all.and_then(move |connection, at| door.pass(connection, at)).boxed(),
        None => all.boxed(),
    })
}

/// Stock windows (10 MB a stream, 15 MB a connection) with our limits.
fn quic_config(keypair: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_concurrent_stream_limit = STREAMS as u32;
    config
}

/// TLS for whoever speaks it, Noise for the rest: these of them, best first.
#[derive(Clone)]
struct Security {
    tls: Tls,
    noise: noise::Config,
    protocols: &'static [&'static str],
}

/// Why a peer could not be authenticated.
#[derive(Debug, thiserror::Error)]
enum SecurityError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("Noise handshake: {0}")]
    Noise(#[from] noise::Error),
}

/// A byte stream to a known peer, by either way.
type Secured<C> = Either<SecureStream<C>, noise::Output<C>>;

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, Self::Info>>;

    /// A dialler proposes in this order, and does not wait for the answer to the last one.
    fn protocol_info(&self) -> Self::InfoIter {
        self.protocols.iter().copied()
    }
}

impl<C> InboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, name: Self::Info) -> Self::Future {
        if name == NOISE {
            Box::pin(self.noise.upgrade_inbound(socket, name).map_ok(by_noise).err_into())
        } else {
            Box::pin(self.tls.upgrade_inbound(socket, name).map_ok(by_tls).err_into())
        }
    }
}

impl<C> OutboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, name: Self::Info) -> Self::Future {
        if name == NOISE {
            Box::pin(self.noise.upgrade_outbound(socket, name).map_ok(by_noise).err_into())
        } else {
            Box::pin(self.tls.upgrade_outbound(socket, name).map_ok(by_tls).err_into())
        }
    }
}

fn by_tls<C>((peer, stream): (PeerId, SecureStream<C>)) -> (PeerId, Secured<C>) {
    (peer, Either::Left(stream))
}

fn by_noise<C>((peer, stream): (PeerId, noise::Output<C>)) -> (PeerId, Secured<C>) {
    (peer, Either::Right(stream))
}
