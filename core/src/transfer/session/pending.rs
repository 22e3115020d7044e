//! Chunks that were requested of one peer and have not arrived. The tasks that read the session's data
//! streams share them.
//!
//! The node notes each request here before it sends it. A chunk may come on any stream, and comes whole on
//! the one that brought its first bytes. While a task reads a frame, it holds the chunk; between frames the
//! chunk lies here, so that the node can cancel it at any time.
//!
//! A blob may be *begun*: its holder sends the hash list and a few chunks before they are requested, and so
//! before the node knows how to check them. A stream that brings such bytes waits: the node soon says what
//! they are, or that the beginning is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::send_queue::Number;
use crate::content::tree::ChunkCheck;
use crate::exchange::ReceiveCommand;
use crate::limits;
use crate::store::Stored;
use crate::wire::frame::DataHeader;
use crate::wire::{Handle, LIST};

/// A handle, and the number of a chunk or [`LIST`].
pub(super) type RequestKey = (Handle, u32);

/// The use of requested bytes, with the state of their check.
pub(super) enum Purpose {
    /// The hash list. The node checks it.
    List,
    /// The only chunk of a blob, which proves the blob.
    Only(Box<ChunkCheck>),
    /// A chunk to be written.
    Write(Stored, Box<ChunkCheck>),
}

/// A chunk, or a hash list, as far as it has arrived.
pub(super) struct Coming {
    pub(super) purpose: Purpose,
    /// Length of all of it, in bytes.
    pub(super) size: usize,
    /// Its buffer: empty before the first frame, then `size` bytes.
    pub(super) bytes: Vec<u8>,
    /// Bytes that have arrived.
    pub(super) got: usize,
    /// Bytes of which the node has been told.
    pub(super) reported: usize,
    /// Number of the request. It tells requests for one chunk apart.
    request: u64,
}

/// A request that is not answered yet.
struct PendingRequest {
    request: u64,
    /// The stream that brings the answer, once that is known.
    stream: Option<Number>,
    /// The answer so far; `None` while a task reads a frame of it.
    coming: Option<Coming>,
}

/// The place of a frame that has begun to arrive.
pub(super) enum Taken {
    /// The frame belongs to this chunk, at the offset `got`.
    Here(Coming),
    /// The frame is of a request that was cancelled, or of a beginning that is over: no fault.
    Late,
    /// The frame was not requested, or does not fit the request: a fault.
    Stray,
}

/// The requests of a session to its peer that are not answered yet, as the [module](self) describes.
#[derive(Default)]
pub(super) struct PendingRequests {
    state: Mutex<PendingState>,
    told: Notify,
}

#[derive(Default)]
struct PendingState {
    entries: BTreeMap<RequestKey, PendingRequest>,
    /// Requests that were cancelled, the latest last. At most twice [`limits::REQUESTS_PER_PEER`].
    cancelled: VecDeque<RequestKey>,
    /// Blobs that are being begun: bytes may come of them that the node does not know yet.
    begun: BTreeSet<Handle>,
    /// Bytes that may still come of each blob whose beginning is over.
    late: BTreeMap<Handle, usize>,
    /// Number of the last request.
    requests: u64,
    /// True if the session has, or had, more than one data stream.
    parallel: bool,
}

impl std::fmt::Debug for PendingRequests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRequests").finish_non_exhaustive()
    }
}

impl PendingState {
    /// Records that a request was cancelled: a few frames of the answer may still be under way. Beyond the
    /// bound the oldest cancel is forgotten, because its frames have passed long ago.
    fn cancelled(&mut self, key: RequestKey) {
        if !self.cancelled.contains(&key) {
            if self.cancelled.len() >= 2 * limits::REQUESTS_PER_PEER {
                self.cancelled.pop_front();
            }
            self.cancelled.push_back(key);
        }
    }
}

impl PendingRequests {
    fn state(&self) -> MutexGuard<'_, PendingState> {
        // No code panics while it holds the lock, so the lock is never poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that chunks come on several streams from now on.
    pub(super) fn widen(&self) {
        self.state().parallel = true;
    }

    /// Carries out an order of the node: records a request, a cancel, or a beginning.
    pub(super) fn expect(&self, expect: ReceiveCommand<Stored>) {
        let mut state = self.state();
        let (key, purpose, size) = match expect {
            ReceiveCommand::Beginning { blob } => {
                state.begun.insert(blob);
                return;
            }
            ReceiveCommand::Begun { blob, promised } => {
                let begun = state.begun.remove(&blob);
                if begun && promised {
                    // Handles ascend, so the first entry is the oldest.
                    if state.late.len() >= limits::SESSION_BLOBS {
                        state.late.pop_first();
                    }
                    state.late.insert(blob, limits::BEGINNING_BYTES);
                }
                if begun {
                    self.told.notify_waiters();
                }
                return;
            }
            ReceiveCommand::List { blob, len } => ((blob, LIST), Purpose::List, len),
            ReceiveCommand::Only { blob, list } => {
                let Some(index) = list.geometry().last() else { return };
                let size = list.geometry().size(index);
                ((blob, index.get()), Purpose::Only(Box::new(list.check(index))), size)
            }
            ReceiveCommand::Chunk { blob, chunk, target } => {
                let Some(index) = target.geometry().chunk(chunk) else { return };
                let size = target.geometry().size(index);
                let check = Box::new(target.list().check(index));
                ((blob, chunk), Purpose::Write(target, check), size)
            }
            ReceiveCommand::Cancel { blob, chunk } => {
                let key = (blob, chunk);
                if state.entries.remove(&key).is_some() {
                    state.cancelled(key);
                }
                return;
            }
            ReceiveCommand::Forget { blob } => {
                let keys: Vec<RequestKey> =
                    state.entries.range((blob, 0)..=(blob, LIST)).map(|(key, _)| *key).collect();
                for key in keys {
                    state.entries.remove(&key);
                    state.cancelled(key);
                }
                return;
            }
        };
        // If this is requested again after a cancel, frames of the answer that was cut off may still come
        // before those of the new one. So the key stays among the cancelled ones until the chunk is whole.
        state.requests += 1;
        let request = state.requests;
        let coming = Some(Coming { purpose, size, bytes: Vec::new(), got: 0, reported: 0, request });
        state.entries.insert(key, PendingRequest { request, stream: None, coming });
        if state.begun.contains(&key.0) {
            self.told.notify_waiters();
        }
    }

    /// Returns the place of a frame on this stream. Waits while the frame is of a blob that is being begun
    /// and the node does not know what it is.
    pub(super) async fn take(&self, header: DataHeader, stream: Number) -> Taken {
        loop {
            // Enabled before the look, so that no order in between is missed.
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            if let Some(taken) = self.try_take(header, stream) {
                return taken;
            }
            told.await;
        }
    }

    /// Returns the place of a frame without waiting; `None` while the node does not know what it is.
    fn try_take(&self, header: DataHeader, stream: Number) -> Option<Taken> {
        let key = (header.blob, header.chunk);
        let mut state = self.state();
        let fits = |coming: &Coming| {
            coming.got == header.offset as usize && coming.got + header.len as usize <= coming.size
        };
        if let Some(entry) = state.entries.get_mut(&key)
            && entry.stream.is_none_or(|of| of == stream)
            && let Some(coming) = entry.coming.take_if(|coming| fits(coming))
        {
            entry.stream = Some(stream);
            return Some(Taken::Here(coming));
        }
        if state.begun.contains(&key.0) && !state.entries.contains_key(&key) {
            return None;
        }
        let late = state.late.get_mut(&key.0).and_then(|left| {
            *left = left.checked_sub(header.len as usize)?;
            Some(())
        });
        Some(if late.is_some() || state.cancelled.contains(&key) { Taken::Late } else { Taken::Stray })
    }

    /// Takes a chunk back from the task that has read a frame of it. Returns all of it once it is whole.
    pub(super) fn give_back(&self, key: RequestKey, coming: Coming) -> Back {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&key).filter(|entry| entry.request == coming.request) else {
            return Back::Unwanted(coming.bytes);
        };
        if coming.got < coming.size {
            entry.coming = Some(coming);
            return Back::Continues;
        }
        state.entries.remove(&key);
        // With several streams, frames of an answer that was cut off may come even later on another one.
        if !state.parallel {
            state.cancelled.retain(|cancelled| *cancelled != key);
        }
        Back::Whole(coming)
    }

    /// Returns true if a stream has brought a part of a chunk that is still wanted.
    pub(super) fn is_part_way(&self, stream: Number) -> bool {
        self.state().entries.values().any(|entry| entry.stream == Some(stream))
    }
}

/// The result of [`PendingRequests::give_back`].
pub(super) enum Back {
    /// All bytes have arrived.
    Whole(Coming),
    /// More bytes are to come.
    Continues,
    /// The request was cancelled meanwhile. This is the buffer.
    Unwanted(Vec<u8>),
}
