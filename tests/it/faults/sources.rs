//! D42: published files that are edited. No bad byte is served, the publisher is told, and other holders
//! finish the downloads.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

use swarm_tests::fixture::{Home, KIB, MIB, b3, damage, fill, write_random};

/// An edit of a published file.
type Edit = fn(&Path);

const EDITS: [(&str, Edit); 7] = [
    ("overwritten in place", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&fill((4 * MIB) as usize, 999), MIB).unwrap();
    }),
    ("overwritten, times put back", |path| {
        let times = fs::metadata(path).unwrap().modified().unwrap();
        (0..64).for_each(|chunk| damage(path, chunk * 128 * KIB + 5));
        File::options().write(true).open(path).unwrap().set_modified(times).unwrap();
    }),
    ("truncated", |path| File::options().write(true).open(path).unwrap().set_len(3 * MIB).unwrap()),
    ("emptied", |path| drop(File::create(path).unwrap())),
    ("appended to", |path| {
        File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
        damage(path, 10);
    }),
    ("renamed over", |path| {
        let new = path.with_extension("new");
        write_random(&new, 8 * MIB, 998);
        fs::rename(new, path).unwrap();
    }),
    ("deleted", |path| fs::remove_file(path).unwrap()),
];

#[test]
fn d42_an_edited_source_is_never_served() {
    let bob = Home::new();
    let right = bob.file("f.bin", 8 * MIB, 120);
    let good = bob.publish(&right);
    for (name, edit) in EDITS {
        let (alice, carol, dave) = (Home::new(), Home::new(), Home::new());
        fs::copy(&right, alice.path("f.bin")).unwrap();
        let seeder = alice.publish(&alice.path("f.bin"));
        edit(&alice.path("f.bin"));
        // Both are there: the other one finishes the job.
        let got = carol.get(good.link(), &["--peer", seeder.addr()]);
        got.success();
        assert_eq!(b3(&carol.path("f.bin")), good.id(), "{name}");
        seeder.must_run();
        // Only the edited one is: nothing is in place in the end.
        let alone = dave.get(seeder.link(), &["--timeout", "1500ms"]);
        // A file that was renamed over or deleted is still open: then its bytes are still there to be served.
        match alone.code {
            Some(0) => assert_eq!(b3(&dave.path("f.bin")), good.id(), "{name}"),
            code => assert!(matches!(code, Some(3 | 5)) && !dave.path("f.bin").exists(), "{name}: {code:?}"),
        }
        let state = alice.row(seeder.id()).unwrap()["state"].clone();
        let still_has_it = alone.code == Some(0);
        let gone = if name == "deleted" { "source missing" } else { "source changed" };
        assert!(still_has_it || state == gone, "{name}: {state}");
        seeder.stop().success();
        // The next start knows too, or finds out when it reads.
        alice.run(["verify"]).exits(4);
        assert_eq!(alice.row(good.id()).unwrap()["state"], gone, "{name}");
    }
}

#[test]
fn d42_a_source_that_is_touched_but_the_same_is_served_on() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("f.bin", 2 * MIB, 121);
    let seeder = alice.publish(&file);
    File::options().write(true).open(&file).unwrap().set_modified(SystemTime::now()).unwrap();
    bob.get(seeder.link(), &[]).success();
    // Written anew with the same bytes, by an editor that renames.
    let copy = alice.path("copy");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    seeder.stop().success();
    alice.run(["verify"]).success();
    assert_eq!(alice.row(&b3(&file)).unwrap()["state"], "complete");
}

#[test]
fn d42_an_edit_in_the_middle_of_a_transfer() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("f.bin", 10 * MIB, 122);
    fs::copy(&file, bob.path("f.bin")).unwrap();
    // Most of it is asked of the one that is edited.
    let seeder = alice.publish_with(&file, &["--limit-up", "6M"]);
    let other = bob.publish_with(&bob.path("f.bin"), &["--limit-up", "3M"]);
    let get = carol.spawn_get(seeder.link(), &["--peer", other.addr()]);
    get.wait_for_progress(2 * MIB);
    write_random(&file, 10 * MIB, 123);
    get.wait().success();
    assert_eq!(b3(&carol.path("f.bin")), seeder.id());
    let told = alice.ask(&["status"])["notices"].to_string();
    assert!(told.contains("f.bin has changed since it was published"), "its owner hears of it: {told}");
}

#[test]
fn d42_an_edited_tree_is_never_served() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    for home in [&alice, &bob] {
        fs::create_dir(home.path("tree")).unwrap();
        (0..20).for_each(|i| write_random(&home.path(format!("tree/{i}")), 200 * KIB, 130 + i));
    }
    let (bad, good) = (alice.publish(&alice.path("tree")), bob.publish(&bob.path("tree")));
    assert_eq!(bad.id(), good.id());
    damage(&alice.path("tree/3"), 100);
    let alone = carol.get(bad.link(), &["--timeout", "1500ms"]);
    assert!(matches!(alone.code, Some(3 | 5)) && !carol.path("tree").exists(), "{:?}", alone.code);
    fs::remove_file(alice.path("tree/9")).unwrap();
    fs::rename(alice.path("tree/11"), alice.path("tree/eleven")).unwrap();
    let got = carol.get(good.link(), &["--peer", bad.addr()]);
    got.success();
    assert_eq!(
        swarm_tests::fixture::tree_hash(&carol.path("tree")),
        swarm_tests::fixture::tree_hash(&bob.path("tree"))
    );
    bad.must_run();
}

#[test]
fn d42_a_file_that_is_written_to_while_it_is_published_is_refused_or_right() {
    let (alice, bob) = (Home::new(), Home::new());
    let file = alice.file("log", 64 * MIB, 124);
    let process = alice.spawn(["publish", "--link", "log"]);
    let mut log = File::options().append(true).open(&file).unwrap();
    // Until it has said one thing or the other.
    swarm_tests::fixture::wait_until("publish ends or says its link", swarm_tests::fixture::PATIENCE, || {
        log.write_all(b"another line\n").unwrap();
        process.has_ended() || !process.out().is_empty()
    });
    if process.has_ended() {
        process.wait().exits(4);
        return;
    }
    let link = String::from_utf8(process.out()).unwrap().trim().to_owned();
    let got = bob.get(&link, &["--timeout", "3s"]);
    if got.code == Some(0) {
        assert!(link.contains(&b3(&bob.path("log"))));
    }
    process.interrupt().success();
}
