//! Hosts with addresses of their own and without configuration: multicast DNS finds them all.

use std::time::Duration;

use swarm_tests::fixture::{Home, Lan, Process, Seeder, b3, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

fn publish(lan: &Lan, host: u8, home: &Home, path: &std::path::Path) -> Seeder {
    let path = path.to_str().unwrap();
    Seeder::start(lan.on(host, &home.bare_command(["publish", path, "--link"])))
}

fn get(lan: &Lan, host: u8, home: &Home, id: &str, more: &[&str]) -> Process {
    let mut args = vec!["--json", "get", id, "-o", "out"];
    args.extend(more);
    Process::spawn(lan.on(host, &home.bare_command(args)))
}

#[test]
fn two_hosts_find_each_other_and_move_files_both_ways() {
    let lan = Lan::new(2);
    let (left, right) = (Home::new(), Home::new());
    let (one, two) = (left.file("one", 3_000_000, 1), right.file("two", 2_000_000, 2));
    let seeder = publish(&lan, 1, &left, &one);
    get(&lan, 2, &right, seeder.id(), &["--timeout", "20s"]).wait().success();
    assert_eq!(b3(&right.path("out")), b3(&one));
    seeder.stop().exits(0);
    let seeder = publish(&lan, 2, &right, &two);
    get(&lan, 1, &left, seeder.id(), &["--timeout", "20s"]).wait().success();
    assert_eq!(b3(&left.path("out")), b3(&two));
}

/// A file published on one host and removed from it after the first getter finished can still be fetched by a
/// third.
#[test]
fn a_third_host_fetches_what_the_publisher_no_longer_has() {
    let lan = Lan::new(3);
    let homes = [Home::new(), Home::new(), Home::new()];
    let file = homes[0].file("update", 5_000_000, 3);
    let (seeder, hash) = (publish(&lan, 1, &homes[0], &file), b3(&file));
    let keeper = get(&lan, 2, &homes[1], seeder.id(), &["--seed"]);
    wait_until("the first getter is done", PATIENCE, || keeper.event("done").is_some());
    let id = seeder.id().to_owned();
    std::fs::remove_file(&file).unwrap();
    seeder.kill();
    get(&lan, 3, &homes[2], &id, &["--timeout", "20s"]).wait().success();
    assert_eq!(b3(&homes[2].path("out")), hash);
}

/// D43: a cable that is pulled and plugged in again costs the time it was out, and no chunk is fetched twice.
#[test]
fn d43_a_pulled_cable_heals_without_help() {
    let lan = Lan::new(2);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 24_000_000, 4);
    let seeder = publish(&lan, 1, &left, &file);
    let getter = get(&lan, 2, &right, seeder.id(), &["--limit-down", "4MB"]);
    getter.wait_for_progress(4_000_000);
    lan.plug(2, false);
    let stuck = || getter.events().last().and_then(|e| e["progress"]["rate"].as_u64().or(e["rate"].as_u64()));
    wait_until("the transfer has come to a halt", PATIENCE, || stuck().is_some_and(|rate| rate < 400_000));
    lan.plug(2, true);
    let ran = getter.wait_within(Duration::from_secs(60));
    ran.success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    let fetched: u64 = ran.fetched();
    assert!(fetched <= 24_000_000, "{fetched} bytes of chunks were fetched");
}

/// Names decide which nodes form a site. Across sites everything still arrives, and an invalid name is
/// refused.
#[test]
fn sites_have_names_where_somebody_gives_them() {
    let lan = Lan::new(3);
    let homes = [Home::new(), Home::new(), Home::new()];
    let file = homes[0].file("update", 5_000_000, 5);
    let path = file.to_str().unwrap();
    let seeder =
        Seeder::start(lan.on(1, &homes[0].bare_command(["--site", "berlin", "publish", path, "--link"])));
    let bonn = get(&lan, 2, &homes[1], seeder.id(), &["--timeout", "20s", "--site", "bonn", "--seed"]);
    let berlin = get(&lan, 3, &homes[2], seeder.id(), &["--timeout", "20s", "--site", "berlin"]);
    wait_until("the other site is done", PATIENCE, || bonn.event("done").is_some());
    berlin.wait().success();
    assert_eq!((b3(&homes[1].path("out")), b3(&homes[2].path("out"))), (b3(&file), b3(&file)));
    let name = "x".repeat(65);
    let refused = get(&lan, 3, &homes[2], seeder.id(), &["--site", &name]).wait();
    refused.exits(1);
}

/// A limit for the internet does not slow the local network down.
#[test]
fn the_local_network_can_be_free_of_limits() {
    let lan = Lan::new(2);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 8_000_000, 6);
    let path = file.to_str().unwrap();
    let limits = ["--limit-up", "10K", "--limit-down", "10K", "--no-limit-lan"];
    let args: Vec<&str> = limits.into_iter().chain(["publish", path, "--link"]).collect();
    let seeder = Seeder::start(lan.on(1, &left.bare_command(args)));
    let more: Vec<&str> = limits.into_iter().chain(["--timeout", "20s"]).collect();
    get(&lan, 2, &right, seeder.id(), &more).wait().success();
    assert_eq!(b3(&right.path("out")), b3(&file));
}
