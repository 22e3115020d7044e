//! The drawing of members by lot.

use swarm_core::random::Random;

/// A node in a list of members, with the number of this membership among its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: u32,
    pub(crate) entry: u32,
}

/// Draws up to `count` members of `from` by lot into `into`, each once, except the node `without` and those
/// that are in `into` already.
pub(crate) fn draw(from: &[Member], count: usize, without: u32, random: &mut Random, into: &mut Vec<u32>) {
    // One more is drawn, in place of the one that is left out.
    let more = (count + 1).min(from.len());
    // Floyd's algorithm for sampling without replacement (Bentley and Floyd 1987).
    let mut drawn: Vec<usize> = Vec::with_capacity(more);
    for last in from.len() - more..from.len() {
        let number = random.below(last + 1);
        drawn.push(if drawn.contains(&number) { last } else { number });
    }
    let mut nodes: Vec<u32> = drawn.into_iter().map(|number| from[number].node).collect();
    nodes.retain(|node| *node != without);
    // The drawn order depends on the members' places, so it is shuffled.
    for last in (1..nodes.len()).rev() {
        nodes.swap(last, random.below(last + 1));
    }
    nodes.truncate(count);
    nodes.retain(|node| !into.contains(node));
    into.extend(nodes);
}
