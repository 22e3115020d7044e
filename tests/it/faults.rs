//! Machines that fail: whatever is killed, filled up, corrupted or stopped on the way, no wrong byte is ever
//! in place, and the command goes on when it is run again. The names begin with the numbers of the list these
//! tests come from.
//!
//! `SWARM_TEST_ALL=1` tries every call instead of a sample and the sizes of that list; it takes an hour.

mod damage;
mod errors;
mod kills;
mod places;
mod resume;
mod scarce;
mod sources;
mod stalls;

use swarm_tests::fixture::{Home, Ran, b3};

/// Returns true if everything is tried instead of a sample.
fn all() -> bool {
    std::env::var_os("SWARM_TEST_ALL").is_some_and(|value| value == "1")
}

/// Checks that the store opens, and that every blob it calls complete is complete.
#[track_caller]
fn check_store(home: &Home) {
    home.run(["ls"]).success();
    home.run(["verify"]).success();
}

/// Checks a download that was interfered with: a file that is in place has the right bytes.
#[track_caller]
fn check_nothing_wrong(home: &Home, name: &str, id: &str, ran: &Ran) {
    ran.sane();
    let path = home.path(name);
    if path.exists() {
        assert_eq!(b3(&path), id, "a wrong file is in place");
    } else {
        assert_ne!(ran.code, Some(0), "said to be done, and not there");
    }
}
