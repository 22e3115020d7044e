//! What the nodes of the DHT agree on beside Kademlia itself (libp2p's `kad-dht` specification).
//!
//! There are provider records and no values. A record's key is [`key_of`] the content; its addresses are where the holder's
//! sessions are reached, each with [`MARK`] behind it, and where the holder is a server of the DHT, if it is one, without.

use crate::id::ContentId;

/// The protocol's name: its nodes and keys have nothing to do with those of other DHTs.
pub const PROTOCOL: &str = "/swarm/kad/1";

/// Marks an address at which sessions are reached, as `/sni/content` behind it: no server of the DHT is there.
pub const MARK: &str = "content";

/// The context of [`key_of`].
const CONTEXT: &str = "swarm 2026-11 key of a content in the DHT";

/// Under what a content is found. Whoever has its id can tell the key, and nobody the id from the key.
#[must_use]
pub fn key_of(id: ContentId) -> [u8; 32] {
    blake3::derive_key(CONTEXT, id.as_bytes())
}
