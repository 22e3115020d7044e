//! The gateways of a site, which divide the chunks to fetch from outside, so that each byte crosses the
//! border once.
//!
//! Nodes of one site that know a holder outside are *candidates*. The first few of them, in an order drawn by
//! lot, are the *gateways* (rendezvous hashing, Thaler and Ravishankar 1998). Every chunk has one gateway as
//! its importer; the other nodes wait until a neighbour has it. Candidates make themselves known by beats
//! that neighbours pass on. A candidate whose beats stop is forgotten, and its chunks have another importer
//! at once. A gateway with nothing left of its own helps with chunks that nobody near has, one rank after the
//! other.
//!
//! A beat says how old it is, and nobody passes on one that is too old: otherwise nodes would tell each other
//! for ever of a candidate that each of them had forgotten. Beats are claims. A node that has waited in vain
//! for long imports for itself, whoever was elected.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Now;
use crate::content::bitmap::Bitmap;
use crate::limits;

/// The random name of a candidate within its site.
pub type Tag = u64;

/// The beat of a candidate, its sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// The tag of the candidate.
    pub tag: Tag,
    /// The number of the beat. Each beat of a candidate has a higher one.
    pub number: u32,
    /// True if the candidate knows a holder outside that has every chunk. Another candidate cannot get all
    /// chunks of its share.
    pub whole: bool,
    /// The age of the beat, without the time that it travelled.
    pub age: Duration,
}

impl Beat {
    /// Returns the age at `now` of a beat that was heard at `at`.
    fn age_at(&self, at: Now, now: Now) -> Duration {
        self.age + now.saturating_sub(at)
    }
}

/// The time in which the number of beats grows by one. It is shorter than the interval between two beats.
const BEAT_NUMBER: Duration = Duration::from_millis(100);

/// A node's view of a blob that it fetches.
pub(super) struct SiteView<'a, Near: Fn() -> Bitmap> {
    /// The chunks that are wanted and can be had outside the site. A node that knows of any is a candidate.
    pub(super) outside: &'a Bitmap,
    /// True if one holder outside has every chunk.
    pub(super) whole: bool,
    /// Returns the chunks that nodes near have or are being sent.
    pub(super) near: Near,
    /// The number of chunks that are not here yet.
    pub(super) missing: u32,
    /// The size of a chunk in bytes.
    pub(super) size: u64,
    /// The number of neighbours of this site.
    pub(super) neighbours: u32,
}

/// The gateways of this node's site for one blob, as far as it knows them.
#[derive(Debug)]
pub(super) struct Border {
    me: Tag,
    since: Option<Now>,
    /// The latest beat of each candidate, and the time when that beat was heard.
    candidates: BTreeMap<Tag, (Beat, Now)>,
    /// The number and time of this node's own beat, while it is a candidate.
    beat: Option<(u32, Now)>,
    gateways: Vec<Tag>,
    /// The chunks that this node is to import: those of which at most `rank` other gateways come before it.
    mine: Bitmap,
    rank: u32,
    /// The time since which this node has nothing of its own to request, and the number of chunks that nobody
    /// near had then.
    idle: Option<(Now, u32)>,
    /// The fewest chunks that were ever missing, and the time since which that is so. Without progress for
    /// long this node imports for itself.
    progress: (u32, Now),
    alone: Option<Now>,
    /// True if `mine` has changed since it was last asked for.
    moved: bool,
    /// True if neighbours are to be told of new beats.
    news: bool,
    told: Now,
}

impl Border {
    pub(super) fn new(chunks: u32) -> Self {
        Self {
            me: 0,
            since: None,
            candidates: BTreeMap::new(),
            beat: None,
            gateways: Vec::new(),
            mine: Bitmap::new(chunks),
            rank: 0,
            idle: None,
            progress: (u32::MAX, Duration::ZERO),
            alone: None,
            moved: false,
            news: false,
            told: Duration::ZERO,
        }
    }

    /// Returns the chunks that may be requested from a holder outside the site.
    pub(super) const fn mine(&self) -> &Bitmap {
        &self.mine
    }

    /// Returns whether [`Border::mine`] has changed since the last call.
    pub(super) const fn take_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// Returns the number of chunks that this node may be owed from outside: its share of the chunks that
    /// keep the site's line busy. `sites` is the number of other sites with known holders, whose lines may be
    /// busier than this one's. A node that imports for itself takes one at a time, because the line may only
    /// be slow.
    pub(super) fn share(&self, sites: usize) -> u64 {
        if self.alone.is_some() {
            return 1;
        }
        let all = limits::IMPORT_CHUNKS * sites.clamp(1, limits::IMPORT_SITES) as u64;
        all.div_ceil(self.gateways.len().max(1) as u64)
    }

    /// Sends a beat if it is time, forgets silent candidates, elects the gateways, and decides whether to
    /// help or to import alone.
    pub(super) fn tick(&mut self, me: Tag, view: &SiteView<'_, impl Fn() -> Bitmap>, now: Now) {
        self.since.get_or_insert(now);
        self.me = me;
        let SiteView { outside, whole, .. } = view;
        if !outside.is_empty() && self.beat.is_none_or(|(_, at)| now >= at + limits::GATEWAY_BEAT) {
            // The number follows the clock, so that a node that stops to fetch and begins again goes on from
            // its last number.
            let number = (now.as_millis() / BEAT_NUMBER.as_millis()) as u32;
            self.beat = Some((number, now));
            self.candidates.insert(me, (Beat { tag: me, number, whole: *whole, age: Duration::ZERO }, now));
            self.news = true;
        }
        self.candidates.retain(|_, (beat, at)| beat.age_at(*at, now) <= limits::GATEWAY_SILENCE);
        self.elect(now);
        self.help(outside, &view.near, now);
        self.despair(view, now);
    }

    /// Takes in the beats that a neighbour knows.
    pub(super) fn heard(&mut self, beats: &[Beat], now: Now) {
        let young = |beat: &&Beat| beat.tag != self.me && beat.age <= limits::GATEWAY_SILENCE;
        for beat in beats.iter().filter(young) {
            if self.candidates.get(&beat.tag).is_none_or(|(known, _)| beat.number > known.number) {
                self.candidates.insert(beat.tag, (*beat, now));
                self.news = true;
            }
        }
        for last in self.ranked().into_iter().skip(2 * limits::GATEWAYS) {
            self.candidates.remove(&last.tag);
        }
        // The gateways are elected at the next tick, so a crowd of beats costs one division of the chunks,
        // not one each.
    }

    /// Returns the beats of the candidates: first those that can have every chunk, then by lot.
    fn ranked(&self) -> Vec<Beat> {
        let mut ranked: Vec<Beat> = self.candidates.values().map(|(beat, _)| *beat).collect();
        ranked.sort_unstable_by_key(|beat| (!beat.whole, mix(beat.tag), beat.tag));
        ranked
    }

    /// Returns the beats to tell neighbours, if there is anything new. While the first gateways are being
    /// found, news go out at once; later all news of a while travel together.
    pub(super) fn take_news(&mut self, now: Now) -> Option<Vec<Beat>> {
        let hurry = self.since.is_none_or(|since| now.saturating_sub(since) < limits::GATEWAY_SETTLE * 2);
        if !self.news || !(hurry || now >= self.told + limits::GATEWAY_BEAT / 2) {
            return None;
        }
        (self.news, self.told) = (false, now);
        let mut beats = self.ranked();
        beats.truncate(limits::GATEWAYS);
        for beat in &mut beats {
            beat.age = self.candidates.get(&beat.tag).map_or(beat.age, |(_, at)| beat.age_at(*at, now));
        }
        Some(beats)
    }

    fn elect(&mut self, now: Now) {
        if self.since.is_none_or(|since| now.saturating_sub(since) < limits::GATEWAY_SETTLE) {
            return;
        }
        let ranked = self.ranked();
        // If some candidates can have every chunk, the others wait.
        let same = |beat: &&Beat| beat.whole == ranked[0].whole;
        let gateways: Vec<Tag> =
            ranked.iter().filter(same).take(limits::GATEWAYS).map(|beat| beat.tag).collect();
        if gateways != self.gateways {
            self.gateways = gateways;
            (self.rank, self.idle) = (0, None);
            self.divide();
        }
    }

    /// Computes this node's chunks: those of which at most `rank` other gateways come before it.
    fn divide(&mut self) {
        let n = self.mine.len();
        self.mine = if self.alone.is_some() { Bitmap::full(n) } else { Bitmap::new(n) };
        self.moved = true;
        if self.alone.is_some() || !self.gateways.contains(&self.me) {
            return;
        }
        for chunk in 0..n {
            let lot = |tag: Tag| mix(tag ^ mix(u64::from(chunk)));
            let before = self.gateways.iter().filter(|t| lot(**t) > lot(self.me)).count();
            if before as u32 <= self.rank {
                self.mine.set(chunk);
            }
        }
    }

    /// Lets this node import for itself if nothing has come for long that could be had outside: then those
    /// that should import it do not.
    fn despair(&mut self, view: &SiteView<'_, impl Fn() -> Bitmap>, now: Now) {
        if view.missing < self.progress.0 || view.outside.is_empty() {
            self.progress = (view.missing.min(self.progress.0), now);
        }
        // On a thin line a chunk takes its time, and more so when each gateway fetches one. Nodes despair one
        // after the other, not all at once: the first may bring the chunks in for the others.
        let chunk = Duration::from_micros(view.size * 1_000_000 / limits::THIN_LINE);
        let turn = (mix(self.me ^ 1) % 1000) as u32 * (view.neighbours + 1);
        let waits = chunk * limits::GATEWAYS as u32 + limits::IMPORT_DESPAIR / 1000 * turn;
        let patience = limits::IMPORT_DESPAIR + waits.min(limits::IMPORT_DESPAIR_MORE);
        let hopeless = now.saturating_sub(self.progress.1) >= patience;
        if self.alone.is_none() && hopeless {
            self.alone = Some(now);
            self.divide();
        } else if self.alone.is_some_and(|since| now.saturating_sub(since) >= limits::IMPORT_ALONE) {
            self.alone = None;
            self.divide();
        }
    }

    /// Adds a rank, after each time of waiting, if this node has nothing of its own to request and no chunk
    /// comes near that nobody near had. When all gateways fail, any candidate may import.
    fn help(&mut self, outside: &Bitmap, near: impl Fn() -> Bitmap, now: Now) {
        if self.gateways.is_empty() || outside.is_empty() || outside.and(&self.mine).count() > 0 {
            self.idle = None;
            return;
        }
        let lacking = outside.without(&near()).count();
        if lacking == 0 {
            self.idle = None;
            return;
        }
        match &mut self.idle {
            Some((_, before)) if lacking >= *before => *before = lacking,
            idle => *idle = Some((now, lacking)),
        }
        let gateway = self.gateways.contains(&self.me);
        let patience = limits::IMPORT_PATIENCE * if gateway { 1 } else { 4 };
        if self.idle.is_some_and(|(since, _)| now.saturating_sub(since) >= patience) {
            self.idle = None;
            if gateway {
                self.rank += 1;
                self.divide();
            } else {
                self.mine = Bitmap::full(self.mine.len());
                self.moved = true;
            }
        }
    }
}

/// Spreads the bits of a number (the finaliser of SplitMix64, see [`crate::random`]).
const fn mix(x: u64) -> u64 {
    let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
