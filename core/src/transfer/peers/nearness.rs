//! Nearness of peers, judged by the address they are seen at and by the names of sites.
//!
//! [`is_near`] decides who belongs to the local network, and so who may fetch; it trusts the address alone,
//! never a peer's word. A site may also be a name that a peer gives itself: no access depends on it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use libp2p::Multiaddr;

use crate::distance::Distance;
use crate::net::address::{class_of, ip_of, is_shared, subnet};

/// Returns how near a peer at this address is. One of our `own` addresses counts as this machine.
pub(crate) fn class_at(addr: &Multiaddr, own: &[Multiaddr]) -> Distance {
    match ip_of(addr) {
        Some(ip) if own.iter().any(|a| ip_of(a) == Some(ip)) => Distance::Host,
        Some(ip) => class_of(ip),
        None => Distance::Wan,
    }
}

/// True if a peer is in the local network. Its address decides, not its word: the address is private, or it
/// is an IPv6 address in a subnet (/64) of ours, since every IPv6 host has a global address. Neighbouring
/// public IPv4 addresses prove nothing: in a data centre they belong to strangers. Addresses that a provider
/// shares among its customers ([`is_shared`]) do not count as local: they belong to the other customers.
pub(crate) fn is_near(addr: &Multiaddr, class: Distance, own: &[Multiaddr]) -> bool {
    let Some(ip) = ip_of(addr) else { return false };
    let strangers = matches!(ip, IpAddr::V4(ip) if is_shared(ip));
    let on_link = || ip.is_ipv6() && own.iter().filter_map(ip_of).any(|own| subnet(ip) == subnet(own));
    class == Distance::Host || (class == Distance::Lan && !strangers) || on_link()
}

/// True if a peer belongs to our site. If either end has a name for its site, the two `names` (ours, theirs)
/// must be equal. Otherwise a site is this machine and our subnets (/24 for IPv4, /64 for IPv6).
pub(crate) fn same_site(names: (Option<&str>, Option<&str>), addr: &Multiaddr, own: &[Multiaddr]) -> bool {
    if names != (None, None) {
        return names.0 == names.1;
    }
    let Some(ip) = ip_of(addr) else { return false };
    ip.is_loopback() || own.iter().filter_map(ip_of).any(|own| subnet(ip) == subnet(own))
}

/// Returns a number for a peer's site: a hash of the site's name, or of the subnet of a peer without one.
pub(crate) fn site_of(name: Option<&str>, addr: &Multiaddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, name.map_or_else(|| ip_of(addr).map(subnet), |_| None)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_site_is_a_subnet() {
        let own: Vec<Multiaddr> =
            ["/ip4/10.1.2.3/tcp/1", "/ip6/fd00:1:2:3::4/tcp/1"].map(|a| a.parse().unwrap()).to_vec();
        for (addr, near) in [
            ("/ip4/10.1.2.200/tcp/9", true),
            ("/ip4/10.1.3.3/tcp/9", false),
            ("/ip4/127.0.0.1/tcp/9", true),
            ("/ip6/fd00:1:2:3:ffff::1/tcp/9", true),
            ("/ip6/fd00:1:2:4::4/tcp/9", false),
            ("/ip6/::ffff:10.1.2.9/tcp/9", true),
        ] {
            let addr = addr.parse().unwrap();
            assert_eq!(same_site((None, None), &addr, &own), near, "{addr}");
            assert!(same_site((Some("berlin"), Some("berlin")), &addr, &own), "{addr}");
            for names in [(Some("berlin"), None), (None, Some("berlin")), (Some("berlin"), Some("bonn"))] {
                assert!(!same_site(names, &addr, &own), "{addr}");
            }
        }
    }
}
