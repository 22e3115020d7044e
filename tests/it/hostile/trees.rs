//! Directories that would write outside of their destination.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use swarm_core::content::kind::ContentKind;
use swarm_tests::fixture::{Home, PATIENCE, listing};
use swarm_tests::hostile::bytes::{Handmade, Node, varint};
use swarm_tests::hostile::{Hostile, Offering};

use super::names::{PATHS, TREES};
use super::{GROWTH, MIB, Victim, peak};

/// Fetches all of them at once, and returns the message of each that failed, by its id.
fn fetch(victim: &Victim, ids: &[String]) -> BTreeMap<String, Value> {
    let mut args = vec!["get", "--json", "-o", "into/"];
    args.extend(ids.iter().map(String::as_str));
    let ran = victim.home.spawn(args).wait_within(PATIENCE);
    ran.exits(65);
    let failed = ran.events.into_iter().filter(|event| event["event"] == "failed");
    failed.map(|event| (event["target"].as_str().unwrap_or_default().to_owned(), event)).collect()
}

/// Each of these manifests must be refused as a whole, for its own fault, and nothing may be written for it.
fn refused(manifests: &[(String, Offering)], payloads: Vec<Offering>) {
    let ids: Vec<String> = manifests.iter().map(|(_, offering)| offering.id.to_string()).collect();
    let offerings = manifests.iter().map(|(_, offering)| offering.clone()).chain(payloads).collect();
    let hostile = Hostile::honest(offerings);
    let victim = Victim::knowing([&hostile]);
    let canary = victim.home.path("canary");
    fs::create_dir(&canary).expect("a folder is made");
    fs::write(canary.join("bird"), "alive").expect("a file is written");
    symlink("bird", canary.join("link")).expect("a link is made");
    fs::create_dir(victim.home.path("into")).expect("a folder is made");
    let (before, held) = (outside(&victim.home), peak(&victim.daemon));

    let failed = fetch(&victim, &ids);
    for (what, offering) in manifests {
        let failure = failed.get(&offering.id.to_string());
        let failure = failure.unwrap_or_else(|| panic!("{what}: was not refused"));
        assert_eq!(
            (&failure["exit"], &failure["fault"]),
            (&65.into(), &"bad_content".into()),
            "{what}: {failure}"
        );
        let message = failure["message"].as_str().unwrap_or_default();
        assert!(message.contains("bad manifest") || what.contains("version"), "{what}: {message}");
        assert!(
            !message.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)),
            "{what}: {message:?}"
        );
    }
    assert_eq!(outside(&victim.home), before, "something was written outside");
    assert_eq!(listing(&victim.home.path("into")), [""; 0], "something was left behind");
    let grown = peak(&victim.daemon).saturating_sub(held);
    assert!(grown <= GROWTH, "{grown} KiB of memory");
    assert_eq!(hostile.logs().len(), 1, "who serves what it was asked for is no liar");
    victim.ends_well();
}

/// Returns the files in a home, without the store.
fn outside(home: &Home) -> Vec<String> {
    listing(home.dir()).into_iter().filter(|line| !line.starts_with("home")).collect()
}

fn file() -> Node {
    Node::Holding(b"payload".to_vec())
}

#[test]
fn d13_manifests_that_are_bombs() {
    let good = || Handmade::named(b"a");
    let many = |count: u32| (0..count).map(|n| (format!("{n:07}").into_bytes(), Node::EmptyDir));
    let all = |entries: Vec<(Vec<u8>, Node)>| {
        let entries: Vec<(&[u8], Node)> =
            entries.iter().map(|(path, node)| (&path[..], node.clone())).collect();
        Handmade::of(&entries)
    };
    let handmade = vec![
        ("trailing byte", good().tail(&[0])),
        ("trailing megabyte", good().tail(&vec![0; MIB])),
        ("too few entries", good().counting(2)),
        ("ten million entries", good().counting(10_000_000)),
        ("2^64-1 entries", good().counting(u64::MAX)),
        ("100,001 entries", all(many(100_001).collect())),
        (
            "sizes that wrap to nothing",
            Handmade::of(&[(b"a", Node::File(1 << 63)), (b"b", Node::File(1 << 63))]),
        ),
        ("sizes that wrap to little", Handmade::of(&[(b"a", Node::File(u64::MAX)), (b"b", Node::File(8))])),
        ("a file of 2^53", Handmade::of(&[(b"a", Node::File(1 << 53))])),
        ("files of 2^53 together", Handmade::of(&[(b"a", Node::File(1 << 52)), (b"b", Node::File(1 << 52))])),
        ("another payload length", good().claiming(8)),
        ("no payload length", good().claiming(0)),
        ("a path of 10,000 components", Handmade::named(&b"a/".repeat(10_000)[..19_999])),
        ("a path of 33 components", Handmade::named(&b"a/".repeat(33)[..65])),
        ("unknown flags", good().flags(0x82)),
        ("a kind that does not exist", Handmade::of(&[(b"a", Node::Other(9, varint(0)))])),
        ("a name of 4 GiB", Handmade::of(&[(b"a", Node::Other(3, varint(1 << 32)))])),
        ("a longer number than needed", Handmade::of(&[(b"a", Node::Other(3, vec![0x81, 0x00, b'b']))])),
        ("descending", Handmade::of(&[(b"b", file()), (b"a", file())])),
        ("one name twice", Handmade::of(&[(b"a", file()), (b"a", file())])),
    ];
    let named =
        |(what, handmade): (&str, Handmade)| (what.to_owned(), Offering::directory(handmade.encode()));
    let mut manifests: Vec<_> = handmade.into_iter().map(named).collect();
    let other_version = [&b"swarmdir\x07"[..], &good().encode()[9..]].concat();
    manifests.extend([
        ("no manifest".to_owned(), Offering::directory(b"#!/bin/sh\n".to_vec())),
        ("nothing but magic".to_owned(), Offering::directory(b"swarmdir".to_vec())),
        ("another version".to_owned(), Offering::directory(other_version)),
        ("a gibibyte".to_owned(), Offering::hollow(ContentKind::Directory, 1 << 30)),
        ("a byte over the limit".to_owned(), Offering::hollow(ContentKind::Directory, (8 << 20) + 1)),
    ]);
    refused(&manifests, vec![Offering::file(b"payload".to_vec())]);
}

#[test]
fn d14_names_that_are_no_names() {
    assert!(PATHS.len() >= 60, "{} names", PATHS.len());
    let mut manifests = Vec::new();
    for path in PATHS {
        let what = path.escape_ascii().to_string();
        manifests.push((what.clone(), Offering::directory(Handmade::named(path).encode())));
        // Something good beside it saves nothing.
        let mut entries = [(&b"good"[..], Node::EmptyDir), (path, file())];
        entries.sort_by_key(|(path, _)| *path);
        manifests.push((
            format!("{what} beside a good one"),
            Offering::directory(Handmade::of(&entries).encode()),
        ));
    }
    refused(&manifests, vec![Offering::file(b"payload".to_vec())]);
}

#[test]
fn d15_trees_that_lead_outside() {
    let node = |what: &str| match what.strip_prefix("-> ") {
        Some(target) => Node::Link(target.as_bytes().to_vec()),
        None if what.is_empty() => Node::EmptyDir,
        None => file(),
    };
    let mut payloads = BTreeMap::new();
    let handmade = TREES.iter().map(|tree| {
        let entries: Vec<(&[u8], Node)> =
            tree.iter().map(|(path, what)| (path.as_bytes(), node(what))).collect();
        let handmade = Handmade::of(&entries);
        payloads.insert(handmade.payload(), ());
        (format!("{tree:?}"), Offering::directory(handmade.encode()))
    });
    let manifests: Vec<_> = handmade.collect();
    refused(&manifests, payloads.into_keys().filter(|p| !p.is_empty()).map(Offering::file).collect());
}
