//! The giving side: whom to offer the next free place of our uplink.
//!
//! A *grant* tells a taker that there is a place for it now; it answers with the chunk it wants most at that moment, or
//! declines. So no request waits long before it is served, nothing is sent twice, and the uplink of a node that has
//! anything somebody needs is never idle. Places are few ([`limits::UPLOAD_SLOTS`]): a chunk is sent fast and can be
//! passed on, instead of many being half sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::holders::Holder;
use super::super_seeding::Seed;
use super::uplink::{GRANT_FOR, Lane};
use super::{BlobKey, Now, Output, PeerKey, Scheduler};
use crate::content::bitmap::Bitmap;
use crate::limits;
use crate::random::Random;

/// One peer that takes a blob from us.
#[derive(Debug)]
pub(super) struct Taker {
    /// Chunks it has, or is being sent, or would not take of us.
    pub(super) taken: Bitmap,
    /// Chunks we have and it would take.
    pub(super) useful: u32,
    /// It has said what it would take.
    pub(super) known: bool,
    /// Grants it has not answered.
    grants: VecDeque<Grant>,
    live: u32,
    /// Grants it has not answered in time: their places were given away, but a late answer is taken. Answers come in order, so
    /// the next one is to these.
    late: VecDeque<Grant>,
    /// Of those before them only the number of chunks is kept. They are answered before all others.
    oldest: u32,
    /// Requests it may make without a grant.
    free: u32,
    /// Chunks it has asked for and that are not yet sent.
    asked: u32,
    /// When one was sent, or the first of these asked for.
    progress: Now,
    /// It reads along: it is offered chunks in order.
    pub(super) reads: bool,
    /// It does not read what it is sent: see [`Scheduler::pass_over_stuck`].
    stuck: bool,
    pause_until: Now,
    /// When it last came to have something, of whomever.
    pub(super) moved: Now,
    /// Chunks sent to it.
    pub(super) sent: u32,
}

/// A grant that was answered.
struct AnsweredGrant {
    /// When it was given out.
    since: Now,
    /// Its place was given to somebody else meanwhile.
    late: bool,
}

/// A place of our uplink that was offered.
#[derive(Debug)]
struct Grant {
    since: Now,
    /// For how many chunks.
    count: u32,
    /// The first copy it is for: promised, until there is an answer.
    hint: Option<u32>,
}

/// What the whole node gives, to its site and to all others apart: what fills the uplink must not keep a thin line between
/// sites waiting, nor the other way round.
#[derive(Debug)]
pub(super) struct Giving {
    lanes: [Lane; 2],
    /// Whose turn it is.
    turn: BlobKey,
    /// When the first of those that declined may be offered something again.
    wake: Option<Now>,
}

/// A seed that gives only what is scarce looks so often for somebody who needs some of that.
const DRAWS: usize = 4;

impl Giving {
    pub(super) const fn new() -> Self {
        Self { lanes: [Lane::new(), Lane::new()], turn: BlobKey(0), wake: None }
    }

    /// Bytes per second sent, while there was something to send.
    pub(super) const fn rate(&self) -> u64 {
        self.lanes[0].rate + self.lanes[1].rate
    }

    pub(super) const fn wake(&self) -> Option<Now> {
        self.wake
    }

    fn wake_at(&mut self, at: Now) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) const fn lane(&mut self, local: bool) -> &mut Lane {
        &mut self.lanes[if local { 0 } else { 1 }]
    }
}

impl Grant {
    /// What it promised is promised no longer.
    fn release(&mut self, seed: Option<&mut Seed>) {
        if let (Some(seed), Some(chunk)) = (seed, self.hint.take()) {
            seed.shift(chunk, -1);
        }
    }
}

impl Taker {
    /// Until it has said what it needs, it is taken to need all of the `useful` chunks that are here.
    pub(super) fn new(chunks: u32, useful: u32) -> Self {
        Self {
            taken: Bitmap::new(chunks),
            useful,
            known: false,
            grants: VecDeque::new(),
            live: 0,
            late: VecDeque::new(),
            oldest: 0,
            // A single chunk is asked for at once: it proves what the blob is.
            free: u32::from(chunks == 1),
            asked: 0,
            progress: Duration::ZERO,
            reads: false,
            stuck: false,
            pause_until: Duration::ZERO,
            moved: Duration::ZERO,
            sent: 0,
        }
    }

    const fn load(&self) -> u32 {
        self.live + self.asked
    }

    /// Could use one more grant.
    fn is_open(&self, now: Now, most: u32) -> bool {
        self.useful > self.live && now >= self.pause_until && self.load() < most && !self.stuck
    }
}

/// One taker, its lane, and what of its blob a word of it touches.
struct Dealing<'a> {
    /// Bytes of a chunk.
    size: u64,
    have: &'a Bitmap,
    seed: &'a mut Option<Seed>,
    local: bool,
    lane: &'a mut Lane,
    taker: &'a mut Taker,
}

impl Scheduler {
    /// Gives away what places are free.
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

    /// One grant of this blob, if there is room and a taker.
    fn grant_one(&mut self, blob: BlobKey, local: bool, now: Now, out: &mut Vec<Output>) -> bool {
        let Some(b) = self.blobs.get_mut(&blob) else { return false };
        let chunk = b.geometry.chunk_size();
        let lane = self.giving.lane(local);
        let budget = lane.budget(chunk, slots(b.seed.as_ref()));
        if !b.share || lane.granted + lane.asked >= budget {
            return false;
        }
        let quantum = lane.quantum(chunk);
        let rate = self.giving.rate();
        let rests = b.seed.as_ref().is_some_and(|seed| seed.rests(rate, chunk, now));
        let (peers, random, places) = (&self.peers, &mut self.random, budget / chunk);
        let gives = |peer: &PeerKey| peers.get(peer).is_none_or(|holder| !holder.credit.only_takes());
        let mut draw = || {
            let first = choose(b, local, places, now, random, gives);
            let peer = first.or_else(|| choose(b, local, places, now, random, |peer| !gives(peer)))?;
            let taker = b.links.get(&peer)?.taker.as_ref()?;
            let hint = b.seed.as_ref().and_then(|seed| match taker.reads {
                true => seed.next_for(&taker.taken),
                false => seed.assign(&taker.taken, random),
            });
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
        lane.granted += u64::from(count) * chunk;
        if let (Some(seed), Some(chunk)) = (&mut b.seed, hint) {
            // Promised is as good as there, until it says otherwise.
            seed.shift(chunk, 1);
        }
        out.push(Output::Grant { peer, blob, count, hint });
        true
    }

    /// What is kept of a taker, and what its words change.
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

    /// A taker asks for a chunk against its grants; or it is sent one as if it had, which tells nothing of its distance.
    pub(super) fn asked(
        &mut self,
        (peer, blob, chunk): (PeerKey, BlobKey, u32),
        by_itself: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(of) = self.dealing(peer, blob) else { return };
        let has = chunk < of.have.len() && of.have.get(chunk);
        let heard = by_itself.then_some(now);
        let answer = of.taker.answered(1, of.size, of.lane, of.seed.as_mut(), heard);
        // Whoever keeps grants to use them all at once has at most what is free, and one chunk at a time beyond that.
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
        let mut alone = false;
        if let Some(seed) = of.seed {
            // What a taker outside goes on to have we do not hear: a copy that left is a copy there.
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

    /// A taker declines grants.
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
        taker.answered(count, size, lane, seed.as_mut(), Some(now));
        // What it needs it has just told: no need is nothing to remember, but not a reason to ask again at once either.
        let quarter =
            if busy && lane.rate > 0 { (size / 4).saturating_mul(1_000_000) / lane.rate } else { 0 };
        let again = if local { lane.turnaround / 2 } else { lane.turnaround * 2 };
        let quarter = Duration::from_micros(quarter).min(limits::BUSY_PAUSE);
        let pause = again.max(quarter).max(GRANT_FOR);
        taker.pause_until = now + pause;
        self.giving.wake_at(now + pause);
        self.give(now, out);
    }

    /// A chunk has gone out, or need not any longer.
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
                // What it takes back is no sign that it reads.
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
                // Of a seed's chunks those count that it can see passed on: see `asked`.
                if seed.is_none()
                    && let Some(holder) = self.peers.get_mut(&peer)
                {
                    holder.credit.sent();
                }
            }
        }
        self.give(now, out);
    }

    /// Grants that were not answered in time are worth nothing to the one who has them: their places go to others.
    pub(super) fn expire_grants(&mut self, now: Now) {
        self.giving.wake = self.giving.wake.filter(|at| *at > now);
        for b in self.blobs.values_mut() {
            let size = b.geometry.chunk_size();
            for (peer, link) in &mut b.links {
                let (lane, Some(taker)) = (self.giving.lane(link.local), &mut link.taker) else { continue };
                let distance = self.peers.get(peer).map_or(Duration::ZERO, Holder::distance);
                let patience = lane.patience().max(distance * 2 + limits::GRANT_PATIENCE);
                let old = |grant: &Grant| now.saturating_sub(grant.since) > patience;
                while taker.grants.front().is_some_and(old)
                    && let Some(grant) = taker.grants.pop_front()
                {
                    taker.live -= grant.count;
                    lane.granted = lane.granted.saturating_sub(u64::from(grant.count) * size);
                    taker.pause_until = now + patience;
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

    /// Who does not read what it asked for holds no place of our uplink: others are given it. What it asked for goes out when it
    /// reads on, and until then it is offered nothing.
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

    /// A taker is gone, with all it was granted and had asked for.
    pub(super) fn forget_taker(&mut self, peer: PeerKey, blob: BlobKey, now: Now) {
        let Some(b) = self.blobs.get_mut(&blob) else { return };
        let size = b.geometry.chunk_size();
        let Some(link) = b.links.get_mut(&peer) else { return };
        let (lane, Some(taker)) = (self.giving.lane(link.local), link.taker.take()) else { return };
        lane.granted = lane.granted.saturating_sub(u64::from(taker.live) * size);
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

impl Taker {
    /// A grant was not answered in time. What it promised is so for a while yet: the answer is most likely on its way, and who
    /// were promised the same would have it leave us twice.
    fn is_late(&mut self, grant: Grant, mut seed: Option<&mut Seed>) {
        self.late.push_back(grant);
        let mut kept: u32 = self.late.iter().map(|grant| grant.count).sum();
        while kept > limits::LATE_GRANTS as u32
            && let Some(mut grant) = self.late.pop_front()
        {
            kept -= grant.count;
            self.oldest = self.oldest.saturating_add(grant.count);
            grant.release(seed.as_deref_mut());
        }
    }

    /// Answers `count` granted chunks, oldest first. Yields the last of these grants; none if there were none, not even late
    /// ones. `heard` is the time at which the taker's answer came, if it has answered itself.
    fn answered(
        &mut self,
        mut count: u32,
        size: u64,
        lane: &mut Lane,
        mut seed: Option<&mut Seed>,
        heard: Option<Now>,
    ) -> Option<AnsweredGrant> {
        let oldest = count.min(self.oldest);
        self.oldest -= oldest;
        count -= oldest;
        let mut given =
            (oldest > 0).then_some(AnsweredGrant { since: heard.unwrap_or_default(), late: true });
        for (grants, live) in [(&mut self.late, false), (&mut self.grants, true)] {
            while count > 0
                && let Some(grant) = grants.front_mut()
            {
                let part = count.min(grant.count);
                // A late answer tells nothing of the distance: whoever keeps grants would seem to be far away.
                if live && let Some(now) = heard {
                    lane.answered(grant.since, now);
                }
                grant.count -= part;
                count -= part;
                given = Some(AnsweredGrant { since: grant.since, late: !live });
                if live {
                    lane.granted = lane.granted.saturating_sub(u64::from(part) * size);
                    self.live -= part;
                }
                grant.release(seed.as_deref_mut());
                if grant.count == 0 {
                    grants.pop_front();
                }
            }
        }
        let free = count.min(self.free);
        self.free -= free;
        given.or((free > 0).then_some(AnsweredGrant { since: heard.unwrap_or_default(), late: false }))
    }
}

/// Chunks that may be on their way out at once.
const fn slots(seed: Option<&Seed>) -> u64 {
    if seed.is_some() { limits::SEED_SLOTS } else { limits::UPLOAD_SLOTS }
}

/// The taker for the next place: of two at random, the one that has no grant yet, else has less (two choices spread well,
/// and nobody herds).
fn choose(
    b: &super::BlobSchedule,
    local: bool,
    places: u64,
    now: Now,
    random: &mut Random,
    among: impl Fn(&PeerKey) -> bool,
) -> Option<PeerKey> {
    let open = |most: u32| {
        let takers = b.links.iter().filter(|(peer, link)| link.local == local && among(peer));
        takers
            .filter_map(|(peer, link)| Some((*peer, link.taker.as_ref()?)))
            .filter(move |(_, taker)| taker.is_open(now, most))
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
