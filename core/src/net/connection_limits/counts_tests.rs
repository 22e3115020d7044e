//! The arithmetic of the connection limits.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::ConnectionOrigin;
use super::counts::{BanTable, GateCounts, GateLimits, Refused};

pub(in crate::net) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn from(text: &str) -> ConnectionOrigin {
    ConnectionOrigin::of(Some(ip(text)))
}

/// Returns limits so high that only the one under test can be reached.
pub(in crate::net) fn wide() -> GateLimits {
    GateLimits {
        pending_inbound: 1000,
        pending_per_host: 100,
        inbound: 1000,
        outbound: 1000,
        connections: 10_000,
        per_peer: 1000,
        per_public_ip: 1000,
        per_subnet: 1000,
        lan_inbound: 1000,
        per_lan_host: 1000,
        bans: 1000,
        idle: None,
    }
}

#[test]
fn addresses_are_told_apart() {
    for text in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(from(text), ConnectionOrigin::Loopback, "{text}");
    }
    for text in ["10.0.0.1", "172.16.0.1", "172.31.9.9", "192.168.1.1", "169.254.1.1", "fd12::1", "fe80::1"] {
        assert_eq!(from(text), ConnectionOrigin::Lan(ip(text)), "{text}");
    }
    for text in ["1.2.3.4", "172.32.0.1", "2001:db8::1"] {
        assert_eq!(from(text), ConnectionOrigin::Public(ip(text)), "{text}");
    }
    assert_eq!(from("::ffff:10.0.0.1"), ConnectionOrigin::Lan(ip("10.0.0.1")));
    assert_eq!(ConnectionOrigin::of(None), ConnectionOrigin::Unknown);
}

#[test]
fn a_public_address_has_its_limit_and_gets_its_place_back() {
    let mut counts = GateCounts::new(GateLimits { per_public_ip: 2, ..wide() });
    let first = counts.admit_inbound(from("1.2.3.4"), false).expect("the first");
    let second = counts.admit_inbound(from("1.2.3.4"), false).expect("the second");
    assert_eq!(counts.admit_inbound(from("1.2.3.4"), false), Err(Refused::PublicIp(2)));
    assert_eq!(
        counts.admit_inbound(from("::ffff:1.2.3.4"), false),
        Err(Refused::PublicIp(2)),
        "the same in disguise"
    );
    counts.admit_inbound(from("1.2.3.5"), false).expect("a neighbour");

    counts.release(first);
    let third =
        counts.admit_inbound(from("1.2.3.4"), false).expect("a place that became free in the handshake");
    let second = counts.establish(second);
    assert_eq!(
        counts.admit_inbound(from("1.2.3.4"), false),
        Err(Refused::PublicIp(2)),
        "established ones count too"
    );
    counts.release(second);
    counts.release(third);
    counts.admit_inbound(from("1.2.3.4"), false).expect("a place that became free after the handshake");
}

#[test]
fn a_subnet_has_its_limit() {
    let mut counts = GateCounts::new(GateLimits { per_subnet: 2, ..wide() });
    for text in ["1.2.3.4", "1.2.3.200", "2001:db8::1", "2001:db8::ffff:1"] {
        counts.admit_inbound(from(text), false).expect(text);
    }
    assert_eq!(counts.admit_inbound(from("1.2.3.5"), false), Err(Refused::Subnet(2)));
    assert_eq!(counts.admit_inbound(from("2001:db8:0:0:9::"), false), Err(Refused::Subnet(2)));
    counts.admit_inbound(from("1.2.4.4"), false).expect("the next /24");
    counts.admit_inbound(from("2001:db8:0:1::1"), false).expect("the next /64");
    for _ in 0..10 {
        counts.admit_inbound(from("10.0.0.1"), false).expect("no subnets in the local network");
    }
}

#[test]
fn the_local_network_has_its_own_limits_and_loopback_no_hosts() {
    let mut counts =
        GateCounts::new(GateLimits { per_lan_host: 2, lan_inbound: 6, per_public_ip: 0, ..wide() });
    counts.admit_inbound(from("192.168.1.5"), false).expect("the first");
    let second = counts.admit_inbound(from("192.168.1.5"), false).expect("the second");
    assert_eq!(counts.admit_inbound(from("192.168.1.5"), false), Err(Refused::LanHost(2)));
    counts.release(second);
    counts.admit_inbound(from("192.168.1.5"), false).expect("the second again");
    for _ in 0..4 {
        counts.admit_inbound(from("127.0.0.1"), false).expect("loopback");
    }
    assert_eq!(counts.admit_inbound(from("127.0.0.1"), false), Err(Refused::Lan(6)));
    assert_eq!(counts.admit_inbound(from("10.9.9.9"), false), Err(Refused::Lan(6)));
    counts.admit_inbound(ConnectionOrigin::Unknown, false).expect("a relayed one has no address to count");
}

#[test]
fn handshakes_and_connections_have_their_limits() {
    let mut counts = GateCounts::new(GateLimits { pending_inbound: 2, inbound: 3, ..wide() });
    let place = counts.admit_inbound(ConnectionOrigin::Unknown, false).expect("the first");
    let late = counts.admit_inbound(ConnectionOrigin::Unknown, false).expect("the second");
    assert_eq!(counts.admit_inbound(ConnectionOrigin::Unknown, false), Err(Refused::PendingInbound(2)));
    counts.establish(place);
    for _ in 0..2 {
        let place =
            counts.admit_inbound(ConnectionOrigin::Unknown, false).expect("while one is in its handshake");
        assert_eq!(counts.may_establish(place), Ok(()));
        counts.establish(place);
    }
    assert_eq!(
        counts.admit_inbound(ConnectionOrigin::Unknown, false),
        Err(Refused::Inbound(3)),
        "before its handshake"
    );
    assert_eq!(counts.may_establish(late), Err(Refused::Inbound(3)), "after its handshake");
}

#[test]
fn inbound_connections_never_take_the_place_of_outbound_ones() {
    let mut counts = GateCounts::new(GateLimits { connections: 5, outbound: 2, ..wide() });
    let places: Vec<_> =
        (0..3).map(|_| counts.admit_inbound(ConnectionOrigin::Unknown, false).expect("inbound")).collect();
    assert_eq!(counts.admit_inbound(ConnectionOrigin::Unknown, false), Err(Refused::Connections(5)));
    places.into_iter().for_each(|place| assert_ne!(counts.establish(place), place));
    assert_eq!(counts.admit_inbound(ConnectionOrigin::Unknown, false), Err(Refused::Connections(5)));

    let first = counts.admit_outbound().expect("outbound");
    counts.admit_outbound().expect("outbound");
    assert_eq!(counts.admit_outbound(), Err(Refused::Outbound(2)));
    counts.release(first);
    counts.admit_outbound().expect("outbound again");
}

#[test]
fn the_default_limits_agree_with_each_other() {
    let limits = GateLimits::default();
    assert!(limits.inbound + limits.outbound <= limits.connections, "all of both kinds fit");
}

#[test]
fn bans_end_and_the_least_recent_is_forgotten_first() {
    let now = Instant::now();
    let (soon, late) = (now + Duration::from_secs(10), now + Duration::from_secs(1000));
    let mut bans = BanTable::new(3);
    bans.ban('a', soon);
    bans.ban('b', late);
    bans.ban('b', soon);
    assert!(bans.is_banned(&'a', now) && !bans.is_banned(&'a', soon), "a ban ends");
    assert!(bans.is_banned(&'b', soon), "a shorter ban does not end a longer one");
    bans.ban('c', late);
    assert!(bans.visit(&'a', now), "seen again");
    bans.ban('d', late);
    let left = ['a', 'b', 'c', 'd'].map(|who| bans.is_banned(&who, now));
    assert_eq!(left, [true, false, true, true], "b was not met for longest");
    assert!(!bans.visit(&'a', soon));
    bans.ban('e', late);
    assert!(bans.is_banned(&'c', now), "the ban that was over left its place");
}
