//! Several downloads to one place, and places that change meanwhile: right bytes or an error, never wrong
//! bytes.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;

use swarm_tests::fixture::{Home, KIB, MIB, b3, listing, wait_until, write_random};

/// Two stores fetch one blob to one place: neither touches a file that the other has not finished.
#[test]
fn two_stores_and_one_destination() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 12 * MIB, 130));
    let dest = bob.path("out");
    let to = ["-o", dest.to_str().unwrap(), "--limit-down"];
    let slow = carol.spawn_get(seeder.link(), &[&to[..], &["2M"]].concat());
    slow.wait_for_progress(MIB);
    bob.get(seeder.link(), &[&to[..], &["100M"]].concat()).success();
    assert_eq!(b3(&dest), seeder.id());
    let _ = slow.kill();
    assert_eq!(b3(&dest), seeder.id());
    let late = carol.get(seeder.link(), &["-o", dest.to_str().unwrap()]);
    late.success();
    assert_eq!(b3(&dest), seeder.id());
}

/// Another file is put under the hidden name at the end of a download: it does not pass for the download.
#[test]
fn a_replaced_part_is_not_put_in_place() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 8 * MIB, 131));
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "4M", "-o", "out"]);
    get.wait_for_progress(2 * MIB);
    let hidden = listing(bob.dir()).into_iter().find(|line| line.contains("swarm-part")).unwrap();
    let name = hidden.split_whitespace().find(|word| word.contains("swarm-part")).unwrap();
    let part = bob.path(name.trim_start_matches("./"));
    fs::remove_file(&part).unwrap();
    fs::write(&part, "something else").unwrap();
    let ran = get.wait();
    assert!(ran.sane().text().contains("has replaced"), "{}", ran.text());
    assert!(!bob.path("out").exists());
    bob.get(seeder.link(), &["-o", "out"]).success();
    assert_eq!(b3(&bob.path("out")), seeder.id());
}

/// Many `get`s through one node: of content that is here already, and of content that is being fetched.
#[test]
fn many_gets_of_one_thing_through_one_node() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 6 * MIB, 132));
    let all = |home: &Home, from: u32, args: &[&str]| {
        let gets: Vec<_> = (from..from + 4)
            .map(|n| home.spawn_get(seeder.link(), &[args, &["-o", &format!("out{n}")]].concat()))
            .collect();
        for (get, n) in gets.into_iter().zip(from..) {
            get.wait().success();
            assert_eq!(b3(&home.path(format!("out{n}"))), seeder.id());
        }
    };
    all(&alice, 0, &[]);
    let daemon = bob.daemon(&["--limit-down", "6M"]);
    all(&bob, 0, &[]);
    all(&bob, 4, &[]);
    daemon.stop().sane();
}

/// Content that was fetched and then deleted, moved or edited is fetched again.
#[test]
fn what_is_gone_is_fetched_again() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 3 * MIB, 133));
    let out = bob.path("out");
    bob.get(seeder.link(), &["-o", "out"]).success();
    fs::remove_file(&out).unwrap();
    bob.get(seeder.link(), &["-o", "out"]).success();
    assert_eq!(b3(&out), seeder.id());

    fs::rename(&out, bob.path("moved")).unwrap();
    bob.get(seeder.link(), &["-o", "again"]).success();
    assert_eq!(b3(&bob.path("again")), seeder.id());

    // Edited: to another place, and over it.
    for (to, args) in [("other", &[][..]), ("again", &["--overwrite"][..])] {
        let mut edited = fs::OpenOptions::new().append(true).open(bob.path("again")).unwrap();
        edited.write_all(b"EXTRA").unwrap();
        bob.get(seeder.link(), &[args, &["-o", to]].concat()).success();
        assert_eq!(b3(&bob.path(to)), seeder.id());
        let mut edited = fs::read(bob.path(to)).unwrap();
        edited[MIB as usize] ^= 1;
        fs::write(bob.path(to), edited).unwrap();
    }
    // Damaged in the store.
    bob.get(seeder.link(), &["-o", "last"]).success();
    fs::write(bob.blob_dir(seeder.id()).join("list"), "garbage").unwrap();
    bob.get(seeder.link(), &["-o", "very last"]).success();
    assert_eq!(b3(&bob.path("very last")), seeder.id());
}

#[test]
fn verify_finds_what_was_appended() {
    let home = Home::new();
    let path = home.file("f.bin", 300 * KIB, 134);
    home.publish(&path).stop().success();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"EXTRA").unwrap();
    let ran = home.run(["verify"]);
    assert_ne!(ran.sane().code, Some(0), "{}", ran.err);
}

#[test]
fn places_that_cannot_be_are_refused() {
    let (alice, bob) = (Home::new(), Home::new());
    let odd = alice.path(OsStr::from_bytes(b"d\xff"));
    write_random(&odd, KIB, 135);
    // A name that is no text is none of them.
    let seeder = alice.publish(&odd);
    assert!(seeder.err().contains("not UTF-8"), "{}", seeder.err());
    let to = bob.path(OsStr::from_bytes(b"o\xff"));
    bob.run([OsStr::new("get"), OsStr::new(seeder.link()), OsStr::new("-o"), to.as_os_str()]).success();
    assert_eq!(fs::read(&to).unwrap(), fs::read(&odd).unwrap());
    // A name for a device, and a place among the devices.
    std::os::unix::fs::symlink("/dev/null", bob.path("null")).unwrap();
    bob.get(seeder.link(), &["--overwrite", "-o", "null"]).exits(1);
    assert!(fs::symlink_metadata(bob.path("null")).unwrap().is_symlink());
    let among = format!("/dev/swarm-test-{}", std::process::id());
    bob.get(seeder.link(), &["-o", &among]).exits(1);
    assert!(fs::remove_file(among).is_err());
}

/// `gc` beside a `publish -` whose input comes slowly.
#[test]
fn gc_leaves_standard_input_alone() {
    let home = Home::new();
    let daemon = home.daemon(&[]);
    let mut command = home.command(["publish", "-", "--name", "piped"]);
    let mut publish = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = publish.stdin.take().unwrap();
    input.write_all(&[7; 100_000]).unwrap();
    let incoming = home.store().join("incoming");
    let spool = || fs::read_dir(&incoming).ok()?.flatten().find(|e| e.metadata().is_ok_and(|m| m.len() > 0));
    wait_until("the spool is there", Duration::from_secs(20), || spool().is_some());
    let old = std::time::SystemTime::now() - Duration::from_secs(7200);
    fs::OpenOptions::new().write(true).open(spool().unwrap().path()).unwrap().set_modified(old).unwrap();
    home.run(["gc"]).success();
    input.write_all(&[8; 100_000]).unwrap();
    drop(input);
    let out = publish.wait_with_output().unwrap();
    assert!(out.status.success());
    let id = blake3::hash(&[[7; 100_000], [8; 100_000]].concat()).to_string();
    assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), id);
    daemon.stop().sane();
}
