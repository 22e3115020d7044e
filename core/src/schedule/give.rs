//! The giving side: whom to offer the next free place of the uplink.
//!
//! A *grant* tells a taker that there is a place for it now. The taker answers with the chunk that it wants
//! most at that moment, or declines. So no request waits long before it is served, nothing is sent twice, and
//! the uplink of a node that has needed chunks is never idle. Places are few ([`limits::UPLOAD_SLOTS`]): then
//! a chunk is sent fast and can be passed on, instead of many being half sent.

use std::time::Duration;

use super::holders::Holder;
use super::super_seeding::Seed;
use super::taker::{AnsweredGrant, Grant, Taker};
use super::uplink::{GRANT_FOR, Lane};
use super::{BlobKey, Now, Output, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;
use crate::random::Random;

/// The chunks that the node gives to its site and to all others, apart: a full uplink must not keep a thin
/// line between sites waiting, nor the other way round.
#[derive(Debug)]
pub(super) struct Giving {
    lanes: [Lane; 2],
    /// The blob whose turn it is.
    turn: BlobKey,
    /// Time when the first taker that declined may be offered something again.
    wake: Option<Now>,
}

/// Draws of a taker by a seed that gives only scarce chunks, until one needs such a chunk.
const DRAWS: usize = 4;

impl Giving {
    pub(super) const fn new() -> Self {
        Self { lanes: [Lane::new(), Lane::new()], turn: BlobKey(0), wake: None }
    }

    /// Returns the bytes sent per second, while there was something to send.
    pub(super) const fn rate(&self) -> u64 {
        self.lanes[0].rate + self.lanes[1].rate
    }

    pub(super) const fn wake(&self) -> Option<Now> {
        self.wake
    }

    /// Sets the limits of both lanes, in bytes per second.
    pub(super) const fn limited(&mut self, near: Option<u64>, far: Option<u64>) {
        (self.lanes[0].limit, self.lanes[1].limit) = (near, far);
    }

    fn wake_at(&mut self, at: Now) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) const fn lane(&mut self, local: bool) -> &mut Lane {
        &mut self.lanes[if local { 0 } else { 1 }]
    }
}

/// One taker, its lane, and the parts of its blob that its messages change.
struct Dealing<'a> {
    /// Size of a chunk in bytes.
    size: u64,
    have: &'a Bitmap,
    seed: &'a mut Option<Seed>,
    local: bool,
    lane: &'a mut Lane,
    taker: &'a mut Taker,
}

impl Scheduler {
    /// Grants all free places.
    pub(super) fn give(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut turns = self.blobs.len();
        while turns > 0 {
            let Some(blob) = self.blob_after(self.giving.turn) else { return };
            self.giving.turn = blob;
            if self.grant_one(blob, true, now, out) | self.grant_one(blob, false, now, out) {
                turns = self.blobs.len()
            } else {
                turns -= 1
            }
        }
    }

    /// Gives out one grant of this blob, if there is room and a taker.
    fn grant_one(&mut self, blob: BlobKey, local: bool, now: Now, out: &mut Vec<Output>) -> bool {
        let Some(b) = self.blobs.get_mut(&blob) else { return false };
        let chunk = b.geometry.chunk_size();
        let lane = self.giving.lane(local);
        let budget = lane.budget(chunk, slots(b.seed.as_ref()));
        if !b.share || lane.granted + lane.asked >= budget {
            return false;
        }
        let (quantum, slow) = (lane.quantum(chunk), lane.is_slow(chunk));
        let newcomers = lane.takes_newcomers(chunk, budget, now);
        let rate = self.giving.rate();
        let rests = b.seed.as_ref().is_some_and(|seed| seed.rests(rate, chunk, now));
        let (peers, random, places) = (&self.peers, &mut self.random, budget / chunk);
        let gives = |peer: &PeerKey| peers.get(peer).is_none_or(|holder| !holder.credit.only_takes());
        let mut draw = || {
            let may = |taker: &Taker| newcomers || taker.has_asked;
            let first = choose(b, local, places, now, random, |peer, taker| may(taker) && gives(peer));
            let rest = |peer: &PeerKey, taker: &Taker| may(taker) && !gives(peer);
            let peer = first.or_else(|| choose(b, local, places, now, random, rest))?;
            let taker = b.links.get(&peer)?.taker.as_ref()?;
            let hint = b.seed.as_ref().and_then(|seed| match taker.reads {
                true => seed.next_for(&taker.taken),
                false if slow => seed.assign_slowly(&taker.taken, random, now),
                false => seed.assign(&taker.taken, random),
            });
            if slow && b.seed.is_some() && !taker.reads {
                return Some((peer, hint, hint.is_some()));
            }
            let waits = now.saturating_sub(taker.moved) >= limits::SEED_REST;
            Some((peer, hint, !rests || waits || hint.is_some() || taker.reads))
        };
        let mut drawn = draw();
        for _ in 1..DRAWS {
            if drawn.is_none_or(|(.., due)| due) {
                break;
            }
            drawn = draw();
        }
        let Some((peer, hint, _)) = drawn.filter(|(.., due)| *due) else { return false };
        b.tell(peer, blob, out);
        let Some(taker) = b.links.get_mut(&peer).and_then(|link| link.taker.as_mut()) else { return false };
        let lane = self.giving.lane(local);
        let count = if hint.is_some() { 1 } else { quantum.min(taker.useful - taker.live) };
        taker.grants.push_back(Grant { since: now, count, hint });
        taker.live += count;
        lane.grants(u64::from(count) * chunk, !taker.has_asked);
        if let (Some(seed), Some(chunk)) = (&mut b.seed, hint) {
            // A promised chunk counts as a copy, until the taker says otherwise.
            seed.shift(chunk, 1);
        }
        out.push(Output::Grant { peer, blob, count, hint });
        true
    }

    /// Returns the state of a taker, and all that its messages change.
    fn dealing(&mut self, peer: PeerKey, blob: BlobKey) -> Option<Dealing<'_>> {
        let b = self.blobs.get_mut(&blob)?;
        let link = b.links.get_mut(&peer)?;
        Some(Dealing {
            size: b.geometry.chunk_size(),
            have: &b.have,
            seed: &mut b.seed,
            local: link.local,
            lane: self.giving.lane(link.local),
            taker: link.taker.as_mut()?,
        })
    }

    /// Handles a request against the taker's grants. If not `by_itself`, it is a push: it shows no distance.
    pub(super) fn asked(
        &mut self,
        (peer, blob, chunk): (PeerKey, BlobKey, u32),
        by_itself: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if by_itself {
            self.answers(peer, blob, now);
        }
        let Some(of) = self.dealing(peer, blob) else { return };
        let has = chunk < of.have.len() && of.have.get(chunk);
        let heard = by_itself.then_some(now);
        let answer = of.taker.answered(1, of.size, of.lane, of.seed.as_mut(), heard);
        // A taker that keeps grants to use them all at once gets at most the free room, and beyond that one
        // chunk at a time.
        let is_room = of.taker.asked == 0 || of.lane.has_room(of.size, slots(of.seed.as_ref()));
        let granted = answer.filter(|answer| has && (!answer.late || is_room));
        let Some(AnsweredGrant { since, .. }) = granted else {
            let why = if has { super::RequestFailure::Busy } else { super::RequestFailure::Missing };
            out.push(Output::Decline { peer, blob, chunk, why });
            return self.give(now, out);
        };
        if of.taker.asked == 0 {
            of.taker.progress = now;
        }
        of.taker.asked += 1;
        if by_itself {
            of.taker.is_no_newcomer(of.size, of.lane, now);
        }
        let mut alone = false;
        if let Some(seed) = of.seed {
            // It goes out behind, or side by side with, what was requested before.
            if let Some(takes) = of.lane.takes_slowly(of.size) {
                let queue = of.lane.takes_slowly(of.lane.asked).unwrap_or_default();
                seed.leaves(chunk, now + queue + takes * 2 + limits::SEED_REST);
            }
            // A taker outside the site does not tell what it has: a copy that left counts as a copy there.
            if !of.local && !of.taker.taken.get(chunk) {
                seed.shift(chunk, 1);
            } else if of.local {
                alone = seed.gives(peer, chunk);
            }
        }
        if !of.taker.stuck {
            of.lane.takes(of.size, since, now);
        }
        if let Some(b) = self.blobs.get_mut(&blob) {
            b.takes(peer, chunk);
        }
        if alone && let Some(holder) = self.peers.get_mut(&peer) {
            holder.credit.sent();
        }
        out.push(Output::Send { peer, blob, chunk });
        self.give(now, out);
    }

    /// Handles a taker's refusal of grants.
    pub(super) fn refused(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        count: u32,
        busy: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(Dealing { size, seed, local, lane, taker, .. }) = self.dealing(peer, blob) else { return };
        let answer = taker.answered(count, size, lane, seed.as_mut(), Some(now));
        let in_time = answer.is_some_and(|answer| !answer.late);
        // Its needs are in its last news. No need is nothing to remember, but no reason to ask again at once
        // either.
        let quarter =
            if busy && lane.rate > 0 { (size / 4).saturating_mul(1_000_000) / lane.rate } else { 0 };
        let again = if local { lane.turnaround / 2 } else { lane.turnaround * 2 };
        let quarter = Duration::from_micros(quarter).min(limits::BUSY_PAUSE);
        let pause = again.max(quarter).max(GRANT_FOR);
        (taker.pause_until, taker.ignores) = (now + pause, taker.ignores && !in_time);
        self.giving.wake_at(now + pause);
        if in_time && let Some(holder) = self.peers.get_mut(&peer) {
            holder.patience.answered();
        }
        self.give(now, out);
    }

    /// Records that a taker requests something: it may be offered more, however long it let grants wait.
    fn answers(&mut self, peer: PeerKey, blob: BlobKey, now: Now) {
        let Some(holder) = self.peers.get_mut(&peer) else { return };
        if holder.patience.answered()
            && let Some(Dealing { taker, .. }) = self.dealing(peer, blob)
        {
            (taker.pause_until, taker.ignores) = (taker.pause_until.min(now), false);
        }
    }

    /// Records that a part of a chunk was sent. On a line that this node limits itself that shows that the
    /// taker reads.
    pub(super) fn sending(&mut self, peer: PeerKey, blob: BlobKey, bytes: u64, now: Now) {
        let Some(Dealing { size, lane, taker, .. }) = self.dealing(peer, blob) else { return };
        if lane.is_progress(size, bytes) {
            taker.progress = now;
        }
    }

    /// Records that a chunk was sent, or need no longer be.
    pub(super) fn sent(
        &mut self,
        peer: PeerKey,
        blob: BlobKey,
        whole: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(Dealing { size, seed, lane, taker, .. }) = self.dealing(peer, blob) else { return };
        if taker.asked > 0 {
            taker.asked -= 1;
            if taker.stuck {
                // A request that is taken back is no sign that the taker reads.
                if whole || taker.asked == 0 {
                    taker.stuck = false;
                    lane.takes(u64::from(taker.asked) * size, now, now);
                }
            } else {
                lane.gone(size, now);
            }
            if whole {
                taker.progress = now;
                lane.sent(size, now);
                taker.sent += 1;
                // Of a seed's chunks only those count that it can see passed on: see `asked`.
                if seed.is_none()
                    && let Some(holder) = self.peers.get_mut(&peer)
                {
                    holder.credit.sent();
                }
            }
        }
        self.give(now, out);
    }

    /// Gives the places of grants that were not answered in time to others: such grants are of no use.
    pub(super) fn expire_grants(&mut self, now: Now) {
        self.giving.wake = self.giving.wake.filter(|at| *at > now);
        for b in self.blobs.values_mut() {
            let size = b.geometry.chunk_size();
            for (peer, link) in &mut b.links {
                let (lane, Some(taker)) = (self.giving.lane(link.local), &mut link.taker) else { continue };
                let holder = self.peers.get_mut(peer);
                let distance = holder.as_deref().map_or(Duration::ZERO, Holder::distance);
                let patience = lane.patience().max(distance * 2 + limits::GRANT_PATIENCE);
                let old = |grant: &Grant| now.saturating_sub(grant.since) > patience;
                if taker.grants.front().is_some_and(old) {
                    let pause = holder.map_or(patience, |h| h.patience.ignored(patience, now));
                    (taker.pause_until, taker.ignores) = (now + pause, true);
                }
                while taker.grants.front().is_some_and(old)
                    && let Some(grant) = taker.grants.pop_front()
                {
                    taker.live -= grant.count;
                    lane.grants_end(u64::from(grant.count) * size, !taker.has_asked);
                    taker.is_late(grant, b.seed.as_mut());
                }
                for grant in &mut taker.late {
                    if now.saturating_sub(grant.since) > patience + limits::PROMISE_PATIENCE {
                        grant.release(b.seed.as_mut());
                    }
                }
            }
        }
    }

    /// Frees the places of takers that do not read what they requested, for others. Their chunks are sent
    /// when they read on, and until then they are offered nothing.
    pub(super) fn pass_over_stuck(&mut self, now: Now) {
        for b in self.blobs.values_mut() {
            let size = b.geometry.chunk_size();
            for link in b.links.values_mut() {
                let (lane, Some(taker)) = (self.giving.lane(link.local), &mut link.taker) else { continue };
                let waits = taker.asked > 0 && !taker.stuck;
                if waits && now.saturating_sub(taker.progress) > lane.longest(taker.progress) {
                    taker.stuck = true;
                    lane.gone(u64::from(taker.asked) * size, now);
                }
            }
        }
    }

    /// Forgets a taker, with all its grants and requests.
    pub(super) fn forget_taker(&mut self, peer: PeerKey, blob: BlobKey, now: Now) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let size = b.geometry.chunk_size();
        let Some(link) = b.links.get_mut(&peer) else { return };
        let (lane, Some(taker)) = (self.giving.lane(link.local), link.taker.take()) else { return };
        lane.grants_end(u64::from(taker.live) * size, !taker.has_asked);
        if !taker.stuck {
            lane.gone(u64::from(taker.asked) * size, now);
        }
        if let Some(seed) = &mut b.seed {
            let promised = taker.grants.iter().chain(&taker.late).filter_map(|grant| grant.hint);
            promised.for_each(|chunk| seed.shift(chunk, -1));
        }
        if taker.known && link.local {
            taker.taken.iter().for_each(|c| b.count_claim(peer, c, -1));
        }
    }
}

/// Returns the number of chunks that may be on their way out at once.
const fn slots(seed: Option<&Seed>) -> u64 {
    if seed.is_some() { limits::SEED_SLOTS } else { limits::UPLOAD_SLOTS }
}

/// Returns the taker for the next place: of two at random the one without a grant, else with fewer chunks.
/// Two choices spread well (Mitzenmacher 2001), and no herd forms.
fn choose(
    b: &super::BlobSchedule,
    local: bool,
    places: u64,
    now: Now,
    random: &mut Random,
    among: impl Fn(&PeerKey, &Taker) -> bool,
) -> Option<PeerKey> {
    let among = &among;
    let open = |most: u32| {
        let takers = b.links.iter().filter(|(_, link)| link.local == local);
        takers
            .filter_map(|(peer, link)| Some((*peer, link.taker.as_ref()?)))
            .filter(move |(peer, taker)| taker.is_open(now, most) && among(peer, taker))
    };
    let count = open(u32::MAX).count() as u64;
    let most = places.div_ceil(count.max(1)).max(2) as u32;
    let mut two = [None; 2];
    // Reservoir sampling (Vitter's algorithm R).
    for (seen, (peer, taker)) in open(most).enumerate() {
        let place = if seen < 2 { seen } else { random.below(seen + 1) };
        if let Some(place) = two.get_mut(place) {
            *place = Some((taker.live.min(1), taker.taken.count(), peer));
        }
    }
    two.into_iter().flatten().min_by_key(|(granted, taken, _)| (*granted, *taken)).map(|(.., peer)| peer)
}
