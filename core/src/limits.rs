//! Every bound of the system, by name and with its reason. Code elsewhere uses these names and invents no
//! bounds of its own. Sections are files below `limits/`; every constant is reachable as
//! `crate::limits::NAME`.
//!
//! ```
//! use swarm_core::limits;
//!
//! // The longest blob has the most chunks, each of 32 MiB.
//! assert_eq!(limits::BLOB_BYTES / u64::from(limits::CHUNKS), 32 << 20);
//! ```

mod connections;
mod content;
mod control;
mod dht;
mod offices;
mod signed;
mod store;
mod tracker;
mod transfer;
mod webseeds;
mod wire;

pub use connections::*;
pub use content::*;
pub use control::*;
pub use dht::*;
pub use offices::*;
pub use signed::*;
pub use store::*;
pub use tracker::*;
pub use transfer::*;
pub use webseeds::*;
pub use wire::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Most rules in a timetable.
pub const TIMETABLE_RULES: usize = 64;
/// Seconds in a day.
pub const DAY: u32 = 86_400;
