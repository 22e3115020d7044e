//! Peer-to-peer content distribution: content named by its BLAKE3 hash, cut into chunks that are verified the moment
//! they arrive, fetched from every holder at once.
//!
//! The layers, from the bottom: [`id`], [`limits`], [`timetable`], [`options`] and [`metrics`]; [`content`]; [`office`], [`schedule`] and [`wire`];
//! [`exchange`]; then, with the feature `net`, `platform`, `store`, `node` and `control`. A module uses only what stands above it.
//! `ARCHITECTURE.md` beside this crate tells the rest.

pub mod distance;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod options;
pub mod random;
pub mod timetable;

pub mod content;

pub mod office;
pub mod schedule;
pub mod wire;

pub mod exchange;

#[cfg(feature = "net")]
mod platform;

#[cfg(feature = "net")]
pub mod store;

#[cfg(feature = "net")]
pub mod api;

#[cfg(feature = "net")]
pub mod net;

#[cfg(feature = "net")]
pub mod discovery;
#[cfg(feature = "net")]
mod membership;
#[cfg(feature = "net")]
mod transfer;

#[cfg(feature = "net")]
pub mod node;

#[cfg(feature = "net")]
pub mod control;
