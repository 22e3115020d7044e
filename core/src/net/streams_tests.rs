//! Sessions between real swarms over TCP.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, ConnectionId, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream};

use super::streams::{StreamEvent, StreamLimits, Streams, handler};
use super::transport;

/// A peer that speaks our protocol, or one that does not.
type Peer = Toggle<Streams>;

type Happening = SwarmEvent<StreamEvent>;

async fn peer(limits: Option<StreamLimits>) -> (Swarm<Peer>, Multiaddr) {
    let keypair = Keypair::generate_ed25519();
    let local = PeerId::from(keypair.public());
    let transport = transport::build(&keypair, false).expect("a transport");
    let streams = limits.map(|limits| Streams::with_limits(local, limits));
    let behaviour = Peer::from(streams);
    // A stranger stays, whatever we do; a node stays as long as its session.
    let idle = if behaviour.is_enabled() { Duration::ZERO } else { Duration::from_secs(3600) };
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(idle);
    let config = config.with_substream_upgrade_protocol_override(Version::V1Lazy);
    let mut swarms = [Swarm::new(transport, behaviour, local, config)];
    swarms[0].listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("to listen");
    let address = drive(&mut swarms, |_, event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    });
    let address = address.await;
    let [swarm] = swarms;
    (swarm, address)
}

async fn node() -> (Swarm<Peer>, Multiaddr) {
    peer(Some(StreamLimits::default())).await
}

fn dial(from: &mut Swarm<Peer>, to: PeerId, address: &Multiaddr) {
    let opts = DialOpts::peer_id(to).condition(PeerCondition::Always).addresses(vec![address.clone()]);
    from.dial(opts.allocate_new_port().build()).expect("a dial");
}

/// Runs the swarms until one of their events is the one that the test waits for.
pub(crate) async fn drive<B: NetworkBehaviour, T>(
    swarms: &mut [Swarm<B>],
    mut found: impl FnMut(usize, SwarmEvent<B::ToSwarm>) -> Option<T>,
) -> T {
    let search = poll_fn(|cx| {
        for (at, swarm) in swarms.iter_mut().enumerate() {
            while let Poll::Ready(Some(event)) = swarm.poll_next_unpin(cx) {
                if let Some(found) = found(at, event) {
                    return Poll::Ready(found);
                }
            }
        }
        Poll::Pending
    });
    tokio::time::timeout(Duration::from_secs(30), search).await.expect("it within 30 s")
}

/// Runs the swarms until `work` is done.
async fn meanwhile<T>(swarms: &mut [Swarm<Peer>], work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        never = drive::<_, Infallible>(swarms, |_, _| None) => match never {},
    }
}

/// Sessions as the events report them; checks the promises about the order of events.
#[derive(Default)]
struct Sessions(Vec<Option<(ConnectionId, Stream, Stream)>>);

impl Sessions {
    fn of(swarms: usize) -> Self {
        Sessions((0..swarms).map(|_| None).collect())
    }

    fn note(&mut self, at: usize, event: Happening) {
        let SwarmEvent::Behaviour(event) = event else { return };
        match event {
            StreamEvent::Ready { connection, mut control, mut data, .. } => {
                // A session reads both substreams at once. A lazily opened one sends nothing before that.
                for stream in [&mut control, &mut data] {
                    let _ = stream.flush().now_or_never();
                }
                let before = self.0[at].replace((connection, control, data));
                assert!(before.is_none(), "a second session before the first was closed");
            }
            StreamEvent::Closed { connection, .. } => {
                let before = self.0[at].take().expect("only what was ready is closed");
                assert_eq!(before.0, connection, "closed another than the current session");
            }
            StreamEvent::Further { .. } => panic!("nobody asked for it"),
            StreamEvent::Failed { reason, .. } => panic!("{reason}"),
        }
    }

    fn all(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Sends bytes both ways over both substreams; only the two ends of one connection pass this.
    async fn talk(&mut self) {
        let [Some((_, control, data)), Some((_, control_there, data_there))] = &mut self.0[..] else {
            panic!("two sessions");
        };
        for (from, to) in [(control, control_there), (data, data_there)] {
            let (here, there) = (b"from the first", b"from the second");
            let (mut at_second, mut at_first) = ([0; 14], [0; 15]);
            let talk = async {
                futures::try_join!(from.write_all(here), to.write_all(there))?;
                futures::try_join!(from.flush(), to.flush())?;
                futures::try_join!(to.read_exact(&mut at_second), from.read_exact(&mut at_first))
            };
            tokio::time::timeout(Duration::from_secs(30), talk).await.expect("in time").expect("an exchange");
            assert_eq!((&at_second, &at_first), (here, there));
        }
    }
}

async fn pair() -> ([Swarm<Peer>; 2], Sessions) {
    let (first, _) = node().await;
    let (second, address) = node().await;
    let mut swarms = [first, second];
    let to = *swarms[1].local_peer_id();
    dial(&mut swarms[0], to, &address);
    let mut sessions = Sessions::of(2);
    drive(&mut swarms, |at, event| {
        sessions.note(at, event);
        sessions.all().then_some(())
    })
    .await;
    (swarms, sessions)
}

#[tokio::test]
async fn a_session_carries_bytes_and_either_way_to_end_it_reaches_both_ends() {
    for by_dropping in [true, false] {
        let (mut swarms, mut sessions) = pair().await;
        sessions.talk().await;
        let connection = sessions.0[0].as_ref().expect("a session").0;
        let peer = *swarms[1].local_peer_id();
        if by_dropping {
            sessions.0[0] = None;
        } else {
            swarms[0].behaviour_mut().as_mut().expect("streams").close(peer, connection);
        }
        let mut errors = [None, None];
        drive(&mut swarms, |at, event| {
            if let SwarmEvent::Behaviour(StreamEvent::Closed { error, .. }) = event {
                errors[at] = Some(error);
            }
            errors.iter().all(Option::is_some).then_some(())
        })
        .await;
        assert_eq!(errors[0], Some(None), "what this end wanted is no error");
        assert!(matches!(errors[1], Some(Some(_))), "the other end learns that it was not its own doing");
    }
}

#[tokio::test]
async fn simultaneous_dials_leave_one_session() {
    for _ in 0..20 {
        let (first, first_address) = node().await;
        let (second, second_address) = node().await;
        let mut swarms = [first, second];
        let ids = [*swarms[0].local_peer_id(), *swarms[1].local_peer_id()];
        dial(&mut swarms[0], ids[1], &second_address);
        dial(&mut swarms[1], ids[0], &first_address);

        let mut sessions = Sessions::of(2);
        let (mut handshakes, mut open) = ([0; 2], [0; 2]);
        drive(&mut swarms, |at, event| {
            match &event {
                SwarmEvent::ConnectionEstablished { num_established, .. } => {
                    handshakes[at] += 1;
                    open[at] = num_established.get();
                }
                SwarmEvent::ConnectionClosed { num_established, .. } => open[at] = *num_established,
                SwarmEvent::IncomingConnectionError { .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                    handshakes[at] += 1;
                }
                _ => {}
            }
            sessions.note(at, event);
            (sessions.all() && handshakes == [2; 2] && open == [1; 2]).then_some(())
        })
        .await;
        sessions.talk().await;
    }
}

#[tokio::test]
async fn a_further_data_stream_comes_beside_a_session_and_takes_nothing_from_it() {
    let (mut swarms, mut sessions) = pair().await;
    let to = *swarms[1].local_peer_id();
    let address = swarms[1].listeners().next().expect("it listens").clone();
    for _ in 0..2 {
        let opts = DialOpts::peer_id(to).condition(PeerCondition::Always).addresses(vec![address.clone()]);
        let opts = opts.allocate_new_port().build();
        swarms[0].behaviour_mut().as_mut().expect("a node").widen(opts.connection_id());
        swarms[0].dial(opts).expect("a dial");
        let mut further: [Option<Stream>; 2] = [None, None];
        drive(&mut swarms, |at, event| {
            match event {
                SwarmEvent::Behaviour(StreamEvent::Further { data, .. }) => further[at] = Some(data),
                other => sessions.note(at, other),
            }
            further.iter().all(Option::is_some).then_some(())
        })
        .await;
        let [Some(near), Some(far)] = &mut further else { panic!("both ends have it") };
        let mut bytes = [0; 4];
        let talk = async {
            near.write_all(b"data").await?;
            near.flush().await?;
            far.read_exact(&mut bytes).await
        };
        let driven = async {
            loop {
                drive(&mut swarms, |at, event| {
                    sessions.note(at, event);
                    None::<()>
                })
                .await;
            }
        };
        tokio::select! {
            talked = talk => talked.expect("an exchange"),
            () = driven => {}
        }
        assert_eq!(&bytes, b"data");
        // Both ends let go of the stream: its connection ends, and no session is reported as ended.
        drop(further);
        let mut closed = 0;
        drive(&mut swarms, |at, event| {
            closed += usize::from(matches!(event, SwarmEvent::ConnectionClosed { .. }));
            sessions.note(at, event);
            (closed == 2).then_some(())
        })
        .await;
    }
    assert!(sessions.all());
    sessions.talk().await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_reported() {
    let (ours, our_address) =
        peer(Some(StreamLimits { timeout: Duration::from_millis(50), ..Default::default() })).await;
    let (stranger, address) = peer(None).await;
    let mut swarms = [ours, stranger];
    let ids = [*swarms[0].local_peer_id(), *swarms[1].local_peer_id()];

    let failure = |_, event| match event {
        SwarmEvent::Behaviour(StreamEvent::Failed { reason, .. }) => Some(reason),
        SwarmEvent::Behaviour(other) => panic!("{other:?}"),
        _ => None,
    };
    let gone = |at, event| matches!((at, event), (0, SwarmEvent::ConnectionClosed { .. })).then_some(());
    let ready = |_, event| match event {
        SwarmEvent::Behaviour(StreamEvent::Ready { control, data, .. }) => Some((control, data)),
        SwarmEvent::Behaviour(other) => panic!("{other:?}"),
        _ => None,
    };
    dial(&mut swarms[0], ids[1], &address);
    let (mut control, mut data) = drive(&mut swarms, ready).await;
    for stream in [&mut control, &mut data] {
        // A session writes at once, so there are bytes of ours behind the proposal.
        stream.write_all(&[0; 64]).await.expect("room in a buffer");
        let mut byte = [0];
        let error = meanwhile(&mut swarms, stream.read(&mut byte)).await.expect_err("a refusal");
        let reason = handler::refusal(&error).unwrap_or_else(|| error.to_string());
        assert!(reason.contains("does not speak /swarm/chunk/1/"), "{reason}");
    }
    drop((control, data));
    let closed = |at, event| match event {
        SwarmEvent::Behaviour(StreamEvent::Closed { error, .. }) => Some((at, error)),
        _ => None,
    };
    assert_eq!(drive(&mut swarms, closed).await, (0, None), "the node has dropped the substreams");

    dial(&mut swarms[1], ids[0], &our_address);
    let reason = drive(&mut swarms, failure).await;
    assert!(reason.contains("no session within 50ms"), "{reason}");
    drive(&mut swarms, gone).await;
}

#[tokio::test]
async fn a_session_is_ready_before_the_other_end_has_it() {
    let (first, _) = node().await;
    let (second, address) = node().await;
    let mut swarms = [first, second];
    let to = *swarms[1].local_peer_id();
    dial(&mut swarms[0], to, &address);
    let comes = |at, event| matches!((at, event), (1, SwarmEvent::IncomingConnection { .. })).then_some(());
    drive(&mut swarms, comes).await;
    // From here on the second node takes part in the handshake only.
    let ready = |_, event| match event {
        SwarmEvent::Behaviour(StreamEvent::Ready { control, data, .. }) => Some((control, data)),
        _ => None,
    };
    let (mut control, mut data) = drive(&mut swarms[..1], ready).await;

    // Reading is enough for the other end to learn of the substream.
    let (mut first, mut second) = ([0], [0]);
    let read = futures::future::select(control.read(&mut first), data.read(&mut second));
    let (mut control_there, _data_there) = tokio::select! {
        there = drive(&mut swarms, ready) => there,
        _ = read => panic!("nothing was written"),
    };
    control.write_all(b"after").await.expect("a substream");
    control.flush().await.expect("a substream");
    let mut after = [0; 5];
    meanwhile(&mut swarms, control_there.read_exact(&mut after)).await.expect("what was written");
    assert_eq!(&after, b"after");
}

#[tokio::test]
async fn beside_another_connection_no_session_is_taken_for_ready_before_the_answer() {
    let (ours, our_address) = node().await;
    let (stranger, address) = peer(None).await;
    let mut swarms = [ours, stranger];
    let ids = [*swarms[0].local_peer_id(), *swarms[1].local_peer_id()];
    dial(&mut swarms[1], ids[0], &our_address);
    let established = |at, event| match event {
        SwarmEvent::ConnectionEstablished { .. } if at == 0 => Some(()),
        _ => None,
    };
    drive(&mut swarms, established).await;

    dial(&mut swarms[0], ids[1], &address);
    let closed = |at, event| match event {
        SwarmEvent::Behaviour(event) => panic!("{event:?}"),
        SwarmEvent::ConnectionClosed { endpoint, .. } if at == 0 => Some(endpoint.is_dialer()),
        _ => None,
    };
    assert!(drive(&mut swarms, closed).await, "the other connection may still come to carry a session");
}
