//! Nothing is written through a link, a hard link, or a file that replaced one of swarm's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use swarm_tests::fixture::{Home, KIB, MIB, b3, damage, write_random};

/// Returns the hidden place of a download in this folder.
fn hidden(home: &Home) -> PathBuf {
    let is_hidden = |path: &PathBuf| path.to_string_lossy().ends_with(".swarm-part");
    fs::read_dir(home.dir()).unwrap().flatten().map(|entry| entry.path()).find(is_hidden).unwrap()
}

/// `verify --repair` after the file was replaced by a link, a hard link or another file.
#[test]
fn a_repair_writes_only_to_what_was_put_there() {
    let (alice, bob) = (Home::new(), Home::new());
    let len = MIB;
    let seeder = alice.publish(&alice.file("f.bin", len, 1));
    bob.get(seeder.link(), &[]).success();
    let ways: [fn(&Home); 3] = [
        |bob| symlink("victim", bob.path("f.bin")).unwrap(),
        |bob| fs::hard_link(bob.path("victim"), bob.path("f.bin")).unwrap(),
        |bob| assert!(fs::copy(bob.path("victim"), bob.path("f.bin")).unwrap() > 0),
    ];
    for way in ways {
        write_random(&bob.path("victim"), len, 2);
        let before = b3(&bob.path("victim"));
        fs::rename(bob.path("f.bin"), bob.path("kept")).unwrap();
        way(&bob);
        let at_place = b3(&bob.path("f.bin"));
        let ran = bob.run(["verify", "--repair", "--peer", seeder.addr()]);
        assert_ne!(ran.sane().code, Some(0), "{}", ran.err);
        assert_eq!(b3(&bob.path("victim")), before);
        assert_eq!(b3(&bob.path("f.bin")), at_place, "it is somebody's");
        fs::remove_file(bob.path("f.bin")).unwrap();
        fs::rename(bob.path("kept"), bob.path("f.bin")).unwrap();
        bob.run(["verify"]).success();
    }
    // A second name of the damaged file keeps what it has.
    damage(&bob.path("f.bin"), 70_000);
    fs::hard_link(bob.path("f.bin"), bob.path("backup")).unwrap();
    let damaged = b3(&bob.path("backup"));
    bob.run(["verify", "--repair", "--peer", seeder.addr()]).success();
    assert_eq!((b3(&bob.path("f.bin")), b3(&bob.path("backup"))), (seeder.id().to_owned(), damaged));
}

/// A download that goes on does not write to a file that replaced its hidden file.
#[test]
fn a_resumed_download_writes_only_to_what_it_made() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 6 * MIB, 1));
    let ways: [fn(&Home, &PathBuf); 4] = [
        |bob, part| symlink(bob.path("victim"), part).unwrap(),
        |bob, part| fs::hard_link(bob.path("victim"), part).unwrap(),
        |bob, part| assert!(fs::copy(bob.path("victim"), part).unwrap() > 0),
        |bob, part| {
            fs::create_dir(part).unwrap();
            fs::copy(bob.path("victim"), part.join("own")).unwrap();
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let out = format!("out{number}");
        let get = bob.spawn_get(seeder.link(), &["--limit-down", "3M", "-o", &out]);
        get.wait_for_progress(2 * MIB);
        let _ = get.kill();
        write_random(&bob.path("victim"), 6 * MIB, 2);
        fs::set_permissions(bob.path("victim"), fs::Permissions::from_mode(0o600)).unwrap();
        let before = (b3(&bob.path("victim")), fs::metadata(bob.path("victim")).unwrap().mode());
        let part = hidden(&bob);
        fs::remove_file(&part).unwrap();
        way(&bob, &part);
        bob.get(seeder.link(), &["-o", &out]).success();
        assert_eq!(b3(&bob.path(&out)), seeder.id());
        let after = (b3(&bob.path("victim")), fs::metadata(bob.path("victim")).unwrap().mode());
        assert_eq!(before, after, "way {number}");
        assert!(part.symlink_metadata().is_ok(), "way {number}: it is somebody's");
        bob.run(["rm", seeder.id()]).success();
        bob.run(["gc"]).success();
        assert!(part.symlink_metadata().is_ok(), "way {number}: it is somebody's");
        let _ = if part.is_dir() { fs::remove_dir_all(&part) } else { fs::remove_file(&part) };
        fs::remove_file(bob.path(&out)).unwrap();
    }
}

/// `rm` of an unfinished download removes the files that swarm made, and leaves those that somebody put among
/// them.
#[test]
fn rm_leaves_what_others_put_into_the_hidden_folder() {
    let (alice, bob) = (Home::new(), Home::new());
    for number in 0..20_u64 {
        fs::create_dir_all(alice.path("tree/below")).unwrap();
        write_random(&alice.path(format!("tree/below/{number}")), 300 * KIB, number);
    }
    let seeder = alice.publish(&alice.path("tree"));
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "2M"]);
    get.wait_for("progress", |event| event["done"].as_u64() > Some(2 * MIB));
    let _ = get.kill();
    let part = hidden(&bob);
    fs::write(part.join("below/own"), "own").unwrap();
    fs::remove_file(part.join("below/1")).unwrap();
    fs::write(part.join("below/1"), "own as well").unwrap();
    bob.run(["rm", seeder.id()]).success();
    assert_eq!(fs::read(part.join("below/own")).unwrap(), b"own");
    assert_eq!(fs::read(part.join("below/1")).unwrap(), b"own as well");
    assert_eq!(fs::read_dir(part.join("below")).unwrap().count(), 2);
    bob.get(seeder.link(), &[]).success();
    assert_eq!(fs::read(part.join("below/own")).unwrap(), b"own");
}
