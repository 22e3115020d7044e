//! The connection limits: their bookings as libp2p reports them, and limits met by real connections and
//! substreams.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure};
use libp2p::swarm::{
    self, ConnectionDenied, ConnectionId, DialError, FromSwarm, ListenError, NetworkBehaviour, NotifyHandler,
    OneShotHandler, SubstreamProtocol, Swarm, SwarmEvent, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::net::TcpStream;

use super::connection_limits::counts_tests::{ip, wide};
use super::connection_limits::{ConnectionLimits, Decided, GateLimits, Refused};
use super::streams::handler::SubstreamKind;
use super::streams::{StreamEvent, Streams};
use super::streams_tests::drive;
use super::transport;

/// Connection limits and the calls a swarm makes.
struct Door {
    gate: ConnectionLimits,
    next: usize,
}

impl Door {
    fn new(limits: GateLimits) -> Self {
        Door { gate: ConnectionLimits::new(limits), next: 0 }
    }

    fn id(&mut self) -> ConnectionId {
        self.next += 1;
        ConnectionId::new_unchecked(self.next)
    }

    fn knock(&mut self, from: &Multiaddr) -> Result<ConnectionId, Refused> {
        let id = self.id();
        match self.gate.handle_pending_inbound_connection(id, &Multiaddr::empty(), from) {
            Ok(()) => Ok(id),
            Err(denied) => Err(self.listen_failure(id, from, denied)),
        }
    }

    /// Reports a failure as the swarm does to every behaviour, whichever of them denied the connection.
    fn listen_failure(&mut self, id: ConnectionId, from: &Multiaddr, cause: ConnectionDenied) -> Refused {
        let error = ListenError::Denied { cause };
        self.gate.on_swarm_event(FromSwarm::ListenFailure(ListenFailure {
            local_addr: &Multiaddr::empty(),
            send_back_addr: from,
            error: &error,
            connection_id: id,
            peer_id: None,
        }));
        let ListenError::Denied { cause } = error else { unreachable!("made above") };
        cause.downcast().expect("the reason")
    }

    fn dial(&mut self, peer: PeerId, to: &[Multiaddr]) -> Result<ConnectionId, Refused> {
        let id = self.id();
        match self.gate.handle_pending_outbound_connection(id, Some(peer), to, Endpoint::Dialer) {
            Ok(_) => Ok(id),
            Err(cause) => {
                self.dial_failure(id, peer);
                Err(cause.downcast().expect("the reason"))
            }
        }
    }

    fn dial_failure(&mut self, id: ConnectionId, peer: PeerId) {
        let (peer_id, error) = (Some(peer), &DialError::NoAddresses);
        self.gate.on_swarm_event(FromSwarm::DialFailure(DialFailure { peer_id, error, connection_id: id }));
    }

    fn enter(&mut self, id: ConnectionId, peer: PeerId, from: &Multiaddr) -> Result<(), Refused> {
        let here = Multiaddr::empty();
        match self.gate.handle_established_inbound_connection(id, peer, &here, from) {
            Ok(_) => self.established(id, peer),
            Err(denied) => return Err(self.listen_failure(id, from, denied)),
        }
        Ok(())
    }

    fn established(&mut self, connection_id: ConnectionId, peer_id: PeerId) {
        self.gate.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id,
            connection_id,
            endpoint: &endpoint(),
            failed_addresses: &[],
            other_established: 0,
        }));
    }

    fn leave(&mut self, connection_id: ConnectionId, peer_id: PeerId) {
        self.gate.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            endpoint: &endpoint(),
            cause: None,
            remaining_established: 0,
        }));
    }
}

fn endpoint() -> ConnectedPoint {
    ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: Multiaddr::empty() }
}

fn address(text: &str) -> Multiaddr {
    Multiaddr::empty().with(ip(text).into()).with(Protocol::Tcp(1))
}

#[test]
fn a_place_comes_back_once_however_a_connection_ends() {
    let mut door = Door::new(GateLimits { per_lan_host: 1, outbound: 1, ..wide() });
    let (peer, lan) = (PeerId::random(), address("10.0.0.1"));
    let other_behaviour = || ConnectionDenied::new(Refused::BannedPeer);

    let first = door.knock(&lan).expect("the first");
    assert_eq!(
        door.knock(&lan),
        Err(Refused::LanHost(1)),
        "its own denial is reported back and frees nothing"
    );
    assert_eq!(door.knock(&lan), Err(Refused::LanHost(1)));
    door.listen_failure(first, &lan, other_behaviour());
    door.listen_failure(first, &lan, other_behaviour());
    let second = door.knock(&lan).expect("after a handshake that failed or was refused by another behaviour");
    door.enter(second, peer, &lan).expect("to stay");
    assert_eq!(door.knock(&lan), Err(Refused::LanHost(1)));
    door.leave(second, peer);
    door.knock(&lan).expect("after a connection");
    assert_eq!(door.gate.refused().lan_host, 3);

    let first = door.dial(peer, &[]).expect("a dial");
    assert_eq!(door.dial(peer, &[]), Err(Refused::Outbound(1)));
    door.dial_failure(first, peer);
    let second = door.dial(peer, &[]).expect("after a dial that failed");
    door.established(second, peer);
    assert_eq!(door.dial(peer, &[]), Err(Refused::Outbound(1)));
    door.leave(second, peer);
    door.dial(peer, &[]).expect("after a connection");
}

/// Full of idle sessions, a node takes a newcomer in the place of the one that has been idle for longest.
#[test]
fn idle_connections_give_way_to_newcomers_and_busy_ones_do_not() {
    let idle = Duration::from_millis(30);
    let mut door = Door::new(GateLimits { inbound: 3, idle: Some(idle), ..wide() });
    let lan = address("10.0.0.1");
    let enter = |door: &mut Door, from: &Multiaddr| {
        let (id, peer) = (door.knock(from)?, PeerId::random());
        door.enter(id, peer, from).map(|()| (id, peer))
    };
    let first = enter(&mut door, &lan).expect("a place");
    let second = enter(&mut door, &lan).expect("a place");
    let third = enter(&mut door, &lan).expect("a place");
    [first, second, third].iter().for_each(|(id, _)| door.gate.carries_session(*id));
    assert_eq!(door.knock(&lan), Err(Refused::Inbound(3)), "nobody is idle yet");
    std::thread::sleep(idle);
    door.gate.used(first.1, Instant::now());
    let fourth = enter(&mut door, &lan).expect("the place of the second");
    assert_eq!(door.gate.refused().gave_way, 1);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(ToSwarm::CloseConnection { peer_id, .. }) = door.gate.poll(&mut cx) else {
        panic!("it is closed")
    };
    assert_eq!(peer_id, second.1);
    door.leave(second.0, second.1);
    let fifth = enter(&mut door, &lan).expect("the place of the third");
    assert_eq!(door.knock(&lan), Err(Refused::Inbound(3)), "the others have just come, or are of use");
    for (id, peer) in [first, fourth, fifth] {
        door.leave(id, peer);
    }
    // The crowd of one neighbourhood gives way, even to one that was there before it.
    let early = enter(&mut door, &address("1.2.3.4")).expect("a place");
    let crowd =
        [enter(&mut door, &lan), enter(&mut door, &address("10.0.0.2"))].map(|one| one.expect("a place"));
    std::thread::sleep(idle);
    door.gate.poll(&mut cx).is_ready().then(|| door.gate.poll(&mut cx));
    enter(&mut door, &address("5.6.7.8")).expect("the place of one of the crowd");
    let Poll::Ready(ToSwarm::CloseConnection { peer_id, .. }) = door.gate.poll(&mut cx) else {
        panic!("it is closed")
    };
    assert!(peer_id != early.1 && crowd.iter().any(|(_, peer)| *peer == peer_id));
}

#[test]
fn one_peer_has_two_connections_whoever_dialled() {
    let mut door = Door::new(GateLimits { per_peer: 2, ..wide() });
    let (peer, lan) = (PeerId::random(), address("10.0.0.1"));
    let inbound = door.knock(&lan).expect("a handshake");
    door.enter(inbound, peer, &lan).expect("the first");
    let outbound = door.dial(peer, std::slice::from_ref(&lan)).expect("a dial");
    door.established(outbound, peer);
    let third = door.knock(&lan).expect("a handshake");
    assert_eq!(door.enter(third, peer, &lan), Err(Refused::PerPeer(2)));
    let dial = door.dial(peer, std::slice::from_ref(&lan)).expect("a dial");
    let (role, port) = (Endpoint::Dialer, PortUse::New);
    assert!(door.gate.handle_established_outbound_connection(dial, peer, &lan, role, port).is_err());
    let other = door.knock(&lan).expect("a handshake");
    door.enter(other, PeerId::random(), &lan).expect("another peer");
    door.leave(inbound, peer);
    let third = door.knock(&lan).expect("a handshake");
    door.enter(third, peer, &lan).expect("a place that became free");
}

#[test]
fn the_banned_stay_outside_until_it_is_over() {
    let mut door = Door::new(wide());
    let (bad, good, now) = (PeerId::random(), PeerId::random(), Instant::now());
    let (bad_ip, good_ip) = (address("1.2.3.4"), address("1.2.3.5"));
    let until = now + Duration::from_secs(3600);
    door.gate.ban(&Decided { peer: bad, ip: Some(ip("::ffff:1.2.3.4")), until });
    assert!(door.gate.is_banned(&bad, now) && !door.gate.is_banned(&good, now));
    assert!(!door.gate.is_banned(&bad, until), "until then and no longer");

    assert_eq!(door.knock(&bad_ip), Err(Refused::BannedIp));
    let id = door.knock(&good_ip).expect("another address");
    assert_eq!(door.enter(id, bad, &good_ip), Err(Refused::BannedPeer));
    assert_eq!(door.dial(bad, &[]), Err(Refused::BannedPeer));
    assert_eq!(door.dial(good, std::slice::from_ref(&bad_ip)), Err(Refused::BannedIp));
    door.dial(good, &[bad_ip.clone(), good_ip.clone()]).expect("one good address is enough");
    let relay = bad_ip.clone().with(Protocol::P2p(good)).with(Protocol::P2pCircuit);
    door.dial(good, &[relay]).expect("behind a relay the address is not the peer's");

    door.gate.ban(&Decided { peer: good, ip: Some(ip("1.2.3.5")), until: now });
    door.knock(&good_ip).expect("that ban was over at once");
    assert_eq!((door.gate.refused().banned_ip, door.gate.refused().banned_peer), (2, 2));
}

/// A node that can open more substreams than it should.
#[derive(NetworkBehaviour)]
struct Node {
    gate: ConnectionLimits,
    streams: Streams,
    flood: Flood,
}

fn node(limits: GateLimits) -> Swarm<Node> {
    let keypair = Keypair::generate_ed25519();
    let local = PeerId::from(keypair.public());
    let transport = transport::build(&keypair, false).expect("a transport");
    let behaviour = Node {
        gate: ConnectionLimits::new(limits),
        streams: Streams::new(local, false),
        flood: Flood::default(),
    };
    Swarm::new(transport, behaviour, local, swarm::Config::with_tokio_executor())
}

async fn listen(swarms: &mut [Swarm<Node>]) -> (Multiaddr, SocketAddr) {
    swarms[0].listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("to listen");
    let address = drive(swarms, |_, event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    });
    let address = address.await;
    let port = address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
    (address, SocketAddr::new(ip("127.0.0.1"), port.expect("a port")))
}

/// Returns the next verdict about an inbound connection before its handshake.
async fn verdict(swarms: &mut [Swarm<Node>]) -> Result<(), Refused> {
    drive(swarms, |_, event| match event {
        SwarmEvent::IncomingConnection { .. } => Some(Ok(())),
        SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. } => {
            Some(Err(cause.downcast().expect("the reason")))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn the_ninth_silent_caller_is_turned_away_and_a_free_place_is_given_again() {
    let mut swarms = [node(GateLimits { pending_inbound: 8, ..GateLimits::default() })];
    let (_, socket) = listen(&mut swarms).await;
    let mut callers = Vec::new();
    for _ in 0..8 {
        callers.push(TcpStream::connect(socket).await.expect("to connect"));
        assert_eq!(verdict(&mut swarms).await, Ok(()));
    }
    let mut ninth = TcpStream::connect(socket).await.expect("to connect");
    assert_eq!(verdict(&mut swarms).await, Err(Refused::PendingInbound(8)));
    let read = tokio::io::AsyncReadExt::read(&mut ninth, &mut [0; 1]).await;
    let closed = match &read {
        Ok(count) => *count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    };
    assert!(closed, "it is told so before any handshake: {read:?}");
    assert_eq!(swarms[0].behaviour().gate.refused().pending_inbound, 1);

    callers.pop();
    drive(&mut swarms, |_, event| matches!(event, SwarmEvent::IncomingConnectionError { .. }).then_some(()))
        .await;
    let _tenth = TcpStream::connect(socket).await.expect("to connect");
    assert_eq!(verdict(&mut swarms).await, Ok(()), "one has hung up");
}

#[tokio::test]
async fn a_closed_connection_leaves_its_place_to_another() {
    let limits = GateLimits { lan_inbound: 2, ..GateLimits::default() };
    let mut swarms = [limits, wide(), wide(), wide()].map(node);
    let (address, _) = listen(&mut swarms).await;
    let ids = [0, 1, 2, 3].map(|at: usize| *swarms[at].local_peer_id());
    let mut sessions = Vec::new();
    for caller in [1, 2] {
        swarms[caller].dial(address.clone()).expect("a dial");
        drive(&mut swarms, |at, event| {
            if let SwarmEvent::Behaviour(NodeEvent::Streams(ready)) = event {
                sessions.push((at, ready));
            }
            (sessions.len() == 2 * caller).then_some(())
        })
        .await;
    }
    swarms[3].dial(address.clone()).expect("a dial");
    assert_eq!(verdict(&mut swarms[..1]).await, Err(Refused::Lan(2)));

    swarms[0].disconnect_peer_id(ids[1]).expect("to be connected");
    drive(&mut swarms, |at, event| {
        (at == 0 && matches!(event, SwarmEvent::ConnectionClosed { .. })).then_some(())
    })
    .await;
    swarms[3].dial(address).expect("a dial");
    let entered = drive(&mut swarms, |at, event| match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } if at == 0 => Some(peer_id),
        _ => None,
    });
    assert_eq!(entered.await, ids[3]);
}

#[tokio::test]
async fn a_flood_of_substreams_ends_its_connection_and_no_other() {
    let mut swarms = [wide(), wide(), wide()].map(node);
    let (address, _) = listen(&mut swarms).await;
    let ids = [0, 1].map(|at: usize| *swarms[at].local_peer_id());
    let mut sessions = Vec::new();
    for caller in [1, 2] {
        swarms[caller].dial(address.clone()).expect("a dial");
        drive(&mut swarms, |_, event| {
            if let SwarmEvent::Behaviour(NodeEvent::Streams(StreamEvent::Ready { peer, control, .. })) = event
            {
                sessions.push((peer, control));
            }
            (sessions.len() == 2 * caller).then_some(())
        })
        .await;
    }
    swarms[1].behaviour_mut().flood.open(ids[0], 100);
    let error = drive(&mut swarms, |at, event| match event {
        SwarmEvent::Behaviour(NodeEvent::Streams(StreamEvent::Closed { peer, error, .. })) if at == 0 => {
            assert_eq!(peer, ids[1], "the flooder is the one to go");
            Some(error)
        }
        _ => None,
    })
    .await;
    assert!(error.as_ref().is_some_and(|error| error.contains("substreams")), "{error:?}");
    let refused = swarms[0].behaviour().streams.refused();
    assert!((64..=100).contains(&refused), "refused {refused}");

    let mut ends = sessions.split_off(2);
    let [(_, one), (_, other)] = &mut ends[..] else { panic!("the two ends of the honest session") };
    one.write_all(b"unhurt").await.expect("to write");
    one.flush().await.expect("to flush");
    let mut read = [0; 6];
    other.read_exact(&mut read).await.expect("to read");
    assert_eq!(&read, b"unhurt");
}

/// Behaviour that opens as many substreams as it is told to.
#[derive(Default)]
struct Flood(Vec<ToSwarm<Infallible, ReadyUpgrade<SubstreamKind>>>);

type Opener = OneShotHandler<DeniedUpgrade, ReadyUpgrade<SubstreamKind>, Opened>;

#[derive(Debug)]
struct Opened;

impl From<Stream> for Opened {
    fn from(_: Stream) -> Self {
        Opened
    }
}

impl From<Infallible> for Opened {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Flood {
    fn open(&mut self, peer_id: PeerId, count: usize) {
        let event = ReadyUpgrade::new(SubstreamKind::Data);
        let open = || ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event };
        self.0.extend(std::iter::repeat_with(open).take(count));
    }

    fn handler() -> Result<Opener, ConnectionDenied> {
        Ok(OneShotHandler::new(SubstreamProtocol::new(DeniedUpgrade, ()), Default::default()))
    }
}

impl NetworkBehaviour for Flood {
    type ConnectionHandler = Opener;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Opener, ConnectionDenied> {
        Flood::handler()
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Opener, ConnectionDenied> {
        Flood::handler()
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, _: THandlerOutEvent<Self>) {}

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        self.0.pop().map_or(Poll::Pending, Poll::Ready)
    }
}
