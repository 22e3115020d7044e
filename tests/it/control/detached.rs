//! Downloads that a daemon goes on with until they are done or stopped, after a restart too.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use swarm_tests::fixture::{Home, MIB, PATIENCE, Seeder, b3, wait_until};

use super::id;

/// The detached downloads that `swarm status` lists.
fn detached(home: &Home) -> Vec<Value> {
    home.ask(&["status"])["detached"].as_array().cloned().unwrap_or_default()
}

fn slow(home: &Home, name: &str, seed: u64) -> Seeder {
    home.publish_with(&home.file(name, 12 * MIB, seed), &["--limit-up", "4M"])
}

fn has_come(home: &Home, path: &str) {
    wait_until("all of it has come", PATIENCE, || home.path(path).exists() && detached(home).is_empty());
}

#[test]
fn a_detached_download_goes_on_after_its_daemon_was_killed() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let theirs = slow(&alice, "f.bin", 401);
    let daemon = bob.daemon(&[]);
    let left = bob.run(["get", theirs.link(), "--detach"]);
    assert_eq!(left.success().text(), theirs.id());
    assert!(left.err.contains(&format!("process {}", daemon.pid())), "{}", left.err);
    wait_until("some of it has come", PATIENCE, || {
        detached(&bob).first().is_some_and(|row| row["done"].as_u64() > Some(2 * MIB))
    });
    let row = &detached(&bob)[0];
    assert_eq!((&row["id"], &row["state"]), (&theirs.id().into(), &"downloading".into()));
    assert_eq!(row["to"], bob.dir().to_str().unwrap());
    assert!(!bob.path("f.bin").exists());
    // Forgetting it meanwhile would be a mistake, and is said to be one.
    let rm = bob.run(["rm", theirs.id()]);
    assert!(rm.exits(1).err.contains("swarm stop"), "{}", rm.err);
    daemon.kill();
    // Not even a link is needed: the daemon knows where it was.
    let daemon = bob.daemon(&[]);
    has_come(&bob, "f.bin");
    assert_eq!(b3(&bob.path("f.bin")), theirs.id());
    let down = bob.ask(&["status"])["downloaded"].as_u64().unwrap();
    assert!(down < 12 * MIB, "it went on where it was: {down}");
    carol.get(theirs.id(), &["--peer", daemon.addr()]).success();
    // It is done, and begins at no later start.
    daemon.stop().success();
    std::fs::remove_file(bob.path("f.bin")).unwrap();
    let _daemon = bob.daemon(&[]);
    assert!(detached(&bob).is_empty());
    assert!(!bob.path("f.bin").exists());
}

#[test]
fn stop_ends_it_for_good() {
    let bob = Home::new();
    let daemon = bob.daemon(&[]);
    bob.run(["get", "--detach", &id(1), "-o", "one"]).success();
    bob.run(["get", "--detach", &id(1), "-o", "two"]).success();
    bob.run(["get", "--detach", &id(2)]).success();
    // Twice is once.
    bob.run(["get", "--detach", &id(2)]).success();
    assert_eq!(detached(&bob).len(), 3);
    let stopped = bob.run(["stop", &id(1)]);
    assert!(stopped.success().err.contains("2 downloads"), "{}", stopped.err);
    assert_eq!(bob.run(["stop", &id(1)]).exits(1).code, Some(1));
    assert_eq!(detached(&bob).len(), 1);
    daemon.kill();
    let daemon = bob.daemon(&[]);
    assert_eq!(detached(&bob)[0]["id"], id(2));
    assert_eq!(bob.ask(&["stop", &id(2)])["event"], "stopped");
    assert!(detached(&bob).is_empty());
    wait_until("nothing is looked for", PATIENCE, || {
        bob.ask(&["status"])["transfers"].as_array().is_some_and(Vec::is_empty)
    });
    // A command in another terminal is ended there.
    let get = bob.spawn_get(&id(3), &[]);
    get.wait_for_event("searching");
    let stop = bob.run(["stop", &id(3)]);
    assert!(stop.exits(1).err.contains("Ctrl-C"), "{}", stop.err);
    get.interrupt().exits(130);
    drop(daemon);
}

#[test]
fn without_a_daemon_it_is_kept_for_the_next_one() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", MIB, 402), &["--encrypt"]);
    let left = bob.run(["get", "--detach", theirs.link()]);
    assert!(left.success().err.contains("swarm daemon"), "{}", left.err);
    assert_eq!(detached(&bob)[0]["state"], "waiting for a daemon");
    // The link holds a key.
    let files: Vec<_> = std::fs::read_dir(bob.store().join("store/detached")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The node of another command leaves it alone.
    let other = bob.publish(&bob.file("other.bin", MIB, 403));
    assert_eq!(detached(&bob)[0]["state"], "waiting for a daemon");
    other.stop().success();
    let _daemon = bob.daemon(&[]);
    has_come(&bob, "f.bin");
    assert_eq!(b3(&bob.path("f.bin")), b3(&alice.path("f.bin")));
}

#[test]
fn a_mistake_is_told_at_once_and_other_faults_are_tried_again() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish(&alice.file("f.bin", MIB, 404));
    let _daemon = bob.daemon(&[]);
    std::fs::write(bob.path("there"), "something else").unwrap();
    let refused = bob.run(["get", "--detach", theirs.link(), "-o", "there"]);
    assert!(refused.exits(1).err.contains("there"), "{}", refused.err);
    assert!(detached(&bob).is_empty());
    bob.run(["get", "--detach", theirs.link(), "--timeout", "5s"]).exits(2);
    bob.run(["get", "--detach", theirs.link(), "-o", "-"]).exits(1);
    bob.run(["get", "--detach", theirs.link(), "--include", "[", "-o", "x"]).exits(1);
    assert!(detached(&bob).is_empty());
    bob.run(["get", "--detach", theirs.link()]).success();
    has_come(&bob, "f.bin");
    let again = bob.run(["get", "--detach", theirs.link()]);
    assert!(again.success().err.contains("all of it is here"), "{}", again.err);
    assert!(detached(&bob).is_empty());
}

#[test]
fn a_plain_get_ends_with_its_command() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = slow(&alice, "f.bin", 405);
    let daemon = bob.daemon(&[]);
    let get = bob.spawn_get(theirs.link(), &[]);
    get.wait_for_progress(2 * MIB);
    get.interrupt().exits(130);
    assert!(detached(&bob).is_empty());
    daemon.stop().success();
    let _daemon = bob.daemon(&[]);
    assert_eq!(bob.row(theirs.id()).unwrap()["state"], "partial");
    assert!(bob.ask(&["status"])["transfers"].as_array().unwrap().is_empty());
}

#[test]
fn hold_leaves_its_download_to_the_daemon() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let theirs = slow(&alice, "f.bin", 406);
    let daemon = bob.daemon(&[]);
    let said = bob.spawn(["hold", theirs.link()]);
    wait_until("it says what becomes of the item", PATIENCE, || said.err().contains("swarm stop ID ends it"));
    let said = said.interrupt();
    assert!(said.exits(130).err.contains("the daemon goes on with it"), "{}", said.err);
    let hold = bob.spawn(["hold", "--json", theirs.link()]);
    hold.wait_for_progress(2 * MIB);
    hold.interrupt().exits(130);
    wait_until("the daemon has fetched it", PATIENCE, || detached(&bob).is_empty());
    assert_eq!(bob.row(theirs.id()).unwrap()["state"], "complete");
    let id = theirs.id().to_owned();
    theirs.stop().success();
    carol.get(&id, &["--peer", daemon.addr()]).success();
}
