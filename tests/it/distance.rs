//! Two hosts far from each other: few round trips until the first chunk, and several connections for a long
//! file.

use std::time::{Duration, Instant};

use swarm_tests::fixture::{Far, Home, MIB, Process, Seeder, b3, wait_until};

fn publish(far: &Far, home: &Home, path: &std::path::Path) -> Seeder {
    let args = ["--no-mdns", "publish", path.to_str().unwrap(), "--link"];
    Seeder::start(far.on(1, &home.bare_command(args)))
}

fn get(far: &Far, home: &Home, link: &str) -> Process {
    let args = ["--no-mdns", "--json", "get", link, "-o", "out"];
    Process::spawn(far.on(2, &home.bare_command(args)))
}

/// The first chunk takes one round trip for TCP, one for TLS and one for everything else. It once took five.
#[test]
fn a_small_file_comes_with_the_first_answer() {
    let round_trip = Duration::from_millis(900);
    let far = Far::new(round_trip);
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("note", 5_000, 1);
    let seeder = publish(&far, &left, &file);
    let began = Instant::now();
    let getter = get(&far, &right, seeder.link());
    getter.wait_for_event("done");
    let took = began.elapsed();
    getter.wait().success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    assert!(took >= round_trip * 3, "the wire delays: {took:?}");
    // What processes take to start and end is in it.
    assert!(took < round_trip * 9 / 2, "{took:?}");
}

/// Chunks come over four connections where there is distance to fill; all of them end with the session.
#[test]
fn a_long_file_comes_over_several_connections() {
    let far = Far::new(Duration::from_millis(100));
    let (left, right) = (Home::new(), Home::new());
    let file = left.file("update", 48 * MIB, 2);
    let seeder = publish(&far, &left, &file);
    let getter = get(&far, &right, seeder.link());
    wait_until("there are four connections", Duration::from_secs(20), || {
        getter.must_run();
        far.connections(1) == 4
    });
    let ran = getter.wait();
    ran.success();
    assert_eq!(b3(&right.path("out")), b3(&file));
    assert!(ran.fetched() <= 49 * MIB, "{} bytes were fetched", ran.fetched());
    wait_until("all of them have ended", Duration::from_secs(20), || far.connections(1) == 0);
}
