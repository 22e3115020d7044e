//! Peers of later versions, and peers that end a session in words: no ban, no endless dials, the reason is
//! named.

use swarm_core::wire::{Hello, Message};
use swarm_tests::fixture::{Home, PATIENCE, fill, wait_until};
use swarm_tests::hostile::bytes::framed;
use swarm_tests::hostile::{Hostile, Offering, Out, hello};

use super::banned;

/// A `Hello` of version 2, of which nothing but the version can be read.
fn later_hello() -> Out {
    Out::RawControl(framed(&[&[0, 2][..], &[0xff; 40]].concat()))
}

fn is_closing(message: &Message) -> bool {
    matches!(message, Message::Closing { reason } if reason.contains("version 2") && reason.contains("version 1"))
}

#[test]
fn a_peer_of_a_later_version_is_named_and_dialled_once_in_a_while() {
    let content = Offering::file(fill(100_000, 1));
    let id = content.id.to_string();
    let later =
        Hostile::listen(
            vec![content],
            |turn, _| {
                if turn.is_start() { vec![later_hello()] } else { Vec::new() }
            },
        );
    let bob = Home::new();
    let got = bob.run(["get", &id, "-o", "out", "--peer", later.addr(), "--timeout", "6s"]);
    got.exits(3);
    let said = "it speaks version 2 of the protocol and this node version 1";
    assert!(got.err.contains(said), "{}", got.err);
    assert_eq!(later.logs().len(), 1, "one dial in six seconds");
    assert_eq!(later.heard(is_closing), 1, "it hears why");
    assert_eq!(later.heard(|message| matches!(message, Message::Banned { .. })), 0);
    let daemon = bob.daemon(&["--peer", later.addr()]);
    wait_until("why names it", PATIENCE, || bob.run(["why", &id]).text().contains(said));
    assert!(bob.ask(&["status"])["notices"].to_string().contains(said));
    assert!(banned(&bob).is_empty());
    daemon.stop().success();
}

#[test]
fn a_caller_of_a_later_version_hears_why_and_is_named_and_not_banned() {
    let alice = Home::new();
    let seeder = alice.publish(&alice.file("a.bin", 100_000, 1));
    let words = [later_hello(), Out::RawControl(framed(&[12; 9])), Out::RawControl(framed(&[1, 2, 3]))];
    let later =
        Hostile::dial(
            seeder.addr(),
            Vec::new(),
            move |turn, _| {
                if turn.is_start() { words.to_vec() } else { Vec::new() }
            },
        );
    wait_until("it hears why", PATIENCE, || later.heard(is_closing) == 1);
    wait_until("it is let go", PATIENCE, || later.was_closed());
    assert!(banned(&alice).is_empty());
    let notices = alice.ask(&["status"])["notices"].to_string();
    assert!(
        notices.contains("it speaks version 2 of the protocol") && notices.contains(&later.peer()),
        "{notices}"
    );
    seeder.stop().success();
}

#[test]
fn a_peer_that_says_more_than_we_know_is_served() {
    let content = Offering::file(fill(100_000, 1));
    let alice = Home::new();
    std::fs::write(alice.path("a.bin"), fill(100_000, 1)).unwrap();
    let seeder = alice.publish(&alice.path("a.bin"));
    let Message::Hello(plain) = hello() else { panic!("a hello") };
    let many = Message::Hello(Hello { tcp: (1..=9).collect(), site: Some("s".repeat(65)), ..plain })
        .encode()
        .unwrap();
    let want = Message::Want { blob: 1, id: content.id }.encode().unwrap();
    let more = move |bytes: &[u8]| Out::RawControl(framed(&[bytes, &[0xff; 9]].concat()));
    let peer = Hostile::dial(seeder.addr(), Vec::new(), move |turn, _| {
        if turn.is_start() { vec![more(&many), more(&want)] } else { Vec::new() }
    });
    wait_until("it is offered the file", PATIENCE, || peer.heard(|m| matches!(m, Message::Offer(_))) == 1);
    assert!(banned(&alice).is_empty() && !peer.was_closed());
    seeder.stop().success();
}

#[test]
fn what_a_peer_says_at_the_end_of_a_session_is_shown() {
    let content = Offering::file(fill(100_000, 1));
    let id = content.id.to_string();
    let parting = Hostile::listen(vec![content], |turn, honest| match turn.wanted() {
        Some(_) => vec![Out::Control(Message::Closing { reason: "it is late\u{1b}[2J".to_owned() })],
        None => honest,
    });
    let bob = Home::new();
    let got = bob.run(["get", &id, "-o", "out", "--peer", parting.addr(), "--timeout", "4s"]);
    got.exits(3);
    assert!(got.err.contains("it ended the session, because \"it is late"), "{}", got.err);
    assert!(!got.err.contains('\u{1b}'), "{}", got.err);
    assert_eq!(parting.logs().len(), 1, "it is left alone for a while");
}

#[test]
fn a_flood_of_complaints_is_one_line_of_the_log_and_ends_the_session() {
    let alice = Home::new();
    let file = alice.file("a.bin", 100_000, 1);
    let seeder = alice.publish_with(&file, &["-v"]);
    let peer = Hostile::dial(seeder.addr(), Vec::new(), |turn, mut honest| {
        if turn.is_start() {
            honest.push(Out::Flood(
                |n| framed(&Message::Bad { blob: 1, chunk: n as u32 }.encode().unwrap()),
                10_000,
            ));
        }
        honest
    });
    wait_until("the peer is let go", PATIENCE, || peer.was_closed());
    assert!(banned(&alice).contains_key(&peer.peer()));
    let ran = seeder.stop();
    let lines: Vec<&str> = ran.err.lines().filter(|line| line.contains("did not verify")).collect();
    assert!(lines.len() == 1 && lines[0].contains("count=9"), "{lines:?}");
}
