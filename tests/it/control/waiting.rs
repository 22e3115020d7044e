//! Commands that wait for holders, and clients that say or read nothing, keep nobody else from being
//! answered.

use std::time::{Duration, Instant};

use serde_json::json;
use swarm_tests::fixture::{Home, KIB, MIB, PATIENCE, Process, b3, wait_until, with_limit};

use super::{Client, id};

/// Count of clients: more than a node of an earlier version took in all.
const MANY: usize = 200;

#[test]
fn everybody_is_answered_whatever_waits() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish(&alice.file("theirs.bin", 2 * MIB, 200));
    let daemon = bob.daemon(&[]);
    let mut waiting: Vec<Client> = (0..MANY).map(|number| Client::waiting(&bob, number)).collect();
    wait_until("all of them wait", PATIENCE, || {
        bob.ask(&["status"])["transfers"].as_array().is_some_and(|all| all.len() == MANY)
    });
    let mine = bob.file("mine.bin", 70 * KIB, 201);
    let published = bob.run([&"publish".into(), &mine]).success().text();
    assert_eq!(published, b3(&mine));
    for args in [
        &["ls"][..],
        &["peers"],
        &["why", &id(3)],
        &["info", &published],
        &["allow", &published, "nobody"],
        &["verify"],
        &["rm", &published],
        &["gc"],
    ] {
        bob.run(args).success();
    }
    let begun = Instant::now();
    let late = bob.get(&id(MANY), &["--timeout", "2s"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // On a machine that is busy the node may be late with its own answer.
    assert!(matches!(late.sane().code, Some(3 | 5)), "{}", late.err);
    // A blob that a peer has arrives, and clients that wait are told that the node lives.
    bob.get(theirs.link(), &[]).success();
    assert_eq!(b3(&bob.path("theirs.bin")), theirs.id());
    wait_until("one that waits hears of it", PATIENCE, || waiting[0].line()["event"]["event"] == "searching");
    drop(waiting);
    wait_until("nothing is left of those that went", PATIENCE, || {
        bob.ask(&["status"])["transfers"].as_array().is_some_and(Vec::is_empty)
    });
    daemon.stop().success();
}

#[test]
fn who_comes_when_too_many_wait_is_told_so() {
    let home = Home::new();
    let command = with_limit(&home.command(["daemon"]), "--nofile=240:240");
    let daemon = Process::spawn(command);
    wait_until("the daemon runs", PATIENCE, || daemon.err().contains("runs for"));
    let waiting: Vec<Client> = (0..120).map(|number| Client::waiting(&home, number)).collect();
    let refused = home.run(["get", &id(999)]);
    refused.exits(8);
    assert!(refused.err.contains("120 commands are waiting"), "{}", refused.err);
    let told = home.get(&id(999), &[]);
    assert_eq!((&told.exits(8).last()["fault"], &told.last()["exit"]), (&json!("busy"), &json!(8)));
    home.run(["status"]).success();
    home.run(["ls"]).success();
    drop(waiting);
    wait_until("there is room again", PATIENCE, || home.get(&id(999), &["--timeout", "1s"]).code == Some(3));
    daemon.interrupt().success();
}

#[test]
fn clients_that_say_nothing_or_half_a_line_keep_nobody_out() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let mut silent: Vec<Client> = (0..300).map(|_| Client::silent(&home)).collect();
    for client in &mut silent[250..] {
        client.say("{\"greeting\":");
    }
    let begun = Instant::now();
    for _ in 0..5 {
        home.run(["status"]).success();
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // The oldest have given way.
    assert!(silent[0].line().is_null());
    daemon.stop().success();
}

#[test]
fn a_client_that_never_reads_holds_up_nobody() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", 6 * MIB, 202), &["--limit-up", "4M"]);
    let daemon = bob.daemon(&[]);
    let folder = bob.path("many");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..1000 {
        std::fs::write(folder.join(format!("{number:0>200}")), [0; 1]).unwrap();
    }
    let listed = bob.run([&"publish".into(), &folder]).success().text();
    // More than fits on the way, of which nothing is read.
    let ls = json!({"command": "ls", "id": listed});
    let unread: Vec<Client> = (0..300).map(|_| Client::ask(&bob, &ls)).collect();
    bob.run(["status"]).success();
    let got = bob.get(theirs.link(), &[]);
    assert_eq!(b3(&bob.path("f.bin")), theirs.id());
    got.success();
    drop(unread);
    daemon.stop().success();
}

#[test]
fn a_node_of_this_version_says_so_to_one_that_does_not_greet() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let mut old = Client::silent(&home);
    old.say("{\"command\":\"status\"}\n");
    let said = old.line();
    assert_eq!((&said["event"], &said["fault"]), (&json!("failed"), &json!("user")), "{said}");
    assert!(said["message"].as_str().unwrap().contains("do not understand each other"), "{said}");
    let mut newer = Client::silent(&home);
    newer.say("{\"greeting\":{\"protocol\":2,\"version\":\"9.9\",\"pid\":1}}\n");
    assert_eq!(newer.line()["greeting"]["pid"], daemon.pid());
    assert!(newer.line()["event"]["message"].as_str().unwrap().contains("9.9"));
    let mut strange = Client::ask(&home, &json!({"command": "dance"}));
    assert_eq!(strange.line()["event"]["event"], "failed");
    daemon.must_run();
}
