//! The local network: nodes with IPv6 alone, and a host there that forges answers.
// Figures for those who run a test by itself with --nocapture.
#![allow(clippy::print_stdout)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use swarm_tests::fixture::{Home, Lan, MIB, PATIENCE, Process, Seeder, b3, wait_until};
use swarm_tests::hostile::multicast::{forged, say, speaker};

use super::path;

const FORGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

fn publish(lan: &Lan, host: u8, home: &Home, file: &std::path::Path) -> Seeder {
    Seeder::start(lan.on(host, &home.bare_command(["publish", path(file), "--link"])))
}

fn get(lan: &Lan, host: u8, home: &Home, id: &str) -> Process {
    let args = ["--json", "get", id, "-o", "out", "--timeout", "40s"];
    Process::spawn(lan.on(host, &home.bare_command(args)))
}

/// Says how long a command took.
fn timed(process: Process) -> Duration {
    let start = Instant::now();
    process.wait_within(PATIENCE).success();
    start.elapsed()
}

/// F9: nothing but an id is needed where there is no IPv4.
#[test]
fn a_network_with_ipv6_alone_needs_nothing_but_an_id() {
    let lan = Lan::v6(2);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 3 * MIB, 30);
    let seeder = publish(&lan, 1, &left, &file);
    let took = timed(get(&lan, 2, &right, seeder.id()));
    println!("by IPv6: {took:?}");
    assert_eq!(b3(&right.path("out")), b3(&file));
}

/// F9: nor where there are link-local addresses alone.
#[test]
fn link_local_addresses_are_enough() {
    let lan = Lan::link_local(2);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 3 * MIB, 31);
    let seeder = publish(&lan, 1, &left, &file);
    let took = timed(get(&lan, 2, &right, seeder.id()));
    println!("by link-local addresses: {took:?}");
    assert_eq!(b3(&right.path("out")), b3(&file));
}

/// Ends a flood when it is dropped, also when a condition was not met.
struct EndsFlood<'a>(&'a AtomicBool);

impl Drop for EndsFlood<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A1: forged answers without end, each of other peers and for 68 years.
#[test]
fn a1_a_flood_of_forged_answers_costs_neither_time_nor_memory() {
    let lan = Lan::new(3);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 3 * MIB, 32);
    let seeder = publish(&lan, 1, &left, &file);
    let before = seeder.memory_kib("VmRSS").unwrap();
    let (ends, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let socket = lan.inside(3, || speaker(FORGER));
    let (took, after) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut port = 0_u16;
            while !ends.load(Ordering::Relaxed) {
                let addrs: Vec<String> = (0..8)
                    .map(|_| {
                        port = port.wrapping_add(1);
                        format!("/ip4/{FORGER}/tcp/{}", port.max(1))
                    })
                    .collect();
                let packet = forged(&addrs, false);
                say(&socket, &packet);
                sent.fetch_add(packet.len(), Ordering::Relaxed);
                // Some 1.5 MB a second.
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        let ended = EndsFlood(&ends);
        wait_until("enough is forged", PATIENCE, || sent.load(Ordering::Relaxed) > 4_000_000);
        let took = timed(get(&lan, 2, &right, seeder.id()));
        drop(ended);
        (took, seeder.memory_kib("VmRSS").unwrap())
    });
    let sent = sent.load(Ordering::Relaxed);
    println!("{sent} bytes forged; get {took:?}; {before} -> {after} KiB");
    assert_eq!(b3(&right.path("out")), b3(&file));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(after < before + 12 * 1024, "{before} -> {after} KiB");
}

/// A3: forged answers once, to a node that waits; a publisher that starts afterwards is found.
#[test]
fn a3_a_publisher_is_found_after_forged_answers() {
    let lan = Lan::new(3);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 3 * MIB, 33);
    let waiting = get(&lan, 2, &right, &b3(&file));
    waiting.wait_for_event("searching");
    let socket = lan.inside(3, || speaker(FORGER));
    for port in 1..=600 {
        say(&socket, &forged(&[format!("/ip4/{FORGER}/tcp/{port}")], false));
        std::thread::sleep(Duration::from_millis(5));
    }
    let seeder = publish(&lan, 1, &left, &file);
    let took = timed(waiting);
    println!("found after {took:?}");
    assert_eq!(b3(&right.path("out")), b3(&file));
    drop(seeder);
}

/// A listener in the network of this thread that counts who connects.
struct Counter(TcpListener);

impl Counter {
    fn new(at: &str) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn addr(&self) -> String {
        let at = self.0.local_addr().unwrap();
        format!("/ip4/{}/tcp/{}", at.ip(), at.port())
    }

    fn count(&self) -> usize {
        std::iter::from_fn(|| self.0.accept().ok()).count()
    }
}

/// A6: an answer leads to whoever sent it, never to a third host or to the machine that hears it. I6: the
/// addresses may stand in either section.
#[test]
fn a6_an_answer_leads_to_its_sender_only() {
    let lan = Lan::new(4);
    let right = Home::new();
    let id = "c".repeat(64);
    let waiting = get(&lan, 2, &right, &id);
    let own = lan.inside(3, || Counter::new("10.77.0.3"));
    let third = lan.inside(4, || Counter::new("10.77.0.4"));
    let (loopback, itself) = lan.inside(2, || (Counter::new("127.0.0.1"), Counter::new("10.77.0.2")));
    let socket = lan.inside(3, || speaker(FORGER));
    let (mut came, mut said) = (0, 0);
    wait_until("the sender is called", PATIENCE, || {
        for addr in [&third, &loopback, &itself].map(Counter::addr) {
            (0..20).for_each(|_| say(&socket, &forged(std::slice::from_ref(&addr), said % 2 == 0)));
        }
        say(&socket, &forged(&[third.addr(), own.addr(), loopback.addr()], true));
        said += 1;
        came += own.count();
        came > 0
    });
    // By the time of a further call, all addresses of the first answers have had their turn.
    let first = came;
    wait_until("the sender is called again", PATIENCE, || {
        came += own.count();
        came > first
    });
    println!("{came} connections to the sender after {said} answers");
    assert_eq!((third.count(), loopback.count(), itself.count()), (0, 0, 0));
    drop(waiting);
}
