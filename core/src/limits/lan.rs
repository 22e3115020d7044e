//! Bounds of discovery on the local network.

use std::time::Duration;

/// Local addresses from which the local network is spoken to. A machine with many containers has more, and
/// each costs a socket and a packet.
pub const LAN_INTERFACES: usize = 32;
/// Packets of one host that are looked at per second. A node sends a few in ten seconds; there may be several
/// nodes on a host.
pub const LAN_PACKETS: u32 = 16;
/// Packets of one host that are looked at at once, after it was silent.
pub const LAN_PACKETS_BURST: u32 = 64;
/// Hosts whose packets are counted; the one heard longest ago goes first. A /24 fits twice.
pub const LAN_SOURCES: usize = 512;
/// Packets of hosts that are not among those, per second and IP version. Hosts that make up addresses share
/// it, and [`LAN_SOURCES`] at once.
pub const LAN_NEW_SOURCES: u32 = 64;
/// Addresses of one announcement that count: TCP and QUIC, on a port of this run and of the run before.
pub const LAN_ADDRS: usize = 4;
/// Longest time for which an announcement holds, whatever it says of itself.
pub const LAN_TTL: Duration = Duration::from_secs(120);
/// Neighbours that are remembered.
pub const LAN_PEERS: usize = 1024;
/// Neighbours at one address that are remembered.
pub const LAN_PEERS_PER_SOURCE: usize = 32;
/// Hosts that have answered a question and are enough, so that a node does not answer as well.
pub const LAN_ANSWERS: usize = 64;
/// Members of an office that have answered and are enough: they introduce each other.
pub const BEACON_ANSWERS: usize = 8;
/// Neighbours at one address that are tried and have not been reached; of more, those heard longest ago go
/// first. Where some are reached, the others follow.
pub const LAN_UNTRIED_PER_HOST: usize = 8;
/// Dials to one machine per [`DIAL_NEIGHBOUR_WINDOW`] because the local network or an earlier run named it,
/// if none leads to a session. One node that is away is dialled less often.
pub const DIALS_PER_NEIGHBOUR: usize = 20;
/// Period over which [`DIALS_PER_NEIGHBOUR`] and [`DIALS_PER_RELAY`] count.
pub const DIAL_NEIGHBOUR_WINDOW: Duration = Duration::from_secs(60);
/// Dials through one relay that strangers named, if none leads to a session. A relay serves many peers, of
/// which some are gone.
pub const DIALS_PER_RELAY: usize = 8;
