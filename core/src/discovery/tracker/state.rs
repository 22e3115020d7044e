//! State of one tracker: its link, what it was told and asked, and when it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::conn::TrackerLink;
use super::ledger::Ledger;
use crate::wire::tracker::{SwarmKey, TrackerAnswer};

/// Range of seconds between two announcements that a tracker may ask for, while there is no news.
const INTERVAL: (u32, u32) = (15, 3600);
/// Range of seconds between two announcements that a tracker may ask for in the long run, while there is
/// news.
pub(super) const PAUSE: (u32, u32) = (1, 60);
/// First pause before a tracker that cannot be reached is tried again.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between tries while something is wanted; the pause doubles up to it.
const RETRY_WANTING: Duration = Duration::from_secs(10);
/// Longest pause between tries while nothing is wanted.
const RETRY_IDLE: Duration = Duration::from_secs(60);

/// One tracker.
#[derive(Debug)]
pub(super) struct TrackerState {
    pub(super) number: u64,
    pub(super) address: Multiaddr,
    /// Name that all nodes use for the tracker, as in [`name_of`](super::choice::name_of).
    pub(super) name: String,
    /// Swarms that the tracker is told of, if only links named it; `None` for a configured tracker.
    pub(super) only: Option<BTreeSet<SwarmKey>>,
    pub(super) link: TrackerLink,
    pub(super) ledger: Ledger,
    /// True while an announcement waits for its answer.
    pub(super) waits: bool,
    /// Time of the next announcement, whether or not there is news.
    pub(super) renew: Instant,
    /// Time before which a tracker that could not be reached is not tried again.
    pub(super) retry: Option<Instant>,
    pub(super) fails: u32,
    pub(super) error: Option<String>,
    pub(super) pause: Duration,
    /// Time at which all announcements so far would have been made at the tracker's pace.
    pub(super) paid: Instant,
    /// Our addresses, as the tracker was told.
    pub(super) told_addrs: Vec<Vec<u8>>,
    /// Peer id that the tracker has proven.
    pub(super) proven: Option<PeerId>,
    /// True if the tracker refuses entries: it gets no news before the next regular announcement.
    pub(super) full: bool,
    /// Swarms that the tracker was asked about, with the time of the last question and the number of
    /// questions.
    pub(super) asked: BTreeMap<SwarmKey, (Instant, u32)>,
    /// Members, and members that hold everything, by swarm, as the tracker counts them.
    pub(super) counts: BTreeMap<SwarmKey, (u64, u64)>,
    pub(super) answered: bool,
}

impl TrackerState {
    pub(super) fn failed(&mut self, reason: String, wanting: bool, now: Instant) {
        self.ledger.give_up();
        let most = if wanting { RETRY_WANTING } else { RETRY_IDLE };
        let pause = (RETRY_FIRST * (1 << self.fails.min(10))).min(most);
        // Nodes that lost their tracker together must not all come back together.
        let jitter = pause / 2 * rand(self.number, now) / 256;
        self.fails += 1;
        self.error = Some(reason);
        self.retry = Some(now + pause - jitter);
        // The questions were not answered.
        self.asked.clear();
        self.told_addrs.clear();
    }

    pub(super) fn reached(&mut self, answer: &TrackerAnswer, now: Instant) {
        (self.fails, self.retry, self.error) = (0, None, None);
        self.answered = true;
        self.pause = Duration::from_secs(answer.pause.clamp(PAUSE.0, PAUSE.1).into());
        let interval = Duration::from_secs(answer.interval.clamp(INTERVAL.0, INTERVAL.1).into());
        self.renew = now + interval - interval / 8 * rand(self.number, now) / 256;
        self.full = answer.refused.is_some();
        if let Some(reason) = &answer.refused {
            self.error = Some(crate::content::path::escape(reason));
        }
    }

    pub(super) fn state(&self) -> String {
        let (members, whole) = self
            .counts
            .values()
            .fold((0_u64, 0_u64), |sum, n| (sum.0.saturating_add(n.0), sum.1.saturating_add(n.1)));
        match (&self.error, self.answered) {
            (Some(error), _) => error.clone(),
            (None, false) => "no answer yet".to_owned(),
            (None, true) if self.counts.is_empty() => "announced".to_owned(),
            // We are one of the members ourselves.
            (None, true) => match members.saturating_sub(1) {
                0 => "nobody else has announced it".to_owned(),
                others => format!("{others} others, {whole} of them with everything"),
            },
        }
    }
}

/// Returns a number from 0 to 255 that differs from node to node and from time to time. It is not secret.
pub(super) fn rand(number: u64, now: Instant) -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one((number, now)) & 0xff) as u32
}
