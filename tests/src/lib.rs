//! Fixtures of swarm's tests. The tests are in `it/`, measurements in `bench/` and `lab/`, the simulator in
//! `sim/`.

pub mod fixture;
pub mod fuzz_targets;
pub mod hostile;
pub mod scale;
#[path = "../sim/mod.rs"]
pub mod sim;
