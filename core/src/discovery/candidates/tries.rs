//! Limits on the dials to one machine that others cause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;

use super::AddressSource;
use crate::limits;
use crate::net::address::endpoint_on_link;

/// Reason for which a machine is dialled; each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Because {
    /// The local network or an earlier run named the machine.
    Neighbour,
    /// The machine is a relay through which a peer is said to be reached.
    Relay,
    /// A stranger named the machine.
    Stranger,
}

/// Machine that is dialled for a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Machine {
    ip: IpAddr,
    because: Because,
}

impl Machine {
    /// Returns the machine that a dial to this address reaches: for a relayed address the relay. `None` if
    /// our owner or a link named it, so that the dial is nobody else's doing.
    pub(super) fn of(addr: &Multiaddr, source: AddressSource) -> Option<Self> {
        if matches!(source, AddressSource::Given | AddressSource::Link) {
            return None;
        }
        let end = endpoint_on_link(addr)?;
        let because = match source {
            _ if end.relayed => Because::Relay,
            source if source.is_hearsay() => Because::Stranger,
            _ => Because::Neighbour,
        };
        Some(Self { ip: end.ip, because })
    }

    /// Returns how many dials may be in progress and have failed lately.
    pub(super) const fn limit(self) -> usize {
        match self.because {
            Because::Neighbour => limits::DIALS_PER_NEIGHBOUR,
            Because::Relay => limits::DIALS_PER_RELAY,
            Because::Stranger => limits::DIALS_PER_ADDR,
        }
    }

    const fn window(self) -> Duration {
        match self.because {
            Because::Neighbour | Because::Relay => limits::DIAL_NEIGHBOUR_WINDOW,
            Because::Stranger => limits::DIAL_IP_WINDOW,
        }
    }
}

/// Times of recent dials that led to no session.
#[derive(Debug, Default)]
pub(super) struct Tries(BTreeMap<Machine, VecDeque<Instant>>);

impl Tries {
    /// Counts the recent failures of each machine.
    pub(super) fn recent(&self, now: Instant) -> BTreeMap<Machine, usize> {
        let count = |(machine, times): (&Machine, &VecDeque<Instant>)| {
            let recent = |time: &&Instant| now.saturating_duration_since(**time) < machine.window();
            (*machine, times.iter().filter(recent).count())
        };
        self.0.iter().map(count).collect()
    }

    /// Records a dial that led to no session with any of these machines. The machine whose last failure is
    /// oldest is forgotten if there are too many.
    pub(super) fn failed(&mut self, machines: BTreeSet<Machine>, now: Instant) {
        for machine in machines {
            let times = self.0.entry(machine).or_default();
            times.push_back(now);
            if times.len() > machine.limit() {
                times.pop_front();
            }
        }
        while self.0.len() > limits::DIAL_QUEUE {
            let oldest = self.0.iter().min_by_key(|(_, times)| times.back()).map(|(machine, _)| *machine);
            oldest.map(|machine| self.0.remove(&machine));
        }
    }

    /// Forgets the failures of the machine at this address.
    pub(super) fn succeeded(&mut self, addr: &Multiaddr) {
        let Some(end) = endpoint_on_link(addr) else { return };
        self.0.retain(|machine, _| machine.ip != end.ip);
    }
}
