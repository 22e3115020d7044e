//! Searches and announcements that are under way, and their results.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::kad::{self, GetProvidersOk, ProgressStep, QueryId, QueryResult, QueryStats};

use super::{DhtEvent, DhtNode, Query};
use crate::discovery::dht::plan::Sought;
use crate::limits;

impl DhtNode {
    /// Handles an event of Kademlia. The store has dealt with what others tell.
    pub(super) fn routed(&mut self, event: kad::Event) {
        if let kad::Event::OutboundQueryProgressed { id, result, stats, step } = event {
            self.progressed(id, result, &stats, &step);
        }
    }

    fn progressed(&mut self, id: QueryId, result: QueryResult, stats: &QueryStats, step: &ProgressStep) {
        let local = *self.network.local_peer_id();
        let mut found = Vec::new();
        let (failed, query) = (is_failure(&result), self.queries.get_mut(&id));
        if stats.num_successes() > 0 {
            self.answered = Some(Instant::now());
        }
        if let (Some(Query::Seek(key, named)), Some(providers)) = (query, providers(result)) {
            self.answers += 1;
            let routing = &mut self.network.behaviour_mut().routing;
            let mut left = limits::DHT_PROVIDERS;
            for peer in providers.into_iter().filter(|peer| *peer != local) {
                let addrs = routing.addresses_of(key, peer);
                // Holders without a new address do not count.
                let known = named.get(&peer);
                let full = known.is_none() && named.len() >= limits::DHT_NAMED;
                if left == 0
                    || full
                    || addrs.iter().all(|addr| known.is_some_and(|known| known.contains(addr)))
                {
                    continue;
                }
                left -= 1;
                let known = named.entry(peer).or_default();
                known.extend(addrs.iter().cloned());
                known.truncate(2 * limits::PEER_ADDRS);
                found.push(DhtEvent::Found { answer: self.answers, key: *key, peer, addrs });
            }
        }
        self.untold.extend(found);
        if !step.last {
            return;
        }
        match self.queries.remove(&id) {
            Some(Query::Seek(key, named)) => {
                let (asked, answered) = (stats.num_requests(), stats.num_successes());
                self.tell(DhtEvent::Sought(key, Sought { asked, answered, named: named.len() as u32 }));
            }
            // An announcement that timed out has reached no server.
            Some(Query::Provide(key, _)) => {
                self.tell(DhtEvent::Provided(key, if failed { 0 } else { stats.num_successes() }));
            }
            None => {}
        }
    }
}

/// Returns the holders in a query's result, if it names any.
fn providers(result: QueryResult) -> Option<std::collections::HashSet<PeerId>> {
    match result {
        QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => Some(providers),
        _ => None,
    }
}

const fn is_failure(result: &QueryResult) -> bool {
    matches!(result, QueryResult::StartProviding(Err(_)))
}
