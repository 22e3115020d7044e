//! Conventions that the nodes of the DHT share beside Kademlia itself (libp2p's `kad-dht` specification).
//!
//! The DHT holds provider records and no values. The key of a record is [`key_of`] the content. Its addresses
//! are those at which the holder's sessions are reached, each with [`MARK`] at its end, and, if the holder is
//! a server of the DHT, those of that server without the mark.

use crate::id::ContentId;

/// The protocol's name. A name of its own keeps its nodes and keys apart from those of other DHTs.
pub const PROTOCOL: &str = "/swarm/kad/1";

/// The host name in the `/sni/content` at the end of an address at which sessions are reached: no server of
/// the DHT listens there.
pub const MARK: &str = "content";

/// The derive-key context of [`key_of`].
const CONTEXT: &str = "swarm 2026-11 key of a content in the DHT";

/// Returns the key of a content in the DHT: BLAKE3 in derive-key mode of its id. The id leads to the key, but
/// the key does not lead to the id.
#[must_use]
pub fn key_of(id: ContentId) -> [u8; 32] {
    blake3::derive_key(CONTEXT, id.as_bytes())
}
