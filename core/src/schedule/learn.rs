//! Learning what an id is before anything of it is scheduled: kind, length and hash list, each proven.
//!
//! Peers' offers are claims. One claim at a time is tried: its hash list, which proves id and length, is fetched; of a blob
//! of one chunk, which has no list, the chunk. A peer whose claim fails is banned; one that does not answer in time makes
//! room for the next and may be tried again. A lie costs one list, or one small chunk, whatever length was claimed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Now, PeerKey};
use crate::content::geometry::Geometry;
use crate::content::tree::Kind;
use crate::limits;

/// A claim without an answer for this long gives way to the next.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a peer says an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// File or directory.
    pub kind: Kind,
    /// Its chunks, from the claimed length.
    pub geometry: Geometry,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask this peer for the hash list.
    AskList(PeerKey, Claim),
    /// Ask this peer for its only chunk.
    AskChunk(PeerKey, Claim),
    /// This peer lied: ban it.
    Liar(PeerKey),
    /// The claim is proven.
    Proven(Claim),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    List,
    Chunk,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Learner {
    claims: BTreeMap<PeerKey, Claim>,
    trying: Option<(PeerKey, Stage, Now)>,
    last: Option<PeerKey>,
}

impl Learner {
    /// A peer claims something.
    pub fn claim(&mut self, peer: PeerKey, claim: Claim, now: Now) -> Option<Step> {
        if self.claims.len() < limits::CLAIMS || self.claims.contains_key(&peer) {
            self.claims.insert(peer, claim);
        }
        if self.trying.is_none() { self.next(now) } else { None }
    }

    /// The list a peer sent was checked against the id.
    pub fn list(&mut self, peer: PeerKey, ok: bool) -> Option<Step> {
        let (Some((trying, Stage::List, _)), Some(claim)) = (self.trying, self.claims.get(&peer)) else {
            return None;
        };
        if trying != peer {
            return None;
        }
        if ok { Some(Step::Proven(*claim)) } else { self.liar(peer) }
    }

    /// The only chunk a peer sent was checked against the id.
    pub fn chunk(&mut self, peer: PeerKey, ok: bool) -> Option<Step> {
        let (Some((trying, Stage::Chunk, _)), Some(claim)) = (self.trying, self.claims.get(&peer)) else {
            return None;
        };
        match (trying == peer, ok) {
            (false, _) => None,
            (true, true) => Some(Step::Proven(*claim)),
            (true, false) => self.liar(peer),
        }
    }

    /// A peer has gone, or no longer has it.
    pub fn lost(&mut self, peer: PeerKey, now: Now) -> Option<Step> {
        self.claims.remove(&peer);
        if self.trying.is_some_and(|(p, ..)| p == peer) {
            self.trying = None;
        }
        if self.trying.is_none() { self.next(now) } else { None }
    }

    /// Time has passed. Call again until it returns `None`.
    pub fn tick(&mut self, now: Now) -> Option<Step> {
        match self.trying {
            Some((_, _, since)) if now.saturating_sub(since) < PATIENCE => None,
            Some(_) if self.claims.len() < 2 => None,
            _ => self.next(now),
        }
    }

    /// Peers that claim to have it.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    fn liar(&mut self, peer: PeerKey) -> Option<Step> {
        self.claims.remove(&peer);
        self.trying = None;
        Some(Step::Liar(peer))
    }

    /// Starts with the next claim, going round.
    fn next(&mut self, now: Now) -> Option<Step> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.last.and_then(|last| self.claims.range((Excluded(last), Unbounded)).next());
        let (peer, claim) = after.or_else(|| self.claims.iter().next()).map(|(p, c)| (*p, *c))?;
        self.last = Some(peer);
        if claim.geometry.chunks() > 1 {
            self.trying = Some((peer, Stage::List, now));
            return Some(Step::AskList(peer, claim));
        }
        self.trying = Some((peer, Stage::Chunk, now));
        Some(if claim.geometry.is_empty() { Step::Proven(claim) } else { Step::AskChunk(peer, claim) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn claim(len: u64) -> Claim {
        Claim { kind: Kind::File, geometry: Geometry::new(len).unwrap() }
    }

    #[test]
    fn a_liar_is_found_and_the_next_is_tried() {
        let (mut learner, now) = (Learner::default(), Duration::ZERO);
        let (liar, honest) = (PeerKey(1), PeerKey(2));
        assert_eq!(learner.claim(liar, claim(1 << 30), now), Some(Step::AskList(liar, claim(1 << 30))));
        assert_eq!(learner.claim(honest, claim(1 << 20), now), None);
        assert_eq!(learner.list(honest, true), None, "not asked");
        assert_eq!(learner.list(liar, false), Some(Step::Liar(liar)));
        assert_eq!(learner.tick(now), Some(Step::AskList(honest, claim(1 << 20))));
        assert_eq!(learner.list(honest, true), Some(Step::Proven(claim(1 << 20))));
    }

    #[test]
    fn a_silent_one_gives_way_and_gets_another_turn() {
        let (mut learner, mut now) = (Learner::default(), Duration::ZERO);
        let (a, b) = (PeerKey(1), PeerKey(2));
        learner.claim(a, claim(10), now);
        assert_eq!(learner.tick(now + PATIENCE), None, "nobody else to ask");
        assert_eq!(learner.claim(b, claim(10), now), None);
        now += PATIENCE;
        assert_eq!(learner.tick(now), Some(Step::AskChunk(b, claim(10))));
        assert_eq!(learner.lost(b, now), Some(Step::AskChunk(a, claim(10))));
        assert_eq!(learner.lost(a, now), None);
        assert_eq!(learner.tick(now), None);
    }
}
