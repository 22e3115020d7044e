//! Peers that take a connection and say nothing on it, end it at once, or speak another protocol.

use std::time::Duration;

use swarm_core::wire::Message;
use swarm_tests::fixture::{Home, PATIENCE, wait_until};
use swarm_tests::hostile::dht::Sybils;
use swarm_tests::hostile::{Hostile, Out};

use super::{Content, MIB};

/// A dialler sends its wants before the peer's first message, which saves a round trip. The peer has as much
/// time for that message as for a connection.
#[test]
fn what_is_wanted_is_said_before_the_peers_first_words() {
    let content = Content::new(MIB, 90);
    let silent = Hostile::listen(content.offerings(), |_, _| Vec::new());
    let victim = Home::new();
    let get = victim.spawn_get(&content.id(), &["-o", "out", "--peer", silent.addr()]);
    let wants = |message: &Message| matches!(message, Message::Want { id, .. } if *id == content.offering.id);
    wait_until("it says what it wants", PATIENCE, || silent.heard(wants) > 0);
    let heard = silent.logs().swap_remove(0).heard;
    let [Message::Hello(_), Message::Ping(_), Message::Begin { .. }, want] = &heard[..4] else {
        panic!("{heard:?}")
    };
    assert!(wants(want), "{heard:?}");
    // A peer that has sent `Hello` may be silent for longer.
    wait_until("the session ends", PATIENCE, || silent.was_closed());
    let log = silent.logs().swap_remove(0);
    let took = log.ended.expect("an end").duration_since(log.began);
    assert!(took <= Duration::from_secs(17), "let go after {took:?}");
    get.interrupt().sane();
}

/// A session that ends before the peer has said a word is a dial that failed.
#[test]
fn who_ends_every_session_at_once_is_dialled_ever_less_often() {
    let content = Content::new(MIB, 91);
    let rude = Hostile::listen(content.offerings(), |_, _| vec![Out::Hangup]);
    let victim = Home::new();
    let get = victim.spawn_get(&content.id(), &["-o", "out", "--peer", rude.addr()]);
    wait_until("it was dialled four times", PATIENCE, || rude.logs().len() >= 4);
    let logs = rude.logs();
    let took = logs[3].began.duration_since(logs[0].began);
    // Pauses of 0.5, 1 and 2 s, from which up to a quarter is taken.
    assert!(took >= Duration::from_millis(2500), "dialled four times in {took:?}");
    get.interrupt().sane();
}

#[test]
fn who_speaks_something_else_is_named_with_the_reason() {
    let content = Content::new(MIB, 92);
    let stranger = Sybils::start(&content.id(), 1, &[]);
    let named = stranger.addresses()[0].clone();
    let bare = named.split("/p2p/").next().expect("an address").to_owned();
    for addr in [named, bare] {
        let ran = Home::new().get(&content.id(), &["-o", "out", "--peer", &addr, "--timeout", "3s"]);
        ran.exits(3);
        assert!(ran.text().contains("the peer does not speak /swarm/chunk/1/"), "{addr}: {}", ran.text());
    }
}
