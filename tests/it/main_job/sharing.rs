//! Every node that has a part of a blob gives it to the others.

use std::fs;

use serde_json::Value;
use swarm_tests::fixture::{Home, MIB, PATIENCE, Ran, b3, wait_until};

fn sources(got: &Ran) -> Vec<Value> {
    got.event("done")["sources"].as_array().cloned().unwrap_or_default()
}

#[test]
fn it_outlives_its_publisher() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("update.bin", 9 * MIB + 1, 20);
    let seeder = alice.publish(&file);
    let id = seeder.id().to_owned();
    let getter = bob.get_and_seed(seeder.link(), &[]);
    assert_eq!(b3(&bob.path("update.bin")), id, "in place while it is being shared");
    seeder.kill();
    drop(alice);
    let got = carol.get(&id, &["--peer", &bob.addr()]);
    assert_eq!(got.success().event("done")["len"], 9 * MIB + 1);
    assert_eq!(b3(&carol.path("update.bin")), id);
    assert!(sources(&got).iter().all(|source| source["publisher"] == false), "{:?}", sources(&got));
    getter.interrupt().success();
}

#[test]
fn whoever_has_a_part_serves_it() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("slow.bin", 16 * MIB, 21);
    let seeder = alice.publish_with(&file, &["--limit-up", "4M"]);
    // Bob is far from done when carol comes, and knows of no other way to the bytes than through bob.
    let getter = bob.spawn_get(seeder.link(), &["--seed"]);
    getter.wait_for_progress(2 * MIB);
    let got = carol.get(seeder.id(), &["--peer", &bob.addr()]);
    got.success();
    assert_eq!(b3(&carol.path("slow.bin")), seeder.id());
    let from_bob = bob.ask(&["status"])["peer"].clone();
    assert!(sources(&got).iter().any(|source| source["peer"] == from_bob), "{:?}", sources(&got));
}

#[test]
fn four_seeders_all_help_one_getter() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("wide.bin", 32 * MIB, 22);
    // Slow enough that one alone cannot be done before the others are asked.
    let slow = ["--limit-up", "4M"];
    let seeder = alice.publish_with(&file, &slow);
    let others = [Home::new(), Home::new(), Home::new()];
    let seeders: Vec<_> = others
        .iter()
        .map(|home| {
            fs::copy(&file, home.path("wide.bin")).unwrap();
            home.publish_with(&home.path("wide.bin"), &slow)
        })
        .collect();
    let peers: Vec<&str> = seeders.iter().flat_map(|seeder| ["--peer", seeder.addr()]).collect();
    let got = bob.get(seeder.link(), &peers);
    got.success();
    assert_eq!(b3(&bob.path("wide.bin")), seeder.id());
    let shares: Vec<u64> = sources(&got).iter().filter_map(|source| source["bytes"].as_u64()).collect();
    assert_eq!(shares.len(), 4, "{shares:?}");
    assert!(shares.iter().all(|bytes| *bytes >= 2 * MIB), "{shares:?}");
    // The last chunks may be asked of two.
    assert!(got.fetched() <= 33 * MIB, "nothing else was fetched twice: {shares:?}");
}

#[test]
fn holders_tell_of_each_other() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let seeder = alice.publish_with(&alice.file("told.bin", 24 * MIB, 23), &["--limit-up", "6M"]);
    let first = bob.spawn_get(seeder.link(), &["--seed"]);
    first.wait_for_progress(4 * MIB);
    // Only alice is named to carol.
    let got = carol.get(seeder.link(), &[]);
    got.success();
    let bob_id = bob.ask(&["status"])["peer"].clone();
    assert!(sources(&got).iter().any(|source| source["peer"] == bob_id), "{:?}", sources(&got));
}

#[test]
fn limits_hold() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("even.bin", 12 * MIB, 24);
    let seeder = alice.publish_with(&file, &["--limit-up", "4MiB"]);
    // Three seconds' worth: a burst of a fifth of a second is allowed, and what is faster than that is not
    // limited. How much slower it may be depends on what else the machine does, so only that it is not many
    // times slower is held.
    let fair = |ran: &Ran| {
        let ms = ran.success().event("done")["transfer_ms"].as_u64().unwrap();
        assert!((2_400..12_000).contains(&ms), "{ms} ms for what takes 3 s at the limit");
    };
    fair(&bob.get(seeder.link(), &[]));
    let free = alice.ask(&["status"]);
    assert_eq!(free["pid"], seeder.pid());
    seeder.kill();
    let seeder = alice.publish(&file);
    fair(&carol.get(seeder.link(), &["--limit-down", "4MiB"]));
    assert_eq!(b3(&carol.path("even.bin")), seeder.id());
}

#[test]
fn a_limit_in_bits_is_one_in_bits() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("even.bin", 4 * MIB, 25));
    let got = bob.get(seeder.link(), &["--limit-down", "16Mbit"]);
    let ms = got.success().event("done")["transfer_ms"].as_u64().unwrap();
    assert!(ms >= 1_600, "{ms} ms for 33 Mbit at 16 Mbit/s");
}

#[test]
fn nobody_is_left_connected_for_nothing() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", MIB, 26));
    bob.get(seeder.link(), &[]).success();
    wait_until("the getter is gone from the list", PATIENCE, || {
        alice.ask(&["peers"])["peers"].as_array().is_some_and(Vec::is_empty)
    });
}
