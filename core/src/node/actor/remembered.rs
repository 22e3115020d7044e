//! Knowledge about peers that outlives a run: peers that were of use, and peers that refuse this node.

use std::time::Instant;

use crate::discovery::candidates::{AddressSource, Candidates};
use crate::discovery::peer_cache::Memory;
use crate::discovery::refusals::Refusals;
use crate::store::Store;

/// Knowledge about peers that is kept in the home folder.
#[derive(Debug)]
pub(super) struct Remembered {
    /// Peers that were of use, with their addresses.
    pub(super) peers: Memory,
    /// Peers that have banned this node, with the ends of their bans.
    pub(super) refusals: Refusals,
}

impl Remembered {
    /// Reads the knowledge of earlier runs from the home folder.
    pub(super) fn load(store: &Store) -> Self {
        Self { peers: Memory::load(store), refusals: Refusals::load(store) }
    }

    /// Adds the remembered peers to the candidates for a dial.
    pub(super) fn name_to(&self, candidates: &mut Candidates, now: Instant) {
        for (peer, addr) in self.peers.peers() {
            candidates.found(&addr, Some(peer), AddressSource::Remembered, now);
        }
    }

    /// Keeps the peers that refuse this node from being dialled before their bans end.
    pub(super) fn bar_in(&self, candidates: &mut Candidates) {
        for (peer, until) in self.refusals.peers() {
            candidates.bar(peer, until, self.refusals.sentence(&peer).unwrap_or_default());
        }
    }
}
