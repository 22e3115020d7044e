//! Requests that are taken back: those that failed, and those whose holder is silent or too slow.

use std::collections::BTreeSet;
use std::time::Duration;

use super::holders::Holder;
use super::{BlobKey, Now, Output, PeerBlob, PeerKey, RequestFailure, Scheduler};
use crate::limits;

/// A holder may be silent for this many times as long as chunks took lately.
const SILENCE: u32 = 2;
/// A chunk that takes this many times as long as chunks took lately is requested from another holder.
const CRAWL: u32 = 8;
/// The most doublings of the time after which a chunk is requested from another holder. It doubles each time
/// that this happens without any other chunk coming.
const CRAWLS: u32 = 6;
/// The longest time that a chunk may take. On any useful line it takes less.
const HOPELESS: Duration = Duration::from_secs(900);

impl Scheduler {
    pub(super) fn failed(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        chunk: u32,
        why: RequestFailure,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let was_asked = self.end_request(peer, blob, chunk);
        match why {
            // The holder declines a request that it was not sent, or that was taken back.
            RequestFailure::Busy | RequestFailure::Missing if !was_asked => return,
            RequestFailure::Bad => {
                out.push(Output::Ban { peer, blob, chunk });
                return self.peer_down(peer, now, out);
            }
            RequestFailure::Busy => {
                if let Some(holder) = self.peers.get_mut(&peer) {
                    holder.back_off(now);
                }
            }
            RequestFailure::Missing => {
                let Some(b) = self.blobs.get_mut(&blob) else { return };
                let claims = b.links.get(&peer).and_then(PeerBlob::claims);
                if let Some(picker) = &mut b.picker {
                    picker.holder_lost(peer, chunk, claims);
                }
            }
            RequestFailure::Local => {}
        }
        self.tell_all(blob, now, out);
    }

    /// Takes requests back from holders that have sent nothing for too long, or so little that others are
    /// faster. Such a holder may give again after a pause that doubles.
    pub(super) fn drop_stalled(&mut self, now: Now, out: &mut Vec<Output>) {
        for peer in self.stalled(now) {
            let mut touched = Vec::new();
            for (blob, chunk) in self.inflight.of_peer(peer) {
                self.end_request(peer, blob, chunk);
                out.push(Output::Cancel { peer, blob, chunk });
                touched.push(blob);
            }
            touched.dedup();
            for blob in touched {
                if let Some(b) = self.blobs.get_mut(&blob) {
                    b.stalls += 1;
                }
                self.tell_all(blob, now, out);
            }
            if let Some(holder) = self.peers.get_mut(&peer) {
                holder.stalled(now);
            }
        }
        self.drop_drips(now, out);
        let mut slow = self.crawling(now);
        for (peer, blob, chunk) in slow.iter().copied() {
            self.end_request(peer, blob, chunk);
            out.push(Output::Cancel { peer, blob, chunk });
        }
        slow.sort_unstable();
        slow.dedup_by_key(|(peer, ..)| *peer);
        for (peer, blob, _) in slow {
            if let Some(holder) = self.peers.get_mut(&peer) {
                holder.crawled(now);
            }
            if let Some(b) = self.blobs.get_mut(&blob) {
                b.crawls += 1;
            }
            self.tell_all(blob, now, out);
        }
    }

    /// Takes all requests back from a holder that sends a byte now and then, so that a chunk would take
    /// hours. That is no sign that others are slow.
    fn drop_drips(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut drips = BTreeSet::new();
        for (key, b) in &self.blobs {
            let Some(picker) = &b.picker else { continue };
            for (chunk, request) in self.inflight.requests(*key).filter(|(_, request)| request.got > 0) {
                let local = self.is_local(request.peer);
                let delivered = self.peers.get(&request.peer).map_or(Duration::ZERO, Holder::delivered_at);
                let age = now.saturating_sub(request.since.max(delivered));
                let takes = age * request.size as u32 / request.got as u32;
                let other = |peer: &PeerKey| *peer != request.peer && picker.peer_has(*peer, chunk);
                if age > limits::REQUEST_TIMEOUT
                    && takes > HOPELESS.max(self.taking.service(local) * CRAWL)
                    && b.links.keys().any(other)
                {
                    drips.insert((request.peer, *key));
                }
            }
        }
        for (peer, blob) in drips {
            for (_, chunk) in self.inflight.of_peer(peer).into_iter().filter(|(of, _)| *of == blob) {
                self.end_request(peer, blob, chunk);
                out.push(Output::Cancel { peer, blob, chunk });
            }
            if let Some(holder) = self.peers.get_mut(&peer) {
                holder.crawled(now);
            }
            self.tell_all(blob, now, out);
        }
    }

    /// Returns the holders that have been silent for too long. If no chunk comes from any holder, the line
    /// may be full of others' bytes: patience doubles with every second request that is taken back in vain,
    /// so that one of them is waited for. If each chunk takes long, patience is as long from the start.
    fn stalled(&self, now: Now) -> Vec<PeerKey> {
        let patience = |peer: PeerKey| {
            let asked = self.inflight.of_peer(peer);
            let vain = asked.iter().filter_map(|(blob, _)| self.blobs.get(blob)).map(|b| b.stalls + b.crawls);
            1 << (vain.max().unwrap_or(0) / 2).min(CRAWLS)
        };
        let usual = |holder: &Holder| self.taking.service(holder.is_local()) * SILENCE;
        let silent = self.peers.iter().filter(|(_, h)| h.is_stalled(1, usual(h), now));
        let stalled = silent.filter(|(peer, h)| h.is_stalled(patience(**peer), usual(h), now));
        stalled.map(|(key, _)| *key).collect()
    }

    /// Returns the chunks that will take so long that another holder is better: one that has delivered
    /// something, or in the end any that claims to have the chunk.
    fn crawling(&self, now: Now) -> Vec<(PeerKey, BlobKey, u32)> {
        let mut crawling = Vec::new();
        for (key, b) in &self.blobs {
            let Some(picker) = &b.picker else { continue };
            for (chunk, request) in self.inflight.requests(*key) {
                let Some(holder) = self.peers.get(&request.peer) else { continue };
                let usual = self.taking.service(holder.is_local()) * CRAWL;
                // If all holders are slow, patience grows: otherwise none of the chunks would ever arrive.
                let patience =
                    limits::REQUEST_TIMEOUT.max(usual) * (1 << (b.crawls + b.stalls / 2).min(CRAWLS));
                // This request waited while an earlier one was on its way.
                let age = now.saturating_sub(request.since.max(holder.delivered_at()));
                let slow = || age * request.size as u32 / (request.got as u32).max(1) > patience * 2;
                let better = |peer: &PeerKey| {
                    *peer != request.peer
                        && picker.peer_has(*peer, chunk)
                        && (age > patience * 3
                            || self.peers.get(peer).is_some_and(|h| h.has_delivered() && h.is_there(now)))
                };
                if age > patience && slow() && b.links.keys().any(better) {
                    crawling.push((request.peer, *key, chunk));
                }
            }
        }
        crawling
    }

    /// Ends one request. The chunk is wanted again if it is requested from nobody else. Returns false if
    /// there was no such request.
    pub(super) fn end_request(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32) -> bool {
        let twice = self.inflight.copies(blob, chunk) > 1;
        let Some(request) = self.inflight.remove(peer, blob, chunk) else { return false };
        if let Some(holder) = self.peers.get_mut(&peer) {
            holder.ended(request.size);
        }
        if let Some(b) = self.blobs.get_mut(&blob) {
            b.owes_not(peer, chunk);
            if twice {
                // The bytes that did not come have cost nothing.
                b.hedged = b.hedged.saturating_sub(request.size.saturating_sub(request.got));
            }
        }
        true
    }
}
