//! The messages between a node and a tracker, as bytes.
//!
//! One stream of a connection, `/swarm/tracker/1`, carries frames of a `u32` length (little endian, 1 to
//! [`limits::CONTROL_FRAME`]) and a body in postcard, without the byte of kind that control frames have. The
//! node sends an [`Announce`], and the tracker answers each with one [`TrackerAnswer`], in order.
//!
//! A node keeps one set of the swarms that it takes part in, and announces changes of it. [`Announce::base`]
//! is the version of the set that the changes apply to. A tracker that knows another version (because it was
//! restarted, or forgot the node) applies none of the changes and answers with the version that it knows, 0
//! for none. The node then announces the whole set, from base 0, in as many messages as it takes. So a
//! renewal is one small message, however large the set is.
//!
//! A tracker learns no names and no ids: it knows a swarm by its [`SwarmKey`].

use serde::{Deserialize, Serialize};

use super::{BadFrame, PeerAddrs};
use crate::id::ContentId;
use crate::limits;

/// The name of the protocol in the negotiation of a stream.
pub const PROTOCOL: &str = "/swarm/tracker/1";

/// The derive-key context of [`key_of`].
const CONTEXT: &str = "swarm 2026-11-22 what a tracker knows a content by";

/// The 32 bytes by which a tracker knows a swarm.
pub type SwarmKey = [u8; 32];

/// Returns the key of a content that anybody may fetch: BLAKE3 in derive-key mode of its id. The id leads to
/// the key, but the key does not lead to the id, so a tracker's notes reveal nothing to a later reader. A
/// tracker that wants to know the content can join its members, as anybody may who is introduced to them, and
/// is then asked for the id.
#[must_use]
pub fn key_of(id: ContentId) -> SwarmKey {
    blake3::derive_key(CONTEXT, id.as_bytes())
}

/// An entry of a node's set: one swarm that the node takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedSwarm {
    /// The key of the swarm.
    pub key: SwarmKey,
    /// True if the node has everything.
    pub whole: bool,
}

/// A node's message to a tracker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The configured name of the node's site, at most [`limits::SITE_BYTES`].
    pub site: Option<String>,
    /// Binary multiaddrs at which the node listens, at most [`limits::PEER_ADDRS`]. The tracker adds the
    /// address that it sees.
    pub addrs: Vec<Vec<u8>>,
    /// The version of the node's set that the changes apply to; 0 stands for the empty set.
    pub base: u64,
    /// The version of the set after the changes.
    pub version: u64,
    /// Swarms that the node takes part in now, or whose `whole` has changed. With `drop`, at most
    /// [`limits::ANNOUNCE_CHANGES`].
    pub add: Vec<AnnouncedSwarm>,
    /// Swarms that the node no longer takes part in.
    pub drop: Vec<SwarmKey>,
    /// Swarms of which the node asks for members, at most [`limits::ANNOUNCE_ASKS`].
    pub ask: Vec<SwarmKey>,
    /// True if the node leaves and the tracker should forget it.
    pub leave: bool,
}

/// A tracker's answer to one announcement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerAnswer {
    /// The version of the node's set that the tracker knows now; 0 for none.
    pub version: u64,
    /// Seconds until the node should announce itself again. The tracker forgets it after two and a half times
    /// as long.
    pub interval: u32,
    /// The least time between two announcements in seconds, in the long run.
    pub pause: u32,
    /// The binary multiaddr that the announcement came from.
    pub seen: Vec<u8>,
    /// Members of the swarms in [`Announce::ask`].
    pub found: Vec<Found>,
    /// The reason, for a person, why a part of the set was not applied; `None` if all of it was.
    pub refused: Option<String>,
}

/// The members of one swarm that a tracker names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The key of the swarm.
    pub key: SwarmKey,
    /// The number of members that the tracker knows.
    pub members: u64,
    /// The number of members that have everything.
    pub whole: u64,
    /// Some of the members, at most [`limits::ANSWER_PEERS`].
    pub peers: Vec<PeerAddrs>,
}

impl Announce {
    /// Returns the bytes of the frame, without the length before them.
    ///
    /// # Errors
    /// [`BadFrame`] if a receiver would refuse the frame, which is a mistake of this node.
    pub fn encode(&self) -> Result<Vec<u8>, BadFrame> {
        encode(self, Self::within_limits)
    }

    /// Reads a frame, without the length before it.
    ///
    /// # Errors
    /// [`BadFrame`] for a frame that no honest node sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadFrame> {
        decode(bytes, Self::within_limits)
    }

    fn within_limits(&self) -> bool {
        self.site.as_ref().is_none_or(|site| site.len() <= limits::SITE_BYTES)
            && addrs_within_limits(&self.addrs)
            && self.add.len() + self.drop.len() <= limits::ANNOUNCE_CHANGES
            && self.ask.len() <= limits::ANNOUNCE_ASKS
    }
}

impl TrackerAnswer {
    /// Returns the bytes of the frame, without the length before them. While they do not fit a frame, half of
    /// the peers of each swarm are left out.
    ///
    /// # Errors
    /// [`BadFrame`] if a receiver would refuse the frame, which is a mistake of this tracker.
    pub fn encode(&mut self) -> Result<Vec<u8>, BadFrame> {
        loop {
            match encode(self, Self::within_limits) {
                Err(BadFrame::TooLong(_)) if self.found.iter().any(|found| !found.peers.is_empty()) => {
                    self.found.iter_mut().for_each(|found| found.peers.truncate(found.peers.len() / 2));
                }
                other => return other,
            }
        }
    }

    /// Reads a frame, without the length before it.
    ///
    /// # Errors
    /// [`BadFrame`] for a frame that no honest tracker sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadFrame> {
        decode(bytes, Self::within_limits)
    }

    fn within_limits(&self) -> bool {
        let peers = |found: &Found| {
            found.peers.len() <= limits::ANSWER_PEERS
                && found
                    .peers
                    .iter()
                    .all(|p| p.peer.len() <= limits::ADDR_BYTES && addrs_within_limits(&p.addrs))
        };
        self.seen.len() <= limits::ADDR_BYTES
            && self.found.len() <= limits::ANNOUNCE_ASKS
            && self.found.iter().all(peers)
            && self.refused.as_ref().is_none_or(|text| text.len() <= limits::REASON_BYTES)
    }
}

fn addrs_within_limits(addrs: &[Vec<u8>]) -> bool {
    addrs.len() <= limits::PEER_ADDRS && addrs.iter().all(|addr| addr.len() <= limits::ADDR_BYTES)
}

fn encode<T: Serialize>(value: &T, within_limits: fn(&T) -> bool) -> Result<Vec<u8>, BadFrame> {
    if !within_limits(value) {
        return Err(BadFrame::TooMany(0));
    }
    let bytes = postcard::to_stdvec(value).map_err(|_| BadFrame::Body(0))?;
    match bytes.len() {
        0 => Err(BadFrame::Empty),
        n if n > limits::CONTROL_FRAME => Err(BadFrame::TooLong(n as u64)),
        _ => Ok(bytes),
    }
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], within_limits: fn(&T) -> bool) -> Result<T, BadFrame> {
    if bytes.len() > limits::CONTROL_FRAME {
        return Err(BadFrame::TooLong(bytes.len() as u64));
    }
    let value = super::read(0, bytes)?;
    if within_limits(&value) { Ok(value) } else { Err(BadFrame::TooMany(0)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entries(count: usize) -> Vec<AnnouncedSwarm> {
        (0..count)
            .map(|n| AnnouncedSwarm { key: blake3::hash(&n.to_le_bytes()).into(), whole: true })
            .collect()
    }

    #[test]
    fn the_largest_announcement_fits_a_frame() {
        let announce = Announce {
            site: Some("x".repeat(limits::SITE_BYTES)),
            addrs: vec![vec![7; limits::ADDR_BYTES]; limits::PEER_ADDRS],
            base: u64::MAX,
            version: u64::MAX,
            add: entries(limits::ANNOUNCE_CHANGES),
            drop: Vec::new(),
            ask: vec![[255; 32]; limits::ANNOUNCE_ASKS],
            leave: true,
        };
        let bytes = announce.encode().unwrap();
        assert_eq!(Announce::decode(&bytes), Ok(announce));
    }

    #[test]
    fn a_renewal_is_small_whatever_the_set() {
        let announce =
            Announce { addrs: vec![vec![7; 8]; 4], base: 1 << 50, version: 1 << 50, ..Announce::default() };
        assert!(announce.encode().unwrap().len() < 100);
    }

    #[test]
    fn an_answer_leaves_out_what_has_no_room() {
        let peer =
            PeerAddrs { peer: vec![1; 38], addrs: vec![vec![2; limits::ADDR_BYTES]; limits::PEER_ADDRS] };
        let found = Found { peers: vec![peer; limits::ANSWER_PEERS], ..Found::default() };
        let mut answer =
            TrackerAnswer { found: vec![found; limits::ANNOUNCE_ASKS], ..TrackerAnswer::default() };
        let bytes = answer.encode().unwrap();
        assert!(bytes.len() <= limits::CONTROL_FRAME);
        let read = TrackerAnswer::decode(&bytes).unwrap();
        assert!(read == answer && read.found.iter().all(|found| !found.peers.is_empty()));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let mut announce = Announce { add: entries(limits::ANNOUNCE_CHANGES + 1), ..Announce::default() };
        assert_eq!(announce.encode(), Err(BadFrame::TooMany(0)));
        let bytes = postcard::to_stdvec(&announce).unwrap();
        assert_eq!(Announce::decode(&bytes), Err(BadFrame::TooMany(0)));
        announce.add.truncate(1);
        let mut bytes = announce.encode().unwrap();
        bytes.push(0);
        assert_eq!(Announce::decode(&bytes), Ok(announce), "a field of a later version");
        assert!(Announce::decode(&vec![0; limits::CONTROL_FRAME + 1]).is_err());
    }
}
