//! Filter around libp2p's identify: it runs with relays and trackers only, which tell us at which address
//! they see us. Other peers learn nothing from it, and sessions with them cost no extra message.

use std::collections::HashSet;
use std::task::{Context, Poll};

use either::Either;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, identify};

type IdentifyHandler = Either<THandler<identify::Behaviour>, dummy::ConnectionHandler>;

/// Identify that runs only on connections with chosen peers.
pub(crate) struct IdentifyFilter {
    inner: identify::Behaviour,
    /// Peers to run identify with.
    with: HashSet<PeerId>,
    /// True on a relay, which runs identify with every peer.
    all: bool,
    connections: HashSet<ConnectionId>,
}

impl IdentifyFilter {
    /// Makes a filter without chosen peers; `all` is true on a relay.
    pub(crate) fn new(config: identify::Config, all: bool) -> Self {
        let inner = identify::Behaviour::new(config);
        Self { inner, with: HashSet::new(), all, connections: HashSet::new() }
    }

    /// Runs identify with this peer from now on.
    pub(crate) fn with(&mut self, peer: PeerId) {
        self.with.insert(peer);
    }

    fn is_for(&self, peer: &PeerId) -> bool {
        self.all || self.with.contains(peer)
    }
}

impl NetworkBehaviour for IdentifyFilter {
    type ConnectionHandler = IdentifyHandler;
    type ToSwarm = identify::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<IdentifyHandler, ConnectionDenied> {
        if !self.is_for(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.connections.insert(id);
        self.inner.handle_established_inbound_connection(id, peer, local, remote).map(Either::Left)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<IdentifyHandler, ConnectionDenied> {
        if !self.is_for(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.connections.insert(id);
        self.inner.handle_established_outbound_connection(id, peer, addr, role, port).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let known = match &event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                self.connections.contains(connection_id)
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.connections.remove(connection_id)
            }
            FromSwarm::AddressChange(change) => self.connections.contains(&change.connection_id),
            _ => true,
        };
        if known {
            self.inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, id, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<identify::Event, THandlerInEvent<Self>>> {
        self.inner.poll(cx).map(|event| event.map_in(Either::Left))
    }
}
