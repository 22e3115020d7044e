//! Who is where, and takes part in what: a machine without a clock, sockets or randomness of its own.
//!
//! A *member* is a node in the swarm of one key (a content's id, or what stands for it). Nodes are told apart by what they
//! proved to be, places (*sites*) by what the caller makes of their addresses. What is kept is worth nothing to anybody who
//! comes later: it is announced again within minutes.
//!
//! **Answers.** Who asks for a swarm is told of members drawn by lot: mostly of its own site, some elsewhere. Up to
//! [`GATEWAYS`] of each site and swarm are told of more elsewhere: a site fetches across its border by few (see
//! `swarm_core::schedule`). A part of the answer is kept for members that have everything; never are they ranked, or all
//! newcomers would sit on the same few.
//!
//! Cost: an announcement O(changes), an answer O(its length), whatever the size of the swarm; a member takes 12 bytes at its
//! node and 8 in its group, a swarm some 110 beside, and each of its sites after the first some 100.

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

/// Time since a fixed start.
pub type Now = Duration;

/// Members of a swarm in one site that are told of many elsewhere.
pub const GATEWAYS: u32 = 8;

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Whom it is near: those of the same number.
    pub site: u64,
    /// The place it comes from, of which there may be only so many.
    pub origin: u64,
}

/// How many are named in one answer about one swarm.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Of the asker's own site.
    pub near: usize,
    /// Of other sites, for a gateway, and where there is hardly anybody near.
    pub far: usize,
    /// Of other sites, for all others: one route more if the site's gateways fail, or lie.
    pub far_least: usize,
    /// Beside these, members that have everything, as far as there are any.
    pub whole: usize,
}

impl Default for Shares {
    /// Twenty neighbours are as good as any number (simulated), and each site needs but a few outside.
    fn default() -> Self {
        Self { near: 20, far: 10, far_least: 2, whole: 6 }
    }
}

/// Bounds of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Nodes.
    pub nodes: usize,
    /// Members, over all swarms.
    pub members: usize,
    /// Swarms of one node.
    pub per_node: usize,
    /// Nodes that come from one place.
    pub per_origin: u32,
    /// Members that come from one place.
    pub members_per_origin: u32,
}

/// Why an announcement was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The registry is full.
    #[error("the tracker is full")]
    Full,
    /// There are as many nodes from its place as there may be.
    #[error("the tracker has reached its limit of nodes for this address")]
    Crowded,
    /// The node takes part in as many swarms as one may.
    #[error("a node may take part in at most {0} swarms")]
    TooMany(usize),
}

/// A node and where it can be reached, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a, N> {
    /// Who.
    pub name: &'a N,
    /// How to reach it, in the caller's form.
    pub reach: &'a [u8],
}

/// See the module's text. `N` names a node.
#[derive(Debug)]
pub struct Registry<N> {
    bounds: Bounds,
    names: NameIndex,
    /// How many nodes come from each place.
    origins: Quotas,
    nodes: Slab<Node<N>>,
    keys: NameIndex,
    swarms: Slab<Gathering>,
    /// Those of each swarm's sites after the first.
    groups: HashMap<(u32, u64), Group>,
    /// Nodes by when they were last heard of, or before: looked at when they are due.
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
    /// The state of its entries, by its own count.
    version: u64,
    expires: Now,
    entries: SmallList<Membership>,
    /// Where each swarm's entry is, once they are too many to look through.
    #[allow(clippy::box_collection)] // Eight bytes for the many that need none, in place of 48.
    index: Option<Box<HashMap<u32, u32>>>,
}

/// Nodes of other sites that come from one place, in one answer.
const FROM_ONE_PLACE: usize = 3;
/// Swarms of a node that are moved to another site at once.
const MOVED: usize = 1000;

/// One swarm a node takes part in: where it stands there.
#[derive(Debug, Clone, Copy)]
struct Membership {
    swarm: u32,
    /// Its place in the group of its site.
    at: u32,
    /// Its place among those that have everything, or [`NOWHERE`].
    whole: u32,
}

const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
struct Gathering {
    key: SwarmKey,
    /// One of its sites, whose members stand here: most swarms have no other.
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
    /// Its place among the other sites of its swarm.
    at: u32,
}

impl<N: Eq + Hash + Clone> Registry<N> {
    /// An empty one, whose lots follow from `seed`.
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

    /// Nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.names.len()
    }

    /// Swarms.
    #[must_use]
    pub fn swarms(&self) -> usize {
        self.keys.len()
    }

    /// Members, over all swarms.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members
    }

    /// Members of one swarm, and how many of them have everything.
    #[must_use]
    pub fn swarm(&self, key: &SwarmKey) -> (usize, usize) {
        let swarm = self.swarm_of(key).and_then(|number| self.swarms.get(number));
        swarm.map_or((0, 0), |swarm| (swarm.members as usize, swarm.whole.len()))
    }

    /// The state of a node's entries that is known here, by the node's own count; 0 for a node that is not known.
    #[must_use]
    pub fn version(&self, name: &N) -> u64 {
        self.node(name).map_or(0, |(_, node)| node.version)
    }

    /// A node is heard of: it is kept until `expires`, is `at` this place and can be reached so.
    ///
    /// # Errors
    /// [`Refused::Full`], [`Refused::Crowded`] for one node too many.
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
            // A move costs as much as it has swarms: with many it waits until the node tells all anew.
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
        // Who comes and goes leaves entries behind.
        if self.due.len() > 2 * self.names.len() + 64 {
            let nodes = &self.nodes;
            self.due.retain(|Reverse((_, number, turn))| nodes.use_of(*number) == *turn);
        }
        Ok(())
    }

    /// A node that was heard of takes part in more swarms, and no longer in others; its entries are at `version` then. With
    /// `anew`, all that was known before is forgotten first.
    ///
    /// # Errors
    /// [`Refused`]: what came before the entry that is too much is taken in, and the version becomes 0.
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

    /// A node goes.
    pub fn forget(&mut self, name: &N) {
        if let Some(number) = self.number_of(name) {
            self.clear(number);
            self.names.remove(name, number);
            if let Some(node) = self.nodes.remove(number) {
                self.origins.depart(node.origin);
            }
        }
    }

    /// Forgets whom nobody has heard of for too long.
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

    /// Members of a swarm for a node to meet, itself left out; nobody if it is not known here.
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
            // Those who have everything: for who fetches from outside those elsewhere, else those near.
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

    /// Of other sites, few from one place are named: a crowd of made-up nodes is not all that anybody is told of.
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
