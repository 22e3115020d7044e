//! One node for each store: the first process is the node, all others are its clients.

use std::time::{Duration, Instant};

use swarm_tests::fixture::{Home, MIB, b3};

#[test]
fn commands_beside_a_running_publish_go_through_it() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let theirs = alice.publish(&alice.file("theirs.bin", 5 * MIB, 40));
    let ours = bob.publish(&bob.file("ours.bin", 2 * MIB, 41));
    assert_eq!(bob.ask(&["status"])["pid"], ours.pid());
    let got = bob.get(theirs.link(), &[]);
    got.success();
    assert_eq!(b3(&bob.path("theirs.bin")), theirs.id());
    // The one node serves it all.
    let more = bob.publish(&bob.file("more.bin", MIB, 42));
    let names: Vec<_> =
        bob.ask(&["ls"])["blobs"].as_array().unwrap().iter().map(|blob| blob["name"].clone()).collect();
    assert_eq!(names, ["more.bin", "ours.bin", "theirs.bin"]);
    theirs.kill();
    for id in [ours.id(), more.id(), got.event("done")["id"].as_str().unwrap()] {
        carol.get(id, &["--peer", ours.addr()]).success();
    }
    assert_eq!(b3(&carol.path("theirs.bin")), b3(&bob.path("theirs.bin")));
}

#[test]
fn a_get_beside_a_daemon_is_shared_by_it() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let theirs = alice.publish(&alice.file("f.bin", 3 * MIB, 43));
    let daemon = bob.daemon(&[]);
    let started = bob.get(theirs.link(), &["--seed"]);
    assert_eq!(started.success().code, Some(0), "with a daemon even --seed returns");
    theirs.kill();
    carol.get(&b3(&bob.path("f.bin")), &["--peer", daemon.addr()]).success();
    daemon.stop().success();
}

#[test]
fn the_same_thing_asked_for_twice_is_fetched_once() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", 8 * MIB, 44), &["--limit-up", "4M"]);
    let daemon = bob.daemon(&[]);
    let first = bob.spawn_get(theirs.link(), &["-o", "one"]);
    first.wait_for_progress(MIB);
    let second = bob.spawn_get(theirs.link(), &["-o", "two"]);
    first.wait().success();
    second.wait().success();
    assert_eq!((b3(&bob.path("one")), b3(&bob.path("two"))), (theirs.id().into(), theirs.id().into()));
    let down = bob.ask(&["status"])["downloaded"].as_u64().unwrap();
    assert!(down < 9 * MIB, "{down} bytes came for 8 MiB");
    drop(daemon);
}

#[test]
fn whoever_looks_on_takes_over_when_the_first_one_goes() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", 12 * MIB, 47), &["--limit-up", "4M"]);
    let daemon = bob.daemon(&[]);
    let first = bob.spawn_get(theirs.link(), &["-o", "one"]);
    first.wait_for_progress(2 * MIB);
    let second = bob.spawn_get(theirs.link(), &["-o", "two"]);
    second.wait_for_progress(3 * MIB);
    first.interrupt().exits(130);
    second.wait().success();
    assert_eq!(b3(&bob.path("two")), theirs.id());
    assert!(!bob.path("one").exists());
    drop(daemon);
}

#[test]
fn d39_a_second_daemon_is_refused_and_a_killed_one_leaves_no_lock() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let begun = Instant::now();
    let second = home.run(["daemon"]);
    second.exits(1);
    // It says so at once (within a second, of a machine that does nothing else).
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(second.err.contains(&daemon.pid().to_string()), "names the other process: {}", second.err);
    daemon.must_run();
    daemon.kill();
    let daemon = home.daemon(&[]);
    let status = home.ask(&["status"]);
    assert_eq!((&status["pid"], &status["running"]), (&daemon.pid().into(), &true.into()));
    daemon.stop().success();
    // In order or not, what comes next opens it.
    home.run(["ls"]).success();
}

#[test]
fn d39_the_owner_is_named_even_when_it_does_not_answer() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    std::fs::remove_file(home.store().join("control.sock")).unwrap();
    let second = home.run(["daemon"]);
    second.exits(7);
    assert!(second.err.contains(&daemon.pid().to_string()), "{}", second.err);
}

#[test]
fn a_client_goes_on_when_its_node_is_killed() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", 12 * MIB, 45), &["--limit-up", "4M"]);
    let daemon = bob.daemon(&[]);
    let client = bob.spawn_get(theirs.link(), &[]);
    client.wait_for_progress(2 * MIB);
    daemon.kill();
    client.wait().success();
    assert_eq!(b3(&bob.path("f.bin")), theirs.id());
}

#[test]
fn ctrl_c_keeps_progress_and_the_same_command_goes_on() {
    let (alice, bob) = (Home::new(), Home::new());
    let len = 24 * MIB;
    let seeder = alice.publish(&alice.file("f.bin", len, 46));
    let first = bob.spawn_get(seeder.link(), &["--limit-down", "6M"]);
    first.wait_for_progress(8 * MIB);
    let first = first.interrupt();
    first.exits(130);
    assert!(!bob.path("f.bin").exists(), "nothing half done is in place");
    assert!(first.err.is_empty() || first.err.contains("interrupted"), "{}", first.err);
    let second = bob.get(seeder.link(), &[]);
    let resumed = second.success().event("done")["resumed"].as_u64().unwrap();
    assert!(resumed >= first.last_progress(), "{resumed} resumed, {} verified before", first.last_progress());
    assert!(second.fetched() + resumed <= len, "nothing is fetched twice");
    assert_eq!(b3(&bob.path("f.bin")), seeder.id());
}

#[test]
fn ctrl_c_while_waiting_is_prompt() {
    let home = Home::new();
    let waiting = home.spawn_get(&"ab".repeat(32), &[]);
    waiting.wait_for_event("searching");
    waiting.interrupt().exits(130);
}

/// Commands that only read the store have it for a moment each: of many at once none is refused.
#[test]
fn commands_at_the_same_moment_wait_for_each_other() {
    let home = Home::new();
    let file = home.file("f", 1000, 1);
    home.publish(&file).stop().exits(0);
    let looks: Vec<_> = (0..12).map(|_| home.spawn(["ls"])).collect();
    let seeder = home.publish(&file);
    for look in looks {
        look.wait().success();
    }
    seeder.stop().exits(0);
}
