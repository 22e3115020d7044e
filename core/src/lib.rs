//! Peer-to-peer content distribution: content is named by its BLAKE3 hash, cut into chunks that are verified
//! the moment they arrive, and fetched from every holder at once. This crate is the whole node as a library:
//! store, scheduler, network and private networks; the command line `swarm` is a thin layer over it.
//!
//! # Goals
//!
//! - **Nothing unverified**: no byte reaches a file, a reader or a peer before it matched its hash.
//! - **Speed from many holders**: a file that hundreds fetch leaves its publisher little more than once.
//! - **No data lost or touched**: downloads resume after a crash or power cut, and no file that swarm did not
//!   write is changed.
//! - **No servers needed**: nodes find each other on the LAN, by links, a DHT and, optionally, trackers.
//! - **Hostile peers are expected**: every message, queue and table has a limit (see [`limits`]).
//!
//! # Non-goals
//!
//! - Anonymity: a peer sees the addresses of the peers that it exchanges content with.
//! - Mutable content, names or search: an id is a hash of bytes that never change.
//! - Durable storage: content stays available for as long as some node holds it.
//! - Other systems than Linux, for now.
//!
//! # Example
//!
//! Two nodes in one process; the link of the publisher holds its address.
//!
//! ```
//! use swarm_core::{Get, Node, Options, Publish};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let folder = tempfile::tempdir()?;
//!     let options = |name| {
//!         Options::new(folder.path().join(name)).listen("/ip4/127.0.0.1/tcp/0").without_mdns()
//!     };
//!     std::fs::write(folder.path().join("hello.txt"), "hello")?;
//!     swarm_core::runtime()?.block_on(async {
//!         let alice = Node::start(options("alice")).await?;
//!         let published = alice.publish(Publish::new(folder.path().join("hello.txt"))).await?;
//!
//!         let bob = Node::start(options("bob")).await?;
//!         let done = bob.get(Get::new(published.link).folder(folder.path().join("bob"))).await?;
//!         assert_eq!(std::fs::read_to_string(done.path)?, "hello");
//!
//!         bob.stop().await;
//!         alice.stop().await;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! The examples beside this crate show progress (`watch_progress`) and reading a file while it arrives
//! (`read_while_fetching`). [`Node`] lists all calls; each returns a [`Job`], which is a future of the answer
//! and a stream of [`JobProgress`]. A failed job gives a [`Failure`] with its kind ([`Fault`]) and a hint.
//! Processes that share a store go through a [`ControlSession`], which takes the same calls.
//!
//! # Map of the modules
//!
//! From the bottom; a module uses only modules above it in this list.
//!
//! | Module | Subject |
//! |---|---|
//! | [`id`], [`limits`], [`timetable`], [`random`], [`distance`] | ids, all bounds, rates by day and hour |
//! | [`options`], [`metrics`] | settings of a node, smoothed rates |
//! | [`content`] | chunks, hash lists, manifests, links, sealed shares |
//! | [`office`], [`schedule`], [`wire`] | private networks, which chunk from which peer, messages |
//! | [`exchange`] | downloads and uploads, as decisions |
//! | [`store`] | content on the disk |
//! | [`api`] | commands, events, typed calls |
//! | [`net`], [`discovery`] | connections; LAN, trackers, DHT |
//! | [`node`] | the node that runs |
//! | [`control`] | one node for each store, used by many processes |
//!
//! All up to `exchange` is pure: no clock, no disk, no network. It builds alone, without the feature `net`.
//! `ARCHITECTURE.md` beside this crate has the invariants and the decisions, `PROTOCOL.md` and `FORMATS.md`
//! the bytes on the wire and on the disk.

pub mod distance;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod options;
pub mod random;
pub mod timetable;

pub mod content;

pub mod signed;

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

pub use content::link::Link;
pub use id::ContentId;
pub use options::{Audience, Options};

#[cfg(feature = "net")]
pub use api::call::{Call, Verify};
#[cfg(feature = "net")]
pub use api::command::{Command, Destination, Get, Network, Publish};
#[cfg(feature = "net")]
pub use api::event::{Event, Failure, Fault};
#[cfg(feature = "net")]
pub use api::job::{Job, JobProgress};
#[cfg(feature = "net")]
pub use api::reader::ContentReader;
#[cfg(feature = "net")]
pub use control::ControlSession;
#[cfg(feature = "net")]
pub use net::error::StartError;
#[cfg(feature = "net")]
pub use node::{Node, runtime, runtime_for};
