//! The DHT as one more way to find holders, and as the only one.

use std::path::Path;
use std::process::Command;

use swarm_tests::fixture::{Home, Internet, MIB, Nat, PATIENCE, Process, Seeder, Site, b3, wait_until};
use swarm_tests::hostile::dht::{Answers, Sybils, flood, foreign};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the address at which a node is a server of the DHT.
fn serves(home: &Home) -> Option<String> {
    let status = home.ask(&["status"]);
    Some(status["dht_serves"].as_array()?.first()?.as_str()?.to_owned())
}

fn dht(home: &Home) -> String {
    home.ask(&["status"])["dht"].as_str().unwrap_or_default().to_owned()
}

/// Starts a daemon and waits until it runs.
fn runs(command: Command) -> Process {
    let daemon = Process::spawn(command);
    wait_until("the daemon says that it runs", PATIENCE, || {
        daemon.must_run();
        daemon.err().contains("runs for")
    });
    daemon
}

fn records(home: &Home, count: u64) {
    let text = format!("a server with {count} record");
    wait_until("the server was told", PATIENCE, || dht(home).contains(&text));
}

#[test]
fn an_id_and_a_server_are_enough() {
    let (server, left, right, late) = (Home::new(), Home::new(), Home::new(), Home::new());
    let daemon = server.daemon(&["--dht-server"]);
    let at = serves(&server).unwrap();
    let file = left.file("update", 3 * MIB, 1);
    let seeder = left.publish_with(&file, &["--dht", &at, "--serve", "anyone"]);
    records(&server, 1);
    assert!(seeder.link().contains("&dht="), "{}", seeder.link());
    right.get(seeder.id(), &["-o", "out", "--dht", &at, "--timeout", "30s"]).success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    // The server itself finds the holder that was announced to it.
    server.get(seeder.id(), &["-o", "out", "--timeout", "30s"]).success();
    // By the link without the publisher's addresses, and by a server of whom only the address is known.
    let link: Vec<&str> = seeder.link().split('&').filter(|hint| !hint.contains("peer=")).collect();
    let link = link.join("&");
    assert!(!link.contains("peer=") && link.contains("dht="), "{link}");
    late.get(&link, &["-o", "out", "--timeout", "30s"]).success();
    // It is remembered.
    std::fs::remove_dir_all(late.blob_dir(seeder.id())).unwrap();
    let bare = at.split("/p2p/").next().unwrap();
    let other = Home::new();
    other.get(seeder.id(), &["-o", "out", "--dht", bare, "--timeout", "30s"]).success();
    let nobody = other.get(&"ab".repeat(32), &["--timeout", "6s"]);
    nobody.exits(3);
    assert!(nobody.text().contains("DHT: 1 server answered, none knows a holder"), "{}", nobody.text());
    let off = other.get(&"ab".repeat(32), &["--timeout", "6s", "--no-dht"]);
    assert!(off.exits(3).text().contains("DHT: off"), "{}", off.text());
    drop(daemon);
}

/// Other implementations ping a server before they keep it in their tables, and believe its answers.
#[test]
fn a_server_answers_pings_and_says_what_it_refuses() {
    let (server, left) = (Home::new(), Home::new());
    let daemon = server.daemon(&["--dht-server"]);
    let at = serves(&server).unwrap();
    assert_eq!(foreign(&at), Answers { ping: true, stored: false });
    let refused = || server.ask(&["status"])["refused"].to_string();
    wait_until("it counts what it refused", PATIENCE, || {
        let refused = refused();
        refused.contains("by the DHT: records without an address of sessions")
            && refused.contains("by the DHT: values, which are not kept")
    });
    let file = left.file("update", MIB, 1);
    let seeder = left.publish_with(&file, &["--dht", &at, "--serve", "anyone"]);
    wait_until("the publisher knows that it was told", PATIENCE, || {
        dht(&left).ends_with("told of 1 content")
    });
    drop(seeder);
    daemon.stop().exits(0);
}

/// A node becomes a server by itself once another node has reached it. A node that cannot be reached stays a
/// client, and is found all the same.
#[test]
fn reachable_nodes_are_servers_and_others_are_not() {
    let net = Internet::new(&[
        Site::public(1),
        Site::public(1),
        Site::nat(Nat::PortRestricted, 1),
        Site::nat(Nat::PortRestricted, 1),
        Site::public(1),
    ]);
    let [first, second, left, right, relay] =
        [Home::new(), Home::new(), Home::new(), Home::new(), Home::new()];
    let start = |site: u8, home: &Home, args: &[&str]| {
        let all = ["daemon", "--no-mdns"].iter().chain(args);
        runs(net.on(site, 1, &home.bare_command(all)))
    };
    let bootstrap = start(1, &first, &["--dht-server"]);
    let at = serves(&first).unwrap();
    let stays = start(2, &second, &["--dht", &at]);
    wait_until("it was seen to be reached", PATIENCE, || serves(&second).is_some());
    let then = serves(&second).unwrap();
    wait_until("the first server knows it", PATIENCE, || dht(&first).starts_with("1 server known"));
    // A publisher behind a router, which others reach at a relay that only it knows.
    let _relay = start(5, &relay, &["--relay-server"]);
    let listen = relay.ask(&["status"]);
    let mut all = listen["listen"].as_array().unwrap().iter().map(|addr| addr.as_str().unwrap());
    let through = all.find(|addr| addr.starts_with("/ip4/45.10.5.1/tcp/")).unwrap();
    let through = format!("{through}/p2p/{}", listen["peer"].as_str().unwrap());
    let file = left.file("update", MIB, 1);
    let args = ["publish", "--link", "--no-mdns", "--dht", &at, "--relay", &through, path(&file)];
    let seeder = Seeder::start(net.on(3, 1, &left.bare_command(args)));
    records(&first, 1);
    records(&second, 1);
    let _ = bootstrap.kill();
    let args = ["get", "--json", "--no-mdns", "--dht", &then, "-o", "out", "--timeout", "60s", seeder.id()];
    let mut get = right.bare_command(args);
    get.current_dir(right.dir());
    let ran = Process::spawn(net.on(4, 1, &get)).wait();
    ran.success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    drop(stays);
}

/// D31: a server is told 100,000 lies, twenty of them about the blob that is wanted. The honest holder is
/// found.
#[test]
fn d31_a_flood_of_records_hides_nobody() {
    let net = Internet::new(&[Site::public(1), Site::public(1), Site::public(1), Site::public(1)]);
    let [server, left, right] = [Home::new(), Home::new(), Home::new()];
    let daemon = runs(net.on(1, 1, &server.bare_command(["daemon", "--no-mdns", "--dht-server"])));
    let at = serves(&server).unwrap();
    let file = left.file("update", MIB, 1);
    let id = b3(&file);
    net.inside(3, 1, || flood(&at, &id, 25, 5_000));
    let publish = ["publish", "--link", "--no-mdns", "--dht", &at, path(&file)];
    let seeder = Seeder::start(net.on(2, 1, &left.bare_command(publish)));
    wait_until("it was told", PATIENCE, || {
        left.ask(&["status"])["dht"].as_str().is_some_and(|dht| dht.ends_with("told of 1 content"))
    });
    net.inside(3, 1, || flood(&at, &id, 25, 5_000));
    let kept = dht(&server);
    let kept: u64 = kept.split("with ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(kept <= swarm_core::limits::DHT_RECORDS as u64, "{kept}");
    let memory = daemon.memory_kib("VmRSS").unwrap();
    assert!(memory < 120 << 10, "{memory} KiB");
    let out = right.path("out");
    let get = ["get", "--json", "--no-mdns", "--dht", &at, "-o", path(&out), "--timeout", "30s", &id];
    Process::spawn(net.on(4, 1, &right.bare_command(get))).wait().success();
    drop(seeder);
}

/// D32: only forty liars are near the key. The node says so soon, and one honest peer by any other way is
/// enough.
#[test]
fn d32_liars_around_a_key_waste_time_only() {
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", MIB, 1);
    let id = b3(&file);
    let sybils = Sybils::start(&id, 40, &[]);
    let some = sybils.addresses()[..4].join(",");
    let daemon = left.daemon(&["--dht", &some]);
    left.run(["publish", path(&file)]).success();
    let ran = right.get(&id, &["--dht", &some, "--timeout", "12s"]);
    ran.exits(3);
    let text = ran.text();
    assert!(text.contains("named by the DHT: ") && text.contains(" nodes, 0 connected"), "{text}");
    assert!(text.contains("answered and named"), "{text}");
    right.get(&id, &["-o", "out", "--dht", &some, "--peer", daemon.addr(), "--timeout", "20s"]).success();
    // Met before is as good: it finds what this one publishes next.
    let next = left.file("next", MIB, 2);
    left.run(["publish", path(&next)]).success();
    right.get(&b3(&next), &["-o", "next", "--dht", &some, "--timeout", "20s"]).success();
    daemon.stop().exits(0);
}

/// Liars that an honest server knows push no other node out of its table.
#[test]
fn liars_nearest_the_key_do_not_empty_an_honest_server() {
    let (server, left, right) = (Home::new(), Home::new(), Home::new());
    let daemon = server.daemon(&["--dht-server"]);
    let at = serves(&server).unwrap();
    let file = left.file("update", MIB, 1);
    let sybils = Sybils::start(&b3(&file), 8, &[&at]);
    wait_until("the server knows some", PATIENCE, || !dht(&server).starts_with("0 "));
    let seeder = left.publish_with(&file, &["--dht", &at, "--serve", "anyone"]);
    records(&server, 1);
    right.get(seeder.id(), &["-o", "out", "--dht", &at, "--timeout", "40s"]).success();
    daemon.stop().exits(0);
    drop(sybils);
}
