//! The memberships of a node: it enters and leaves swarms, and moves with them to another site.

use std::hash::Hash;

use super::{
    AnnouncedSwarm, Gathering, Group, Member, Membership, NOWHERE, Node, Refused, Registry, SwarmKey,
};
use crate::slab::Slab;
use crate::small_list::SmallList;

/// The most memberships that are searched one by one.
const FEW: usize = 32;

impl<N: Eq + Hash + Clone> Registry<N> {
    /// Returns the number of a node's membership in this swarm.
    pub(super) fn entry_of(&self, number: u32, key: &SwarmKey) -> Option<u32> {
        let (swarm, node) = (self.swarm_of(key)?, self.nodes.get(number)?);
        if let Some(index) = &node.index {
            return index.get(&swarm).copied();
        }
        node.entries.iter().position(|e| e.swarm == swarm).map(|at| at as u32)
    }

    pub(super) fn enter(&mut self, number: u32, entry: &AnnouncedSwarm) -> Result<(), Refused> {
        if let Some(known) = self.entry_of(number, &entry.key) {
            self.set_whole(number, known, entry.whole);
            return Ok(());
        }
        let Some(node) = self.nodes.get(number) else { return Ok(()) };
        let (site, origin, next) = (node.site, node.origin, node.entries.len());
        if next >= self.bounds.per_node {
            return Err(Refused::TooMany(self.bounds.per_node));
        }
        if self.members >= self.bounds.members {
            return Err(Refused::Full);
        }
        self.origins.take(origin)?;
        let swarm = self.swarm_of(&entry.key).unwrap_or_else(|| {
            let (first, whole) = (Group::default(), SmallList::None);
            let new = Gathering { key: entry.key, site, first, others: None, whole, members: 0 };
            let number = self.swarms.insert(new);
            let swarms = &self.swarms;
            self.keys.insert(&entry.key, number, |number| swarms.get(number).map(|swarm| &swarm.key));
            number
        });
        let at = self.join_group(swarm, site, Member { node: number, entry: next as u32 });
        if let Some(node) = self.nodes.get_mut(number) {
            node.entries.push(Membership { swarm, at, whole: NOWHERE });
            if let Some(index) = &mut node.index {
                index.insert(swarm, next as u32);
            } else if next >= FEW {
                node.index =
                    Some(Box::new(node.entries.iter().zip(0..).map(|(of, at)| (of.swarm, at)).collect()));
            }
        }
        self.members += 1;
        if let Some(swarm) = self.swarms.get_mut(swarm) {
            swarm.members += 1;
        }
        self.set_whole(number, next as u32, entry.whole);
        Ok(())
    }

    /// Removes one of a node's memberships from every list.
    pub(super) fn leave(&mut self, number: u32, entry: u32) {
        self.set_whole(number, entry, false);
        let Some(node) = self.nodes.get(number) else { return };
        let (site, node_origin, gone) = (node.site, node.origin, node.entries[entry as usize]);
        self.leave_group(gone.swarm, site, gone.at);
        self.members -= 1;
        self.origins.give_back(node_origin);
        let gathering = self.swarms.get_mut(gone.swarm);
        let empty = gathering.is_some_and(|swarm| {
            swarm.members -= 1;
            swarm.members == 0
        });
        if empty && let Some(swarm) = self.swarms.remove(gone.swarm) {
            self.keys.remove(&swarm.key, gone.swarm);
        }
        // The last of its memberships takes this one's place.
        let Some(node) = self.nodes.get_mut(number) else { return };
        node.entries.swap_remove(entry as usize);
        let moved = node.entries.get(entry as usize).copied();
        if let Some(index) = &mut node.index {
            index.remove(&gone.swarm);
            if let Some(at) = moved.and_then(|moved| index.get_mut(&moved.swarm)) {
                *at = entry;
            }
        }
        let Some(moved) = moved else { return };
        if let Some(group) = self.group_mut(moved.swarm, site) {
            group.members[moved.at as usize].entry = entry;
        }
        if let Some(swarm) = self.swarms.get_mut(moved.swarm).filter(|_| moved.whole != NOWHERE) {
            swarm.whole[moved.whole as usize].entry = entry;
        }
    }

    pub(super) fn clear(&mut self, number: u32) {
        while let Some(last) = self.nodes.get(number).and_then(|node| node.entries.len().checked_sub(1)) {
            self.leave(number, last as u32);
        }
    }

    pub(super) fn move_to(&mut self, number: u32, site: u64) {
        let Some(node) = self.nodes.get_mut(number) else { return };
        let before = std::mem::replace(&mut node.site, site);
        for entry in 0..node.entries.len() as u32 {
            let Some(of) = self.nodes.get(number).map(|node| node.entries[entry as usize]) else { return };
            // It joins the new site before it leaves the old one, so that the swarm is never without a site.
            let at = self.join_group(of.swarm, site, Member { node: number, entry });
            self.leave_group(of.swarm, before, of.at);
            self.place(Member { node: number, entry }, at);
        }
    }

    /// Records whether a node has everything of a swarm.
    fn set_whole(&mut self, number: u32, entry: u32, whole: bool) {
        let Some(of) = self.nodes.get(number).map(|node| node.entries[entry as usize]) else { return };
        let Some(swarm) = self.swarms.get_mut(of.swarm).filter(|_| whole != (of.whole != NOWHERE)) else {
            return;
        };
        let (mut stands, mut moved) = (NOWHERE, None);
        if whole {
            stands = swarm.whole.len() as u32;
            swarm.whole.push(Member { node: number, entry });
        } else {
            swarm.whole.swap_remove(of.whole as usize);
            moved = swarm.whole.get(of.whole as usize).copied();
        }
        let set = |nodes: &mut Slab<Node<N>>, member: Member, to: u32| {
            let of = nodes.get_mut(member.node).and_then(|node| node.entries.get_mut(member.entry as usize));
            if let Some(of) = of {
                of.whole = to;
            }
        };
        set(&mut self.nodes, Member { node: number, entry }, stands);
        if let Some(moved) = moved {
            set(&mut self.nodes, moved, of.whole);
        }
    }
}
