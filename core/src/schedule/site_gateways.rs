//! Who fetches what across the border of a site, so that each byte crosses it once.
//!
//! Nodes of one site that know a holder outside are *candidates*; the first few of them, in an order drawn by lot, are the
//! *gateways* (rendezvous hashing, Thaler and Ravishankar 1998). Every chunk has one gateway as its importer: the others
//! wait until a neighbour has it. Candidates make themselves known by a beat that neighbours pass on; one whose beat stops
//! is forgotten and its chunks have another importer at once. A gateway with nothing left of its own helps with what
//! nobody near has, one rank after the other.
//!
//! A beat says how old it is, and nobody passes on one that is too old: else what one has forgotten another would tell it
//! again, for ever. Beats are claims: whoever has waited in vain for long imports for itself, whoever was elected.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Now;
use crate::content::bitmap::Bitmap;
use crate::limits;

/// A candidate's name within its site.
pub type Tag = u64;

/// A candidate makes itself known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Its name.
    pub tag: Tag,
    /// Grows with every beat.
    pub number: u32,
    /// It knows a holder outside that has all of the blob: others' chunks are not to be had everywhere.
    pub whole: bool,
    /// How long ago it was made, the time it travelled aside.
    pub age: Duration,
}

impl Beat {
    /// How old it is `now` that was heard `at`.
    fn age_at(&self, at: Now, now: Now) -> Duration {
        self.age + now.saturating_sub(at)
    }
}

/// The number of a beat grows by one in this time: less than from one beat to the next.
const BEAT_NUMBER: Duration = Duration::from_millis(100);

/// What a node sees of a blob it fetches.
pub(super) struct SiteView<'a, Near: Fn(u32) -> bool> {
    /// What is wanted and can be had outside the site: who knows of any is a candidate.
    pub(super) outside: &'a Bitmap,
    /// Of one who has all.
    pub(super) whole: bool,
    /// Whether somebody near has a chunk or is sent it.
    pub(super) near: Near,
    /// Chunks that are not here yet.
    pub(super) missing: u32,
    /// Bytes of a chunk.
    pub(super) size: u64,
    /// Neighbours of our site.
    pub(super) neighbours: u32,
}

/// The gateways of our site for one blob, as far as we know.
#[derive(Debug)]
pub(super) struct Border {
    me: Tag,
    since: Option<Now>,
    /// The last beat of each and when it was heard.
    candidates: BTreeMap<Tag, (Beat, Now)>,
    /// Our beat, while we are a candidate.
    beat: Option<(u32, Now)>,
    gateways: Vec<Tag>,
    /// Chunks that are ours to import: those of which at most `rank` other gateways come before us.
    mine: Bitmap,
    rank: u32,
    /// Since when we have nothing of our own to ask for, and how many chunks nobody near had then.
    idle: Option<(Now, usize)>,
    /// The fewest chunks we ever missed, and since when: without any progress for long we import for ourselves.
    progress: (u32, Now),
    alone: Option<Now>,
    /// `mine` has changed since somebody asked.
    moved: bool,
    /// Neighbours are to be told of new beats.
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

    /// What may be asked of a holder outside the site.
    pub(super) const fn mine(&self) -> &Bitmap {
        &self.mine
    }

    /// Whether what is ours has changed since the last call.
    pub(super) const fn take_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// Chunks we may be owed from outside: our share of what keeps the site's line busy, while holders of so many `sites` are
    /// known, whose lines may be busier than ours.
    /// Who imports for itself takes little at a time: the line may only be slow.
    pub(super) fn share(&self, sites: usize) -> u64 {
        if self.alone.is_some() {
            return 1;
        }
        let all = limits::IMPORT_CHUNKS * sites.clamp(1, limits::IMPORT_SITES) as u64;
        all.div_ceil(self.gateways.len().max(1) as u64)
    }

    /// Beats, forgets who does not, and looks whether it is time to help.
    pub(super) fn tick(&mut self, me: Tag, view: &SiteView<'_, impl Fn(u32) -> bool>, now: Now) {
        self.since.get_or_insert(now);
        self.me = me;
        let SiteView { outside, whole, .. } = view;
        if !outside.is_empty() && self.beat.is_none_or(|(_, at)| now >= at + limits::GATEWAY_BEAT) {
            // By the clock: who stops to fetch and begins again goes on from where it was.
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

    /// Takes in what a neighbour knows.
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
        // Who is elected is looked up at the next tick: a crowd of beats costs one division, not one each.
    }

    /// The candidates, first those that can have everything, else by lot.
    fn ranked(&self) -> Vec<Beat> {
        let mut ranked: Vec<Beat> = self.candidates.values().map(|(beat, _)| *beat).collect();
        ranked.sort_unstable_by_key(|beat| (!beat.whole, mix(beat.tag), beat.tag));
        ranked
    }

    /// What neighbours are told, if there is anything new. While the first gateways are being found there is no time to
    /// lose; later all news of a while travel together.
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
        // Where some can have everything, the others wait.
        let same = |beat: &&Beat| beat.whole == ranked[0].whole;
        let gateways: Vec<Tag> =
            ranked.iter().filter(same).take(limits::GATEWAYS).map(|beat| beat.tag).collect();
        if gateways != self.gateways {
            self.gateways = gateways;
            (self.rank, self.idle) = (0, None);
            self.divide();
        }
    }

    /// Our chunks: those of which at most `rank` other gateways come before us.
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

    /// Where nothing has come for long that could be had outside, those who should import it do not, and we do.
    fn despair(&mut self, view: &SiteView<'_, impl Fn(u32) -> bool>, now: Now) {
        if view.missing < self.progress.0 || view.outside.is_empty() {
            self.progress = (view.missing.min(self.progress.0), now);
        }
        // On a thin line a chunk takes its time, and more so when each gateway fetches one. And not all despair at once, but
        // one after the other: the first may bring it in for the others.
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

    /// With nothing of our own left to ask for, and no chunk coming near that nobody near had: one rank more, each time we
    /// have waited. When all gateways fail, any candidate may import.
    fn help(&mut self, outside: &Bitmap, near: impl Fn(u32) -> bool, now: Now) {
        if self.gateways.is_empty() || outside.is_empty() || outside.and(&self.mine).count() > 0 {
            self.idle = None;
            return;
        }
        let lacking = outside.iter().filter(|c| !near(*c)).count();
        if lacking == 0 || self.idle.is_none_or(|(_, before)| lacking < before) {
            self.idle = Some((now, lacking));
            return;
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

/// Spreads the bits of a number (the finisher of SplitMix64).
const fn mix(x: u64) -> u64 {
    let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
