//! The registry of a tracker: nodes, and the swarms that they take part in. It works without a clock, sockets
//! or randomness of its own.
//!
//! A *member* is a node in the swarm of one key (derived from a content's id). Nodes are told apart by the
//! identity that they proved, and *sites* by the caller's reading of their addresses. Nothing here is worth
//! keeping over a restart: it is announced again within minutes.
//!
//! **Answers.** A node that asks for a swarm is told of members drawn by lot: mostly of its own site, some
//! elsewhere. Up to [`GATEWAYS`] nodes of each site and swarm are told of more elsewhere, because a site
//! fetches across its border by few nodes (see `swarm_core::schedule`). A part of the answer is for members
//! that have everything. Members are never ranked, because then all newcomers would turn to the same few.
//!
//! Cost: an announcement O(changes), an answer O(its length), whatever the size of the swarm. A member takes
//! 12 bytes at its node and 8 in its group, a swarm about 110 bytes besides, and each of its sites after the
//! first about 100.

mod groups;
mod memberships;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use swarm_core::random::Random;

use crate::index::NameIndex;
use crate::quota::Quotas;
use crate::sample::{Member, draw};
use crate::slab::Slab;
use crate::small_list::SmallList;
pub use swarm_core::wire::tracker::{AnnouncedSwarm, SwarmKey};

/// The time since a fixed start.
pub type Now = Duration;

/// The members of a swarm in one site that are told of many elsewhere.
pub const GATEWAYS: u32 = 8;

/// The place of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The site: nodes with the same number are near each other.
    pub site: u64,
    /// The network that the node comes from, for which nodes and members are limited.
    pub origin: u64,
}

/// The number of members that one answer names of one swarm.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Members of the asker's own site.
    pub near: usize,
    /// Members of other sites, for a gateway and for a node with hardly any member near.
    pub far: usize,
    /// Members of other sites, for all other nodes: a way out if the site's gateways fail or lie.
    pub far_least: usize,
    /// Further members that have everything, as far as there are any.
    pub whole: usize,
}

impl Default for Shares {
    /// Returns the usual numbers. Twenty neighbours are as good as any number (simulated), and each site
    /// needs only a few members outside.
    fn default() -> Self {
        Self { near: 20, far: 10, far_least: 2, whole: 6 }
    }
}

/// The bounds of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most nodes.
    pub nodes: usize,
    /// The most members, over all swarms.
    pub members: usize,
    /// The most swarms of one node.
    pub per_node: usize,
    /// The most nodes from one origin.
    pub per_origin: u32,
    /// The most members from one origin.
    pub members_per_origin: u32,
}

/// The reason why an announcement was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The registry is full.
    #[error("the tracker is full")]
    Full,
    /// There are as many nodes or members from this origin as there may be.
    #[error("the tracker has reached its limit of nodes for this address")]
    Crowded,
    /// The node takes part in as many swarms as it may, which is the field.
    #[error("a node may take part in at most {0} swarms")]
    TooMany(usize),
}

/// A node and its addresses, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a, N> {
    /// The name of the node.
    pub name: &'a N,
    /// The addresses of the node, in the caller's form.
    pub reach: &'a [u8],
}

/// The nodes, and the swarms that they take part in. `N` is the name of a node.
#[derive(Debug)]
pub struct Registry<N> {
    bounds: Bounds,
    names: NameIndex,
    /// The number of nodes and members from each origin.
    origins: Quotas,
    nodes: Slab<Node<N>>,
    keys: NameIndex,
    swarms: Slab<Gathering>,
    /// The groups of each swarm's sites after the first.
    groups: HashMap<(u32, u64), Group>,
    /// Nodes by the time at which they are to be forgotten, or an earlier one: each is examined when it is
    /// due.
    due: BinaryHeap<Reverse<(Now, u32, u32)>>,
    members: usize,
    random: Random,
}

#[derive(Debug)]
struct Node<N> {
    name: N,
    reach: Box<[u8]>,
    site: u64,
    origin: u64,
    /// The version of the node's set of swarms, as the node counts it.
    version: u64,
    expires: Now,
    entries: SmallList<Membership>,
    /// The place of each swarm's entry, once there are too many to search one by one.
    #[allow(clippy::box_collection)] // Eight bytes for the many that need none, in place of 48.
    index: Option<Box<HashMap<u32, u32>>>,
}

/// The most nodes of other sites that one answer names from one origin.
const FROM_ONE_PLACE: usize = 3;
/// The most swarms of a node that are moved to another site at once.
const MOVED: usize = 1000;

/// The membership of a node in one swarm, with its places in that swarm's lists.
#[derive(Debug, Clone, Copy)]
struct Membership {
    swarm: u32,
    /// The member's place in the group of its site.
    at: u32,
    /// The member's place among those that have everything, or [`NOWHERE`].
    whole: u32,
}

const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
struct Gathering {
    key: SwarmKey,
    /// The site whose members stand in `first`. Most swarms have no other site.
    site: u64,
    first: Group,
    #[allow(clippy::box_collection)] // Eight bytes for the many that need none, in place of 24.
    others: Option<Box<Vec<u64>>>,
    whole: SmallList<Member>,
    members: u32,
}

/// The members of one swarm in one site. Gateways stand first.
#[derive(Debug, Default)]
struct Group {
    members: SmallList<Member>,
    gateways: u32,
    /// The place of this site among the other sites of its swarm.
    at: u32,
}

impl<N: Eq + Hash + Clone> Registry<N> {
    /// Returns an empty registry, whose lots follow from `seed`.
    #[must_use]
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            bounds,
            names: NameIndex::default(),
            origins: Quotas::new(bounds.per_origin, bounds.members_per_origin),
            nodes: Slab::new(),
            keys: NameIndex::default(),
            swarms: Slab::new(),
            groups: HashMap::new(),
            due: BinaryHeap::new(),
            members: 0,
            random: Random::new(seed),
        }
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.names.len()
    }

    /// Returns the number of swarms.
    #[must_use]
    pub fn swarms(&self) -> usize {
        self.keys.len()
    }

    /// Returns the number of members, over all swarms.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members
    }

    /// Returns the number of members of one swarm, and of those that have everything.
    #[must_use]
    pub fn swarm(&self, key: &SwarmKey) -> (usize, usize) {
        let swarm = self.swarm_of(key).and_then(|number| self.swarms.get(number));
        swarm.map_or((0, 0), |swarm| (swarm.members as usize, swarm.whole.len()))
    }

    /// Returns the known version of a node's set, as the node counts it; 0 for an unknown node.
    #[must_use]
    pub fn version(&self, name: &N) -> u64 {
        self.node(name).map_or(0, |(_, node)| node.version)
    }

    /// Records an announcement of a node, which is kept until `expires`, is at this place and has these
    /// addresses.
    ///
    /// # Errors
    /// [`Refused::Full`] or [`Refused::Crowded`] for one node too many.
    pub fn heard(&mut self, name: &N, at: At, reach: &[u8], expires: Now) -> Result<(), Refused> {
        if let Some(number) = self.number_of(name) {
            if self.nodes.get(number).is_some_and(|node| node.origin != at.origin) {
                self.origins.arrive(at.origin)?;
                if let Some(node) = self.nodes.get_mut(number) {
                    let (before, members) =
                        (std::mem::replace(&mut node.origin, at.origin), node.entries.len());
                    self.origins.depart(before);
                    self.origins.move_members(before, at.origin, members as u32);
                }
            }
            // The cost of a move is that of moving its swarms: with many it waits until the node announces
            // them all anew.
            if self.nodes.get(number).is_some_and(|node| node.site != at.site && node.entries.len() <= MOVED)
            {
                self.move_to(number, at.site);
            }
            if let Some(node) = self.nodes.get_mut(number) {
                node.expires = node.expires.max(expires);
                if *node.reach != *reach {
                    node.reach = reach.into();
                }
            }
            return Ok(());
        }
        if self.names.len() >= self.bounds.nodes {
            return Err(Refused::Full);
        }
        self.origins.arrive(at.origin)?;
        let node = Node {
            name: name.clone(),
            reach: reach.into(),
            site: at.site,
            origin: at.origin,
            version: 0,
            expires,
            entries: SmallList::None,
            index: None,
        };
        let number = self.nodes.insert(node);
        let nodes = &self.nodes;
        self.names.insert(name, number, |number| nodes.get(number).map(|node| &node.name));
        self.due.push(Reverse((expires, number, self.nodes.use_of(number))));
        // Nodes that came and went have left entries behind.
        if self.due.len() > 2 * self.names.len() + 64 {
            let nodes = &self.nodes;
            self.due.retain(|Reverse((_, number, turn))| nodes.use_of(*number) == *turn);
        }
        Ok(())
    }

    /// Applies changes to the set of a known node: it joins and leaves swarms, and its set then has this
    /// `version`. With `anew`, its earlier set is forgotten first.
    ///
    /// # Errors
    /// [`Refused`] at the first entry beyond a limit. Those before it are added, and the version becomes 0.
    pub fn change(
        &mut self,
        name: &N,
        anew: bool,
        (add, drop): (&[AnnouncedSwarm], &[SwarmKey]),
        version: u64,
    ) -> Result<(), Refused> {
        let Some(number) = self.number_of(name) else { return Ok(()) };
        self.set_version(number, 0);
        if anew {
            self.clear(number);
        }
        for key in drop {
            if let Some(entry) = self.entry_of(number, key) {
                self.leave(number, entry);
            }
        }
        for entry in add {
            self.enter(number, entry)?;
        }
        self.set_version(number, version);
        Ok(())
    }

    /// Forgets a node.
    pub fn forget(&mut self, name: &N) {
        if let Some(number) = self.number_of(name) {
            self.clear(number);
            self.names.remove(name, number);
            if let Some(node) = self.nodes.remove(number) {
                self.origins.depart(node.origin);
            }
        }
    }

    /// Forgets the nodes that have not announced themselves for too long.
    pub fn expire(&mut self, now: Now) {
        while let Some(Reverse((at, number, turn))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let Some(node) = self.nodes.get(number).filter(|_| self.nodes.use_of(number) == turn) else {
                continue;
            };
            if node.expires > now {
                self.due.push(Reverse((node.expires, number, turn)));
                continue;
            }
            let name = node.name.clone();
            self.forget(&name);
        }
    }

    /// Returns members of a swarm for a node to meet, without the node itself; none if the node is unknown.
    pub fn sample(&mut self, name: &N, key: &SwarmKey, shares: Shares) -> Vec<Named<'_, N>> {
        let Some((asker, site)) = self.node(name).map(|(number, node)| (number, node.site)) else {
            return Vec::new();
        };
        let Some(swarm) = self.swarm_of(key) else { return Vec::new() };
        let gateway = self.gateway(asker, key, swarm, site);
        let mut chosen: Vec<u32> = Vec::with_capacity(shares.near + shares.far);
        let near: &[Member] = match self.swarms.get(swarm) {
            Some(all) if all.site == site => &all.first.members,
            _ => self.groups.get(&(swarm, site)).map_or(&[], |group| &group.members),
        };
        draw(near, shares.near, asker, &mut self.random, &mut chosen);
        let alone = chosen.len() < 3;
        let far = if gateway || alone { shares.far } else { shares.far_least };
        if let Some(all) = self.swarms.get(swarm) {
            let elsewhere = |member: &Member| self.nodes.get(member.node).is_some_and(|n| n.site != site);
            // The members that have everything: those elsewhere too for a node that fetches from outside,
            // else those near.
            let mut whole = Vec::new();
            draw(&all.whole, shares.whole * 2, asker, &mut self.random, &mut whole);
            let outside = gateway || alone;
            let fits = |node: &u32| outside || !elsewhere(&Member { node: *node, entry: 0 });
            for node in whole.into_iter().filter(fits).take(shares.whole) {
                if !chosen.contains(&node) && self.is_one_of_few(node, site, &chosen) {
                    chosen.push(node);
                }
            }
            let mut found = 0;
            for _ in 0..far * 4 {
                let Some(others) = all.others.as_ref().filter(|_| found < far) else { break };
                let place = self.random.below(1 + others.len());
                let place = place.checked_sub(1).map_or(all.site, |at| others[at]);
                let group =
                    if place == all.site { Some(&all.first) } else { self.groups.get(&(swarm, place)) };
                let members = group.filter(|_| place != site).map(|group| &group.members);
                let Some(members) = members.filter(|members| !members.is_empty()) else { continue };
                let node = members[self.random.below(members.len())].node;
                if !chosen.contains(&node) && self.is_one_of_few(node, site, &chosen) {
                    chosen.push(node);
                    found += 1;
                }
            }
        }
        let nodes = &self.nodes;
        let named =
            |number| nodes.get(number).map(|node: &Node<N>| Named { name: &node.name, reach: &node.reach });
        chosen.into_iter().filter_map(named).collect()
    }

    /// Returns true if the answer may name this node. Only a few nodes of other sites are named from one
    /// origin, so that a crowd of made-up nodes is not all that anybody is told of.
    fn is_one_of_few(&self, node: u32, site: u64, chosen: &[u32]) -> bool {
        let of = |number: u32| self.nodes.get(number).filter(|n| n.site != site).map(|n| n.origin);
        let origin = of(node);
        origin.is_none() || chosen.iter().filter(|other| of(**other) == origin).count() < FROM_ONE_PLACE
    }

    fn node(&self, name: &N) -> Option<(u32, &Node<N>)> {
        let number = self.number_of(name)?;
        Some((number, self.nodes.get(number)?))
    }

    fn number_of(&self, name: &N) -> Option<u32> {
        self.names.find(name, |number| self.nodes.get(number).map(|node| &node.name))
    }

    fn swarm_of(&self, key: &SwarmKey) -> Option<u32> {
        self.keys.find(key, |number| self.swarms.get(number).map(|swarm| &swarm.key))
    }

    fn set_version(&mut self, number: u32, version: u64) {
        if let Some(node) = self.nodes.get_mut(number) {
            node.version = version;
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
