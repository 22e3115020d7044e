//! Tests of the decisions of downloads and uploads: the messages and orders that each event leads to.
//!
//! The tests use neither a session nor a clock nor a disk: they read the [`Effects`] that would be carried
//! out.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::downloads::Downloads;
use super::effects::{Effect, Effects, KnownPeers, PeerFacts};
use super::open_blob::OpenBlob;
use super::orders::{ReceiveCommand, SendCommand};
use super::uploads::{Access, Uploads, WantOutcome};
use super::view::DownloadView;
use crate::content::bitmap::Bitmap;
use crate::content::geometry::{ChunkIndex, Geometry};
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::distance::Distance;
use crate::id::ContentId;
use crate::limits;
use crate::options::Audience;
use crate::schedule::{Now, PeerKey};
use crate::wire::{Have, Message, Offer, PeerAddrs};

/// Bytes of a chunk.
pub(super) const CHUNK: u64 = limits::CHUNK_MIN;

/// A table of peers that a test makes up.
#[derive(Default)]
pub(super) struct Table {
    pub(super) facts: BTreeMap<PeerKey, PeerFacts>,
    pub(super) banned: Vec<PeerKey>,
    pub(super) webs: Vec<PeerKey>,
}

impl Table {
    /// Returns peers with these keys, all on the local network.
    pub(super) fn of(keys: impl IntoIterator<Item = u64>) -> Self {
        let facts = |key| {
            let facts = PeerFacts { class: Distance::Lan, near: true, member: None };
            (PeerKey(key), facts)
        };
        Self { facts: keys.into_iter().map(facts).collect(), ..Self::default() }
    }
}

impl KnownPeers for Table {
    fn facts(&self, key: PeerKey) -> Option<PeerFacts> {
        self.facts.get(&key).cloned()
    }

    fn reachable(&self, key: PeerKey) -> Option<PeerAddrs> {
        let known = self.facts.contains_key(&key);
        known.then(|| PeerAddrs { peer: vec![key.0 as u8], addrs: vec![vec![key.0 as u8]] })
    }

    fn name(&self, key: PeerKey) -> Option<String> {
        Some(format!("peer {}", key.0 % 100))
    }

    fn is_web(&self, key: PeerKey) -> bool {
        self.webs.contains(&key)
    }

    fn is_banned(&self, key: PeerKey) -> bool {
        self.banned.contains(&key)
    }

    fn room(&self, key: PeerKey) -> usize {
        if self.facts.contains_key(&key) { limits::OUTBOX } else { 0 }
    }

    fn may_hear(&self, _: PeerKey, _: u32) -> bool {
        true
    }

    fn introduced(&self) -> usize {
        self.facts.len()
    }

    fn useful(&self, offers: &dyn Fn(PeerKey) -> Option<bool>) -> usize {
        self.facts.keys().filter(|key| offers(**key).unwrap_or_default()).count()
    }
}

/// The downloads and uploads of a node that has these peers.
pub(super) struct World {
    pub(super) peers: Table,
    pub(super) downloads: Downloads<Source>,
    pub(super) uploads: Uploads<Source>,
    pub(super) now: Now,
}

impl World {
    pub(super) fn new(keys: impl IntoIterator<Item = u64>) -> Self {
        Self {
            peers: Table::of(keys),
            downloads: Downloads::new(7),
            uploads: Uploads::default(),
            now: Duration::from_secs(1),
        }
    }

    /// Returns the effects of one event, after the scheduler has heard of it.
    pub(super) fn on(
        &mut self,
        event: impl FnOnce(&mut Downloads<Source>, &mut Uploads<Source>, &mut Effects<'_, Source>),
    ) -> Vec<Effect<Source>> {
        let mut effects = Effects::new(self.now, &self.peers);
        event(&mut self.downloads, &mut self.uploads, &mut effects);
        self.downloads.shared(&mut effects, &mut self.uploads);
        effects.into_list()
    }

    /// Starts to learn an id with these peers connected. Returns the handle of the download.
    pub(super) fn learns(&mut self, id: ContentId, peers: &[u64]) -> u32 {
        for key in peers.iter().copied().map(PeerKey) {
            self.downloads.peer_up(key, Distance::Lan, None, self.now);
            self.on(|downloads, _, effects| downloads.ask_newcomer(key, None, effects));
        }
        let told = self.on(|downloads, _, effects| downloads.learn(id, None, None, effects));
        let want = |e: &Effect<Source>| {
            if let Effect::Send(_, Message::Want { blob, .. }) = e { Some(*blob) } else { None }
        };
        told.iter().find_map(want).unwrap()
    }

    /// Returns the view of the only download.
    pub(super) fn view(&self) -> &DownloadView {
        self.downloads.views().next().unwrap().1
    }
}

/// Returns the messages to a peer, in order.
pub(super) fn to(effects: &[Effect<Source>], key: u64) -> Vec<&Message> {
    let to = effects.iter().filter_map(|effect| match effect {
        Effect::Send(peer, message) | Effect::Hint(peer, message) if peer.0 == key => Some(message),
        _ => None,
    });
    to.collect()
}

/// Returns the peers whose sessions end, each with whether it is banned.
pub(super) fn dropped(effects: &[Effect<Source>]) -> Vec<(u64, bool)> {
    let drop =
        |e: &Effect<Source>| if let Effect::Drop { peer, ban, .. } = e { Some((peer.0, *ban)) } else { None };
    effects.iter().filter_map(drop).collect()
}

/// A blob whose chunks are only said to be here.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) list: HashList,
    have: RefCell<Bitmap>,
}

pub(super) type Source = Rc<Stated>;

impl OpenBlob for Source {
    fn id(&self) -> ContentId {
        self.list.id()
    }

    fn kind(&self) -> ContentKind {
        self.list.kind()
    }

    fn geometry(&self) -> Geometry {
        self.list.geometry()
    }

    fn have(&self) -> Bitmap {
        self.have.borrow().clone()
    }

    fn has(&self, chunk: ChunkIndex) -> bool {
        self.have.borrow().get(chunk.get())
    }

    fn skipped(&self) -> Option<Bitmap> {
        None
    }

    fn is_origin(&self) -> bool {
        false
    }

    fn offered_name(&self) -> Option<&str> {
        Some("file")
    }
}

/// Returns a blob of `chunks` chunks that is whole.
pub(super) fn stored(chunks: u64) -> Source {
    let bytes: Vec<u8> = (0..chunks * CHUNK).map(|at| (at % 251) as u8).collect();
    let geometry = Geometry::new(chunks * CHUNK).unwrap();
    let list = HashList::of(ContentKind::File, geometry, &bytes);
    Rc::new(Stated { list, have: RefCell::new(Bitmap::full(geometry.chunks())) })
}

/// Returns the same blob with none of its chunks.
pub(super) fn empty(blob: &Source) -> Source {
    let have = RefCell::new(Bitmap::new(blob.geometry().chunks()));
    Rc::new(Stated { list: blob.list.clone(), have })
}

/// Returns an offer of a file by a peer that has these chunks.
pub(super) fn offer(handle: u32, len: u64, have: &Bitmap) -> Offer {
    Offer { blob: handle, kind: ContentKind::File, len, name: None, origin: false, have: Have::of(have) }
}

/// Access for the local network, without an office.
pub(super) const LAN: Access = Access { audience: Audience::Lan, office: None };

#[test]
fn a_peer_that_may_not_fetch_is_told_nothing_until_it_may() {
    let blob = stored(3);
    let (id, mut world) = (blob.id(), World::new([1, 2]));
    world.on(|_, uploads, effects| uploads.share(Rc::clone(&blob), &LAN, effects));
    let first = world.on(|_, uploads, effects| {
        assert_eq!(uploads.want(PeerKey(1), (5, id), true, effects), Some(WantOutcome::Answered));
        let denied = uploads.want(PeerKey(2), (9, id), false, effects);
        assert_eq!(denied, Some(WantOutcome::Denied { look: true }));
    });
    assert!(matches!(to(&first, 1)[..], [Message::Offer(_), ..]), "{first:?}");
    assert!(to(&first, 2).is_empty(), "it is answered as late as for a blob that is not here: {first:?}");
    let refused = world.on(|_, uploads, effects| uploads.refused(id, effects));
    assert!(matches!(to(&refused, 2)[..], [Message::Absent { blob: 9 }]), "{refused:?}");
    assert!(to(&refused, 1).is_empty(), "{refused:?}");
    let later = world.on(|_, uploads, effects| uploads.share(Rc::clone(&blob), &LAN, effects));
    assert!(to(&later, 2).iter().any(|m| matches!(m, Message::Offer(_))), "the audience admits it now");
}

#[test]
fn a_denied_blob_is_answered_as_one_that_is_not_here() {
    let (denied, unknown) = (ContentId::from_bytes([3; 32]), ContentId::from_bytes([4; 32]));
    let mut world = World::new([1, 2]);
    let mut wants = |id: ContentId, admitted: bool| {
        // Two peers ask, one after the other has been answered.
        let mut answers = Vec::new();
        for key in [1, 2] {
            let asked = world.on(|_, uploads, effects| {
                let outcome = uploads.want(PeerKey(key), (id.as_bytes()[0].into(), id), admitted, effects);
                let look = matches!(outcome, Some(WantOutcome::Open | WantOutcome::Denied { look: true }));
                assert!(look, "{outcome:?}");
            });
            let told = world.on(|_, uploads, effects| match admitted {
                true => uploads.opened(id, None, &LAN, effects),
                false => uploads.refused(id, effects),
            });
            answers.push((asked.len(), to(&told, 1).len(), to(&told, 2).len()));
        }
        answers
    };
    assert_eq!(wants(denied, false), wants(unknown, true));
}

#[test]
fn whom_an_audience_excludes_sees_the_content_go() {
    let blob = stored(3);
    let (id, mut world) = (blob.id(), World::new([1]));
    world.on(|_, uploads, effects| uploads.share(Rc::clone(&blob), &LAN, effects));
    world.on(|_, uploads, effects| {
        let _ = uploads.want(PeerKey(1), (5, id), true, effects);
    });
    let nobody = Access { audience: Audience::Nobody, office: None };
    let effects = world.on(|_, uploads, effects| uploads.share(Rc::clone(&blob), &nobody, effects));
    assert!(matches!(to(&effects, 1)[..], [Message::Gone { blob: 5 }]), "{effects:?}");
    assert!(effects.iter().any(|e| matches!(e, Effect::Serve(PeerKey(1), SendCommand::Close { blob: 5 }))));
}

#[test]
fn peers_that_want_the_same_are_introduced_to_each_other_and_denied_ones_only_among_themselves() {
    let blob = stored(3);
    let (id, mut world) = (blob.id(), World::new(1..=4));
    world.on(|_, uploads, effects| uploads.share(Rc::clone(&blob), &LAN, effects));
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
    let blob = stored(1);
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
    let blob = stored(3);
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
    let lists = |e: &Effect<Source>| matches!(e, Effect::Expect(peer, ReceiveCommand::List { .. }) if peer.0 == other);
    assert!(effects.iter().any(lists), "{effects:?}");
}

#[test]
fn a_list_that_is_not_of_the_id_bans_who_sent_it() {
    let blob = stored(3);
    let mut world = World::new([1]);
    let handle = world.learns(blob.id(), &[1]);
    let offer = offer(handle, blob.geometry().len(), &blob.have());
    world.on(|downloads, uploads, effects| downloads.offer(PeerKey(1), offer, effects, uploads));
    let effects = world.on(|downloads, _, effects| downloads.list(PeerKey(1), handle, &[1; 96], effects));
    assert_eq!(dropped(&effects), [(1, true)]);
}

#[test]
fn an_offer_for_a_number_that_was_given_up_is_ignored() {
    let blob = stored(3);
    let (id, mut world) = (blob.id(), World::new([1]));
    let handle = world.learns(id, &[1]);
    let ends = world.on(|downloads, uploads, effects| downloads.stop(id, effects, uploads));
    assert!(to(&ends, 1).iter().any(|m| matches!(m, Message::Unwant { blob } if *blob == handle)));
    let late = offer(handle, 1 << 40, &blob.have());
    let effects = world.on(|downloads, uploads, effects| downloads.offer(PeerKey(1), late, effects, uploads));
    assert!(effects.is_empty(), "it crossed our Unwant: {effects:?}");
    assert_ne!(world.learns(id, &[]), handle, "a number is never used twice");
}
