//! Tests of the decisions of downloads and uploads: the messages and orders that each event leads to.
//!
//! The tests use neither a session nor a clock: they read the [`Effects`] that would be carried out.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::downloads::{Downloads, Owner, Stage};
use super::effects::{Effect, Effects, KnownPeers, PeerFacts};
use super::session::event::Outcome;
use super::session::{ReceiveCommand, SendCommand};
use super::uploads::{Access, Uploads, WantOutcome};
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::distance::Distance;
use crate::id::ContentId;
use crate::limits;
use crate::net::PeerId;
use crate::options::Audience;
use crate::schedule::{ChunkOrder, Now, PeerKey};
use crate::store::record::Domain;
use crate::store::{Begin, Blob, Import, Store, WriteTarget};
use crate::wire::{Have, Message, Offer, PeerAddrs};

/// Bytes of a chunk.
const CHUNK: u64 = limits::CHUNK_MIN;

/// A table of peers that a test makes up.
#[derive(Default)]
struct Table(BTreeMap<PeerKey, PeerFacts>);

impl Table {
    /// Returns peers with these keys, all on the local network.
    fn of(keys: impl IntoIterator<Item = u64>) -> Self {
        let facts = |key| {
            let facts = PeerFacts { id: PeerId::random(), class: Distance::Lan, near: true, member: None };
            (PeerKey(key), facts)
        };
        Self(keys.into_iter().map(facts).collect())
    }
}

impl KnownPeers for Table {
    fn facts(&self, key: PeerKey) -> Option<PeerFacts> {
        self.0.get(&key).cloned()
    }

    fn reachable(&self, key: PeerKey) -> Option<PeerAddrs> {
        self.0.get(&key).map(|facts| PeerAddrs { peer: facts.id.to_bytes(), addrs: vec![vec![key.0 as u8]] })
    }

    fn id_of(&self, key: PeerKey) -> Option<PeerId> {
        self.0.get(&key).map(|facts| facts.id)
    }

    fn is_banned(&self, _: &PeerId) -> bool {
        false
    }

    fn room(&self, key: PeerKey) -> usize {
        if self.0.contains_key(&key) { limits::OUTBOX } else { 0 }
    }

    fn may_hear(&self, _: PeerKey, _: u32) -> bool {
        true
    }
}

/// The downloads and uploads of a node that has these peers.
struct World {
    peers: Table,
    downloads: Downloads,
    uploads: Uploads,
    owner: Arc<Owner>,
    now: Now,
}

impl World {
    fn new(keys: impl IntoIterator<Item = u64>) -> Self {
        Self {
            peers: Table::of(keys),
            downloads: Downloads::new(7),
            uploads: Uploads::default(),
            owner: Arc::default(),
            now: Duration::from_secs(1),
        }
    }

    /// Returns the effects of one event, after the scheduler has heard of it.
    fn on(&mut self, event: impl FnOnce(&mut Downloads, &mut Uploads, &mut Effects<'_>)) -> Vec<Effect> {
        let mut effects = Effects::new(self.now, &self.peers);
        event(&mut self.downloads, &mut self.uploads, &mut effects);
        self.downloads.shared(&mut effects, &mut self.uploads);
        effects.into_list()
    }

    /// Starts to learn an id with these peers connected. Returns the handle of the download.
    fn learns(&mut self, id: ContentId, peers: &[u64]) -> u32 {
        let owner = Arc::clone(&self.owner);
        for key in peers.iter().copied().map(PeerKey) {
            self.downloads.peer_up(key, Distance::Lan, None, self.now);
            self.on(|downloads, _, effects| downloads.ask_newcomer(key, None, effects));
        }
        let told = self.on(|downloads, uploads, effects| {
            let (_, ours) = downloads.learn(id, None, None, &owner, effects, uploads);
            assert!(ours);
        });
        let want =
            |e: &Effect| if let Effect::Send(_, Message::Want { blob, .. }) = e { Some(*blob) } else { None };
        told.iter().find_map(want).unwrap()
    }
}

/// Returns the messages to a peer, in order.
fn to(effects: &[Effect], key: u64) -> Vec<&Message> {
    let to = effects.iter().filter_map(|effect| match effect {
        Effect::Send(peer, message) | Effect::Hint(peer, message) if peer.0 == key => Some(message),
        _ => None,
    });
    to.collect()
}

/// Returns the peers whose sessions end, each with whether it is banned.
fn dropped(effects: &[Effect]) -> Vec<(u64, bool)> {
    let drop = |e: &Effect| if let Effect::Drop { peer, ban, .. } = e { Some((peer.0, *ban)) } else { None };
    effects.iter().filter_map(drop).collect()
}

/// Returns a blob of `chunks` chunks in a store of its own, which lies in the returned folder.
fn stored(chunks: u64) -> (tempfile::TempDir, Store, Arc<Blob>) {
    let home = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..chunks * CHUNK).map(|at| (at % 251) as u8).collect();
    let path = home.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open(&home.path().join("home"), None, false).unwrap();
    let import = Import {
        path: &path,
        name: "file".to_owned(),
        copy: false,
        take: false,
        rules: crate::content::path::Rules::Portable,
        symlinks: false,
        skipped_homes: None,
        audience: None,
        domain: Domain::Public,
        progress: &|_, _| {},
        cancel: &std::sync::atomic::AtomicBool::new(false),
    };
    let id = store.import(&import).unwrap().id;
    let blob = store.blob(id).unwrap();
    (home, store, blob)
}

/// Returns an offer of a file by a peer that has these chunks.
fn offer(handle: u32, len: u64, have: &crate::content::bitmap::Bitmap) -> Offer {
    Offer { blob: handle, kind: ContentKind::File, len, name: None, origin: false, have: Have::of(have) }
}

/// Access for the local network, without an office.
const LAN: Access = Access { audience: Audience::Lan, office: None };

#[test]
fn a_peer_that_may_not_fetch_is_told_nothing_until_it_may() {
    let (_home, _, blob) = stored(3);
    let (id, mut world) = (blob.id(), World::new([1, 2]));
    world.on(|_, uploads, effects| uploads.share(Arc::clone(&blob), &LAN, effects));
    let first = world.on(|_, uploads, effects| {
        assert_eq!(uploads.want(PeerKey(1), (5, id), true, effects), Some(WantOutcome::Answered));
        assert_eq!(uploads.want(PeerKey(2), (9, id), false, effects), Some(WantOutcome::Denied));
    });
    assert!(matches!(to(&first, 1)[..], [Message::Offer(_), ..]), "{first:?}");
    assert!(matches!(to(&first, 2)[..], [Message::Absent { blob: 9 }]), "{first:?}");
    let later = world.on(|_, uploads, effects| uploads.share(Arc::clone(&blob), &LAN, effects));
    assert!(to(&later, 2).iter().any(|m| matches!(m, Message::Offer(_))), "the audience admits it now");
}

#[test]
fn whom_an_audience_excludes_sees_the_content_go() {
    let (_home, _, blob) = stored(3);
    let (id, mut world) = (blob.id(), World::new([1]));
    world.on(|_, uploads, effects| uploads.share(Arc::clone(&blob), &LAN, effects));
    world.on(|_, uploads, effects| {
        let _ = uploads.want(PeerKey(1), (5, id), true, effects);
    });
    let nobody = Access { audience: Audience::Nobody, office: None };
    let effects = world.on(|_, uploads, effects| uploads.share(Arc::clone(&blob), &nobody, effects));
    assert!(matches!(to(&effects, 1)[..], [Message::Gone { blob: 5 }]), "{effects:?}");
    assert!(effects.iter().any(|e| matches!(e, Effect::Serve(PeerKey(1), SendCommand::Close { blob: 5 }))));
}

#[test]
fn peers_that_want_the_same_are_introduced_to_each_other_and_denied_ones_only_among_themselves() {
    let (_home, _, blob) = stored(3);
    let (id, mut world) = (blob.id(), World::new(1..=4));
    world.on(|_, uploads, effects| uploads.share(Arc::clone(&blob), &LAN, effects));
    for (key, admitted) in [(1, true), (2, true), (3, false)] {
        world.on(|_, uploads, effects| {
            let _ = uploads.want(PeerKey(key), (1, id), admitted, effects);
        });
    }
    let effects = world.on(|_, uploads, effects| uploads.introduce(PeerKey(2), id, &[PeerKey(4)], effects));
    let named = |key| {
        let peers =
            |m: &&Message| if let Message::Peers { peers, .. } = m { Some(peers.clone()) } else { None };
        let all = to(&effects, key).iter().find_map(peers).unwrap_or_default();
        all.into_iter().map(|peer| peer.addrs[0][0]).collect::<Vec<u8>>()
    };
    let mut known = named(2);
    known.sort_unstable();
    assert_eq!(known, [1, 4], "the newcomer hears of the other getter and of the holder");
    assert_eq!(named(1), [2]);
    assert!(named(3).is_empty() && named(4).is_empty());
    assert!(world.on(|_, uploads, effects| uploads.introduce(PeerKey(3), id, &[], effects)).is_empty());
}

#[test]
fn a_number_is_used_for_one_want_at_a_time() {
    let (_home, _, blob) = stored(1);
    let mut world = World::new([1]);
    let (id, other) = (blob.id(), ContentId::from_bytes([3; 32]));
    world.on(|_, uploads, effects| {
        assert!(uploads.want(PeerKey(1), (5, id), true, effects).is_some());
        assert_eq!(uploads.want(PeerKey(1), (5, other), true, effects), None, "that breaks the rules");
        uploads.unwant(PeerKey(1), 5, effects);
        assert!(uploads.want(PeerKey(1), (5, other), true, effects).is_some());
        let most = limits::SESSION_BLOBS as u32;
        let extra =
            (6..6 + most).filter(|handle| uploads.want(PeerKey(1), (*handle, id), true, effects).is_none());
        assert_eq!(extra.count(), 1, "and not more than {most}");
    });
}

#[test]
fn when_the_peer_that_was_asked_for_the_list_goes_another_is_asked() {
    let (_home, _, blob) = stored(3);
    let (id, mut world) = (blob.id(), World::new([1, 2]));
    let handle = world.learns(id, &[1, 2]);
    let len = blob.geometry().len();
    let mut asked = Vec::new();
    for key in [1, 2] {
        let offer = offer(handle, len, &blob.have());
        let effects =
            world.on(|downloads, uploads, effects| downloads.offer(PeerKey(key), offer, effects, uploads));
        asked.extend(effects.into_iter().filter_map(|e| match e {
            Effect::Expect(peer, ReceiveCommand::List { .. }) => Some(peer),
            _ => None,
        }));
    }
    let [first] = asked[..] else { panic!("one peer is asked for the list, not {asked:?}") };
    let effects = world.on(|downloads, uploads, effects| downloads.peer_down(first, effects, uploads));
    let other = if first.0 == 1 { 2 } else { 1 };
    let lists =
        |e: &Effect| matches!(e, Effect::Expect(peer, ReceiveCommand::List { .. }) if peer.0 == other);
    assert!(effects.iter().any(lists), "{effects:?}");
}

#[test]
fn a_list_that_is_not_of_the_id_bans_who_sent_it() {
    let (_home, _, blob) = stored(3);
    let mut world = World::new([1]);
    let handle = world.learns(blob.id(), &[1]);
    let offer = offer(handle, blob.geometry().len(), &blob.have());
    world.on(|downloads, uploads, effects| downloads.offer(PeerKey(1), offer, effects, uploads));
    let effects = world.on(|downloads, _, effects| downloads.list(PeerKey(1), handle, &[1; 96], effects));
    assert_eq!(dropped(&effects), [(1, true)]);
}

#[test]
fn an_offer_for_a_number_that_was_given_up_is_ignored() {
    let (_home, _, blob) = stored(3);
    let (id, mut world) = (blob.id(), World::new([1]));
    let handle = world.learns(id, &[1]);
    let ends = world.on(|downloads, uploads, effects| downloads.stop(id, effects, uploads));
    assert!(to(&ends, 1).iter().any(|m| matches!(m, Message::Unwant { blob } if *blob == handle)));
    let late = offer(handle, 1 << 40, &blob.have());
    let effects = world.on(|downloads, uploads, effects| downloads.offer(PeerKey(1), late, effects, uploads));
    assert!(effects.is_empty(), "it crossed our Unwant: {effects:?}");
    assert_ne!(world.learns(id, &[]), handle, "a number is never used twice");
}

/// Starts a download of a three-chunk blob that every peer offers, with one grant of the first peer. Returns
/// the handle and the requested chunks.
fn downloading(world: &mut World, (of, fresh): (&Store, &Store), blob: &Blob) -> (u32, Vec<u32>) {
    let (id, geometry) = (blob.id(), blob.geometry());
    let keys: Vec<u64> = world.peers.0.keys().map(|key| key.0).collect();
    let handle = world.learns(id, &keys);
    for key in &keys {
        let offer = offer(handle, geometry.len(), &blob.have());
        world.on(|downloads, uploads, effects| downloads.offer(PeerKey(*key), offer, effects, uploads));
    }
    let bytes = of.known_list(id).unwrap().encode();
    for key in &keys {
        world.on(|downloads, _, effects| downloads.list(PeerKey(*key), handle, &bytes, effects));
    }
    let views = world.downloads.views();
    assert!(matches!(views[0].1.stage, Stage::Learned(_)), "{:?}", views[0].1.stage);
    let list = HashList::decode(id, ContentKind::File, geometry, &bytes).unwrap();
    let target = fresh
        .begin(Begin {
            list,
            name: "file".to_owned(),
            target: WriteTarget::Store,
            of: None,
            audience: None,
            seal: None,
            domain: Domain::Public,
        })
        .unwrap();
    let owner = Arc::clone(&world.owner);
    world.on(|downloads, uploads, effects| {
        drop(downloads.start(&target, (ChunkOrder::Rarest, Some(LAN)), &owner, effects, uploads));
    });
    let effects = world.on(|downloads, uploads, effects| {
        assert!(downloads.is_asked(PeerKey(keys[0]), handle));
        downloads.granted(PeerKey(keys[0]), (handle, 1, None), effects, uploads);
    });
    (handle, requests(&effects, keys[0]))
}

/// Returns the chunks requested from a peer.
fn requests(effects: &[Effect], key: u64) -> Vec<u32> {
    let chunks = |m: &&Message| match m {
        Message::Request { first, count, .. } => Some(*first..*first + *count),
        _ => None,
    };
    to(effects, key).iter().filter_map(chunks).flatten().collect()
}

#[test]
fn a_chunk_that_is_bad_bans_who_sent_it_and_is_asked_of_another() {
    let (_home, of, blob) = stored(3);
    let (_other, fresh, _) = stored(1);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, (&of, &fresh), &blob);
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
    let (_home, of, blob) = stored(3);
    let (_other, fresh, _) = stored(1);
    let mut world = World::new([1, 2]);
    let (handle, asked) = downloading(&mut world, (&of, &fresh), &blob);
    world.on(|downloads, uploads, effects| downloads.peer_down(PeerKey(1), effects, uploads));
    let effects = world.on(|downloads, uploads, effects| {
        downloads.granted(PeerKey(2), (handle, 3, None), effects, uploads);
    });
    assert!(requests(&effects, 2).contains(&asked[0]), "{effects:?}");
}

#[test]
fn an_offer_of_another_length_than_the_proven_one_bans() {
    let (_home, of, blob) = stored(3);
    let (_other, fresh, _) = stored(1);
    let mut world = World::new([1, 2]);
    let (handle, _) = downloading(&mut world, (&of, &fresh), &blob);
    let longer = crate::content::geometry::Geometry::new(4 * CHUNK).unwrap();
    let have = crate::content::bitmap::Bitmap::full(longer.chunks());
    let effects = world.on(|downloads, uploads, effects| {
        downloads.offer(PeerKey(2), offer(handle, 4 * CHUNK, &have), effects, uploads);
    });
    assert_eq!(dropped(&effects), [(2, true)]);
}
