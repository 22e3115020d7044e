//! The simulator: downloads, uploads and their scheduler as they are shipped, in a world of hosts, links and
//! sites in virtual time.
//!
//! A run is a [`scenario::Scenario`] and follows from its seed alone. [`table`] holds the scenarios whose
//! figures cli/docs/figures.md quotes, each with the bound of the fluid model and the figure to reach;
//! [`seeds`] makes small worlds in which much goes wrong, and asks for what must hold all the same.

mod check;
mod faults;
mod host_blob;
mod links;
pub mod scenario;
pub mod seeds;
mod sessions;
pub mod table;
pub mod world;
