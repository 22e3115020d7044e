//! Asking around: who finds nobody that has what it wants asks those it knows to ask those they know, and is introduced to
//! whoever has it.
//!
//! A node that is told of a single other one, in a network that multicast does not cross, thereby finds all that this one's
//! neighbours have. The question goes two steps and no further, and only while nobody is known to have any of it: it costs a
//! message for each neighbour, whatever the network's size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::id::ContentId;
use crate::limits;
use crate::schedule::PeerKey;

/// How long a question is put to whoever comes along.
pub(super) const SEEK_FOR: Duration = Duration::from_secs(20);
/// We ask others to ask around so often, and first when we have found nobody for a second or two.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// A new want may be found by itself within this time.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// The same is not looked for again before.
const SEEK_AGAIN: Duration = Duration::from_secs(10);
/// Neighbours worth dialling meanwhile.
const ROOM: usize = 16;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    open: BTreeMap<ContentId, Seek>,
    /// What was looked for lately, and until when it is not looked for again.
    past: BTreeMap<ContentId, Instant>,
    /// What we look for ourselves, and when others are asked about it next.
    own: BTreeMap<ContentId, Instant>,
    /// Times at which others were asked about something lately: they look for so much at once on our behalf.
    asked: VecDeque<Instant>,
}

#[derive(Debug)]
struct Seek {
    until: Instant,
    /// Who had us look.
    by: PeerKey,
    asked: BTreeSet<PeerKey>,
    found: BTreeSet<PeerKey>,
}

impl Seeking {
    /// Chooses what to ask others about now, of what we want and nobody is known to have: no more at once than they look for, and
    /// what they were not asked about for longest. To be called once a second.
    pub(super) fn own(&mut self, lacking: &[ContentId], now: Instant) -> Vec<ContentId> {
        let wanted: BTreeSet<ContentId> = lacking.iter().copied().collect();
        self.own.retain(|id, _| wanted.contains(id));
        for id in wanted {
            self.own.entry(id).or_insert(now + FIRST_AFTER);
        }
        // They count longer than we: their clocks began later.
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

    /// Somebody asks us to look for this, and we have not got it.
    pub(super) fn begin(&mut self, id: ContentId, by: PeerKey, now: Instant) {
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

    /// Others are worth finding for this: how many.
    pub(super) fn room(&self, connected: usize) -> usize {
        if self.open.is_empty() { 0 } else { ROOM.saturating_sub(connected) }
    }

    /// Whom to ask for what now. `wants` tells who wants it himself: such a peer is not asked, and what nobody wants any
    /// longer is not looked for.
    pub(super) fn due(
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

    /// A peer says that it has this. False when it was not asked, or enough have said so.
    pub(super) fn found(&mut self, peer: PeerKey, id: ContentId) -> bool {
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
