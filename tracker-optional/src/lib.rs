//! The optional meeting point for nodes that no multicast joins. So far its registry alone: nothing serves it yet, and every
//! node works without it.

pub mod registry;
mod slab;
