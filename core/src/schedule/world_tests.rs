//! Situations that hung in one of 50,000 bad days of the simulator, each reduced to few inputs.
#![allow(clippy::unwrap_used)]

use super::*;

const BLOB: BlobKey = BlobKey(1);
const CHUNK: u64 = limits::CHUNK_MIN;

fn ms(ms: u64) -> Now {
    Duration::from_millis(ms)
}

/// A scheduler, its last outputs, and a blob of some small chunks.
struct Desk {
    scheduler: Scheduler,
    geometry: Geometry,
    out: Vec<Output>,
}

impl Desk {
    fn new(chunks: u64) -> Self {
        let geometry = Geometry::new(chunks * CHUNK).unwrap();
        Self { scheduler: Scheduler::new(7), geometry, out: Vec::new() }
    }

    fn full(&self) -> Bitmap {
        Bitmap::full(self.geometry.chunks())
    }

    fn none(&self) -> Bitmap {
        Bitmap::new(self.geometry.chunks())
    }

    fn tell(&mut self, input: Input, now: Now) {
        self.out.clear();
        self.scheduler.handle(input, now, &mut self.out);
    }

    /// Makes the scheduler have all chunks, and this peer need them. Returns the number of chunks that are
    /// granted.
    fn gives_to(&mut self, peer: PeerKey, now: Now) -> usize {
        let (blob, geometry, have) = (BLOB, self.geometry, self.full());
        self.tell(Input::Serve { blob, geometry, have, origin: false }, now);
        self.tell(Input::PeerUp { peer, near: 1, elsewhere: None }, now);
        self.tell(Input::Interested { peer, blob }, now);
        let before = self.grants();
        self.tell(Input::NeedDelta { peer, blob, add: self.full(), drop: self.none() }, now);
        before + self.grants()
    }

    /// Makes the scheduler want all chunks, and these peers have them.
    fn takes_from(&mut self, peers: &[PeerKey], order: ChunkOrder, now: Now) {
        let (blob, geometry) = (BLOB, self.geometry);
        self.tell(Input::Want { blob, geometry, have: self.none(), skip: None, order }, now);
        for peer in peers.iter().copied() {
            self.tell(Input::PeerUp { peer, near: 1, elsewhere: None }, now);
            self.tell(Input::Holder { peer, blob, have: self.full() }, now);
        }
    }

    fn grants(&self) -> usize {
        self.out.iter().filter(|o| matches!(o, Output::Grant { .. })).count()
    }

    /// Returns the number of chunks that peers are granted for which `these` is true.
    fn granted_to(&self, these: impl Fn(PeerKey) -> bool) -> u32 {
        let count = |o: &Output| match o {
            Output::Grant { peer, count, .. } if these(*peer) => *count,
            _ => 0,
        };
        self.out.iter().map(count).sum()
    }

    fn sends(&self) -> usize {
        self.out.iter().filter(|o| matches!(o, Output::Send { .. })).count()
    }

    fn asked(&self) -> Vec<u32> {
        let chunk = |o: &Output| if let Output::Request { chunk, .. } = o { Some(*chunk) } else { None };
        self.out.iter().filter_map(chunk).collect()
    }

    fn cancels(&self) -> usize {
        self.out.iter().filter(|o| matches!(o, Output::Cancel { .. })).count()
    }
}

/// A line that had been cut for long looked slow for ever: a taker that declined once was offered nothing for
/// minutes.
#[test]
fn a_line_that_was_cut_is_not_taken_for_slow() {
    let peer = PeerKey(1);
    let mut desk = Desk::new(64);
    desk.gives_to(peer, ms(0));
    for chunk in 0..4 {
        desk.tell(Input::Requested { peer, blob: BLOB, chunk }, ms(20));
    }
    for (number, at) in (0..4).zip([30, 80, 130, 60_000]) {
        desk.tell(Input::Sent { peer, blob: BLOB, whole: true }, ms(at));
        assert!(number < 3 || desk.scheduler.giving.rate() > 100_000, "{}", desk.scheduler.giving.rate());
    }
    desk.tell(Input::GrantDeclined { peer, blob: BLOB, count: 1, busy: true }, ms(60_010));
    let soon = (0..20).any(|step| {
        desk.tell(Input::Tick, ms(60_100 + step * 100));
        desk.grants() > 0
    });
    assert!(soon, "it is offered something again within two seconds");
}

/// A taker that kept grants to use them all at once filled a thin line, and all others waited behind it.
#[test]
fn kept_grants_are_used_one_at_a_time() {
    let (hoarder, other) = (PeerKey(1), PeerKey(2));
    let mut desk = Desk::new(64);
    let mut kept = desk.gives_to(hoarder, ms(0));
    for at in (0..20_000).step_by(100) {
        desk.tell(Input::Tick, ms(at));
        kept += desk.grants();
    }
    assert!(kept > limits::LATE_GRANTS as usize, "{kept} grants were not answered");
    let mut open = desk.gives_to(other, ms(20_000)) as u32;
    // The other taker answers at once, until the line has as much as it may.
    let mut chunk = 0;
    for at in (20_000..22_000).step_by(20) {
        desk.tell(Input::Tick, ms(at));
        open += desk.granted_to(|peer| peer == other);
        for _ in 0..std::mem::take(&mut open) {
            desk.tell(Input::Requested { peer: other, blob: BLOB, chunk }, ms(at + 1));
            chunk += 1;
            open += desk.granted_to(|peer| peer == other);
        }
    }
    assert!(chunk > 4, "{chunk} chunks are on their way to the other one");
    let mut sent = 0;
    for chunk in 0..64 {
        desk.tell(Input::Requested { peer: hoarder, blob: BLOB, chunk }, ms(22_000));
        sent += desk.sends();
    }
    let most = limits::FIRST_WINDOW / CHUNK;
    assert!(sent as u64 <= most, "{sent} chunks are sent to it at once, where {most} fit the line");
}

/// Behind a full line each chunk takes longer than patience: requested from one holder after the other, it
/// never came.
#[test]
fn patience_grows_while_nothing_comes() {
    let peers = [PeerKey(1), PeerKey(2), PeerKey(3)];
    let mut desk = Desk::new(1);
    desk.takes_from(&peers, ChunkOrder::Rarest, ms(0));
    let (mut asked, mut waits, mut longest) = (None, ms(0), ms(0));
    for at in (0..400_000).step_by(100) {
        desk.tell(Input::Tick, ms(at));
        if desk.cancels() > 0 {
            longest = longest.max(ms(at) - waits);
            asked = None;
        }
        for peer in peers {
            if asked.is_none() {
                desk.tell(Input::Granted { peer, blob: BLOB, count: 1, hint: None }, ms(at));
                if !desk.asked().is_empty() {
                    (asked, waits) = (Some(peer), ms(at));
                }
            }
        }
    }
    assert!(longest > ms(60_000), "it waits {longest:?} at most");
}

/// On a thin line that many share, each chunk takes longer than an ordinary silence: half of the chunks were
/// taken back and crossed the line for nothing.
#[test]
fn silence_is_measured_by_what_chunks_take() {
    let (holder, other) = (PeerKey(1), PeerKey(2));
    let mut desk = Desk::new(64);
    desk.takes_from(&[holder, other], ChunkOrder::Rarest, ms(0));
    let (mut at, mut cancels) = (0, 0);
    for took in [&[2_500][..], &[4_900; 12], &[7_000]].concat() {
        desk.tell(Input::Granted { peer: holder, blob: BLOB, count: 1, hint: None }, ms(at));
        let chunk = desk.asked()[0];
        for _ in (0..took).step_by(100) {
            desk.tell(Input::Tick, ms(at));
            cancels += desk.cancels();
            at += 100;
        }
        desk.tell(Input::Bytes { peer: holder, blob: BLOB, chunk, bytes: CHUNK }, ms(at));
        desk.tell(Input::Verified { peer: Some(holder), blob: BLOB, chunk }, ms(at));
    }
    assert_eq!(cancels, 0);
    desk.tell(Input::Granted { peer: holder, blob: BLOB, count: 1, hint: None }, ms(at));
    assert_eq!(desk.asked().len(), 1);
    let gives_up = |after: u64| {
        desk.tell(Input::Tick, ms(at + after));
        desk.cancels() > 0
    };
    assert!((0..60_000).step_by(100).any(gives_up), "it does not wait for ever");
}

/// A dripping holder had all the chunks, and a holder that was silent once and gives again got none of them.
#[test]
fn a_newcomer_is_not_asked_for_everything() {
    let (known, new) = (PeerKey(1), PeerKey(2));
    let mut desk = Desk::new(512);
    desk.takes_from(&[known, new], ChunkOrder::Rarest, ms(0));
    for peer in [known, new] {
        desk.tell(Input::RoundTrip { peer, took: ms(150) }, ms(0));
    }
    desk.tell(Input::Granted { peer: known, blob: BLOB, count: 1, hint: None }, ms(1));
    let chunk = desk.asked()[0];
    desk.tell(Input::Bytes { peer: known, blob: BLOB, chunk, bytes: CHUNK }, ms(2));
    desk.tell(Input::Verified { peer: Some(known), blob: BLOB, chunk }, ms(2));
    desk.tell(Input::Granted { peer: new, blob: BLOB, count: 256, hint: None }, ms(3));
    assert!(desk.asked().len() as u64 * CHUNK <= limits::FIRST_WINDOW, "{} chunks", desk.asked().len());
}

/// Over a long path a lone holder is asked for as much as is under way at once, however small the chunks are.
#[test]
fn windows_follow_the_distance() {
    let peer = PeerKey(1);
    let asked = |took| {
        let mut desk = Desk::new(1024);
        desk.takes_from(&[peer], ChunkOrder::Rarest, ms(0));
        desk.tell(Input::RoundTrip { peer, took }, ms(0));
        desk.tell(Input::Granted { peer, blob: BLOB, count: 512, hint: None }, ms(1));
        desk.asked().len() as u64 * CHUNK
    };
    assert!(asked(ms(150)) >= limits::START_RATE * 150 / 1000 / 2, "{}", asked(ms(150)));
    assert!(asked(ms(1)) <= limits::FIRST_WINDOW, "{}", asked(ms(1)));
}

/// Pushed chunks are no sign that the taker is near: the size of its grants follows its answers.
#[test]
fn what_is_pushed_tells_nothing_of_the_distance() {
    let peer = PeerKey(1);
    let mut desk = Desk::new(1024);
    let granted = desk.gives_to(peer, ms(0));
    assert!(granted > 4, "{granted}");
    desk.tell(Input::Pushed { peer, blob: BLOB, chunk: 0 }, ms(0));
    assert_eq!(desk.sends(), 1);
    desk.tell(Input::Sent { peer, blob: BLOB, whole: true }, ms(20));
    let mut more = 0;
    for chunk in 1..4 {
        desk.tell(Input::Requested { peer, blob: BLOB, chunk }, ms(150));
        more += desk.grants() as u64;
    }
    assert!((granted as u64 + more) * CHUNK >= limits::START_RATE * 150 / 1000 / 2, "{granted}, {more} more");
}

/// After a pause of the whole line, answers to hundreds of old grants were taken for answers to the first new
/// ones: the taker seemed to be near, and was granted little.
#[test]
fn late_answers_tell_nothing_of_newer_grants() {
    let peer = PeerKey(1);
    let mut desk = Desk::new(1024);
    let mut old = desk.gives_to(peer, ms(0));
    for chunk in 1000..1004 {
        desk.tell(Input::Requested { peer, blob: BLOB, chunk }, ms(150));
        old += desk.grants();
    }
    assert!(old as u64 * CHUNK >= limits::START_RATE * 150 / 1000 / 2, "{old}");
    let offers = |at: &u64| {
        desk.tell(Input::Tick, ms(*at));
        desk.grants() > 0
    };
    let again = (200..6000).step_by(50).find(offers).expect("it is offered something again");
    for chunk in 0..old as u32 - 4 {
        desk.tell(Input::Requested { peer, blob: BLOB, chunk }, ms(again + 1));
    }
    let turnaround = desk.scheduler.giving.lane(true).turnaround;
    assert!(turnaround >= ms(150), "{turnaround:?}");
}

/// A chunk that a holder sends unasked is requested from nobody, in any order, and the holder hears that it
/// is not needed.
#[test]
fn what_comes_unasked_counts_as_asked_for() {
    let peer = PeerKey(1);
    for order in [ChunkOrder::Rarest, ChunkOrder::Ascending] {
        let mut desk = Desk::new(64);
        let (blob, geometry) = (BLOB, desk.geometry);
        let mut have = desk.none();
        have.set(9);
        desk.tell(Input::Want { blob, geometry, have, skip: None, order }, ms(0));
        desk.tell(Input::PeerUp { peer, near: 1, elsewhere: None }, ms(0));
        let coming = vec![40, 9, 41, 41, 1000];
        desk.tell(Input::Begins { peer, blob, have: desk.full(), coming }, ms(1));
        assert_eq!(desk.asked(), [40, 41], "what is here, and what cannot be, is not");
        let need = |o: &Output| if let Output::Need { add, .. } = o { Some(add.clone()) } else { None };
        let need = desk.out.iter().find_map(need).unwrap();
        assert!(!need.get(40) && !need.get(41) && need.get(0) && need.count() <= 61);
        assert!(!desk.out.iter().any(|o| matches!(o, Output::Refuse { .. })), "no grant is answered");
        desk.tell(Input::Granted { peer, blob, count: 64, hint: Some(40) }, ms(2));
        assert!(!desk.asked().contains(&40));
    }
}

/// A reader's order holds towards a publisher too, whatever chunk that would rather send.
#[test]
fn a_reader_asks_for_what_lies_ahead() {
    let (publisher, neighbour) = (PeerKey(1), PeerKey(2));
    let mut desk = Desk::new(1024);
    desk.takes_from(&[publisher], ChunkOrder::Ascending, ms(0));
    assert!(desk.out.contains(&Output::Reads { peer: publisher, blob: BLOB }));
    desk.tell(Input::Granted { peer: publisher, blob: BLOB, count: 1, hint: Some(900) }, ms(1));
    assert_eq!(desk.asked(), [0], "the first chunk comes first");
    desk.tell(Input::Granted { peer: publisher, blob: BLOB, count: 1, hint: Some(900) }, ms(2));
    assert_eq!(desk.asked(), [1], "and nothing that lies far ahead");
    desk.tell(Input::Granted { peer: publisher, blob: BLOB, count: 1, hint: Some(5) }, ms(3));
    assert_eq!(desk.asked(), [5], "of what lies ahead, what the publisher would rather send");
    desk.tell(Input::PeerUp { peer: neighbour, near: 1, elsewhere: None }, ms(4));
    let mut have = desk.none();
    [3, 7].into_iter().for_each(|chunk| have.set(chunk));
    desk.tell(Input::Holder { peer: neighbour, blob: BLOB, have }, ms(4));
    desk.tell(Input::Granted { peer: publisher, blob: BLOB, count: 2, hint: None }, ms(5));
    assert_eq!(desk.asked(), [2, 4], "a neighbour has the third");
    desk.tell(Input::Granted { peer: neighbour, blob: BLOB, count: 1, hint: None }, ms(6));
    assert_eq!(desk.asked(), [3]);
}

/// The four tags that come first in the order of gateways, among the first ten thousand.
fn first_tags() -> Vec<u64> {
    let mix = |x: u64| {
        let z = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut tags: Vec<u64> = (1..10_000).collect();
    tags.sort_unstable_by_key(|tag| mix(*tag));
    tags.truncate(limits::GATEWAYS);
    tags
}

/// While holders outside had a part each, their copies counted as copies of this site. Once they had all, no
/// chunk seemed to come near any longer, and each node of the site imported each chunk for itself.
#[test]
fn copies_elsewhere_are_no_copies_of_the_site() {
    let (near, far, tags) = (PeerKey(1), PeerKey(2), first_tags());
    let mut desk = Desk::new(64);
    desk.tell(Input::PeerUp { peer: far, near: 2, elsewhere: Some(1) }, ms(0));
    desk.tell(Input::PeerUp { peer: near, near: 1, elsewhere: None }, ms(0));
    let (blob, geometry, order) = (BLOB, desk.geometry, ChunkOrder::Rarest);
    desk.tell(Input::Serve { blob, geometry, have: desk.none(), origin: false }, ms(0));
    desk.tell(Input::Interested { peer: near, blob }, ms(0));
    desk.tell(Input::NeedDelta { peer: near, blob, add: desk.full(), drop: desk.none() }, ms(0));
    desk.tell(Input::Want { blob, geometry, have: desk.none(), skip: None, order }, ms(0));
    desk.tell(Input::Holder { peer: near, blob, have: desk.none() }, ms(0));
    desk.tell(Input::Holder { peer: far, blob, have: desk.none() }, ms(0));
    desk.tell(Input::HolderMore { peer: far, blob, add: desk.full() }, ms(0));
    for step in 0..45 {
        let now = ms(step * 100);
        let beat = |tag: &u64| Beat { tag: *tag, number: step as u32, whole: true, age: Duration::ZERO };
        desk.tell(Input::Gateways { peer: near, blob, beats: tags.iter().map(beat).collect() }, now);
        if step == 10 {
            desk.tell(Input::Holder { peer: far, blob, have: desk.full() }, now);
        }
        if step % 5 == 4 {
            // A gateway of the site is sent one more chunk.
            let mut drop = desk.none();
            drop.set(step as u32 / 5);
            desk.tell(Input::NeedDelta { peer: near, blob, add: desk.none(), drop }, now);
        }
        desk.tell(Input::Tick, now);
        let imports =
            |o: &Output| matches!(o, Output::Need { peer, add, .. } if *peer == far && !add.is_empty());
        assert!(!desk.out.iter().any(imports), "chunks come near, and gateways import them: step {step}");
    }
}

/// A node that is to import nothing never said so, and holders outside its site offered it places in vain.
#[test]
fn a_holder_is_told_once_that_nothing_is_needed() {
    let (near, far) = (PeerKey(1), PeerKey(2));
    let mut desk = Desk::new(64);
    desk.tell(Input::PeerUp { peer: near, near: 1, elsewhere: None }, ms(0));
    desk.tell(Input::PeerUp { peer: far, near: 2, elsewhere: Some(1) }, ms(0));
    let (blob, geometry, order) = (BLOB, desk.geometry, ChunkOrder::Rarest);
    desk.tell(Input::Want { blob, geometry, have: desk.none(), skip: None, order }, ms(0));
    desk.tell(Input::Holder { peer: near, blob, have: desk.none() }, ms(0));
    let mut told = Vec::new();
    for step in 0..5 {
        desk.tell(Input::Holder { peer: far, blob, have: desk.full() }, ms(step * 40));
        told.extend(
            desk.out.iter().filter(|o| matches!(o, Output::Need { peer, .. } if *peer == far)).cloned(),
        );
        desk.tell(Input::Tick, ms(step * 40 + 1));
        told.extend(
            desk.out.iter().filter(|o| matches!(o, Output::Need { peer, .. } if *peer == far)).cloned(),
        );
    }
    assert_eq!(told, [Output::Need { peer: far, blob, add: desk.none(), drop: desk.none() }]);
}

/// Eight takers that wanted everything and answered no grant had most of the places all the time, and the one
/// that answered got a hundredth of the uplink.
#[test]
fn takers_that_answer_nothing_keep_no_places_from_the_one_that_answers() {
    let honest = PeerKey(9);
    let mut desk = Desk::new(1024);
    for idle in 1..9 {
        desk.gives_to(PeerKey(idle), ms(0));
    }
    let (mut granted, mut under_way, mut sent) = (0, 0, 0);
    for now in 0..2500 {
        let mut grants = 0;
        if now == 1000 {
            desk.gives_to(honest, ms(now));
            grants += desk.granted_to(|peer| peer == honest);
        }
        // The line carries a chunk in each millisecond.
        if under_way > 0 {
            (under_way, sent) = (under_way - 1, sent + 1);
            desk.tell(Input::Sent { peer: honest, blob: BLOB, whole: true }, ms(now));
            grants += desk.granted_to(|peer| peer == honest);
        }
        for _ in 0..granted {
            let chunk = (sent + under_way).min(1023);
            desk.tell(Input::Requested { peer: honest, blob: BLOB, chunk }, ms(now));
            under_way += desk.sends() as u32;
            grants += desk.granted_to(|peer| peer == honest);
        }
        if now % 10 == 0 {
            desk.tell(Input::Tick, ms(now));
            grants += desk.granted_to(|peer| peer == honest);
        }
        granted = grants;
    }
    assert!(sent >= 1000, "{sent} chunks in a second and a half");
}

/// A taker that refuses every grant at once has half of the places at most while others use theirs.
#[test]
fn takers_that_never_ask_share_half_of_the_places() {
    let honest = PeerKey(9);
    let mut desk = Desk::new(1024);
    desk.gives_to(honest, ms(0));
    desk.tell(Input::Requested { peer: honest, blob: BLOB, chunk: 0 }, ms(1));
    desk.tell(Input::Sent { peer: honest, blob: BLOB, whole: true }, ms(2));
    // Its unanswered grants end.
    desk.tell(Input::Tick, ms(1500));
    desk.tell(Input::Requested { peer: honest, blob: BLOB, chunk: 1 }, ms(1501));
    desk.tell(Input::Tick, ms(3000));
    let mut granted = 0;
    for newcomer in (1..9).map(PeerKey) {
        desk.tell(Input::PeerUp { peer: newcomer, near: 1, elsewhere: None }, ms(3001));
        desk.tell(Input::Interested { peer: newcomer, blob: BLOB }, ms(3001));
        granted += desk.granted_to(|peer| peer != honest);
    }
    let lane = desk.scheduler.giving.lane(true);
    let (budget, quantum) = (lane.budget(CHUNK, limits::UPLOAD_SLOTS), lane.quantum(CHUNK));
    let most = budget / 2 / CHUNK + u64::from(quantum);
    assert!(granted > 0 && u64::from(granted) <= most, "{granted} places, more than {most}");
    assert!(!lane.takes_newcomers(CHUNK, budget, ms(3002)));
    assert!(lane.takes_newcomers(CHUNK, budget, ms(60_000)), "nobody else is there");
    for newcomer in (1..9).map(PeerKey) {
        desk.tell(Input::PeerDown { peer: newcomer }, ms(3003));
    }
    assert!(desk.scheduler.giving.lane(true).takes_newcomers(budget / 2, budget, ms(3004)));
}
