//! Directories: restored as they were, down to empty files and folders.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use swarm_tests::fixture::{Home, KIB, MIB, listing, write_random};

/// A tree with every kind of entry that a manifest may hold.
fn tree(root: &Path) {
    for folder in ["empty", "deep/er/and/deeper", "deep/empty too", "Über uns/日本"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let files = [
        ("readme.txt", 11),
        ("nothing", 0),
        ("deep/nothing either", 0),
        ("deep/er/and/deeper/big.bin", 2 * MIB + 17),
        ("Über uns/日本/naïve file – 1.txt", 3),
        ("deep/er/64k", 64 * KIB),
        ("run.sh", 40),
        ("deep/tool", MIB),
    ];
    for (i, (name, len)) in files.into_iter().enumerate() {
        write_random(&root.join(name), len, 30 + i as u64);
    }
    for tool in ["run.sh", "deep/tool", "deep/nothing either"] {
        fs::set_permissions(root.join(tool), Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let source = alice.path("release");
    tree(&source);
    symlink("../readme.txt", source.join("deep/link")).unwrap();
    symlink("deep/er", source.join("way")).unwrap();
    let refused = alice.run(["publish", "release"]);
    refused.exits(1);
    assert!(refused.err.contains("--symlinks"), "{}", refused.err);
    let seeder = alice.publish_with(&source, &["--symlinks"]);
    let before = listing(&source);
    let getter = bob.get_and_seed(seeder.link(), &[]);
    assert_eq!(listing(&bob.path("release")), before);
    // From the getter, under another name.
    let id = seeder.id().to_owned();
    seeder.kill();
    carol.get(&id, &["--peer", &bob.addr(), "-o", "other"]).success();
    assert_eq!(listing(&carol.path("other")), before);
    assert_eq!(listing(&bob.path("release")), before, "serving it changed nothing");
    drop(getter);
}

#[test]
fn its_id_is_that_of_its_content_alone() {
    let (alice, bob) = (Home::new(), Home::new());
    tree(&alice.path("one"));
    tree(&bob.path("two"));
    let (one, two) = (alice.publish(&alice.path("one")), bob.publish(&bob.path("two")));
    assert_eq!(one.id(), two.id(), "the same tree has the same id wherever it lies");
}

#[test]
fn trees_of_nothing_arrive() {
    let (alice, bob) = (Home::new(), Home::new());
    for (name, with) in [("bare", None), ("hollow", Some("empty file")), ("nested", Some("a/b/c/"))] {
        let source = alice.path(name);
        fs::create_dir(&source).unwrap();
        match with {
            Some(folder) if folder.ends_with('/') => fs::create_dir_all(source.join(folder)).unwrap(),
            Some(file) => fs::write(source.join(file), "").unwrap(),
            None => {}
        }
        let seeder = alice.publish(&source);
        bob.get(seeder.link(), &[]).success();
        assert_eq!(listing(&bob.path(name)), listing(&source), "{name}");
    }
}

#[test]
fn a_part_of_it_can_be_asked_for() {
    let (alice, bob) = (Home::new(), Home::new());
    tree(&alice.path("release"));
    let seeder = alice.publish(&alice.path("release"));
    let files = |args: &[&str]| {
        let out = format!("part-{}", args.concat().replace(['*', '/', '-'], "_"));
        bob.get(seeder.link(), &[args, &["-o", &out]].concat()).success();
        let all = listing(&alice.path("release"));
        let got: Vec<String> =
            listing(&bob.path(&out)).into_iter().filter(|line| !line.ends_with(" folder")).collect();
        assert!(got.iter().all(|line| all.contains(line)), "{got:?}");
        got.len()
    };
    assert_eq!(files(&["--include", "*.txt"]), 2);
    assert_eq!(files(&["--include", "deep/**"]), 4);
    assert_eq!(files(&["--exclude", "deep/**"]), 4);
    assert_eq!(files(&["--include", "deep/**", "--exclude", "*.bin"]), 3);
    assert_eq!(files(&["--include", "readme.txt", "--include", "run.sh"]), 2);
    // What was fetched in part is completed by asking for all of it.
    bob.get(seeder.link(), &[]).success();
    assert_eq!(listing(&bob.path("release")), listing(&alice.path("release")));
}

#[test]
fn a_tree_goes_into_one_that_is_there_when_asked() {
    let (alice, bob) = (Home::new(), Home::new());
    tree(&alice.path("release"));
    let seeder = alice.publish(&alice.path("release"));
    fs::create_dir(bob.path("release")).unwrap();
    fs::write(bob.path("release/of mine"), "old").unwrap();
    let before = listing(&bob.path("release"));
    bob.get(seeder.link(), &[]).exits(1);
    assert_eq!(listing(&bob.path("release")), before);
    bob.get(seeder.link(), &["--overwrite"]).success();
    assert_eq!(fs::read(bob.path("release/of mine")).unwrap(), b"old");
    fs::remove_file(bob.path("release/of mine")).unwrap();
    assert_eq!(listing(&bob.path("release")), listing(&alice.path("release")));
    let left = fs::read_dir(bob.dir()).unwrap().flatten().count();
    assert_eq!(left, 2, "the home and the tree: {:?}", listing(bob.dir()));
}

#[test]
fn many_small_files_arrive() {
    let (alice, bob) = (Home::new(), Home::new());
    for folder in 0..20 {
        fs::create_dir_all(alice.path(format!("many/{folder}"))).unwrap();
        for file in 0..100 {
            fs::write(alice.path(format!("many/{folder}/{file}")), format!("{folder} {file}")).unwrap();
        }
    }
    let seeder = alice.publish(&alice.path("many"));
    let got = bob.get(seeder.link(), &[]);
    assert_eq!(got.success().event("found")["files"], 2000);
    assert_eq!(listing(&bob.path("many")), listing(&alice.path("many")));
}

#[test]
fn ls_lists_it_and_cat_refuses_it() {
    let (alice, bob) = (Home::new(), Home::new());
    tree(&alice.path("release"));
    let seeder = alice.publish(&alice.path("release"));
    let listed = alice.run(["ls", "--json", seeder.id()]);
    let entries: Vec<_> =
        listed.success().events.iter().filter_map(|event| event["entries"].as_array()).flatten().collect();
    // Eight files and the two folders that hold nothing.
    assert_eq!((entries.len() as u64, listed.last()["count"].as_u64()), (10, Some(10)), "{entries:?}");
    let kind =
        |path: &str| entries.iter().find(|entry| entry["path"] == path).map(|entry| entry["kind"].clone());
    assert_eq!(kind("run.sh"), Some("executable".into()));
    assert_eq!(kind("empty"), Some("directory".into()));
    let shown = alice.run(["ls", seeder.id()]);
    assert!(shown.success().text().contains("Über uns/日本/naïve file – 1.txt"), "{}", shown.text());
    bob.run(["cat", seeder.link()]).exits(1);
}
