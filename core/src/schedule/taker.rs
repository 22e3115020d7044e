//! One taker of a blob, with the grants that it was given and how it answers them.

use std::collections::VecDeque;
use std::time::Duration;

use super::Now;
use super::super_seeding::Seed;
use super::uplink::Lane;
use crate::content::bitmap::Bitmap;
use crate::limits;

/// One peer that takes a blob from this node.
#[derive(Debug)]
pub(super) struct Taker {
    /// Chunks that the taker has, or is being sent, or would not take from this node.
    pub(super) taken: Bitmap,
    /// Number of chunks that are here and that the taker would take.
    pub(super) useful: u32,
    /// True if the taker has said which chunks it would take.
    pub(super) known: bool,
    /// Grants that the taker has not answered.
    pub(super) grants: VecDeque<Grant>,
    pub(super) live: u32,
    /// Grants not answered in time. Their places were given away, but the next answer is for these.
    pub(super) late: VecDeque<Grant>,
    /// Number of chunks of still older grants, which are answered before all others.
    oldest: u32,
    /// Requests that the taker may make without a grant.
    free: u32,
    /// Number of chunks that the taker has requested and that are not yet sent.
    pub(super) asked: u32,
    /// Time when such a chunk was last sent, or the first of them was requested.
    pub(super) progress: Now,
    /// True if the taker has requested a chunk. Takers that have not share a half of the lane.
    pub(super) has_asked: bool,
    /// True if the taker let its last grants wait: it is offered one place at a time.
    pub(super) ignores: bool,
    /// True if the taker reads along: then it is offered chunks in order.
    pub(super) reads: bool,
    /// True if the taker does not read the bytes sent to it: see `Scheduler::pass_over_stuck`.
    pub(super) stuck: bool,
    pub(super) pause_until: Now,
    /// Time when the taker last gained a chunk, from any peer.
    pub(super) moved: Now,
    /// Number of chunks that the taker has said to have gained.
    pub(super) gained: u32,
    /// Number of chunks sent to the taker.
    pub(super) sent: u32,
}

/// A grant that was answered.
pub(super) struct AnsweredGrant {
    /// Time of the grant.
    pub(super) since: Now,
    /// True if the place of the grant had been given to another taker.
    pub(super) late: bool,
}

/// An offered place of the uplink.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) since: Now,
    /// Number of chunks that the grant is for.
    pub(super) count: u32,
    /// The first copy that the grant is for, which is promised until there is an answer.
    pub(super) hint: Option<u32>,
}

impl Grant {
    /// Ends the promise of the first copy.
    pub(super) fn release(&mut self, seed: Option<&mut Seed>) {
        if let (Some(seed), Some(chunk)) = (seed, self.hint.take()) {
            seed.shift(chunk, -1);
        }
    }
}

impl Taker {
    /// Returns a taker that needs all of the `useful` chunks that are here, until it says what it needs. It
    /// is offered nothing `until` some time.
    pub(super) fn new(chunks: u32, useful: u32, until: Now) -> Self {
        Self {
            taken: Bitmap::new(chunks),
            useful,
            known: false,
            grants: VecDeque::new(),
            live: 0,
            late: VecDeque::new(),
            oldest: 0,
            // A single chunk is requested at once, because it proves what the blob is.
            free: u32::from(chunks == 1),
            asked: 0,
            progress: Duration::ZERO,
            has_asked: false,
            ignores: !until.is_zero(),
            reads: false,
            stuck: false,
            pause_until: until,
            moved: Duration::ZERO,
            gained: 0,
            sent: 0,
        }
    }

    pub(super) const fn load(&self) -> u32 {
        self.live + self.asked
    }

    /// Returns true if the taker could use one more grant.
    pub(super) fn is_open(&self, now: Now, most: u32) -> bool {
        let may_wait = !self.ignores || self.live == 0;
        self.useful > self.live && now >= self.pause_until && self.load() < most && may_wait && !self.stuck
    }
}

impl Taker {
    /// Records a request of the taker, which has proven with its first one that it uses places.
    pub(super) fn is_no_newcomer(&mut self, size: u64, lane: &mut Lane, now: Now) {
        if !std::mem::replace(&mut self.has_asked, true) {
            let live = u64::from(self.live) * size;
            lane.grants_end(live, true);
            lane.grants(live, false);
        }
        lane.used = Some(now);
    }

    /// Records that a grant was not answered in time. Its promise holds for a while: the answer is most
    /// likely on its way, and a second promise of that chunk would let it leave this node twice.
    pub(super) fn is_late(&mut self, grant: Grant, mut seed: Option<&mut Seed>) {
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

    /// Answers `count` granted chunks, oldest first. Returns the last of these grants, or `None` if there was
    /// not even a late one. `heard` is the time of the taker's answer, if it has answered itself.
    pub(super) fn answered(
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
                // A late answer tells nothing of the distance: a taker that keeps grants would seem to be far
                // away.
                if live && let Some(now) = heard {
                    lane.answered(grant.since, now);
                }
                grant.count -= part;
                count -= part;
                given = Some(AnsweredGrant { since: grant.since, late: !live });
                if live {
                    lane.grants_end(u64::from(part) * size, !self.has_asked);
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
