//! A reservation at a relay lasts as long as it was granted, with a session or without.

use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, relay};

use super::behaviour::Behaviour;
use super::streams::{StreamLimits, Streams};
use super::transport;
use crate::options::Options;

/// Time in which a session must begin.
const TIMEOUT: Duration = Duration::from_millis(300);

/// A program that knows nothing of sessions.
#[derive(NetworkBehaviour)]
struct Foreign {
    relayed: relay::client::Behaviour,
}

fn make<B: NetworkBehaviour>(behaviour: impl FnOnce(&Keypair, relay::client::Behaviour) -> B) -> Swarm<B> {
    let key = Keypair::generate_ed25519();
    let (relays, relayed) = relay::client::new(key.public().to_peer_id());
    let transport = transport::build_with_relays(&key, false, relays).expect("a transport");
    let behaviour = behaviour(&key, relayed);
    transport::network(&key, transport, behaviour, Duration::ZERO, libp2p::core::upgrade::Version::V1Lazy)
}

fn node(relay_server: bool) -> Swarm<Behaviour> {
    make(|key, relayed| {
        let options = Options { relay_server, ..Options::new("unused") };
        let mut behaviour = Behaviour::new(key, &options, relayed);
        let limits = StreamLimits { timeout: TIMEOUT, ..StreamLimits::default() };
        let streams = Streams::with_limits(PeerId::from(key.public()), limits);
        behaviour.streams = if relay_server { streams.sharing() } else { streams };
        behaviour
    })
}

async fn listen(node: &mut Swarm<Behaviour>) -> Multiaddr {
    node.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("to listen");
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = node.select_next_some().await {
            node.add_external_address(address.clone());
            return address.with(Protocol::P2p(*node.local_peer_id()));
        }
    }
}

#[tokio::test]
async fn a_reservation_outlives_the_time_for_a_session() {
    let mut server = node(true);
    let at = listen(&mut server).await.with(Protocol::P2pCircuit);
    let mut foreign = make(|_, relayed| Foreign { relayed });
    foreign.listen_on(at).expect("to listen through the relay");
    let (mut reserved, mut over) = (false, None);
    let lasts = async {
        loop {
            tokio::select! {
                event = foreign.select_next_some() => match event {
                    SwarmEvent::NewListenAddr { .. } => {
                        reserved = true;
                        over = Some(tokio::time::Instant::now() + 5 * TIMEOUT);
                    }
                    SwarmEvent::ConnectionClosed { cause, .. } => panic!("the reservation is lost: {cause:?}"),
                    _ => {}
                },
                event = server.select_next_some() => {
                    assert!(!matches!(event, SwarmEvent::ConnectionClosed { .. }), "{event:?}");
                }
                () = async { tokio::time::sleep_until(over.expect("a time")).await }, if over.is_some() => break,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), lasts).await.expect("a reservation");
    assert!(reserved);
}

#[tokio::test]
async fn a_connection_without_any_use_ends_at_a_relay_too() {
    let mut server = node(true);
    let at = listen(&mut server).await;
    let mut idle = make(|_, relayed| Foreign { relayed });
    idle.dial(at).expect("a dial");
    let ends = async {
        loop {
            tokio::select! {
                event = idle.select_next_some() => {
                    if matches!(event, SwarmEvent::ConnectionClosed { .. }) {
                        break;
                    }
                }
                _ = server.select_next_some() => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("an end");
}
