//! A part of a directory: known, shared, completed, and repaired file by file.

use std::fs;

use swarm_tests::fixture::{Home, KIB, MIB, listing, write_random};

/// Eight files of one MiB in two folders.
fn eight(home: &Home) {
    for number in 0..8_u64 {
        let folder = home.path(if number < 4 { "pack/a" } else { "pack/b" });
        fs::create_dir_all(&folder).unwrap();
        write_random(&folder.join(number.to_string()), MIB, number);
    }
}

#[test]
fn a_part_is_known_and_shared_and_completed() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    eight(&alice);
    let seeder = alice.publish(&alice.path("pack"));
    let got = bob.get(seeder.link(), &["--include", "a/**"]);
    let done = got.success().event("done");
    assert_eq!((done["len"].as_u64(), done["resumed"].as_u64()), (Some(4 * MIB), Some(0)));
    for progress in got.events.iter().filter(|event| event["event"] == "progress") {
        let total = progress["total"].as_u64().unwrap();
        assert!(total <= 4 * MIB, "progress is of what is fetched: {progress}");
    }
    let row = bob.row(seeder.id()).unwrap();
    assert_eq!(row["state"], "partial");
    assert_eq!(row["have"].as_u64(), Some(4 * MIB), "{row}");

    // Nothing to do, and nothing refused.
    let again = bob.get(seeder.link(), &["--include", "a/**"]);
    assert_eq!(again.success().fetched(), 0);
    // One deleted file is all that comes again.
    fs::remove_file(bob.path("pack/a/2")).unwrap();
    let healed = bob.get(seeder.link(), &["--include", "a/**"]);
    assert!(healed.success().fetched() <= MIB + 2 * 64 * KIB, "{}", healed.fetched());
    // Another part beside it.
    let more = bob.get(seeder.link(), &["--include", "b/5"]);
    assert!(more.success().fetched() <= MIB + 2 * 64 * KIB, "{}", more.fetched());

    // What is here of it is given to others, by a daemon that knows it from its store alone.
    let (id, link) = (seeder.id().to_owned(), seeder.link().to_owned());
    seeder.kill();
    let daemon = bob.daemon(&[]);
    carol
        .get(&id, &["--peer", daemon.addr(), "--include", "a/**", "-o", "part", "--timeout", "30s"])
        .success();
    assert_eq!(listing(&carol.path("part/a")), listing(&alice.path("pack/a")));
    daemon.stop().sane();

    let seeder = alice.publish(&alice.path("pack"));
    assert_eq!(seeder.id(), id, "{link}");
    let all = bob.get(seeder.link(), &[]);
    assert!(all.success().fetched() <= 3 * MIB + 4 * 64 * KIB, "{}", all.fetched());
    assert_eq!(listing(&bob.path("pack")), listing(&alice.path("pack")));
    assert_eq!(bob.row(&id).unwrap()["state"], "complete");
}

/// An earlier run wanted more files: those that it began are not put in place.
#[test]
fn what_was_not_asked_for_this_time_is_not_put_in_place() {
    let (alice, bob) = (Home::new(), Home::new());
    eight(&alice);
    let seeder = alice.publish(&alice.path("pack"));
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "2M"]);
    get.wait_for("progress", |event| event["done"].as_u64() > Some(2 * MIB));
    let _ = get.kill();
    bob.get(seeder.link(), &["--include", "a/1"]).success();
    let names: Vec<String> =
        listing(&bob.path("pack")).into_iter().filter(|l| !l.ends_with("folder")).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::read(bob.path("pack/a/1")).unwrap(), fs::read(alice.path("pack/a/1")).unwrap());
}
