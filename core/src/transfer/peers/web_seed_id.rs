//! The ids under which a web seed takes part as a peer.
//!
//! A web server has no key and no libp2p connection, but peers are kept, counted, shown and banned by both.
//! [`WebSeedId`] makes stand-ins for them. No other code makes a [`PeerId`] or a [`ConnectionId`] of a web
//! seed.

use libp2p::identity::Keypair;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::schedule::PeerKey;

/// Stand-ins for the peer id, the connection and the address of a web seed.
///
/// No peer has this peer id: its private key is the BLAKE3 hash of the URL, which every node of this program
/// knows, so that an impostor who proves it proves nothing. No connection has this number, because libp2p
/// counts its connections from 1 upwards and these numbers go downwards from the largest `usize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebSeedId {
    /// The peer id. It depends on the URL alone, so that bans and statistics outlast a session.
    pub(super) peer: PeerId,
    /// The connection. It depends on the session alone.
    pub(super) connection: ConnectionId,
    /// The host of the URL as a DNS address, as far as a multiaddr can say that, with `/http` or `/https`.
    pub(super) addr: Multiaddr,
}

impl WebSeedId {
    /// Returns the stand-ins for a web seed at this URL, in the session with this key.
    pub(crate) fn new(url: &str, session: PeerKey) -> Self {
        let seed = *blake3::hash(url.as_bytes()).as_bytes();
        let key = Keypair::ed25519_from_bytes(seed);
        Self {
            peer: key.map_or_else(|_| PeerId::random(), |key| key.public().to_peer_id()),
            connection: ConnectionId::new_unchecked(usize::MAX - session.0 as usize),
            addr: address_of(url),
        }
    }
}

/// Returns the host of a URL as a multiaddr, empty if it cannot be said in one.
fn address_of(url: &str) -> Multiaddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
    let scheme = if url.starts_with("https:") { "https" } else { "http" };
    format!("/dns/{host}/{scheme}").parse().unwrap_or_else(|_| Multiaddr::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_seed_is_known_again_by_its_url() {
        let url = "https://example.org:8443/file?x";
        let (first, again) = (WebSeedId::new(url, PeerKey(1)), WebSeedId::new(url, PeerKey(2)));
        assert_eq!(first.peer, again.peer);
        assert_ne!(first.connection, again.connection, "each session has a connection of its own");
        assert_eq!(first.addr.to_string(), "/dns/example.org/https");
        let other = WebSeedId::new("http://example.org/file", PeerKey(3));
        assert_ne!(first.peer, other.peer);
        assert_eq!(other.addr.to_string(), "/dns/example.org/http");
    }
}
