//! A node keeps to the limits of its peers, however much is asked of it, and says so when it is banned.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, Instant};

use swarm_core::limits;
use swarm_core::wire::Message;
use swarm_tests::fixture::{Home, PATIENCE, Process, b3, fill, wait_until};
use swarm_tests::hostile::{Hostile, Log, Offering, Out};

/// An id that nobody has.
fn nowhere(number: usize) -> String {
    blake3::hash(&number.to_le_bytes()).to_hex().to_string()
}

/// Returns the arguments of `get -` for these targets.
fn get_all(home: &Home, ids: &[String], args: &[&str]) -> Process {
    let list = home.path("ids");
    fs::write(&list, ids.join("\n")).unwrap();
    let mut command = home.command(["get", "-", "--json"].iter().chain(args));
    command.stdin(File::open(list).unwrap());
    Process::spawn(command)
}

/// Returns the most wants that were open at once in a session.
fn most_wants(log: &Log) -> usize {
    let (mut open, mut most) = (BTreeSet::new(), 0);
    for message in &log.heard {
        match message {
            Message::Want { blob, .. } => assert!(open.insert(*blob), "{blob} is used twice"),
            Message::Unwant { blob } => assert!(open.remove(blob), "{blob} was not wanted"),
            _ => {}
        }
        most = most.max(open.len());
    }
    most
}

#[test]
fn the_one_of_many_ids_that_is_there_arrives() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", 100_000, 1));
    let mut ids: Vec<String> = (0..600).map(nowhere).collect();
    ids.push(seeder.id().to_owned());
    let get = get_all(&bob, &ids, &["--peer", seeder.addr()]);
    get.wait_for("done", |event| event["event"] == "done" && event["id"] == seeder.id());
    assert_eq!(b3(&bob.path("a.bin")), seeder.id());
    assert_eq!(alice.ask(&["peers"])["banned"], serde_json::json!([]), "nobody broke a rule");
    get.must_run();
}

#[test]
fn more_than_a_peer_allows_at_once_all_arrives_in_turns() {
    let offerings: Vec<Offering> =
        (0..400).map(|n| Offering::file(fill(1000 + n as usize, n)).named(&format!("f{n}"))).collect();
    let mut ids: Vec<String> = (0..100).map(nowhere).collect();
    ids.extend(offerings.iter().map(|offering| offering.id.to_string()));
    let holder = Hostile::honest(offerings);
    let bob = Home::new();
    let get = get_all(&bob, &ids, &["--peer", holder.addr()]);
    let arrived = || get.events().iter().filter(|event| event["event"] == "done").count();
    wait_until("all of it arrives", PATIENCE, || {
        get.must_run();
        arrived() == 400
    });
    let most = holder.logs().iter().map(most_wants).max();
    assert_eq!(most, Some(limits::SESSION_BLOBS), "as many as are allowed, and no more");
}

#[test]
fn whoever_is_banned_is_told_and_says_so_and_waits() {
    let content = Offering::file(fill(100_000, 2));
    let id = content.id.to_string();
    let reason = "it wants\u{1b}[2J too much";
    let strict = Hostile::listen(vec![content], move |turn, honest| match turn.wanted() {
        Some(_) => vec![Out::Control(Message::Banned { secs: 600, reason: reason.to_owned() })],
        None => honest,
    });
    let bob = Home::new();
    let daemon = bob.daemon(&["--peer", strict.addr()]);
    let began = Instant::now();
    let got = bob.run(["get", &id, "-o", "out", "--timeout", "5s"]);
    assert!(began.elapsed() >= Duration::from_secs(5), "{}", got.err);
    got.exits(3);
    let told = |text: &str| {
        text.contains(&format!("peer {} has banned us: it wants", strict.peer())) && text.contains(" UTC")
    };
    assert!(told(&got.err) && !got.err.contains('\u{1b}'), "{}", got.err);
    let why = bob.run(["why", &id]);
    assert!(told(&why.text()), "{}", why.text());
    let status = bob.ask(&["status"]);
    assert!(told(&status["notices"].to_string()), "{status}");
    assert_eq!(status["banned_by"][0]["peer"], strict.peer());
    assert_eq!(strict.logs().len(), 1, "it is not called again meanwhile");
    // The next process has the same key, and knows.
    daemon.stop().success();
    let _daemon = bob.daemon(&["--peer", strict.addr()]);
    assert!(told(&bob.run(["why", &id]).text()));
    assert_eq!(strict.logs().len(), 1);
}

#[test]
fn a_peer_that_breaks_the_rules_hears_why_before_it_is_let_go() {
    let alice = Home::new();
    let seeder = alice.publish(&alice.file("a.bin", 100_000, 3));
    let greedy = Hostile::dial(seeder.addr(), Vec::new(), |turn, mut honest| {
        if turn.is_start() {
            let want = |blob: u32| {
                let id = blake3::hash(&blob.to_le_bytes()).into();
                Out::Control(Message::Want { blob, id })
            };
            honest.extend((0..=limits::SESSION_BLOBS as u32).map(want));
        }
        honest
    });
    let is_ban = |message: &Message| matches!(message, Message::Banned { secs: 500..=700, reason } if reason.contains("more blobs at once"));
    wait_until("it hears why", PATIENCE, || greedy.heard(is_ban) == 1);
    wait_until("it is let go", PATIENCE, || greedy.was_closed());
}
