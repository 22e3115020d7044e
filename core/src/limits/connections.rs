//! Bounds of connections: handshakes, places, dials and bans.

use std::time::Duration;

use super::DATA_STREAMS;

/// Time from the first byte of a connection to the end of its handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time from a new connection to both of its streams, and from a session that we dialled to the peer's first
/// message.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// Most inbound connections that are still in their handshake.
pub const PENDING_INBOUND: usize = 64;
/// Most inbound connections in their handshake from one address of a network, so that a host that opens
/// connections and says nothing keeps nobody else out.
pub const PENDING_PER_HOST: usize = 32;
/// Most established inbound connections.
pub const INBOUND: usize = 128;
/// Most outbound connections, pending and established. Inbound connections never take these places.
pub const OUTBOUND: usize = 64;
/// Most connections in all.
pub const CONNECTIONS: usize = 200;
/// Most connections with one peer: two peers that dial each other at once, plus those of further data
/// streams.
pub const PER_PEER: usize = 1 + DATA_STREAMS;
/// Most inbound connections from one public address.
pub const PER_PUBLIC_IP: usize = 8;
/// Most inbound connections from one /24 or /64.
pub const PER_SUBNET: usize = 64;
/// Most inbound connections from private and link-local addresses together.
pub const LAN_INBOUND: usize = 128;
/// Most inbound connections from one private address. Loopback has no limit of this kind: many nodes on one
/// machine are normal.
pub const PER_LAN_HOST: usize = 8;
/// Time without having given or taken something after which an inbound connection gives way to another one
/// while there are as many as may be; a third of it for peers that never did. It is short, because a crowd
/// that comes anew all the time must not keep others out.
pub const IDLE_FOR: Duration = Duration::from_secs(3);
/// Connections that give way at once, until they are closed.
pub const GIVING_WAY: usize = 32;
/// Extra substreams refused before their connection is closed.
pub const EXTRA_STREAMS: usize = 64;
/// Notices remembered for `status`.
pub const NOTICES: usize = 16;
/// Sessions that ended for a reason that a person should know, as far as they are remembered.
pub const PARTINGS: usize = 16;
/// Places among [`PARTINGS`] for peers of one /24 or /64.
pub const PARTINGS_PER_NEIGHBOURHOOD: usize = 4;
/// Time for which a peer that cannot take part in sessions, or has ended ours for a reason, is not dialled.
pub const REFUSED_REST: Duration = Duration::from_secs(60);
/// Chunks of which a peer may say in one session that they did not verify. An honest peer leaves after the
/// first.
pub const BAD_REPORTS: u32 = 8;
/// Bans remembered; the least recently used go first.
pub const BANS: usize = 10_000;
/// Bans of this node by others that are remembered; those that end first go first.
pub const BANNED_BY: usize = 256;
/// Banned ids at one internet address before the address itself is banned.
pub const BANNED_IDS_PER_IP: usize = 5;
/// Duration of the first ban of a peer that delivered a bad chunk.
pub const BAN_FIRST: Duration = Duration::from_secs(600);
/// Duration of the third ban within a day.
pub const BAN_REPEATED: Duration = Duration::from_secs(24 * 3600);
/// New addresses dialled per [`DIAL_WINDOW`] because one peer named them.
pub const DIALS_PER_SOURCE: usize = 20;
/// Period over which [`DIALS_PER_SOURCE`] counts.
pub const DIAL_WINDOW: Duration = Duration::from_secs(10);
/// Dials to one address per [`DIAL_IP_WINDOW`] when none led to a handshake.
pub const DIALS_PER_ADDR: usize = 2;
/// Period over which [`DIALS_PER_ADDR`] counts.
pub const DIAL_IP_WINDOW: Duration = Duration::from_secs(600);
/// Most addresses that wait to be dialled.
pub const DIAL_QUEUE: usize = 256;
/// Peers that a downloading node keeps connected for one blob before it stops looking for more.
pub const NEIGHBOURS: usize = 20;
/// Silence in both directions after which a session is probed.
pub const PING_EVERY: Duration = Duration::from_secs(5);
/// Silence after a probe at which the session is closed.
pub const SESSION_SILENCE: Duration = Duration::from_secs(20);
