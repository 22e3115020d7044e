//! Content that is requested and lies at its destination already.

use swarm_tests::fixture::{Home, b3, damage};

#[test]
fn a_file_that_is_there_is_shared_from_where_it_lies() {
    let (giver, keeper, third) = (Home::new(), Home::new(), Home::new());
    let file = giver.file("update", 3_000_000, 1);
    let hash = b3(&file);
    let seeder = giver.publish(&file);
    let copy = keeper.path("out");
    std::fs::copy(&file, &copy).unwrap();
    let keeping = keeper.get_and_seed(seeder.link(), &["-o", "out"]);
    let id = seeder.id().to_owned();
    seeder.kill();
    let addr = keeper.addr();
    third.run(["get", &id, "-o", "out", "--peer", &addr, "--timeout", "20s"]).exits(0);
    assert_eq!(b3(&third.path("out")), hash);
    keeping.interrupt().exits(0);
}

#[test]
fn a_directory_that_is_there_is_verified_and_not_fetched_again() {
    let (giver, getter) = (Home::new(), Home::new());
    std::fs::create_dir(giver.path("tree")).unwrap();
    let sizes =
        ["tree/a", "tree/b"].map(|name| std::fs::metadata(giver.file(name, 300_000, 2)).unwrap().len());
    let seeder = giver.publish(&giver.path("tree"));
    getter.get(seeder.link(), &["-o", "out"]).exits(0);
    let again = getter.get(seeder.link(), &["-o", "out"]);
    again.exits(0);
    assert_eq!(again.event("done")["resumed"], sizes.iter().sum::<u64>());
    damage(&getter.path("out/a"), 100);
    // What is there is not what was asked for: it is somebody's, until it may be replaced.
    let refused = getter.get(seeder.link(), &["-o", "out"]);
    assert!(refused.exits(1).text().contains("not what was fetched: a;"), "{}", refused.text());
    getter.get(seeder.link(), &["-o", "out", "--overwrite"]).exits(0);
    assert_eq!(b3(&getter.path("out/a")), b3(&giver.path("tree/a")));
}
