//! How far away a peer is, in classes.

use serde::{Deserialize, Serialize};

/// How near a peer is, from its address and its site's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// This machine.
    Host,
    /// The same network: private or link-local addresses.
    Lan,
    /// Another network of our site, as it was named.
    Site,
    /// Elsewhere.
    Wan,
}
