//! A few of the simulator's worlds in which much goes wrong. CI runs twenty thousand of them, by the command
//! in cli/docs/figures.md.

use swarm_tests::sim::scenario::Scenario;
use swarm_tests::sim::seeds;

fn hold(world: fn(u64) -> Scenario, seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(what) = seeds::run(world(seed), None) {
            panic!("seed {seed}: {what}\n{:#?}", world(seed));
        }
    }
}

#[test]
fn whoever_can_have_all_has_it_whatever_went_wrong() {
    hold(seeds::scenario, 1..=200);
    hold(seeds::crowded, 1..=50);
}

/// Worlds in which downloads once hung for ever: after a pause that followed from a line that was cut; behind
/// a thin line full of chunks that other nodes had hoarded, where no patience was long enough; beside a peer
/// that read nothing and a peer that sent a byte now and then; and behind a thin line of which two hoarders
/// took nearly all.
#[test]
fn what_hung_once_ends() {
    hold(seeds::scenario, [502_430, 545_465, 606_422, 502_968, 505_420, 4_074_527, 6_812_087]);
}
