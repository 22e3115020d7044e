//! The state of a blob's chunks while it is fetched, and which to ask for next.

use std::collections::BTreeMap;

use super::rarity::Rarity;
use super::{ChunkOrder, PeerKey};
use crate::content::bitmap::Bitmap;
use crate::random::Random;

/// One chunk. The only way from one to another are the methods of [`Picker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// Not to be fetched.
    Skipped,
    /// To be fetched, and nobody is asked.
    Wanted,
    /// This many holders are asked.
    InFlight(u8),
    /// Verified.
    Have,
}

/// What a holder has: whole holders are counted, not entered chunk by chunk.
#[derive(Debug)]
enum Holding {
    Whole,
    Part(Bitmap),
}

/// The chunks of one blob. Exactly those in `Wanted` are listed by rarity; a copy is a neighbour that has a part of the
/// blob and this chunk among it, or is being sent it.
#[derive(Debug)]
pub struct Picker {
    order: ChunkOrder,
    state: Vec<ChunkState>,
    /// Chunks not yet here and not skipped.
    missing: u32,
    rarity: Rarity,
    holders: BTreeMap<PeerKey, Holding>,
    whole: usize,
}

impl Picker {
    /// All chunks but those in `have` and `skip` are wanted.
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

    /// Nothing is missing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Chunks not yet here and not skipped.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.missing
    }

    /// The chunk is neither here nor skipped.
    #[must_use]
    pub fn is_missing(&self, chunk: u32) -> bool {
        matches!(self.state[chunk as usize], ChunkState::Wanted | ChunkState::InFlight(_))
    }

    /// Chunks that are missing and that nobody was asked for.
    #[must_use]
    pub const fn wanted(&self) -> &Bitmap {
        self.rarity.listed()
    }

    /// Whether this peer has every chunk.
    #[must_use]
    pub fn peer_has_all(&self, peer: PeerKey) -> bool {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => true,
            Some(Holding::Part(bits)) => bits.is_full(),
            None => false,
        }
    }

    /// Chunks that are wanted and that some of these peers have.
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

    /// A peer has something that is wanted.
    pub(super) fn has_wanted(&self, peer: PeerKey) -> bool {
        !self.wanted_of(std::iter::once(peer)).is_empty()
    }

    /// Chunks this peer says that it has.
    pub(super) fn count_of(&self, peer: PeerKey) -> u32 {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => self.wanted().len(),
            Some(Holding::Part(bits)) => bits.count(),
            None => 0,
        }
    }

    /// Copies known of a chunk, at neighbours with a part of the blob.
    #[must_use]
    pub fn copies(&self, chunk: u32) -> u16 {
        self.rarity.copies(chunk)
    }

    /// Peers with some of it.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Whether this peer has any of it.
    #[must_use]
    pub fn holds(&self, peer: PeerKey) -> bool {
        self.holders.contains_key(&peer)
    }

    /// Whether this peer has this chunk.
    #[must_use]
    pub fn peer_has(&self, peer: PeerKey, chunk: u32) -> bool {
        match self.holders.get(&peer) {
            Some(Holding::Whole) => true,
            Some(Holding::Part(bits)) => bits.get(chunk),
            None => false,
        }
    }

    /// A wanted chunk is held by nobody connected.
    #[must_use]
    pub fn lacks_holder(&self) -> bool {
        self.whole == 0 && self.rarity.lacks_copy()
    }

    /// Sets what a peer has, in place of what was known. `claims` is what it is being sent besides.
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

    /// Adds to what a peer has.
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

    /// A peer turned out not to have a chunk.
    pub fn holder_lost(&mut self, peer: PeerKey, chunk: u32, claims: Option<&Bitmap>) {
        let mut have = match self.holders.get(&peer) {
            Some(Holding::Whole) => Bitmap::full(self.wanted().len()),
            Some(Holding::Part(bits)) => bits.clone(),
            None => return,
        };
        have.clear(chunk);
        self.holder(peer, have, claims);
    }

    /// Forgets what a peer has.
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

    /// A peer is being sent a chunk (or, with -1, no longer).
    pub fn claimed(&mut self, peer: PeerKey, chunk: u32, by: i16) {
        if let Some(Holding::Part(bits)) = self.holders.get(&peer)
            && !bits.get(chunk)
        {
            self.rarity.shift(chunk, by);
        }
    }

    /// The chunk is verified. False if it was before.
    pub fn have(&mut self, chunk: u32) -> bool {
        let state = std::mem::replace(&mut self.state[chunk as usize], ChunkState::Have);
        self.rarity.unlist(chunk);
        self.missing -= u32::from(matches!(state, ChunkState::Wanted | ChunkState::InFlight(_)));
        state != ChunkState::Have
    }

    /// One holder less is asked for it.
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

    /// One holder more is asked for a chunk that is in flight (a hedge).
    pub fn doubled(&mut self, chunk: u32) {
        if let ChunkState::InFlight(n) = self.state[chunk as usize] {
            self.state[chunk as usize] = ChunkState::InFlight(n + 1);
        }
    }

    /// A chunk to ask this holder for, now in flight: `first` if it can be that one, else by the blob's order.
    /// `allowed` narrows what may be asked of it.
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

    /// The same for a reader, of the chunks that lie `ahead` of it: the first of these `rather` that can be; of a holder of
    /// everything, one that no neighbour has or is sent; else the next.
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
            // It has it itself: there is at least that copy.
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
