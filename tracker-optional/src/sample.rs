//! Drawing members by lot.

use swarm_core::random::Random;

/// A node in a list of members, and which of its memberships this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: u32,
    pub(crate) entry: u32,
}

/// Draws members by lot, each once, without one of them and those that are there already.
pub(crate) fn draw(from: &[Member], count: usize, without: u32, random: &mut Random, into: &mut Vec<u32>) {
    // One more, in place of the one that is left out.
    let more = (count + 1).min(from.len());
    // Floyd's way of drawing without putting back (Bentley and Floyd 1987).
    let mut drawn: Vec<usize> = Vec::with_capacity(more);
    for last in from.len() - more..from.len() {
        let number = random.below(last + 1);
        drawn.push(if drawn.contains(&number) { last } else { number });
    }
    let mut nodes: Vec<u32> = drawn.into_iter().map(|number| from[number].node).collect();
    nodes.retain(|node| *node != without);
    // The order in which they were drawn says something of their places.
    for last in (1..nodes.len()).rev() {
        nodes.swap(last, random.below(last + 1));
    }
    nodes.truncate(count);
    nodes.retain(|node| !into.contains(node));
    into.extend(nodes);
}
