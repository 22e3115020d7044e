//! Peers that give, and peers that only take. The rest of the uplink goes to peers that pass on the chunks
//! they get.
//!
//! No peer has to give as much as it takes: links differ, and a peer that is behind has nothing that others
//! need. A peer is a *taker only* once it has had some chunks from this node, could have given some (it holds
//! chunks that are wanted, or does not admit that it has those it got), and did not. A node with first copies
//! sees for itself whether a chunk that it gave to one neighbour alone turns up at another. Takers only are
//! served when no other peer wants anything. A delivered chunk makes the peer a giver again.

use super::{BlobKey, BlobSchedule, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;

/// Chunks for a peer that has not given anything yet.
const TRIAL: u32 = 4;
/// Chunks between one gift and the next for a peer that has given.
const BETWEEN: u32 = 32;

/// The balance of chunks that one peer was given and that it gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credit {
    /// Chunks sent to the peer since it last gave something.
    since: u32,
    proved: bool,
    only_takes: bool,
}

impl Credit {
    /// The balance of a new peer.
    pub(super) const NEW: Self = Self { since: 0, proved: false, only_takes: false };

    /// Records a chunk that was sent to the peer.
    pub(super) const fn sent(&mut self) {
        self.since = self.since.saturating_add(1);
    }

    /// Records that the peer gave something, to this node or to another.
    pub(super) const fn gave(&mut self) {
        (self.since, self.proved, self.only_takes) = (0, true, false);
    }

    /// Returns true if the peer only takes, as of the last [`Scheduler::judge`].
    pub(super) const fn only_takes(&self) -> bool {
        self.only_takes
    }

    const fn is_spent(&self) -> bool {
        self.since >= if self.proved { BETWEEN } else { TRIAL }
    }
}

impl Scheduler {
    /// Decides which peers only take. A peer that has not had much from this node, or gave lately, costs no
    /// time.
    pub(super) fn judge(&mut self) {
        for (peer, holder) in &mut self.peers {
            let credit = &mut holder.credit;
            credit.only_takes = credit.is_spent() && self.blobs.values().any(|b| could_give(b, *peer));
        }
    }

    /// Records that a neighbour has, or is being sent, these chunks. A peer that alone was given one of them
    /// by this node has passed it on.
    pub(super) fn passed_on(&mut self, to: PeerKey, blob: BlobKey, drop: &Bitmap) {
        let Some(seed) = self.blobs.get_mut(&blob).and_then(|b| b.seed.as_mut()) else { return };
        for chunk in drop.iter() {
            let Some(by) = seed.passed_on(chunk, to) else { continue };
            if let Some(holder) = self.peers.get_mut(&by) {
                holder.credit.gave();
            }
        }
    }
}

/// Returns true if nothing that the peer does with this blob proves that it gives, though it could.
fn could_give(b: &BlobSchedule, peer: PeerKey) -> bool {
    let Some(taker) = b.links.get(&peer).and_then(|link| link.taker.as_ref()) else { return false };
    match (&b.seed, &b.picker) {
        (Some(_), _) => b.links.values().filter(|link| link.taker.is_some()).count() > 1,
        (None, Some(picker)) if !picker.is_complete() => {
            picker.has_wanted(peer) || picker.count_of(peer) < taker.sent.min(b.geometry.chunks()) / 2
        }
        _ => false,
    }
}
