//! Bounds of trackers and relays, for the node and for the server.

use std::time::Duration;

/// Changes to a node's set of swarms in one message to a tracker: 33 bytes each, so that all fit into a
/// frame.
pub const ANNOUNCE_CHANGES: usize = 1800;
/// Swarms whose members are asked for in one message to a tracker: the answer must fit into a frame.
pub const ANNOUNCE_ASKS: usize = 8;
/// Members of one swarm in a tracker's answer.
pub const ANSWER_PEERS: usize = 64;
/// Longest reason in words, in bytes.
pub const REASON_BYTES: usize = 256;
/// Trackers that a node is configured with.
pub const TRACKERS: usize = 32;
/// Trackers that a link names.
pub const LINK_TRACKERS: usize = 4;
/// Trackers known from links, over all downloads.
pub const LINKED_TRACKERS: usize = 16;
/// Trackers, out of several, to which each content is announced: one may be gone.
pub const TRACKER_COPIES: usize = 2;
/// Time from an announcement to its answer, connecting included.
pub const TRACKER_TIMEOUT: Duration = Duration::from_secs(15);
/// Idle time after which the node closes its connection to a tracker.
pub const TRACKER_IDLE: Duration = Duration::from_secs(30);
/// Idle time after which the node closes its connection to a tracker when it wants nothing: places at a
/// tracker are for nodes that ask.
pub const TRACKER_IDLE_QUIET: Duration = Duration::from_secs(3);
/// Idle time after which the tracker closes a connection.
pub const TRACKER_SILENCE: Duration = Duration::from_secs(90);
/// Nodes that one relay makes reachable.
pub const RESERVATIONS: usize = 4096;
/// Connections through one relay at once.
pub const CIRCUITS: usize = 256;
/// Connections through one relay at once for one peer.
pub const CIRCUITS_PER_PEER: usize = 16;
/// Bytes through a circuit: two nodes find a direct connection with far fewer.
pub const CIRCUIT_BYTES: u64 = 128 << 10;
/// Lifetime of a circuit for finding a direct connection.
pub const CIRCUIT: Duration = Duration::from_secs(120);
/// Lifetime of a circuit that may carry content.
pub const CONTENT_CIRCUIT: Duration = Duration::from_secs(3600);
/// Own addresses that other nodes are asked to test.
pub const TESTED_ADDRS: usize = 16;
/// Relays through which a node makes itself reachable.
pub const RELAYS: usize = 2;
/// Time within which a direct connection around a relay must be found before both sides begin anew.
pub const PUNCH_WITHIN: Duration = Duration::from_secs(12);
/// Addresses tried in one attempt to get through address translation.
pub const PUNCH_ADDRS: usize = 20;
/// Connections in their handshake at a tracker: when an office starts work, its nodes come all at once.
pub const TRACKER_PENDING: usize = 512;
/// Longest address that a tracker stores and passes on, in bytes: relayed addresses contain two ids.
pub const TRACKED_ADDR_BYTES: usize = 128;
