//! One integration binary: each module tests one side of the built `swarm`.

#![allow(clippy::unwrap_used)]

mod already;
mod control;
mod dht;
mod distance;
mod faults;
mod finding;
mod foreign;
mod fuzz;
mod hostile;
mod keeping;
mod lan;
mod limits;
mod main_job;
mod offices;
mod quota;
mod scale;
mod serve;
mod served;
mod shares;
mod source;
mod tidy;
mod webseed;
mod worlds;
