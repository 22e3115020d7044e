//! Filters around behaviours of libp2p: each forwards only the events and connections that our rules allow.

/// Writes the methods of a `NetworkBehaviour` that pass their arguments on to the behaviour in the field
/// `$inner`, unchanged. The impl block adds `on_swarm_event`, and the default of
/// `handle_pending_outbound_connection` stays.
macro_rules! delegate_to {
    ($inner:ident) => {
        fn handle_established_inbound_connection(
            &mut self,
            id: libp2p::swarm::ConnectionId,
            peer: libp2p::PeerId,
            local: &libp2p::Multiaddr,
            remote: &libp2p::Multiaddr,
        ) -> Result<libp2p::swarm::THandler<Self>, libp2p::swarm::ConnectionDenied> {
            self.$inner.handle_established_inbound_connection(id, peer, local, remote)
        }

        fn handle_established_outbound_connection(
            &mut self,
            id: libp2p::swarm::ConnectionId,
            peer: libp2p::PeerId,
            addr: &libp2p::Multiaddr,
            role: libp2p::core::Endpoint,
            port: libp2p::core::transport::PortUse,
        ) -> Result<libp2p::swarm::THandler<Self>, libp2p::swarm::ConnectionDenied> {
            self.$inner.handle_established_outbound_connection(id, peer, addr, role, port)
        }

        fn on_connection_handler_event(
            &mut self,
            peer: libp2p::PeerId,
            id: libp2p::swarm::ConnectionId,
            event: libp2p::swarm::THandlerOutEvent<Self>,
        ) {
            self.$inner.on_connection_handler_event(peer, id, event);
        }

        fn poll(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<libp2p::swarm::ToSwarm<Self::ToSwarm, libp2p::swarm::THandlerInEvent<Self>>> {
            self.$inner.poll(cx)
        }
    };
}
pub(crate) use delegate_to;

pub(crate) mod autonat;
pub(crate) mod dcutr;
pub(crate) mod identify;
pub(crate) mod ping;
