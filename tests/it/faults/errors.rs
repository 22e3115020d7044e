//! Disks that refuse: D36 (EIO), D37 (full) and D38 (not writable).

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use swarm_tests::fixture::{
    Home, MIB, PATIENCE, Process, Ran, Seeder, Tmpfs, as_nobody, b3, inject, read_only, wait_until,
    with_limit,
};

use super::{all, check_nothing_wrong, check_store};

/// Checks that a command succeeded, or failed with an error of the disk.
fn by_name(ran: &Ran) {
    ran.sane();
    match ran.code {
        Some(0) => {}
        Some(6) => {
            let said = format!("{}{}", ran.err, String::from_utf8_lossy(&ran.out));
            assert!(said.contains("cannot "), "names what failed: {said}");
        }
        other => panic!("{other:?} {:?}: {}\n{}\n{}", ran.signal, ran.line, ran.err, ran.text()),
    }
}

fn numbers(sample: &[u32]) -> Vec<u32> {
    if all() { (1..30).collect() } else { sample.to_vec() }
}

#[test]
fn d36_get_with_a_flush_that_fails() {
    let alice = Home::new();
    let seeder = alice.publish(&alice.file("f.bin", 3 * MIB, 80));
    let mut failed = 0;
    for (call, sample) in [("fsync", &[1, 2, 4][..]), ("fdatasync", &[1, 2, 3, 5, 6])] {
        for n in numbers(sample) {
            let bob = Home::new();
            let fault = format!("{call}:error=EIO:when={n}");
            let ran =
                Process::spawn(inject(&bob.command(["get", "--json", seeder.link()]), &[&fault])).wait();
            by_name(&ran);
            check_nothing_wrong(&bob, "f.bin", seeder.id(), &ran);
            failed += i32::from(ran.code == Some(6));
            bob.get(seeder.link(), &[]).success();
            assert_eq!(b3(&bob.path("f.bin")), seeder.id(), "{fault}");
            check_store(&bob);
        }
    }
    assert!(failed >= 3, "only {failed} of these faults were felt: take other numbers");
}

#[test]
fn d36_publish_with_a_flush_that_fails() {
    let mut failed = 0;
    for (call, sample) in [("fsync", &[2, 4][..]), ("fdatasync", &[1, 2, 3, 4])] {
        for n in numbers(sample) {
            let alice = Home::new();
            let file = alice.file("f.bin", MIB, 81);
            let fault = format!("{call}:error=EIO:when={n}");
            let process = Process::spawn(inject(&alice.command(["publish", "f.bin"]), &[&fault]));
            wait_until("it fails or publishes", PATIENCE, || {
                process.has_ended() || !process.out().is_empty()
            });
            let ran = if process.has_ended() { process.wait() } else { process.interrupt() };
            by_name(&ran);
            assert_eq!(
                ran.code == Some(0),
                !ran.text().is_empty(),
                "{fault}: an id is printed when it is published"
            );
            failed += i32::from(ran.code == Some(6));
            check_store(&alice);
            assert_eq!(alice.publish(&file).id(), b3(&file));
        }
    }
    assert!(failed >= 3, "only {failed} of these faults were felt: take other numbers");
}

#[test]
fn d36_reading_that_fails_harms_nobody_else() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let file = alice.file("f.bin", 4 * MIB, 82);
    fs::copy(&file, bob.path("f.bin")).unwrap();
    let good = bob.publish(&bob.path("f.bin"));
    // The publication itself reads as well: the fault begins after that.
    alice.publish(&file).stop().success();
    let bad = Process::spawn(inject(&alice.command(["daemon"]), &["pread64:error=EIO:when=3+"]));
    wait_until("the daemon runs", PATIENCE, || bad.err().contains("runs for"));
    let got = carol.get(good.link(), &["--peer", &alice.addr()]);
    got.success();
    assert_eq!(b3(&carol.path("f.bin")), good.id());
    bad.must_run();
}

#[test]
fn d37_a_write_that_finds_no_room_is_tried_again() {
    let alice = Home::new();
    let seeder = alice.publish(&alice.file("f.bin", 3 * MIB, 83));
    let cases = [("ENOSPC", 3), ("EDQUOT", 20)].map(|(error, n)| {
        let bob = Home::new();
        let fault = format!("pwrite64:error={error}:when={n}");
        let get = Process::spawn(inject(&bob.command(["get", "--json", seeder.link()]), &[&fault]));
        (bob, fault, get)
    });
    for (bob, fault, get) in cases {
        let ran = get.wait();
        ran.success();
        assert!(
            ran.event("notice")["text"].as_str().unwrap().contains("full"),
            "{fault}: {}",
            ran.event("notice")
        );
        assert_eq!(b3(&bob.path("f.bin")), seeder.id(), "{fault}");
        check_store(&bob);
    }
}

/// Fills a file system to the last byte.
fn fill_up(folder: &Path) {
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    let (mut block, zeros) = (MIB as usize, vec![0; MIB as usize]);
    while block > 0 {
        if file.write_all(&zeros[..block]).is_err() {
            block /= 2;
        }
    }
}

#[test]
fn d37_a_full_disk_is_waited_for_while_other_downloads_go_on() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 24 * MIB, 84));
    let beside = alice.publish(&alice.file("other.bin", 2 * MIB, 85));
    let other = beside.id().to_owned();
    fs::create_dir(bob.path("small")).unwrap();
    let tmpfs = Tmpfs::mount(&bob.path("small"), "size=112m");
    let node = Process::spawn(tmpfs.swarm(&bob, ["daemon", "--limit-down", "8M"]));
    wait_until("the daemon runs", PATIENCE, || node.err().contains("runs for"));
    let get = Process::spawn(tmpfs.swarm(&bob, ["get", "--json", seeder.link(), "-o", "small/f.bin"]));
    get.wait_for_progress(6 * MIB);
    fill_up(&tmpfs.outside());
    let told = get.wait_for_event("notice");
    assert!(told["text"].as_str().unwrap().contains("full"), "{told}");
    let status = bob.ask(&["status"]);
    assert!(status["notices"].as_array().is_some_and(|all| !all.is_empty()), "{status}");
    Process::spawn(tmpfs.swarm(&bob, ["get", &other, "--peer", seeder.addr()])).wait().success();
    assert_eq!(b3(&bob.path("other.bin")), other);
    get.must_run();
    fs::remove_file(tmpfs.outside().join("filler")).unwrap();
    let got = get.wait();
    got.success();
    assert_eq!(b3(&tmpfs.outside().join("f.bin")), seeder.id());
    assert!(got.fetched() <= 24 * MIB + 2 * MIB, "{} bytes for 24 MiB", got.fetched());
}

#[test]
fn d37_a_full_disk_under_the_store_itself_is_waited_for_too() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 24 * MIB, 86));
    // Everything of bob's is on the small file system: index, records, have-map and the file.
    let tmpfs = Tmpfs::mount(bob.dir(), "size=128m");
    let get = Process::spawn(tmpfs.swarm(&bob, ["get", "--json", seeder.link(), "--limit-down", "8M"]));
    get.wait_for_progress(6 * MIB);
    fill_up(&tmpfs.outside());
    let told = get.wait_for_event("notice");
    assert!(told["text"].as_str().unwrap().contains("full"), "{told}");
    fs::remove_file(tmpfs.outside().join("filler")).unwrap();
    get.wait().success();
    assert_eq!(b3(&tmpfs.outside().join("f.bin")), seeder.id());
}

#[test]
fn d37_what_cannot_fit_is_refused_before_it_begins() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 24 * MIB, 87));
    fs::create_dir(bob.path("small")).unwrap();
    let tmpfs = Tmpfs::mount(&bob.path("small"), "size=8m");
    let ran = Process::spawn(tmpfs.swarm(&bob, ["get", seeder.link(), "-o", "small/f.bin"])).wait();
    ran.exits(6);
    assert!(ran.err.contains("free"), "says how much is needed and there: {}", ran.err);
    let left: Vec<_> =
        fs::read_dir(tmpfs.outside()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn d38_a_read_only_store_still_serves() {
    let (alice, bob) = (Home::new(), Home::new());
    let id = alice.publish_with(&alice.file("f.bin", 3 * MIB, 88), &["--copy"]).stop().success().text();
    let id = id["swarm:".len()..].split('?').next().unwrap().to_owned();
    let before = swarm_tests::fixture::tree_hash(alice.dir());
    let command = alice.command(["--read-only", "daemon"]);
    let daemon = Process::spawn(read_only(&command, alice.dir()));
    wait_until("the daemon runs", PATIENCE, || {
        daemon.must_run();
        daemon.err().contains("listens on")
    });
    // There is no place for a control socket: what it says on its start is what there is.
    let err = daemon.err();
    let peer =
        err.split_whitespace().find(|word| word.starts_with("12D3Koo")).expect("its peer id").to_owned();
    let addr = err.split_whitespace().find(|word| word.starts_with("/ip4/")).expect("its address");
    let addr = format!("{}/p2p/{peer}", addr.trim_end_matches(&format!("/p2p/{peer}")));
    bob.get(&id, &["--peer", &addr]).success();
    assert_eq!(b3(&bob.path("f.bin")), id);
    daemon.interrupt().success();
    assert_eq!(swarm_tests::fixture::tree_hash(alice.dir()), before, "nothing was written");
}

#[test]
fn d38_without_the_flag_a_read_only_home_is_an_error_that_says_so() {
    let alice = Home::new();
    alice.publish(&alice.file("f.bin", MIB, 89)).stop().success();
    let ran = Process::spawn(read_only(&alice.command(["daemon"]), alice.dir())).wait();
    ran.exits(6);
    assert!(ran.err.contains(alice.store().to_str().unwrap()), "names the place: {}", ran.err);
    let ls = Process::spawn(read_only(&alice.command(["--read-only", "ls"]), alice.dir())).wait();
    assert!(ls.success().text().contains("f.bin"), "{}", ls.text());
}

#[test]
fn d38_a_home_that_may_not_be_written_is_exit_6() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder: Seeder = alice.publish(&alice.file("f.bin", MIB, 90));
    // A home of somebody else, and one of nobody's own that is closed.
    fs::create_dir(bob.store()).unwrap();
    for owned in [false, true] {
        if owned {
            chown(bob.store(), Some(65534), Some(65534)).unwrap();
        }
        fs::set_permissions(bob.store(), Permissions::from_mode(0o555)).unwrap();
        let ran = Process::spawn(as_nobody(&bob, ["get", seeder.link(), "-o", "/tmp/never"])).wait();
        ran.exits(6);
        assert!(ran.err.contains("ermission denied") && ran.err.contains("/home"), "{}", ran.err);
    }
    // The home is fine, the destination is not.
    fs::set_permissions(bob.store(), Permissions::from_mode(0o700)).unwrap();
    let ran = Process::spawn(as_nobody(&bob, ["get", seeder.link()])).wait();
    ran.exits(6);
    assert!(
        ran.err.contains("ermission denied") && ran.err.contains("cannot write to the folder"),
        "{}",
        ran.err
    );
}

#[test]
fn a_limit_of_the_system_on_files_is_an_error_and_no_death() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 12 * MIB, 88));
    let limit = format!("--fsize={}", 4 * MIB);
    let command = bob.command(["get", "--json", seeder.link()]);
    let ran = Process::spawn(with_limit(&command, &limit)).wait();
    let said = String::from_utf8_lossy(&ran.exits(6).out).into_owned() + &ran.err;
    assert!(said.contains("File too large"), "{said}");
    assert!(!bob.path("f.bin").exists());
    bob.get(seeder.link(), &[]).success();
    assert_eq!(b3(&bob.path("f.bin")), seeder.id());
    let copying = bob.command(["publish", "--copy", "f.bin"]);
    let ran = Process::spawn(with_limit(&copying, &limit)).wait();
    assert!(ran.exits(6).err.contains("File too large"), "{}", ran.err);
    check_store(&bob);
}

#[test]
fn a_deadline_that_ends_the_wait_for_room_is_the_disks_fault() {
    let (alice, bob) = (Home::new(), Home::new());
    fs::create_dir(alice.path("many")).unwrap();
    (0..150).for_each(|i| {
        swarm_tests::fixture::write_random(&alice.path(format!("many/{i}")), 70 << 10, 200 + i)
    });
    let seeder = alice.publish(&alice.path("many"));
    fs::create_dir(bob.path("small")).unwrap();
    let tmpfs = Tmpfs::mount(&bob.path("small"), "size=112m,nr_inodes=60");
    let args = ["get", "--json", seeder.link(), "-o", "small/many", "--timeout", "4s"];
    let ran = Process::spawn(tmpfs.swarm(&bob, args)).wait();
    let said = String::from_utf8_lossy(&ran.exits(6).out).into_owned() + &ran.err;
    assert!(said.contains("No space left"), "{said}");
    assert!(fs::symlink_metadata(tmpfs.outside().join("many")).is_err());
}

#[test]
fn a_disk_that_cannot_be_written_is_served_with_the_flag_that_is_named() {
    let alice = Home::new();
    let file = alice.file("f.bin", MIB, 89);
    let id = b3(&file);
    alice.publish(&file).stop().success();
    let ran = Process::spawn(read_only(&alice.command(["daemon"]), alice.dir())).wait();
    assert!(ran.exits(6).err.contains("--read-only"), "{}", ran.err);
    let daemon = Process::spawn(read_only(&alice.command(["daemon", "--read-only"]), alice.dir()));
    wait_until("the daemon runs", PATIENCE, || daemon.err().contains("runs for"));
    for more in [&[][..], &["--read-only"]] {
        let status = alice.ask(&[&["status"][..], more].concat());
        assert_eq!(status["pid"], daemon.pid(), "{status}");
        assert_eq!(status["blobs"], 1);
        let _ = alice.ask(&[&["peers"][..], more].concat());
    }
    assert!(alice.row(&id).is_some());
    let bob = Home::new();
    bob.get(&id, &["--peer", &alice.addr()]).success();
    // Another reader of the store.
    let other = alice.spawn(["daemon", "--read-only"]);
    wait_until("the other daemon runs", PATIENCE, || other.err().contains("runs for"));
    assert_eq!(alice.ask(&["status"])["pid"], daemon.pid());
    other.interrupt().sane();
    daemon.interrupt().sane();
    alice.publish(&file).stop().success();
}
