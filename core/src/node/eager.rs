//! TCP that proposes TLS and begins its handshake at once, without asking first whether the peer speaks it: that saves a round
//! trip. A peer that does not is called once more, with Noise.

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

/// An authenticated connection.
type Connection = (PeerId, StreamMuxerBox);

/// See the [module](self).
pub(super) struct Tcp {
    /// Listens, and calls where the port is the listener's or the roles are changed.
    both: Boxed<Connection>,
    tls: Boxed<Connection>,
    noise: Boxed<Connection>,
}

impl Tcp {
    /// `both` speaks TLS and Noise, the others one of them.
    pub(super) const fn new(
        both: Boxed<Connection>,
        tls: Boxed<Connection>,
        noise: Boxed<Connection>,
    ) -> Self {
        Self { both, tls, noise }
    }
}

impl Transport for Tcp {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<Connection> as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<Connection>>;

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
        // Nothing is done before it is polled.
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

/// Tells whether the peer does not speak what was proposed.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<NegotiationError>() {
        return matches!(error, NegotiationError::Failed);
    }
    let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    within.is_some_and(|within| is_refused(within)) || error.source().is_some_and(is_refused)
}
