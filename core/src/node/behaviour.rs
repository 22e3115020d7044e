//! What a node does on its connections, put together: who may connect, the sessions, and finding peers nearby.

use std::io;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use libp2p::mdns;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;

use super::gate::{Gate, GateLimits};
use super::stream::Streams;

/// The behaviours of a node. The gate stands first: the others are not asked about a connection it refuses.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// Limits and bans.
    pub(crate) gate: Gate,
    /// Sessions.
    pub(crate) streams: Streams,
    /// Peers of the local network, if wanted.
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    /// The behaviours of the node with this key. Fails only when mDNS is wanted and the system does not tell its
    /// network interfaces.
    ///
    /// mDNS asks, and answers its own question for all to hear, as soon as the swarm is polled: listen before that, or
    /// the others learn of this node only when somebody asks again, which is minutes later.
    pub(crate) fn new(keypair: &Keypair, mdns: bool) -> io::Result<Self> {
        let local = PeerId::from(keypair.public());
        let mdns = mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), local)).transpose()?;
        Ok(Behaviour {
            gate: Gate::new(GateLimits::default()),
            streams: Streams::new(local),
            mdns: mdns.into(),
        })
    }
}
