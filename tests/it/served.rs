//! A node reports only content that the disk still has as shared.

use std::fs;
use std::path::Path;

use serde_json::Value;
use swarm_tests::fixture::{Home, MIB, PATIENCE, Process, b3, wait_until, write_random};

/// Publishes into the running node.
fn publish(home: &Home, path: &Path) -> Value {
    home.ask(&["publish", path.to_str().unwrap()])
}

fn id_of(published: &Value) -> String {
    published["id"].as_str().unwrap().to_owned()
}

/// Waits until the node has logged a text exactly this many times.
fn logged(daemon: &Process, what: &str, times: usize) {
    wait_until(what, PATIENCE, || daemon.err().matches(what).count() == times);
}

#[test]
fn a_file_that_went_while_the_node_was_off_is_not_said_to_be_shared() {
    let (alice, bob) = (Home::new(), Home::new());
    let daemon = alice.daemon(&[]);
    let ids: Vec<String> = ["gone", "edited", "kept"]
        .iter()
        .zip(1..)
        .map(|(name, seed)| id_of(&publish(&alice, &alice.file(name, MIB, seed))))
        .collect();
    daemon.stop().success();
    fs::rename(alice.path("gone"), alice.path("elsewhere")).unwrap();
    // The length stays the same: only the bytes show the change.
    write_random(&alice.path("edited"), MIB, 9);
    let daemon = alice.daemon(&[]);
    // The node notices both before a command asks.
    logged(&daemon, "is gone: it is shared no longer", 1);
    logged(&daemon, "has changed: it is shared no longer", 1);
    let states = ["source missing", "source changed", "complete"];
    for (id, state) in ids.iter().zip(states) {
        assert_eq!(alice.row(id).unwrap()["state"], state);
        assert_eq!(alice.ask(&["info", id])["state"], state);
    }
    let status = alice.ask(&["status"]);
    assert_eq!(status["shared"].as_array().unwrap().len(), 1, "{status}");
    let notices: Vec<&str> =
        status["notices"].as_array().unwrap().iter().map(|notice| notice.as_str().unwrap()).collect();
    assert_eq!(notices.len(), 2, "one for each: {notices:?}");
    let verify = format!("swarm verify {}", &ids[0][..8]);
    let said = |text: &str| text.contains("gone is gone since it was published") && text.contains(&verify);
    assert!(notices.iter().any(|notice| said(notice)), "{notices:?}");
    for args in [&["why", ids[0].as_str()][..], &["info", ids[0].as_str()], &["ls"]] {
        let ran = alice.run(args);
        assert!(said(&format!("{}{}", ran.text(), ran.err)), "{args:?}: {}{}", ran.text(), ran.err);
    }
    let addr = daemon.addr().to_owned();
    for (id, code) in ids.iter().zip([3, 3, 0]) {
        bob.run(["get", id, "-o", &id[..8], "--peer", &addr, "--timeout", "1500ms"]).exits(code);
    }
    // The file is put back.
    fs::rename(alice.path("elsewhere"), alice.path("gone")).unwrap();
    alice.run(["verify", &ids[0]]).success();
    assert_eq!(alice.row(&ids[0]).unwrap()["state"], "complete");
    bob.run(["get", &ids[0], "-o", "back", "--peer", &addr, "--timeout", "20s"]).exits(0);
    assert_eq!(b3(&bob.path("back")), ids[0]);
}

#[test]
fn what_a_person_asks_about_is_looked_at_when_he_asks() {
    let alice = Home::new();
    let _daemon = alice.daemon(&[]);
    let id = id_of(&publish(&alice, &alice.file("a.bin", MIB, 10)));
    fs::remove_file(alice.path("a.bin")).unwrap();
    let why = alice.run(["why", &id]).text();
    assert!(
        why.contains("is gone since it was published") && !why.contains("complete on this machine"),
        "{why}"
    );
    fs::create_dir(alice.path("tree")).unwrap();
    (0..6).for_each(|n| write_random(&alice.path(format!("tree/f{n}")), 1000, 20 + n));
    let id = id_of(&publish(&alice, &alice.path("tree")));
    fs::remove_file(alice.path("tree/f2")).unwrap();
    fs::write(alice.path("tree/f4"), "short").unwrap();
    let info = alice.ask(&["info", &id]);
    assert_eq!(info["state"], "source missing", "{info}");
    assert!(info["trouble"].as_str().unwrap().contains(": f2"), "{info}");
    assert_eq!(alice.ask(&["status"])["shared"], serde_json::json!([]));
    write_random(&alice.path("tree/f2"), 1000, 22);
    write_random(&alice.path("tree/f4"), 1000, 24);
    alice.run(["verify", &id]).success();
    assert_eq!(alice.ask(&["info", &id])["state"], "complete");
}

#[test]
fn a_path_that_is_published_again_belongs_to_what_is_there_now() {
    let (alice, bob) = (Home::new(), Home::new());
    let daemon = alice.daemon(&[]);
    let file = alice.file("doc", MIB, 30);
    let first = id_of(&publish(&alice, &file));
    write_random(&file, MIB, 31);
    let published = publish(&alice, &file);
    let second = id_of(&published);
    let warned = published["warnings"].to_string();
    assert!(warned.contains(&first[..8]) && warned.contains("no longer shared"), "{warned}");
    assert_eq!(alice.row(&first).unwrap()["state"], "source changed");
    assert_eq!(alice.row(&second).unwrap()["state"], "complete");
    let why = alice.run(["why", &first]).text();
    assert!(why.contains(&format!("shared as {}", &second[..8])), "{why}");
    let addr = daemon.addr();
    bob.run(["get", &first, "-o", "old", "--peer", addr, "--timeout", "1500ms"]).exits(3);
    bob.run(["get", &second, "-o", "new", "--peer", addr, "--timeout", "20s"]).exits(0);
    // With its earlier bytes the file is the first blob again.
    write_random(&file, MIB, 30);
    let published = publish(&alice, &file);
    assert_eq!(id_of(&published), first);
    assert!(published["warnings"].to_string().contains(&second[..8]), "{published}");
    assert_eq!(alice.row(&first).unwrap()["state"], "complete");
    let warned = publish(&alice, &file)["warnings"].clone();
    assert_eq!(warned, serde_json::json!([]), "nothing has changed");
}
