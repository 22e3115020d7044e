//! Nodes that are not joined by multicast find each other all the same.

mod nat;
mod neighbours;

use std::time::Duration;

use swarm_tests::fixture::{Home, Internet, MIB, PATIENCE, Process, Seeder, Site, Tracker, b3, wait_until};

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// Fetches a page of the tracker.
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

#[test]
fn the_metrics_that_the_guide_names_are_there_from_the_start() {
    let home = Home::new();
    let tracker = Tracker::here(&home, 0);
    let guide = std::fs::read_to_string("../tracker-optional/README.md").unwrap();
    let named: std::collections::BTreeSet<&str> = guide
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("swarm_tracker_"))
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    // The counts of refused connections come with the first count of the listener.
    wait_until("every metric is there", PATIENCE, || {
        let all = page(&tracker, "metrics");
        named.iter().all(|name| {
            let value = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
            all.lines().any(value)
        })
    });
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

/// A tracker may be killed and started again at any time: no download stops, and all nodes announce again.
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

/// Each blob is announced to two of three trackers, so that everything is found when one of them dies.
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

/// Two subnets behind one router, which no multicast passes: one tracker is enough.
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

/// Two subnets without a tracker: all nodes are told of one node, which introduces the others.
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

/// A holder that gave once is asked again by the next run, without being named.
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

/// `swarm why` names the reason that holds a download up, and the result of every way of finding holders.
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

/// D43: a holder whose address changes is found again by the node that fetches from it, without help.
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

/// A tracker, a seeder and a getter that speak only IPv6 and QUIC.
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

/// `--tracker` and `--peer` of a command hold even if a node runs already that was started without them.
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

/// A daemon that is a tracker, and is reached at an address that only its owner can tell it.
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

/// Two trackers with one folder would have one identity, and each would know half of the nodes.
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
