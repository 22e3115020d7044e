//! Background mode: sending and receiving give way as soon as other traffic makes the network busy.
//!
//! A queue in front of a busy link lengthens every round trip through it. This module pings the peers with
//! the most traffic; the excess of a round trip over the shortest one ever measured is the queue. A queue in
//! front of *our* link delays all peers alike, so the smallest excess counts, and a peer behind a busy link
//! of its own changes nothing. While there are peers outside the local network only these count, because the
//! others do not cross our link. Above [`Backoff::TARGET`] the rates are cut, below it they grow. This is the
//! rule of LEDBAT (RFC 6817), with round trips in place of one-way delays, as receivers must (RFC 9840), and
//! with a multiplicative cut as in LEDBAT++.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::rate::TokenBucket;
use crate::api::status::Limits;
use crate::metrics::Traffic;
use crate::schedule::PeerKey;
use crate::wire::Message;

/// Bit that marks the numbers of our pings; numbers without it belong to the node's own pings.
pub(crate) const PING: u64 = 1 << 63;
/// Peers that are pinged at once: enough to tell a busy link of theirs from a busy link of ours.
const PINGED: usize = 8;
/// Time after which an unanswered ping counts as lost.
const LOST: Duration = Duration::from_secs(5);

/// Report of a session to the measuring task.
#[derive(Debug)]
pub(crate) enum Measured {
    /// A session began; `outside` tells whether the peer is beyond this machine and its network.
    Begins { key: PeerKey, outside: bool, traffic: Arc<Traffic>, outbox: mpsc::WeakSender<Message> },
    /// A peer answered a ping.
    Pong { key: PeerKey, number: u64 },
}

struct LedbatSession {
    traffic: Arc<Traffic>,
    outside: bool,
    outbox: mpsc::WeakSender<Message>,
    /// Bytes (sent, received) at the last look.
    seen: (u64, u64),
    ping: Option<(u64, Instant)>,
}

/// Measures round trips and sets the rates of the buckets (up, down), until no session can report any more.
pub(crate) async fn run(
    mut told: mpsc::Receiver<Measured>,
    (up, down): (TokenBucket, TokenBucket),
    shown: watch::Sender<Limits>,
) {
    let start = Instant::now();
    let (mut sessions, mut backoff) = (Sessions::default(), Backoff::new());
    let mut steps = interval(Backoff::STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    up.set(Some(backoff.up.rate()));
    down.set(Some(backoff.down.rate()));
    loop {
        tokio::select! {
            heard = told.recv() => match heard {
                None => return,
                Some(Measured::Begins { key, outside, traffic, outbox }) => {
                    sessions.0.insert(key, LedbatSession { traffic, outside, outbox, seen: (0, 0), ping: None });
                    steps.reset();
                }
                Some(Measured::Pong { key, number }) => {
                    let Some(session) = sessions.0.get_mut(&key) else { continue };
                    if let Some((_, sent)) = session.ping.take_if(|(n, _)| *n == number) {
                        backoff.sample((key, session.outside), sent.elapsed(), start.elapsed());
                    }
                }
            },
            // Without sessions nothing moves.
            _ = steps.tick(), if !sessions.0.is_empty() => {
                let now = start.elapsed();
                let (sent, received) = sessions.look(&mut backoff, now);
                backoff.step(sent, received, now);
                let (may_send, may_receive) = (backoff.up.rate(), backoff.down.rate());
                up.set(Some(may_send));
                down.set(Some(may_receive));
                let queue = backoff.queue(now).map(|d| d.as_micros() as u64);
                tracing::trace!(queue, sent, may_send, received, may_receive);
                shown.send_modify(|limits| {
                    (limits.others_up, limits.others_down) = (Some(may_send), Some(may_receive));
                    limits.queue_us = queue;
                });
            }
        }
    }
}

#[derive(Default)]
struct Sessions(BTreeMap<PeerKey, LedbatSession>);

impl Sessions {
    /// Pings the sessions with the most traffic. Returns the bytes sent and received since the last look.
    fn look(&mut self, backoff: &mut Backoff, now: Duration) -> (u64, u64) {
        self.0.retain(|key, session| {
            let ended = session.outbox.upgrade().is_none();
            if ended {
                backoff.forget(*key);
            }
            !ended
        });
        let (mut up, mut down, mut busy) = (0, 0, Vec::new());
        for (key, session) in &mut self.0 {
            let moved = session.moved();
            (up, down) = (up + moved.0, down + moved.1);
            if moved != (0, 0) || session.ping.is_some() {
                busy.push((moved.0 + moved.1, *key));
            }
        }
        busy.sort_unstable_by(|a, b| b.cmp(a));
        for (_, key) in busy.into_iter().take(PINGED) {
            let Some(session) = self.0.get_mut(&key) else { continue };
            if let Some(waits) = session.ping() {
                backoff.sample((key, session.outside), waits, now);
            }
        }
        (up, down)
    }
}

impl LedbatSession {
    /// Returns the bytes (sent, received) since the last call.
    fn moved(&mut self) -> (u64, u64) {
        let before = std::mem::replace(&mut self.seen, (self.traffic.up(), self.traffic.down()));
        (self.seen.0 - before.0, self.seen.1 - before.1)
    }

    /// Sends a ping. If an earlier one is still unanswered, returns instead how long it has waited.
    fn ping(&mut self) -> Option<Duration> {
        let waits = self.ping.map(|(_, sent)| sent.elapsed()).filter(|waits| *waits < LOST);
        if waits.is_none() {
            // A random number, so that a peer cannot answer before it is asked.
            let number = PING | RandomState::new().hash_one(());
            let sent = self.outbox.upgrade().is_some_and(|to| to.try_send(Message::Ping(number)).is_ok());
            self.ping = sent.then(|| (number, Instant::now()));
        }
        waits
    }
}

/// The congestion rule. Times are relative to any fixed start.
#[derive(Debug)]
struct Backoff {
    paths: BTreeMap<PeerKey, Path>,
    up: Direction,
    down: Direction,
    /// Time of the last cut, and the time until which the rates do not grow.
    cut: Duration,
    waits: Duration,
}

/// Measurements of the path to one peer.
#[derive(Debug)]
struct Path {
    outside: bool,
    /// Shortest round trip of the current period and of the one before.
    least: [Duration; 2],
    since: Duration,
    /// Last two round trips: a single one may be a hiccup of a processor.
    recent: [Duration; 2],
    at: Duration,
}

#[derive(Debug)]
struct Direction {
    /// Bytes per second.
    rate: f64,
    /// Rate that lately caused no queue, bytes per second.
    good: f64,
}

impl Backoff {
    /// Time between changes of the rates.
    const STEP: Duration = Duration::from_millis(100);
    /// Queue delay that is still tolerated. RFC 6817 allows 100 ms; a router's queue is often shorter than
    /// that.
    const TARGET: Duration = Duration::from_millis(6);
    /// Time after which a cut is judged: a round trip through a full queue, and two samples.
    const JUDGED: Duration = Duration::from_millis(250);
    /// A queue that returns within this time after a cut was caused by other traffic too.
    const AGAIN: Duration = Duration::from_millis(1500);
    /// Time without growth after a queue that returned.
    const WAIT: Duration = Duration::from_secs(1);
    /// Time without a queue after which the network counts as free.
    const FREE: Duration = Duration::from_secs(10);
    /// Age up to which a sample counts.
    const FRESH: Duration = Duration::from_millis(500);
    /// Length of a measuring period. Paths change: the shortest round trip is forgotten after one to two
    /// periods.
    const LEAST_FOR: Duration = Duration::from_secs(120);
    /// Lowest rate, bytes per second: with less, peers would take us for dead.
    const FLOOR: f64 = 16.0 * 1024.0;
    /// Highest rate, bytes per second: more than any machine moves, so that growth ends.
    const MOST: f64 = 64.0 * 1024.0 * 1024.0 * 1024.0;
    /// Rate at the start, bytes per second.
    const START: f64 = 256.0 * 1024.0;

    fn new() -> Self {
        let direction = || Direction { rate: Self::START, good: f64::MAX };
        Self {
            paths: BTreeMap::new(),
            up: direction(),
            down: direction(),
            cut: Duration::ZERO,
            waits: Duration::ZERO,
        }
    }

    fn sample(&mut self, (peer, outside): (PeerKey, bool), took: Duration, now: Duration) {
        let fresh = || Path { outside, least: [took; 2], since: now, recent: [took; 2], at: now };
        let path = self.paths.entry(peer).or_insert_with(fresh);
        if now.saturating_sub(path.since) > Self::LEAST_FOR {
            (path.least, path.since) = ([took, path.least[0]], now);
        }
        path.least[0] = path.least[0].min(took);
        (path.recent, path.at) = ([took, path.recent[0]], now);
    }

    fn forget(&mut self, peer: PeerKey) {
        self.paths.remove(&peer);
    }

    /// Returns the queue delay that all paths have in common.
    fn queue(&self, now: Duration) -> Option<Duration> {
        let fresh = || self.paths.values().filter(|path| now.saturating_sub(path.at) < Self::FRESH);
        let outside = fresh().filter(|path| path.outside).map(Path::queue).min();
        outside.or_else(|| fresh().map(Path::queue).min())
    }

    /// Changes the rates after a step of time in which this many bytes were sent and received.
    fn step(&mut self, sent: u64, received: u64, now: Duration) {
        let since = now.saturating_sub(self.cut);
        match self.queue(now) {
            Some(queue) if queue > Self::TARGET => {
                if since >= Self::JUDGED {
                    self.cut = now;
                    let again = since < Self::AGAIN;
                    let factor = if again && queue > 2 * Self::TARGET { 0.5 } else { 0.9 };
                    self.waits = now + if again { Self::WAIT } else { Self::JUDGED };
                    self.up.cut(sent, factor, again);
                    self.down.cut(received, factor, again);
                }
            }
            _ if now < self.waits => {}
            queue => {
                let free = since >= Self::FREE;
                // Growth slows down near the target, because news of a queue come late.
                let room = 1.0 - queue.unwrap_or_default().div_duration_f64(Self::TARGET);
                self.up.grow(sent, room, free);
                self.down.grow(received, room, free);
            }
        }
    }
}

impl Path {
    fn queue(&self) -> Duration {
        let least = self.least[0].min(self.least[1]);
        self.recent[0].min(self.recent[1]).saturating_sub(least)
    }
}

impl Direction {
    fn rate(&self) -> u64 {
        self.rate as u64
    }

    /// Cuts the rate. A second cut soon after the first means that other traffic filled the queue as well:
    /// the remembered good rate then drops too, so that the rate does not return to where it was.
    fn cut(&mut self, bytes: u64, factor: f64, again: bool) {
        // The bytes that came through are the capacity that was left for us.
        let through = (bytes as f64 / Backoff::STEP.as_secs_f64()).min(self.rate);
        self.good = through * if again { factor } else { 0.95 };
        self.rate = (through.max(self.rate / 2.0) * factor).max(Backoff::FLOOR);
    }

    /// Grows the rate if it is used: an unused rate says nothing about the network.
    fn grow(&mut self, bytes: u64, room: f64, free: bool) {
        let used = bytes as f64 / Backoff::STEP.as_secs_f64();
        if used < self.rate / 2.0 {
            return;
        }
        let growth = match self.rate {
            rate if rate < self.good => 0.2,
            _ if free => 0.06,
            _ => 0.005,
        };
        self.rate = (self.rate * (1.0 + growth * room) + Backoff::FLOOR / 4.0).min(Backoff::MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of 6 MB/s with a queue of 50 ms, and a path to another peer with a busy link of its own.
    /// Transfers of others get their share first, as TCP takes what there is.
    fn share(others: impl Fn(f64) -> bool, seconds: u32) -> (f64, f64) {
        let (capacity, full) = (6e6, 0.05 * 6e6);
        let (mut backoff, mut queue) = (Backoff::new(), 0.0_f64);
        let (mut ours, mut theirs) = (0.0, 0.0);
        let mut now = Duration::ZERO;
        for _ in 0..seconds * 10 {
            now += Backoff::STEP;
            let rate = backoff.down.rate;
            // A loss-based transfer fills the queue and takes whatever the rest leaves.
            let foreign = if others(now.as_secs_f64()) { capacity - rate.min(capacity) * 0.5 } else { 0.0 };
            queue = (queue + (rate + foreign - capacity) * 0.1).clamp(0.0, full);
            if foreign > 0.0 {
                queue = queue.max(full * 0.7);
            }
            let got = rate.min(capacity) - if foreign > 0.0 { rate.min(capacity) * 0.5 } else { 0.0 };
            (ours, theirs) = (ours + got / 10.0, theirs + foreign / 10.0);
            let round_trip = Duration::from_millis(2) + Duration::from_secs_f64(queue / capacity);
            backoff.sample((PeerKey(1), true), round_trip, now);
            backoff.sample((PeerKey(2), true), round_trip + Duration::from_millis(300), now);
            backoff.step(0, (rate.min(capacity) / 10.0) as u64, now);
        }
        let all = capacity * f64::from(seconds);
        (ours / all, theirs / all)
    }

    #[test]
    fn alone_it_uses_the_link() {
        let (ours, _) = share(|_| false, 60);
        assert!(ours > 0.8, "{ours}");
    }

    #[test]
    fn others_go_first() {
        let (ours, theirs) = share(|_| true, 30);
        assert!(ours < 0.04 && theirs > 0.95, "{ours} {theirs}");
        // The other transfer comes and goes: a quarter of the time, for five seconds.
        let (ours, theirs) = share(|at| at % 20.0 >= 15.0, 100);
        assert!(ours > 0.2 && theirs > 0.92 * 0.25, "{ours} {theirs}");
    }

    #[test]
    fn a_busy_link_of_one_peer_is_not_ours() {
        let mut backoff = Backoff::new();
        for step in 1..100_u32 {
            let now = Backoff::STEP * step;
            backoff.sample((PeerKey(1), true), Duration::from_millis(u64::from(step) * 20), now);
            backoff.sample((PeerKey(2), true), Duration::from_millis(3), now);
            // A peer next to us sees no queue, whatever the link does.
            backoff.sample((PeerKey(3), false), Duration::from_micros(100), now);
            let used = backoff.up.rate / 10.0;
            backoff.step(used as u64, 0, now);
        }
        assert!(backoff.up.rate > 4.0 * Backoff::START);
        assert!((backoff.down.rate - Backoff::START).abs() < 1.0, "what is not used does not grow");
    }
}
