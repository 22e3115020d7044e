//! The open requests.

use std::collections::{BTreeMap, BTreeSet};

use super::{BlobKey, Now, PeerKey};

/// One request to one holder for one chunk.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The holder.
    pub peer: PeerKey,
    /// The size of the chunk in bytes.
    pub size: u64,
    /// The bytes that have arrived.
    pub got: u64,
    /// The time of the request.
    pub since: Now,
}

/// All open requests. A chunk has at most [`crate::limits::COPIES`] of them.
#[derive(Debug, Default)]
pub struct InFlight {
    chunks: BTreeMap<(BlobKey, u32), Vec<Request>>,
    by_peer: BTreeSet<(PeerKey, BlobKey, u32)>,
    bytes: u64,
}

impl InFlight {
    /// Returns the bytes that may arrive at any moment. A chunk requested from two holders counts twice.
    #[must_use]
    pub const fn bytes_total(&self) -> u64 {
        self.bytes
    }

    /// Returns the bytes that may arrive from the holders for which `these` is true. O(requests).
    #[must_use]
    pub fn bytes_of(&self, these: impl Fn(PeerKey) -> bool) -> u64 {
        self.chunks.values().flatten().filter(|r| these(r.peer)).map(|r| r.size).sum()
    }

    /// Adds a request.
    pub fn add(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32, size: u64, now: Now) {
        if self.by_peer.insert((peer, blob, chunk)) {
            self.chunks.entry((blob, chunk)).or_default().push(Request { peer, size, got: 0, since: now });
            self.bytes += size;
        }
    }

    /// Adds bytes of an answer.
    pub fn bytes(&mut self, peer: PeerKey, blob: BlobKey, chunk: u32, bytes: u64) {
        let requests = self.chunks.get_mut(&(blob, chunk));
        if let Some(request) = requests.and_then(|all| all.iter_mut().find(|r| r.peer == peer)) {
            request.got += bytes;
        }
    }

    /// Removes a request and returns it, if there was one.
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

    /// Returns everything that is requested from one peer.
    #[must_use]
    pub fn of_peer(&self, peer: PeerKey) -> Vec<(BlobKey, u32)> {
        let all = (peer, BlobKey(0), 0)..=(peer, BlobKey(u32::MAX), u32::MAX);
        self.by_peer.range(all).map(|(_, blob, chunk)| (*blob, *chunk)).collect()
    }

    /// Returns everything that is requested of one blob.
    #[must_use]
    pub fn of_blob(&self, blob: BlobKey) -> Vec<(PeerKey, u32)> {
        self.requests(blob).map(|(chunk, r)| (r.peer, chunk)).collect()
    }

    /// Returns the peers that a chunk is requested from.
    #[must_use]
    pub fn owners(&self, blob: BlobKey, chunk: u32) -> Vec<PeerKey> {
        self.chunks.get(&(blob, chunk)).map_or_else(Vec::new, |all| all.iter().map(|r| r.peer).collect())
    }

    /// Returns the time at which a chunk was requested from a peer, if it is.
    #[must_use]
    pub fn since(&self, peer: PeerKey, blob: BlobKey, chunk: u32) -> Option<Now> {
        self.chunks.get(&(blob, chunk))?.iter().find(|r| r.peer == peer).map(|r| r.since)
    }

    /// Returns the number of holders that a chunk is requested from.
    #[must_use]
    pub fn copies(&self, blob: BlobKey, chunk: u32) -> usize {
        self.chunks.get(&(blob, chunk)).map_or(0, Vec::len)
    }

    /// Returns all requests of a blob, with their chunks.
    pub fn requests(&self, blob: BlobKey) -> impl Iterator<Item = (u32, &Request)> {
        self.chunks
            .range((blob, 0)..=(blob, u32::MAX))
            .flat_map(|((_, chunk), all)| all.iter().map(move |r| (*chunk, r)))
    }
}
