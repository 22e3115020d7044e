//! The last chunks: when a holder has nothing unasked left to give, it helps with what a slower one owes.

use std::time::Duration;

use super::{BlobKey, Now, PeerKey, Scheduler};
use crate::limits;

/// A second copy is asked for when the first is expected to take this many times longer.
const FASTER: u32 = 2;

impl Scheduler {
    /// The chunk in flight elsewhere that this holder would have soonest before its owner, within the byte budget.
    /// Only an idle holder hedges: O(chunks in flight), which is bounded, and only at the end of a blob.
    pub(super) fn hedge(&mut self, peer: PeerKey, now: Now) -> Option<(BlobKey, u32, u64)> {
        let holder = self.peers.get(&peer)?;
        if holder.outstanding() > 0 {
            return None;
        }
        let mine = holder.rate();
        let candidates = self.blobs.iter().filter(|(_, f)| !f.paused && f.picker.holds(peer));
        let best = candidates
            .flat_map(|(blob, f)| self.inflight.requests(*blob).map(move |(chunk, r)| (*blob, f, chunk, r)))
            .filter(|(blob, f, chunk, r)| {
                r.peer != peer
                    && f.picker.peer_has(peer, *chunk)
                    && self.inflight.copies(*blob, *chunk) < limits::COPIES
                    && f.hedged + r.size <= budget(f.geometry.len())
                    && now.saturating_sub(r.since) >= limits::HEDGE_AFTER
            })
            .map(|(blob, _, chunk, r)| (self.expected(r.peer, now, r.since), blob, chunk, r.size))
            .filter(|(theirs, _, _, size)| *theirs > FASTER * time_for(*size, mine))
            .max_by_key(|(theirs, _, chunk, _)| (*theirs, *chunk));
        let (_, blob, chunk, size) = best?;
        let fetch = self.blobs.get_mut(&blob)?;
        fetch.hedged += size;
        fetch.picker.doubled(chunk);
        Some((blob, chunk, size))
    }

    /// How long an owner may still need for all it owes; one that never delivered is judged by how long it has not.
    fn expected(&self, owner: PeerKey, now: Now, since: Now) -> Duration {
        match self.peers.get(&owner) {
            Some(h) if h.rate() > 0 => time_for(h.outstanding(), h.rate()),
            _ => now.saturating_sub(since) * 8,
        }
    }
}

/// Hedging may cost at most this many bytes of a blob of `len` bytes.
fn budget(len: u64) -> u64 {
    (len / 1000 * limits::HEDGE_PER_MILLE).max(limits::HEDGE_BYTES_MIN)
}

/// `bytes` at `rate` bytes per second; an unknown rate is taken as 1 MiB/s.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let rate = if rate == 0 { 1 << 20 } else { rate };
    Duration::from_micros(bytes.saturating_mul(1_000_000) / rate)
}
