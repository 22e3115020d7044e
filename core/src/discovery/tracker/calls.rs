//! The substream of a connection between a node and a tracker: the end that dialled opens it, and the other
//! end accepts the first one and no more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, StreamProtocol, SubstreamProtocol, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};

use crate::limits;
use crate::wire::tracker::PROTOCOL;

/// A substream that is ready for messages.
#[derive(Debug)]
pub(super) struct Ready {
    /// Peer at the other end.
    pub(super) peer: PeerId,
    /// Address of the other end.
    pub(super) from: Multiaddr,
    /// The substream.
    pub(super) stream: Stream,
}

/// Outcome of a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per connection: not worth an allocation")]
pub(super) enum Called {
    /// Messages can be exchanged.
    Ready(Ready),
    /// No substream came about, and the connection is being closed.
    Failed(String),
}

/// Behaviour that opens (if this end dialled) or accepts the substream of each connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    queue: VecDeque<ToSwarm<Called, Infallible>>,
    /// Addresses of the other ends of connections without a substream yet.
    waiting: std::collections::HashMap<ConnectionId, Multiaddr>,
}

impl NetworkBehaviour for Calls {
    type ConnectionHandler = CallHandler;
    type ToSwarm = Called;

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<CallHandler, ConnectionDenied> {
        Ok(CallHandler { open: false, takes: true, report: None, refused: 0 })
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<CallHandler, ConnectionDenied> {
        Ok(CallHandler { open: true, takes: false, report: None, refused: 0 })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, endpoint, .. }) => {
                let from = match endpoint {
                    ConnectedPoint::Dialer { address, .. } => address,
                    ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
                };
                self.waiting.insert(connection_id, from.clone());
            }
            FromSwarm::ConnectionClosed(closed) => drop(self.waiting.remove(&closed.connection_id)),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, report: CallEvent) {
        match report {
            CallEvent::Ready(stream) => {
                if let Some(from) = self.waiting.remove(&id) {
                    self.queue.push_back(ToSwarm::GenerateEvent(Called::Ready(Ready { peer, from, stream })));
                }
            }
            CallEvent::Failed(reason) => {
                self.queue.push_back(ToSwarm::GenerateEvent(Called::Failed(reason)));
                let connection = CloseConnection::One(id);
                self.queue.push_back(ToSwarm::CloseConnection { peer_id: peer, connection });
            }
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Called, THandlerInEvent<Self>>> {
        // Only the swarm's calls fill the queue, and the swarm polls again after them.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Report of a connection's handler to [`Calls`].
#[derive(Debug)]
pub(super) enum CallEvent {
    Ready(Stream),
    Failed(String),
}

/// Handler for the substream of one connection.
#[derive(Debug)]
pub(super) struct CallHandler {
    /// True while the substream is still to be opened.
    open: bool,
    /// True while the first inbound substream is still to be accepted.
    takes: bool,
    report: Option<CallEvent>,
    /// Further substreams that were refused.
    refused: usize,
}

/// Name of the tracker protocol, as libp2p wants it.
const NAME: StreamProtocol = StreamProtocol::new(PROTOCOL);

impl ConnectionHandler for CallHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = CallEvent;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(NAME), ()).with_timeout(limits::STREAM_TIMEOUT)
    }

    /// True until the substream is requested; an open substream then keeps the connection alive. A peer that
    /// opens none is not waited for.
    fn connection_keep_alive(&self) -> bool {
        self.open
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), CallEvent>> {
        if std::mem::take(&mut self.open) {
            let protocol =
                SubstreamProtocol::new(ReadyUpgrade::new(NAME), ()).with_timeout(limits::STREAM_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.report
            .take()
            .map_or(Poll::Pending, |report| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report)))
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), ()>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                if std::mem::take(&mut self.takes) {
                    self.report = Some(CallEvent::Ready(protocol));
                    return;
                }
                self.refused += 1;
                if self.refused == limits::EXTRA_STREAMS {
                    self.report = Some(CallEvent::Failed("opened many substreams".to_owned()));
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.report = Some(CallEvent::Ready(protocol));
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                self.report = Some(CallEvent::Failed(format!("no tracker answers there: {}", failed.error)));
            }
            _ => {}
        }
    }
}
