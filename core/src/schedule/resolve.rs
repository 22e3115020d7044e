//! Learning what an id is, before anything of it is scheduled: kind, length and hash list, each proven.
//!
//! Offers of peers are claims. One claim at a time is tried, by fetching the hash list, which proves id and
//! length. A blob of one chunk has no list; its chunk is fetched instead. A peer whose claim fails is banned.
//! While a peer does not answer in time, the next one is asked too. A lie costs one list, or one small chunk,
//! whatever length was claimed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Now, PeerKey};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::limits;

/// The time after which a claim without an answer gives way to the next.
const PATIENCE: Duration = Duration::from_secs(3);

/// A peer's claim of what an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentClaim {
    /// The claimed kind.
    pub kind: ContentKind,
    /// The geometry that follows from the claimed length.
    pub geometry: Geometry,
}

/// An order to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask this peer for the hash list.
    AskList(PeerKey, ContentClaim),
    /// Ask this peer for the only chunk.
    AskChunk(PeerKey, ContentClaim),
    /// Ban this peer, because its claim was false.
    Liar(PeerKey),
    /// The claim is proven.
    Proven(ContentClaim),
}

/// The claims about one id, and their trial.
#[derive(Debug, Default)]
pub struct Learner {
    claims: BTreeMap<PeerKey, ContentClaim>,
    /// The claim that each peer was asked to prove and has not answered. A new claim of the peer does not
    /// change it.
    asked: BTreeMap<PeerKey, ContentClaim>,
    /// The peer whose answer is awaited, and since when.
    trying: Option<(PeerKey, Now)>,
    last: Option<PeerKey>,
}

impl Learner {
    /// Takes in a peer's claim. Returns the step to take, if there is one.
    pub fn claim(&mut self, peer: PeerKey, claim: ContentClaim, now: Now) -> Option<Step> {
        if self.claims.len() < limits::CLAIMS || self.claims.contains_key(&peer) {
            self.claims.insert(peer, claim);
        }
        if self.trying.is_none() { self.next(now) } else { None }
    }

    /// Returns the claim that this peer was asked to prove.
    #[must_use]
    pub fn asked(&self, peer: PeerKey) -> Option<ContentClaim> {
        self.asked.get(&peer).copied()
    }

    /// Takes in the result of checking a peer's answer, its list or its only chunk, against the id and the
    /// claim that it was asked to prove. A late answer counts too: a proof is a proof.
    pub fn answered(&mut self, peer: PeerKey, ok: bool) -> Option<Step> {
        let claim = self.asked.remove(&peer)?;
        if ok {
            return Some(Step::Proven(claim));
        }
        self.claims.remove(&peer);
        if self.trying.is_some_and(|(trying, _)| trying == peer) {
            self.trying = None;
        }
        Some(Step::Liar(peer))
    }

    /// Records that a peer has gone, or no longer has the content.
    pub fn lost(&mut self, peer: PeerKey, now: Now) -> Option<Step> {
        self.claims.remove(&peer);
        self.asked.remove(&peer);
        if self.trying.is_some_and(|(p, _)| p == peer) {
            self.trying = None;
        }
        if self.trying.is_none() { self.next(now) } else { None }
    }

    /// Handles the passing of time. The caller repeats it until it returns `None`.
    pub fn tick(&mut self, now: Now) -> Option<Step> {
        match self.trying {
            Some((_, since)) if now.saturating_sub(since) < PATIENCE => None,
            _ => self.next(now),
        }
    }

    /// Returns the number of peers that claim to have the content.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    /// Starts with the next claim, going round, without peers whose answer is still to come.
    fn next(&mut self, now: Now) -> Option<Step> {
        use std::ops::Bound::{Excluded, Unbounded};
        let idle = |(peer, _): &(&PeerKey, &ContentClaim)| !self.asked.contains_key(peer);
        let after = self.last.and_then(|last| self.claims.range((Excluded(last), Unbounded)).find(idle));
        let (peer, claim) = after.or_else(|| self.claims.iter().find(idle)).map(|(p, c)| (*p, *c))?;
        self.last = Some(peer);
        self.trying = Some((peer, now));
        if claim.geometry.is_empty() {
            return Some(Step::Proven(claim));
        }
        self.asked.insert(peer, claim);
        let single = claim.geometry.chunks() == 1;
        Some(if single { Step::AskChunk(peer, claim) } else { Step::AskList(peer, claim) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn claim(len: u64) -> ContentClaim {
        ContentClaim { kind: ContentKind::File, geometry: Geometry::new(len).unwrap() }
    }

    #[test]
    fn a_liar_is_found_and_the_next_is_tried() {
        let (mut learner, now) = (Learner::default(), Duration::ZERO);
        let (liar, honest) = (PeerKey(1), PeerKey(2));
        assert_eq!(learner.claim(liar, claim(1 << 30), now), Some(Step::AskList(liar, claim(1 << 30))));
        assert_eq!(learner.claim(honest, claim(1 << 20), now), None);
        assert_eq!(learner.answered(honest, true), None, "not asked");
        assert_eq!(learner.answered(liar, false), Some(Step::Liar(liar)));
        assert_eq!(learner.tick(now), Some(Step::AskList(honest, claim(1 << 20))));
        assert_eq!(learner.answered(honest, true), Some(Step::Proven(claim(1 << 20))));
    }

    #[test]
    fn beside_a_silent_one_the_next_is_asked_and_whoever_answers_first_counts() {
        let (mut learner, mut now) = (Learner::default(), Duration::ZERO);
        let (a, b) = (PeerKey(1), PeerKey(2));
        learner.claim(a, claim(10), now);
        assert_eq!(learner.tick(now + PATIENCE), None, "nobody else to ask");
        assert_eq!(learner.claim(b, claim(10), now), None);
        now += PATIENCE;
        assert_eq!(learner.tick(now), Some(Step::AskChunk(b, claim(10))));
        now += PATIENCE;
        assert_eq!(learner.tick(now), None, "both are at it");
        assert_eq!(learner.answered(a, true), Some(Step::Proven(claim(10))), "late, and true");
    }

    #[test]
    fn what_was_asked_is_proven_whatever_is_claimed_meanwhile() {
        let (mut learner, now) = (Learner::default(), Duration::ZERO);
        let peer = PeerKey(1);
        assert_eq!(learner.claim(peer, claim(10), now), Some(Step::AskChunk(peer, claim(10))));
        assert_eq!(learner.claim(peer, claim(9), now), None);
        assert_eq!(learner.asked(peer), Some(claim(10)));
        assert_eq!(learner.answered(peer, true), Some(Step::Proven(claim(10))));
    }
}
