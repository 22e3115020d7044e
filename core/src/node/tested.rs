//! libp2p's AutoNAT, asked to have few addresses tested: ours, as far as anybody can tell. Each costs a test whoever does it
//! and is kept for good, and everybody we speak with may make them up.

use std::collections::BTreeSet;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId, autonat};

use super::discovery::{endpoint, split_peer};
use super::punch::is_for_others;
use crate::limits;

/// After this others may be asked about as many again: addresses change.
const ANEW: Duration = Duration::from_secs(3600);

type Client = autonat::v2::client::Behaviour;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Tested {
    inner: Client,
    /// Those of our network are as good as others.
    pub(crate) private: bool,
    listens: BTreeSet<(u16, bool)>,
    asked: BTreeSet<Multiaddr>,
    since: Option<Instant>,
}

impl Tested {
    /// Whether an address that somebody saw us at is worth a test.
    fn is_worth(&mut self, addr: &Multiaddr) -> bool {
        if self.since.is_none_or(|since| since.elapsed() >= ANEW) {
            self.since = Some(Instant::now());
            self.asked.clear();
        }
        let bare = split_peer(addr).0;
        let ours = endpoint(&bare).is_some_and(|end| self.listens.contains(&(end.port, end.quic)));
        let known = self.asked.contains(&bare);
        let fits = ours && is_for_others(&bare, self.private);
        let room = self.asked.len() < limits::TESTED_ADDRS;
        if fits && room {
            self.asked.insert(bare);
        }
        fits && (known || room)
    }
}

impl NetworkBehaviour for Tested {
    type ConnectionHandler = THandler<Client>;
    type ToSwarm = <Client as NetworkBehaviour>::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::NewExternalAddrCandidate(candidate) if !self.is_worth(candidate.addr) => return,
            FromSwarm::NewListenAddr(new) => {
                self.listens.extend(endpoint(new.addr).map(|end| (end.port, end.quic)));
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// D48: nobody has us ask others to call third parties, nor without end.
    #[test]
    fn d48_addresses_that_are_not_ours_are_not_tested() {
        let mut tested = Tested::default();
        tested.listens.insert((4001, false));
        let mut worth = |text: &str| tested.is_worth(&text.parse().unwrap());
        assert!(worth("/ip4/45.1.2.3/tcp/4001") && worth("/ip4/45.1.2.3/tcp/4001"));
        for odd in [
            "/ip4/45.1.2.3/tcp/22",
            "/ip4/45.1.2.3/udp/4001/quic-v1",
            "/ip4/10.0.0.1/tcp/4001",
            "/dns4/x/tcp/4001",
        ] {
            assert!(!worth(odd), "{odd}");
        }
        (0..99).for_each(|n| assert!(worth(&format!("/ip4/45.1.3.{n}/tcp/4001")) == (n < 15)));
        assert!(!worth("/ip4/45.9.9.9/tcp/4001") && worth("/ip4/45.1.2.3/tcp/4001"));
    }
}
