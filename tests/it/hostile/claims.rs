//! Lies about the chunks that a peer has, and about the content of an id.

use blake3::hazmat::HasherExt as _;
use swarm_core::content::geometry::Geometry;
use swarm_core::content::kind::ContentKind;
use swarm_core::content::tree::encoded_len;
use swarm_core::wire::{Have, LIST, Message, Offer};
use swarm_tests::fixture::{PATIENCE, wait_until};
use swarm_tests::hostile::bytes::{framed, varint};
use swarm_tests::hostile::{Hostile, Offering, Out, Turn, frames};

use super::{Content, MIB, PROMPT, Victim, on_disk};

/// Changes the offer in an honest answer.
fn offering(honest: Vec<Out>, change: impl Fn(&mut Offer)) -> Vec<Out> {
    let changed = |out| match out {
        Out::Control(Message::Offer(mut offer)) => {
            change(&mut offer);
            Out::Control(Message::Offer(offer))
        }
        other => other,
    };
    honest.into_iter().map(changed).collect()
}

/// A peer that claims another set of chunks.
fn claiming(content: &Content, have: Have) -> Hostile {
    Hostile::listen(content.offerings(), move |_, honest| offering(honest, |offer| offer.have = have.clone()))
}

/// A peer that offers honestly and then sends further messages about the blob.
fn adding(content: &Content, more: impl Fn(u32) -> Vec<Out> + Send + Sync + 'static) -> Hostile {
    Hostile::listen(content.offerings(), move |turn, mut honest| {
        honest.extend(turn.wanted().into_iter().flat_map(&more));
        honest
    })
}

/// 17 bytes hold the 129 chunks of the content, with seven bits to spare.
fn bits(len: usize, last: u8) -> Have {
    let mut bits = vec![0xff; len - 1];
    bits.push(last);
    Have::Bits(bits)
}

/// A message of 60 KiB that would take four times as much when read, about a blob that nobody wants.
fn many_runs() -> Vec<u8> {
    let runs = 30_000;
    framed(&[vec![5], varint(9999), vec![1], varint(runs), vec![1; runs as usize * 2]].concat())
}

#[test]
fn d4_have_maps_that_cannot_be() {
    let content = Content::new(8 * MIB + 100, 4);
    let runs = |runs: &[(u32, u32)]| Have::Runs(runs.to_vec());
    let have = |add: Have| move |blob| vec![Out::Control(Message::Have { blob, add: add.clone() })];
    let raw = |frame: Vec<u8>| move |_| vec![Out::RawControl(framed(&frame))];
    let hostile = vec![
        ("bits too short", claiming(&content, bits(16, 0xff))),
        ("bits too long", claiming(&content, bits(18, 0))),
        ("no bits", claiming(&content, Have::Bits(Vec::new()))),
        ("spare bits", claiming(&content, bits(17, 0x03))),
        ("beyond the end", claiming(&content, runs(&[(128, 2)]))),
        ("starts beyond the end", claiming(&content, runs(&[(129, 1)]))),
        ("wraps round", claiming(&content, runs(&[(u32::MAX, u32::MAX)]))),
        ("empty run", claiming(&content, runs(&[(3, 0)]))),
        ("touching runs", claiming(&content, runs(&[(0, 2), (2, 2)]))),
        ("descending runs", claiming(&content, runs(&[(8, 2), (0, 2)]))),
        ("later: beyond the end", adding(&content, have(runs(&[(200, 1)])))),
        ("later: spare bits", adding(&content, have(bits(17, 0x80)))),
        ("a number over 32 bits", adding(&content, raw([vec![5], varint(u64::MAX), vec![0]].concat()))),
        ("an endless number", adding(&content, raw([vec![5], vec![0xff; 40]].concat()))),
        ("runs that are not there", adding(&content, raw([vec![5, 1, 1], varint(u64::MAX)].concat()))),
        ("a form that does not exist", adding(&content, raw(vec![5, 1, 9, 0]))),
        ("as many runs as fit in a frame", adding(&content, |_| vec![Out::RawControl(many_runs())])),
        ("nothing", adding(&content, |_| vec![Out::RawControl(vec![0; 4])])),
    ];
    let victim = Victim::knowing(hostile.iter().map(|(_, peer)| peer));
    let get = victim.get(&content.id());
    for (what, reason) in victim.bans(&hostile) {
        assert!(reason.contains("cannot be") || reason.contains("broke the protocol"), "{what}: {reason}");
    }
    victim.is_saved(get, &content);
    victim.ends_well();
}

/// A peer that claims another kind or length for the id, and proves it as well as it can.
fn lying(content: &Content, claim: (ContentKind, u64), list: Vec<u8>, last: Vec<u8>) -> Hostile {
    let script = move |turn: &Turn<'_>, honest: Vec<Out>| match turn.heard {
        Some(Message::List { blob }) => frames(*blob, LIST, &list),
        Some(Message::Request { blob, first, .. }) => frames(*blob, *first, &last),
        _ => offering(honest, |offer| (offer.kind, offer.len) = claim),
    };
    Hostile::listen(content.offerings(), script)
}

/// Bytes as chunks of `size`, each by its chaining value: with half the true size, the list of content of
/// twice the length that merges to the same id.
fn values(bytes: &[u8], size: usize) -> Vec<u8> {
    let value = |(number, part): (usize, &[u8])| {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset((number * size) as u64);
        hasher.update(part).finalize_non_root()
    };
    bytes.chunks(size).enumerate().flat_map(value).collect()
}

#[test]
fn d12_lengths_that_are_lies() {
    // 16 chunks of 64 KiB: also 32 subtrees of 32 KiB, and 8 of 128 KiB.
    let content = Content::new(MIB, 12);
    let len = MIB as u64;
    let bytes = content.offering.whole().unwrap_or_default().to_vec();
    let (list, chunk) = (content.offering.list().to_vec(), bytes[MIB - (64 << 10)..].to_vec());
    let lie = |len: u64, list: &[u8], last: &[u8]| {
        lying(&content, (ContentKind::File, len), list.to_vec(), last.to_vec())
    };
    let invented = |len: u64| vec![7; Geometry::new(len).map_or(0, encoded_len)];
    // The nearest to a tail that there is: that of other bytes of the claimed length.
    let ended = |values: &[u8], bytes: &[u8]| {
        let whole = Offering::file(bytes.to_vec());
        let tail = whole.list().split_at(whole.geometry().chunks() as usize * 32).1;
        [values, tail].concat()
    };
    let (merged, longer) = (list.split_at(16 * 32).0, [&bytes[..], b"x"].concat());
    let hostile = vec![
        ("0", lie(0, &[], &[])),
        ("2^63-1", lie((1 << 63) - 1, &list, &chunk)),
        ("2^64-1", lie(u64::MAX, &list, &chunk)),
        ("a byte over the limit", lie((1 << 40) + 1, &list, &chunk)),
        ("all there is, invented", lie(1 << 40, &invented(1 << 40), &chunk)),
        ("twice", lie(2 * len, &ended(&values(&bytes, 32 << 10), &bytes.repeat(2)), &chunk)),
        ("half", lie(len / 2, &ended(&values(&bytes, 128 << 10), &bytes[..MIB / 2]), &chunk)),
        ("half of other bytes", lie(len / 2, &ended(&values(&bytes, 128 << 10), &bytes[MIB / 2..]), &chunk)),
        ("a byte less", lie(len - 1, &ended(merged, &bytes[..MIB - 1]), &chunk)),
        ("a byte more", lie(len + 1, &ended(&[merged, &[0; 32]].concat(), &longer), b"x")),
        ("another tail", lie(len, &[merged, &vec![7; list.len() - merged.len()]].concat(), &chunk)),
        ("another list", lie(len, &invented(len), &chunk)),
        ("one chunk", lie(64 << 10, &[], &chunk)),
        ("a directory", lying(&content, (ContentKind::Directory, len), list.clone(), chunk.clone())),
    ];
    // Part of an answer is no lie, and no use.
    let slow = lie(len, &list[..list.len() - 32], &chunk);
    let victim = Victim::knowing(hostile.iter().map(|(_, peer)| peer).chain([&slow]));
    let before = on_disk(victim.home.dir());
    let get = victim.get(&content.id());
    victim.bans(&hostile);
    for (what, peer) in &hostile {
        wait_until(what, PATIENCE, || peer.was_closed());
        let log = peer.logs().into_iter().next();
        let after = log.and_then(|log| log.closed_after_last());
        assert!(after.is_some_and(|after| after <= PROMPT), "{what}: closed after {after:?}");
    }
    let grown = on_disk(victim.home.dir()).saturating_sub(before);
    assert!(grown <= MIB as u64, "{grown} bytes of disk for lies");
    victim.is_saved(get, &content);
    victim.ends_well();
}
