//! Files with holes: zeros are neither sent nor written.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use swarm_tests::fixture::{Home, b3, fill};

const MIB: u64 = 1 << 20;
/// Length of the file, and of its data.
const LEN: u64 = 96 * MIB;

/// A file of holes with a mebibyte of data at one place.
fn sparse(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(LEN).unwrap();
    file.write_all_at(&fill(MIB as usize, 13), 37 * MIB + 4321).unwrap();
}

/// Returns the bytes that a file takes on disk.
fn on_disk(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn holes_are_neither_sent_nor_written() {
    let (alice, bob) = (Home::new(), Home::new());
    sparse(&alice.path("disk.img"));
    let seeder = alice.publish(&alice.path("disk.img"));
    let got = bob.get(seeder.link(), &["-o", "out.img"]);
    got.success();
    let sent = alice.ask(&["status"])["uploaded"].as_u64().unwrap();
    assert!((MIB..2 * MIB).contains(&sent), "{sent} bytes sent");
    assert_eq!(b3(&bob.path("out.img")), seeder.id());
    let takes = on_disk(&bob.path("out.img"));
    assert!(takes < 4 * MIB, "{takes} bytes on disk");
    seeder.stop().success();
}

#[test]
fn holes_of_a_file_in_a_folder_stay_holes() {
    let (alice, bob) = (Home::new(), Home::new());
    fs::create_dir(alice.path("vm")).unwrap();
    sparse(&alice.path("vm/disk.img"));
    fs::write(alice.path("vm/readme"), "a machine").unwrap();
    let seeder = alice.publish(&alice.path("vm"));
    bob.get(seeder.link(), &["-o", "got"]).success();
    let sent = alice.ask(&["status"])["uploaded"].as_u64().unwrap();
    assert!((MIB..2 * MIB).contains(&sent), "{sent} bytes sent");
    assert_eq!(b3(&bob.path("got/disk.img")), b3(&alice.path("vm/disk.img")));
    assert_eq!(fs::read(bob.path("got/readme")).unwrap(), b"a machine");
    let takes = on_disk(&bob.path("got/disk.img"));
    assert!(takes < 4 * MIB, "{takes} bytes on disk");
    seeder.stop().success();
}
