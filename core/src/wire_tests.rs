//! Tests of the messages: a written message is read again, and no bytes of a peer do harm.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::content::bitmap::Bitmap;

fn have() -> impl Strategy<Value = Have> {
    prop_oneof![
        Just(Have::All),
        prop::collection::vec(any::<(u32, u32)>(), 0..20).prop_map(Have::Runs),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Have::Bits),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let id = any::<[u8; 32]>().prop_map(ContentId::from_bytes);
    prop_oneof![
        (any::<u32>(), id).prop_map(|(blob, id)| Message::Want { blob, id }),
        (any::<u32>(), any::<u64>(), any::<bool>(), have(), ".{0,40}").prop_map(
            |(blob, len, origin, have, name)| {
                Message::Offer(Offer { blob, kind: ContentKind::File, len, name: Some(name), origin, have })
            }
        ),
        (any::<u32>(), have()).prop_map(|(blob, add)| Message::Have { blob, add }),
        any::<(u32, u32, u32)>().prop_map(|(blob, first, count)| Message::Request { blob, first, count }),
        any::<(u32, u32)>().prop_map(|(blob, chunk)| Message::Decline {
            blob,
            chunk,
            why: RefusalReason::Busy
        }),
        any::<u64>().prop_map(Message::Ping),
        any::<([u8; 32], bool)>().prop_map(|(id, on)| Message::Seek { id: ContentId::from_bytes(id), on }),
        any::<[u8; 32]>().prop_map(|id| Message::HaveIt(ContentId::from_bytes(id))),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(blob, peer)| Message::Peers {
            blob,
            peers: vec![PeerAddrs { peer, addrs: vec![vec![1, 2]] }]
        }),
    ]
}

proptest! {
    #[test]
    fn reads_what_it_writes(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode().unwrap()), Ok(Some(message)));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn a_set_travels_in_any_form(chunks in 1_u32..3000, seed: u64, sparse: bool) {
        let mut bitmap = Bitmap::new(chunks);
        let mut x = seed | 1;
        for c in 0..chunks {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (x >> 60 == 0) == sparse { bitmap.set(c); }
        }
        prop_assert_eq!(Have::of(&bitmap).into_bitmap(chunks), Ok(bitmap));
    }
}

/// D4: bitfields that are too short, too long or have spare bits, and chunks that do not exist.
#[test]
fn d4_have_maps_that_do_not_fit_are_refused() {
    let bad = [
        Have::Bits(vec![0xff]),
        Have::Bits(vec![0xff, 0x03, 0]),
        Have::Bits(vec![0xff, 0x07]),
        Have::Bits(vec![]),
        Have::Runs(vec![(10, 1)]),
        Have::Runs(vec![(9, 2)]),
        Have::Runs(vec![(u32::MAX, u32::MAX)]),
        Have::Runs(vec![(0, 0)]),
        Have::Runs(vec![(3, 1), (2, 1)]),
        Have::Runs(vec![(0, 2), (2, 2)]),
    ];
    for have in bad {
        assert!(have.clone().into_bitmap(10).is_err(), "{have:?}");
    }
    assert!(Have::Bits(vec![0xff, 0x03]).into_bitmap(10).unwrap().is_full());
    // The largest `u64` where a chunk's number belongs: ten continuation bytes do not fit a `u32`.
    let mut frame = vec![5, 0, 1, 1];
    frame.extend([0xff; 9]);
    assert_eq!(Message::decode(&frame), Err(BadFrame::Body(5)));
}

/// D7: lengths are checked before anything is allocated.
#[test]
fn d7_lengths_are_checked_first() {
    assert_eq!(frame::control_len(u32::MAX.to_le_bytes()), Err(BadFrame::TooLong(u64::from(u32::MAX))));
    assert_eq!(
        frame::control_len((limits::CONTROL_FRAME as u32 + 1).to_le_bytes()),
        Err(BadFrame::TooLong(65_537))
    );
    assert_eq!(frame::control_len([0; 4]), Err(BadFrame::Empty));
    assert_eq!(frame::control_len((limits::CONTROL_FRAME as u32).to_le_bytes()), Ok(limits::CONTROL_FRAME));
    let header = |len| frame::DataHeader { blob: 1, chunk: 2, offset: 3, len }.encode();
    assert!(frame::DataHeader::decode(header(limits::DATA_FRAME as u32)).is_ok());
    assert!(frame::DataHeader::decode(header(limits::DATA_FRAME as u32 + 1)).is_err());
    assert!(frame::DataHeader::decode(header(0)).is_err());
    // Nothing is allocated for a list that claims more entries than its bytes could hold.
    assert_eq!(Message::decode(&[11, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(BadFrame::Body(11)));
}

#[test]
fn a_later_version_may_say_more() {
    assert_eq!(Message::decode(&[200, 1, 2, 3]), Ok(None));
    assert_eq!(Message::decode(&[]), Err(BadFrame::Empty));
    for message in [Message::Ping(1), Message::Renew, Message::Hello(hello()), Message::Absent { blob: 300 }]
    {
        let longer = [message.encode().unwrap(), vec![7; 40]].concat();
        assert_eq!(Message::decode(&longer), Ok(Some(message)), "bytes after the known fields");
    }
}

fn hello() -> Hello {
    Hello {
        version: VERSION,
        agent: "swarm/9".to_owned(),
        tcp: vec![4001],
        quic: Vec::new(),
        site: Some("berlin".to_owned()),
        relayed: Vec::new(),
        dht: Vec::new(),
    }
}

#[test]
fn of_a_hello_of_another_version_the_version_is_read_and_nothing_else() {
    for rest in [&[][..], &[0xff; 30], &[1, 2, 3]] {
        for (version, frame) in [(2, vec![0, 2]), (300, vec![0, 0xac, 2]), (0, vec![0, 0])] {
            let frame = [&frame[..], rest].concat();
            assert_eq!(Message::decode(&frame), Ok(Some(Message::OtherVersion(version))), "{frame:?}");
        }
    }
    assert_eq!(Message::decode(&[0, 1, 0xff, 0xff]), Err(BadFrame::Body(0)), "this version is known");
    assert_eq!(Message::decode(&[0]), Err(BadFrame::Body(0)));
}

#[test]
fn a_hello_of_many_ports_and_a_long_site_is_taken_without_the_rest() {
    let long = Hello {
        tcp: (1..=9).collect(),
        quic: (1..=300).collect(),
        site: Some("s".repeat(limits::SITE_BYTES + 1)),
        relayed: vec![vec![4; limits::ADDR_BYTES + 1], vec![5; 8], vec![6; 8], vec![7; 8]],
        dht: (1..=9).collect(),
        ..hello()
    };
    let Ok(Some(Message::Hello(taken))) = Message::decode(&Message::Hello(long).encode().unwrap()) else {
        panic!("it is no fault")
    };
    assert_eq!((taken.tcp.len(), taken.quic.len(), taken.dht.len()), (8, 8, limits::DHT_ADDRS));
    assert_eq!((taken.site, taken.relayed), (None, vec![vec![5; 8], vec![6; 8]]));
}

#[test]
fn topics_of_statements_travel_as_numbers_and_unknown_ones_are_skipped() {
    for (number, topic) in [(0, Topic::Expulsion), (1, Topic::Secret)] {
        let message = Message::Statement(Statement { topic, by: vec![7], statement: vec![8, 9] });
        let frame = [22, number, 1, 7, 2, 8, 9];
        assert_eq!(message.encode().unwrap(), frame);
        assert_eq!(Message::decode(&frame), Ok(Some(message)));
    }
    assert_eq!(Message::decode(&[22, 2, 1, 7, 2, 8, 9]), Ok(None), "a topic of a later version");
    assert_eq!(Message::decode(&[22, 2, 1, 7, 2, 8]), Err(BadFrame::Body(22)));
}
