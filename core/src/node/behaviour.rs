//! What a node does on its connections, put together: who may connect, the sessions, finding peers nearby, and getting
//! through address translation.

use std::io;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, autonat, identify, mdns, relay};

use super::gate::{Gate, GateLimits};
use super::punch::Punch;
use super::shown::Shown;
use super::stream::Streams;
use super::tested::Tested;
use crate::limits;
use crate::options::Options;

/// What libp2p's identify shows: which family of protocols.
const FAMILY: &str = "swarm/1";

/// The behaviours of a node. The gate stands first: the others are not asked about a connection it refuses.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// Limits and bans.
    pub(crate) gate: Gate,
    /// Sessions.
    pub(crate) streams: Streams,
    /// Peers of the local network, if wanted.
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    /// Is told by relays where it is seen.
    pub(crate) identify: Shown,
    /// Asks others whether an address of ours can be reached.
    pub(crate) autonat: Tested,
    /// Answers that for others, if this node is for that.
    pub(crate) autonat_server: Toggle<autonat::v2::server::Behaviour>,
    /// Is reached through relays.
    pub(crate) relayed: relay::client::Behaviour,
    /// Is one, if wanted.
    pub(crate) relay: Toggle<relay::Behaviour>,
    /// Makes a direct connection of a relayed one.
    pub(crate) dcutr: Punch,
}

impl Behaviour {
    /// The behaviours of the node with this key. Fails only when mDNS is wanted and the system does not tell its
    /// network interfaces.
    ///
    /// mDNS asks, and answers its own question for all to hear, as soon as the swarm is polled: listen before that, or
    /// the others learn of this node only when somebody asks again, which is minutes later.
    pub(crate) fn new(
        keypair: &Keypair,
        options: &Options,
        relayed: relay::client::Behaviour,
    ) -> io::Result<Self> {
        let local = PeerId::from(keypair.public());
        let mdns =
            options.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), local)).transpose()?;
        let server = options.relay_server;
        let relay = server.then(|| relay::Behaviour::new(local, relay_limits(options.allow_relayed)));
        Ok(Behaviour {
            gate: Gate::new(GateLimits::default()).guarded(),
            streams: Streams::new(local, options.allow_relayed),
            mdns: mdns.into(),
            identify: Shown::new(identify(keypair).with_hide_listen_addrs(true), server),
            autonat: Tested::default(),
            autonat_server: server.then(autonat::v2::server::Behaviour::default).into(),
            relayed,
            relay: relay.into(),
            dcutr: Punch::new(local),
        })
    }
}

/// What we show of ourselves: the program, where the other is seen, and (unless hidden) where we listen.
pub(crate) fn identify(keypair: &Keypair) -> identify::Config {
    let agent = concat!("swarm/", env!("CARGO_PKG_VERSION")).to_owned();
    identify::Config::new(FAMILY.to_owned(), keypair.public()).with_agent_version(agent).with_cache_size(0)
}

/// Circuits large enough for two nodes to find a direct way; with `content` for everything.
pub(crate) fn relay_limits(content: bool) -> relay::Config {
    relay::Config {
        max_reservations: limits::RESERVATIONS,
        max_circuits: limits::CIRCUITS,
        max_circuits_per_peer: limits::CIRCUITS_PER_PEER,
        // 0 is no limit.
        max_circuit_bytes: if content { 0 } else { limits::CIRCUIT_BYTES },
        max_circuit_duration: if content { limits::CONTENT_CIRCUIT } else { limits::CIRCUIT },
        // An office behind one address comes at once: connections are limited by the gate, circuits by their number.
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    }
}
