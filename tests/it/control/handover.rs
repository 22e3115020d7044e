//! Content that a command promises to share is shared until that command is ended, whichever process is the
//! node.

use serde_json::json;
use swarm_tests::fixture::{Home, MIB, PATIENCE, Process, Seeder, b3, wait_until};

use super::{Client, id};

/// Starts a publish beside a node that is another command, and waits until it is shared.
fn publish_beside(home: &Home, name: &str, seed: u64) -> (Seeder, String) {
    let file = home.file(name, MIB, seed);
    let seeder = home.publish(&file);
    wait_until("it says who shares it", PATIENCE, || seeder.err().contains("when that one ends"));
    (seeder, b3(&file))
}

fn becomes_the_node(home: &Home, process: &Process) {
    wait_until("it has become the node", PATIENCE, || {
        process.must_run();
        process.err().contains("this process is the node now")
    });
    assert_eq!(home.ask(&["status"])["pid"], process.pid());
}

#[test]
fn what_was_published_beside_another_publish_outlives_it() {
    let (alice, carol) = (Home::new(), Home::new());
    let first = alice.publish(&alice.file("first.bin", MIB, 220));
    let (second, second_id) = publish_beside(&alice, "second.bin", 221);
    let (third, third_id) = publish_beside(&alice, "third.bin", 222);
    assert!(second.err().contains(&format!("process {}", first.pid())), "{}", second.err());
    let status = alice.ask(&["status"]);
    assert_eq!(status["pid"], first.pid());
    // Ctrl-C in one of them ends that one only.
    let (fourth, _) = publish_beside(&alice, "fourth.bin", 223);
    let fourth = fourth.stop();
    assert!(fourth.success().err.contains("shares it while it runs"), "{}", fourth.err);
    [&*first, &*second, &*third].into_iter().for_each(Process::must_run);
    first.stop().success();
    wait_until("one of the others is the node", PATIENCE, || {
        [&second, &third].into_iter().any(|seeder| seeder.err().contains("this process is the node now"))
    });
    for id in [&second_id, &third_id] {
        carol.get(id, &["--peer", &alice.addr()]).success();
    }
    // The process that is the node now may even be killed.
    let (node, other) = match second.err().contains("this process is the node now") {
        true => (second, third),
        false => (third, second),
    };
    assert_eq!(alice.ask(&["status"])["pid"], node.pid());
    node.kill();
    becomes_the_node(&alice, &other);
    let dave = Home::new();
    for id in [&second_id, &third_id] {
        dave.get(id, &["--peer", &alice.addr()]).success();
    }
    other.stop().success();
    assert_eq!(alice.ask(&["status"])["running"], false, "nobody is left");
}

#[test]
fn what_was_published_beside_a_download_outlives_it() {
    let (alice, carol) = (Home::new(), Home::new());
    let get = alice.spawn_get(&id(1), &["--timeout", "20s"]);
    get.wait_for_event("searching");
    let (seeder, published) = publish_beside(&alice, "f.bin", 224);
    // The one that ends is not kept from it.
    get.interrupt().exits(130);
    becomes_the_node(&alice, &seeder);
    carol.get(&published, &["--peer", &alice.addr()]).success();
    seeder.stop().success();
}

#[test]
fn what_is_held_or_seeded_beside_another_command_goes_on_and_programs_are_told() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let theirs = [("a.bin", 225), ("b.bin", 226), ("c.bin", 227)];
    let theirs = theirs.map(|(name, seed)| alice.publish(&alice.file(name, MIB, seed)));
    let node = bob.spawn_get(&id(2), &[]);
    node.wait_for_event("searching");
    let held = bob.spawn(["hold", "--json", theirs[0].link()]);
    let seeded = bob.spawn(["get", "--json", "--seed", theirs[1].link()]);
    let streamed = bob.spawn(["get", "--json", "--seed", "-o", "-", theirs[2].link()]);
    for process in [&held, &seeded] {
        assert_eq!(process.wait_for_event("sharing")["pid"], node.pid());
    }
    // Its events are beside the content.
    let sharing = |pid: u32| format!("\"event\":\"sharing\",\"pid\":{pid}");
    wait_until("the third one shares", PATIENCE, || streamed.err().contains(&sharing(node.pid())));
    node.interrupt().exits(130);
    let all = [&held, &seeded, &streamed];
    wait_until("one of them is the node", PATIENCE, || {
        all.into_iter().any(|process| {
            let text = [String::from_utf8_lossy(&process.out()).into_owned(), process.err()].concat();
            text.contains(&sharing(process.pid()))
        })
    });
    let ids: Vec<String> = theirs.iter().map(|seeder| seeder.id().to_owned()).collect();
    drop(theirs);
    for id in &ids {
        carol.get(id, &["--peer", &bob.addr()]).success();
    }
    all.into_iter().for_each(Process::must_run);
    for process in [held, seeded, streamed] {
        process.interrupt().success();
    }
}

/// A command that is done does not wait for commands that still wait: they go on without it.
#[test]
fn a_download_goes_on_in_its_own_process_when_the_node_is_done() {
    let (alice, bob) = (Home::new(), Home::new());
    let theirs = alice.publish_with(&alice.file("f.bin", 20 * MIB, 228), &["--limit-up", "4M"]);
    let first = bob.spawn_get(&id(3), &["--timeout", "5s"]);
    first.wait_for_event("searching");
    let second = bob.spawn_get(theirs.link(), &[]);
    second.wait_for_progress(MIB);
    first.wait().exits(3);
    let got = second.wait();
    assert_eq!(b3(&bob.path("f.bin")), theirs.id());
    assert!(got.success().fetched() < 20 * MIB, "it went on where it was");
}

#[test]
fn beside_a_daemon_there_is_nothing_to_wait_for() {
    let alice = Home::new();
    let first = alice.publish(&alice.file("first.bin", MIB, 229));
    let mut share = Client::ask(&alice, &json!({"command": "share", "ids": [first.id()]}));
    assert_eq!(share.line(), "beat");
    assert_eq!(share.line()["event"], json!({"event": "sharing", "pid": first.pid()}));
    first.stop().success();
    let daemon = alice.daemon(&[]);
    let published = alice.run([&"publish".into(), &alice.file("second.bin", MIB, 230)]);
    assert!(published.success().err.contains("shared by the daemon of this store"));
    daemon.stop().success();
}
