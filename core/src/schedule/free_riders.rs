//! Who gives, and who only takes: what is left of our uplink goes to those who pass on what they get.
//!
//! Nobody has to give as much as it takes: links differ, and who is behind has nothing that others need. A peer is a *taker
//! only* once it has had some chunks of us, could have given (it holds what we want, or does not own up to what it got of
//! us), and did not. A node with first copies sees itself whether a chunk that it gave to one neighbour alone turns up
//! at another. Takers only are served when nobody else wants anything; a delivered chunk clears the name.

use super::{BlobKey, BlobSchedule, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;

/// Chunks for a peer that has not given anything yet.
const TRIAL: u32 = 4;
/// Chunks from one gift to the next for a peer that has.
const BETWEEN: u32 = 32;

/// What one peer was given, and gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credit {
    /// Chunks sent to it since it last gave something.
    since: u32,
    proved: bool,
    only_takes: bool,
}

impl Credit {
    /// Nothing was given, either way.
    pub(super) const NEW: Self = Self { since: 0, proved: false, only_takes: false };

    /// A chunk went out to it.
    pub(super) const fn sent(&mut self) {
        self.since = self.since.saturating_add(1);
    }

    /// It gave something, to us or to somebody else.
    pub(super) const fn gave(&mut self) {
        (self.since, self.proved, self.only_takes) = (0, true, false);
    }

    /// See the module's text.
    pub(super) const fn only_takes(&self) -> bool {
        self.only_takes
    }

    const fn is_spent(&self) -> bool {
        self.since >= if self.proved { BETWEEN } else { TRIAL }
    }
}

impl Scheduler {
    /// Looks who only takes. A peer that has not had much of us, or gave lately, costs nothing.
    pub(super) fn judge(&mut self) {
        for (peer, holder) in &mut self.peers {
            let credit = &mut holder.credit;
            credit.only_takes = credit.is_spent() && self.blobs.values().any(|b| could_give(b, *peer));
        }
    }

    /// A neighbour has, or is being sent, a chunk: whoever alone was given it by us has passed it on.
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

/// What a peer does with this blob is no proof that it gives, and it might have been.
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
