//! Secret keys are never published, whatever folder they lie in.

use std::fs;
use std::os::unix::fs::symlink;

use swarm_tests::fixture::{Home, KIB};

#[test]
fn the_home_of_a_swarm_is_not_published() {
    let (alice, other) = (Home::new(), Home::new());
    fs::create_dir_all(alice.path("stuff/deep")).unwrap();
    let _ = alice.file("stuff/deep/film", 10 * KIB, 1);
    // Another home, under another name, of a node that has stopped.
    other.publish(&other.file("x", KIB, 2)).stop().success();
    fs::rename(other.store(), alice.path("stuff/deep/backup")).unwrap();
    symlink(alice.path("stuff/deep/backup"), alice.path("way")).unwrap();
    symlink(alice.dir(), other.path("around")).unwrap();
    let around = other.path("around/stuff/deep/backup/store");
    let refused = [
        "stuff",
        "stuff/deep",
        "stuff/deep/backup",
        "stuff/deep/backup/identity",
        "stuff/deep/backup/store/blobs",
        "way",
        "way/identity",
        around.to_str().unwrap(),
        "home",
        ".",
    ];
    for path in refused {
        for more in [&[][..], &["--encrypt"]] {
            let ran = alice.run([&["publish", "--symlinks", path][..], more].concat());
            assert!(ran.exits(1).err.contains("home of a swarm"), "{path}: {}", ran.err);
        }
    }
    // Running, and half of one.
    let daemon = alice.daemon(&[]);
    assert!(alice.run(["publish", "home"]).exits(1).err.contains("home of a swarm"));
    daemon.stop().sane();
    fs::remove_dir_all(alice.path("stuff/deep/backup/store")).unwrap();
    assert!(alice.run(["publish", "stuff"]).exits(1).err.contains("--skip-homes"));

    let bob = Home::new();
    let seeder = alice.publish_with(&alice.path("stuff"), &["--skip-homes"]);
    assert!(seeder.err().contains("stuff/deep/backup"), "what was left out is named: {}", seeder.err());
    bob.get(seeder.link(), &[]).success();
    assert!(bob.path("stuff/deep/film").is_file());
    assert!(!bob.path("stuff/deep/backup").exists());
}
