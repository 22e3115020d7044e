//! Floods of messages, and addresses that do not belong to peers.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use libp2p::identity::Keypair;
use libp2p::multiaddr::{Multiaddr, Protocol};
use swarm_core::content::kind::ContentKind;
use swarm_core::id::ContentId;
use swarm_core::limits;
use swarm_core::wire::{Have, Message, Offer, PeerAddrs, RefusalReason};
use swarm_tests::fixture::{PATIENCE, wait_until};
use swarm_tests::hostile::bytes::{control, framed, varint};
use swarm_tests::hostile::{Hostile, Out};

use super::{Content, GROWTH, MEMORY, MIB, Victim, peak, timed_get};

/// Count of messages in a flood.
const MANY: u64 = 10_000;

/// Runs of one chunk each, as many as a frame holds: the form that takes most room when read.
fn ragged() -> Vec<(u32, u32)> {
    (0..20).map(|n| (n * 3, 1)).collect()
}

/// A message of 60 KiB for a blob that nobody wants.
fn large_have(_: u64) -> Vec<u8> {
    let runs = 30_000;
    framed(&[vec![5], varint(9999), vec![1], varint(runs), vec![1; runs as usize * 2]].concat())
}

fn offers(number: u64) -> Vec<u8> {
    let (blob, name) = (number as u32, Some("x".repeat(255)));
    let (kind, len, have) = (ContentKind::File, 1 << 40, Have::Runs(ragged()));
    control(&Message::Offer(Offer { blob, kind, len, name, origin: true, have }))
}

fn haves(number: u64) -> Vec<u8> {
    control(&Message::Have { blob: number as u32, add: Have::Runs(ragged()) })
}

fn id(number: u64) -> ContentId {
    blake3::hash(&number.to_le_bytes()).into()
}

fn wants(number: u64) -> Vec<u8> {
    control(&Message::Want { blob: number as u32, id: id(number) })
}

/// Messages that want a blob and no longer want it: few wants are open at a time, and always others.
fn whims(number: u64) -> Vec<u8> {
    let blob = number as u32;
    [control(&Message::Want { blob, id: id(number) }), control(&Message::Unwant { blob })].concat()
}

fn pings(number: u64) -> Vec<u8> {
    control(&Message::Ping(number))
}

fn requests(number: u64) -> Vec<u8> {
    control(&Message::Request { blob: number as u32, first: u32::MAX - 1, count: u32::MAX })
}

fn lists(number: u64) -> Vec<u8> {
    control(&Message::List { blob: number as u32 })
}

fn declines(number: u64) -> Vec<u8> {
    control(&Message::Decline { blob: 1, chunk: number as u32 % 16, why: RefusalReason::Busy })
}

fn strangers(number: u64) -> Vec<u8> {
    control(&Message::Peers { blob: number as u32, peers: (0..20).map(|_| named(1, 9)).collect() })
}

/// A message of a later version's kind, as large as a frame allows.
fn unknown(_: u64) -> Vec<u8> {
    framed(&vec![200; limits::CONTROL_FRAME])
}

/// A peer that does not exist, at this address.
fn named(host: u16, port: u16) -> PeerAddrs {
    let [a, b] = host.to_be_bytes();
    let addr = Multiaddr::empty().with(Protocol::Ip4([127, 1, a, b].into())).with(Protocol::Tcp(port));
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    PeerAddrs { peer: peer.to_bytes(), addrs: vec![addr.to_vec()] }
}

/// Sends `Hello` and then only these messages. It reads the answers, or does not.
fn flooding(addr: &str, what: fn(u64) -> Vec<u8>, times: u64, deaf: bool) -> Hostile {
    Hostile::dial(addr, Vec::new(), move |turn, mut honest| {
        if turn.is_start() {
            honest.push(Out::Flood(what, times));
            honest.extend(deaf.then_some(Out::Deaf));
        }
        honest
    })
}

#[test]
fn floods_of_messages_cost_bounded_memory_and_hold_nobody_up() {
    let content = Content::new(MIB, 70);
    let seeder = content.publish(&[]);
    let before = peak(&seeder);
    // Name, the n-th frame, how many, and whether they end the session.
    type Flood = (&'static str, fn(u64) -> Vec<u8>, u64, bool);
    let floods: [Flood; 12] = [
        ("offers", offers, MANY, false),
        ("haves", haves, MANY, false),
        ("large haves", large_have, 500, false),
        ("wants", wants, MANY, false),
        ("whims", whims, MANY, false),
        ("pings", pings, MANY, false),
        ("pings to the deaf", pings, 10 * MANY, true),
        ("requests", requests, MANY, false),
        ("lists", lists, MANY, true),
        ("declines", declines, MANY, false),
        ("peers", strangers, 500, false),
        ("unknown", unknown, 500, false),
    ];
    let hostile = floods.map(|(what, next, times, deaf)| (what, flooding(seeder.addr(), next, times, deaf)));
    for (what, peer) in &hostile {
        wait_until(what, PATIENCE, || {
            peer.logs().first().is_some_and(|log| log.ended.is_some() || log.flooded)
        });
    }
    timed_get(&content.id(), &[seeder.addr()]);
    let after = peak(&seeder);
    assert!(after <= MEMORY && after - before <= GROWTH, "{before} KiB, then {after} KiB");
    seeder.stop().success();
}

/// Floods against a node that wants a blob, so that offers and have-maps refer to one.
#[test]
fn floods_about_what_is_wanted_cost_bounded_memory() {
    let content = Content::new(4 * MIB, 71);
    let hostile = [
        Hostile::listen(content.offerings(), |turn, mut honest| {
            let again = turn.wanted().and_then(|_| honest.last().cloned());
            honest.extend(again.into_iter().flat_map(|offer| vec![offer; 2000]));
            honest
        }),
        Hostile::listen(content.offerings(), |turn, mut honest| {
            let add = || Have::Runs((0..32).map(|n| (n * 2, 1)).collect());
            honest.extend(
                turn.wanted()
                    .into_iter()
                    .flat_map(|blob| vec![Out::Control(Message::Have { blob, add: add() }); 5000]),
            );
            honest
        }),
        Hostile::listen(content.offerings(), |turn, mut honest| {
            let offer = honest.last().cloned();
            honest.extend(turn.wanted().into_iter().flat_map(|blob| {
                let gone = Out::Control(Message::Gone { blob });
                vec![[Some(gone), offer.clone()]; 1000].into_iter().flatten().flatten()
            }));
            honest
        }),
        Hostile::listen(content.offerings(), |turn, honest| match turn.heard {
            Some(Message::Request { blob, first, count }) => {
                let decline = |chunk| {
                    Out::Control(Message::Decline { blob: *blob, chunk, why: RefusalReason::Missing })
                };
                (*first..first + count).flat_map(|chunk| vec![decline(chunk); 50]).collect()
            }
            _ => honest,
        }),
    ];
    let victim = Victim::knowing(&hostile);
    let get = victim.get(&content.id());
    wait_until("all have said it", PATIENCE, || hostile.iter().all(|peer| !peer.logs().is_empty()));
    victim.is_saved(get, &content);
    victim.ends_well();
}

/// Counts the connections that come to a listener, until none has come for a while.
fn callers(listener: &TcpListener) -> usize {
    listener.set_nonblocking(true).expect("a socket's mode is set");
    let (mut kept, mut last) = (Vec::new(), Instant::now());
    while last.elapsed() < Duration::from_secs(3) {
        match listener.accept() {
            Ok((socket, _)) => {
                kept.push(socket);
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(error) => panic!("{error}"),
        }
    }
    kept.len()
}

/// A peer that knows a thousand others, all of them at the same port of these hosts.
fn gossip(hosts: fn(u16) -> u16, port: u16) -> Hostile {
    Hostile::listen(Vec::new(), move |turn, mut honest| {
        let batch = |number: u16| (0..20).map(|n| named(hosts(number * 20 + n), port)).collect();
        honest.extend(turn.wanted().into_iter().flat_map(|blob| {
            (0..50).map(move |number| Out::Control(Message::Peers { blob, peers: batch(number) }))
        }));
        honest
    })
}

fn dials(hosts: fn(u16) -> u16) -> usize {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let hostile = gossip(hosts, port);
    let victim = Victim::knowing([&hostile]);
    let get = victim.get(&id(1).to_string());
    let came = callers(&listener);
    drop(get);
    victim.ends_well();
    came
}

#[test]
fn a_thousand_named_addresses_cause_twenty_dials() {
    let came = dials(|number| number);
    assert!((1..=limits::DIALS_PER_SOURCE).contains(&came), "{came} dials");
}

#[test]
fn a_thousand_peers_named_at_one_address_cause_two_dials() {
    let came = dials(|_| 1);
    assert!((1..=limits::DIALS_PER_ADDR).contains(&came), "{came} dials");
}
