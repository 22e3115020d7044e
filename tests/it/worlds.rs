//! A few of the simulator's worlds in which much goes wrong; CI runs two thousand, by the README's command.

use swarm_tests::sim::seeds;

#[test]
fn whoever_can_have_all_has_it_whatever_went_wrong() {
    for seed in 1..=200 {
        if let Err(what) = seeds::run(seed, None) {
            panic!("seed {seed}: {what}\n{:#?}", seeds::scenario(seed));
        }
    }
}
