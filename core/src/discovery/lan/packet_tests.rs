//! Packets of the local network, of ours and of other implementations.
#![allow(clippy::unwrap_used)]

use super::*;

fn packets() -> Packets {
    Packets::new(PeerId::random(), 7).unwrap()
}

/// Makes an announcement with these TXT strings in the section of answers or of additional records.
fn announcement(service: &str, texts: &[String], in_answers: bool, ttl: u32) -> Vec<u8> {
    let service = Name::from_ascii(service).unwrap();
    let name = Name::from_ascii("someone._p2p._udp.local.").unwrap();
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.add_answer(Record::from_rdata(service, ttl, RData::PTR(PTR(name.clone()))));
    for text in texts {
        let text = RData::TXT(TXT::from_bytes(vec![text.as_bytes()]));
        let record = Record::from_rdata(name.clone(), ttl, text);
        if in_answers {
            message.add_answer(record)
        } else {
            message.add_additional(record)
        };
    }
    message.to_vec().unwrap()
}

#[test]
fn a_question_is_read_back_and_is_the_one_of_libp2p() {
    let packets = packets();
    assert_eq!(packets.read(packets.question()), Heard::Question);
    let bytes = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01";
    assert_eq!(packets.question(), bytes);
    let other = [&bytes[..12], b"\x05_http\x04_tcp\x05local\0\0\x0c\0\x01"].concat();
    assert_eq!(packets.read(&other), Heard::Other);
}

#[test]
fn an_announcement_is_read_back() {
    let packets = packets();
    let addrs: Vec<Multiaddr> = ["/ip4/10.0.0.1/tcp/4001", "/ip6/fd00::1/udp/4001/quic-v1"]
        .map(|addr| addr.parse().unwrap())
        .to_vec();
    let packet = packets.announcement(addrs.iter()).unwrap();
    let expected = Heard::Announcement { found: vec![(packets.own, addrs)], ttl: limits::LAN_TTL };
    assert_eq!(packets.read(&packet), expected);
    assert!(packet.len() < 512, "{} bytes", packet.len());
    for len in 0..packet.len() {
        assert_eq!(packets.read(&packet[..len]), Heard::Other, "the first {len} bytes");
    }
    assert_eq!(packets.announcement(std::iter::empty()), None);
}

/// js-libp2p puts the addresses beside the answer, go-libp2p several into one record.
#[test]
fn both_sections_are_read() {
    let (packets, peer) = (packets(), PeerId::random());
    let addr: Multiaddr = "/ip4/10.0.0.1/tcp/4001".parse().unwrap();
    let text = format!("dnsaddr={addr}/p2p/{peer}");
    for in_answers in [true, false] {
        let packet = announcement(SERVICE, std::slice::from_ref(&text), in_answers, 10);
        let ttl = Duration::from_secs(10);
        let expected = Heard::Announcement { found: vec![(peer, vec![addr.clone()])], ttl };
        assert_eq!(packets.read(&packet), expected);
    }
}

#[test]
fn what_is_not_of_the_service_does_not_count() {
    let (packets, peer) = (packets(), PeerId::random());
    let good = format!("dnsaddr=/ip4/10.0.0.1/tcp/4001/p2p/{peer}");
    let read = |service, text: &str| packets.read(&announcement(service, &[text.to_owned()], false, 9));
    assert_ne!(read(SERVICE, &good), Heard::Other);
    assert_eq!(read("_http._tcp.local.", &good), Heard::Other);
    for text in [
        "dnsaddr=/ip4/10.0.0.1/tcp/4001",
        "dnsaddr=",
        "/ip4/10.0.0.1/tcp/4001",
        "dnsaddr=\u{1b}[2J/p2p/x",
        &format!("DNSADDR=/ip4/10.0.0.1/tcp/1/p2p/{peer}"),
    ] {
        assert_eq!(read(SERVICE, text), Heard::Other, "{text:?}");
    }
}

#[test]
fn a_long_ttl_and_many_records_are_cut() {
    let (packets, peer) = (packets(), PeerId::random());
    let texts: Vec<String> =
        (0..100).map(|port| format!("dnsaddr=/ip4/10.0.0.1/tcp/{port}/p2p/{peer}")).collect();
    let Heard::Announcement { found, ttl } =
        packets.read(&announcement(SERVICE, &texts, true, u32::MAX >> 1))
    else {
        panic!("an announcement");
    };
    assert_eq!((found.len(), found[0].1.len(), ttl), (1, TEXTS, limits::LAN_TTL));
}
