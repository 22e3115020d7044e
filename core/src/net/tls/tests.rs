//! Our TLS against libp2p's own, against forgers and noise, and the whole transport against a wrong peer id.
#![allow(clippy::unwrap_used)]

mod certificates;

use std::time::Duration;

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::{FutureExt, StreamExt};
use libp2p::core::Transport;
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::{Config, DialError, Swarm, SwarmEvent, dummy};
use libp2p::tcp::tokio::TcpStream;
use libp2p::{noise, tcp};
use proptest::prelude::*;
use rustls::{CipherSuite, NamedGroup};
use tokio::net::TcpListener;

use super::*;
use crate::net::transport;
use crate::net::yamux::Yamux;

/// More than any step here takes, and less than a person's patience.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Returns both ends of a TCP connection over loopback.
pub(crate) async fn pipe() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialling = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = join(dialling, listener.accept()).await;
    (TcpStream(dialled.unwrap()), TcpStream(accepted.unwrap().0))
}

type Outcome<T, E> = Result<(PeerId, T), E>;

/// Runs one handshake; returns the results of the dialling and of the listening end.
async fn handshake<D, DT, DE, L, LT, LE>(dialler: D, listener: L) -> (Outcome<DT, DE>, Outcome<LT, LE>)
where
    D: OutboundConnectionUpgrade<TcpStream, Output = (PeerId, DT), Error = DE, Info = &'static str>,
    L: InboundConnectionUpgrade<TcpStream, Output = (PeerId, LT), Error = LE, Info = &'static str>,
{
    let (near, far) = pipe().await;
    let dialling = dialler.upgrade_outbound(near, PROTOCOL);
    let both = join(dialling, listener.upgrade_inbound(far, PROTOCOL));
    tokio::time::timeout(LONG, both).await.expect("a handshake ends")
}

/// Sends a megabyte each way at once and compares the bytes.
async fn exchange<A, B>(mut a: A, mut b: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|index| ((index * 31) >> 3) as u8).collect();
    for _ in 0..2 {
        let mut got = vec![0; bytes.len()];
        let sending = async {
            a.write_all(&bytes).await.unwrap();
            a.flush().await.unwrap();
        };
        join(sending, b.read_exact(&mut got)).await.1.unwrap();
        assert!(got == bytes);
        b.write_all(&bytes[..7]).await.unwrap();
        b.flush().await.unwrap();
        a.read_exact(&mut got[..7]).await.unwrap();
        assert_eq!(got[..7], bytes[..7]);
    }
}

fn fastest() -> CipherSuite {
    if has_aes() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    }
}

#[tokio::test]
async fn we_dial_stock() {
    let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let stock = libp2p::tls::Config::new(&theirs).unwrap();
    let (dialled, accepted) = handshake(Tls::new(&ours).unwrap(), stock).await;
    let ((seen, near), (seen_by_stock, far)) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!(seen, theirs.public().to_peer_id());
    assert_eq!(seen_by_stock, ours.public().to_peer_id());
    assert_eq!(near.suite(), fastest());
    exchange(near, far).await;
}

#[tokio::test]
async fn stock_dials_us() {
    let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let stock = libp2p::tls::Config::new(&theirs).unwrap();
    let (dialled, accepted) = handshake(stock, Tls::new(&ours).unwrap()).await;
    let ((seen_by_stock, near), (seen, far)) = (dialled.unwrap(), accepted.unwrap());
    assert_eq!(seen, theirs.public().to_peer_id());
    assert_eq!(seen_by_stock, ours.public().to_peer_id());
    // The stock dialler asks for ChaCha20 first, and does not get it.
    assert_eq!(far.suite(), fastest());
    exchange(near, far).await;
}

#[tokio::test]
async fn two_of_us_use_the_fast_cipher_and_the_quantum_safe_group() {
    let tls = || Tls::new(&Keypair::generate_ed25519()).unwrap();
    let (dialled, accepted) = handshake(tls(), tls()).await;
    let (near, far) = (dialled.unwrap().1, accepted.unwrap().1);
    for stream in [&near, &far] {
        assert_eq!(stream.suite(), fastest());
        assert_eq!(stream.group(), Some(NamedGroup::X25519MLKEM768));
    }
    exchange(near, far).await;
}

/// Keys change in the middle of a connection, with us and with a stock peer.
#[tokio::test]
async fn keys_change_under_way() {
    let tls = || Tls::new(&Keypair::generate_ed25519()).unwrap();
    let (dialled, accepted) = handshake(tls(), tls()).await;
    let (mut near, mut far) = (dialled.unwrap().1, accepted.unwrap().1);
    for _ in 0..3 {
        near.rekey();
        far.rekey();
        exchange(&mut near, &mut far).await;
    }
    let stock = libp2p::tls::Config::new(&Keypair::generate_ed25519()).unwrap();
    let (dialled, accepted) = handshake(tls(), stock).await;
    let (mut near, mut far) = (dialled.unwrap().1, accepted.unwrap().1);
    for _ in 0..3 {
        near.rekey();
        exchange(&mut near, &mut far).await;
    }
}

/// The dialler's last handshake message, a new key and data under that key arrive together.
#[tokio::test]
async fn what_comes_with_the_end_of_a_handshake_is_kept() {
    let (near, far) = pipe().await;
    let tls = || Tls::new(&Keypair::generate_ed25519()).unwrap();
    let dialling = async {
        let mut near = tls().upgrade_outbound(near, PROTOCOL).await.unwrap().1;
        near.write_all(b"first").await.unwrap();
        near.rekey();
        near.write_all(b"second").await.unwrap();
        near.flush().await.unwrap();
        near
    };
    let (near, far) = join(dialling, tls().upgrade_inbound(far, PROTOCOL)).await;
    let (near, mut far) = (near, far.unwrap().1);
    let mut got = [0; 11];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"firstsecond");
    exchange(near, far).await;
}

/// A stock peer closes in order, and so do we; a connection that is cut is an error.
#[tokio::test]
async fn an_end_is_told_from_a_cut() {
    let tls = || Tls::new(&Keypair::generate_ed25519()).unwrap();
    let stock = libp2p::tls::Config::new(&Keypair::generate_ed25519()).unwrap();
    let (dialled, accepted) = handshake(tls(), stock).await;
    let (mut near, mut far) = (dialled.unwrap().1, accepted.unwrap().1);
    far.close().await.unwrap();
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    near.close().await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);

    let (dialled, accepted) = handshake(tls(), tls()).await;
    let mut near = dialled.unwrap().1;
    drop(accepted);
    assert!(near.read(&mut [0]).await.is_err());
}

/// Every byte that is changed, cut out or inserted on the way is detected, and nothing behind it is believed.
#[tokio::test]
async fn nothing_can_be_changed_on_the_way() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|index| ((index * 31) >> 3) as u8).collect();
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 6] = [
        |wire| wire[50_000] ^= 1,
        |wire| wire[0] = 22,
        |wire| wire[3] ^= 1,
        |wire| drop(wire.drain(..16_384 + 22)),
        |wire| drop(wire.splice(..0, wire[..16_384 + 22].to_vec())),
        |wire| drop(wire.splice(..0, [21, 3, 3, 0, 2, 1, 0])),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let tls = || Tls::new(&Keypair::generate_ed25519()).unwrap();
        let ((near, mut left), (mut right, far)) = (pipe().await, pipe().await);
        let (arm, mut armed) = tokio::sync::oneshot::channel::<()>();
        let (ready, is_ready) = tokio::sync::oneshot::channel::<()>();
        let relay = tokio::spawn(async move {
            // The handshake goes through unchanged.
            let (mut a, mut b) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                futures::select! {
                    read = left.read(&mut a).fuse() => right.write_all(&a[..read.unwrap()]).await.unwrap(),
                    read = right.read(&mut b).fuse() => left.write_all(&b[..read.unwrap()]).await.unwrap(),
                    _ = (&mut armed).fuse() => break,
                }
            }
            ready.send(()).unwrap();
            let mut wire = Vec::new();
            left.read_to_end(&mut wire).await.unwrap();
            change(&mut wire);
            let _ = right.write_all(&wire).await;
            let _ = right.close().await;
        });
        let dialling = tls().upgrade_outbound(near, PROTOCOL);
        let (near, far) = join(dialling, tls().upgrade_inbound(far, PROTOCOL)).await;
        let (mut near, mut far) = (near.unwrap().1, far.unwrap().1);
        arm.send(()).unwrap();
        is_ready.await.unwrap();
        near.write_all(&bytes).await.unwrap();
        near.close().await.unwrap();
        let mut got = Vec::new();
        let end = far.read_to_end(&mut got).await;
        assert!(end.is_err(), "change {number} was not found");
        assert!(bytes.starts_with(&got), "change {number} was believed");
        assert!(far.read(&mut [0]).await.is_err(), "change {number} was forgotten");
        relay.await.unwrap();
    }
}

#[test]
fn chacha_comes_first_exactly_where_aes_is_slow() {
    let order = |aes| cipher_suites(aes).iter().map(SupportedCipherSuite::suite).collect::<Vec<_>>();
    let [aes128, aes256, chacha] = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    assert_eq!(order(true), [aes128, aes256, chacha]);
    assert_eq!(order(false), [chacha, aes128, aes256]);
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_refused() {
    let mut nobody = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier))
        .with_no_client_auth();
    nobody.alpn_protocols = vec![ALPN.to_vec()];
    let honest = Tls::new(&Keypair::generate_ed25519()).unwrap();
    let nobody = Tls { client: Arc::new(nobody), ..honest.clone() };
    let (_, accepted) = handshake(nobody, honest).await;
    assert!(matches!(accepted, Err(TlsError::Handshake(_))), "{accepted:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes that a peer sends instead of a handshake end in an error; so does silence at the end.
    #[test]
    fn garbage_is_an_error(mut garbage in proptest::collection::vec(any::<u8>(), 0..3000), record: bool) {
        if record && garbage.len() > 5 {
            // The bytes look like a TLS handshake record of just this length, so that the contents are
            // parsed.
            let length = (garbage.len() - 5) as u16;
            garbage[..5].copy_from_slice(&[22, 3, 3, (length >> 8) as u8, length as u8]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tls = Tls::new(&Keypair::generate_ed25519()).unwrap();
            let (mut hostile, near) = pipe().await;
            let (accepted, ()) = join(tls.clone().upgrade_inbound(near, PROTOCOL), async {
                let _ = hostile.write_all(&garbage).await;
                let _ = hostile.close().await;
            }).await;
            assert!(accepted.is_err());
            let (mut hostile, near) = pipe().await;
            let (dialled, ()) = join(tls.upgrade_outbound(near, PROTOCOL), async {
                let _ = hostile.write_all(&garbage).await;
                let _ = hostile.close().await;
            }).await;
            assert!(dialled.is_err());
        });
    }
}

/// A swarm with our transport that does nothing but connect.
fn node() -> Swarm<dummy::Behaviour> {
    let keypair = Keypair::generate_ed25519();
    let transport = transport::build(&keypair, false).unwrap();
    Swarm::new(transport, dummy::Behaviour, keypair.public().to_peer_id(), Config::with_tokio_executor())
}

async fn listen(swarm: &mut Swarm<dummy::Behaviour>, address: &str) -> Multiaddr {
    swarm.listen_on(address.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// Returns the outcome of a dial, while the other end runs.
async fn dial(
    near: &mut Swarm<dummy::Behaviour>,
    far: &mut Swarm<dummy::Behaviour>,
    to: Multiaddr,
) -> Result<PeerId, DialError> {
    near.dial(to)?;
    let dialling = async {
        loop {
            match near.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
                _ => {}
            }
        }
    };
    let serving = async {
        loop {
            far.select_next_some().await;
        }
    };
    let both = futures::future::select(dialling.boxed_local(), serving.boxed_local());
    tokio::time::timeout(LONG, both).await.expect("a dial ends").factor_first().0
}

/// The complete path: libp2p's connection pool compares the peer id of the dialled address with the proven
/// one.
#[tokio::test]
async fn a_wrong_peer_id_is_refused() {
    for address in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let mut far = node();
        let (right, wrong) = (*far.local_peer_id(), PeerId::random());
        let address = listen(&mut far, address).await;

        let mut near = node();
        let refused = dial(&mut near, &mut far, address.clone().with(Protocol::P2p(wrong))).await;
        let Err(DialError::WrongPeerId { obtained, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(obtained, right);
        assert_eq!(near.connected_peers().count(), 0);

        let taken = dial(&mut near, &mut far, address.with(Protocol::P2p(right))).await;
        assert_eq!(taken.unwrap(), right);
    }
}

#[tokio::test]
async fn a_peer_that_speaks_only_noise_is_reached() {
    let keypair = Keypair::generate_ed25519();
    let stock = tcp::tokio::Transport::new(tcp::Config::new())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(Yamux::new(false))
        .boxed();
    let peer = keypair.public().to_peer_id();
    let mut far = Swarm::new(stock, dummy::Behaviour, peer, Config::with_tokio_executor());
    let address = listen(&mut far, "/ip4/127.0.0.1/tcp/0").await;
    let mut near = node();
    assert_eq!(dial(&mut near, &mut far, address).await.unwrap(), peer);
    // The other way round.
    let address = listen(&mut near, "/ip4/127.0.0.1/tcp/0").await;
    let us = *near.local_peer_id();
    assert_eq!(dial(&mut far, &mut near, address).await.unwrap(), us);
}
