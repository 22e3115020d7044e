//! D15, continued: links to outside that stand, or are put, where a tree or file is being written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::time::Duration;

use swarm_tests::fixture::{Home, Seeder, fill, tree_hash};

/// A publisher of a small tree, whose files share no chunk with each other, and the tree's folders.
fn tree(seeder: &Home) -> Seeder {
    for folder in FOLDERS {
        fs::create_dir_all(seeder.path("tree").join(folder)).expect("a folder is made");
        for number in 0..4 {
            let path = seeder.path("tree").join(folder).join(format!("file{number}"));
            fs::write(path, fill(70_000, number)).expect("a file is written");
        }
        fs::write(seeder.path("tree").join(folder).join("nothing"), "").expect("a file is written");
        fs::create_dir(seeder.path("tree").join(folder).join("void")).expect("a folder is made");
    }
    seeder.publish(&seeder.path("tree"))
}

const FOLDERS: [&str; 3] = ["a", "b", "c"];

/// A folder outside that must stay as it is. It has names in it that the tree also has.
fn outside(home: &Home) -> PathBuf {
    let outside = home.path("outside");
    fs::create_dir(&outside).expect("a folder is made");
    for name in ["file0", "file1", "whole"] {
        fs::write(outside.join(name), "untouched").expect("a file is written");
    }
    outside
}

/// Returns the hidden place where a tree or file is put together before it gets its name.
fn hidden(home: &Home, dest: &Path, id: &str) -> PathBuf {
    fs::create_dir_all(home.store()).expect("a folder is made");
    let store = home.store().canonicalize().expect("it is there");
    let tag = blake3::hash(store.as_os_str().as_encoded_bytes()).to_hex();
    let name = dest.file_name().unwrap_or_default().to_string_lossy();
    dest.with_file_name(format!(".{name}.{}.{}.swarm-part", &id[..8], &tag[..6]))
}

#[test]
fn d15_links_that_stand_in_the_way() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = tree(&alice);
    let outside = outside(&bob);
    let before = tree_hash(&outside);
    // Links where the tree's folders and files will be, and one in the place of the tree itself.
    let ways: [fn(&Path, &Path); 3] = [
        |at, outside| {
            fs::create_dir(at).expect("a folder is made");
            symlink(outside, at.join("a")).expect("a link is made");
        },
        |at, outside| {
            fs::create_dir_all(at.join("b")).expect("a folder is made");
            symlink(outside.join("file0"), at.join("b/file0")).expect("a link is made");
            symlink(outside.join("new"), at.join("b/nothing")).expect("a link is made");
        },
        |at, outside| symlink(outside, at).expect("a link is made"),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        for at_destination in [true, false] {
            let folder = bob.path(format!("{number}{at_destination}"));
            let dest = folder.join("tree");
            fs::create_dir(&folder).expect("a folder is made");
            way(
                &if at_destination { dest.clone() } else { hidden(&bob, &dest, payload_id(&alice).as_str()) },
                &outside,
            );
            let ran = Home::new().get(seeder.link(), &["-o", &folder.to_string_lossy(), "--overwrite"]);
            ran.sane();
            assert_eq!(tree_hash(&outside), before, "way {number}, {at_destination}");
            if ran.code == Some(0) && !at_destination {
                assert_eq!(tree_hash(&dest), tree_hash(&alice.path("tree")), "way {number}");
            }
        }
    }
}

/// Returns the id of the tree's payload.
fn payload_id(alice: &Home) -> String {
    let mut bytes = blake3::Hasher::new();
    for folder in FOLDERS {
        for number in 0..4 {
            bytes.update(&fs::read(alice.path("tree").join(folder).join(format!("file{number}"))).unwrap());
        }
    }
    bytes.finalize().to_hex().to_string()
}

/// Replaces the file or folder at `at` by a link and puts it back, again and again.
fn swap(at: &Path, link: &Path, stop: &AtomicBool, swaps: &AtomicU32) {
    while !stop.load(Ordering::Relaxed) {
        if renameat_with(CWD, link, CWD, at, RenameFlags::EXCHANGE).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
        }
        // As often as may be without taking a whole core from everybody else.
        std::thread::sleep(Duration::from_micros(10));
    }
}

/// Fetches the tree again and again while something in its hidden folder is exchanged for a link to outside.
fn swapped(place: fn(PathBuf) -> PathBuf, to: fn(&Path) -> PathBuf) {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = tree(&alice);
    let outside = outside(&bob);
    let before = tree_hash(&outside);
    let id = payload_id(&alice);
    let swaps = AtomicU32::new(0);
    let (mut round, mut home) = (0, Home::new());
    while swaps.load(Ordering::Relaxed) < 1000 || round < 6 {
        assert!(round < 40, "{} swaps only", swaps.load(Ordering::Relaxed));
        if round % 2 == 0 {
            // From the network; the next time from what is there.
            home = Home::new();
        }
        let dest = bob.path(format!("dest{round}"));
        let link = bob.path(format!("link{round}"));
        symlink(to(&outside), &link).expect("a link is made");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| swap(&place(hidden(&home, &dest, &id)), &link, &stop, &swaps));
            let ran = home.get(seeder.link(), &["--timeout", "1s", "-o", &dest.to_string_lossy()]);
            stop.store(true, Ordering::Relaxed);
            ran.sane();
        });
        assert_eq!(tree_hash(&outside), before, "round {round}");
        round += 1;
    }
}

#[test]
fn d15_a_folder_is_swapped_for_a_link_during_extraction() {
    swapped(|hidden| hidden.join("b"), Path::to_owned);
}

#[test]
fn d15_a_file_is_swapped_for_a_link_during_extraction() {
    swapped(|hidden| hidden.join("b/file1"), |outside| outside.join("file1"));
}

#[test]
fn d15_the_hidden_folder_is_swapped_for_a_link_during_extraction() {
    swapped(|hidden| hidden, Path::to_owned);
}
