//! Neighbours that were heard on the local network: a bounded table with a share for each source address, so
//! that a host that announces many peers takes no place of others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::net::multicast::LanAddress;
use crate::net::{Multiaddr, PeerId};

/// Time in which a repeated announcement is no news.
const REPEATED: Duration = Duration::from_secs(2);

/// AnnouncementEffect of an announcement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AnnouncementEffect {
    /// True if the actor should know of it.
    pub(super) is_news: bool,
    /// Peer that made room for it and that no other source names.
    pub(super) gone: Option<PeerId>,
}

#[derive(Debug)]
struct Announcement {
    heard: Instant,
    told: Instant,
    ends: Instant,
    addrs: Vec<Multiaddr>,
}

/// Peers by the source that announced them. One source cannot end what another has announced.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: BTreeMap<(LanAddress, PeerId), Announcement>,
}

impl Neighbours {
    /// Takes in an announcement from `from` that holds for `ttl`, at most [`limits::LAN_TTL`].
    pub(super) fn heard(
        &mut self,
        from: LanAddress,
        peer: PeerId,
        addrs: &[Multiaddr],
        ttl: Duration,
        now: Instant,
    ) -> AnnouncementEffect {
        let ends = now + ttl.min(limits::LAN_TTL);
        if let Some(known) = self.known.get_mut(&(from, peer)) {
            let is_news = known.addrs != addrs || now.saturating_duration_since(known.told) >= REPEATED;
            if is_news {
                known.told = now;
                known.addrs = addrs.to_vec();
            }
            (known.heard, known.ends) = (now, ends);
            return AnnouncementEffect { is_news, gone: None };
        }
        let gone = self.make_room(from);
        let new = Announcement { heard: now, told: now, ends, addrs: addrs.to_vec() };
        self.known.insert((from, peer), new);
        let gone = gone.filter(|gone| *gone != peer && !self.is_named(*gone));
        AnnouncementEffect { is_news: true, gone }
    }

    /// Makes room for one more peer of this source, and returns the peer that was removed: the one heard
    /// longest ago, of the source itself if it has its share, else of the source that has most.
    fn make_room(&mut self, from: LanAddress) -> Option<PeerId> {
        let own = self.known.keys().filter(|(source, _)| *source == from).count();
        let source = if own >= limits::LAN_PEERS_PER_SOURCE {
            from
        } else if self.known.len() >= limits::LAN_PEERS {
            let mut shares: BTreeMap<LanAddress, usize> = BTreeMap::new();
            self.known.keys().for_each(|(source, _)| *shares.entry(*source).or_default() += 1);
            shares.into_iter().max_by_key(|(_, share)| *share)?.0
        } else {
            return None;
        };
        let of_source = self.known.iter().filter(|((of, _), _)| *of == source);
        let oldest = *of_source.min_by_key(|(_, known)| known.heard)?.0;
        self.known.remove(&oldest);
        Some(oldest.1)
    }

    fn is_named(&self, peer: PeerId) -> bool {
        self.known.keys().any(|(_, known)| *known == peer)
    }

    /// Returns the time at which the next announcement ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.known.values().map(|known| known.ends).min()
    }

    /// Removes the announcements that have ended, and returns the peers that no source names any more.
    pub(super) fn end(&mut self, now: Instant) -> BTreeSet<PeerId> {
        let ended = |known: &Announcement| known.ends <= now;
        let gone: Vec<PeerId> =
            self.known.iter().filter(|(_, known)| ended(known)).map(|((_, peer), _)| *peer).collect();
        self.known.retain(|_, known| !ended(known));
        gone.into_iter().filter(|peer| !self.is_named(*peer)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(number: u16) -> LanAddress {
        let [high, low] = number.to_be_bytes();
        LanAddress { ip: [10, 0, high, low].into(), scope: 0 }
    }

    fn addrs() -> Vec<Multiaddr> {
        vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap()]
    }

    const LONG: Duration = Duration::from_secs(1 << 31);

    #[test]
    fn a_host_has_its_share_and_its_oldest_peer_goes_first() {
        let (mut table, now) = (Neighbours::default(), Instant::now());
        let peers: Vec<PeerId> = (0..100).map(|_| PeerId::random()).collect();
        let honest = PeerId::random();
        assert!(table.heard(host(1), honest, &addrs(), LONG, now).is_news);
        for (at, peer) in peers.iter().enumerate() {
            let effect = table.heard(host(2), *peer, &addrs(), LONG, now + Duration::from_millis(at as u64));
            let gone = at.checked_sub(limits::LAN_PEERS_PER_SOURCE).map(|at| peers[at]);
            assert_eq!(effect, AnnouncementEffect { is_news: true, gone });
        }
        assert_eq!(table.known.len(), 1 + limits::LAN_PEERS_PER_SOURCE);
        assert!(table.is_named(honest));
    }

    #[test]
    fn a_full_table_takes_from_who_has_most() {
        let (mut table, now) = (Neighbours::default(), Instant::now());
        let mut gone = 0;
        for at in 0..1200 {
            let effect = table.heard(host(100 + at % 40), PeerId::random(), &addrs(), LONG, now);
            gone += usize::from(effect.gone.is_some());
        }
        assert_eq!((table.known.len(), gone), (limits::LAN_PEERS, 1200 - limits::LAN_PEERS));
        let honest = PeerId::random();
        assert!(table.heard(host(1), honest, &addrs(), LONG, now).is_news);
        assert_eq!(table.known.len(), limits::LAN_PEERS);
        (0..200).for_each(|at| {
            table.heard(host(100 + at % 40), PeerId::random(), &addrs(), LONG, now);
        });
        assert!(table.is_named(honest), "whoever has one entry loses none");
    }

    #[test]
    fn an_announcement_holds_two_minutes_at_most_and_ends_for_its_source_only() {
        let (mut table, now) = (Neighbours::default(), Instant::now());
        let peer = PeerId::random();
        assert!(table.heard(host(1), peer, &addrs(), LONG, now).is_news);
        assert!(!table.heard(host(1), peer, &addrs(), LONG, now).is_news, "it is known");
        assert!(table.heard(host(1), peer, &addrs(), LONG, now + REPEATED).is_news, "it is still there");
        assert!(table.heard(host(2), peer, &addrs(), Duration::from_secs(1), now).is_news);
        assert_eq!(table.next_end(), Some(now + Duration::from_secs(1)));
        assert!(table.end(now + Duration::from_secs(1)).is_empty(), "another source names it");
        let last = now + REPEATED + limits::LAN_TTL;
        assert_eq!(table.next_end(), Some(last));
        assert_eq!(table.end(last), BTreeSet::from([peer]));
        assert_eq!(table.next_end(), None);
    }
}
