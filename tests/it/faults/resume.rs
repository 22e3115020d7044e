//! A killed download costs at most 16 MiB, needs no flag to go on, and fetches nothing twice.

use std::time::Duration;

use swarm_tests::fixture::{Home, MIB, Process, b3, inject, wait_until};

/// Bytes that a crash may cost.
const LOSS: u64 = 16 * MIB;

#[test]
fn a_killed_get_goes_on_where_it_was() {
    let (alice, bob) = (Home::new(), Home::new());
    let len = 64 * MIB;
    let seeder = alice.publish(&alice.file("big.bin", len, 60));
    let mut before = 0;
    for kill_at in [5 * MIB, 23 * MIB + 1, 44 * MIB] {
        let get = bob.spawn_get(seeder.link(), &["--limit-down", "40M"]);
        let first = get.wait_for_event("progress")["done"].as_u64().unwrap();
        assert!(first + LOSS >= before, "{first} bytes left of {before}");
        get.wait_for_progress(kill_at);
        let killed = get.kill();
        killed.sane();
        before = killed.last_progress();
        assert!(!bob.path("big.bin").exists());
    }
    let row = bob.row(seeder.id()).unwrap();
    assert_eq!(row["state"], "partial");
    let listed = row["have"].as_u64().unwrap();
    assert!(listed + LOSS >= before && listed < len, "{listed} bytes listed of {before}");
    let last = bob.get(seeder.link(), &[]);
    let resumed = last.success().event("done")["resumed"].as_u64().unwrap();
    assert!(resumed + LOSS >= before, "{resumed} bytes left of {before}");
    assert!(last.fetched() + resumed <= len, "{} fetched and {resumed} there of {len}", last.fetched());
    assert_eq!(b3(&bob.path("big.bin")), seeder.id());
}

#[test]
fn a_killed_get_of_a_directory_goes_on_where_it_was() {
    let (alice, bob) = (Home::new(), Home::new());
    let tree = alice.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for i in 0..40_u64 {
        swarm_tests::fixture::write_random(&tree.join(format!("{i:02}")), MIB / 2 + i, 61 + i);
    }
    let seeder = alice.publish(&tree);
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "10M"]);
    get.wait_for("progress", |event| {
        event["total"].as_u64() > Some(MIB) && event["done"].as_u64() > Some(8 * MIB)
    });
    let before = get.kill().last_progress();
    let last = bob.get(seeder.link(), &[]);
    let done = last.success().event("done");
    let (resumed, len) = (done["resumed"].as_u64().unwrap(), done["len"].as_u64().unwrap());
    assert!(resumed + LOSS >= before, "{resumed} bytes left of {before}");
    assert!(last.fetched() + resumed <= len, "{} fetched and {resumed} there of {len}", last.fetched());
    assert_eq!(swarm_tests::fixture::tree_hash(&bob.path("tree")), swarm_tests::fixture::tree_hash(&tree));
}

#[test]
fn another_destination_takes_over_what_was_there() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("big.bin", 12 * MIB, 62));
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "6M", "-o", "here"]);
    get.wait_for_progress(4 * MIB);
    let _ = get.kill();
    let last = bob.get(seeder.link(), &["-o", "there"]);
    assert!(last.success().event("done")["resumed"].as_u64() > Some(0), "{}", last.event("done"));
    assert_eq!(b3(&bob.path("there")), seeder.id());
    let left = swarm_tests::fixture::listing(bob.dir())
        .into_iter()
        .filter(|line| line.contains("swarm-part"))
        .count();
    assert_eq!(left, 0, "nothing is left at the old place");
}

/// After a kill at any step of the move, the next run finds all that was fetched.
#[test]
fn a_kill_while_another_destination_takes_over_loses_nothing() {
    let (alice, bob) = (Home::new(), Home::new());
    let seeder = alice.publish(&alice.file("big.bin", 12 * MIB, 63));
    let get = bob.spawn_get(seeder.link(), &["--limit-down", "6M", "-o", "0"]);
    get.wait_for_progress(6 * MIB);
    let _ = get.kill();
    let first = bob.spawn_get(seeder.link(), &["--limit-down", "200k", "-o", "0"]);
    let mut before = first.wait_for_event("progress")["done"].as_u64().unwrap();
    let _ = first.kill();
    assert!(before > MIB, "{before}");
    let links = ["linkat:signal=KILL:when=1".to_owned()].into_iter();
    let renames = (1..=4).map(|n| format!("rename:signal=KILL:when={n}"));
    let unlinks = (1..=4).map(|n| format!("unlink:signal=KILL:when={n}"));
    for (number, fault) in links.chain(renames).chain(unlinks).enumerate() {
        let to = (number + 1).to_string();
        let command = bob.command(["get", "--json", seeder.link(), "--limit-down", "200k", "-o", &to]);
        let killed = Process::spawn(inject(&command, &[&fault]));
        // There are not as many calls of each kind as are tried.
        wait_until("it was killed or is past it", Duration::from_secs(20), || {
            killed.has_ended() || killed.event("progress").is_some()
        });
        let _ = killed.kill();
        let next = bob.spawn_get(seeder.link(), &["--limit-down", "200k", "-o", &to]);
        let after = next.wait_for_event("progress")["done"].as_u64().unwrap();
        assert!(after >= before, "{fault}: {after} bytes left of {before}");
        before = after;
        let _ = next.kill();
    }
    bob.get(seeder.link(), &["-o", "9"]).success();
    assert_eq!(b3(&bob.path("9")), seeder.id());
    let left =
        swarm_tests::fixture::listing(bob.dir()).into_iter().filter(|line| line.contains("swarm-part"));
    assert_eq!(left.count(), 0, "nothing is left at the old places");
}
