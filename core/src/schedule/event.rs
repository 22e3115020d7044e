//! The inputs and outputs of the scheduler.

use std::time::Duration;

use super::{Beat, BlobKey, ChunkOrder, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;

/// The reason why a request ended without its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// The bytes did not verify: the holder is dishonest or broken.
    Bad,
    /// The holder has too much to do.
    Busy,
    /// The holder does not have the chunk.
    Missing,
    /// This node could not write the chunk, which is not the holder's fault.
    Local,
}

/// An event that the scheduler is told of.
#[derive(Debug)]
pub enum Input {
    /// A session with a peer has begun.
    PeerUp {
        /// The session.
        peer: PeerKey,
        /// The distance class: 0 for this machine, 1 for the LAN, more for farther.
        near: u8,
        /// The site of the peer; `None` if it is this node's own.
        elsewhere: Option<u64>,
    },
    /// A round trip to a peer was measured.
    RoundTrip {
        /// The session.
        peer: PeerKey,
        /// The measured time.
        took: Duration,
    },
    /// The rates to which this node limits what it gives, in bytes per second; `None` without a limit.
    Limited {
        /// The limit for peers of this node's site.
        near: Option<u64>,
        /// The limit for all others.
        far: Option<u64>,
    },
    /// A session has ended.
    PeerDown {
        /// The session.
        peer: PeerKey,
    },
    /// This blob is here, whole or in part, and may be given to others.
    Serve {
        /// The number of the blob, chosen by the driver.
        blob: BlobKey,
        /// The geometry of its chunks.
        geometry: Geometry,
        /// The chunks that are here.
        have: Bitmap,
        /// True if the blob was published here, so that this node may have the only copy.
        origin: bool,
    },
    /// This blob is no longer given to anybody.
    Withdraw {
        /// The blob.
        blob: BlobKey,
    },
    /// This blob is to be fetched.
    Want {
        /// The number of the blob, chosen by the driver.
        blob: BlobKey,
        /// The geometry of its chunks.
        geometry: Geometry,
        /// The chunks that are here already.
        have: Bitmap,
        /// Further chunks that are not to be fetched.
        skip: Option<Bitmap>,
        /// The order in which to request them.
        order: ChunkOrder,
    },
    /// This blob is no longer to be fetched, because it is complete or given up.
    Unwant {
        /// The blob.
        blob: BlobKey,
    },
    /// Requests for this blob pause (because the disk is full), or go on.
    Pause {
        /// The blob.
        blob: BlobKey,
        /// True if to pause.
        paused: bool,
    },
    /// A peer holds chunks of a blob. This replaces all that was known of it.
    Holder {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Every chunk that the holder has.
        have: Bitmap,
    },
    /// A holder has these chunks, and sends some of them without being asked.
    Begins {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// Every chunk that the holder has.
        have: Bitmap,
        /// The chunks that are on their way.
        coming: Vec<u32>,
    },
    /// A holder has further chunks.
    HolderMore {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        add: Bitmap,
    },
    /// A holder has nothing of the blob any more.
    HolderGone {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A peer takes this blob from this node, and was told which chunks are here.
    Interested {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A peer no longer takes this blob.
    NotInterested {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A taker has changed which chunks it would take from this node. The first change is counted from the
    /// empty set.
    NeedDelta {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunks that the taker would take now.
        add: Bitmap,
        /// The chunks that the taker has, or is being sent.
        drop: Bitmap,
    },
    /// A taker reads along: it takes the chunks in order.
    Reads {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// A holder offers a place of its uplink.
    Granted {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The number of chunks that the grant is for.
        count: u32,
        /// The chunk that the holder would rather send.
        hint: Option<u32>,
    },
    /// A taker declines some of its grants.
    GrantDeclined {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The number of granted chunks.
        count: u32,
        /// True if the taker is only busy; otherwise it needs nothing that is here.
        busy: bool,
    },
    /// A taker requests a chunk.
    Requested {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// A chunk goes to a taker together with the grant for it ([`Output::Grant`]), as if the taker had
    /// requested it.
    Pushed {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// A part of a chunk of an [`Output::Send`] has been sent, which takes long.
    Sending {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The bytes that were sent since the last such input.
        bytes: u64,
    },
    /// A chunk of an [`Output::Send`] has been sent, or need no longer be.
    Sent {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// True if all of the chunk was sent.
        whole: bool,
    },
    /// Some bytes of a requested chunk have arrived.
    Bytes {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// The number of bytes since the last such event.
        bytes: u64,
    },
    /// A chunk is verified and written.
    Verified {
        /// The session that delivered the chunk; `None` if it came from this machine's own disk.
        peer: Option<PeerKey>,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// A request has ended without its chunk.
    Failed {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// The reason.
        why: RequestFailure,
    },
    /// A neighbour of this site has sent beats of the site's gateways.
    Gateways {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The latest beat of each gateway that the neighbour knows.
        beats: Vec<Beat>,
    },
    /// Time has passed.
    Tick,
}

/// An order to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Requests this chunk from this holder, against its grant.
    Request {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Tells this holder that some of its grants are not used.
    Refuse {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The number of granted chunks.
        count: u32,
        /// True if this node is only busy; otherwise the holder has nothing that is needed.
        busy: bool,
    },
    /// Takes a request to this holder back.
    Cancel {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Offers this taker a place of the uplink.
    Grant {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The number of chunks that the grant is for.
        count: u32,
        /// The chunk that the taker should request if it can.
        hint: Option<u32>,
    },
    /// Sends this taker the chunk that it requested. The driver reports the end with [`Input::Sent`].
    Send {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Tells this taker that the chunk is not sent.
    Decline {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
        /// The reason: [`RequestFailure::Busy`] or [`RequestFailure::Missing`].
        why: RequestFailure,
    },
    /// Tells this taker that these chunks are here now.
    Have {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The new chunks.
        add: Bitmap,
    },
    /// Tells this holder of changes in the set of chunks that this node would take from it.
    Need {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The chunks that this node would take now.
        add: Bitmap,
        /// The chunks that are here or on their way.
        drop: Bitmap,
    },
    /// Tells this holder that this node takes the chunks in order.
    Reads {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
    },
    /// Sends this neighbour the beats of the site's gateways.
    Gateways {
        /// The session.
        peer: PeerKey,
        /// The blob.
        blob: BlobKey,
        /// The latest beat of each gateway.
        beats: Vec<Beat>,
    },
    /// Closes the session of this peer and bans it: it sent bytes that are not the chunk.
    Ban {
        /// The session.
        peer: PeerKey,
        /// The blob that the bytes were claimed to be of.
        blob: BlobKey,
        /// The chunk.
        chunk: u32,
    },
    /// Reports that every wanted chunk is here.
    Complete {
        /// The blob.
        blob: BlobKey,
    },
}
