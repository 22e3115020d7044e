//! Finding peers and being found: candidates for a dial, trackers, the DHT, neighbours that are asked, and
//! reachability from outside. Each part decides and keeps state; the node's actor dials and listens.

pub mod tracker;

pub(crate) mod ask_around;
pub(crate) mod candidates;
pub(crate) mod dht;
pub(crate) mod lan;
pub(crate) mod peer_cache;
pub(crate) mod port_mapping;
pub(crate) mod reachability;
pub(crate) mod refusals;
