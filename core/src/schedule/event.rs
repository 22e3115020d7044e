//! What the scheduler is told and what it tells.

use std::time::Duration;

use super::{Beat, BlobKey, ChunkOrder, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;

/// Why a request ended without its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// The bytes did not verify: the holder is dishonest or broken.
    Bad,
    /// The holder has too much to do.
    Busy,
    /// The holder has not got it.
    Missing,
    /// We could not write it: nobody's fault on the wire.
    Local,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A session with a peer is up. `near` is 0 for this machine, 1 for the LAN, more for farther.
    PeerUp {
        /// The session.
        peer: PeerKey,
        /// Distance class.
        near: u8,
        /// The site it is of, if not ours.
        elsewhere: Option<u64>,
    },
    /// A round trip to a peer was measured.
    RoundTrip {
        /// The session.
        peer: PeerKey,
        /// How long it took.
        took: Duration,
    },
    /// It is gone.
    PeerDown {
        /// The session.
        peer: PeerKey,
    },
    /// This blob is here, whole or in part, for whoever asks.
    Serve {
        /// A number for it.
        blob: BlobKey,
        /// Its chunks.
        geometry: Geometry,
        /// What is there.
        have: Bitmap,
        /// It was published here: ours may be the only copy.
        origin: bool,
    },
    /// It can no longer be had of us.
    Withdraw {
        /// The blob.
        blob: BlobKey,
    },
    /// Fetch this blob.
    Want {
        /// A number for it.
        blob: BlobKey,
        /// Its chunks.
        geometry: Geometry,
        /// What is there already.
        have: Bitmap,
        /// What else not to fetch.
        skip: Option<Bitmap>,
        /// In which order.
        order: ChunkOrder,
    },
    /// No longer fetch it: done or given up.
    Unwant {
        /// The blob.
        blob: BlobKey,
    },
    /// Fetch nothing of it for now (the disk is full), or go on.
    Pause {
        /// The blob.
        blob: BlobKey,
        /// Pause or go on.
        paused: bool,
    },
    /// What a peer has of a blob, in full.
    Holder {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Every chunk it has.
        have: Bitmap,
    },
    /// A holder has these chunks, and sends some of them without being asked.
    Begins {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Its chunks.
        have: Bitmap,
        /// Chunks that are on their way.
        coming: Vec<u32>,
    },
    /// What a peer has in addition.
    HolderMore {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        add: Bitmap,
    },
    /// It has nothing of it any longer.
    HolderGone {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A peer takes this blob of us, and was told what is here.
    Interested {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// It does not any longer.
    NotInterested {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// Which chunks a taker would take of us: changes to what it said before (at first: to nothing).
    NeedDelta {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Chunks it would take now.
        add: Bitmap,
        /// Chunks it has, or is being sent.
        drop: Bitmap,
    },
    /// A taker reads along: it takes chunks in order.
    Reads {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A holder has a place of its uplink for us.
    Granted {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// The chunk it would rather send.
        hint: Option<u32>,
    },
    /// A taker has no use for some of its grants.
    GrantDeclined {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// It is busy; else it needs nothing that we have.
        busy: bool,
    },
    /// A taker asks for a chunk.
    Requested {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// A chunk goes to a taker together with the grant of it ([`Output::Grant`]), as if it had asked.
    Pushed {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// What [`Output::Send`] said was sent, or (`whole` is false) need not be any longer.
    Sent {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// All of it went out.
        whole: bool,
    },
    /// Some bytes of a requested chunk arrived.
    Bytes {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// How many since the last time.
        bytes: u64,
    },
    /// A chunk is verified and written. `peer` is `None` when it came from this machine's own disk.
    Verified {
        /// The session that delivered it.
        peer: Option<PeerKey>,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// A request ended without its chunk.
    Failed {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// Why.
        why: RequestFailure,
    },
    /// A neighbour of our site tells which nodes of it fetch across its border, and their beats.
    Gateways {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The last beat of each.
        beats: Vec<Beat>,
    },
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask this holder for this chunk, against its grant.
    Request {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Tell this holder that some of its grants are not used.
    Refuse {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// For now only; else it has nothing we need.
        busy: bool,
    },
    /// It need not send it any longer.
    Cancel {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Offer this taker a place of our uplink.
    Grant {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// For how many chunks.
        count: u32,
        /// The chunk it should ask for if it can.
        hint: Option<u32>,
    },
    /// Send this taker the chunk it asked for, and tell with [`Input::Sent`].
    Send {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Tell this taker that it is not sent the chunk.
    Decline {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// [`RequestFailure::Busy`] or [`RequestFailure::Missing`].
        why: RequestFailure,
    },
    /// Tell this taker that these chunks are here now.
    Have {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        add: Bitmap,
    },
    /// Tell this holder how what we would take of it has changed.
    Need {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Chunks we would take now.
        add: Bitmap,
        /// Chunks that are here or on their way.
        drop: Bitmap,
    },
    /// Tell this holder that we take chunks in order.
    Reads {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// Tell this neighbour which nodes of our site fetch across its border.
    Gateways {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The last beat of each.
        beats: Vec<Beat>,
    },
    /// This peer sent bytes that are not what they claim to be: close the session and ban it.
    Ban {
        /// The session.
        peer: PeerKey,
        /// The blob it lied about.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Every wanted chunk is here.
    Complete {
        /// The blob.
        blob: BlobKey,
    },
}
