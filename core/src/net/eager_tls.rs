//! TCP dialling that proposes TLS and begins the handshake at once, without waiting to hear whether the peer
//! speaks it. That saves a round trip. A peer that refuses TLS is dialled once more, with Noise.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use libp2p::PeerId;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent,
};
use libp2p::core::upgrade::NegotiationError;
use libp2p::core::{Endpoint, Multiaddr};

/// An authenticated and multiplexed connection.
type MuxedConnection = (PeerId, StreamMuxerBox);

/// TCP transport that dials with TLS first, as the [module](self) explains.
pub(crate) struct Tcp {
    /// Listens, and dials where the listener's port is reused or the roles are reversed.
    both: Boxed<MuxedConnection>,
    tls: Boxed<MuxedConnection>,
    noise: Boxed<MuxedConnection>,
}

impl Tcp {
    /// Makes the transport: `both` negotiates TLS or Noise, the other two speak one protocol each.
    pub(crate) const fn new(
        both: Boxed<MuxedConnection>,
        tls: Boxed<MuxedConnection>,
        noise: Boxed<MuxedConnection>,
    ) -> Self {
        Self { both, tls, noise }
    }
}

impl Transport for Tcp {
    type Output = MuxedConnection;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<MuxedConnection> as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<MuxedConnection>>;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.both.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.both.remove_listener(id)
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        if opts.port_use == PortUse::Reuse || opts.role == Endpoint::Listener {
            return Ok(Box::pin(self.both.dial(addr, opts)?));
        }
        let first = self.tls.dial(addr.clone(), opts)?;
        // A dial does nothing before it is polled, so preparing the second one is free.
        let second = self.noise.dial(addr, opts)?;
        Ok(Box::pin(async move {
            match first.await {
                Err(error) if is_refused(&error) => second.await,
                done => done,
            }
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.both).poll(cx)
    }
}

/// True if the peer does not speak the proposed protocol.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<NegotiationError>() {
        return matches!(error, NegotiationError::Failed);
    }
    let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    within.is_some_and(|within| is_refused(within)) || error.source().is_some_and(is_refused)
}
