//! Asking around: a node that finds no holder of what it wants asks its neighbours to ask theirs, and they
//! introduce it to the holders they find.
//!
//! A node that knows a single other one, in a network that multicast does not cross, thereby finds everything
//! that this node's neighbours hold. The question goes two steps and no further, and only while no holder is
//! known. It costs one message for each neighbour, whatever the network's size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::id::ContentId;
use crate::limits::{self, SEEK_FOR};
use crate::schedule::PeerKey;

/// Time between two requests to others to ask around for the same content.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// Time that a new want has to be satisfied without asking around.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// Time after a search during which the same content is not searched for again.
const SEEK_AGAIN: Duration = Duration::from_secs(10);
/// Connections up to which further neighbours are worth dialling during a search.
const ROOM: usize = 16;

/// Searches on behalf of peers, and requests for searches of our own.
#[derive(Debug, Default)]
pub(crate) struct Seeking {
    open: BTreeMap<ContentId, Seek>,
    /// Contents searched for lately, and the times until which they are not searched for again.
    past: BTreeMap<ContentId, Instant>,
    /// Contents we want, and the times at which others are asked to search for them next.
    own: BTreeMap<ContentId, Instant>,
    /// Times of our recent requests: others search for a limited number of contents at once on our behalf.
    asked: VecDeque<Instant>,
}

#[derive(Debug)]
struct Seek {
    until: Instant,
    /// Peer that asked for the search.
    by: PeerKey,
    asked: BTreeSet<PeerKey>,
    found: BTreeSet<PeerKey>,
}

impl Seeking {
    /// Chooses the contents to ask others about now, among those we want without a known holder. Chooses no
    /// more at once than others search for, the least recently asked ones first. To be called once a second.
    pub(crate) fn own(&mut self, lacking: &[ContentId], now: Instant) -> Vec<ContentId> {
        let wanted: BTreeSet<ContentId> = lacking.iter().copied().collect();
        self.own.retain(|id, _| wanted.contains(id));
        for id in wanted {
            self.own.entry(id).or_insert(now + FIRST_AFTER);
        }
        // Others count longer than we do, because their clocks began later.
        while self.asked.front().is_some_and(|at| now >= *at + SEEK_FOR + FIRST_AFTER) {
            self.asked.pop_front();
        }
        let mut due: Vec<(Instant, ContentId)> =
            self.own.iter().filter(|(_, at)| now >= **at).map(|(id, at)| (*at, *id)).collect();
        due.sort_unstable();
        due.truncate(limits::SEEKS_PER_PEER.saturating_sub(self.asked.len()));
        for (_, id) in &due {
            self.own.insert(*id, now + ASK_AGAIN);
            self.asked.push_back(now);
        }
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// Begins a search that a peer asked for, unless there are too many or there was one lately.
    pub(crate) fn begin(&mut self, id: ContentId, by: PeerKey, now: Instant) {
        self.past.retain(|_, until| now < *until);
        let full = self.open.len() >= limits::SEEKS
            || self.open.values().filter(|seek| seek.by == by).count() >= limits::SEEKS_PER_PEER;
        if self.past.len() >= 4 * limits::SEEKS {
            self.past.pop_first();
        }
        if !full && !self.past.contains_key(&id) {
            let none = BTreeSet::new;
            let new = || Seek { until: now + SEEK_FOR, by, asked: none(), found: none() };
            self.open.entry(id).or_insert_with(new);
        }
    }

    /// Returns how many more peers are worth finding for the searches.
    pub(crate) fn room(&self, connected: usize) -> usize {
        if self.open.is_empty() { 0 } else { ROOM.saturating_sub(connected) }
    }

    /// Chooses which peers to ask about which content now. `wants` returns the peers that want a content:
    /// these are not asked, and a search for content that nobody wants any longer ends.
    pub(crate) fn due(
        &mut self,
        peers: &[PeerKey],
        wants: impl Fn(ContentId) -> BTreeSet<PeerKey>,
        now: Instant,
    ) -> Vec<(PeerKey, ContentId)> {
        let mut due = Vec::new();
        let past = &mut self.past;
        self.open.retain(|id, seek| {
            let wanters = wants(*id);
            if now >= seek.until || wanters.is_empty() || seek.found.len() >= limits::EXCHANGE_PEERS {
                past.insert(*id, now + SEEK_AGAIN);
                return false;
            }
            let new = peers.iter().filter(|peer| !wanters.contains(peer) && seek.asked.insert(**peer));
            due.extend(new.map(|peer| (*peer, *id)));
            true
        });
        due
    }

    /// Records that a peer holds this content. False if the peer was not asked or enough peers were found.
    pub(crate) fn found(&mut self, peer: PeerKey, id: ContentId) -> bool {
        let Some(seek) = self.open.get_mut(&id) else { return false };
        seek.asked.contains(&peer) && seek.found.len() < limits::EXCHANGE_PEERS && seek.found.insert(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ContentId {
        ContentId::from_bytes([number; 32])
    }

    fn peers(numbers: &[u64]) -> Vec<PeerKey> {
        numbers.iter().copied().map(PeerKey).collect()
    }

    #[test]
    fn each_neighbour_is_asked_once_and_who_wants_it_is_not() {
        let (mut seeking, now) = (Seeking::default(), Instant::now());
        let wants = |_| BTreeSet::from([PeerKey(1)]);
        assert_eq!(seeking.room(0), 0);
        seeking.begin(id(1), PeerKey(1), now);
        assert!(seeking.room(3) > 0);
        assert_eq!(seeking.due(&peers(&[1, 2, 3]), wants, now), [(PeerKey(2), id(1)), (PeerKey(3), id(1))]);
        assert_eq!(seeking.due(&peers(&[1, 2, 3, 4]), wants, now), [(PeerKey(4), id(1))]);
        assert!(seeking.found(PeerKey(4), id(1)));
        assert!(!seeking.found(PeerKey(4), id(1)), "it has said so");
        assert!(!seeking.found(PeerKey(5), id(1)), "it was not asked");
        assert!(!seeking.found(PeerKey(4), id(2)), "nobody looks for that");
        assert!(seeking.due(&peers(&[9]), |_| BTreeSet::new(), now).is_empty(), "nobody wants it any longer");
        seeking.begin(id(1), PeerKey(1), now);
        assert_eq!(seeking.room(0), 0, "not again at once");
        seeking.begin(id(1), PeerKey(1), now + SEEK_AGAIN);
        assert!(seeking.room(0) > 0);
    }

    #[test]
    fn others_are_asked_when_nobody_turned_up_and_not_too_often() {
        let (mut seeking, start) = (Seeking::default(), Instant::now());
        let asked = |second: &u64| {
            let lacking = if *second < 40 { vec![id(1)] } else { Vec::new() };
            !seeking.own(&lacking, start + Duration::from_secs(*second)).is_empty()
        };
        assert_eq!((0..60).filter(asked).collect::<Vec<u64>>(), [1, 16, 31]);
    }

    #[test]
    fn others_are_not_asked_about_more_than_they_look_for() {
        let (mut seeking, start) = (Seeking::default(), Instant::now());
        let lacking: Vec<ContentId> = (0..20).map(id).collect();
        let mut asked: Vec<(u64, ContentId)> = Vec::new();
        for second in 0..100 {
            let due = seeking.own(&lacking, start + Duration::from_secs(second));
            asked.extend(due.into_iter().map(|id| (second, id)));
            let open = asked.iter().filter(|(at, _)| at + SEEK_FOR.as_secs() >= second).count();
            assert!(open <= limits::SEEKS_PER_PEER, "{open} in second {second}");
        }
        assert!(lacking.iter().all(|id| asked.iter().any(|(_, asked)| asked == id)), "each has its turn");
    }

    #[test]
    fn nobody_makes_us_look_for_ever_or_for_everything() {
        let (mut seeking, now) = (Seeking::default(), Instant::now());
        let wants = |_| BTreeSet::from([PeerKey(1)]);
        (0..200).for_each(|n| seeking.begin(id(n), PeerKey(u64::from(n / 20)), now));
        assert_eq!(seeking.due(&peers(&[2]), wants, now).len(), limits::SEEKS);
        assert!(seeking.due(&peers(&[3]), wants, now + SEEK_FOR).is_empty());
        assert_eq!(seeking.room(0), 0);
    }
}
