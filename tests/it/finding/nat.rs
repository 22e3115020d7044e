//! Nodes behind address translation: found, and reached directly or through a relay.

use std::process::Command;
use std::time::Duration;

use swarm_tests::fixture::{
    Home, Internet, MIB, Nat, PATIENCE, Process, Seeder, Signal, Site, Tracker, b3, wait_until,
};

use super::{get, path, publish};

/// A tracker on the internet that is reached by QUIC, a holder on the internet, and a getter behind address
/// translation.
#[test]
fn from_behind_nat_what_is_public_is_found() {
    let net = Internet::new(&[Site::public(1), Site::public(1), Site::nat(Nat::Symmetric, 1)]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &[])));
    let at = tracker.address(&format!("/ip4/{}/udp", net.address(1, 1)));
    let file = homes[1].file("update", 5 * MIB, 4);
    let seeder = publish(&net, (2, 1), &homes[1], &file, at);
    get(&net, (3, 1), &homes[2], seeder.id(), at).wait_within(Duration::from_secs(60)).success();
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}

/// Two homes whose routers let no connection in, and a tracker on the internet: through it they find a direct
/// way.
#[test]
fn two_homes_exchange_a_file_directly() {
    let net = Internet::new(&[
        Site::public(1),
        Site::nat(Nat::PortRestricted, 1),
        Site::nat(Nat::PortRestricted, 1),
    ]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &[])));
    let at = tracker.address(&format!("/ip4/{}/tcp", net.address(1, 1)));
    let file = homes[1].file("film", 64 * MIB, 8);
    let seeder = publish(&net, (2, 1), &homes[1], &file, at);
    get(&net, (3, 1), &homes[2], seeder.id(), at).wait_within(Duration::from_secs(60)).success();
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}

/// Three sites, each behind its own router, and one tracker: all nodes find and fetch the file. The tracker
/// is killed half-way, and no download stops.
#[test]
fn three_sites_behind_nat_need_one_tracker_and_no_longer_once_they_met() {
    let home = Site::nat(Nat::PortRestricted, 2);
    let net = Internet::new(&[Site::public(1), home, home, home]);
    let homes: Vec<Home> = (0..6).map(|_| Home::new()).collect();
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &[])));
    let at = tracker.address(&format!("/ip4/{}/tcp", net.address(1, 1))).to_owned();
    let file = homes[1].file("update", 24 * MIB, 9);
    let seeder = publish(&net, (2, 1), &homes[1], &file, &at);
    let hosts = [(2, 2), (3, 1), (3, 2), (4, 1)];
    let getters: Vec<Process> = hosts
        .iter()
        .zip(&homes[2..])
        .map(|((site, host), home)| {
            let args = [
                "--json",
                "get",
                seeder.id(),
                "-o",
                "out",
                "--tracker",
                &at,
                "--seed",
                "--limit-down",
                "4MB",
            ];
            Process::spawn(net.on(*site, *host, &home.bare_command(args)))
        })
        .collect();
    getters.iter().for_each(|getter| drop(getter.wait_for_progress(2_000_000)));
    tracker.kill();
    for (getter, home) in getters.iter().zip(&homes[2..]) {
        getter.wait_for_event("done");
        assert_eq!(b3(&home.path("out")), b3(&file));
    }
}

/// Symmetric NAT on both sides, which leaves no direct way: content goes through a relay only if both its
/// owner and the getter allow it.
#[test]
fn content_goes_through_a_relay_only_when_that_is_wanted() {
    let home = Site::nat(Nat::Symmetric, 1);
    let net = Internet::new(&[Site::public(1), home, home]);
    let homes = [Home::new(), Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &["--relay-content"])));
    let at = tracker.address(&format!("/ip4/{}/tcp", net.address(1, 1)));
    let file = homes[1].file("film", 2 * MIB, 10);
    let args = ["publish", path(&file), "--link", "--tracker", at, "--allow-relayed"];
    let seeder = Seeder::start(net.on(2, 1, &homes[1].bare_command(args)));
    let args = ["--json", "get", seeder.id(), "-o", "out", "--tracker", at, "--timeout", "12s"];
    Process::spawn(net.on(3, 1, &homes[2].bare_command(args))).wait().exits(3);
    let args = [&args[..8], &["40s", "--allow-relayed"]].concat();
    Process::spawn(net.on(3, 1, &homes[3].bare_command(args))).wait_within(Duration::from_secs(60)).success();
    assert_eq!(b3(&homes[3].path("out")), b3(&file));
}

/// A daemon that is a relay, and a link that leads through it, in place of a tracker.
#[test]
fn a_relay_and_a_link_do_without_a_tracker() {
    let home = Site::nat(Nat::PortRestricted, 1);
    let net = Internet::new(&[Site::public(1), home, home]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let args =
        ["daemon", "--relay-server", "--listen", "/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/udp/4001/quic-v1"];
    let daemon = Process::spawn(net.on(1, 1, &homes[0].bare_command(args)));
    let mut relay = String::new();
    wait_until("the relay runs", PATIENCE, || {
        let text = daemon.err();
        let peer = text.split_whitespace().nth(1).unwrap_or_default();
        relay = format!("/ip4/{}/tcp/4001/p2p/{peer}", net.address(1, 1));
        text.contains("runs for") && text.contains("/tcp/4001")
    });
    let file = homes[1].file("film", 8 * MIB, 14);
    let args = ["publish", path(&file), "--link", "--relay", &relay];
    let seeder = Seeder::start(net.on(2, 1, &homes[1].bare_command(args)));
    assert!(seeder.link().contains("p2p-circuit"), "{}", seeder.link());
    let args = ["--json", "get", seeder.link(), "-o", "out", "--timeout", "50s"];
    Process::spawn(net.on(3, 1, &homes[2].bare_command(args))).wait_within(Duration::from_secs(70)).success();
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}

/// A router opens a port when it is asked: no node needs a relay then, and the port is closed at the end.
#[test]
fn a_router_that_is_asked_lets_others_in() {
    let net = Internet::new(&[Site::nat(Nat::Symmetric, 1).with_upnp(), Site::nat(Nat::Symmetric, 1)]);
    let homes = [Home::new(), Home::new()];
    let lets_in = || {
        let mut nft = Command::new("nft");
        nft.env("PATH", std::env::var_os("PATH").unwrap());
        nft.args(["list", "chain", "inet", "router", "lead_in"]);
        Process::spawn(net.on_router(1, &nft)).wait().success().text().contains("dnat")
    };
    let file = homes[0].file("film", 4 * MIB, 21);
    let daemon = Process::spawn(net.on(1, 1, &homes[0].bare_command(["daemon", "--upnp"])));
    let at = format!("directly, at /ip4/{}/", net.outside(1));
    wait_until("it is let in", PATIENCE, || {
        daemon.must_run();
        daemon.err().contains("runs for")
            && homes[0].ask(&["status"])["reached"].as_str().is_some_and(|how| how.starts_with(&at))
    });
    assert_eq!(homes[0].ask(&["status"])["router"], format!("lets others in at {}", net.outside(1)));
    let ran = homes[0].run(["publish", "--link", path(&file)]);
    let link = ran.success().text();
    let outside = format!("peer=/ip4/{}/tcp/", net.outside(1));
    assert!(link.contains(&outside), "{link}");
    assert!(lets_in());
    let get = homes[1].bare_command(["--json", "get", &link, "-o", "out", "--timeout", "40s"]);
    Process::spawn(net.on(2, 1, &get)).wait_within(PATIENCE).success();
    assert_eq!(b3(&homes[1].path("out")), b3(&file));
    // A router that does not answer is reported as such.
    let alone = Process::spawn(net.on(2, 1, &homes[1].bare_command(["daemon", "--upnp"])));
    wait_until("its router was asked", PATIENCE, || {
        alone.err().contains("runs for")
            && homes[1].ask(&["status"])["router"]
                .as_str()
                .is_some_and(|says| says.contains("does not answer"))
    });
    daemon.interrupt().exits(0);
    assert!(!lets_in(), "it was given back");
}

/// D43 across address translation: the getter's line is cut for longer than its router remembers connections,
/// and later its node is suspended. Both times the download goes on by itself, and no chunk is fetched twice.
#[test]
fn d43_a_home_that_was_cut_off_goes_on() {
    let home = Site::nat(Nat::PortRestricted, 1);
    let net = Internet::new(&[Site::public(1), home, home]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &[])));
    let at = tracker.address(&format!("/ip4/{}/tcp", net.address(1, 1)));
    let file = homes[1].file("film", 40 * MIB, 22);
    let seeder = publish(&net, (2, 1), &homes[1], &file, at);
    let args = ["--json", "get", seeder.id(), "-o", "out", "--tracker", at, "--limit-down", "3MB"];
    let getter = Process::spawn(net.on(3, 1, &homes[2].bare_command(args)));
    let done = || getter.events().iter().rev().find_map(|e| e["done"].as_u64()).unwrap_or(0);
    let goes_on = || {
        let before = done();
        wait_until("it goes on", PATIENCE, || done() > before + 2_000_000);
    };
    getter.wait_for_progress(4_000_000);
    net.uplink(3, false);
    let before = done();
    wait_until("nothing comes any longer, and its session has ended", PATIENCE, || {
        homes[2].ask(&["status"])["peers"] == 0
    });
    assert!(done() < before + 8_000_000);
    net.uplink(3, true);
    goes_on();
    getter.signal(Signal::STOP);
    wait_until("the seeder has given it up", PATIENCE, || homes[1].ask(&["status"])["peers"] == 0);
    getter.signal(Signal::CONT);
    goes_on();
    getter.wait_for_event("done");
    let fetched = getter.wait().success().fetched();
    assert!(fetched <= 40 * MIB, "{fetched}");
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}
