//! One substream a connection between a node and a tracker: the end that dialled opens it, the other takes the first one
//! and no more.

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

/// A substream is there.
#[derive(Debug)]
pub(super) struct Ready {
    /// With whom.
    pub(super) peer: PeerId,
    /// The address of the other end.
    pub(super) from: Multiaddr,
    /// The substream.
    pub(super) stream: Stream,
}

/// What became of a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per connection: not worth an allocation")]
pub(super) enum Called {
    /// It can be spoken on.
    Ready(Ready),
    /// It cannot, and is being closed.
    Failed(String),
}

/// Opens (where this end dialled) or takes the substream of each connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    queue: VecDeque<ToSwarm<Called, Infallible>>,
    /// The other ends of connections without a substream yet.
    waiting: std::collections::HashMap<ConnectionId, Multiaddr>,
}

impl NetworkBehaviour for Calls {
    type ConnectionHandler = Handler;
    type ToSwarm = Called;

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler { open: false, takes: true, report: None, refused: 0 })
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        _peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler { open: true, takes: false, report: None, refused: 0 })
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

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, report: Report) {
        match report {
            Report::Ready(stream) => {
                if let Some(from) = self.waiting.remove(&id) {
                    self.queue.push_back(ToSwarm::GenerateEvent(Called::Ready(Ready { peer, from, stream })));
                }
            }
            Report::Failed(reason) => {
                self.queue.push_back(ToSwarm::GenerateEvent(Called::Failed(reason)));
                let connection = CloseConnection::One(id);
                self.queue.push_back(ToSwarm::CloseConnection { peer_id: peer, connection });
            }
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Called, THandlerInEvent<Self>>> {
        // What fills the queue is called by the swarm, which polls again afterwards.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What a connection tells [`Calls`].
#[derive(Debug)]
pub(super) enum Report {
    Ready(Stream),
    Failed(String),
}

/// The substream of one connection.
#[derive(Debug)]
pub(super) struct Handler {
    /// It is still to be opened.
    open: bool,
    /// The first one that comes is taken.
    takes: bool,
    report: Option<Report>,
    /// Further ones.
    refused: usize,
}

/// The name as libp2p wants it.
const NAME: StreamProtocol = StreamProtocol::new(PROTOCOL);

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(NAME), ()).with_timeout(limits::STREAM_TIMEOUT)
    }

    /// Until the substream is there, which then keeps the connection as long as it lives. Who opens none is not waited for.
    fn connection_keep_alive(&self) -> bool {
        self.open
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Report>> {
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
                    self.report = Some(Report::Ready(protocol));
                    return;
                }
                self.refused += 1;
                if self.refused == limits::EXTRA_STREAMS {
                    self.report = Some(Report::Failed("opened many substreams".to_owned()));
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.report = Some(Report::Ready(protocol));
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                self.report = Some(Report::Failed(format!("no tracker answers there: {}", failed.error)));
            }
            _ => {}
        }
    }
}
