//! A destination that exists: files of the manifest are replaced if `--overwrite` says so, and nothing else
//! is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use swarm_tests::fixture::{Home, KIB, Process, b3, inject, listing, needs, write_random};

use super::{FIRST, SECOND, files, has_all, tree, versions};

#[test]
fn overwriting_a_folder_leaves_what_else_is_in_it() {
    let (one, first, _two, _second) = versions();
    let bob = Home::new();
    bob.get(first.link(), &["--include", "docs/**"]).success();
    fs::write(bob.path("release/docs/mine.txt"), "mine").unwrap();
    fs::write(bob.path("release/diary"), "mine too").unwrap();
    fs::create_dir(bob.path("release/empty of mine")).unwrap();
    bob.get(first.link(), &["--overwrite"]).success();
    assert_eq!(fs::read(bob.path("release/docs/mine.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(bob.path("release/diary")).unwrap(), b"mine too");
    assert!(bob.path("release/empty of mine").is_dir());
    has_all(&bob.path("release"), &one.path("release"));

    // A folder that swarm never made.
    fs::create_dir_all(bob.path("stuff/release/docs")).unwrap();
    fs::write(bob.path("stuff/release/docs/a.txt"), "of mine, and of the same name").unwrap();
    fs::write(bob.path("stuff/release/letter"), "of mine").unwrap();
    let refused = bob.get(first.link(), &["-o", "stuff/"]);
    assert!(refused.exits(1).text().contains("already there"), "{}", refused.text());
    assert!(!refused.text().contains("delete"), "{}", refused.text());
    bob.get(first.link(), &["-o", "stuff/", "--overwrite"]).success();
    assert_eq!(fs::read(bob.path("stuff/release/letter")).unwrap(), b"of mine");
    has_all(&bob.path("stuff/release"), &one.path("release"));
    let hidden = listing(bob.dir()).into_iter().filter(|line| line.contains("swarm-part"));
    assert_eq!(hidden.count(), 0, "nothing is left beside it");
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one() {
    let (one, first, two, second) = versions();
    let bob = Home::new();
    bob.get(first.link(), &["-o", "live"]).success();
    fs::write(bob.path("live/mine"), "mine").unwrap();
    // An edit of a file that the new version does not have.
    fs::write(bob.path("live/docs/old.txt"), "edited").unwrap();
    let refused = bob.get(second.link(), &["-o", "live"]);
    assert!(refused.exits(1).text().contains("--overwrite"), "{}", refused.text());
    assert_eq!(b3(&bob.path("live/bin/tool")), b3(&one.path("release/bin/tool")));
    let got = bob.get(second.link(), &["-o", "live", "--overwrite"]);
    assert_eq!(got.success().event("done")["path"], bob.path("live").display().to_string());
    has_all(&bob.path("live"), &two.path("release"));
    assert!(!bob.path("live/release").exists());
    assert!(bob.path("live/old/gone/deep.txt").exists(), "nobody asked for it to go");
    assert!(got.text().contains("1 file of an earlier version"), "{}", got.text());

    let cleared = bob.get(second.link(), &["-o", "live", "--delete"]);
    assert!(cleared.success().text().contains("live/old/gone/deep.txt"), "{}", cleared.text());
    assert!(!bob.path("live/old").exists());
    assert_eq!(fs::read(bob.path("live/docs/old.txt")).unwrap(), b"edited", "an edit is somebody's");
    assert_eq!(fs::read(bob.path("live/mine")).unwrap(), b"mine");
    has_all(&bob.path("live"), &two.path("release"));
}

#[test]
fn nothing_is_deleted_that_swarm_did_not_put_there() {
    let (one, first, two, second) = versions();
    let bob = Home::new();
    // Of the first version's files some are the person's own, with the very same bytes.
    tree(&bob.path("live"), &FIRST[3..5]);
    bob.get(first.link(), &["-o", "live", "--exact", "--overwrite"]).success();
    has_all(&bob.path("live"), &one.path("release"));
    bob.get(second.link(), &["-o", "live", "--overwrite", "--delete"]).success();
    has_all(&bob.path("live"), &two.path("release"));
    assert!(bob.path("live/docs/old.txt").exists() && bob.path("live/old/gone/deep.txt").exists());
}

#[test]
fn a_folder_that_is_not_known_any_longer_is_not_taken_for_one_to_put_it_into() {
    let (_one, first, two, second) = versions();
    let bob = Home::new();
    bob.get(first.link(), &["-o", "live"]).success();
    let before = listing(&bob.path("live"));
    bob.run(["rm", first.id()]).success();
    let refused = bob.get(second.link(), &["-o", "live", "--overwrite"]);
    assert!(refused.exits(1).text().contains("--exact"), "{}", refused.text());
    assert_eq!(listing(&bob.path("live")), before);
    bob.get(second.link(), &["-o", "live", "--overwrite", "--exact"]).success();
    has_all(&bob.path("live"), &two.path("release"));
    bob.get(second.link(), &["-o", "live/", "--overwrite"]).success();
    has_all(&bob.path("live/release"), &two.path("release"));
}

/// A name that is in the way, and the function that puts it there.
type Way = (&'static str, fn(&Path));

/// A file or folder that is in the way and is never replaced is named before a byte is fetched.
#[test]
fn what_stands_in_the_way_is_named() {
    let (_one, first, _two, _second) = versions();
    let ways: [Way; 4] = [
        ("release/bin/tool", |at| fs::create_dir_all(at.join("bin/tool/folder")).unwrap()),
        ("release/docs", |at| fs::write(at.join("docs"), "a file").unwrap()),
        ("release/old/gone", |at| {
            fs::create_dir(at.join("old")).unwrap();
            symlink("/tmp", at.join("old/gone")).unwrap();
        }),
        ("release", |at| {
            fs::remove_dir(at).unwrap();
            fs::write(at, "a file").unwrap();
        }),
    ];
    for (name, way) in ways {
        let bob = Home::new();
        fs::create_dir(bob.path("release")).unwrap();
        way(&bob.path("release"));
        let before = files(&bob.path("."));
        let refused = bob.get(first.link(), &["--overwrite"]);
        assert!(refused.exits(1).text().contains(name), "{name}: {}", refused.text());
        let bytes = |event: &&serde_json::Value| {
            event["event"] == "progress" && event["total"].as_u64() > Some(4 * KIB)
        };
        assert_eq!(refused.events.iter().filter(bytes).count(), 0, "{name}: nothing was fetched");
        let kept = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|line| !line.contains("home/")).collect()
        };
        assert_eq!(kept(files(&bob.path("."))), kept(before), "{name}");
    }
}

#[test]
fn two_contents_of_one_name_do_not_go_into_one_folder() {
    let (one, two, bob) = (Home::new(), Home::new(), Home::new());
    let len = 4 << 20;
    let (a, b) = (one.publish(&one.file("f.bin", len, 1)), two.publish(&two.file("f.bin", len, 2)));
    let ran = bob.run(["get", "--json", a.link(), b.link(), "-o", "both/", "--limit-down", "4M"]);
    assert!(ran.exits(1).text().contains("f.bin"), "{}", ran.text());
    let done: Vec<_> = ran.events.iter().filter(|event| event["event"] == "done").collect();
    assert_eq!(done.len(), 1, "{}", ran.text());
    assert!(ran.fetched() <= len, "the second was not fetched");
    let left = fs::read_dir(bob.path("both")).unwrap().count();
    assert_eq!(left, 1, "{:?}", listing(&bob.path("both")));
}

/// File systems such as FUSE and NFS know no flags of a rename.
#[test]
fn file_systems_that_refuse_flags_will_do() {
    needs("strace", "strace");
    let (one, first, two, second) = versions();
    let bob = Home::new();
    let plain = |args: &[&str]| {
        let command = bob.command([&["get", "--json"][..], args].concat());
        Process::spawn(inject(&command, &["renameat2:error=EINVAL"])).wait()
    };
    plain(&[first.link(), "-o", "live"]).success();
    has_all(&bob.path("live"), &one.path("release"));
    fs::write(bob.path("live/mine"), "mine").unwrap();
    plain(&[first.link(), "-o", "live"]).success();
    plain(&[second.link(), "-o", "live", "--overwrite"]).success();
    has_all(&bob.path("live"), &two.path("release"));
    assert_eq!(fs::read(bob.path("live/mine")).unwrap(), b"mine");
    let other = Home::new();
    let lone = other.publish(&other.file("f.bin", 100 * KIB, 9));
    plain(&[lone.link(), "-o", "lone"]).success();
    fs::write(bob.path("lone"), "of mine").unwrap();
    plain(&[lone.link(), "-o", "lone"]).exits(1);
    assert_eq!(fs::read(bob.path("lone")).unwrap(), b"of mine");
}

/// A hash list replaces an earlier hash list, and no other file.
#[test]
fn a_hash_list_replaces_nothing_but_a_hash_list() {
    let alice = Home::new();
    let file = alice.file("f.bin", 300 * KIB, 1);
    fs::write(alice.path("letter"), "of mine").unwrap();
    let refused = alice.run(["publish", "f.bin", "--hash-list", "letter"]);
    assert!(refused.exits(1).err.contains("letter"), "{}", refused.err);
    assert_eq!(fs::read(alice.path("letter")).unwrap(), b"of mine");
    for seed in [1, 2] {
        write_random(&file, 300 * KIB, seed);
        alice.publish_with(&file, &["--hash-list", "f.bin.swarm"]).stop().success();
    }
    assert!(fs::metadata(alice.path("f.bin.swarm")).unwrap().size() > 0);
}

/// Files that a person may have in a folder into which a version is put.
fn own_files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let names = ["mine", "docs/mine", "bin/x/y", "new/c.txt", "old/gone/own", "zz"];
    let one = (prop::sample::select(names.to_vec()), prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec(one.prop_map(|(name, bytes)| (name.to_owned(), bytes)), 1..5)
}

/// Kills at any call that changes the folder: each file has its old bytes or its new ones, the person's files
/// are unchanged, and the command goes on when it is run again.
#[test]
fn a_kill_in_the_middle_of_a_merge_costs_nothing() {
    needs("strace", "strace");
    let (one, first, two, second) = versions();
    let calls = ["renameat2", "renameat", "mkdirat", "unlinkat", "syncfs"];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for n in 1..=12_u32 {
        let own = own_files().new_tree(&mut runner).unwrap().current();
        let bob = Home::new();
        bob.get(first.link(), &["-o", "live"]).success();
        let mut mine = std::collections::BTreeMap::new();
        for (name, bytes) in own {
            fs::create_dir_all(bob.path("live").join(&name).parent().unwrap()).unwrap();
            fs::write(bob.path("live").join(&name), &bytes).unwrap();
            mine.insert(name, bytes);
        }
        let call = calls[n as usize % calls.len()];
        let fault = format!("{call}:signal=KILL:when={}", n.div_ceil(2));
        let args = ["get", "--json", second.link(), "-o", "live", "--overwrite", "--delete"];
        let killed = Process::spawn(inject(&bob.command(args), &[&fault])).wait();
        killed.sane();
        let (old, new) = (files(&one.path("release")), files(&two.path("release")));
        for line in files(&bob.path("live")) {
            let is_mine = mine.keys().any(|name| line.starts_with(&format!("{name} ")));
            assert!(is_mine || old.contains(&line) || new.contains(&line), "{fault}: {line}");
        }
        for (name, ..) in FIRST.iter().filter(|(name, ..)| SECOND.iter().any(|(new, ..)| new == name)) {
            assert!(bob.path("live").join(name).is_file(), "{fault}: {name} is missing");
        }
        let again = bob.run(args);
        again.success();
        has_all(&bob.path("live"), &two.path("release"));
        for (name, bytes) in &mine {
            assert_eq!(fs::read(bob.path("live").join(name)).unwrap(), *bytes, "{fault}: {name}");
        }
        let left = listing(bob.dir()).into_iter().filter(|line| line.contains("swarm-part")).count();
        assert_eq!(left, 0, "{fault}: {:?}", listing(bob.dir()));
    }
}
