//! The members of one swarm in one site: they come and go, and some of them are gateways.

use std::hash::Hash;

use super::{GATEWAYS, Group, Member, NOWHERE, Registry, SwarmKey};

impl<N: Eq + Hash + Clone> Registry<N> {
    #[cfg(test)]
    pub(super) fn group(&self, swarm: u32, site: u64) -> Option<&Group> {
        let gathering = self.swarms.get(swarm)?;
        if gathering.site == site { Some(&gathering.first) } else { self.groups.get(&(swarm, site)) }
    }

    pub(super) fn group_mut(&mut self, swarm: u32, site: u64) -> Option<&mut Group> {
        let gathering = self.swarms.get_mut(swarm)?;
        if gathering.site == site { Some(&mut gathering.first) } else { self.groups.get_mut(&(swarm, site)) }
    }

    pub(super) fn join_group(&mut self, swarm: u32, site: u64, member: Member) -> u32 {
        let Some(gathering) = self.swarms.get_mut(swarm) else { return NOWHERE };
        if gathering.first.members.is_empty() {
            gathering.site = site;
        }
        let group = if gathering.site == site {
            &mut gathering.first
        } else {
            let group = self.groups.entry((swarm, site)).or_default();
            if group.members.is_empty() {
                let others = gathering.others.get_or_insert_default();
                group.at = others.len() as u32;
                others.push(site);
            }
            group
        };
        group.members.push(member);
        group.members.len() as u32 - 1
    }

    pub(super) fn leave_group(&mut self, swarm: u32, site: u64, at: u32) {
        let Some(group) = self.group_mut(swarm, site) else { return };
        let mut hole = at;
        if at < group.gateways {
            // The last gateway fills the gap among the gateways, and the last member fills the gap behind
            // them.
            group.gateways -= 1;
            group.members.swap(at as usize, group.gateways as usize);
            hole = group.gateways;
        }
        group.members.swap_remove(hole as usize);
        let moved = [at, hole].map(|place| (place, group.members.get(place as usize).copied()));
        let empty = group.members.is_empty();
        for (place, member) in moved {
            if let Some(member) = member {
                self.place(member, place);
            }
        }
        if empty {
            self.drop_site(swarm, site);
        }
    }

    /// Removes a site without members from a swarm.
    fn drop_site(&mut self, swarm: u32, site: u64) {
        let Some(gathering) = self.swarms.get_mut(swarm) else { return };
        let Some(others) = &mut gathering.others else { return };
        if gathering.site == site {
            // Another site takes its place.
            if let Some(other) = others.pop() {
                gathering.site = other;
                gathering.first = self.groups.remove(&(swarm, other)).unwrap_or_default();
            }
        } else if let Some(gone) = self.groups.remove(&(swarm, site)) {
            others.swap_remove(gone.at as usize);
            if let Some(other) = others.get(gone.at as usize)
                && let Some(group) = self.groups.get_mut(&(swarm, *other))
            {
                group.at = gone.at;
            }
        }
        if others.is_empty() {
            gathering.others = None;
        }
    }

    /// Records the new place of a member in its group.
    pub(super) fn place(&mut self, member: Member, at: u32) {
        let of = self.nodes.get_mut(member.node).and_then(|node| node.entries.get_mut(member.entry as usize));
        if let Some(of) = of {
            of.at = at;
        }
    }

    /// Returns true if a node is one of its site's gateways for a swarm. It becomes one while there are few.
    pub(super) fn gateway(&mut self, number: u32, key: &SwarmKey, swarm: u32, site: u64) -> bool {
        let Some(at) = self
            .entry_of(number, key)
            .and_then(|entry| self.nodes.get(number).map(|node| node.entries[entry as usize].at))
        else {
            return false;
        };
        let Some(group) = self.group_mut(swarm, site) else { return false };
        if at >= group.gateways && group.gateways < GATEWAYS {
            let first = group.gateways;
            group.members.swap(at as usize, first as usize);
            group.gateways += 1;
            let (here, there) = (group.members[first as usize], group.members[at as usize]);
            self.place(there, at);
            self.place(here, first);
            return true;
        }
        at < group.gateways
    }
}
