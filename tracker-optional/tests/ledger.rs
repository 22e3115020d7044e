//! The ledger of a node and the registry of a tracker together: whatever is lost, restarted or changed on the
//! way, in the end the tracker knows exactly the node's set.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use swarm_core::discovery::tracker::ledger::{ChangeSet, Ledger};
use swarm_core::limits;
use swarm_core::wire::tracker::SwarmKey;
use swarm_tracker::registry::{At, Bounds, Registry};

const BOUNDS: Bounds =
    Bounds { nodes: 10, members: 1 << 20, per_node: 1 << 20, per_origin: 10, members_per_origin: u32::MAX };
const HERE: At = At { site: 1, origin: 1 };
const LATER: Duration = Duration::from_secs(60);

fn key(number: u32) -> SwarmKey {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

/// Handles an announcement as the server does.
fn take_in(registry: &mut Registry<u8>, part: &ChangeSet) -> u64 {
    registry.heard(&1, HERE, &[], LATER).unwrap();
    let known = registry.version(&1);
    if part.base != 0 && part.base != known {
        return known;
    }
    if part.base != part.version {
        registry.change(&1, part.base == 0, (&part.add, &part.drop), part.version).unwrap();
    }
    part.version
}

struct Node {
    set: BTreeMap<SwarmKey, bool>,
    ledger: Ledger,
}

impl Node {
    fn announce(&mut self, registry: &mut Registry<u8>, lost: bool) {
        let part = self.ledger.part(|key| self.set.get(key).copied());
        let version = take_in(registry, &part);
        if lost {
            self.ledger.give_up();
        } else if !self.ledger.answered(version, []) {
            self.ledger.forget(self.set.keys().copied());
        }
    }

    fn change(&mut self, number: u32, stand: Option<bool>) {
        let key = key(number);
        match stand {
            Some(whole) => self.set.insert(key, whole),
            None => self.set.remove(&key),
        };
        self.ledger.changed(key);
    }
}

fn same(node: &Node, registry: &Registry<u8>, of: impl Iterator<Item = u32>) {
    for number in of {
        let expected = match node.set.get(&key(number)) {
            None => (0, 0),
            Some(whole) => (1, usize::from(*whole)),
        };
        assert_eq!(registry.swarm(&key(number)), expected, "swarm {number}");
    }
    assert_eq!(registry.members(), node.set.len());
}

#[test]
fn ten_thousand_swarms_cost_one_small_message_once_they_are_known() {
    let mut registry = Registry::new(BOUNDS, 1);
    let mut node = Node { set: BTreeMap::new(), ledger: Ledger::new(7) };
    (0..10_000).for_each(|number| node.change(number, Some(true)));
    let mut parts = 0;
    while node.ledger.has_news() {
        node.announce(&mut registry, false);
        parts += 1;
    }
    assert_eq!(parts, 10_000_usize.div_ceil(limits::ANNOUNCE_CHANGES));
    same(&node, &registry, 0..10_000);
    let renewal = node.ledger.part(|key| node.set.get(key).copied());
    assert!(renewal.add.is_empty() && renewal.drop.is_empty() && renewal.base == renewal.version);
    // After a restart it knows nothing: the node finds that out with one message, and then tells everything.
    let mut registry = Registry::new(BOUNDS, 2);
    node.announce(&mut registry, false);
    let mut parts = 0;
    while node.ledger.has_news() {
        node.announce(&mut registry, false);
        parts += 1;
    }
    assert_eq!(parts, 6);
    same(&node, &registry, 0..10_000);
}

#[derive(Debug, Clone)]
enum Step {
    Change(u32, Option<bool>),
    Announce { lost: bool },
    TrackerRestarts,
    NodeRestarts,
    Expires,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..12_u32, proptest::option::of(any::<bool>())).prop_map(|(n, to)| Step::Change(n, to));
    let announce = any::<bool>().prop_map(|lost| Step::Announce { lost });
    let step = prop_oneof![
        8 => change,
        6 => announce,
        1 => Just(Step::TrackerRestarts),
        1 => Just(Step::NodeRestarts),
        1 => Just(Step::Expires),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn in_the_end_the_tracker_knows_the_set(steps in steps()) {
        let mut registry = Registry::new(BOUNDS, 1);
        let mut start = 1000;
        let mut node = Node { set: BTreeMap::new(), ledger: Ledger::new(start) };
        for step in steps {
            match step {
                Step::Change(number, to) => node.change(number, to),
                Step::Announce { lost } => node.announce(&mut registry, lost),
                Step::TrackerRestarts => registry = Registry::new(BOUNDS, 1),
                Step::Expires => registry.expire(LATER * 2),
                Step::NodeRestarts => {
                    start += 1000;
                    node.ledger = Ledger::new(start);
                    let all: BTreeSet<SwarmKey> = node.set.keys().copied().collect();
                    all.into_iter().for_each(|key| node.ledger.changed(key));
                }
            }
        }
        // The first message may find out that all must be told anew.
        for _ in 0..3 {
            node.announce(&mut registry, false);
        }
        prop_assert!(!node.ledger.has_news());
        same(&node, &registry, 0..12);
    }
}
