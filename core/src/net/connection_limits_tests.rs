//! The connection limits: their arithmetic, their bookings as libp2p reports them, and limits met by real
//! connections and substreams.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
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

use super::address::ConnectionOrigin;
use super::connection_limits::counts::{BanTable, GateCounts};
use super::connection_limits::{ConnectionLimits, Decided, GateLimits, Refused};
use super::streams::handler::SubstreamKind;
use super::streams::{StreamEvent, Streams};
use super::streams_tests::drive;
use super::transport;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn from(text: &str) -> ConnectionOrigin {
    ConnectionOrigin::of(Some(ip(text)))
}

/// Returns limits so high that only the one under test can be reached.
fn wide() -> GateLimits {
    GateLimits {
        pending_inbound: 1000,
        pending_per_host: 100,
        inbound: 1000,
        outbound: 1000,
        connections: 10_000,
        per_peer: 1000,
        per_public_ip: 1000,
        per_subnet: 1000,
        lan_inbound: 1000,
        per_lan_host: 1000,
        bans: 1000,
    }
}

// ---- arithmetic
// ---------------------------------------------------------------------------------------------------

#[test]
fn addresses_are_told_apart() {
    for text in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(from(text), ConnectionOrigin::Loopback, "{text}");
    }
    for text in ["10.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.1.1", "169.254.1.1", "fd12::1", "fe80::1"] {
        assert_eq!(from(text), ConnectionOrigin::Lan(ip(text)), "{text}");
    }
    for text in ["1.2.3.4", "172.32.0.1", "2001:db8::1"] {
        assert_eq!(from(text), ConnectionOrigin::Public(ip(text)), "{text}");
    }
    assert_eq!(from("::ffff:10.0.0.1"), ConnectionOrigin::Lan(ip("10.0.0.1")));
    assert_eq!(ConnectionOrigin::of(None), ConnectionOrigin::Unknown);
}

#[test]
fn a_public_address_has_its_limit_and_gets_its_place_back() {
    let mut counts = GateCounts::new(GateLimits { per_public_ip: 2, ..wide() });
    let first = counts.admit_inbound(from("1.2.3.4")).expect("the first");
    let second = counts.admit_inbound(from("1.2.3.4")).expect("the second");
    assert_eq!(counts.admit_inbound(from("1.2.3.4")), Err(Refused::PublicIp(2)));
    assert_eq!(
        counts.admit_inbound(from("::ffff:1.2.3.4")),
        Err(Refused::PublicIp(2)),
        "the same in disguise"
    );
    counts.admit_inbound(from("1.2.3.5")).expect("a neighbour");

    counts.release(first);
    let third = counts.admit_inbound(from("1.2.3.4")).expect("a place that became free in the handshake");
    let second = counts.establish(second);
    assert_eq!(
        counts.admit_inbound(from("1.2.3.4")),
        Err(Refused::PublicIp(2)),
        "established ones count too"
    );
    counts.release(second);
    counts.release(third);
    counts.admit_inbound(from("1.2.3.4")).expect("a place that became free after the handshake");
}

#[test]
fn a_subnet_has_its_limit() {
    let mut counts = GateCounts::new(GateLimits { per_subnet: 2, ..wide() });
    for text in ["1.2.3.4", "1.2.3.200", "2001:db8::1", "2001:db8::ffff:1"] {
        counts.admit_inbound(from(text)).expect(text);
    }
    assert_eq!(counts.admit_inbound(from("1.2.3.5")), Err(Refused::Subnet(2)));
    assert_eq!(counts.admit_inbound(from("2001:db8:0:0:9::")), Err(Refused::Subnet(2)));
    counts.admit_inbound(from("1.2.4.4")).expect("the next /24");
    counts.admit_inbound(from("2001:db8:0:1::1")).expect("the next /64");
    for _ in 0..10 {
        counts.admit_inbound(from("10.0.0.1")).expect("no subnets in the local network");
    }
}

#[test]
fn the_local_network_has_its_own_limits_and_loopback_no_hosts() {
    let mut counts =
        GateCounts::new(GateLimits { per_lan_host: 2, lan_inbound: 6, per_public_ip: 0, ..wide() });
    counts.admit_inbound(from("192.168.1.5")).expect("the first");
    let second = counts.admit_inbound(from("192.168.1.5")).expect("the second");
    assert_eq!(counts.admit_inbound(from("192.168.1.5")), Err(Refused::LanHost(2)));
    counts.release(second);
    counts.admit_inbound(from("192.168.1.5")).expect("the second again");
    for _ in 0..4 {
        counts.admit_inbound(from("127.0.0.1")).expect("loopback");
    }
    assert_eq!(counts.admit_inbound(from("127.0.0.1")), Err(Refused::Lan(6)));
    assert_eq!(counts.admit_inbound(from("10.9.9.9")), Err(Refused::Lan(6)));
    counts.admit_inbound(ConnectionOrigin::Unknown).expect("a relayed one has no address to count");
}

#[test]
fn handshakes_and_connections_have_their_limits() {
    let mut counts = GateCounts::new(GateLimits { pending_inbound: 2, inbound: 3, ..wide() });
    let place = counts.admit_inbound(ConnectionOrigin::Unknown).expect("the first");
    let late = counts.admit_inbound(ConnectionOrigin::Unknown).expect("the second");
    assert_eq!(counts.admit_inbound(ConnectionOrigin::Unknown), Err(Refused::PendingInbound(2)));
    counts.establish(place);
    for _ in 0..2 {
        let place = counts.admit_inbound(ConnectionOrigin::Unknown).expect("while one is in its handshake");
        assert_eq!(counts.may_establish(place), Ok(()));
        counts.establish(place);
    }
    assert_eq!(
        counts.admit_inbound(ConnectionOrigin::Unknown),
        Err(Refused::Inbound(3)),
        "before its handshake"
    );
    assert_eq!(counts.may_establish(late), Err(Refused::Inbound(3)), "after its handshake");
}

#[test]
fn inbound_connections_never_take_the_place_of_outbound_ones() {
    let mut counts = GateCounts::new(GateLimits { connections: 5, outbound: 2, ..wide() });
    let places: Vec<_> =
        (0..3).map(|_| counts.admit_inbound(ConnectionOrigin::Unknown).expect("inbound")).collect();
    assert_eq!(counts.admit_inbound(ConnectionOrigin::Unknown), Err(Refused::Connections(5)));
    places.into_iter().for_each(|place| assert_ne!(counts.establish(place), place));
    assert_eq!(counts.admit_inbound(ConnectionOrigin::Unknown), Err(Refused::Connections(5)));

    let first = counts.admit_outbound().expect("outbound");
    counts.admit_outbound().expect("outbound");
    assert_eq!(counts.admit_outbound(), Err(Refused::Outbound(2)));
    counts.release(first);
    counts.admit_outbound().expect("outbound again");
}

#[test]
fn the_default_limits_agree_with_each_other() {
    let limits = GateLimits::default();
    assert!(limits.inbound + limits.outbound <= limits.connections, "all of both kinds fit");
}

#[test]
fn bans_end_and_the_least_recent_is_forgotten_first() {
    let now = Instant::now();
    let (soon, late) = (now + Duration::from_secs(10), now + Duration::from_secs(1000));
    let mut bans = BanTable::new(3);
    bans.ban('a', soon);
    bans.ban('b', late);
    bans.ban('b', soon);
    assert!(bans.is_banned(&'a', now) && !bans.is_banned(&'a', soon), "a ban ends");
    assert!(bans.is_banned(&'b', soon), "a shorter ban does not end a longer one");
    bans.ban('c', late);
    assert!(bans.visit(&'a', now), "seen again");
    bans.ban('d', late);
    let left = ['a', 'b', 'c', 'd'].map(|who| bans.is_banned(&who, now));
    assert_eq!(left, [true, false, true, true], "b was not met for longest");
    assert!(!bans.visit(&'a', soon));
    bans.ban('e', late);
    assert!(bans.is_banned(&'c', now), "the ban that was over left its place");
}

// ---- bookings
// -----------------------------------------------------------------------------------------------------

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

// ---- real connections
// ---------------------------------------------------------------------------------------------

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
