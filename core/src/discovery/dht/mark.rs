//! Marked addresses in the DHT: the mark distinguishes an address for sessions from the address of a DHT
//! server, so that nobody looks for the one at the other.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::net::address::split_peer;
use crate::wire::dht::MARK;

/// Returns the marked form of an address for sessions, which others are told.
pub(super) fn mark(addr: &Multiaddr) -> Multiaddr {
    addr.clone().with(Protocol::Sni(MARK.into()))
}

/// Returns the address without its mark; `None` if it has no mark.
pub(super) fn unmark(addr: &Multiaddr) -> Option<Multiaddr> {
    let (mut bare, _) = split_peer(addr);
    match bare.pop() {
        Some(Protocol::Sni(mark)) if mark == MARK => Some(bare),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use libp2p::PeerId;

    use super::*;
    use crate::net::address::endpoint;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn where_sessions_are_reached_is_marked() {
        for text in ["/ip4/45.1.2.3/tcp/4001", "/ip6/2a0e::1/udp/1/quic-v1"] {
            let plain = addr(text);
            let told = mark(&plain).with_p2p(PeerId::random()).unwrap();
            assert_eq!(unmark(&told), Some(plain.clone()));
            assert_eq!(unmark(&plain), None);
            assert_eq!(endpoint(&split_peer(&told).0), None, "nobody dials it as it is");
        }
        assert_eq!(unmark(&addr("/ip4/45.1.2.3/tcp/4001/sni/other")), None);
    }
}
