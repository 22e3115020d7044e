//! The last chunks: when each missing chunk is requested from somebody, those that take long are requested
//! from a second holder.

use std::time::Duration;

use super::{BlobKey, Now, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;

/// A chunk is late when it takes this many times as long as chunks took lately.
const LATE: u32 = 2;

impl Scheduler {
    /// Finds the late chunks at the end of a blob, when all others are here or on their way, and those next
    /// for a reader. The holders are told that this node would take them.
    pub(super) fn find_late(&mut self, now: Now) {
        let patience = |local| (self.taking.service(local) * LATE).max(limits::HEDGE_AFTER);
        let patience = [patience(false), patience(true)];
        for (blob, b) in &mut self.blobs {
            let ending = b.picker.as_ref().is_some_and(|p| p.wanted().is_empty() && !p.is_complete());
            let reading = b.reading.filter(|_| b.picker.as_ref().is_some_and(|p| !p.is_complete()));
            if !ending && reading.is_none() {
                b.late = None;
                continue;
            }
            let counts = |chunk| ending || reading.is_some_and(|reading| reading.is_near(chunk));
            let mut late = Bitmap::new(b.geometry.chunks());
            for (chunk, request) in self.inflight.requests(*blob).filter(|(chunk, _)| counts(*chunk)) {
                let local = b.links.get(&request.peer).is_some_and(|link| link.local);
                let trusted = self.peers.get(&request.peer).is_some_and(super::Holder::is_trusted);
                let patience = if trusted { patience[usize::from(local)] } else { limits::HEDGE_AFTER };
                if now.saturating_sub(request.since) > patience
                    && self.inflight.copies(*blob, chunk) < limits::COPIES
                {
                    late.set(chunk);
                }
            }
            if b.late.as_ref() != Some(&late) {
                b.news = true;
                b.late = Some(late);
            }
        }
    }

    /// Returns the late chunk, with its size in bytes, that this holder has and whose request is oldest,
    /// within the byte budget. O(chunks in flight), which is bounded, and only at the end of a blob or for a
    /// reader.
    pub(super) fn hedge(&mut self, peer: PeerKey, blob: BlobKey) -> Option<(u32, u64)> {
        let b = self.blobs.get_mut(&blob)?;
        // A second copy from a holder that has failed before would be the last one, so it must be better than
        // the holder of the first.
        let holder = self.peers.get(&peer)?;
        let owes = |owner: &PeerKey| self.peers.get(owner).is_some_and(super::Holder::has_delivered);
        let trusted = holder.is_trusted();
        if !trusted && !holder.has_delivered() {
            return None;
        }
        // Across the border only this node's own imports count: the other nodes of the site would request the
        // rest too.
        let far = b.links.get(&peer).is_some_and(|link| !link.local);
        let mine = b.border.as_ref().filter(|_| far).map(super::Border::mine);
        let (late, picker) = (b.late.as_mut()?, b.picker.as_mut()?);
        let best = self.inflight.requests(blob).filter(|(chunk, r)| {
            r.peer != peer
                && late.get(*chunk)
                && (trusted || !owes(&r.peer))
                && mine.is_none_or(|mine| mine.get(*chunk))
                && picker.peer_has(peer, *chunk)
                && b.hedged + r.size <= budget(b.geometry.len())
        });
        let (chunk, size) = best.min_by_key(|(_, r)| r.since).map(|(chunk, r)| (chunk, r.size))?;
        late.clear(chunk);
        b.hedged += size;
        picker.doubled(chunk);
        Some((chunk, size))
    }
}

/// Returns the bytes that hedging may cost at most for a blob of `len` bytes.
fn budget(len: u64) -> u64 {
    (len / 1000 * limits::HEDGE_PER_MILLE).max(limits::HEDGE_BYTES_MIN)
}

/// Returns a moving average, to which each new value contributes an eighth.
pub(super) fn smooth(old: Duration, new: Duration) -> Duration {
    if old.is_zero() { new } else { (old * 7 + new) / 8 }
}
