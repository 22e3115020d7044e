//! Events that a session reports to the node.

use super::SessionEnd;
pub(crate) use crate::exchange::Outcome;
use crate::id::ContentId;
use crate::wire::{Handle, Message};

/// An event of a session.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// A control message for the node.
    Message(Message),
    /// A requested hash list arrived. It is not checked yet.
    List { blob: Handle, bytes: Vec<u8> },
    /// The only chunk of a blob that is being learned arrived; `None` if it did not verify.
    Only { blob: Handle, bytes: Option<Vec<u8>> },
    /// A part of a chunk arrived: this many bytes since the last event about it.
    Bytes { blob: Handle, chunk: u32, bytes: u64 },
    /// The rest of a chunk arrived: this many bytes since the last event about it.
    Chunk { blob: Handle, chunk: u32, bytes: u64, outcome: Outcome },
    /// This many more bytes of a chunk that the peer requested were sent. The chunk takes long.
    Sending { blob: Handle, bytes: u64 },
    /// A chunk that the peer requested was sent `whole`, or will not be.
    Sent { blob: Handle, whole: bool },
    /// A blob that this node serves no longer has the bytes with which it was verified.
    SourceChanged(ContentId),
    /// The session is over.
    Closed(SessionEnd),
}
