//! Disks that lie: D40 (bit rot in fetched files) and D41 (a damaged index).

use std::fs;
use std::path::{Path, PathBuf};

use swarm_tests::fixture::{Home, KIB, MIB, b3, damage, write_random};

/// Ten chunks of the 128, spread over the file.
const BAD: [u64; 10] = [0, 7, 19, 31, 32, 64, 77, 100, 126, 127];

#[test]
fn d40_rotten_chunks_are_found_not_served_and_healed() {
    let (alice, bob, carol, dave) = (Home::new(), Home::new(), Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 8 * MIB, 100));
    let id = seeder.id().to_owned();
    let getter = bob.get_and_seed(seeder.link(), &[]);
    for chunk in BAD {
        damage(&bob.path("f.bin"), chunk * 64 * KIB + 1000 + chunk);
    }
    // From bob alone it cannot be had whole, and nothing of what is bad is taken. (Bob would introduce the
    // publisher.)
    seeder.stop().exits(0);
    let alone = carol.get(&id, &["--peer", &bob.addr(), "--timeout", "4s"]);
    assert!(matches!(alone.code, Some(3 | 5)), "{:?} {}", alone.code, alone.err);
    assert!(!carol.path("f.bin").exists());
    // With the publisher it can, and what bob gave before was right.
    let seeder = alice.publish(&alice.path("f.bin"));
    let both = carol.get(seeder.link(), &["--peer", &bob.addr()]);
    both.success();
    assert_eq!(b3(&carol.path("f.bin")), id);
    // A fresh one that meets both.
    dave.get(seeder.link(), &["--peer", &bob.addr()]).success();
    assert_eq!(b3(&dave.path("f.bin")), id);
    // Reading everything again finds exactly these.
    let found = bob.run(["verify", "--json"]);
    found.exits(4);
    assert_eq!(found.event("verified")["bad"], serde_json::json!([[id, 10]]));
    let _ = getter.interrupt();
    let healed = bob.run(["verify", "--repair", "--json", "--peer", seeder.addr()]);
    healed.success();
    assert_eq!(healed.event("verified")["repaired"], 10);
    assert_eq!(b3(&bob.path("f.bin")), id);
    bob.run(["verify"]).success();
    assert_eq!(bob.row(&id).unwrap()["state"], "complete");
}

#[test]
fn d40_a_rotten_part_of_a_download_is_fetched_again() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 24 * MIB, 101));
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "8M"]);
    get.wait_for_progress(12 * MIB);
    get.interrupt().exits(130);
    let hidden = |path: &PathBuf| path.to_string_lossy().ends_with(".swarm-part");
    let part = fs::read_dir(bob.dir()).unwrap().flatten().map(|entry| entry.path()).find(hidden).unwrap();
    // Wherever it hits: what was written is damaged, what was not is about to be.
    for at in (0..24).map(|i| i * MIB + 77) {
        damage(&part, at.min(fs::metadata(&part).unwrap().len() - 1));
    }
    bob.get(seeder.link(), &[]).success();
    assert_eq!(b3(&bob.path("f.bin")), seeder.id());
}

#[test]
fn d40_a_rotten_record_or_list_is_not_believed() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 3 * MIB, 102));
    for name in ["info", "list"] {
        bob.get(seeder.link(), &["--overwrite"]).success();
        let file = bob.blob_dir(seeder.id()).join(name);
        damage(&file, fs::metadata(&file).unwrap().len() / 2);
        // Without its index, only the damaged file is left to be believed.
        fs::remove_dir_all(bob.store().join("store/index")).unwrap();
        bob.run(["ls"]).success();
        bob.run(["verify"]).sane();
        bob.get(seeder.link(), &["-o", &format!("again-{name}")]).success();
        assert_eq!(b3(&bob.path(format!("again-{name}"))), seeder.id());
        fs::remove_file(bob.path("f.bin")).unwrap();
    }
}

/// Returns the files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// A way to spoil the index: it is applied to each file, whose length it is given.
type Spoil = fn(&Path, u64);

#[test]
fn d41_a_spoilt_index_is_built_again() {
    let home = Home::new();
    let mut ids = Vec::new();
    for i in 0..3_u64 {
        let seeder = home.publish(&home.file(&format!("file-{i}"), (i + 1) * 100 * KIB, 103 + i));
        ids.push(seeder.id().to_owned());
        seeder.stop().success();
    }
    fs::create_dir(home.path("tree")).unwrap();
    write_random(&home.path("tree/x"), MIB, 110);
    let seeder = home.publish(&home.path("tree"));
    ids.push(seeder.id().to_owned());
    seeder.stop().success();
    let index = home.store().join("store/index");
    let empty: Spoil = |path, _| fs::write(path, "").unwrap();
    let half: Spoil =
        |path, len| fs::File::options().write(true).open(path).unwrap().set_len(len / 2).unwrap();
    let garbage: Spoil = |path, len| write_random(path, len, 111);
    let flipped: Spoil = |path, len| (0..len).step_by(97).for_each(|at| damage(path, at));
    let zeros: Spoil = |path, len| fs::write(path, vec![0; len as usize]).unwrap();
    let gone: Spoil = |path, _| fs::remove_file(path).unwrap();
    let snapshots: Spoil = |path, _| {
        if path.file_name().unwrap().to_string_lossy().starts_with("snap") {
            fs::remove_file(path).unwrap();
        }
    };
    let ways = [
        ("empty", empty),
        ("cut", half),
        ("garbage", garbage),
        ("flipped", flipped),
        ("zeros", zeros),
        ("gone", gone),
        ("no snapshot", snapshots),
    ];
    for (name, spoil) in ways {
        // After an orderly end the index is believed: the most dangerous time to damage it.
        assert!(home.store().join("store/clean").exists(), "{name}: ended in order");
        files(&index).iter().for_each(|path| spoil(path, fs::metadata(path).unwrap().len()));
        check_all_listed(&home, name, &ids);
    }
    fs::remove_dir_all(&index).unwrap();
    check_all_listed(&home, "no folder", &ids);
    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, "a file where a folder should be").unwrap();
    check_all_listed(&home, "a file", &ids);
    home.run(["verify"]).success();
}

/// After a crash only the records that changed are read again. All are read if the index lost more than
/// those.
#[test]
fn d41_a_killed_node_loses_no_record() {
    let home = Home::new();
    let seeder = home.publish(&home.file("old", 100 * KIB, 120));
    let old = seeder.id().to_owned();
    seeder.stop().success();
    let index = home.store().join("store/index");
    for spoilt in [false, true] {
        // One added and one removed since the index was last on disk.
        let seeder = home.publish(&home.file("gone", 50 * KIB, 121));
        let gone = seeder.id().to_owned();
        home.run(["rm", &gone]).success();
        let beside = home.publish(&home.file(&format!("new-{spoilt}"), 70 * KIB, 122));
        let new = beside.id().to_owned();
        // Before the node: it would become the next one.
        beside.kill();
        seeder.kill();
        assert!(!home.store().join("store/clean").exists());
        if spoilt {
            files(&index).iter().for_each(|path| fs::write(path, "").unwrap());
        }
        let ran = home.run(["-vv", "ls", "--json"]);
        let replayed = ran.success().err.contains("the index is up to date again");
        assert_eq!(replayed, !spoilt, "{}", ran.err);
        check_all_listed(&home, "killed", &[old.clone(), new.clone()]);
        assert!(home.row(&gone).is_none());
    }
}

#[track_caller]
fn check_all_listed(home: &Home, name: &str, ids: &[String]) {
    let ran = home.run(["ls", "--json"]);
    let blobs = ran.success().last()["blobs"].as_array().unwrap().clone();
    assert!(ran.err.is_empty() || !ran.err.contains("panick"), "{name}: {}", ran.err);
    for id in ids {
        let row = blobs.iter().find(|blob| blob["id"] == id.as_str());
        assert!(row.is_some_and(|row| row["state"] == "complete"), "{name}: {id} in {blobs:?}");
    }
    assert_eq!(blobs.len(), ids.len(), "{name}");
}
