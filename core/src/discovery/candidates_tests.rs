//! Candidates and dial limits, with made-up times.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::net::address::ip_of;

fn addr(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

#[test]
fn given_peers_are_dialled_always_others_when_wanted() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    d.found(&addr("/ip4/10.0.0.1/tcp/1"), None, AddressSource::Given, now);
    d.found(&addr("/ip4/10.0.0.2/tcp/1"), Some(PeerId::random()), AddressSource::Lan, now);
    assert_eq!(d.due(false, || 9, &BTreeSet::new(), now).len(), 1);
    assert_eq!(d.due(true, || 9, &BTreeSet::new(), now).len(), 1, "the first is being dialled");
    assert_eq!(d.due(true, || 9, &BTreeSet::new(), now).len(), 0);
}

#[test]
fn a_failed_dial_waits_longer_each_time_and_a_healed_one_is_found_soon() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let peer = PeerId::random();
    d.found(&addr("/ip4/10.0.0.2/tcp/1"), Some(peer), AddressSource::Lan, now);
    for _ in 0..20 {
        now += RETRY_WANTING;
        assert_eq!(d.due(true, || 9, &BTreeSet::new(), now).len(), 1, "never longer than RETRY_WANTING");
        d.failed(&Name::Peer(peer), "refused".into(), true, now);
        assert_eq!(d.due(true, || 9, &BTreeSet::new(), now).len(), 0);
    }
}

#[test]
fn a_node_that_does_not_answer_is_named_with_what_may_keep_it_away() {
    for error in ["Timeout has been reached", "Connection timed out (os error 110)"] {
        let (mut d, now) = (Candidates::default(), Instant::now());
        let peer = PeerId::random();
        d.found(&addr("/ip4/10.0.0.2/tcp/4001"), Some(peer), AddressSource::Lan, now);
        assert_eq!(d.due(true, || 9, &BTreeSet::new(), now).len(), 1);
        assert_eq!(d.tried(true)[..1], ["LAN discovery: 1 node found, 0 connected"]);
        d.failed(&Name::Peer(peer), error.into(), true, now);
        let said = d.tried(true).join("; ");
        assert!(
            said.contains(
                "LAN /ip4/10.0.0.2/tcp/4001: no answer; a firewall there may not let TCP and UDP port 4001 in"
            ),
            "{said}"
        );
    }
}

/// D48 in small: a peer's list causes few dials, and never to nearer networks than that peer can have met.
#[test]
fn a_peers_list_is_limited() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    let (wan, lan) = ((PeerId::random(), Distance::Wan), (PeerId::random(), Distance::Lan));
    d.exchanged(&addr("/ip4/127.0.0.1/tcp/22"), PeerId::random(), wan, now);
    d.exchanged(&addr("/ip4/10.0.0.1/tcp/22"), PeerId::random(), wan, now);
    d.exchanged(&addr("/ip4/127.0.0.1/tcp/22"), PeerId::random(), lan, now);
    assert_eq!(d.due(true, || 99, &BTreeSet::new(), now).len(), 0);
    for port in 0..1000 {
        d.exchanged(&addr(&format!("/ip4/8.8.8.8/tcp/{port}")), PeerId::random(), wan, now);
    }
    let dials = d.due(true, || 9999, &BTreeSet::new(), now);
    assert_eq!(dials.len(), limits::DIALS_PER_ADDR);
    // After two failures the address is left alone for the window.
    for dial in &dials {
        d.failed(&dial.name, "refused".into(), true, now);
    }
    let later = now + limits::DIAL_WINDOW * 2;
    assert_eq!(d.due(true, || 9999, &BTreeSet::new(), later).len(), 0);
    assert!(!d.due(true, || 9999, &BTreeSet::new(), now + limits::DIAL_IP_WINDOW + RETRY_IDLE).is_empty());
}

#[test]
fn a_peers_list_of_many_hosts_is_limited_too() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    let wan = (PeerId::random(), Distance::Wan);
    for host in 0..100 {
        d.exchanged(&addr(&format!("/ip4/8.8.8.{host}/tcp/1")), PeerId::random(), wan, now);
    }
    assert_eq!(d.due(true, || 9999, &BTreeSet::new(), now).len(), limits::DIALS_PER_SOURCE);
}

#[test]
fn many_nodes_of_one_host_are_met_a_few_at_a_time() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let wan = (PeerId::random(), Distance::Wan);
    for port in 1..=6 {
        d.exchanged(&addr(&format!("/ip4/8.8.8.8/tcp/{port}")), PeerId::random(), wan, now);
    }
    for _ in 0..3 {
        let dials = d.due(true, || 9999, &BTreeSet::new(), now);
        assert_eq!(dials.len(), limits::DIALS_PER_ADDR);
        for dial in dials {
            let Name::Peer(peer) = dial.name else { panic!("a peer") };
            d.connected(peer, &dial.addrs[0], true, now);
        }
        now += LOOK_AGAIN;
    }
    assert_eq!(d.due(true, || 9999, &BTreeSet::new(), now).len(), 0);
}

#[test]
fn an_address_gets_its_name_when_the_peer_speaks() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    let peer = PeerId::random();
    d.found(&addr("/ip4/10.0.0.1/tcp/1"), None, AddressSource::Given, now);
    assert_eq!(d.due(false, || 9, &BTreeSet::new(), now).len(), 1);
    d.connected(peer, &addr("/ip4/10.0.0.1/tcp/1"), true, now);
    assert_eq!(d.due(true, || 9, &BTreeSet::new(), now + RETRY_IDLE).len(), 0);
    d.met(peer, &addr("/ip4/10.0.0.1/tcp/1"), true, now);
    assert_eq!(d.due(true, || 9, &BTreeSet::new(), now + RETRY_IDLE).len(), 0);
    d.lost(peer, None, now);
    assert_eq!(d.due(false, || 9, &BTreeSet::new(), now + RETRY_FIRST).len(), 1, "still a given peer");
}

/// A peer that takes the connection and then refuses us counts like one that does not answer.
#[test]
fn who_ends_the_session_without_a_word_is_dialled_as_after_a_failure() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let (peer, at) = (PeerId::random(), addr("/ip4/10.0.0.1/tcp/1"));
    d.found(&at, None, AddressSource::Given, now);
    let mut dials = 0;
    let end = now + Duration::from_secs(60);
    while now < end {
        for dial in d.due(true, || 9, &BTreeSet::new(), now) {
            assert_eq!(dial.name, Name::Addr(at.clone()), "who is there is not known before it speaks");
            dials += 1;
            d.connected(peer, &at, true, now);
            assert!(d.due(true, || 9, &BTreeSet::new(), now).is_empty());
            d.unmet(peer, &at, "the peer does not speak", true, now);
        }
        now += Duration::from_millis(100);
    }
    assert!((15..=25).contains(&dials), "{dials} dials in a minute");
    assert!(d.tried(false).iter().any(|phrase| phrase.ends_with("the peer does not speak")));
    // Once the peer speaks, its failures are forgotten.
    d.connected(peer, &at, true, now);
    d.met(peer, &at, true, now);
    assert!(d.tried(false).iter().any(|phrase| phrase.ends_with("connected")));
    d.lost(peer, None, now);
    assert_eq!(d.due(true, || 9, &BTreeSet::new(), now + RETRY_FIRST).len(), 1);
}

#[test]
fn a_peer_that_cannot_take_part_rests_whatever_is_wanted_and_the_reason_is_named() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let (peer, at) = (PeerId::random(), addr("/ip4/10.0.0.1/tcp/1"));
    d.found(&at, None, AddressSource::Given, now);
    let end = now + Duration::from_secs(300);
    let mut dials = 0;
    while now < end {
        for _ in d.due(true, || 9, &BTreeSet::new(), now) {
            dials += 1;
            d.connected(peer, &at, true, now);
            d.rest(peer, &at, now + limits::REFUSED_REST);
            d.unmet(peer, &at, "it speaks another version", true, now);
        }
        d.hurry(now);
        now += Duration::from_millis(500);
    }
    assert_eq!(dials, 5);
    assert!(d.tried(false).iter().any(|phrase| phrase.ends_with("it speaks another version")));
    // A session that ends later names its end as well.
    d.met(peer, &at, true, now);
    d.lost(peer, Some("connection lost"), now);
    assert!(d.tried(false).iter().any(|phrase| phrase.ends_with("the session ended: connection lost")));
    assert_eq!(
        d.due(true, || 9, &BTreeSet::new(), now + RETRY_FIRST).len(),
        1,
        "it spoke, so it rests no more"
    );
}

/// D48: a victim that refuses us is left alone by hearsay, whatever its handshakes say.
#[test]
fn d48_hearsay_leads_few_times_to_who_refuses_us() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let by = (PeerId::random(), Distance::Wan);
    let mut dials = 0;
    for port in 1..=50 {
        d.exchanged(&addr(&format!("/ip4/8.8.8.8/tcp/{port}")), PeerId::random(), by, now);
        for dial in d.due(true, || 9, &BTreeSet::new(), now) {
            let Name::Peer(peer) = dial.name else { panic!("a peer") };
            dials += 1;
            d.connected(peer, &dial.addrs[0], true, now);
            d.unmet(peer, &dial.addrs[0], "refused", true, now);
        }
        now += LOOK_AGAIN;
    }
    assert_eq!(dials, limits::DIALS_PER_ADDR);
}

const FAR: PeerSource = PeerSource::new(1, Some(IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8))), true);
const GIVEN: PeerSource = PeerSource { linked: false, ..FAR };
const NEAR: PeerSource = PeerSource { at: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1))), ..FAR };
const HERE: PeerSource = PeerSource { at: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), ..FAR };

/// D48: no tracker can make a node dial where it should not.
#[test]
fn d48_a_tracker_sends_nobody_where_it_has_no_business() {
    let cases = [
        // Address; allowed for a link's tracker on the internet, the owner's there, one in a private network,
        // one on this machine.
        ("/ip4/45.1.2.3/tcp/4001", [true, true, true, true]),
        ("/ip4/45.1.2.3/udp/443/quic-v1", [true, true, true, true]),
        ("/ip4/192.168.1.1/tcp/4001", [false, true, true, true]),
        ("/ip4/192.168.1.1/tcp/80", [false, false, true, true]),
        ("/ip6/fd00::1/tcp/4001", [false, true, true, true]),
        ("/ip4/127.0.0.1/tcp/4001", [false, false, false, true]),
        ("/ip6/::1/tcp/4001", [false, false, false, true]),
        ("/ip6/::ffff:127.0.0.1/tcp/4001", [false, false, false, true]),
        ("/ip4/169.254.169.254/tcp/80", [false; 4]),
        ("/ip6/fe80::1/tcp/4001", [false; 4]),
        ("/ip6/::ffff:169.254.169.254/tcp/4001", [false; 4]),
        ("/ip4/0.0.0.0/tcp/4001", [false; 4]),
        ("/ip6/::/tcp/4001", [false; 4]),
        ("/ip4/224.0.0.251/udp/5353/quic-v1", [false; 4]),
        ("/ip6/ff02::fb/udp/5353/quic-v1", [false; 4]),
        ("/ip4/255.255.255.255/tcp/4001", [false; 4]),
        ("/ip4/45.1.2.3/tcp/0", [false; 4]),
        ("/dns4/localhost/tcp/4001", [false; 4]),
        ("/ip4/45.1.2.3/tcp/4001/ip4/127.0.0.1/tcp/22", [false; 4]),
        ("/ip4/45.1.2.3/udp/4001", [false; 4]),
        ("/ip4/100.64.0.9/tcp/22", [false, false, true, true]),
    ];
    for (text, may) in cases {
        for (tracker, may) in [FAR, GIVEN, NEAR, HERE].into_iter().zip(may) {
            let (mut d, now) = (Candidates::default(), Instant::now());
            d.tracked(&[addr(text)], PeerId::random(), tracker, now);
            assert_eq!(
                d.due(true, || 9, &BTreeSet::new(), now).len(),
                usize::from(may),
                "{text} by {tracker:?}"
            );
        }
    }
}

/// D48: a million peers, all at one victim's address.
#[test]
fn d48_a_trackers_list_is_limited() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    for port in 1..=60_000 {
        d.tracked(&[addr(&format!("/ip4/45.1.2.3/tcp/{port}"))], PeerId::random(), FAR, now);
    }
    let dials = d.due(true, || 9999, &BTreeSet::new(), now);
    assert_eq!(dials.len(), limits::DIALS_PER_ADDR);
    dials.iter().for_each(|dial| d.failed(&dial.name, "refused".into(), true, now));
    assert_eq!(d.due(true, || 9999, &BTreeSet::new(), now + limits::DIAL_WINDOW * 2).len(), 0);
    // With many hosts, only so many are tried at a time.
    let (mut d, hosts) = (Candidates::default(), 1..200);
    for host in hosts.clone() {
        d.tracked(&[addr(&format!("/ip4/45.1.2.{host}/tcp/1"))], PeerId::random(), FAR, now);
    }
    assert_eq!(d.due(true, || 9999, &BTreeSet::new(), now).len(), limits::DIALS_PER_SOURCE);
    // Known peers cost nothing.
    let (mut d, peers) = (Candidates::default(), [(); 5].map(|()| PeerId::random()));
    for _ in 0..20 {
        for (host, peer) in hosts.clone().zip(peers) {
            d.tracked(&[addr(&format!("/ip4/45.1.2.{host}/tcp/1"))], peer, FAR, now);
        }
    }
    d.tracked(&[addr("/ip4/45.1.3.1/tcp/1")], PeerId::random(), FAR, now);
    assert_eq!(d.due(true, || 9999, &BTreeSet::new(), now).len(), 6);
}

/// D48: a known peer is not dialled without limit at addresses that a tracker adds.
#[test]
fn d48_hearsay_about_a_known_peer_is_hearsay() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let peer = PeerId::random();
    d.found(&addr("/ip4/10.9.9.9/tcp/1"), Some(peer), AddressSource::Given, now);
    d.tracked(
        &(1..8).map(|port| addr(&format!("/ip4/45.1.2.3/tcp/{port}"))).collect::<Vec<_>>(),
        peer,
        FAR,
        now,
    );
    let mut at_victim = 0;
    for _ in 0..50 {
        now += RETRY_WANTING;
        for dial in d.due(true, || 9, &BTreeSet::new(), now) {
            at_victim +=
                usize::from(dial.addrs.iter().any(|a| ip_of(a) == ip_of(&addr("/ip4/45.1.2.3/tcp/1"))));
            d.failed(&dial.name, "refused".into(), true, now);
        }
    }
    assert_eq!(at_victim, limits::DIALS_PER_ADDR);
}

/// However much hearsay there is, peers from a link, the network or the owner have a place.
#[test]
fn hearsay_never_fills_the_queue() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    for host in 0..1000_u32 {
        let ip = std::net::Ipv4Addr::from_bits(0x2d01_0000 + host);
        let by = PeerSource { number: host.into(), ..FAR };
        d.tracked(&[addr(&format!("/ip4/{ip}/tcp/1"))], PeerId::random(), by, now);
    }
    assert!(d.candidates.len() <= limits::DIAL_QUEUE / 2);
    for port in 1..=100 {
        d.found(
            &addr(&format!("/ip4/45.9.9.9/tcp/{port}")),
            Some(PeerId::random()),
            AddressSource::Link,
            now,
        );
    }
    assert_eq!(d.candidates.values().filter(|c| c.source == AddressSource::Link).count(), 100);
}

/// A node listens on other ports for IPv6 than for IPv4 and names both: the right one is among those that are
/// tried.
#[test]
fn both_ports_of_a_named_peer_are_tried() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    let by = (PeerId::random(), Distance::Lan);
    let peer = PeerId::random();
    for port in [1, 2, 3, 4] {
        d.exchanged(&addr(&format!("/ip4/10.0.0.2/tcp/{port}")), peer, by, now);
        d.exchanged(&addr(&format!("/ip4/10.0.0.2/udp/{port}/quic-v1")), peer, by, now);
    }
    for at in [now, now + HEAD_START] {
        let dials = d.due(true, || 9, &BTreeSet::new(), at);
        assert_eq!(dials.iter().map(|dial| dial.addrs.len()).collect::<Vec<_>>(), [PORTS_OF_HOST]);
    }
}

/// QUIC connects a round trip earlier, and would win each race.
#[test]
fn quic_waits_a_while_for_tcp_and_no_longer_once_that_has_failed() {
    let (tcp, quic) = (addr("/ip4/10.0.0.2/tcp/1"), addr("/ip4/10.0.0.2/udp/2/quic-v1"));
    let peer = PeerId::random();
    let due = |d: &mut Candidates, now| -> Vec<Vec<Multiaddr>> {
        d.due(true, || 9, &BTreeSet::new(), now).into_iter().map(|dial| dial.addrs).collect()
    };
    let found = |addrs: &[&Multiaddr]| {
        let (mut d, now) = (Candidates::default(), Instant::now());
        addrs.iter().for_each(|addr| d.found(addr, Some(peer), AddressSource::Link, now));
        (d, now)
    };
    let (mut d, now) = found(&[&quic]);
    assert_eq!(due(&mut d, now), [vec![quic.clone()]], "alone it waits for nothing");
    let (mut d, now) = found(&[&quic, &tcp]);
    assert_eq!(due(&mut d, now), [vec![tcp.clone()]]);
    assert!(due(&mut d, now + HEAD_START / 2).is_empty());
    assert_eq!(due(&mut d, now + HEAD_START), [vec![quic.clone()]], "beside what takes long");
    assert!(due(&mut d, now + HEAD_START * 2).is_empty());
    let (mut d, now) = found(&[&quic, &tcp]);
    assert_eq!(due(&mut d, now), [vec![tcp.clone()]]);
    d.failed(&Name::Peer(peer), "refused".into(), true, now);
    assert_eq!(due(&mut d, now), [vec![quic.clone()]], "at once");
    d.failed(&Name::Peer(peer), "no answer".into(), true, now);
    assert!(due(&mut d, now).is_empty(), "both have failed");
    let (mut d, now) = found(&[&quic, &tcp]);
    assert_eq!(due(&mut d, now), [vec![tcp]]);
    d.connected(peer, &quic, false, now);
    assert!(due(&mut d, now + HEAD_START).is_empty(), "it is there");
}

/// Lets `count` peers announce themselves on the local network at this host.
fn neighbours(d: &mut Candidates, host: &str, count: usize, now: Instant) -> Vec<PeerId> {
    let one = |port| {
        let peer = PeerId::random();
        d.found(&addr(&format!("/ip4/{host}/tcp/{port}")), Some(peer), AddressSource::Lan, now);
        peer
    };
    (1..=count).map(one).collect()
}

/// A3: forged announcements, once, at a node that looks for somebody.
#[test]
fn a3_a_neighbour_that_comes_later_has_a_place_and_its_turn() {
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    neighbours(&mut d, "10.0.0.66", 600, now);
    assert_eq!(d.candidates.len(), limits::LAN_UNTRIED_PER_HOST);
    for _ in 0..100 {
        for dial in d.due(true, || 20, &BTreeSet::new(), now) {
            d.failed(&dial.name, "refused".into(), true, now);
        }
        now += Duration::from_millis(100);
        neighbours(&mut d, "10.0.0.66", 3, now);
    }
    let honest = neighbours(&mut d, "10.0.0.1", 1, now)[0];
    let dials = d.due(true, || 1, &BTreeSet::new(), now);
    assert_eq!(dials.iter().map(|dial| &dial.name).collect::<Vec<_>>(), [&Name::Peer(honest)]);
}

/// However many hosts announce peers, each has its turn, and a newcomer has a place.
#[test]
fn machines_take_turns_and_newcomers_have_a_place() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    for host in 1..=100 {
        neighbours(&mut d, &format!("10.0.1.{host}"), 8, now);
    }
    assert!(d.candidates.len() <= limits::DIAL_QUEUE / 2);
    let later = now + Duration::from_secs(1);
    let honest = neighbours(&mut d, "10.0.0.1", 1, later)[0];
    assert!(d.candidates.len() <= limits::DIAL_QUEUE / 2);
    let dials = d.due(true, || 20, &BTreeSet::new(), later);
    assert!(dials.iter().any(|dial| dial.name == Name::Peer(honest)));
    let hosts: BTreeSet<_> = dials.iter().filter_map(|dial| ip_of(&dial.addrs[0])).collect();
    assert!(hosts.len() >= dials.len() / 2, "{} hosts of {}", hosts.len(), dials.len());
    // Trackers and links have places beside the local network.
    d.tracked(&[addr("/ip4/45.1.2.3/tcp/1")], PeerId::random(), FAR, later);
    d.found(&addr("/ip4/45.1.2.4/tcp/1"), Some(PeerId::random()), AddressSource::Link, later);
    assert!(d.due(true, || 99, &BTreeSet::new(), later).len() >= 2);
}

/// Many nodes on one machine are all met, once one of them has been.
#[test]
fn a_host_where_sessions_succeed_is_not_held_back() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    let first = neighbours(&mut d, "10.0.0.1", 1, now)[0];
    d.due(true, || 20, &BTreeSet::new(), now);
    d.connected(first, &addr("/ip4/10.0.0.1/tcp/1"), true, now);
    d.met(first, &addr("/ip4/10.0.0.1/tcp/1"), true, now);
    neighbours(&mut d, "10.0.0.1", 20, now);
    assert_eq!(d.due(true, || 99, &BTreeSet::new(), now).len(), 20);
}

/// A6: the local network, or a stranger that names relays, makes nobody dial one machine without end.
#[test]
fn a6_no_source_leads_to_one_machine_without_end() {
    let relayed = |port: u32| addr(&format!("/ip4/8.8.8.8/tcp/{port}/p2p/{}/p2p-circuit", PeerId::random()));
    let (mut d, mut now) = (Candidates::default(), Instant::now());
    let (end, mut lan, mut relay) = (now + Duration::from_secs(55), 0, 0);
    let mut port = 0;
    while now < end {
        port += 1;
        d.found(&addr(&format!("/ip4/10.0.0.9/tcp/{port}")), Some(PeerId::random()), AddressSource::Lan, now);
        d.exchanged(&relayed(port), PeerId::random(), (PeerId::random(), Distance::Wan), now);
        for dial in d.due(true, || 20, &BTreeSet::new(), now) {
            let is_relayed = dial.addrs[0].iter().any(|part| part == Protocol::P2pCircuit);
            *if is_relayed { &mut relay } else { &mut lan } += 1;
            d.failed(&dial.name, "refused".into(), true, now);
        }
        now += Duration::from_millis(100);
    }
    assert_eq!((lan, relay), (limits::DIALS_PER_NEIGHBOUR, limits::DIALS_PER_RELAY));
}

/// A zone is the name of an interface here: no stranger knows it.
#[test]
fn strangers_name_no_link_local_addresses() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    for text in ["/ip6zone/eth0/ip6/fe80::1/tcp/1", "/ip6/fe80::1/tcp/1"] {
        d.exchanged(&addr(text), PeerId::random(), (PeerId::random(), Distance::Lan), now);
        d.tracked(&[addr(text)], PeerId::random(), NEAR, now);
    }
    assert!(d.candidates.is_empty());
    for source in [AddressSource::Lan, AddressSource::Given, AddressSource::Link] {
        d.found(&addr("/ip6zone/eth0/ip6/fe80::1/tcp/1"), Some(PeerId::random()), source, now);
    }
    assert_eq!(d.due(true, || 9, &BTreeSet::new(), now).len(), 3);
}

/// A host that announces a peer at ports of its own does not push out the addresses of the peer.
#[test]
fn addresses_of_one_machine_take_the_places_of_their_own() {
    let (mut d, now) = (Candidates::default(), Instant::now());
    let peer = PeerId::random();
    for port in 1..50 {
        d.found(&addr(&format!("/ip4/10.0.0.66/tcp/{port}")), Some(peer), AddressSource::Lan, now);
        if port == 20 {
            d.found(&addr("/ip4/10.0.0.1/tcp/1"), Some(peer), AddressSource::Lan, now);
        }
    }
    let dials = d.due(true, || 9, &BTreeSet::new(), now);
    assert_eq!(dials[0].addrs.len(), limits::PEER_ADDRS);
    assert!(dials[0].addrs.contains(&addr("/ip4/10.0.0.1/tcp/1")));
}
