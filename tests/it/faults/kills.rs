//! D33: SIGKILL at every kind of call that changes the disk, once and again while recovering from it.

use std::fs;
use std::path::Path;

use swarm_tests::fixture::{Home, KIB, MIB, PATIENCE, Process, Ran, Seeder, b3, inject, listing, wait_until};

use super::{all, check_nothing_wrong, check_store};

/// System calls, and a sample of the moments to kill at: the Nth such call of a thread.
const GET: [(&str, &[u32]); 9] = [
    ("fsync", &[1, 3]),
    ("fdatasync", &[1, 2, 4]),
    ("pwrite64", &[1, 9]),
    ("ftruncate", &[1]),
    ("rename", &[1, 2]),
    ("renameat2", &[1]),
    ("unlink", &[1]),
    ("write", &[4]),
    ("mkdir", &[6]),
];
/// System calls and the sample of moments for `publish`.
const PUBLISH: [(&str, &[u32]); 7] = [
    ("fsync", &[2, 5]),
    ("fdatasync", &[1, 2, 4]),
    ("pwrite64", &[1]),
    ("rename", &[2, 3]),
    ("unlink", &[2]),
    ("write", &[6]),
    ("mkdir", &[8]),
];
/// Most numbers of a call that are tried when everything is tried.
const MOST: u32 = 200;

/// Runs `case(call, n)` for the sample, or for every N up to the first that the process does not reach.
/// `case` returns true if it was reached.
fn for_each(calls: &[(&'static str, &[u32])], mut case: impl FnMut(&'static str, u32) -> bool) {
    let mut reached = 0;
    for (call, sample) in calls {
        let numbers: Vec<u32> = if all() { (1..MOST).collect() } else { sample.to_vec() };
        let hit = |n: &&u32| case(call, **n);
        // Without a sample, the first number that is not reached is the end.
        reached +=
            if all() { numbers.iter().take_while(hit).count() } else { numbers.iter().filter(hit).count() };
    }
    // If most of the sample is not reached, the numbers no longer fit the program.
    let wanted: usize = calls.iter().map(|(_, sample)| sample.len()).sum();
    assert!(reached * 3 >= wanted * 2, "only {reached} of {wanted} kills hit: take other numbers");
}

fn killed(ran: &Ran) -> bool {
    assert!(ran.signal.is_none() || ran.signal == Some(9), "{:?}", ran.signal);
    ran.signal == Some(9)
}

#[test]
fn d33_get_of_a_file() {
    let alice = Home::new();
    let seeder = alice.publish(&alice.file("f.bin", 3 * MIB, 70));
    for_each(&GET, |call, n| {
        let bob = Home::new();
        let fault = format!("{call}:signal=KILL:when={n}");
        let once =
            || Process::spawn(inject(&bob.command(["get", "--json", seeder.link()]), &[&fault])).wait();
        let first = once();
        check_nothing_wrong(&bob, "f.bin", seeder.id(), &first);
        if killed(&first) {
            // And again, by now in the middle of the recovery.
            check_nothing_wrong(&bob, "f.bin", seeder.id(), &once());
        }
        bob.get(seeder.link(), &[]).success();
        assert_eq!(b3(&bob.path("f.bin")), seeder.id(), "{fault}");
        check_store(&bob);
        let left = listing(bob.dir()).into_iter().filter(|line| !line.starts_with("home")).count();
        assert_eq!(left, 1, "{fault}: {:?}", listing(bob.dir()));
        killed(&first)
    });
}

/// Makes a tree of small files that share chunks, and an empty file and folder.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("a/b/empty")).unwrap();
    fs::write(root.join("a/nothing"), "").unwrap();
    for i in 0..30_u64 {
        swarm_tests::fixture::write_random(&root.join(format!("a/b/{i}")), i * 5 * KIB + 1, 71 + i);
    }
}

#[test]
fn d33_get_of_a_directory() {
    let alice = Home::new();
    tree(&alice.path("tree"));
    let seeder = alice.publish(&alice.path("tree"));
    let right = listing(&alice.path("tree"));
    let calls: [(&str, &[u32]); 5] =
        [("syncfs", &[1]), ("renameat2", &[1]), ("pwrite64", &[20]), ("fdatasync", &[7]), ("mkdirat", &[1])];
    for_each(&calls, |call, n| {
        let bob = Home::new();
        let fault = format!("{call}:signal=KILL:when={n}");
        let first = Process::spawn(inject(&bob.command(["get", "--json", seeder.link()]), &[&fault])).wait();
        first.sane();
        if bob.path("tree").exists() {
            assert_eq!(listing(&bob.path("tree")), right, "{fault}: what is in place is whole");
        }
        // What is in place needs nothing more.
        bob.get(seeder.link(), &[]).success();
        assert_eq!(listing(&bob.path("tree")), right, "{fault}");
        check_store(&bob);
        killed(&first)
    });
}

#[test]
fn d33_publish() {
    let carol = Home::new();
    for_each(&PUBLISH, |call, n| {
        let alice = Home::new();
        let file = alice.file("f.bin", MIB + 1, 72);
        let fault = format!("{call}:signal=KILL:when={n}");
        let process = Process::spawn(inject(&alice.command(["publish", "f.bin"]), &[&fault]));
        wait_until("it is killed or publishes", PATIENCE, || {
            process.has_ended() || !process.out().is_empty()
        });
        let first = if process.has_ended() { process.wait() } else { process.interrupt() };
        first.sane();
        let said = first.text();
        let listed = alice.ask(&["ls"])["blobs"].as_array().unwrap().clone();
        assert!(said.is_empty() || listed.len() == 1, "{fault}: what was said to be published is");
        assert!(listed.iter().all(|blob| blob["state"] == "complete"), "{fault}: {listed:?}");
        check_store(&alice);
        // Going on needs no flag either.
        let again: Seeder = alice.publish(&file);
        assert_eq!(again.id(), b3(&file));
        if n == 2 {
            carol.get(again.link(), &["--overwrite"]).success();
        }
        killed(&first)
    });
}

#[test]
fn d33_gc() {
    for_each(&[("unlink", &[1]), ("unlinkat", &[1, 2, 4])], |call, n| {
        let alice = Home::new();
        let file = alice.file("gone.bin", MIB, 73);
        alice.publish(&file).stop().success();
        alice.publish(&alice.file("here.bin", MIB, 74)).stop().success();
        fs::remove_file(&file).unwrap();
        let left_over = fs::File::create(alice.store().join("incoming/left over")).unwrap();
        left_over.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
        let fault = format!("{call}:signal=KILL:when={n}");
        let first = Process::spawn(inject(&alice.command(["gc"]), &[&fault])).wait();
        first.sane();
        alice.run(["gc"]).success();
        let names: Vec<_> =
            alice.ask(&["ls"])["blobs"].as_array().unwrap().iter().map(|b| b["name"].clone()).collect();
        assert_eq!(names, ["here.bin"], "{fault}");
        assert_eq!(fs::read_dir(alice.store().join("incoming")).unwrap().count(), 0, "{fault}");
        check_store(&alice);
        killed(&first)
    });
}
