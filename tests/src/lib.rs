//! What the tests of swarm stand on. The tests themselves are in `it/`, measurements in `bench/`.

pub mod fixture;
pub mod fuzz_targets;
pub mod hostile;
