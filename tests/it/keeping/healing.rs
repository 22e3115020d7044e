//! A directory that was moved away, deleted or edited: good chunks are taken from this machine, the rest from
//! peers.

use std::fs;

use swarm_tests::fixture::{Home, KIB, MIB, damage, listing, write_random};

use super::{FIRST, has_all, tree, versions};

#[test]
fn what_is_gone_comes_again() {
    let (one, first, _two, _second) = versions();
    let bob = Home::new();
    bob.get(first.link(), &["-o", "got"]).success();
    fs::rename(bob.path("got"), bob.path("elsewhere")).unwrap();
    bob.get(first.link(), &["-o", "got"]).success();
    assert_eq!(listing(&bob.path("got")), listing(&one.path("release")));
    fs::remove_dir_all(bob.path("got")).unwrap();
    bob.get(first.link(), &["-o", "got"]).success();
    assert_eq!(listing(&bob.path("got")), listing(&one.path("release")));
    // And to another place, after it is gone.
    fs::remove_dir_all(bob.path("got")).unwrap();
    bob.get(first.link(), &["-o", "other"]).success();
    assert_eq!(listing(&bob.path("other")), listing(&one.path("release")));
    bob.run(["verify"]).success();
}

#[test]
fn an_edit_is_named_and_restored_when_asked() {
    let (one, first, _two, _second) = versions();
    let bob = Home::new();
    bob.get(first.link(), &["-o", "got"]).success();
    damage(&bob.path("got/docs/a.txt"), 100);
    fs::write(bob.path("got/readme.txt"), "edited").unwrap();
    let before = listing(&bob.path("got"));
    let refused = bob.get(first.link(), &["-o", "got"]);
    let said = refused.exits(1).text();
    assert!(said.contains("docs/a.txt") && said.contains("readme.txt"), "{said}");
    assert!(!said.contains("bin/tool"), "{said}");
    assert_eq!(listing(&bob.path("got")), before);
    bob.get(first.link(), &["-o", "got", "--overwrite"]).success();
    assert_eq!(listing(&bob.path("got")), listing(&one.path("release")));
    assert_eq!(bob.row(first.id()).unwrap()["state"], "complete");
}

/// Only bad chunks come from peers. If all chunks are here, no peer is asked.
#[test]
fn good_bytes_are_not_fetched_again() {
    let (alice, bob, carol) = (Home::new(), Home::new(), Home::new());
    fs::create_dir(alice.path("big")).unwrap();
    for number in 0..8_u64 {
        write_random(&alice.path(format!("big/{number}")), MIB, number);
    }
    let seeder = alice.publish(&alice.path("big"));
    bob.get(seeder.link(), &[]).success();
    fs::remove_file(bob.path("big/3")).unwrap();
    damage(&bob.path("big/5"), 1000);
    let healed = bob.get(seeder.link(), &["--overwrite"]);
    let fetched = healed.success().fetched();
    assert!(fetched <= MIB + 3 * 64 * KIB, "{fetched} bytes came for one file and a chunk");
    assert_eq!(listing(&bob.path("big")), listing(&alice.path("big")));

    // The same files at other places of this store, under other names.
    fs::create_dir(carol.path("mine")).unwrap();
    for number in 0..8_u64 {
        write_random(&carol.path(format!("mine/other {number}")), MIB, number);
    }
    carol.publish(&carol.path("mine")).stop().success();
    let got = carol.get(seeder.link(), &[]);
    assert!(got.success().fetched() < 64 * KIB, "{} bytes came", got.fetched());
    assert_eq!(listing(&carol.path("big")), listing(&alice.path("big")));
}

#[test]
fn a_file_is_healed_from_what_is_good_of_it() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("f.bin", 8 * MIB, 1));
    bob.get(seeder.link(), &[]).success();
    damage(&bob.path("f.bin"), 5 * MIB);
    let healed = bob.get(seeder.link(), &["--overwrite"]);
    assert!(healed.success().fetched() <= 64 * KIB, "{} bytes came", healed.fetched());
    assert_eq!(swarm_tests::fixture::b3(&bob.path("f.bin")), seeder.id());
}

#[test]
fn a_directory_is_repaired_where_it_lies() {
    let (one, first, _two, _second) = versions();
    let bob = Home::new();
    bob.get(first.link(), &[]).success();
    damage(&bob.path("release/same.bin"), 70_000);
    fs::write(bob.path("release/mine"), "mine").unwrap();
    bob.run(["verify", "--repair", "--peer", first.addr()]).success();
    has_all(&bob.path("release"), &one.path("release"));
    assert_eq!(fs::read(bob.path("release/mine")).unwrap(), b"mine");
    // A file that somebody put in the place of another stays.
    fs::remove_file(bob.path("release/same.bin")).unwrap();
    tree(&bob.path("release"), &[("same.bin", FIRST[5].1, 99)]);
    let before = listing(&bob.path("release"));
    let refused = bob.run(["verify", "--repair", "--peer", first.addr()]);
    assert!(refused.sane().err.contains("same.bin"), "{}", refused.err);
    assert_eq!(listing(&bob.path("release")), before);
}
