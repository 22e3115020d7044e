//! Nodes that no multicast joins find each other all the same.

mod neighbours;

use std::process::Command;
use std::time::Duration;

use swarm_tests::fixture::{
    Home, Internet, MIB, Nat, PATIENCE, Process, Seeder, Signal, Site, Tracker, b3, wait_until,
};

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// What a page of the tracker shows.
fn page(tracker: &Tracker, path: &str) -> String {
    let url = format!("{}{path}", tracker.page());
    let ran =
        std::process::Command::new("curl").args(["--silent", "--max-time", "10", &url]).output().unwrap();
    String::from_utf8(ran.stdout).unwrap()
}

fn metric(tracker: &Tracker, name: &str) -> u64 {
    let all = page(tracker, "metrics");
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("swarm_tracker_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {all}")).parse().unwrap()
}

fn nodes(tracker: &Tracker, count: u64) {
    wait_until("the tracker knows the nodes", PATIENCE, || metric(tracker, "nodes") == count);
}

#[test]
fn an_id_and_a_tracker_are_enough() {
    let (home, left, right) = (Home::new(), Home::new(), Home::new());
    let tracker = Tracker::here(&home, 0);
    let at = tracker.address("/ip4/127");
    let file = left.file("update", 3 * MIB, 1);
    let seeder = left.publish_with(&file, &["--tracker", at]);
    nodes(&tracker, 1);
    assert!(seeder.link().contains("&tracker="), "{}", seeder.link());
    right.get(seeder.id(), &["-o", "out", "--tracker", at, "--timeout", "30s"]).success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    // A directory, by its link without the publisher's addresses: its tracker is enough.
    let tree = left.path("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::write(tree.join("a/b/c"), vec![7; 300_000]).unwrap();
    std::fs::write(tree.join("d"), "d").unwrap();
    seeder.stop().exits(0);
    nodes(&tracker, 0);
    let seeder = left.publish_with(&tree, &["--tracker", at]);
    let only_tracker: Vec<&str> = seeder.link().split('&').filter(|hint| !hint.contains("peer=")).collect();
    let link = only_tracker.join("&");
    assert!(!link.contains("peer") && link.contains("tracker"), "{link}");
    right.get(&link, &["-o", "tree", "--timeout", "30s"]).success();
    assert_eq!(std::fs::read(right.path("tree/a/b/c")).unwrap(), vec![7; 300_000]);
    assert_eq!(page(&tracker, "healthz"), "ok\n");
    assert!(page(&tracker, "").contains("swarm tracker") && !page(&tracker, "").contains(seeder.id()));
    assert!(page(&tracker, "metrics").ends_with("# EOF\n"));
}

#[test]
fn who_has_nobody_is_told_what_the_tracker_knows() {
    let (home, right) = (Home::new(), Home::new());
    let tracker = Tracker::here(&home, 0);
    let id = "ab".repeat(32);
    let ran = right.get(&id, &["--tracker", tracker.address("/ip4/127"), "--timeout", "3s"]);
    ran.exits(3);
    assert!(ran.text().contains("nobody else has announced it"), "{}", ran.text());
    tracker.kill();
    let ran = right.get(&id, &["--tracker", "/ip4/127.0.0.1/tcp/1", "--timeout", "3s"]);
    ran.exits(3);
    assert!(ran.text().contains("tracker /ip4/127.0.0.1/tcp/1: Connection refused"), "{}", ran.text());
    right.get(&id, &["--tracker", "http://tracker.example"]).exits(1);
}

/// It may be killed and started again at any time: nothing that runs stops, and everybody is back.
#[test]
fn a_tracker_may_die_and_come_back() {
    let (home, left, right, late) = (Home::new(), Home::new(), Home::new(), Home::new());
    let tracker = Tracker::here(&home, 0);
    let at = tracker.address("/ip4/127").to_owned();
    let port = at.split('/').nth(4).unwrap().parse().unwrap();
    let file = left.file("update", 24 * MIB, 2);
    let seeder = left.publish_with(&file, &["--tracker", &at]);
    nodes(&tracker, 1);
    let getter =
        right.spawn_get(seeder.id(), &["-o", "out", "--tracker", &at, "--limit-down", "8MB", "--seed"]);
    getter.wait_for_progress(4_000_000);
    tracker.kill();
    getter.wait_for_event("done");
    assert_eq!(b3(&right.path("out")), b3(&file));
    let tracker = Tracker::here(&home, port);
    assert_eq!(tracker.address("/ip4/127"), at, "its key was kept");
    nodes(&tracker, 2);
    seeder.kill();
    late.get(&b3(&file), &["-o", "out", "--tracker", &at, "--timeout", "30s"]).success();
    drop(getter);
}

/// Each content is kept at two of three trackers; whichever one dies, everything is found.
#[test]
fn of_three_trackers_one_may_be_gone() {
    let homes = [Home::new(), Home::new(), Home::new()];
    let (left, right) = (Home::new(), Home::new());
    let mut trackers: Vec<Tracker> = homes.iter().map(|home| Tracker::here(home, 0)).collect();
    let all = trackers.iter().map(|t| t.address("/ip4/127")).collect::<Vec<_>>().join(",");
    let daemon = left.daemon(&["--tracker", &all]);
    let files: Vec<_> = (0..12).map(|n| left.file(&format!("f{n}"), 1000, n)).collect();
    for file in &files {
        left.run(["publish", path(file)]).success();
    }
    let known = |trackers: &[Tracker]| trackers.iter().map(|t| metric(t, "members")).sum::<u64>();
    wait_until("each is announced twice", PATIENCE, || known(&trackers) == 24);
    assert!(trackers.iter().all(|t| metric(t, "members") > 0));
    trackers.remove(0).kill();
    let getter = right.spawn(
        ["get", "--json", "--tracker", &all, "--timeout", "40s", "-o", "."]
            .into_iter()
            .map(str::to_owned)
            .chain(files.iter().map(|file| b3(file))),
    );
    getter.wait().success();
    for (n, file) in files.iter().enumerate() {
        assert_eq!(b3(&right.path(format!("f{n}"))), b3(file));
    }
    wait_until("the others have taken over", PATIENCE, || known(&trackers) >= 24);
    daemon.stop().exits(0);
}

fn publish(
    net: &Internet,
    (site, host): (u8, u8),
    home: &Home,
    file: &std::path::Path,
    tracker: &str,
) -> Seeder {
    let args = ["publish", path(file), "--link", "--tracker", tracker];
    Seeder::start(net.on(site, host, &home.bare_command(args)))
}

fn get(net: &Internet, (site, host): (u8, u8), home: &Home, id: &str, tracker: &str) -> Process {
    let args = ["--json", "get", id, "-o", "out", "--tracker", tracker, "--timeout", "40s"];
    Process::spawn(net.on(site, host, &home.bare_command(args)))
}

/// Two subnets of an office behind one router: no multicast passes, one tracker does.
#[test]
fn two_floors_of_an_office_meet() {
    let net = Internet::new(&[Site::routed(2), Site::routed(1)]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &[])));
    let at = tracker.address(&format!("/ip4/{}/tcp", net.address(1, 1)));
    let file = homes[1].file("update", 5 * MIB, 3);
    let seeder = publish(&net, (1, 2), &homes[1], &file, at);
    get(&net, (2, 1), &homes[2], seeder.id(), at).wait().success();
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}

/// A tracker on the internet, by its name in the hosts file and by QUIC; a holder there, a getter behind address translation.
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

/// No tracker, no internet: two subnets, and everybody is told of one node. The others are introduced by it.
#[test]
fn one_known_node_is_enough_for_two_floors() {
    let net = Internet::new(&[Site::routed(2), Site::routed(2)]);
    let homes: Vec<Home> = (0..4).map(|_| Home::new()).collect();
    let on = |site, host, args: &[&str]| {
        let home = &homes[usize::from(site - 1) * 2 + usize::from(host - 1)];
        net.on(site, host, &home.bare_command(args))
    };
    let known = format!("/ip4/{}/tcp/4001", net.address(1, 1));
    let daemon = Process::spawn(on(1, 1, &["daemon", "--listen", "/ip4/0.0.0.0/tcp/4001"]));
    wait_until("the daemon runs", PATIENCE, || daemon.err().contains("runs for"));
    // It does not have the file; its neighbour on the first floor does, which found it by multicast.
    let file = homes[1].file("update", 5 * MIB, 5);
    let seeder = Seeder::start(on(1, 2, &["publish", path(&file), "--link"]));
    let getters = [(2, 1), (2, 2)].map(|(site, host)| {
        let args = ["--json", "get", seeder.id(), "-o", "out", "--peer", &known, "--timeout", "40s"];
        Process::spawn(on(site, host, &args))
    });
    for (getter, home) in getters.into_iter().zip(&homes[2..]) {
        getter.wait_within(Duration::from_secs(60)).success();
        assert_eq!(b3(&home.path("out")), b3(&file));
    }
}

/// Whoever gave once is asked again by the next run, without having been named.
#[test]
fn who_gave_once_is_remembered() {
    let (left, right) = (Home::new(), Home::new());
    let daemon = left.daemon(&[]);
    let files = [left.file("one", 100_000, 6), left.file("two", 100_000, 7)];
    let published = files.each_ref().map(|file| left.ask(&["publish", path(file)]));
    let link = published[0]["link"].as_str().unwrap();
    right.get(link, &["-o", "one", "--timeout", "20s"]).success();
    right.get(&b3(&files[1]), &["-o", "two", "--timeout", "20s"]).success();
    assert_eq!(b3(&right.path("two")), b3(&files[1]));
    daemon.stop().exits(0);
}

/// Two homes, both of whose routers let nobody in, and a tracker on the internet: they find a direct way through it.
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

/// Three sites, each behind its own router, and one tracker: all find and fetch. The tracker is killed half-way, and nothing
/// stops.
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

/// Routers of the worst kind on both sides: no direct way. Content goes through a relay only where both its owner and the
/// getter say so.
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

/// `swarm why` names what holds a download up, and what every way found.
#[test]
fn why_says_what_holds_a_download_up() {
    let (left, right, other) = (Home::new(), Home::new(), Home::new());
    let file = left.file("update", 8 * MIB, 11);
    let seeder = left.publish(&file);
    let getter = right.spawn_get(seeder.link(), &["-o", "out", "--limit-down", "500K"]);
    getter.wait_for_progress(300_000);
    let mut said = String::new();
    wait_until("the limit is named", PATIENCE, || {
        said = right.ask(&["why", seeder.id()])["why"].to_string();
        said.contains("limited by your --limit-down")
    });
    // The one holder goes: nobody has the rest.
    seeder.kill();
    wait_until("nobody is left", PATIENCE, || {
        said = right.ask(&["status", "--why", &b3(&file)])["why"].to_string();
        said.contains("no reachable peer has any of it")
    });
    drop(getter);
    // What nobody fetches is looked for.
    let seeder = left.publish(&file);
    let shown = other.run(["why", seeder.link()]);
    shown.success();
    let text = shown.text();
    assert!(
        text.contains("not being fetched")
            && text.contains("has some of it")
            && text.contains("LAN discovery"),
        "{text}"
    );
    assert!(
        right.ask(&["why", &b3(&file), "--peer", "/ip4/127.0.0.1/tcp/1"])["routes"]
            .to_string()
            .contains("refused")
    );
}

/// D43: a holder whose address changes is found again by who fetches from it, without help.
#[test]
fn d43_an_address_that_changes_heals() {
    let net = Internet::new(&[Site::routed(2), Site::routed(1)]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &["--interval", "15"])));
    let at = tracker.address(&format!("/ip4/{}/tcp", net.address(1, 1)));
    let file = homes[1].file("update", 24 * MIB, 12);
    let seeder = publish(&net, (1, 2), &homes[1], &file, at);
    let args = ["--json", "get", seeder.id(), "-o", "out", "--tracker", at, "--limit-down", "3MB"];
    let getter = Process::spawn(net.on(2, 1, &homes[2].bare_command(args)));
    getter.wait_for_progress(4_000_000);
    let ip = |args: &[&str]| {
        let mut command = std::process::Command::new("ip");
        command.args(args);
        assert!(net.on(1, 2, &command).status().unwrap().success(), "ip {args:?}");
    };
    ip(&["addr", "del", &format!("{}/24", net.address(1, 2)), "dev", "eth0"]);
    ip(&["addr", "add", "10.1.1.77/24", "dev", "eth0"]);
    ip(&["route", "replace", "default", "via", "10.1.1.254"]);
    let before = getter.event("progress").map_or(0, |e| e["done"].as_u64().unwrap());
    wait_until("it goes on", Duration::from_secs(60), || {
        getter.events().iter().rev().find_map(|e| e["done"].as_u64()).unwrap_or(0) > before + 6_000_000
            || getter.event("done").is_some()
    });
    wait_until("it is done", PATIENCE, || getter.event("done").is_some());
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}

/// The same over IPv6 alone, by QUIC.
#[test]
fn ipv6_is_as_good() {
    let net = Internet::new(&[Site::public(1), Site::public(1), Site::public(1)]);
    let homes = [Home::new(), Home::new(), Home::new()];
    let tracker = Tracker::start(net.on(1, 1, &Tracker::command(&homes[0], &[])));
    let at = tracker.address(&format!("/ip6/{}/udp", net.address_v6(1, 1).unwrap()));
    let file = homes[1].file("update", 2 * MIB, 13);
    let only = ["--listen", "/ip6/::/udp/0/quic-v1", "--tracker", at];
    let args = [&["publish", path(&file), "--link"], &only[..]].concat();
    let seeder = Seeder::start(net.on(2, 1, &homes[1].bare_command(args)));
    let args = [&["--json", "get", seeder.id(), "-o", "out", "--timeout", "40s"], &only[..]].concat();
    Process::spawn(net.on(3, 1, &homes[2].bare_command(args))).wait_within(PATIENCE).success();
    assert_eq!(b3(&homes[2].path("out")), b3(&file));
}

/// No tracker: a daemon that is a relay, and a link that leads through it.
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

/// A router that is asked lets others in: nobody needs a relay then, and what was let in is given back.
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
    // A router that does not answer is said to be one.
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

/// What a command says about where to look holds even where a node runs already, that was not told of it.
#[test]
fn a_daemon_is_told_where_to_look_by_the_command() {
    let (home, left, right) = (Home::new(), Home::new(), Home::new());
    let tracker = Tracker::here(&home, 0);
    let at = tracker.address("/ip4/127");
    let file = left.file("update", MIB, 3);
    let seeder = left.publish_with(&file, &["--tracker", at]);
    nodes(&tracker, 1);
    let daemon = right.daemon(&[]);
    right.get(seeder.id(), &["-o", "out", "--tracker", at, "--timeout", "30s"]).success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    let other = left.file("other", MIB, 4);
    drop(seeder);
    let seeder = left.publish(&other);
    right.get(seeder.id(), &["-o", "other", "--peer", seeder.addr(), "--timeout", "30s"]).success();
    daemon.stop().exits(0);
}

/// A daemon that is a tracker, and is reached at an address that only its owner knows.
#[test]
fn a_daemon_is_a_tracker_and_told_its_address() {
    let net = Internet::new(&[Site::public(2)]);
    let homes = [Home::new(), Home::new()];
    let seen = format!("/ip4/{}/tcp/4001", net.address(1, 1));
    let args =
        ["daemon", "--no-mdns", "--tracker-server", "--listen", "/ip4/0.0.0.0/tcp/4001", "--external", &seen];
    let daemon = Process::spawn(net.on(1, 1, &homes[0].bare_command(args)));
    let tracker = || {
        let text = daemon.err();
        let at = format!("/ip4/{}/tcp/4770", net.address(1, 1));
        text.split_whitespace().find(|word| word.starts_with(&at)).map(str::to_owned)
    };
    wait_until("the tracker runs", PATIENCE, || {
        daemon.must_run();
        tracker().is_some()
    });
    let file = homes[0].file("update", MIB, 5);
    let link = homes[0].run(["publish", "--link", path(&file)]).success().text();
    assert!(link.contains(&format!("peer={seen}/p2p/")) && link.contains("tracker="), "{link}");
    assert_eq!(homes[0].ask(&["status"])["reached"], format!("directly, at {seen}"));
    let args = [
        "get",
        "--json",
        "--no-mdns",
        "-o",
        "out",
        "--timeout",
        "40s",
        &b3(&file),
        "--tracker",
        &tracker().unwrap(),
    ];
    Process::spawn(net.on(1, 2, &homes[1].bare_command(args))).wait_within(PATIENCE).success();
    assert_eq!(b3(&homes[1].path("out")), b3(&file));
    daemon.interrupt().exits(0);
}

/// D43 across address translation: the line of the getter's home is cut for longer than its router remembers, and its node is
/// suspended; both times it goes on by itself, and fetches nothing twice.
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

/// Two would be one and the same to everybody, and each know half.
#[test]
fn one_folder_has_one_tracker() {
    let home = Home::new();
    let tracker = Tracker::here(&home, 0);
    let ran = Process::spawn(Tracker::command(&home, &["--listen", "/ip4/127.0.0.1/tcp/0"])).wait();
    ran.exits(1);
    assert!(
        ran.err.contains("a tracker is already running in") && ran.err.contains("use another --home"),
        "{}",
        ran.err
    );
    tracker.kill();
    drop(Tracker::here(&home, 0));
}
