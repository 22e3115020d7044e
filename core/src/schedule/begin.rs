//! Chunks that arrive without a request: their holder sends them with its first messages (see
//! `Input::Pushed`).

use super::{BlobKey, Now, Output, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;

impl Scheduler {
    /// Handles a holder that has these chunks and already sends those of `coming`. Each of them that is
    /// wanted counts as requested ([`Output::Request`]) before the holder hears which other chunks are
    /// needed.
    pub(super) fn begins(
        &mut self,
        (peer, blob): (PeerKey, BlobKey),
        have: Bitmap,
        coming: &[u32],
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.holds(peer, blob, have);
        for chunk in coming {
            self.comes(peer, blob, *chunk, now, out);
        }
        if let Some(b) = self.blobs.get_mut(&blob) {
            b.tell(peer, blob, out);
        }
    }

    fn comes(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32, now: Now, out: &mut Vec<Output>) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let (Some(index), Some(picker)) = (b.geometry.chunk(chunk), &mut b.picker) else { return };
        let mut only = Bitmap::new(b.geometry.chunks());
        only.set(chunk);
        if picker.pick(peer, Some(chunk), Some(&only), &mut self.random).is_none() {
            return;
        }
        let size = b.geometry.size(index) as u64;
        b.asked_of(peer, chunk);
        self.taking.asks(self.inflight.bytes_total(), now);
        self.inflight.add(peer, blob, chunk, size, now);
        if let Some(holder) = self.peers.get_mut(&peer) {
            holder.asked(size, now);
        }
        out.push(Output::Request { peer, blob, chunk });
    }
}
