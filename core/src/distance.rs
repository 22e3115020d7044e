//! Classes of distance between two nodes.

use serde::{Deserialize, Serialize};

/// The distance class of a peer, which follows from its address and the name of its site. A smaller value is
/// nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// On this machine.
    Host,
    /// In this network: at a private, shared or link-local address.
    Lan,
    /// In another network that has this node's site name.
    Site,
    /// Anywhere else.
    Wan,
}
