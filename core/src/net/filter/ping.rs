//! Answers to libp2p's `/ipfs/ping/1.0.0`. Other implementations of the DHT ping a server before they take it
//! into their tables, and a server that does not answer is unknown to them. This node asks nobody.
//!
//! One stream of a connection is answered at a time, at a limited rate, and no stream keeps its connection
//! alive.

use std::convert::Infallible;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    StreamProtocol, SubstreamProtocol, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};

/// Name of the protocol; from the libp2p ping specification.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
/// Bytes of one ping, which are sent back.
const PING: usize = 32;
/// Shortest time between two answers on a connection.
const PACE: Duration = Duration::from_millis(10);

/// Behaviour that answers pings.
#[derive(Debug, Default)]
pub(crate) struct PingAnswers;

/// Answers the pings of one connection.
#[derive(Default)]
pub(crate) struct PingHandler {
    answering: Option<BoxFuture<'static, io::Result<()>>>,
}

/// Sends back each ping until the other end closes the stream.
async fn answer(mut stream: Stream) -> io::Result<()> {
    let mut ping = [0; PING];
    loop {
        stream.read_exact(&mut ping).await?;
        stream.write_all(&ping).await?;
        stream.flush().await?;
        tokio::time::sleep(PACE).await;
    }
}

impl ConnectionHandler for PingHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Infallible>> {
        if self.answering.as_mut().is_some_and(|answering| answering.poll_unpin(cx).is_ready()) {
            self.answering = None;
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            protocol: mut stream, ..
        }) = event
        {
            stream.ignore_for_keep_alive();
            // An older stream is reset: the other end has begun anew.
            self.answering = Some(answer(stream).boxed());
        }
    }
}

impl NetworkBehaviour for PingAnswers {
    type ConnectionHandler = PingHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<PingHandler, ConnectionDenied> {
        Ok(PingHandler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<PingHandler, ConnectionDenied> {
        Ok(PingHandler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
