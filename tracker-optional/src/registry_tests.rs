//! Tests of the registry; the oracle is a plain list of nodes and their swarms.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ROOMY: Bounds =
    Bounds { nodes: 1000, members: 100_000, per_node: 1000, per_origin: 1000, members_per_origin: u32::MAX };
const LATER: Now = Duration::from_secs(60);

fn at(site: u64) -> At {
    At { site, origin: site }
}

fn key(number: u8) -> SwarmKey {
    [number; 32]
}

fn entry(number: u8, whole: bool) -> AnnouncedSwarm {
    AnnouncedSwarm { key: key(number), whole }
}

/// Adds `count` members of swarm 1 to `site`; the first `whole` of them have everything.
fn fill(registry: &mut Registry<u64>, site: u64, count: u64, whole: u64) {
    for node in 0..count {
        let name = site * 10_000 + node;
        registry.heard(&name, at(site), &[site as u8], LATER).unwrap();
        registry.change(&name, true, (&[entry(1, node < whole)], &[]), 1).unwrap();
    }
}

fn names(registry: &mut Registry<u64>, of: u64) -> Vec<u64> {
    registry.sample(&of, &key(1), Shares::default()).into_iter().map(|named| *named.name).collect()
}

#[test]
fn most_are_near_and_gateways_know_some_far() {
    let mut registry = Registry::new(ROOMY, 1);
    for site in 1..=5 {
        fill(&mut registry, site, 60, 0);
    }
    let mut far_of = Vec::new();
    for node in 10_000..10_060 {
        let found = names(&mut registry, node);
        let far = found.iter().filter(|name| *name / 10_000 != 1).count();
        assert_eq!(found.len() - far, 20, "neighbours of its site");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "each once");
        assert!(!found.contains(&node));
        far_of.push(far);
    }
    assert_eq!(far_of.iter().filter(|far| **far == 10).count(), GATEWAYS as usize, "{far_of:?}");
    assert_eq!(far_of.iter().filter(|far| **far == 2).count(), 60 - GATEWAYS as usize);
    // A gateway that leaves makes room for another.
    registry.forget(&10_000);
    let far = |registry: &mut Registry<u64>, node| {
        names(registry, node).iter().filter(|n| *n / 10_000 != 1).count()
    };
    assert_eq!(far(&mut registry, 10_059), 10);
    assert_eq!(far(&mut registry, 10_058), 2);
}

#[test]
fn who_is_alone_in_its_site_meets_others() {
    let mut registry = Registry::new(ROOMY, 1);
    fill(&mut registry, 1, 1, 0);
    fill(&mut registry, 2, 40, 1);
    let found = names(&mut registry, 10_000);
    assert!(
        found.contains(&20_000),
        "who has everything is always named to who must fetch from outside: {found:?}"
    );
    assert_eq!(names(&mut registry, 77), Vec::<u64>::new(), "who is not known is told nothing");
}

#[test]
fn each_is_drawn_as_often_as_any() {
    let mut registry = Registry::new(ROOMY, 1);
    fill(&mut registry, 1, 101, 0);
    let mut drawn = BTreeMap::<u64, u32>::new();
    for _ in 0..2000 {
        names(&mut registry, 10_100).into_iter().for_each(|name| *drawn.entry(name).or_default() += 1);
    }
    // 20 of 100 each time: 400 expected, with a deviation of 18.
    for name in 10_000..10_100 {
        let times = drawn.get(&name).copied().unwrap_or(0);
        assert!((300..500).contains(&times), "{name}: {times}");
    }
}

#[test]
fn each_who_has_everything_is_drawn_as_often_as_any() {
    let mut registry = Registry::new(ROOMY, 1);
    fill(&mut registry, 1, 7, 7);
    fill(&mut registry, 2, 1, 0);
    let mut drawn = BTreeMap::<u64, u32>::new();
    for _ in 0..700 {
        let only = Shares { near: 0, far: 0, far_least: 0, whole: 3 };
        let found = registry.sample(&20_000, &key(1), only);
        assert_eq!(found.len(), 3);
        found.into_iter().for_each(|named| *drawn.entry(*named.name).or_default() += 1);
    }
    // 300 expected, with a deviation of 13.
    assert!(drawn.len() == 7 && drawn.values().all(|times| (240..360).contains(times)), "{drawn:?}");
}

#[test]
fn who_comes_and_goes_leaves_little() {
    let mut registry = Registry::new(ROOMY, 1);
    for _ in 0..1000 {
        registry.heard(&1_u64, at(1), &[], LATER).unwrap();
        registry.forget(&1);
    }
    assert!(registry.due.len() < 100, "{}", registry.due.len());
}

#[test]
fn who_is_not_heard_of_is_forgotten() {
    let mut registry = Registry::new(ROOMY, 1);
    fill(&mut registry, 1, 10, 0);
    registry.heard(&10_003, at(1), &[1], LATER * 2).unwrap();
    registry.expire(LATER - Duration::from_millis(1));
    assert_eq!(registry.nodes(), 10);
    registry.expire(LATER);
    assert_eq!((registry.nodes(), registry.members(), registry.swarms()), (1, 1, 1));
    registry.expire(LATER * 2);
    assert_eq!((registry.nodes(), registry.members(), registry.swarms()), (0, 0, 0));
    assert_eq!((registry.groups.len(), registry.due.len()), (0, 0));
}

#[test]
fn it_has_bounds_and_says_so() {
    let mut registry = Registry::new(Bounds { nodes: 2, members: 3, per_node: 2, ..ROOMY }, 1);
    let three = [entry(1, false), entry(2, false), entry(3, false)];
    registry.heard(&1_u64, at(1), &[], LATER).unwrap();
    assert_eq!(registry.change(&1, true, (&three, &[]), 9), Err(Refused::TooMany(2)));
    assert_eq!((registry.members(), registry.version(&1)), (2, 0));
    registry.heard(&2, at(1), &[], LATER).unwrap();
    assert_eq!(registry.change(&2, true, (&three[..2], &[]), 9), Err(Refused::Full));
    assert_eq!(registry.heard(&3, at(1), &[], LATER), Err(Refused::Full));
    registry.forget(&1);
    assert_eq!(registry.change(&2, true, (&three[..2], &[]), 9), Ok(()));
    assert_eq!((registry.members(), registry.version(&2)), (2, 9));
}

#[derive(Debug, Clone)]
enum Deed {
    Heard { node: u8, site: u8, until: u16 },
    Change { node: u8, anew: bool, add: Vec<(u8, bool)>, drop: Vec<u8> },
    Forget { node: u8 },
    Sample { node: u8, key: u8 },
    Expire { at: u16 },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let node = 0_u8..12;
    let deed = prop_oneof![
        3 => (node.clone(), 0_u8..4, 0_u16..500).prop_map(|(node, site, until)| Deed::Heard { node, site, until }),
        4 => (node.clone(), any::<bool>(), prop::collection::vec((0_u8..50, any::<bool>()), 0..40),
              prop::collection::vec(0_u8..50, 0..20))
            .prop_map(|(node, anew, add, drop)| Deed::Change { node, anew, add, drop }),
        1 => node.clone().prop_map(|node| Deed::Forget { node }),
        3 => (node, 0_u8..50).prop_map(|(node, key)| Deed::Sample { node, key }),
        1 => (0_u16..500).prop_map(|at| Deed::Expire { at }),
    ];
    prop::collection::vec(deed, 0..60)
}

/// Checks that the lists agree with each other.
fn check(registry: &Registry<u8>) {
    let mut members = 0;
    for number in registry.names.numbers() {
        let node = registry.nodes.get(number).unwrap();
        assert_eq!(registry.number_of(&node.name), Some(number));
        members += node.entries.len();
        assert!(node.index.as_ref().is_none_or(|index| index.len() == node.entries.len()));
        for (at, of) in node.entries.iter().enumerate() {
            let member = Member { node: number, entry: at as u32 };
            assert_eq!(registry.group(of.swarm, node.site).unwrap().members[of.at as usize], member);
            let swarm = registry.swarms.get(of.swarm).unwrap();
            assert!(of.whole == NOWHERE || swarm.whole[of.whole as usize] == member);
            assert!(node.index.as_ref().is_none_or(|index| index[&of.swarm] == at as u32));
        }
    }
    assert_eq!(members, registry.members());
    let (mut others, mut stand) = (0, 0);
    for number in registry.keys.numbers() {
        let swarm = registry.swarms.get(number).unwrap();
        assert_eq!(registry.swarm_of(&swarm.key), Some(number));
        let sites = swarm.others.as_deref().map_or(&[][..], Vec::as_slice);
        assert!(
            !sites.contains(&swarm.site) && swarm.others.as_ref().is_none_or(|others| !others.is_empty())
        );
        others += sites.len();
        for site in sites.iter().chain([&swarm.site]) {
            let group = registry.group(number, *site).unwrap();
            assert!(*site == swarm.site || sites[group.at as usize] == *site);
            assert!(!group.members.is_empty() && group.gateways <= GATEWAYS.min(group.members.len() as u32));
            stand += group.members.len();
        }
    }
    assert_eq!((registry.groups.len(), members), (others, stand));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn it_knows_what_a_plain_list_knows(deeds in deeds()) {
        let mut registry = Registry::new(ROOMY, 1);
        let mut plain: BTreeMap<u8, (u8, u16, BTreeMap<u8, bool>)> = BTreeMap::new();
        let mut clock = 0;
        for (count, deed) in deeds.into_iter().enumerate() {
            match deed {
                Deed::Heard { node, site, until } => {
                    let until = clock + until;
                    registry.heard(&node, at(site.into()), &[site], Duration::from_millis(until.into())).unwrap();
                    let known = plain.entry(node).or_insert((site, until, BTreeMap::new()));
                    (known.0, known.1) = (site, known.1.max(until));
                }
                Deed::Change { node, anew, add, drop } => {
                    let (adds, drops): (Vec<_>, Vec<_>) =
                        (add.iter().map(|(k, w)| entry(*k, *w)).collect(), drop.iter().map(|k| key(*k)).collect());
                    registry.change(&node, anew, (&adds, &drops), count as u64).unwrap();
                    if let Some((.., swarms)) = plain.get_mut(&node) {
                        if anew {
                            swarms.clear();
                        }
                        drop.iter().for_each(|k| drop_one(swarms, *k));
                        swarms.extend(add);
                    }
                }
                Deed::Forget { node } => {
                    registry.forget(&node);
                    plain.remove(&node);
                }
                Deed::Sample { node, key: number } => {
                    let found: Vec<(u8, u8)> = registry
                        .sample(&node, &key(number), Shares::default())
                        .into_iter()
                        .map(|named| (*named.name, named.reach[0]))
                        .collect();
                    for (name, reach) in &found {
                        let (site, _, swarms) = &plain[name];
                        prop_assert!(*name != node && swarms.contains_key(&number) && site == reach);
                    }
                    let near = |(name, (site, ..)): &(&u8, &(u8, u16, BTreeMap<u8, bool>))| {
                        **name != node && plain.get(&node).is_some_and(|own| own.0 == *site)
                    };
                    let expected = plain.iter().filter(near).filter(|(_, of)| of.2.contains_key(&number)).count();
                    let own = plain.get(&node).map(|own| own.0);
                    let got = found.iter().filter(|(_, reach)| Some(*reach) == own).count();
                    prop_assert_eq!(got, expected, "a small site is named whole");
                }
                Deed::Expire { at } => {
                    clock = clock.max(at);
                    registry.expire(Duration::from_millis(clock.into()));
                    plain.retain(|_, (_, until, _)| *until > clock);
                }
            }
            check(&registry);
            prop_assert_eq!(registry.nodes(), plain.len());
            prop_assert_eq!(registry.members(), plain.values().map(|of| of.2.len()).sum::<usize>());
            for number in 0..50 {
                let of = || plain.values().filter_map(|of| of.2.get(&number));
                prop_assert_eq!(registry.swarm(&key(number)), (of().count(), of().filter(|whole| **whole).count()));
            }
        }
    }
}

fn drop_one(swarms: &mut BTreeMap<u8, bool>, number: u8) {
    swarms.remove(&number);
}

#[test]
fn one_place_has_so_many_nodes() {
    let bounds = Bounds { per_origin: 2, ..ROOMY };
    let mut registry = Registry::new(bounds, 1);
    for node in [1_u64, 2] {
        registry.heard(&node, at(1), &[], LATER).unwrap();
    }
    assert_eq!(registry.heard(&3, at(1), &[], LATER), Err(Refused::Crowded));
    registry.heard(&3, at(2), &[], LATER).unwrap();
    assert_eq!(registry.heard(&3, at(1), &[], LATER), Err(Refused::Crowded), "by moving there neither");
    registry.forget(&1);
    registry.heard(&3, at(1), &[], LATER).unwrap();
    registry.expire(LATER);
    assert!(registry.origins.is_empty());
}

#[test]
fn one_place_has_so_many_members() {
    let bounds = Bounds { members_per_origin: 3, ..ROOMY };
    let mut registry = Registry::new(bounds, 1);
    registry.heard(&1_u64, at(1), &[], LATER).unwrap();
    registry.heard(&2, at(1), &[], LATER).unwrap();
    registry.change(&1, true, (&[entry(1, true), entry(2, true)], &[]), 1).unwrap();
    let too_many = registry.change(&2, true, (&[entry(1, true), entry(2, true)], &[]), 1);
    assert_eq!(too_many, Err(Refused::Crowded));
    assert_eq!((registry.swarm(&key(1)), registry.swarm(&key(2))), ((2, 2), (1, 1)));
    // Elsewhere there is room, and a node that leaves makes some.
    registry.heard(&3, at(2), &[], LATER).unwrap();
    registry.change(&3, true, (&[entry(2, false)], &[]), 1).unwrap();
    registry.forget(&1);
    registry.change(&2, false, (&[entry(2, true), entry(3, true)], &[]), 2).unwrap();
    registry.expire(LATER);
    assert!(registry.origins.is_empty() && registry.members() == 0);
}

/// A crowd from one address, with a site for each of its nodes, is not all that others are told of.
#[test]
fn few_of_one_place_are_named_to_those_elsewhere() {
    let mut registry = Registry::new(ROOMY, 1);
    let mut join = |name: u64, site: u64, origin: u64| {
        registry.heard(&name, At { site, origin }, &[], LATER).unwrap();
        registry.change(&name, true, (&[entry(1, true)], &[]), 1).unwrap();
    };
    (0..200).for_each(|name| join(name, 1000 + name, 7));
    (200..210).for_each(|name| join(name, name, name));
    join(999, 1, 1);
    let found = names(&mut registry, 999);
    assert!(found.iter().filter(|name| **name < 200).count() <= FROM_ONE_PLACE, "{found:?}");
}
