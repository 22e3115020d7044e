//! Messages between two nodes, byte by byte. No async, no libp2p: bytes in, messages out, under a limit.
//!
//! A connection carries one session of two bidirectional streams:
//!
//! * **control** (`/swarm/chunk/1/control`): frames of `u32` length (little endian, at most
//!   [`limits::CONTROL_FRAME`], checked before anything is allocated), one byte of message kind, and the message's body
//!   in postcard (varint integers, length-prefixed sequences). A kind that is not known is skipped, so that a later
//!   version can add messages; a version that is not known is refused by name in [`Hello`].
//! * **data** (`/swarm/chunk/1/data`): frames of a 16-byte header (four `u32`, little endian: blob, chunk, offset,
//!   length) and `length` raw bytes, at most [`limits::DATA_FRAME`]. The chunk [`LIST`] is the blob's hash list.
//!
//! The end that dialled may open up to three more connections with one stream each (`/swarm/chunk/1/further`), which carry data
//! frames as well: a chunk may come on any of the streams, and all of it comes on one. Either end closes its half of such a
//! stream when it sends no more on it, after a whole chunk; the other then does the same.
//!
//! Whoever wants a blob gives it a number of its own choosing ([`Message::Want`]); every later message about that want, in
//! either direction, names the blob by this number. If both want the same blob of each other there are two wants.
//!
//! | kind | message | from | meaning |
//! |---|---|---|---|
//! | 0 | Hello | both, first | version, agent, where it listens |
//! | 1 | Want | wanter | "this id: what have you of it? Keep me told." |
//! | 2 | Offer | holder | kind, length and have-map, by its word |
//! | 3 | Absent | holder | nothing of it now (an Offer may follow later) |
//! | 4 | List | wanter | send the hash list |
//! | 5 | Have | holder | more chunks than before |
//! | 6 | Request | wanter | send these chunks |
//! | 7 | Decline | holder | this chunk not, and why |
//! | 8 | Cancel | wanter | this chunk no longer |
//! | 9 | Gone | holder | nothing of this blob any longer |
//! | 10 | Bad | wanter | what you sent as this chunk failed verification |
//! | 11 | Peers | holder | others that want or have it |
//! | 12, 13 | Ping, Pong | both | are you there |
//! | 14 | Unwant | wanter | the number is free again |
//! | 15 | Need | wanter | what it would take now, and what no longer: changes (at first to nothing) |
//! | 16 | Grant | holder | there is a place for this many chunks; at best for this one |
//! | 17 | Refuse | wanter | no use for so many granted chunks: for now, or for want of need |
//! | 18 | Gateways | wanter, within a site | who fetches across the site's border, with their beats |
//! | 19 | Seek | wanter, and whom it asked | have you got some of it? If not, and if `on`: ask those you know |
//! | 20 | HaveIt | who was asked on behalf of another | yes |
//! | 21 | StateDigest | both, in an office | a short name of all that is believed of it: who has another one is told everything |
//! | 22 | Statement | both, in an office | a statement (see [`crate::office`]), with the certificate of the registrar that signed it |
//! | 23 | Certified | both, in an office | certificates: newer ones of the sender, or new ones for the receiver |
//! | 24 | Renew | member, to a registrar | my certificate is old |
//! | 25 | Voucher | holder, in an office | why it may offer this blob: comes before the Offer |
//! | 26 | Members | both, in an office | others of the office, and where they are |
//! | 27 | FindMember | both, in an office | who is called that, or has a key that begins so? |
//! | 28 | FoundMembers | who was asked | certificates of those who are called so |
//! | 29 | Banned | both, last | why the receiver is kept away from now on, and for how many seconds |
//! | 30 | Reads | wanter | it takes the chunks of this blob in order: somebody reads along |
//! | 31 | Begin | wanter, before a Want | send the list of what is wanted next under this number, and first chunks, unasked |
//! | 32 | Push | holder, after a Begin | a Grant of this chunk, which comes by itself; before the Offer: the list, or the only chunk, does |

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

/// The version both ends must speak.
pub const VERSION: u16 = 1;

/// In place of a chunk's number: the hash list.
pub const LIST: u32 = u32::MAX;

/// The number a wanting node gives a blob for one session.
pub type Handle = u32;

/// The first message of both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// Program and version, at most 64 bytes are kept.
    pub agent: String,
    /// Ports it listens on for TCP; the address is the one the connection shows.
    pub tcp: Vec<u16>,
    /// Ports it listens on for QUIC.
    pub quic: Vec<u16>,
    /// The locality group it was told it belongs to.
    pub site: Option<String>,
    /// Multiaddrs, binary, at which it is reached through relays.
    pub relayed: Vec<Vec<u8>>,
    /// Ports for TCP at which it is a server of the DHT; none when it is not.
    pub dht: Vec<u16>,
}

/// What a holder says of a blob. Nothing of it is believed before it is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The want it answers.
    pub blob: Handle,
    /// What the id names.
    pub kind: ContentKind,
    /// Bytes.
    pub len: u64,
    /// The name it would give it.
    pub name: Option<String>,
    /// It published it itself.
    pub origin: bool,
    /// The chunks it has.
    pub have: Have,
}

/// Where a peer can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddrs {
    /// Its peer id, binary.
    pub peer: Vec<u8>,
    /// Multiaddrs, binary.
    pub addrs: Vec<Vec<u8>>,
}

/// Why a chunk is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalReason {
    /// Too many requests are waiting.
    Busy,
    /// It has not got that chunk (any longer).
    Missing,
}

/// A control message; the table is in the module's text.
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
}

/// A node of a site that fetches a blob across the site's border makes itself known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayBeat {
    /// Its name within the site.
    pub tag: u64,
    /// Grows with every beat.
    pub number: u32,
    /// It knows a holder outside that has all.
    pub whole: bool,
    /// Milliseconds since it was made.
    pub age: u32,
}

/// A frame that no honest node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Longer than allowed.
    #[error("a frame of {0} bytes: more than allowed")]
    TooLong(u64),
    /// Without even a kind.
    #[error("an empty frame")]
    Empty,
    /// A body that is not that of its kind.
    #[error("a message of kind {0} that cannot be read")]
    Body(u8),
    /// A list of more than is allowed.
    #[error("a message of kind {0} with too many entries")]
    TooMany(u8),
}

impl Message {
    /// Tells whether it is about the office: whoever hears too many of those ends the session. Vouchers are not among them.
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

    /// The frame's bytes, without the length before them: kind and body.
    ///
    /// # Errors
    /// [`BadFrame::TooLong`] if it would exceed the limit: a mistake of ours.
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
        }?;
        if bytes.len() > limits::CONTROL_FRAME {
            return Err(BadFrame::TooLong(bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// Reads one frame (kind and body). `None` for a kind of a later version, and for a statement
    /// whose topic is one.
    ///
    /// # Errors
    /// [`BadFrame`]: the peer is broken or hostile; close the connection.
    pub fn decode(frame: &[u8]) -> Result<Option<Self>, BadFrame> {
        let (&kind, bytes) = frame.split_first().ok_or(BadFrame::Empty)?;
        if frame.len() > limits::CONTROL_FRAME {
            return Err(BadFrame::TooLong(frame.len() as u64));
        }
        let message = match kind {
            0 => Self::Hello(read(kind, bytes)?),
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
            _ => return Ok(None),
        };
        message.within_limits(kind).map(Some)
    }

    fn within_limits(self, kind: u8) -> Result<Self, BadFrame> {
        let ok = match &self {
            Self::Hello(h) => {
                h.tcp.len() <= limits::PEER_ADDRS
                    && h.quic.len() <= limits::PEER_ADDRS
                    && h.site.as_ref().is_none_or(|site| site.len() <= limits::SITE_BYTES)
                    && h.dht.len() <= limits::DHT_ADDRS
                    && h.relayed.len() <= limits::RELAYS
                    && h.relayed.iter().all(|addr| addr.len() <= limits::ADDR_BYTES)
            }
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
            Self::Banned { reason, .. } => reason.len() <= limits::REASON_BYTES,
            Self::Grant { count, .. } | Self::Refuse { count, .. } => {
                *count as usize <= limits::REQUESTS_PER_PEER
            }
            _ => true,
        };
        if ok { Ok(self) } else { Err(BadFrame::TooMany(kind)) }
    }
}

/// As many certificates as a member shows, and none too long.
fn is_chain(chain: &[Vec<u8>]) -> bool {
    chain.len() <= 2 && chain.iter().all(|one| one.len() <= limits::CERTIFICATE_BYTES)
}

fn body<T: Serialize>(kind: u8, value: &T) -> Result<Vec<u8>, BadFrame> {
    postcard::to_extend(value, vec![kind]).map_err(|_| BadFrame::Body(kind))
}

/// Reads the body and refuses bytes after it. Postcard allocates no more than the input could hold.
fn read<'a, T: Deserialize<'a>>(kind: u8, bytes: &'a [u8]) -> Result<T, BadFrame> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(BadFrame::Body(kind)),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
