//! Transport of a node: TCP with TLS (or Noise, for peers that speak nothing else) and yamux, or QUIC.
//!
//! TCP is faster within a network; QUIC works better through address translation and packet loss. There is no
//! DNS: addresses are numeric.

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
use libp2p::{PeerId, noise, quic, relay};

use super::eager_tls;
use super::link_local::LinkLocalTcp;
use super::socket::Socket;
use super::tls::record::SecureStream;
use super::tls::{self, Tls, TlsError};
use super::yamux::{STREAMS, Yamux};
use crate::limits::HANDSHAKE_TIMEOUT;

/// Name of Noise in the negotiation; from the libp2p Noise specification.
const NOISE: &str = "/noise";

/// Builds the transport of the node whose identity is `keypair`. It listens on and dials `/ip4|ip6/../tcp/..`
/// and `/ip4|ip6/../udp/../quic-v1`, and dials `/ip6zone/<interface>/ip6/fe80::../tcp/..`. A connection
/// carries at most 64 streams. A handshake that takes longer than [`HANDSHAKE_TIMEOUT`] fails.
///
/// With `steady`, a window never grows and is renewed in small steps, so that the peer sends evenly.
///
/// The peer id in the output is proven. The caller compares it with the id that was dialled, as libp2p's
/// `Swarm` does (`DialError::WrongPeerId`).
///
/// The transport needs a tokio runtime that has I/O and time.
///
/// # Errors
/// [`io::ErrorKind::Other`] if `keypair` cannot sign a certificate or make a Noise key.
pub fn build(keypair: &Keypair, steady: bool) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    assemble(keypair, steady, OptionalTransport::none())
}

/// Makes a libp2p swarm that runs `behaviour` on the connections of `transport`. A connection that was unused
/// for `idle` is closed. With `V1Lazy`, a substream with a single proposed protocol exists before the other
/// end has answered, and a refusal is an error of its first read.
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

/// Builds the transport of [`build`] with relays added: `/../p2p/..relay../p2p-circuit`. Relayed connections
/// are encrypted end to end, like all others.
///
/// # Errors
/// The errors of [`build`].
pub(crate) fn build_with_relays(
    keypair: &Keypair,
    steady: bool,
    relays: relay::client::Transport,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    assemble(keypair, steady, OptionalTransport::some(relays))
}

fn assemble(
    keypair: &Keypair,
    steady: bool,
    relays: OptionalTransport<relay::client::Transport>,
) -> io::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    // This must come first: libp2p-quic panics with a key for which this returns an error.
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
        LinkLocalTcp::new()
            .map(|stream, _| Socket::new(stream))
            .upgrade(Version::V1Lazy)
            .authenticate(security)
            .multiplex(Yamux::new(steady))
            .timeout(HANDSHAKE_TIMEOUT)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed()
    };
    let tcp = eager_tls::Tcp::new(tcp(&[tls::PROTOCOL, NOISE]), tcp(&[tls::PROTOCOL]), tcp(&[NOISE]));
    let quic = quic::tokio::Transport::new(quic_config(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = quic.or_transport(tcp).map(|either, _| either.into_inner());
    // Relays must come first: the other transports would take the relay's own address for the whole one.
    Ok(relayed.or_transport(direct).map(|either, _| either.into_inner()).boxed())
}

/// Returns libp2p's stock windows (10 MB a stream, 15 MB a connection) with our limits.
fn quic_config(keypair: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_concurrent_stream_limit = STREAMS as u32;
    config
}

/// Negotiates TLS or Noise; `protocols` lists the names to offer, best first.
#[derive(Clone)]
struct Security {
    tls: Tls,
    noise: noise::Config,
    protocols: &'static [&'static str],
}

/// Reason why a peer could not be authenticated.
#[derive(Debug, thiserror::Error)]
enum SecurityError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("Noise handshake: {0}")]
    Noise(#[source] noise::Error),
    #[error("its key is of a kind that is not spoken here, only Ed25519")]
    KeyKind,
}

impl From<noise::Error> for SecurityError {
    fn from(error: noise::Error) -> Self {
        if matches!(error, noise::Error::InvalidKey(_)) { Self::KeyKind } else { Self::Noise(error) }
    }
}

/// Encrypted byte stream to a known peer, by TLS (left) or Noise (right).
type Secured<C> = Either<SecureStream<C>, noise::Output<C>>;

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, Self::Info>>;

    /// Returns the protocols in the order a dialler proposes them. It does not wait for the answer to the
    /// last proposal.
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
