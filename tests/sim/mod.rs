//! The simulator: the scheduler as it is shipped, its messages, and a world of hosts, links and sites in virtual time.
//!
//! A run is a [`world::Scenario`] and follows from its seed alone. [`table`] holds the scenarios whose figures the README
//! quotes, each with the bound of the fluid model and the figure to reach.

pub mod table;
pub mod world;
