//! Bounds of the DHT: records, messages and searches.

use std::time::Duration;

use super::KIB;

/// Records that a DHT server keeps, of some 300 bytes each.
pub const DHT_RECORDS: usize = 16_384;
/// Records of one key, and holders in one answer.
pub const DHT_PROVIDERS: usize = 20;
/// Addresses of one holder that are kept and passed on.
pub const DHT_HOLDER_ADDRS: usize = 6;
/// Largest DHT message, in bytes: an answer carries the holders and as many servers.
pub const DHT_MESSAGE: usize = 64 * KIB;
/// Lifetime of a record.
pub const DHT_EXPIRES: Duration = Duration::from_secs(48 * 3600);
/// Time after which the announcer of a record renews it, at the latest.
pub const DHT_RENEW: Duration = Duration::from_secs(22 * 3600);
/// DHT servers remembered, and configured.
pub const DHT_NODES: usize = 64;
/// Addresses of one server that are tried.
pub const DHT_ADDRS: usize = 4;
/// Most holders that one search returns; one answer has at most [`DHT_PROVIDERS`].
pub const DHT_NAMED: usize = 512;
/// Calls per minute to servers that strangers named, for each address of a network.
pub const DHT_CALLS_PER_HOST: usize = 32;
/// Disjoint paths of a search (S/Kademlia, Baumgart and Mies 2007).
pub const DHT_PATHS: usize = 4;
/// Longest duration of a search.
pub const DHT_QUERY: Duration = Duration::from_secs(30);
/// Time after which the servers found near a key receive the announcement, even if nearer ones might exist.
pub const DHT_TELL: Duration = Duration::from_secs(15);
/// Count of known relays up to which relays named by holders in the DHT are used.
pub const DHT_RELAYS: usize = 4;
/// DHT servers that a link names.
pub const LINK_DHT: usize = 2;
