//! Frames that are too long, streams that are too many, and multiplexing that breaks its rules.

use std::time::Duration;

use swarm_core::wire::frame::DataHeader;
use swarm_core::wire::{Hello, Message};
use swarm_tests::fixture::{PATIENCE, wait_until};
use swarm_tests::hostile::raw::{Frame, Kind, Plan, RST, SYN, Seen, attack};
use swarm_tests::hostile::{Hostile, Out, hello};

use super::{Content, GROWTH, MIB, PROMPT, banned, peak, timed_get};

/// Sends `Hello`, and then these bytes.
fn saying(addr: &str, words: Vec<Out>) -> Hostile {
    Hostile::dial(addr, Vec::new(), move |turn, mut honest| {
        if turn.is_start() {
            honest.extend(words.clone());
        }
        honest
    })
}

#[test]
fn d7_frames_over_the_limit_end_the_session_at_once() {
    let content = Content::new(MIB, 7);
    let seeder = content.publish(&[]);
    let trickle = || Out::Trickle(vec![0; 100], Duration::from_millis(100));
    let data = |len| Out::RawData(DataHeader { blob: 1, chunk: 0, offset: 0, len }.encode().to_vec());
    let before = peak(&seeder);
    let hostile = [
        ("control of 4 GiB", vec![Out::RawControl(vec![0xff; 4]), trickle()]),
        ("control of 64 KiB + 1", vec![Out::RawControl((65_537_u32).to_le_bytes().to_vec()), trickle()]),
        ("all of it", vec![Out::RawControl([&(65_537_u32).to_le_bytes()[..], &[12; 65_537]].concat())]),
        ("data of 4 GiB", vec![data(u32::MAX)]),
        ("data of 64 KiB + 1", vec![data(65_537)]),
    ];
    let hostile = hostile.map(|(what, words)| (what, saying(seeder.addr(), words)));
    for (what, peer) in &hostile {
        wait_until(what, PATIENCE, || peer.was_closed());
        let after = peer.logs().first().and_then(|log| log.closed_after_raw());
        assert!(after.is_some_and(|after| after <= PROMPT), "{what}: closed after {after:?}");
    }
    let grown = peak(&seeder).saturating_sub(before);
    assert!(grown <= 16 << 10, "{grown} KiB of memory for five frames");
    timed_get(&content.id(), &[seeder.addr()]);
    seeder.stop().success();
}

#[test]
fn sessions_that_begin_wrongly_end_at_once() {
    let content = Content::new(MIB, 77);
    let seeder = content.publish(&[]);
    let want = || Message::Want { blob: 1, id: content.offering.id };
    let from_the_future = match hello() {
        Message::Hello(hello) => Message::Hello(Hello { version: 2, ..hello }),
        other => other,
    };
    let words = [
        ("wants before hello", vec![want(), hello()]),
        ("two hellos", vec![hello(), hello()]),
        ("another version", vec![from_the_future]),
        ("one number twice", vec![hello(), want(), want()]),
    ];
    for (what, words) in words {
        let peer = Hostile::dial(seeder.addr(), Vec::new(), move |turn, _| {
            let said = if turn.is_start() { words.clone() } else { Vec::new() };
            said.into_iter().map(Out::Control).collect()
        });
        wait_until(what, PATIENCE, || peer.was_closed());
        let after = peer.logs().first().and_then(|log| log.closed_after_last());
        assert!(after.is_some_and(|after| after <= PROMPT), "{what}: closed after {after:?}");
    }
    let bans = banned(&content.home);
    assert_eq!(bans.len(), 3, "who speaks another version is no enemy: {bans:?}");
    seeder.stop().success();
}

/// Numbers that a dialler gives its streams.
fn odd(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number * 2 + 1)
}

#[test]
fn d8_a_thousand_streams_on_one_connection() {
    let content = Content::new(4 * MIB, 8);
    let seeder = content.publish(&["--limit-up", "2M"]);
    let streams = odd(1000).flat_map(|id| Frame::new(Kind::WindowUpdate, SYN, id, 0).encode()).collect();
    let addr = seeder.addr().to_owned();
    let attacker = std::thread::spawn(move || {
        attack(&addr, Plan { bytes: streams, times: 1, reads: true, stay: Duration::from_secs(1) })
    });
    // One that was there before goes on.
    let took = timed_get(&content.id(), &[seeder.addr()]);
    let seen = attacker.join().expect("the attack ends");
    assert!(took <= Duration::from_secs(5), "{took:?}");
    let refused = seen.frames.iter().filter(|frame| frame.flags & RST != 0 && frame.stream != 0).count();
    assert!(refused >= 936 || seen.closed.is_some(), "{refused} refused: {seen:?}");
    seeder.stop().success();
}

#[test]
fn d10_yamux_frames_that_crashed_others() {
    let content = Content::new(MIB, 10);
    let seeder = content.publish(&[]);
    let before = peak(&seeder);
    let open = Frame::new(Kind::WindowUpdate, SYN, 1, 0).encode();
    let with =
        |frames: &[Frame]| [&open[..], &frames.iter().flat_map(|f| f.encode()).collect::<Vec<_>>()].concat();
    let data = |flags, stream, length| Frame::new(Kind::Data, flags, stream, length);
    let vectors = [
        ("CVE-2026-32314: data beyond the window, with SYN", data(SYN, 1, 262_145).encode()),
        ("the same with its bytes", [data(SYN, 1, 262_145).encode(), vec![0; 262_145]].concat()),
        ("data of 4 GiB", data(SYN, 1, u32::MAX).encode()),
        (
            "CVE-2026-31814: credit that overflows",
            with(&[Frame::new(Kind::WindowUpdate, 0, 1, 0xffff_0000); 3]),
        ),
        ("credit at once", Frame::new(Kind::WindowUpdate, SYN, 1, 0xffff_0000).encode()),
        ("a stream twice", with(&[Frame::new(Kind::WindowUpdate, SYN, 1, 0)])),
        ("our own number", Frame::new(Kind::WindowUpdate, SYN, 2, 0).encode()),
        ("the connection as a stream", data(SYN, 0, 1).encode()),
        ("all flags", with(&[data(0xffff, 1, 0)])),
        ("a kind that does not exist", Frame { kind: 9, flags: 0, stream: 1, length: 8 }.encode()),
        ("another version", [vec![7], data(SYN, 1, 0).encode()[1..].to_vec()].concat()),
        ("goes away", Frame::new(Kind::GoAway, 0, 0, 0).encode()),
        ("nothing but zeros", vec![0; 4096]),
    ];
    for (what, bytes) in vectors {
        let _ =
            attack(seeder.addr(), Plan { bytes, times: 1, reads: true, stay: Duration::from_millis(100) });
        assert!(!seeder.has_ended(), "{what}");
    }
    let deaf = |frame: Frame| -> Seen {
        let bytes = frame.encode().repeat(5000);
        attack(seeder.addr(), Plan { bytes, times: 1000, reads: false, stay: Duration::from_secs(1) })
    };
    for frame in [Frame::new(Kind::Ping, SYN, 0, 7), Frame::new(Kind::WindowUpdate, SYN, 1, 0)] {
        let seen = deaf(frame);
        let stopped = seen.closed.is_some() || seen.written < 60_000_000;
        assert!(stopped, "it reads {} bytes from one that reads nothing", seen.written);
    }
    let grown = peak(&seeder).saturating_sub(before);
    assert!(grown <= GROWTH, "{grown} KiB of memory");
    timed_get(&content.id(), &[seeder.addr()]);
    seeder.stop().success();
}
