//! The optional meeting point for nodes that multicast does not reach: it introduces the nodes that announce
//! to it to each other. Every node works without it.
//!
//! [`registry`] is the pure machine, [`server`] puts it behind the node's own transports, and [`http`] shows
//! its state. Only the key of its identity is stored: a tracker that is killed and started again learns
//! everything anew from the nodes that announce to it.

pub mod http;
pub mod reach;
pub mod registry;
pub mod server;

mod index;
mod quota;
mod sample;
mod slab;
mod small_list;
