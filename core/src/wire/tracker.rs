//! What a node and a tracker say to each other, byte by byte.
//!
//! One substream of a connection, `/swarm/tracker/1`, carries frames as the control stream does: a `u32` of length (little
//! endian, at most [`limits::CONTROL_FRAME`]) and a body in postcard. The node sends an [`Announce`], the tracker answers
//! each with one [`TrackerAnswer`], in order.
//!
//! A node has one set of swarms that it takes part in, and tells changes of it. [`Announce::base`] is the version of the set
//! that the changes are to; a tracker that knows another one (it was started anew, or forgot the node) takes none of them in
//! and says which it knows, 0 for none. The node then tells the whole set, from base 0, in as many messages as it takes. So
//! a renewal is one small message, however large the set.
//!
//! A tracker is told of no names and no ids: a swarm is known there by its [`SwarmKey`].

use serde::{Deserialize, Serialize};

use super::{BadFrame, PeerAddrs};
use crate::id::ContentId;
use crate::limits;

/// The name of the protocol in the negotiation of a substream.
pub const PROTOCOL: &str = "/swarm/tracker/1";

/// For BLAKE3's key derivation.
const CONTEXT: &str = "swarm 2026-11-22 what a tracker knows a content by";

/// What a tracker knows a swarm by.
pub type SwarmKey = [u8; 32];

/// The key of a content that anybody may fetch. Whoever has the id can tell the key, and nobody the id from the key: what a
/// tracker writes down says nothing to whoever reads it later. One that wants to know can go among the members, as anybody
/// may who is introduced to them, and is then asked for the id.
#[must_use]
pub fn key_of(id: ContentId) -> SwarmKey {
    blake3::derive_key(CONTEXT, id.as_bytes())
}

/// What a node announces of one swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedSwarm {
    /// Which.
    pub key: SwarmKey,
    /// It has everything.
    pub whole: bool,
}

/// A node's message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The site it was told it belongs to.
    pub site: Option<String>,
    /// Where it listens: multiaddrs, binary. The tracker adds the address that it sees.
    pub addrs: Vec<Vec<u8>>,
    /// The version of its set that the changes are to; 0: to nothing.
    pub base: u64,
    /// The version after them.
    pub version: u64,
    /// Swarms that it takes part in now, or otherwise than before.
    pub add: Vec<AnnouncedSwarm>,
    /// Swarms that it takes part in no longer.
    pub drop: Vec<SwarmKey>,
    /// Swarms of which it wants to meet members.
    pub ask: Vec<SwarmKey>,
    /// It goes: forget it.
    pub leave: bool,
}

/// A tracker's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerAnswer {
    /// The version of the node's set that the tracker knows now.
    pub version: u64,
    /// Seconds until the node should announce itself again; a good while after that it is forgotten.
    pub interval: u32,
    /// Seconds from one announcement to the next at least, in the long run.
    pub pause: u32,
    /// Where the announcement came from: a multiaddr, binary.
    pub seen: Vec<u8>,
    /// Members of the swarms it asked for.
    pub found: Vec<Found>,
    /// Why not all of the set was taken in, for a person.
    pub refused: Option<String>,
}

/// Members of one swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Which.
    pub key: SwarmKey,
    /// How many there are.
    pub members: u64,
    /// How many of them have everything.
    pub whole: u64,
    /// Some of them.
    pub peers: Vec<PeerAddrs>,
}

impl Announce {
    /// The frame's bytes, without the length before them.
    ///
    /// # Errors
    /// [`BadFrame`] for what could not be read again: a mistake of ours.
    pub fn encode(&self) -> Result<Vec<u8>, BadFrame> {
        encode(self, Self::within_limits)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`BadFrame`]: no honest node sends this.
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
    /// The frame's bytes, without the length before them. Peers for which there is no room in a frame are left out.
    ///
    /// # Errors
    /// [`BadFrame`] for what could not be read again: a mistake of ours.
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

    /// Reads a frame.
    ///
    /// # Errors
    /// [`BadFrame`]: no honest tracker sends this.
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
        assert_eq!(Announce::decode(&bytes), Err(BadFrame::Body(0)));
        assert!(Announce::decode(&vec![0; limits::CONTROL_FRAME + 1]).is_err());
    }
}
