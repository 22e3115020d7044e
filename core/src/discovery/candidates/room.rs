//! Places of candidates: each kind of source has a share of the table, and on the local network each machine.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::{AddressSource, Candidate, Candidates, DialState, Name};
use crate::limits;
use crate::net::address::host_of;

/// Places that hearsay, and places that the local network may take of candidates of other kinds.
const HALF: usize = limits::DIAL_QUEUE / 2;

impl Candidate {
    /// Removes an address to make room for another: the last one of the machine that has most.
    pub(super) fn drop_address(&mut self) {
        let host = |at: usize| self.addrs.get(at).and_then(|(addr, _)| host_of(addr));
        let share = |at: &usize| (0..self.addrs.len()).filter(|other| host(*other) == host(*at)).count();
        if let Some(at) = (0..self.addrs.len()).max_by_key(share) {
            self.addrs.remove(at);
        }
    }

    fn is_idle(&self) -> bool {
        self.state == DialState::Idle
    }

    fn is_lan(&self) -> bool {
        self.source == AddressSource::Lan
    }

    fn is_at(&self, host: IpAddr) -> bool {
        self.addrs.iter().any(|(addr, _)| host_of(addr) == Some(host))
    }
}

impl Candidates {
    /// Makes room for one more candidate at this host; false if there is none. Hearsay gets half of the
    /// places. The local network gets half, and its newcomers always have a place.
    pub(super) fn make_room(&mut self, source: AddressSource, host: IpAddr) -> bool {
        if source == AddressSource::Lan {
            self.make_room_at(host);
        }
        let count = |is: fn(&Candidate) -> bool| self.candidates.values().filter(|c| is(c)).count();
        let hearsay = count(|c| c.source.is_hearsay());
        let lan = count(Candidate::is_lan);
        let full = self.candidates.len() >= limits::DIAL_QUEUE
            || (source.is_hearsay() && hearsay >= HALF)
            || (source == AddressSource::Lan && lan >= HALF);
        if !full {
            return true;
        }
        let removed = match source {
            AddressSource::Lan if lan >= HALF => self.remove_stalest_neighbour(None),
            _ if source.is_hearsay() && hearsay >= HALF => self.remove_stalest_hearsay(),
            _ => self.remove_stalest_hearsay() || (lan > HALF && self.remove_stalest_neighbour(None)),
        };
        removed || (!source.is_hearsay() && self.candidates.len() < 2 * limits::DIAL_QUEUE)
    }

    /// Keeps the candidates of one neighbour to a few, unless peers there take part in sessions.
    fn make_room_at(&mut self, host: IpAddr) {
        let there: Vec<&Candidate> =
            self.candidates.values().filter(|c| c.is_lan() && c.is_at(host)).collect();
        let unproved = there.iter().filter(|c| !c.proved).count();
        let reached = there.iter().any(|c| c.proved);
        if unproved >= limits::LAN_UNTRIED_PER_HOST && !reached {
            self.remove_stalest_neighbour(Some(host));
        }
    }

    fn remove_stalest_hearsay(&mut self) -> bool {
        let hearsay = self.candidates.iter().filter(|(_, c)| c.is_idle() && c.source.is_hearsay());
        let stalest = hearsay.min_by_key(|(_, c)| (c.fails == 0, c.next)).map(|(name, _)| name.clone());
        self.remove(stalest)
    }

    /// Removes the idle candidate of the local network, or of one host of it, that has failed most and was
    /// heard longest ago.
    fn remove_stalest_neighbour(&mut self, host: Option<IpAddr>) -> bool {
        let here = |c: &Candidate| c.is_idle() && c.is_lan() && host.is_none_or(|host| c.is_at(host));
        let neighbours = self.candidates.iter().filter(|(_, c)| here(c));
        let stalest = neighbours.min_by_key(|(_, c)| (c.proved, Reverse(c.fails), c.heard));
        let stalest = stalest.map(|(name, _)| name.clone());
        self.remove(stalest)
    }

    fn remove(&mut self, name: Option<Name>) -> bool {
        name.is_some_and(|name| self.candidates.remove(&name).is_some())
    }
}
