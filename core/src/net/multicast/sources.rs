//! Limits on the multicast packets that are looked at: a token bucket for each source address, and one of
//! each IP version for sources that are new.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::LanAddress;
use crate::limits;

/// Token bucket that refills with time.
#[derive(Debug, Clone, Copy)]
struct SourceBucket {
    tokens: f64,
    at: Instant,
}

impl SourceBucket {
    fn take(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * f64::from(rate)).min(burst.into());
        self.at = now;
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

/// Sources of packets that were heard lately.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: BTreeMap<LanAddress, SourceBucket>,
    /// Sources that are not in `known`, for IPv4 and IPv6: addresses of IPv6 cost nothing, and a host that
    /// makes them up does not keep out hosts with IPv4.
    new: [Option<SourceBucket>; 2],
}

impl Sources {
    /// Counts a packet of this source; false if there were too many lately.
    pub(super) fn admits(&mut self, from: LanAddress, now: Instant) -> bool {
        let (rate, burst) = (limits::LAN_PACKETS, limits::LAN_PACKETS_BURST);
        if let Some(bucket) = self.known.get_mut(&from) {
            return bucket.take(rate, burst, now);
        }
        let (new_rate, new_burst) = (limits::LAN_NEW_SOURCES, limits::LAN_SOURCES as u32);
        let full = SourceBucket { tokens: new_burst.into(), at: now };
        let new = self.new[usize::from(matches!(from.ip, IpAddr::V6(_)))].get_or_insert(full);
        if !new.take(new_rate, new_burst, now) {
            return false;
        }
        if self.known.len() >= limits::LAN_SOURCES {
            let oldest = self.known.iter().min_by_key(|(_, bucket)| bucket.at).map(|(from, _)| *from);
            oldest.map(|from| self.known.remove(&from));
        }
        self.known.insert(from, SourceBucket { tokens: f64::from(burst) - 1.0, at: now });
        true
    }

    /// Returns the number of sources, at most [`limits::LAN_SOURCES`].
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets sources that were silent for `silence`.
    pub(super) fn forget(&mut self, silence: Duration, now: Instant) {
        self.known.retain(|_, bucket| now.saturating_duration_since(bucket.at) < silence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> LanAddress {
        LanAddress { ip: std::net::Ipv4Addr::from_bits(number).into(), scope: 0 }
    }

    fn v6(number: u128) -> LanAddress {
        LanAddress { ip: std::net::Ipv6Addr::from_bits(number).into(), scope: 0 }
    }

    #[test]
    fn one_source_is_heard_so_often_and_others_beside_it() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let heard = (0..10_000).filter(|_| sources.admits(v4(1), now)).count();
        assert_eq!(heard, limits::LAN_PACKETS_BURST as usize);
        assert!(sources.admits(v4(2), now));
        let later = now + Duration::from_secs(1);
        let heard = (0..10_000).filter(|_| sources.admits(v4(1), later)).count();
        assert_eq!(heard, limits::LAN_PACKETS as usize);
        sources.forget(Duration::from_secs(1), later);
        assert_eq!(sources.len(), 1);
    }

    #[test]
    fn sources_that_are_made_up_are_few_and_leave_those_that_are_known() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        assert!(sources.admits(v4(1), now));
        let heard = (0..100_000).filter(|number| sources.admits(v6(*number), now)).count();
        assert_eq!(heard, limits::LAN_SOURCES);
        assert_eq!(sources.len(), limits::LAN_SOURCES);
        assert!(sources.admits(v4(2), now), "IPv4 has a bucket of its own");
        let second = now + Duration::from_secs(1);
        let heard = (200_000..300_000).filter(|number| sources.admits(v6(*number), second)).count();
        assert_eq!(heard, limits::LAN_NEW_SOURCES as usize);
    }
}
