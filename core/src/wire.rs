//! Messages between two nodes as bytes: encoding, decoding and their limits, without async code and without
//! libp2p.
//!
//! `core/PROTOCOL.md` describes the protocol for other programs; this module is sections 4 to 6 of it.
//!
//! A session has two bidirectional streams over one connection:
//!
//! * **control** (`/swarm/chunk/1/control`): frames of a `u32` length (little endian, at most
//!   [`limits::CONTROL_FRAME`], checked before anything is allocated), one byte of message kind, and the body
//!   of the message in postcard (varint integers, sequences with their length before them). A receiver skips
//!   a kind that it does not know, and bytes after the fields that it knows, so that a later version can add
//!   messages and fields. It reads the version in [`Hello`] before anything else of it, and refuses an
//!   unknown one in words.
//! * **data** (`/swarm/chunk/1/data`): frames of a 16-byte header (four `u32`, little endian: blob, chunk,
//!   offset, length) and `length` raw bytes, at most [`limits::DATA_FRAME`]. The chunk number [`LIST`] stands
//!   for the blob's hash list.
//!
//! The end that dialled may open up to three more connections with one stream each
//! (`/swarm/chunk/1/further`), which carry data frames as well. A chunk may come on any of the streams, but
//! all of it comes on one. Either end closes its half of such a stream after a whole chunk when it sends no
//! more on it; the other end then does the same.
//!
//! The node that wants a blob, the *getter*, gives the blob a number of its own choice ([`Message::Want`]),
//! its handle. Every later message about that want, in either direction, names the blob by this number. If
//! both ends want the same blob from each other, there are two wants.
//!
//! | kind | message | sender | meaning |
//! |---|---|---|---|
//! | 0 | Hello | both, first | version, agent, ports and addresses of the sender |
//! | 1 | Want | getter | it wants this id, and news of it until Unwant |
//! | 2 | Offer | holder | kind, length and have-map, which the holder claims |
//! | 3 | Absent | holder | it has nothing of the blob for the getter now; an Offer may follow |
//! | 4 | List | getter | a request for the hash list |
//! | 5 | Have | holder | chunks that the holder has got since |
//! | 6 | Request | getter | a request for a run of chunks |
//! | 7 | Decline | holder | a chunk that does not come, and why |
//! | 8 | Cancel | getter | a request that is taken back |
//! | 9 | Gone | holder | it no longer offers anything of the blob |
//! | 10 | Bad | getter | a chunk from the holder failed verification |
//! | 11 | Peers | holder | other peers that want or have the blob |
//! | 12, 13 | Ping, Pong | both | a sign of life, and its answer with the same number |
//! | 14 | Unwant | getter | the want ends, and its number is free again |
//! | 15 | Need | getter | changes of the chunks that it would take from this holder, at first of none |
//! | 16 | Grant | holder | there is a place for so many chunks, preferably for the hinted one |
//! | 17 | Refuse | getter | so many granted chunks are not used: for now (`busy`), or for lack of need |
//! | 18 | Gateways | getter, within a site | beats of the nodes that fetch a blob from outside |
//! | 19 | Seek | both | a question for holders of an id; with `on`, the receiver asks its neighbours too |
//! | 20 | HaveIt | both | the answer to Seek: the sender has some of it |
//! | 21 | StateDigest | both, in an office | a digest of all statements that the sender believes |
//! | 22 | Statement | both, in an office | a statement, with the certificate of its registrar |
//! | 23 | Certified | both, in an office | the sender's newer certificates, or new ones for the receiver |
//! | 24 | Renew | member, to a registrar | a request for a newer certificate |
//! | 25 | Voucher | holder, in an office | the permission to offer this blob; it comes before the Offer |
//! | 26 | Members | both, in an office | other members, and their addresses |
//! | 27 | FindMember | both, in an office | a question for members of this name, or whose key begins so |
//! | 28 | FoundMembers | both, in an office | the answer: certificates of these members |
//! | 29 | Banned | both, last | the sender refuses the receiver for so many seconds, and why |
//! | 30 | Reads | getter | it takes the chunks in order, because somebody reads along |
//! | 31 | Begin | getter, before a Want | a request for the list and first chunks of the next want, unasked |
//! | 32 | Push | holder, after a Begin | a grant of this chunk (or the list), which comes by itself |
//! | 33 | Closing | both, last | the sender ends the session, and why; it is no ban |
//!
//! A `Seek` with `on` is passed on only if the receiver has nothing of the id. A node whose digest differs is
//! told every statement ([`crate::office`] describes them). A `Push` before the `Offer` announces the list,
//! or the only chunk of a small blob; a later one takes the place of a `Grant`.

pub mod dht;
mod fit;
pub mod frame;
pub mod have;
pub mod tracker;

use serde::{Deserialize, Serialize};

use crate::content::kind::ContentKind;
use crate::id::ContentId;
use crate::limits;
use crate::signed::{Statement, Topic};
pub use have::Have;

/// The version of the protocol. A session with a peer of another version ends in words, and without a ban.
pub const VERSION: u16 = 1;

/// The number that stands for the hash list in place of a chunk's number.
pub const LIST: u32 = u32::MAX;

/// The number that the getter of a blob chooses for its want. It is valid in one session and one direction.
pub type Handle = u32;

/// The first message of both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the sender, [`VERSION`].
    pub version: u16,
    /// Program and version of the sender, for people: its first 64 characters are shown.
    pub agent: String,
    /// TCP ports at which the sender listens, at the address that the connection shows. At most
    /// [`limits::PEER_ADDRS`].
    pub tcp: Vec<u16>,
    /// UDP ports at which the sender listens for QUIC, at the same address. At most [`limits::PEER_ADDRS`].
    pub quic: Vec<u16>,
    /// The configured name of the sender's site, at most [`limits::SITE_BYTES`]; `None` without one.
    pub site: Option<String>,
    /// Binary multiaddrs at which the sender is reached through relays, at most [`limits::RELAYS`].
    pub relayed: Vec<Vec<u8>>,
    /// TCP ports at which the sender is a server of the DHT, at most [`limits::DHT_ADDRS`]; empty if it is
    /// none.
    pub dht: Vec<u16>,
}

/// A holder's answer to a want. Nothing of it is believed before it is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The want that the offer answers.
    pub blob: Handle,
    /// The kind of content that the id names.
    pub kind: ContentKind,
    /// The length of the blob in bytes.
    pub len: u64,
    /// A name that the holder suggests for the content, at most [`limits::COMPONENT_BYTES`]. It is untrusted.
    pub name: Option<String>,
    /// True if the holder published the blob itself.
    pub origin: bool,
    /// The chunks that the holder has.
    pub have: Have,
}

/// A peer and addresses at which it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddrs {
    /// The peer id in binary form.
    pub peer: Vec<u8>,
    /// Binary multiaddrs, at most [`limits::PEER_ADDRS`].
    pub addrs: Vec<Vec<u8>>,
}

/// The reason why a chunk is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalReason {
    /// Too many requests are waiting, or no grant covers this one.
    Busy,
    /// The holder does not have this chunk, or no longer.
    Missing,
}

/// A control message. The documentation of this module has a table of their meanings.
/// [`Message::OtherVersion`] is a `Hello` of another version, of which nothing else is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Message {
    Hello(Hello),
    Want { blob: Handle, id: ContentId },
    Offer(Offer),
    Absent { blob: Handle },
    List { blob: Handle },
    Have { blob: Handle, add: Have },
    Request { blob: Handle, first: u32, count: u32 },
    Decline { blob: Handle, chunk: u32, why: RefusalReason },
    Cancel { blob: Handle, chunk: u32 },
    Gone { blob: Handle },
    Bad { blob: Handle, chunk: u32 },
    Peers { blob: Handle, peers: Vec<PeerAddrs> },
    Ping(u64),
    Pong(u64),
    Unwant { blob: Handle },
    Need { blob: Handle, add: Have, drop: Have },
    Grant { blob: Handle, count: u32, hint: Option<u32> },
    Refuse { blob: Handle, count: u32, busy: bool },
    Gateways { id: ContentId, beats: Vec<GatewayBeat> },
    Seek { id: ContentId, on: bool },
    HaveIt(ContentId),
    StateDigest([u8; 32]),
    Statement(Statement),
    Certified { chain: Vec<Vec<u8>> },
    Renew,
    Voucher { blob: Handle, voucher: Vec<u8>, chain: Vec<Vec<u8>> },
    Members { peers: Vec<PeerAddrs> },
    FindMember { name: String },
    FoundMembers { chains: Vec<Vec<Vec<u8>>> },
    Banned { secs: u64, reason: String },
    Reads { blob: Handle },
    Begin { blob: Handle },
    Push { blob: Handle, chunk: u32 },
    Closing { reason: String },
    OtherVersion(u16),
}

/// A beat of a gateway: the sign of life of a node that fetches a blob across the border of its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayBeat {
    /// The random name of the gateway.
    pub tag: u64,
    /// The number of the beat. Each beat of a gateway has a higher one.
    pub number: u32,
    /// True if the gateway knows a holder outside the site that has every chunk.
    pub whole: bool,
    /// Age of the beat in milliseconds.
    pub age: u32,
}

/// A frame that no honest node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The frame is longer than allowed. The field is its length in bytes.
    #[error("a frame of {0} bytes: more than allowed")]
    TooLong(u64),
    /// The frame has no bytes, not even a kind.
    #[error("an empty frame")]
    Empty,
    /// The body does not match its kind, which is the field.
    #[error("a message of kind {0} that cannot be read")]
    Body(u8),
    /// A list in a message of this kind is over its bound.
    #[error("a message of kind {0} with too many entries")]
    TooMany(u8),
}

impl Message {
    /// Returns true if the message is about the office and counts towards the limit after which a receiver
    /// ends the session. Vouchers do not count here.
    #[must_use]
    pub const fn is_of_office(&self) -> bool {
        matches!(
            self,
            Self::StateDigest(_)
                | Self::Statement(_)
                | Self::Certified { .. }
                | Self::Renew
                | Self::Members { .. }
                | Self::FindMember { .. }
                | Self::FoundMembers { .. }
        )
    }

    /// Returns the bytes of the frame, kind and body, without the length before them.
    ///
    /// # Errors
    /// [`BadFrame::TooLong`] if the frame would exceed [`limits::CONTROL_FRAME`], which is a mistake of this
    /// node.
    pub fn encode(&self) -> Result<Vec<u8>, BadFrame> {
        let bytes = match self {
            Self::Hello(m) => body(0, m),
            Self::Want { blob, id } => body(1, &(blob, id)),
            Self::Offer(m) => body(2, m),
            Self::Absent { blob } => body(3, blob),
            Self::List { blob } => body(4, blob),
            Self::Have { blob, add } => body(5, &(blob, add)),
            Self::Request { blob, first, count } => body(6, &(blob, first, count)),
            Self::Decline { blob, chunk, why } => body(7, &(blob, chunk, why)),
            Self::Cancel { blob, chunk } => body(8, &(blob, chunk)),
            Self::Gone { blob } => body(9, blob),
            Self::Bad { blob, chunk } => body(10, &(blob, chunk)),
            Self::Peers { blob, peers } => body(11, &(blob, peers)),
            Self::Ping(n) => body(12, n),
            Self::Pong(n) => body(13, n),
            Self::Unwant { blob } => body(14, blob),
            Self::Need { blob, add, drop } => body(15, &(blob, add, drop)),
            Self::Grant { blob, count, hint } => body(16, &(blob, count, hint)),
            Self::Refuse { blob, count, busy } => body(17, &(blob, count, busy)),
            Self::Gateways { id, beats } => body(18, &(id, beats)),
            Self::Seek { id, on } => body(19, &(id, on)),
            Self::HaveIt(id) => body(20, id),
            Self::StateDigest(digest) => body(21, digest),
            Self::Statement(Statement { topic, by, statement }) => body(22, &(topic.number(), by, statement)),
            Self::Certified { chain } => body(23, chain),
            Self::Renew => body(24, &()),
            Self::Voucher { blob, voucher, chain } => body(25, &(blob, voucher, chain)),
            Self::Members { peers } => body(26, peers),
            Self::FindMember { name } => body(27, name),
            Self::FoundMembers { chains } => body(28, chains),
            Self::Banned { secs, reason } => body(29, &(secs, reason)),
            Self::Reads { blob } => body(30, blob),
            Self::Begin { blob } => body(31, blob),
            Self::Push { blob, chunk } => body(32, &(blob, chunk)),
            Self::Closing { reason } => body(33, reason),
            Self::OtherVersion(version) => body(0, version),
        }?;
        if bytes.len() > limits::CONTROL_FRAME {
            return Err(BadFrame::TooLong(bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// Reads one frame (kind and body). Returns `None` for a kind or a topic of a later version.
    ///
    /// # Errors
    /// [`BadFrame`] if the peer is broken or hostile; the caller then closes the connection.
    pub fn decode(frame: &[u8]) -> Result<Option<Self>, BadFrame> {
        let (&kind, bytes) = frame.split_first().ok_or(BadFrame::Empty)?;
        if frame.len() > limits::CONTROL_FRAME {
            return Err(BadFrame::TooLong(frame.len() as u64));
        }
        let message = match kind {
            0 => read_hello(bytes)?,
            1 => read(kind, bytes).map(|(blob, id)| Self::Want { blob, id })?,
            2 => Self::Offer(read(kind, bytes)?),
            3 => Self::Absent { blob: read(kind, bytes)? },
            4 => Self::List { blob: read(kind, bytes)? },
            5 => read(kind, bytes).map(|(blob, add)| Self::Have { blob, add })?,
            6 => read(kind, bytes).map(|(blob, first, count)| Self::Request { blob, first, count })?,
            7 => read(kind, bytes).map(|(blob, chunk, why)| Self::Decline { blob, chunk, why })?,
            8 => read(kind, bytes).map(|(blob, chunk)| Self::Cancel { blob, chunk })?,
            9 => Self::Gone { blob: read(kind, bytes)? },
            10 => read(kind, bytes).map(|(blob, chunk)| Self::Bad { blob, chunk })?,
            11 => read(kind, bytes).map(|(blob, peers)| Self::Peers { blob, peers })?,
            12 => Self::Ping(read(kind, bytes)?),
            13 => Self::Pong(read(kind, bytes)?),
            14 => Self::Unwant { blob: read(kind, bytes)? },
            15 => read(kind, bytes).map(|(blob, add, drop)| Self::Need { blob, add, drop })?,
            16 => read(kind, bytes).map(|(blob, count, hint)| Self::Grant { blob, count, hint })?,
            17 => read(kind, bytes).map(|(blob, count, busy)| Self::Refuse { blob, count, busy })?,
            18 => read(kind, bytes).map(|(id, beats)| Self::Gateways { id, beats })?,
            19 => read(kind, bytes).map(|(id, on)| Self::Seek { id, on })?,
            20 => Self::HaveIt(read(kind, bytes)?),
            21 => Self::StateDigest(read(kind, bytes)?),
            22 => {
                let (topic, by, statement) = read(kind, bytes)?;
                let Some(topic) = Topic::from_number(topic) else { return Ok(None) };
                Self::Statement(Statement { topic, by, statement })
            }
            23 => Self::Certified { chain: read(kind, bytes)? },
            24 => read::<()>(kind, bytes).map(|()| Self::Renew)?,
            25 => read(kind, bytes).map(|(blob, voucher, chain)| Self::Voucher { blob, voucher, chain })?,
            26 => Self::Members { peers: read(kind, bytes)? },
            27 => Self::FindMember { name: read(kind, bytes)? },
            28 => Self::FoundMembers { chains: read(kind, bytes)? },
            29 => read(kind, bytes).map(|(secs, reason)| Self::Banned { secs, reason })?,
            30 => Self::Reads { blob: read(kind, bytes)? },
            31 => Self::Begin { blob: read(kind, bytes)? },
            32 => read(kind, bytes).map(|(blob, chunk)| Self::Push { blob, chunk })?,
            33 => Self::Closing { reason: read(kind, bytes)? },
            _ => return Ok(None),
        };
        message.within_limits(kind).map(Some)
    }

    fn within_limits(self, kind: u8) -> Result<Self, BadFrame> {
        let ok = match &self {
            Self::Peers { peers, .. } | Self::Members { peers } => {
                peers.len() <= limits::EXCHANGE_PEERS
                    && peers.iter().all(|p| {
                        p.peer.len() <= limits::ADDR_BYTES
                            && p.addrs.len() <= limits::PEER_ADDRS
                            && p.addrs.iter().all(|a| a.len() <= limits::ADDR_BYTES)
                    })
            }
            Self::Offer(offer) => {
                let name = offer.name.as_ref().is_none_or(|name| name.len() <= limits::COMPONENT_BYTES);
                name && offer.have.within_limits()
            }
            Self::Have { add, .. } => add.within_limits(),
            Self::Need { add, drop, .. } => add.within_limits() && drop.within_limits(),
            Self::Gateways { beats, .. } => beats.len() <= limits::GATEWAYS,
            Self::Statement(Statement { by, .. }) => by.len() <= limits::CERTIFICATE_BYTES,
            Self::Certified { chain } | Self::Voucher { chain, .. } => is_chain(chain),
            Self::FindMember { name } => name.len() <= limits::OFFICE_NAME_BYTES,
            Self::FoundMembers { chains } => {
                chains.len() <= limits::OFFICE_CALLED && chains.iter().all(|chain| is_chain(chain))
            }
            Self::Banned { reason, .. } | Self::Closing { reason } => reason.len() <= limits::REASON_BYTES,
            Self::Grant { count, .. } | Self::Refuse { count, .. } => {
                *count as usize <= limits::REQUESTS_PER_PEER
            }
            _ => true,
        };
        if ok { Ok(self) } else { Err(BadFrame::TooMany(kind)) }
    }
}

/// Returns true for a chain of at most two certificates, as a member shows it, none of them too long.
fn is_chain(chain: &[Vec<u8>]) -> bool {
    chain.len() <= 2 && chain.iter().all(|one| one.len() <= limits::CERTIFICATE_BYTES)
}

fn body<T: Serialize>(kind: u8, value: &T) -> Result<Vec<u8>, BadFrame> {
    postcard::to_extend(value, vec![kind]).map_err(|_| BadFrame::Body(kind))
}

/// Reads a body. Bytes after the fields that this version knows are skipped. Postcard allocates no more than
/// the input could hold.
fn read<'a, T: Deserialize<'a>>(kind: u8, bytes: &'a [u8]) -> Result<T, BadFrame> {
    postcard::take_from_bytes(bytes).map(|(value, _)| value).map_err(|_| BadFrame::Body(kind))
}

/// Reads a `Hello`, its version first. What exceeds the limits is left out: a node with many ports, or with a
/// long name for its site, does no harm.
fn read_hello(bytes: &[u8]) -> Result<Message, BadFrame> {
    let version = read(0, bytes)?;
    if version != VERSION {
        return Ok(Message::OtherVersion(version));
    }
    read(0, bytes).map(|hello: Hello| Message::Hello(hello.fit()))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
