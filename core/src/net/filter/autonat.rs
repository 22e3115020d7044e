//! Filter around libp2p's AutoNAT client: only a few addresses are tested, those that plausibly are ours. A
//! test costs the tester a dial, AutoNAT keeps each address for good, and any peer can invent addresses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::swarm::{FromSwarm, NetworkBehaviour, THandler};
use libp2p::{Multiaddr, autonat};

use super::super::address::{endpoint, split_peer};
use super::dcutr::is_for_others;
use crate::limits;

/// Time after which as many addresses may be tested again, since addresses change.
const ANEW: Duration = Duration::from_secs(3600);

type AutonatClient = autonat::v2::client::Behaviour;

/// AutoNAT client that tests at most [`limits::TESTED_ADDRS`] addresses in [`ANEW`].
#[derive(Default)]
pub(crate) struct Tested {
    inner: AutonatClient,
    /// True if addresses of a private network are worth a test.
    pub(crate) private: bool,
    listens: BTreeSet<(u16, bool)>,
    asked: BTreeSet<Multiaddr>,
    since: Option<Instant>,
}

impl Tested {
    /// True if an address at which somebody saw us is worth a test.
    fn is_worth(&mut self, addr: &Multiaddr) -> bool {
        if self.since.is_none_or(|since| since.elapsed() >= ANEW) {
            self.since = Some(Instant::now());
            self.asked.clear();
        }
        let bare = split_peer(addr).0;
        let ours = endpoint(&bare).is_some_and(|end| self.listens.contains(&(end.port, end.quic)));
        let known = self.asked.contains(&bare);
        let fits = ours && is_for_others(&bare, self.private);
        let room = self.asked.len() < limits::TESTED_ADDRS;
        if fits && room {
            self.asked.insert(bare);
        }
        fits && (known || room)
    }
}

impl NetworkBehaviour for Tested {
    type ConnectionHandler = THandler<AutonatClient>;
    type ToSwarm = <AutonatClient as NetworkBehaviour>::ToSwarm;

    delegate_to!(inner);

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::NewExternalAddrCandidate(candidate) if !self.is_worth(candidate.addr) => return,
            FromSwarm::NewListenAddr(new) => {
                self.listens.extend(endpoint(new.addr).map(|end| (end.port, end.quic)));
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// D48: peers cannot make us ask others to dial third parties, nor ask without end.
    #[test]
    fn d48_addresses_that_are_not_ours_are_not_tested() {
        let mut tested = Tested::default();
        tested.listens.insert((4001, false));
        let mut worth = |text: &str| tested.is_worth(&text.parse().unwrap());
        assert!(worth("/ip4/45.1.2.3/tcp/4001") && worth("/ip4/45.1.2.3/tcp/4001"));
        for odd in [
            "/ip4/45.1.2.3/tcp/22",
            "/ip4/45.1.2.3/udp/4001/quic-v1",
            "/ip4/10.0.0.1/tcp/4001",
            "/dns4/x/tcp/4001",
        ] {
            assert!(!worth(odd), "{odd}");
        }
        (0..99).for_each(|n| assert!(worth(&format!("/ip4/45.1.3.{n}/tcp/4001")) == (n < 15)));
        assert!(!worth("/ip4/45.9.9.9/tcp/4001") && worth("/ip4/45.1.2.3/tcp/4001"));
    }
}
