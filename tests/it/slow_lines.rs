//! Limits so low that a chunk takes seconds.

use std::time::{Duration, Instant};

use swarm_tests::fixture::{Home, Process, b3};

/// The limit of a publisher, as an argument and in bytes per second.
const LIMIT: (&str, u64) = ("40K", 40 << 10);
/// Length of the file: three chunks, and a short one.
const LEN: u64 = 200_000;

/// Fetches a file of a publisher with so low a limit to this many nodes at once. Returns the time until the
/// last of them has it, and the bytes that the publisher sent.
fn rollout(getters: usize, seed: u64) -> (Duration, u64) {
    let alice = Home::new();
    let seeder = alice.publish_with(&alice.file("file", LEN, seed), &["--limit-up", LIMIT.0]);
    let homes: Vec<Home> = (0..getters).map(|_| Home::new()).collect();
    let began = Instant::now();
    let gets: Vec<Process> =
        homes.iter().map(|home| home.spawn_get(seeder.link(), &["-o", "out", "--seed"])).collect();
    for get in &gets {
        get.wait_for_event("done");
    }
    let took = began.elapsed();
    let sent = alice.ask(&["status"])["uploaded"].as_u64().unwrap();
    for (home, get) in homes.iter().zip(gets) {
        assert_eq!(b3(&home.path("out")), seeder.id());
        let _ = get.interrupt();
    }
    seeder.stop().success();
    (took, sent)
}

/// Time that the limit allows for the file, and a little for everything else.
fn is_exact(took: Duration) -> bool {
    let exact = Duration::from_secs_f64(LEN as f64 / LIMIT.1 as f64);
    took > exact.mul_f64(0.9) && took < exact + Duration::from_secs(2)
}

#[test]
fn a_low_limit_is_used_and_nothing_is_sent_twice() {
    let (took, sent) = rollout(1, 1);
    assert!(is_exact(took), "{took:?}");
    assert!((LEN..LEN + LEN / 50).contains(&sent), "{sent} bytes of {LEN}");
}

#[test]
fn three_getters_take_one_copy_over_a_low_limit() {
    let (took, sent) = rollout(3, 2);
    assert!(is_exact(took), "{took:?}");
    assert!((LEN..LEN + LEN / 20).contains(&sent), "{sent} bytes of {LEN}");
}
