//! Bounds of the protocol between two nodes: frames, sessions, and the peers they tell each other of.

use std::ops::Range;
use std::time::Duration;

use super::KIB;

/// Largest control frame, in bytes; checked before anything is allocated for it.
pub const CONTROL_FRAME: usize = 64 * KIB;
/// Largest payload of a data frame, in bytes: small enough that answers interleave and a cancel takes effect
/// at once.
pub const DATA_FRAME: usize = 64 * KIB;
/// Largest payload of a data frame on a slow link, in bytes: a control message may come right behind one.
pub const DATA_FRAME_SLOW: usize = 16 * KIB;
/// Bytes that the kernel takes of a TCP connection beyond those it has sent: least and most.
pub const UNSENT_BYTES: Range<u32> = 32 << 10..4 << 20;
/// Blobs that one peer may have open in a session. A downloader that wants more takes turns.
pub const SESSION_BLOBS: usize = 256;
/// Runs of chunks that a have-message spells out before a bitmap (at most 4 KiB) is shorter.
pub const HAVE_RUNS: usize = 512;
/// Longest name of a site, in bytes.
pub const SITE_BYTES: usize = 64;
/// Bytes that are kept of a peer's own name for its program and version: as many as a line of a table shows.
pub const AGENT_BYTES: usize = 64;
/// Addresses in one peer-exchange message.
pub const EXCHANGE_PEERS: usize = 20;
/// Peers remembered across restarts.
pub const REMEMBERED_PEERS: usize = 64;
/// Contents looked for at once on behalf of other peers.
pub const SEEKS: usize = 32;
/// Contents looked for at once on behalf of one peer.
pub const SEEKS_PER_PEER: usize = 8;
/// Addresses passed on for one peer.
pub const PEER_ADDRS: usize = 8;
/// Longest address, as text or binary, in bytes.
pub const ADDR_BYTES: usize = 256;
/// Frames of data that nobody requested, or that do not fit the request, before the connection is closed.
pub const STRAY_FRAMES: u32 = 3;
/// Time for which a question for holders is put to every peer that connects.
pub const SEEK_FOR: Duration = Duration::from_secs(20);
