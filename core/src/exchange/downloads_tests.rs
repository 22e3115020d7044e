//! Tests of running downloads: chunks, peers that come and go, the disk, and what watchers see.
#![allow(clippy::unwrap_used)]

use std::rc::Rc;

use super::effects::Effect;
use super::effects_tests::{CHUNK, LAN, Source, Table, World, dropped, empty, offer, stored, to};
use super::open_blob::OpenBlob;
use super::orders::Outcome;
use super::view::{Broken, Stage};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::distance::Distance;
use crate::limits;
use crate::schedule::{ChunkOrder, PeerKey};
use crate::wire::Message;

/// Starts a download of a three-chunk blob that every peer offers, with one grant of the first peer. Returns
/// the handle and the requested chunks.
fn downloading(world: &mut World, blob: &Source) -> (u32, Vec<u32>) {
    let (id, geometry) = (blob.id(), blob.geometry());
    let keys: Vec<u64> = world.peers.facts.keys().map(|key| key.0).collect();
    let handle = world.learns(id, &keys);
    for key in &keys {
        let offer = offer(handle, geometry.len(), &blob.have());
        world.on(|downloads, uploads, effects| downloads.offer(PeerKey(*key), offer, effects, uploads));
    }
    let bytes = blob.list.encode();
    for key in &keys {
        world.on(|downloads, _, effects| downloads.list(PeerKey(*key), handle, &bytes, effects));
    }
    assert!(matches!(world.view().stage, Stage::Learned(_)), "{:?}", world.view().stage);
    let target = empty(blob);
    world.on(|downloads, uploads, effects| {
        downloads.start(&target, (ChunkOrder::Rarest, Some(LAN)), effects, uploads);
    });
    let effects = world.on(|downloads, uploads, effects| {
        assert!(downloads.is_asked(PeerKey(keys[0]), handle));
        downloads.granted(PeerKey(keys[0]), (handle, 1, None), effects, uploads);
    });
    (handle, requests(&effects, keys[0]))
}

/// Returns the chunks requested from a peer.
fn requests(effects: &[Effect<Source>], key: u64) -> Vec<u32> {
    let chunks = |m: &&Message| match m {
        Message::Request { first, count, .. } => Some(*first..*first + *count),
        _ => None,
    };
    to(effects, key).iter().filter_map(chunks).flatten().collect()
}

#[test]
fn a_chunk_that_is_bad_bans_who_sent_it_and_is_asked_of_another() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    let [chunk] = asked[..] else { panic!("{asked:?}") };
    let effects = world.on(|downloads, uploads, effects| {
        downloads.chunk(PeerKey(1), (handle, chunk, CHUNK), Outcome::Bad, effects, uploads);
    });
    assert!(to(&effects, 1).iter().any(|m| matches!(m, Message::Bad { .. })), "it is told: {effects:?}");
    assert_eq!(dropped(&effects), [(1, true)]);
    world.on(|downloads, uploads, effects| downloads.peer_down(PeerKey(1), effects, uploads));
    let effects = world.on(|downloads, uploads, effects| {
        downloads.granted(PeerKey(2), (handle, 3, None), effects, uploads);
    });
    assert!(requests(&effects, 2).contains(&chunk), "{effects:?}");
}

#[test]
fn what_a_peer_owed_when_it_went_is_asked_of_another() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    world.on(|downloads, uploads, effects| downloads.peer_down(PeerKey(1), effects, uploads));
    let effects = world.on(|downloads, uploads, effects| {
        downloads.granted(PeerKey(2), (handle, 3, None), effects, uploads);
    });
    assert!(requests(&effects, 2).contains(&asked[0]), "{effects:?}");
}

#[test]
fn an_offer_of_another_length_than_the_proven_one_bans() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, _) = downloading(&mut world, &blob);
    let longer = Geometry::new(4 * CHUNK).unwrap();
    let have = Bitmap::full(longer.chunks());
    let effects = world.on(|downloads, uploads, effects| {
        downloads.offer(PeerKey(2), offer(handle, 4 * CHUNK, &have), effects, uploads);
    });
    assert_eq!(dropped(&effects), [(2, true)]);
}

#[test]
fn who_has_sent_bad_bytes_is_banned_once() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    world.peers.banned.push(PeerKey(1));
    let effects = world.on(|downloads, uploads, effects| {
        downloads.chunk(PeerKey(1), (handle, asked[0], CHUNK), Outcome::Bad, effects, uploads);
    });
    assert!(dropped(&effects).is_empty() && world.view().banned.is_empty(), "{effects:?}");
}

#[test]
fn a_web_seed_of_another_file_is_left_and_no_id_is_shown() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    world.peers.webs.push(PeerKey(1));
    let effects = world.on(|downloads, uploads, effects| {
        downloads.chunk(PeerKey(1), (handle, asked[0], CHUNK), Outcome::Bad, effects, uploads);
    });
    assert_eq!(dropped(&effects), [(1, true)]);
    assert!(world.view().banned.is_empty(), "a person knows its URL only");
    for _ in 0..2 {
        world.downloads.notice_of(blob.id(), "its file is another one");
        world.downloads.notice_of(stored(2).id(), "and so is this");
    }
    assert_eq!(world.view().notices, ["its file is another one"]);
}

#[test]
fn watchers_are_told_of_a_view_once_for_each_change() {
    let blob = stored(3);
    let mut world = World::new([1]);
    let (handle, asked) = downloading(&mut world, &blob);
    let published = |world: &mut World| {
        let mut seen = Vec::new();
        world.downloads.publish(|id, view| seen.push((id, view.stage.clone(), view.broken.clone())));
        seen
    };
    assert!(matches!(published(&mut world)[..], [(id, Stage::Active, None)] if id == blob.id()));
    assert!(published(&mut world).is_empty(), "nothing has changed since");
    world.on(|downloads, uploads, effects| {
        let outcome = Outcome::Malformed;
        downloads.chunk(PeerKey(1), (handle, asked[0], CHUNK), outcome, effects, uploads);
    });
    assert!(matches!(published(&mut world)[..], [(_, Stage::Active, Some(Broken::Malformed))]));
}

#[test]
fn a_full_disk_makes_the_download_wait_and_go_on() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    let effects = world.on(|downloads, uploads, effects| {
        let outcome = Outcome::Disk { full: true, lasting: false, error: "no room".to_owned() };
        downloads.chunk(PeerKey(1), (handle, asked[0], CHUNK), outcome, effects, uploads);
    });
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Paused { id, .. } if *id == blob.id())),
        "{effects:?}"
    );
    assert!(dropped(&effects).is_empty(), "it is not the peer's fault");
    assert_eq!(world.view().notices.len(), 1);
    assert_eq!(world.view().blocked.as_deref(), Some("no room"));
    let grant = |world: &mut World| {
        let effects = world.on(|downloads, uploads, effects| {
            downloads.granted(PeerKey(2), (handle, 1, None), effects, uploads);
        });
        requests(&effects, 2)
    };
    assert!(grant(&mut world).is_empty(), "nothing is asked for meanwhile");
    world.now += limits::DISK_FULL_RETRY;
    world.on(|downloads, uploads, effects| downloads.tick(effects, uploads));
    assert_eq!(grant(&mut world).len(), 1);
}

#[test]
fn an_error_that_lasts_ends_the_download_and_a_written_chunk_ends_the_wait() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    let arrives = |world: &mut World, outcome: Outcome| {
        world.on(|downloads, uploads, effects| {
            downloads.chunk(PeerKey(1), (handle, asked[0], CHUNK), outcome, effects, uploads);
        });
    };
    let error = || "the file would be too large".to_owned();
    arrives(&mut world, Outcome::Disk { full: true, lasting: false, error: error() });
    assert!(world.view().blocked.is_some() && world.view().broken.is_none());
    arrives(&mut world, Outcome::Written);
    assert!(world.view().blocked.is_some(), "another chunk was on its way to a file with room");
    world.now += limits::DISK_FULL_RETRY;
    world.on(|downloads, uploads, effects| downloads.tick(effects, uploads));
    arrives(&mut world, Outcome::Written);
    assert!(world.view().blocked.is_none());
    arrives(&mut world, Outcome::Disk { full: false, lasting: true, error: error() });
    assert!(matches!(&world.view().broken, Some(Broken::Disk(said)) if *said == error()));
}

#[test]
fn a_peer_that_comes_back_keeps_its_row_among_the_sources() {
    let blob = stored(3);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, &blob);
    world.on(|downloads, uploads, effects| {
        downloads.chunk(PeerKey(1), (handle, asked[0], CHUNK), Outcome::Written, effects, uploads);
    });
    // The name of a peer in these tests is its number's last two digits.
    let again = PeerKey(101);
    world.peers.facts.remove(&PeerKey(1));
    world.peers.facts.extend(Table::of([101]).facts);
    world.downloads.peer_up(again, Distance::Lan, None, world.now);
    world.on(|downloads, uploads, effects| {
        downloads.peer_down(PeerKey(1), effects, uploads);
        downloads.ask_newcomer(again, None, effects);
        downloads.offered(again, offer(handle, 3 * CHUNK, &blob.have()), true, effects, uploads);
    });
    let effects = world.on(|downloads, uploads, effects| {
        downloads.granted(again, (handle, 1, None), effects, uploads);
    });
    let chunk = requests(&effects, 101)[0];
    world.on(|downloads, uploads, effects| {
        downloads.chunk(again, (handle, chunk, CHUNK), Outcome::Written, effects, uploads);
    });
    world.downloads.show(&[], world.now);
    let sources = &world.view().progress.sources;
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert_eq!(sources[0].bytes, 2 * CHUNK);
}

#[test]
fn an_offer_that_is_not_taken_leaves_the_peer_no_holder() {
    let blob = stored(3);
    let (id, mut world) = (blob.id(), World::new([1]));
    let handle = world.learns(id, &[1]);
    world.on(|downloads, uploads, effects| {
        let offer = offer(handle, 3 * CHUNK, &blob.have());
        assert!(downloads.offered(PeerKey(1), offer, false, effects, uploads));
    });
    assert!(world.downloads.holders(id).is_empty());
}

#[test]
fn what_is_withdrawn_is_declined_and_no_fault_of_who_asks() {
    let blob = stored(3);
    let (id, mut world) = (blob.id(), World::new([1]));
    world.on(|_, uploads, effects| uploads.share(Rc::clone(&blob), &LAN, effects));
    world.on(|_, uploads, effects| {
        let _ = uploads.want(PeerKey(1), (5, id), true, effects);
    });
    world.on(|_, uploads, effects| uploads.withdraw(id, effects));
    let request = Message::Request { blob: 5, first: 1, count: 2 };
    let effects = world.on(|downloads, uploads, effects| {
        assert_eq!(downloads.heard(PeerKey(1), request, effects, uploads), None);
    });
    let declined = |m: &&&Message| matches!(m, Message::Decline { blob: 5, .. });
    assert_eq!(to(&effects, 1).iter().filter(declined).count(), 2, "{effects:?}");
    assert!(dropped(&effects).is_empty());
}
