//! Choice of the trackers that are told of a swarm. All nodes with the same trackers choose alike.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::id::ContentId;
use crate::limits;
use crate::wire::tracker::{SwarmKey, key_of};

/// Returns the indices of the trackers that are told of a swarm, by rendezvous hashing (Thaler and
/// Ravishankar 1998): the first [`limits::TRACKER_COPIES`] in the order of their scores, and one more that is
/// reachable for each of them that is `gone`. `names` are the names that all nodes use for the trackers, as
/// in `name_of`.
#[must_use]
pub fn responsible(key: &SwarmKey, names: &[&str], gone: impl Fn(usize) -> bool) -> Vec<usize> {
    if names.len() <= limits::TRACKER_COPIES {
        return (0..names.len()).collect();
    }
    let score = |name: &str| *blake3::Hasher::new().update(key).update(name.as_bytes()).finalize().as_bytes();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|at| score(names[*at]));
    let mut reachable = 0;
    let mut chosen = Vec::new();
    for (place, at) in order.into_iter().enumerate() {
        let counts = !gone(at);
        if place < limits::TRACKER_COPIES || (counts && reachable < limits::TRACKER_COPIES) {
            chosen.push(at);
            reachable += usize::from(counts);
        }
    }
    chosen
}

/// Returns the name that all nodes use for a tracker: its peer id if that is known, else its address.
pub(super) fn name_of(address: &Multiaddr) -> String {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => peer.to_string(),
        _ => address.to_string(),
    }
}

/// Returns the trackers in the order in which a link to this content names them: first those that are told of
/// it.
#[must_use]
pub(crate) fn for_link(id: ContentId, all: &[String]) -> Vec<String> {
    let names: Vec<String> =
        all.iter().map(|text| text.parse().map_or_else(|_| text.clone(), |addr| name_of(&addr))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = responsible(&key_of(id), &names, |_| false);
    let rest = (0..all.len()).filter(|at| !first.contains(at));
    first.iter().copied().chain(rest).map(|at| all[at].clone()).collect()
}
