//! Invariants that must hold at every step, whatever goes wrong.
//!
//! * No host believes to have a chunk that it did not verify: not when it tells, sends or is done.
//! * Nobody is asked for what it has not, or twice for the same at once.
//! * No more is asked for, or waits to be sent, than the limits say.
//!
//! And at the end ([`World::verdict`]): each host that can have all chunks has them, and then no host sends
//! messages.

use std::collections::BTreeMap;

use swarm_core::content::bitmap::Bitmap;
use swarm_core::exchange::{Effect, ReceiveCommand, SendCommand};
use swarm_core::limits;
use swarm_core::schedule::PeerKey;
use swarm_core::wire::{Have, Message};

use super::host_blob::HostBlob;
use super::scenario::{Habit, Time};
use super::world::World;

/// After the last chunk, news travel and clocks run out for so long.
const CALM: f64 = 30.0;
/// Then nothing is said for so long.
const QUIET: f64 = 5.0;

/// The requests of a host that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Books {
    asked: BTreeMap<(PeerKey, u32), u64>,
    bytes: u64,
}

impl Books {
    pub(super) fn expects(&self, peer: PeerKey, chunk: u32) -> bool {
        self.asked.contains_key(&(peer, chunk))
    }

    pub(super) fn ended(&mut self, peer: PeerKey, chunk: u32) {
        self.bytes -= self.asked.remove(&(peer, chunk)).unwrap_or(0);
    }

    pub(super) fn forget(&mut self, peer: PeerKey) {
        let all: Vec<u32> = self.of(peer).map(|(chunk, _)| chunk).collect();
        all.into_iter().for_each(|chunk| self.ended(peer, chunk));
    }

    fn of(&self, peer: PeerKey) -> impl Iterator<Item = (u32, u64)> {
        self.asked.range((peer, 0)..=(peer, u32::MAX)).map(|((_, chunk), size)| (*chunk, *size))
    }

    /// Enters a request. What is wrong with it, if anything is.
    fn ask(&mut self, peer: PeerKey, chunk: u32, size: u64) -> Result<(), &'static str> {
        if self.asked.insert((peer, chunk), size).is_some() {
            return Err("asks twice for the same");
        }
        self.bytes += size;
        if self.bytes > limits::IN_FLIGHT_BYTES.max(size) {
            return Err("has asked for more than a node may");
        }
        let (count, bytes) = self.of(peer).fold((0, 0), |(n, sum), (_, size)| (n + 1, sum + size));
        if count > limits::REQUESTS_PER_PEER || bytes > limits::REQUEST_BYTES_PER_PEER + size {
            return Err("has asked one peer for more than it may");
        }
        Ok(())
    }
}

impl World {
    pub(super) fn violate(&mut self, host: usize, what: &str) {
        let at = self.now as f64 / 1e9;
        self.outcome.violation.get_or_insert_with(|| format!("after {at:.6} s host {host} {what}"));
    }

    /// Holds an effect of a host against the rules.
    pub(super) fn check(&mut self, host: usize, effect: &Effect<HostBlob>) {
        let wrong = self.wrong(host, effect);
        if let Err(what) = wrong
            && self.hosts[host].spec.habit == Habit::Honest
        {
            self.violate(host, &format!("{what}: {effect:?}"));
        }
    }

    /// A host says that it is done.
    pub(super) fn check_complete(&mut self, host: usize) {
        let h = &self.hosts[host];
        let is_full = h.have.borrow().is_full();
        if !is_full && h.spec.habit == Habit::Honest {
            self.violate(host, "believes to have all");
        }
    }

    fn wrong(&mut self, host: usize, effect: &Effect<HostBlob>) -> Result<(), &'static str> {
        let h = &mut self.hosts[host];
        let have = h.have.borrow();
        let tells = |told: &Have| {
            let told = told.clone().into_bitmap(have.len()).map_err(|_| "tells of what cannot be")?;
            if told.without(&have).is_empty() { Ok(()) } else { Err("tells of what it has not") }
        };
        match effect {
            Effect::Expect(peer, ReceiveCommand::Chunk { chunk, .. }) => {
                let size = self.geometry.chunk(*chunk).map_or(0, |c| self.geometry.size(c) as u64);
                if have.get(*chunk) {
                    return Err("asks for what it has");
                }
                h.books.ask(*peer, *chunk, size)
            }
            Effect::Expect(peer, ReceiveCommand::Cancel { chunk, .. }) => {
                h.books.ended(*peer, *chunk);
                Ok(())
            }
            Effect::Expect(peer, ReceiveCommand::Forget { .. }) => {
                h.books.forget(*peer);
                Ok(())
            }
            Effect::Send(_, Message::Have { add, .. }) => tells(add),
            Effect::Send(_, Message::Offer(offer)) => tells(&offer.have),
            Effect::Serve(_, SendCommand::Request { first, count, .. }) => {
                if (*first..*first + *count).any(|chunk| !have.get(chunk)) {
                    return Err("sends what it has not");
                }
                let chunk = self.geometry.chunk_size();
                let granted = 2 * limits::GIVE_BYTES.max(limits::SEED_SLOTS * chunk);
                // Beyond what it grants: late answers, and of a blob of one chunk the free request of each.
                let most = granted + h.sessions.len() as u64 * 2 * chunk;
                let queued = self.links.queued(host) as u64 * chunk;
                if queued > most { Err("keeps more to send than it may") } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// A request reaches the one that is asked.
    pub(super) fn check_asked(&mut self, to: usize, from: usize, chunk: u32) {
        let honest = |host: usize| self.hosts[host].spec.habit == Habit::Honest;
        if !self.calm && honest(to) && honest(from) && !self.hosts[to].have.borrow().get(chunk) {
            self.violate(from, &format!("asks host {to} for chunk {chunk}, which it has not"));
        }
    }

    /// Runs to the end: faults, then up to `grace` seconds in which everybody who can must come to have all.
    ///
    /// # Errors
    /// What did not hold.
    pub fn verdict(mut self, faults_end: f64, grace: f64) -> Result<(), String> {
        self.run_until(faults_end + grace);
        if self.outcome.violation.is_none() {
            self.check_end();
        }
        let peaceful = self.hosts.iter().all(|h| h.spec.habit == Habit::Honest);
        if self.outcome.violation.is_none() && peaceful && self.is_over() {
            let then = self.now as f64 / 1e9 + CALM;
            while self.step((then * 1e9) as Time) {}
            let before = self.outcome.messages;
            while self.step(((then + QUIET) * 1e9) as Time) {}
            if self.outcome.violation.is_none() && self.outcome.messages != before {
                self.violate(0, "or another still talks, long after all have all");
            }
        }
        self.outcome.violation.map_or(Ok(()), Err)
    }

    /// Every chunk that an honest host has, all have that want it.
    fn check_end(&mut self) {
        let mut union = Bitmap::new(self.geometry.chunks());
        for h in self.hosts.iter().filter(|h| h.alive && h.spec.habit == Habit::Honest) {
            union = union.or(&h.have.borrow());
        }
        let lacking = self.honest().find_map(|(host, h)| {
            let lacks: Vec<u32> = union.without(&h.have.borrow()).iter().collect();
            (!lacks.is_empty()).then_some((host, lacks))
        });
        if let Some((host, lacks)) = lacking {
            let h = &self.hosts[host];
            let sessions: Vec<usize> = h.sessions.keys().copied().collect();
            let waits: Vec<u32> = h.books.asked.keys().map(|(_, chunk)| *chunk).collect();
            let what =
                format!("lacks {lacks:?}, which others have; it waits for {waits:?}, knows {sessions:?}");
            self.violate(host, &what);
        }
    }
}
