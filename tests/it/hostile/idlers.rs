//! Peers that take places of an uplink and use none of them.

use std::time::Duration;

use swarm_core::wire::{Have, Message};
use swarm_tests::fixture::{PATIENCE, wait_until};
use swarm_tests::hostile::bytes::control;
use swarm_tests::hostile::{Hostile, Out, Turn};

use super::{Content, MIB, SLACK, timed_get};

/// The number by which all of them name the blob.
const BLOB: u32 = 1;

fn nothing() -> Have {
    Have::Runs(Vec::new())
}

/// A change of mind about all chunks.
fn whims(number: u64) -> Vec<u8> {
    let (add, drop) = if number.is_multiple_of(2) { (nothing(), Have::All) } else { (Have::All, nothing()) };
    control(&Message::Need { blob: BLOB, add, drop })
}

/// Says that it wants the content, and then what `say` adds once it is offered. It answers nothing else.
fn idler(content: &Content, addr: &str, say: fn() -> Vec<Out>) -> Hostile {
    let id = content.offering.id;
    Hostile::dial(addr, Vec::new(), move |turn: &Turn<'_>, mut honest| {
        match turn.heard {
            None => honest.push(Out::Control(Message::Want { blob: BLOB, id })),
            Some(Message::Offer(_)) => honest.extend(say()),
            _ => {}
        }
        honest
    })
}

fn needs_all() -> Vec<Out> {
    vec![Out::Control(Message::Need { blob: BLOB, add: Have::All, drop: nothing() })]
}

fn floods() -> Vec<Out> {
    [needs_all(), vec![Out::Flood(whims, 1_000_000)]].concat()
}

/// Seven of them, as many as one host may have beside the getter, must not slow a download down.
fn must_not_slow_a_get(seed: u64, say: fn() -> Vec<Out>) {
    let content = Content::new(32 * MIB, seed);
    let seeder = content.publish(&[]);
    let alone = timed_get(&content.id(), &[seeder.addr()]);
    let idlers: Vec<Hostile> = (0..7).map(|_| idler(&content, seeder.addr(), say)).collect();
    let is_grant = |message: &Message| matches!(message, Message::Grant { .. });
    wait_until("all were offered places", PATIENCE, || idlers.iter().all(|idler| idler.heard(is_grant) > 0));
    let took = timed_get(&content.id(), &[seeder.addr()]);
    let most = alone + SLACK + Duration::from_secs(2);
    assert!(took <= most, "{took:?} in place of {alone:?}");
    assert!(idlers.iter().all(|idler| !idler.was_closed()), "they were there all the time");
    seeder.stop().success();
}

#[test]
fn takers_that_answer_no_grant_do_not_slow_a_get() {
    must_not_slow_a_get(60, needs_all);
}

#[test]
fn takers_that_flood_with_needs_do_not_slow_a_get() {
    must_not_slow_a_get(61, floods);
}
