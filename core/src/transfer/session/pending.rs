//! Chunks that were asked of one peer and have not arrived: shared by the tasks that read the session's data streams.
//!
//! The node notes here what it asks for, before it asks. A chunk may come on any stream, and comes whole on the one that
//! brought its first bytes. While a task reads a frame, the chunk is in its hands; between frames it lies here, so that the
//! node can cancel it at any time.
//!
//! A blob may be *begun*: its holder sends the list and a few chunks before it is asked for them, and so before the node knows
//! how to check them. A stream that brings such a thing waits: the node says soon what it is, or that the beginning is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::ReceiveCommand;
use super::send_queue::Number;
use crate::content::tree::ChunkCheck;
use crate::limits;
use crate::store::Blob;
use crate::wire::frame::DataHeader;
use crate::wire::{Handle, LIST};

/// A chunk, or the list, of a blob that was asked for.
pub(super) type RequestKey = (Handle, u32);

/// Use of a chunk, and how it is checked.
pub(super) enum Purpose {
    /// The hash list: checked by the node.
    List,
    /// The only chunk of a blob, which proves it.
    Only(Box<ChunkCheck>),
    /// A chunk to be written.
    Write(Arc<Blob>, Box<ChunkCheck>),
}

/// A chunk as far as it has arrived.
pub(super) struct Coming {
    pub(super) purpose: Purpose,
    pub(super) size: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) got: usize,
    pub(super) reported: usize,
    /// Tells requests of one chunk apart.
    request: u64,
}

struct PendingRequest {
    request: u64,
    /// The stream that brings it, once that is known.
    stream: Option<Number>,
    /// `None` while a task reads a frame of it.
    coming: Option<Coming>,
}

/// The place of a frame that has begun to arrive.
pub(super) enum Taken {
    /// These bytes belong there.
    Here(Coming),
    /// Nobody wants them any longer.
    Late,
    /// Nobody asked for them, or they do not fit.
    Stray,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct PendingRequests {
    state: Mutex<PendingState>,
    told: Notify,
}

#[derive(Default)]
struct PendingState {
    entries: BTreeMap<RequestKey, PendingRequest>,
    /// The latest last.
    cancelled: VecDeque<RequestKey>,
    /// Blobs that are being begun: what comes of them may not be known yet.
    begun: BTreeSet<Handle>,
    /// Bytes that may still come of blobs of which the beginning is over.
    late: BTreeMap<Handle, usize>,
    requests: u64,
    /// There is, or was, more than one stream.
    parallel: bool,
}

impl std::fmt::Debug for PendingRequests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRequests").finish_non_exhaustive()
    }
}

impl PendingState {
    /// A few frames of it may be under way. There is a bound: an old cancel is as good as forgotten.
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
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that chunks come on several streams from now on.
    pub(super) fn widen(&self) {
        self.state().parallel = true;
    }

    /// Notes what the node asks for, or no longer wants.
    pub(super) fn expect(&self, expect: ReceiveCommand) {
        let mut state = self.state();
        let (key, purpose, size) = match expect {
            ReceiveCommand::Beginning { blob } => {
                state.begun.insert(blob);
                return;
            }
            ReceiveCommand::Begun { blob, promised } => {
                let begun = state.begun.remove(&blob);
                if begun && promised {
                    // Numbers ascend: the oldest goes.
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
        // Asked for again after a cancel: frames of the cut answer may still come before those of the new one, so the key
        // stays among the cancelled until the chunk is whole.
        state.requests += 1;
        let request = state.requests;
        let coming = Some(Coming { purpose, size, bytes: Vec::new(), got: 0, reported: 0, request });
        state.entries.insert(key, PendingRequest { request, stream: None, coming });
        if state.begun.contains(&key.0) {
            self.told.notify_waiters();
        }
    }

    /// Finds the chunk to which a frame on this stream belongs. Waits while the node does not know it yet.
    pub(super) async fn take(&self, header: DataHeader, stream: Number) -> Taken {
        loop {
            // Before looking: what comes in between is not missed.
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            if let Some(taken) = self.try_take(header, stream) {
                return taken;
            }
            told.await;
        }
    }

    /// Finds that chunk without waiting; `None` while the node does not know it yet.
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

    /// Takes a chunk back from the task that has read a frame of it.
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
        // On another stream, frames of a cut answer may come even later.
        if !state.parallel {
            state.cancelled.retain(|cancelled| *cancelled != key);
        }
        Back::Whole(coming)
    }

    /// Tells whether a stream has brought a part of something that is still wanted.
    pub(super) fn is_part_way(&self, stream: Number) -> bool {
        self.state().entries.values().any(|entry| entry.stream == Some(stream))
    }
}

/// See [`PendingRequests::give_back`].
pub(super) enum Back {
    /// All of it is there.
    Whole(Coming),
    /// More is to come.
    Continues,
    /// It was cancelled meanwhile; this is its buffer.
    Unwanted(Vec<u8>),
}
