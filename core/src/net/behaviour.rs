//! The libp2p behaviours of a node, put together: connection limits, sessions, and NAT traversal. It only
//! assembles them; each behaviour keeps its own rules.

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, autonat, identify, relay};

use super::connection_limits::{ConnectionLimits, GateLimits};
use super::filter::autonat::Tested;
use super::filter::dcutr::DcutrFilter;
use super::filter::identify::IdentifyFilter;
use super::streams::Streams;
use crate::limits;
use crate::options::Options;

/// Protocol version that identify shows: the family of protocols.
const FAMILY: &str = "swarm/1";

/// The behaviours of a node. The connection limits come first, so that the others never see a connection they
/// refuse.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// Connection limits and bans.
    pub(crate) gate: ConnectionLimits,
    /// Sessions with peers.
    pub(crate) streams: Streams,
    /// Learns from relays and trackers at which address they see this node.
    pub(crate) identify: IdentifyFilter,
    /// AutoNAT client: asks other nodes whether an address of ours can be reached.
    pub(crate) autonat: Tested,
    /// AutoNAT server: answers that question for others, on a relay only.
    pub(crate) autonat_server: Toggle<autonat::v2::server::Behaviour>,
    /// Relay client: makes this node reachable through relays.
    pub(crate) relayed: relay::client::Behaviour,
    /// Relay server, if enabled.
    pub(crate) relay: Toggle<relay::Behaviour>,
    /// Hole punching: replaces a relayed connection by a direct one.
    pub(crate) dcutr: DcutrFilter,
}

impl Behaviour {
    /// Makes the behaviours of the node with this key.
    pub(crate) fn new(keypair: &Keypair, options: &Options, relayed: relay::client::Behaviour) -> Self {
        let local = PeerId::from(keypair.public());
        let server = options.relay_server;
        let gate = GateLimits { idle: Some(limits::IDLE_FOR), ..GateLimits::default() };
        let streams = Streams::new(local, options.allow_relayed);
        let relay = server.then(|| relay::Behaviour::new(local, relay_limits(options.allow_relayed)));
        Behaviour {
            gate: ConnectionLimits::new(gate).guarded(),
            streams: if server { streams.sharing() } else { streams },
            identify: IdentifyFilter::new(identify(keypair).with_hide_listen_addrs(true), server),
            autonat: Tested::default(),
            autonat_server: server.then(autonat::v2::server::Behaviour::default).into(),
            relayed,
            relay: relay.into(),
            dcutr: DcutrFilter::new(local),
        }
    }
}

/// Returns the configuration of identify. It shows the program, the address at which the other end is seen,
/// and (unless hidden) our listen addresses.
pub(crate) fn identify(keypair: &Keypair) -> identify::Config {
    let agent = concat!("swarm/", env!("CARGO_PKG_VERSION")).to_owned();
    identify::Config::new(FAMILY.to_owned(), keypair.public()).with_agent_version(agent).with_cache_size(0)
}

/// Returns the limits of our relay server: circuits just large enough to find a direct path, or without limit
/// if `content` may pass.
pub(crate) fn relay_limits(content: bool) -> relay::Config {
    relay::Config {
        max_reservations: limits::RESERVATIONS,
        max_circuits: limits::CIRCUITS,
        max_circuits_per_peer: limits::CIRCUITS_PER_PEER,
        // 0 means no limit.
        max_circuit_bytes: if content { 0 } else { limits::CIRCUIT_BYTES },
        max_circuit_duration: if content { limits::CONTENT_CIRCUIT } else { limits::CIRCUIT },
        // Nodes of an office behind one address all come at once, so the stock rate limiters would refuse
        // them. The connection limits bound connections, and the totals bound circuits.
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    }
}
