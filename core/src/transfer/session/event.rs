//! What a session tells the node.

use super::SessionEnd;
pub(crate) use crate::exchange::Outcome;
use crate::id::ContentId;
use crate::wire::{Handle, Message};

/// What a session tells the node.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// A control message that is the node's business.
    Message(Message),
    /// The hash list that was asked for.
    List { blob: Handle, bytes: Vec<u8> },
    /// The only chunk of a blob that is being learned, if it verified.
    Only { blob: Handle, bytes: Option<Vec<u8>> },
    /// A part of a chunk arrived.
    Bytes { blob: Handle, chunk: u32, bytes: u64 },
    /// A chunk arrived, with the bytes not yet told of.
    Chunk { blob: Handle, chunk: u32, bytes: u64, outcome: Outcome },
    /// A chunk the peer was to be sent went out, or (not `whole`) will not.
    Sent { blob: Handle, whole: bool },
    /// A blob we serve no longer has the bytes it was verified with.
    SourceChanged(ContentId),
    /// The session is over.
    Closed(SessionEnd),
}
