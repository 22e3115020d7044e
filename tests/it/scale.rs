//! Many small things in one daemon cost little each, and what has ended costs nothing.

use swarm_tests::scale::{Counts, measure};

#[test]
fn memory_and_descriptors_stay_flat() {
    println!("{}", measure(Counts { contents: 200, downloads: 300, gets: 100 }).unwrap());
}
