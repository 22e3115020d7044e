//! Commands that show and tidy the store, as people and as programs see them.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use swarm_tests::fixture::{Home, MIB, damage};

#[test]
fn every_answer_is_json_when_asked() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", 3 * MIB, 50));
    bob.get(seeder.link(), &[]).success();
    for home in [&alice, &bob] {
        for args in [
            &["ls"][..],
            &["info", seeder.id()],
            &["verify"],
            &["verify", seeder.id()],
            &["gc", "--dry-run"],
            &["gc"],
            &["status"],
            &["peers"],
            &["config", "show"],
            &["rm", seeder.id()],
        ] {
            let ran = home.run(["--json"].iter().chain(args));
            let text = String::from_utf8(ran.success().out.clone()).unwrap();
            assert!(!text.is_empty(), "{args:?} says nothing");
            for line in text.lines() {
                let value: Value =
                    serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}: {line}"));
                assert_eq!(value["v"], 1, "{args:?}: {line}");
            }
            assert!(ran.err.is_empty(), "{args:?}: {}", ran.err);
        }
    }
}

#[test]
fn people_are_told_too() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", 3 * MIB, 51));
    bob.get(seeder.link(), &[]).success();
    let says = |home: &Home, args: &[&str], words: &[&str]| {
        let ran = home.run(args);
        ran.success();
        for word in words {
            assert!(
                ran.text().contains(word) || ran.err.contains(word),
                "{args:?}: no {word}: {}{}",
                ran.text(),
                ran.err
            );
        }
    };
    let id = seeder.id();
    says(&alice, &["ls"], &["a.bin", "3.0 MiB", "complete"]);
    says(&alice, &["info", id], &["a.bin", id, "swarm:"]);
    says(&alice, &["status"], &[&seeder.pid().to_string(), "/ip4/127.0.0.1"]);
    says(&alice, &["verify"], &["all good"]);
    says(&bob, &["status"], &["no node is running"]);
    says(&bob, &["rm", id], &["removed"]);
    says(&bob, &["ls"], &[]);
    assert!(bob.row(id).is_none());
    assert!(bob.path("a.bin").exists(), "rm forgets; the file is the user's");
}

#[test]
fn what_is_removed_is_no_longer_served() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", MIB, 52));
    alice.run(["rm", seeder.id()]).success();
    bob.get(seeder.link(), &["--timeout", "2s"]).exits(3);
    assert!(alice.path("a.bin").exists());
}

#[test]
fn a_unique_prefix_names_what_is_here() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("a.bin", MIB, 53));
    for digits in [4, 6, 20, 63] {
        assert_eq!(alice.ask(&["info", &seeder.id()[..digits]])["id"], seeder.id());
    }
    alice.run(["get", &seeder.id()[..8], "-o", "copy.bin"]).success();
    assert_eq!(fs::read(alice.path("copy.bin")).unwrap(), fs::read(alice.path("a.bin")).unwrap());
    let unknown = bob.run(["info", &seeder.id()[..8]]);
    unknown.exits(1);
    assert!(unknown.err.contains(&seeder.id()[..8]), "{}", unknown.err);
}

#[test]
fn verify_finds_damage_and_gc_what_is_left_over() {
    let home = Home::new();
    let file = home.file("a.bin", 3 * MIB, 54);
    let id = home.publish(&file).id().to_owned();
    damage(&file, MIB + 5);
    let found = home.run(["verify", "--json"]);
    found.exits(4);
    assert_eq!(found.event("verified")["bad"], serde_json::json!([[id, 1]]));
    assert_eq!(home.row(&id).unwrap()["state"], "source changed");
    fs::remove_file(&file).unwrap();
    assert_eq!(home.ask(&["gc", "--dry-run"])["removed"], serde_json::json!([id]));
    assert!(home.row(&id).is_some(), "a dry run deletes nothing");
    assert_eq!(home.ask(&["gc"])["removed"], serde_json::json!([id]));
    assert!(home.row(&id).is_none() && !home.blob_dir(&id).exists());
}

#[test]
fn a_copy_in_the_store_outlives_its_source() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("a.bin", 2 * MIB, 55);
    let seeder = alice.publish_with(&file, &["--copy"]);
    fs::remove_file(&file).unwrap();
    bob.get(seeder.link(), &[]).success();
    let stored = alice.ask(&["status"])["stored"].as_u64().unwrap();
    assert_eq!(stored, 2 * MIB);
    let freed = alice.ask(&["rm", seeder.id()])["freed"].as_u64().unwrap();
    assert!(freed >= 2 * MIB, "{freed}");
}

#[test]
fn a_quota_evicts_what_is_whole_and_never_what_is_being_fetched() {
    let (alice, bob) = (Home::new(), Home::new());
    let daemon = alice.daemon(&[]);
    let publish =
        |name: &str, seed| alice.run([&"publish".into(), &alice.file(name, 4 * MIB, seed)]).success().text();
    let (one, two, big) = (publish("one", 56), publish("two", 57), {
        let file = alice.file("big", 16 * MIB, 58);
        alice.run([&"publish".into(), &file]).success().text()
    });
    let args = ["--peer", daemon.addr(), "--max-store", "10M"];
    for id in [&one, &two] {
        bob.run(["cat", id].iter().chain(&args)).success();
    }
    assert_eq!(bob.ask(&["status"])["stored"], 8 * MIB);
    let third = publish("third", 59);
    bob.run(["cat", &third].iter().chain(&args)).success();
    let left = [&one, &two, &third].map(|id| bob.row(id).is_some());
    assert!(
        left == [false, true, true] || left == [true, false, true],
        "one of the older ones went: {left:?}"
    );
    let refused = bob.run(["cat", &big].iter().chain(&args));
    refused.exits(1);
    assert!(refused.err.contains("--max-store"), "{}", refused.err);
}

#[test]
fn a_timetable_holds_and_a_node_in_the_background_still_fetches() {
    let (alice, bob) = (Home::new(), Home::new());
    let rules = "daily 0-12 up=3M; daily 12-24 up=3M down=4M";
    let seeder =
        alice.publish_with(&alice.file("a.bin", 3 * MIB, 51), &["--schedule", rules, "--limit-up", "1M"]);
    let limits = &alice.ask(&["status"])["limits"];
    assert_eq!(limits["up"], 3 * MIB, "{limits}");
    assert!(limits["rule"].as_str().unwrap().starts_with("daily "), "{limits}");
    // It gets what the other tests leave of the processors.
    bob.spawn_get(seeder.link(), &["--background"]).wait_within(Duration::from_secs(300)).success();
    assert_eq!(fs::read(bob.path("a.bin")).unwrap(), fs::read(alice.path("a.bin")).unwrap());
    let wrong = bob.run(["--schedule", "mon up=1M; sometimes", "status"]);
    wrong.exits(2);
    assert!(wrong.err.contains("`sometimes` is not a day"), "{}", wrong.err);
}
