//! The last chunks: when nothing is left that nobody was asked for, those that take long are asked of a second holder.

use std::time::Duration;

use super::{Blob, BlobKey, Now, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;

/// A chunk is late when it takes this many times longer than chunks took lately.
const LATE: u32 = 2;

impl Scheduler {
    /// Which chunks are late, now that all others are here or on their way: holders are told that we would take them.
    pub(super) fn find_late(&mut self, now: Now) {
        let patience = |local| (self.taking.service(local) * LATE).max(limits::HEDGE_AFTER);
        let patience = [patience(false), patience(true)];
        for (blob, b) in &mut self.blobs {
            let ending = b.picker.as_ref().is_some_and(|p| p.wanted().is_empty() && !p.is_complete());
            if !ending {
                b.late = None;
                continue;
            }
            let mut late = Bitmap::new(b.geometry.chunks());
            for (chunk, request) in self.inflight.requests(*blob) {
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

    /// The late chunk that this holder has and that was asked for longest ago, within the byte budget.
    /// O(chunks in flight), which is bounded, and only at the end of a blob.
    pub(super) fn hedge(&mut self, peer: PeerKey, blob: BlobKey) -> Option<(u32, u64)> {
        let b = self.blobs.get_mut(&blob)?;
        // A second copy of one who has let us down before would be the last.
        if !self.peers.get(&peer).is_some_and(super::Holder::is_trusted) {
            return None;
        }
        // Across the border only what is ours to import: the others of our site would ask for it, too.
        let far = b.links.get(&peer).is_some_and(|link| !link.local);
        let mine = b.border.as_ref().filter(|_| far).map(super::Border::mine);
        let (late, picker) = (b.late.as_mut()?, b.picker.as_mut()?);
        let best = self.inflight.requests(blob).filter(|(chunk, r)| {
            r.peer != peer
                && late.get(*chunk)
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

impl Blob {
    /// What we would take: what nobody was asked for, or at the end what is late.
    pub(super) fn need(&self) -> Option<&Bitmap> {
        let picker = self.picker.as_ref()?;
        Some(self.late.as_ref().filter(|_| picker.wanted().is_empty()).unwrap_or_else(|| picker.wanted()))
    }
}

/// Hedging may cost at most this many bytes of a blob of `len` bytes.
fn budget(len: u64) -> u64 {
    (len / 1000 * limits::HEDGE_PER_MILLE).max(limits::HEDGE_BYTES_MIN)
}

/// An average that follows: an eighth of each new value.
pub(super) fn smooth(old: Duration, new: Duration) -> Duration {
    if old.is_zero() { new } else { (old * 7 + new) / 8 }
}
