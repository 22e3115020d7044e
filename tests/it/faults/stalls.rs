//! D43: holders that freeze and come back.

use std::time::{Duration, Instant};

use swarm_tests::fixture::{Home, MIB, PATIENCE, Signal, b3, wait_until};

/// Time within which a download must go on without help once the fault has gone.
const HEALS_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn d43_a_frozen_holder_loses_its_requests_to_another() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("f.bin", 24 * MIB, 140);
    std::fs::copy(&file, bob.path("f.bin")).unwrap();
    let frozen = alice.publish_with(&file, &["--limit-up", "6M"]);
    let other = bob.publish_with(&bob.path("f.bin"), &["--limit-up", "6M"]);
    let get = carol.spawn_get(frozen.link(), &["--peer", other.addr()]);
    get.wait_for_progress(4 * MIB);
    frozen.signal(Signal::STOP);
    let got = get.wait();
    frozen.signal(Signal::CONT);
    got.success();
    assert_eq!(b3(&carol.path("f.bin")), frozen.id());
    // The last chunks may be asked of both.
    assert!(got.fetched() <= 25 * MIB, "nothing verified is fetched again: {}", got.fetched());
}

#[test]
fn d43_a_short_freeze_of_the_only_holder_is_sat_out() {
    let (alice, bob) = (Home::new(), Home::new());
    let only = alice.publish_with(&alice.file("f.bin", 16 * MIB, 141), &["--limit-up", "8M"]);
    let get = bob.spawn_get(only.link(), &[]);
    get.wait_for_progress(4 * MIB);
    freeze(&only, &get, |event| event["rate"] == 0);
    let before = get.events().last().unwrap()["done"].as_u64().unwrap();
    thaw(&only, &get, before);
    let got = get.wait();
    got.success();
    assert_eq!(b3(&bob.path("f.bin")), only.id());
    assert!(got.fetched() <= 16 * MIB, "nothing verified is fetched again: {}", got.fetched());
}

#[test]
fn d43_a_long_freeze_of_the_only_holder_ends_the_session_and_heals() {
    let (alice, bob) = (Home::new(), Home::new());
    let only = alice.publish_with(&alice.file("f.bin", 16 * MIB, 142), &["--limit-up", "8M"]);
    let get = bob.spawn_get(only.link(), &[]);
    get.wait_for_progress(4 * MIB);
    freeze(&only, &get, |event| event["holders"] == 0);
    let before = get.events().last().unwrap()["done"].as_u64().unwrap();
    thaw(&only, &get, before);
    let got = get.wait();
    got.success();
    assert_eq!(b3(&bob.path("f.bin")), only.id());
    assert!(got.fetched() <= 16 * MIB, "nothing verified is fetched again: {}", got.fetched());
}

#[test]
fn d43_a_holder_that_is_restarted_elsewhere_is_found_again() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("f.bin", 16 * MIB, 143);
    let first = alice.publish_with(&file, &["--limit-up", "4M"]);
    let get = bob.spawn_get(first.link(), &[]);
    get.wait_for_progress(4 * MIB);
    let port = first.addr().split('/').nth(4).unwrap().to_owned();
    first.kill();
    // The same machine, back on the same port.
    let same = format!("/ip4/127.0.0.1/tcp/{port}");
    let command = alice.bare_command(["publish", "--link", "f.bin", "--no-mdns", "--listen", &same]);
    let second = swarm_tests::fixture::Seeder::start(command);
    let got = get.wait();
    got.success();
    assert_eq!(b3(&bob.path("f.bin")), second.id());
    assert!(got.fetched() <= 16 * MIB, "nothing verified is fetched again: {}", got.fetched());
}

/// Stops a holder until the getter's progress shows it.
fn freeze(
    holder: &swarm_tests::fixture::Process,
    get: &swarm_tests::fixture::Process,
    shows: impl Fn(&serde_json::Value) -> bool,
) {
    holder.signal(Signal::STOP);
    wait_until("the getter notices", PATIENCE, || {
        get.must_run();
        get.event("progress").is_some_and(|event| shows(&event))
    });
}

/// Lets the holder go on, and waits until the download has grown.
fn thaw(holder: &swarm_tests::fixture::Process, get: &swarm_tests::fixture::Process, before: u64) {
    holder.signal(Signal::CONT);
    let begun = Instant::now();
    get.wait_for_progress(before + 1);
    assert!(begun.elapsed() < HEALS_WITHIN, "{:?} after the fault had gone", begun.elapsed());
}
