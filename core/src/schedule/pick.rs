//! The states of a blob's chunks while it is fetched, and the choice of the next one to request.

use std::collections::BTreeMap;

use super::rarity::Rarity;
use super::{ChunkOrder, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::random::Random;

/// The state of one chunk. Only the methods of [`Picker`] change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// The chunk is not to be fetched.
    Skipped,
    /// The chunk is to be fetched, and requested from nobody.
    Wanted,
    /// The chunk is requested from this many holders.
    InFlight(u8),
    /// The chunk is verified.
    Have,
}

/// The chunks of a holder. Holders of all chunks are counted, not entered chunk by chunk.
#[derive(Debug)]
enum Holding {
    Whole,
    Part(Bitmap),
}

/// The chunks of one blob. Exactly the chunks in state `Wanted` are listed by rarity. A copy of a chunk is a
/// neighbour that has a part of the blob and either has this chunk or is being sent it.
#[derive(Debug)]
pub struct Picker {
    order: ChunkOrder,
    state: Vec<ChunkState>,
    /// The number of chunks that are neither here nor skipped.
    missing: u32,
    rarity: Rarity,
    holders: BTreeMap<PeerKey, Holding>,
    whole: usize,
}

impl Picker {
    /// Returns a picker that wants all chunks except those in `have` and `skip`.
    #[must_use]
    pub fn new(have: &Bitmap, skip: Option<&Bitmap>, order: ChunkOrder, random: &mut Random) -> Self {
        let n = have.len();
        let state = |c| match (have.get(c), skip.is_some_and(|s| s.get(c))) {
            (true, _) => ChunkState::Have,
            (_, true) => ChunkState::Skipped,
            _ => ChunkState::Wanted,
        };
        let state: Vec<ChunkState> = (0..n).map(state).collect();
        let mut shuffled: Vec<u32> = (0..n).filter(|c| state[*c as usize] == ChunkState::Wanted).collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        let mut rarity = Rarity::new(n);
        shuffled.iter().for_each(|c| rarity.list(*c));
        Self { order, missing: shuffled.len() as u32, rarity, holders: BTreeMap::new(), whole: 0, state }
    }

    /// Returns true if no chunk is missing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Returns the number of chunks that are neither here nor skipped.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.missing
    }

    /// Returns true if the chunk is neither here nor skipped.
    #[must_use]
    pub fn is_missing(&self, chunk: u32) -> bool {
        matches!(self.state[chunk as usize], ChunkState::Wanted | ChunkState::InFlight(_))
    }

    /// Returns the chunks that are missing and requested from nobody.
    #[must_use]
    pub const fn wanted(&self) -> &Bitmap {
        self.rarity.listed()
    }

    /// Returns true if this peer has every chunk.
    #[must_use]
    pub fn peer_has_all(&self, peer: PeerKey) -> bool {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => true,
            Some(Holding::Part(bits)) => bits.is_full(),
            None => false,
        }
    }

    /// Returns the wanted chunks that at least one of these peers has.
    pub fn wanted_of(&self, peers: impl Iterator<Item = PeerKey>) -> Bitmap {
        let mut of = Bitmap::new(self.wanted().len());
        for peer in peers {
            match self.holders.get(&peer) {
                Some(Holding::Whole) => return self.wanted().clone(),
                Some(Holding::Part(bits)) => of = of.or(bits),
                None => {}
            }
        }
        self.wanted().and(&of)
    }

    /// Returns the chunks that one of these peers has or, by its claims, is being sent.
    pub(super) fn had_by<'a>(&self, peers: impl Iterator<Item = (PeerKey, Option<&'a Bitmap>)>) -> Bitmap {
        let mut had = Bitmap::new(self.wanted().len());
        for (peer, claims) in peers {
            match self.holders.get(&peer) {
                Some(Holding::Whole) => return Bitmap::full(had.len()),
                Some(Holding::Part(bits)) => {
                    had = had.or(bits);
                    if let Some(claims) = claims {
                        had = had.or(claims);
                    }
                }
                None => {}
            }
        }
        had
    }

    /// Returns true if this peer has a chunk that is wanted.
    pub(super) fn has_wanted(&self, peer: PeerKey) -> bool {
        !self.wanted_of(std::iter::once(peer)).is_empty()
    }

    /// Returns the number of chunks that this peer claims to have.
    pub(super) fn count_of(&self, peer: PeerKey) -> u32 {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => self.wanted().len(),
            Some(Holding::Part(bits)) => bits.count(),
            None => 0,
        }
    }

    /// Returns the number of known copies of a chunk, at neighbours with a part of the blob.
    #[must_use]
    pub fn copies(&self, chunk: u32) -> u16 {
        self.rarity.copies(chunk)
    }

    /// Returns the number of peers that hold some of the blob.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Returns true if this peer holds some of the blob.
    #[must_use]
    pub fn holds(&self, peer: PeerKey) -> bool {
        self.holders.contains_key(&peer)
    }

    /// Returns true if this peer has this chunk.
    #[must_use]
    pub fn peer_has(&self, peer: PeerKey, chunk: u32) -> bool {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => true,
            Some(Holding::Part(bits)) => bits.get(chunk),
            None => false,
        }
    }

    /// Returns true if no connected peer holds some wanted chunk.
    #[must_use]
    pub fn lacks_holder(&self) -> bool {
        self.whole == 0 && self.rarity.lacks_copy()
    }

    /// Sets the chunks that a peer has, in place of those known before. `claims` are the chunks that it is
    /// being sent besides.
    pub fn holder(&mut self, peer: PeerKey, have: Bitmap, claims: Option<&Bitmap>) {
        self.remove_holder(peer, claims);
        if have.is_full() {
            self.whole += 1;
            self.holders.insert(peer, Holding::Whole);
            return;
        }
        have.iter().for_each(|c| self.rarity.shift(c, 1));
        if let Some(claims) = claims {
            claims.without(&have).iter().for_each(|c| self.rarity.shift(c, 1));
        }
        self.holders.insert(peer, Holding::Part(have));
    }

    /// Adds to the chunks that a peer has.
    pub fn holder_more(&mut self, peer: PeerKey, add: &Bitmap, claims: Option<&Bitmap>) {
        match self.holders.remove(&peer) {
            Some(Holding::Whole) => drop(self.holders.insert(peer, Holding::Whole)),
            None => self.holder(peer, add.clone(), claims),
            Some(Holding::Part(mut bits)) => {
                for c in add.without(&bits).iter() {
                    bits.set(c);
                    if claims.is_none_or(|claims| !claims.get(c)) {
                        self.rarity.shift(c, 1);
                    }
                }
                self.holders.insert(peer, Holding::Part(bits));
            }
        }
    }

    /// Records that a peer turned out not to have a chunk.
    pub fn holder_lost(&mut self, peer: PeerKey, chunk: u32, claims: Option<&Bitmap>) {
        let mut have = match self.holders.get(&peer) {
            Some(Holding::Whole) => Bitmap::full(self.wanted().len()),
            Some(Holding::Part(bits)) => bits.clone(),
            None => return,
        };
        have.clear(chunk);
        self.holder(peer, have, claims);
    }

    /// Forgets the chunks that a peer has.
    pub fn remove_holder(&mut self, peer: PeerKey, claims: Option<&Bitmap>) {
        match self.holders.remove(&peer) {
            Some(Holding::Whole) => self.whole -= 1,
            Some(Holding::Part(bits)) => {
                bits.iter().for_each(|c| self.rarity.shift(c, -1));
                if let Some(claims) = claims {
                    claims.without(&bits).iter().for_each(|c| self.rarity.shift(c, -1));
                }
            }
            None => {}
        }
    }

    /// Records that a peer is being sent a chunk (`by` is 1), or no longer is (-1).
    pub fn claimed(&mut self, peer: PeerKey, chunk: u32, by: i16) {
        if let Some(Holding::Part(bits)) = self.holders.get(&peer)
            && !bits.get(chunk)
        {
            self.rarity.shift(chunk, by);
        }
    }

    /// Records that the chunk is verified. Returns false if it was before.
    pub fn have(&mut self, chunk: u32) -> bool {
        let state = std::mem::replace(&mut self.state[chunk as usize], ChunkState::Have);
        self.rarity.unlist(chunk);
        self.missing -= u32::from(matches!(state, ChunkState::Wanted | ChunkState::InFlight(_)));
        state != ChunkState::Have
    }

    /// Records that the chunk is requested from one holder fewer.
    pub fn released(&mut self, chunk: u32) {
        match self.state[chunk as usize] {
            ChunkState::InFlight(1) => {
                self.state[chunk as usize] = ChunkState::Wanted;
                self.rarity.list(chunk);
            }
            ChunkState::InFlight(n) => self.state[chunk as usize] = ChunkState::InFlight(n - 1),
            _ => {}
        }
    }

    /// Records that a chunk in flight is requested from one more holder (a hedge).
    pub fn doubled(&mut self, chunk: u32) {
        if let ChunkState::InFlight(n) = self.state[chunk as usize] {
            self.state[chunk as usize] = ChunkState::InFlight(n + 1);
        }
    }

    /// Chooses a chunk to request from this holder, and marks it as in flight: `first` if that chunk is
    /// possible, else by the blob's order. `allowed` narrows the choice.
    pub fn pick(
        &mut self,
        peer: PeerKey,
        first: Option<u32>,
        allowed: Option<&Bitmap>,
        random: &mut Random,
    ) -> Option<u32> {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return None;
        }
        let may = |c: u32| wanted.get(c) && self.peer_has(peer, c) && allowed.is_none_or(|a| a.get(c));
        let first = first.filter(|c| *c < wanted.len() && may(*c));
        let chunk = first.or_else(|| self.by_order(peer, allowed, random))?;
        self.rarity.unlist(chunk);
        self.state[chunk as usize] = ChunkState::InFlight(1);
        Some(chunk)
    }

    /// Chooses a chunk for a reader among those that lie `ahead` of it, and marks it as in flight. It is the
    /// first of the two `rather` that is possible; else, from a holder of all chunks, one that no neighbour
    /// has or is being sent; else the next one.
    pub fn pick_next(
        &mut self,
        peer: PeerKey,
        rather: (Option<u32>, Option<u32>),
        ahead: &Bitmap,
    ) -> Option<u32> {
        let has_all = matches!(self.holders.get(&peer)?, Holding::Whole);
        let may = |c: &u32| ahead.get(*c) && self.wanted().get(*c) && self.peer_has(peer, *c);
        let given = |c: Option<u32>| c.filter(|c| *c < ahead.len()).filter(may);
        let fresh = || ahead.iter().filter(may).find(|c| has_all && self.rarity.copies(*c) == 0);
        let next = || ahead.iter().find(may);
        let chunk = given(rather.0).or_else(|| given(rather.1)).or_else(fresh).or_else(next)?;
        self.rarity.unlist(chunk);
        self.state[chunk as usize] = ChunkState::InFlight(1);
        Some(chunk)
    }

    fn by_order(&self, peer: PeerKey, allowed: Option<&Bitmap>, random: &mut Random) -> Option<u32> {
        let wanted = self.wanted();
        let (of, least) = match self.holders.get(&peer)? {
            Holding::Whole => (wanted, 0),
            // This holder itself has each of these chunks, so there is at least one copy.
            Holding::Part(bits) => (bits, 1),
        };
        let narrowed = allowed.map(|a| a.and(of));
        let of = narrowed.as_ref().unwrap_or(of);
        match self.order {
            ChunkOrder::Rarest => self.rarity.rarest(of, least, random),
            ChunkOrder::Ascending => wanted.first_common(of, 0),
        }
    }
}
