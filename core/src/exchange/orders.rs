//! Orders to a peer's session, and the outcome of a chunk that a session reports.

use std::sync::Arc;

use crate::content::tree::HashList;
use crate::wire::Handle;

/// An order to the receiving side of a session. `B` is a handle to an open blob.
#[derive(Debug)]
pub enum ReceiveCommand<B> {
    /// The peer sends some of a blob before it is asked. Its data stream waits until the node knows what the
    /// bytes are.
    Beginning {
        /// The want.
        blob: Handle,
    },
    /// The end of a beginning: other bytes that come unasked are not wanted.
    Begun {
        /// The want.
        blob: Handle,
        /// True if the peer has promised to send some, which may be under way.
        promised: bool,
    },
    /// Nothing of a blob is wanted any longer. What was requested may still come.
    Forget {
        /// The want.
        blob: Handle,
    },
    /// The hash list may come.
    List {
        /// The want.
        blob: Handle,
        /// Its length in bytes.
        len: usize,
    },
    /// The only chunk of a blob may come. It is verified and reported, and not written.
    Only {
        /// The want.
        blob: Handle,
        /// The hash list that the chunk must match.
        list: Arc<HashList>,
    },
    /// A chunk may come. It is verified and written.
    Chunk {
        /// The want.
        blob: Handle,
        /// The chunk.
        chunk: u32,
        /// The blob that the chunk is written to.
        target: B,
    },
    /// A chunk is not wanted any longer. It may still come.
    Cancel {
        /// The want.
        blob: Handle,
        /// The chunk.
        chunk: u32,
    },
}

/// An order to the sending side of a session. `B` is a handle to an open blob.
#[derive(Debug)]
pub enum SendCommand<B> {
    /// The peer may fetch a blob.
    Open {
        /// The peer's number for it.
        blob: Handle,
        /// The blob.
        source: B,
    },
    /// The peer may no longer fetch it. Its requests are dropped.
    Close {
        /// The peer's number for the blob.
        blob: Handle,
    },
    /// Chunks are to be sent. Each is reported when it was sent, or will not be.
    Request {
        /// The peer's number for the blob.
        blob: Handle,
        /// The first chunk.
        first: u32,
        /// The number of chunks.
        count: u32,
    },
    /// The hash list is to be sent.
    List {
        /// The peer's number for the blob.
        blob: Handle,
    },
    /// The peer no longer wants a chunk.
    Cancel {
        /// The peer's number for the blob.
        blob: Handle,
        /// The chunk.
        chunk: u32,
    },
}

/// The outcome of a chunk that arrived.
#[derive(Debug)]
pub enum Outcome {
    /// The chunk was verified and written.
    Written,
    /// The chunk was verified, and is still not what its share says.
    Malformed,
    /// The chunk did not verify.
    Bad,
    /// The chunk could not be written.
    Disk {
        /// True if the disk is full.
        full: bool,
        /// True if a later try must fail as well, because of a limit on the size of files for example.
        lasting: bool,
        /// The error, for people.
        error: String,
    },
}
