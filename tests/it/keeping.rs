//! Files of a person stay as they are: whatever flag is given and whenever a process is killed, swarm deletes
//! and replaces only files that it put there itself.

mod healing;
mod homes;
mod links;
mod merging;
mod names;
mod parts;

use std::fs;
use std::path::Path;

use swarm_tests::fixture::{Home, KIB, Seeder, listing, write_random};

/// Files of a first version: path, bytes, seed.
const FIRST: [(&str, u64, u64); 6] = [
    ("readme.txt", 100, 1),
    ("bin/tool", 300 * KIB, 2),
    ("docs/a.txt", 70 * KIB, 3),
    ("docs/old.txt", 5 * KIB, 4),
    ("old/gone/deep.txt", KIB, 5),
    ("same.bin", 400 * KIB, 6),
];
/// Files of a second version: some unchanged, some changed, some new, some removed.
const SECOND: [(&str, u64, u64); 5] = [
    ("readme.txt", 120, 7),
    ("bin/tool", 300 * KIB, 8),
    ("docs/a.txt", 70 * KIB, 3),
    ("new/b.txt", 9 * KIB, 9),
    ("same.bin", 400 * KIB, 6),
];

/// Makes a tree of these files.
fn tree(root: &Path, files: &[(&str, u64, u64)]) {
    for (name, len, seed) in files {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        write_random(&root.join(name), *len, *seed);
    }
}

/// A publisher of both versions, under the name "release".
fn versions() -> (Home, Seeder, Home, Seeder) {
    let (one, two) = (Home::new(), Home::new());
    tree(&one.path("release"), &FIRST);
    tree(&two.path("release"), &SECOND);
    let (first, second) = (one.publish(&one.path("release")), two.publish(&two.path("release")));
    (one, first, two, second)
}

/// Returns the files below a folder, as [`listing`] shows them.
fn files(root: &Path) -> Vec<String> {
    listing(root).into_iter().filter(|line| !line.ends_with(" folder")).collect()
}

/// Checks that every file of `part` is in `all`, with the same bytes.
#[track_caller]
fn has_all(all: &Path, part: &Path) {
    let there = files(all);
    for line in files(part) {
        assert!(there.contains(&line), "{line} is not in {there:#?}");
    }
}
