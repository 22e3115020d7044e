#![allow(clippy::unwrap_used)]

use libp2p::PeerId;

use super::*;
use crate::wire::tracker::{Found, TrackerAnswer};

const THREE: [&str; 3] = ["12D3KooWa", "12D3KooWb", "12D3KooWc"];

fn key(number: u32) -> SwarmKey {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

#[test]
fn three_trackers_share_the_swarms() {
    let mut load = [0_u32; 3];
    for number in 0..3000 {
        let chosen = responsible(&key(number), &THREE, |_| false);
        assert_eq!(chosen.len(), limits::TRACKER_COPIES);
        chosen.iter().for_each(|at| load[*at] += 1);
    }
    // 2000 of 3000 each, with a deviation of 26.
    assert!(load.iter().all(|n| (1850..2150).contains(n)), "{load:?}");
}

#[test]
fn everybody_chooses_alike_whatever_the_order() {
    for number in 0..200 {
        let chosen = responsible(&key(number), &THREE, |_| false);
        let names: BTreeSet<&str> = chosen.into_iter().map(|at| THREE[at]).collect();
        let other = [THREE[2], THREE[0], THREE[1]];
        let there = responsible(&key(number), &other, |_| false);
        assert_eq!(names, there.into_iter().map(|at| other[at]).collect());
    }
}

#[test]
fn another_stands_in_for_one_that_is_gone_and_the_first_stay() {
    for number in 0..200 {
        let before = responsible(&key(number), &THREE, |_| false);
        let without = responsible(&key(number), &THREE, |at| at == before[0]);
        assert_eq!(without.len(), 3, "two that can be reached, and the one that may come back");
        assert_eq!(without[..2], before[..]);
        let other: usize = (0..3).find(|at| !before.contains(at)).unwrap();
        assert_eq!(
            responsible(&key(number), &THREE, |at| at == other),
            before,
            "one that was not told is not missed"
        );
    }
    assert_eq!(responsible(&key(1), &THREE, |_| true).len(), 2, "nobody stands in where nobody is left");
    assert_eq!(responsible(&key(1), &THREE[..2], |_| true), [0, 1]);
    assert!(responsible(&key(1), &[], |_| false).is_empty());
}

fn trackers(count: u16) -> Trackers {
    let addrs = (0..count).map(|n| format!("/ip4/127.0.0.1/tcp/{}", 1 + n).parse().unwrap()).collect();
    let mut trackers = Trackers::new(addrs, Keypair::generate_ed25519(), None, None);
    trackers.all.iter_mut().for_each(|tracker| tracker.link = TrackerLink::nowhere());
    trackers
}

/// Announces what is due at this time; true if the first tracker got an announcement.
async fn announces(trackers: &mut Trackers, lacks: bool, now: Instant) -> bool {
    trackers.announce(lacks, &listen(), now);
    // The links take the announcements that they were handed.
    tokio::task::yield_now().await;
    std::mem::take(&mut trackers.all[0].waits)
}

fn listen() -> Vec<Multiaddr> {
    vec!["/ip4/10.0.0.1/tcp/4001".parse().unwrap()]
}

fn id(number: u32) -> ContentId {
    ContentId::from_bytes(key(number))
}

/// Answers for tracker `number` as if it had taken everything in.
fn answer(
    trackers: &mut Trackers,
    number: u64,
    version: u64,
    found: Vec<Found>,
    now: Instant,
) -> Option<NamedMembers> {
    let answer = Ok(TrackerAnswer { version, interval: 60, pause: 5, found, ..TrackerAnswer::default() });
    trackers.heard(TrackerReply { tracker: number, asked: true, at: None, answer }, now)
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_listened_to() {
    let (mut all, now) = (trackers(1), Instant::now());
    all.wants(id(1));
    assert!(announces(&mut all, true, now).await, "a want is announced at once");
    let peer = PeerAddrs { peer: vec![1], addrs: Vec::new() };
    let found = |number| Found { key: key_of(id(number)), members: 9, whole: 1, peers: vec![peer.clone()] };
    let version = all.all[0].ledger.under_way();
    let named = answer(&mut all, 1, version, vec![found(1), found(2)], now).unwrap();
    assert_eq!(named.peers.len(), 1);
    assert_eq!(all.all[0].state(), "8 others, 1 of them with everything");
    let none = answer(&mut all, 7, 1, vec![found(1)], now);
    assert!(none.is_none(), "nor to a tracker that is not there any longer");
}

#[tokio::test]
async fn what_is_lacking_is_asked_for_again_and_what_is_not_is_not() {
    let (mut all, start) = (trackers(1), Instant::now());
    all.wants(id(1));
    let mut asked = Vec::new();
    for second in 0..120 {
        let now = start + Duration::from_secs(second);
        if announces(&mut all, second < 60, now).await {
            asked.push(second);
            let version = all.all[0].ledger.under_way();
            answer(&mut all, 1, version, Vec::new(), now);
        }
    }
    assert_eq!(asked[..4], [0, 5, 15, 35], "{asked:?}");
    let quiet: Vec<u64> = asked.into_iter().filter(|at| *at >= 60).collect();
    assert!(quiet.len() <= 2, "only renewals: {quiet:?}");
}

#[tokio::test]
async fn a_tracker_that_cannot_be_reached_is_tried_less_and_less() {
    let (mut all, start) = (trackers(3), Instant::now());
    (0..30).for_each(|n| all.holds(id(n)));
    let mut tried = Vec::new();
    for tenth in 0..1200 {
        let now = start + Duration::from_millis(tenth * 100);
        if announces(&mut all, false, now).await {
            tried.push(tenth / 10);
            all.heard(
                TrackerReply { tracker: 1, asked: true, at: None, answer: Err("refused".to_owned()) },
                now,
            );
        }
    }
    // After 1, 2, 4, 8, 16, 32 and then 60 seconds, or up to half of that less.
    assert!((6..12).contains(&tried.len()), "{tried:?}");
    assert!(tried.iter().filter(|second| **second >= 60).count() <= 2, "{tried:?}");
    // The other two trackers are told of everything now.
    for at in 1..3 {
        assert_eq!(all.told(at).len(), 30);
    }
    assert_eq!(all.all[0].state(), "refused");
}

#[tokio::test]
async fn a_tracker_of_a_link_hears_of_that_link_only_and_goes_with_it() {
    let mut all = trackers(1);
    all.holds(id(1));
    all.linked(&"/ip4/127.0.0.1/tcp/9".parse().unwrap(), id(2));
    all.wants(id(2));
    assert_eq!((all.told(0).len(), all.told(1)), (2, vec![key_of(id(2))]));
    all.settle(|_| true);
    assert_eq!(all.all.len(), 2);
    all.settle(|_| false);
    assert_eq!(all.all.len(), 1, "nobody fetches it any longer");
    for port in 1..100_u16 {
        all.linked(&format!("/ip4/127.0.0.2/tcp/{port}").parse().unwrap(), id(3));
    }
    assert!(all.all.len() <= 1 + limits::LINKED_TRACKERS);
}

#[tokio::test]
async fn one_tracker_under_two_addresses_is_one() {
    let (mut all, now) = (trackers(3), Instant::now());
    all.holds(id(1));
    assert!(announces(&mut all, false, now).await);
    let at: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", PeerId::random()).parse().unwrap();
    // The first two are the same tracker, whichever of them answers first.
    for number in [2, 1] {
        let version = all.all.iter().find(|t| t.number == number).unwrap().ledger.under_way();
        let answer = Ok(TrackerAnswer { version, ..TrackerAnswer::default() });
        all.heard(TrackerReply { tracker: number, asked: true, at: Some(at.clone()), answer }, now);
    }
    assert_eq!(all.all.iter().map(|t| t.number).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn what_is_no_longer_fetched_is_forgotten_without_trackers_too() {
    let mut all = trackers(0);
    all.linked(&"/ip4/127.0.0.1/tcp/9".parse().unwrap(), id(1));
    all.wants(id(1));
    all.all[0].fails = LINKED_FAILS;
    all.settle(|_| true);
    assert!(all.all.is_empty(), "it never answered");
    all.settle(|_| false);
    assert!(all.wanted.is_empty() && all.set.is_empty());
}
