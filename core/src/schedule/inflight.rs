//! Who was asked for what.

use std::collections::{BTreeMap, BTreeSet};

use super::{BlobKey, Now, PeerKey};

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Whom.
    pub peer: PeerKey,
    /// Bytes of the chunk.
    pub size: u64,
    /// Bytes that have arrived.
    pub got: u64,
    /// When.
    pub since: Now,
}

/// All requests that are out. A chunk has at most [`crate::limits::COPIES`] of them.
#[derive(Debug, Default)]
pub struct InFlight {
    chunks: BTreeMap<(BlobKey, u32), Vec<Request>>,
    by_peer: BTreeSet<(PeerKey, BlobKey, u32)>,
    bytes: u64,
}

impl InFlight {
    /// Bytes that may arrive at any moment: a chunk asked of two holders counts twice.
    #[must_use]
    pub const fn bytes_total(&self) -> u64 {
        self.bytes
    }

    /// The same, of the holders that `these` is true of: O(requests).
    #[must_use]
    pub fn bytes_of(&self, these: impl Fn(PeerKey) -> bool) -> u64 {
        self.chunks.values().flatten().filter(|r| these(r.peer)).map(|r| r.size).sum()
    }

    /// A request goes out.
    pub fn add(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32, size: u64, now: Now) {
        if self.by_peer.insert((peer, blob, chunk)) {
            self.chunks.entry((blob, chunk)).or_default().push(Request { peer, size, got: 0, since: now });
            self.bytes += size;
        }
    }

    /// A part of an answer arrived.
    pub fn bytes(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32, bytes: u64) {
        let requests = self.chunks.get_mut(&(blob, chunk));
        if let Some(request) = requests.and_then(|all| all.iter_mut().find(|r| r.peer == peer)) {
            request.got += bytes;
        }
    }

    /// Takes a request out.
    pub fn remove(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32) -> Option<Request> {
        if !self.by_peer.remove(&(peer, blob, chunk)) {
            return None;
        }
        let requests = self.chunks.get_mut(&(blob, chunk))?;
        let at = requests.iter().position(|r| r.peer == peer)?;
        let request = requests.swap_remove(at);
        if requests.is_empty() {
            self.chunks.remove(&(blob, chunk));
        }
        self.bytes -= request.size;
        Some(request)
    }

    /// Everything asked of one peer.
    #[must_use]
    pub fn of_peer(&self, peer: PeerKey) -> Vec<(BlobKey, u32)> {
        let all = (peer, BlobKey(0), 0)..=(peer, BlobKey(u32::MAX), u32::MAX);
        self.by_peer.range(all).map(|(_, blob, chunk)| (*blob, *chunk)).collect()
    }

    /// Everything asked of one blob.
    #[must_use]
    pub fn of_blob(&self, blob: BlobKey) -> Vec<(PeerKey, u32)> {
        self.requests(blob).map(|(chunk, r)| (r.peer, chunk)).collect()
    }

    /// Whoever was asked for a chunk.
    #[must_use]
    pub fn owners(&self, blob: BlobKey, chunk: u32) -> Vec<PeerKey> {
        self.chunks.get(&(blob, chunk)).map_or_else(Vec::new, |all| all.iter().map(|r| r.peer).collect())
    }

    /// When a peer was asked for a chunk.
    #[must_use]
    pub fn since(&self, peer: PeerKey, blob: BlobKey, chunk: u32) -> Option<Now> {
        self.chunks.get(&(blob, chunk))?.iter().find(|r| r.peer == peer).map(|r| r.since)
    }

    /// How many were asked for a chunk.
    #[must_use]
    pub fn copies(&self, blob: BlobKey, chunk: u32) -> usize {
        self.chunks.get(&(blob, chunk)).map_or(0, Vec::len)
    }

    /// All requests of a blob.
    pub fn requests(&self, blob: BlobKey) -> impl Iterator<Item = (u32, &Request)> {
        self.chunks
            .range((blob, 0)..=(blob, u32::MAX))
            .flat_map(|((_, chunk), all)| all.iter().map(move |r| (*chunk, r)))
    }
}
