//! The optional meeting point for nodes that no multicast joins: who announces to it is told of others. Every node works
//! without it.
//!
//! [`registry`] is the pure machine, [`server`] puts it behind the node's own transports, [`http`] shows how it does.
//! Nothing is kept but the key of its identity: a tracker that is killed and started again is told everything anew by those
//! who announce to it.

pub mod http;
pub mod reach;
pub mod registry;
pub mod server;

mod index;
mod quota;
mod sample;
mod slab;
mod small_list;
