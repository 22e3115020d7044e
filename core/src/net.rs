//! Connections between two machines: addresses, the transport and its encryption, the streams of a peer,
//! limits and rates. Nothing here knows what content or an office is, nor chooses which peers to connect to.

pub mod address;
pub mod error;
pub mod transport;
pub(crate) mod wakeups;

pub(crate) mod behaviour;
pub(crate) mod connection_limits;
pub(crate) mod filter;
pub(crate) mod identity;
pub(crate) mod ledbat;
pub(crate) mod multicast;
pub(crate) mod rate;
pub(crate) mod seldom;
pub(crate) mod shaping;
pub(crate) mod streams;

mod eager_tls;
mod link_local;
mod socket;
mod tls;
mod yamux;

/// The names of libp2p that every part of the crate may use; libp2p's other parts stay where they are used.
pub(crate) use libp2p::identity::Keypair;
pub(crate) use libp2p::multiaddr::Protocol;
pub(crate) use libp2p::{Multiaddr, PeerId};

#[cfg(test)]
mod connection_limits_tests;
#[cfg(test)]
mod relay_tests;
#[cfg(test)]
mod streams_tests;
