//! Bad, late and unwanted chunks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use swarm_core::wire::frame::DataHeader;
use swarm_core::wire::{LIST, Message, RefusalReason};
use swarm_tests::fixture::{Home, PATIENCE, b3, wait_until};
use swarm_tests::hostile::{Hostile, Out, Turn};

use super::{Content, MIB, SLACK, Victim, banned, peers, timed_get};

/// Flips one bit in the frames for which `which` returns true. The hash list stays honest.
fn corrupt(honest: Vec<Out>, which: impl Fn(&DataHeader) -> bool) -> Vec<Out> {
    let flip = |out| match out {
        Out::Data(header, mut bytes) if header.chunk != LIST && which(&header) => {
            bytes[0] ^= 1;
            Out::Data(header, bytes)
        }
        other => other,
    };
    honest.into_iter().map(flip).collect()
}

/// The hostile peer is fast, so that many chunks are requested from it. The honest peers determine the time.
fn corrupted(seed: u64, script: impl Fn(&Turn<'_>, Vec<Out>) -> Vec<Out> + Send + Sync + 'static) -> Hostile {
    let (first, second) = (Content::new(16 * MIB, seed), Content::new(16 * MIB, seed));
    let honest = [first.publish(&["--limit-up", "5M"]), second.publish(&["--limit-up", "5M"])];
    let addrs: Vec<&str> = honest.iter().map(|seeder| seeder.addr()).collect();
    let baseline = timed_get(&first.id(), &addrs);

    let hostile = Hostile::listen(first.offerings(), script);
    let all = [&addrs[..], &[hostile.addr()]].concat();
    let home = Home::new();
    let began = std::time::Instant::now();
    let victim = home.get_and_seed(&first.id(), &[&["-o", "out"][..], &peers(all)].concat());
    let took = began.elapsed();

    assert_eq!(b3(&home.path("out")), first.id());
    assert!(took <= baseline.mul_f64(1.3) + SLACK, "{took:?} in place of {baseline:?}");
    let told: Vec<Value> = victim.events().into_iter().filter(|event| event["event"] == "banned").collect();
    assert_eq!(told.len(), 1, "one bad chunk, one ban: {told:?}");
    assert_eq!(told[0]["peer"], hostile.peer());
    let reason = banned(&home).remove(&hostile.peer()).unwrap_or_default();
    assert_eq!(told[0]["reason"], reason);
    assert!(reason.contains("did not verify") || reason.contains("hash list or length"), "{reason}");
    assert!(!victim.event("done").unwrap_or_default()["sources"].to_string().contains("\"bytes\":0"));
    wait_until("the hostile one is shut out", PATIENCE, || hostile.was_closed());
    assert_eq!(hostile.logs().len(), 1, "a banned peer is not dialled again");
    victim.interrupt().sane();
    let daemon = home.daemon(&[]);
    assert_eq!(banned(&home).remove(&hostile.peer()), Some(reason), "the next node knows it too");
    daemon.stop().sane();
    hostile
}

#[test]
fn d1_every_chunk_of_one_seeder_is_corrupt() {
    let hostile = corrupted(1, |_, honest| corrupt(honest, |_| true));
    // What was asked for and on its way when the first chunk was found to be bad.
    assert!(hostile.sent() <= 4 * MIB as u64, "{} bytes taken from it", hostile.sent());
    let told = || hostile.heard(|message| matches!(message, Message::Bad { .. }));
    wait_until("it hears why: whose disk rots wants to know", PATIENCE, || told() == 1);
}

#[test]
fn d2_one_chunk_in_a_hundred_is_corrupt() {
    // One chunk is one frame here. The hundredth: of 256 chunks the fast one is asked for more than that.
    let sent = AtomicUsize::new(0);
    corrupted(2, move |_, honest| corrupt(honest, |_| sent.fetch_add(1, Ordering::Relaxed) % 100 == 60));
}

/// The hostile peer ends the session before its chunk is found to be bad, and comes back with the next chunk.
#[test]
fn d1_a_seeder_that_corrupts_and_runs_is_banned_too() {
    let content = Content::new(4 * MIB, 15);
    let hostile = Hostile::listen(content.offerings(), |_, honest| {
        let mut bad = corrupt(honest, |_| true);
        if let Some(at) =
            bad.iter().position(|out| matches!(out, Out::Data(header, _) if header.chunk != LIST))
        {
            bad.truncate(at + 1);
            bad.push(Out::Hangup);
        }
        bad
    });
    let victim = Victim::knowing([&hostile]);
    let get = victim.get(&content.id());
    let hostile = [("runs", hostile)];
    victim.bans(&hostile);
    let times = hostile[0].1.logs().len();
    assert!(times <= 3, "it came {times} times");
    victim.is_saved(get, &content);
    victim.ends_well();
}

#[test]
fn d3_seeders_that_claim_everything_and_answer_nothing() {
    let content = Content::new(8 * MIB, 3);
    let honest = content.publish(&["--limit-up", "8M"]);
    let baseline = timed_get(&content.id(), &[honest.addr()]);
    let mute = Hostile::listen(content.offerings(), |turn, honest| match turn.heard {
        Some(Message::List { .. } | Message::Request { .. }) => Vec::new(),
        _ => honest,
    });
    // These send the hash list, and then keep every chunk to themselves: one says nothing, one begins to, one
    // is always busy.
    let after_the_list = move |answer: fn(u32, u32) -> Vec<Out>| {
        Hostile::listen(content.offerings(), move |turn, honest| match turn.heard {
            Some(Message::Request { blob, first, count }) => {
                (*first..first + count).flat_map(|chunk| answer(*blob, chunk)).collect()
            }
            _ => honest,
        })
    };
    let misers = [
        after_the_list(|_, _| Vec::new()),
        after_the_list(|blob, chunk| {
            vec![Out::RawData(DataHeader { blob, chunk, offset: 0, len: 65_536 }.encode().to_vec())]
        }),
        after_the_list(|blob, chunk| {
            vec![Out::Control(Message::Decline { blob, chunk, why: RefusalReason::Busy })]
        }),
    ];
    let addrs: Vec<&str> = misers.iter().chain([&mute]).map(Hostile::addr).chain([honest.addr()]).collect();
    let took = timed_get(honest.id(), &addrs);
    assert!(took <= baseline + Duration::from_secs(30), "{took:?} in place of {baseline:?}");
    let asked =
        |hostile: &Hostile| hostile.heard(|m| matches!(m, Message::List { .. } | Message::Request { .. }));
    assert!(misers.iter().chain([&mute]).map(asked).sum::<usize>() > 0, "nobody was fooled");
}

#[test]
fn d6_one_seeder_at_a_kibibyte_a_second() {
    let content = Content::new(8 * MIB, 6);
    let honest = content.publish(&["--limit-up", "4M"]);
    let baseline = timed_get(&content.id(), &[honest.addr()]);
    let slow = Hostile::listen(content.offerings(), |_, honest| {
        let drip = |out| match out {
            Out::Data(header, bytes) if header.chunk != LIST => drops(header, &bytes),
            other => vec![other],
        };
        honest.into_iter().flat_map(drip).collect()
    });
    let took = timed_get(&content.id(), &[slow.addr(), honest.addr()]);
    assert!(took <= baseline.mul_f64(1.5) + SLACK, "{took:?} in place of {baseline:?}");
    assert!(slow.sent() > 0, "the slow one was asked for nothing");
}

/// Cuts a frame into frames of 1 KiB, one a second.
fn drops(header: DataHeader, bytes: &[u8]) -> Vec<Out> {
    let parts = bytes.chunks(1024).enumerate();
    let one = |(number, part): (usize, &[u8])| {
        let offset = header.offset + number as u32 * 1024;
        let header = DataHeader { offset, len: part.len() as u32, ..header };
        [Out::Data(header, part.to_vec()), Out::Pause(Duration::from_secs(1))]
    };
    parts.flat_map(one).collect()
}

/// Frames that one hostile peer of D11 sends in place of the chunks that are requested.
type Unwanted = fn(&DataHeader, &[u8]) -> Vec<Out>;

/// Frames that do not fit any request, each with the name of its fault.
const UNWANTED: [(&str, Unwanted); 8] = [
    // The last of 129, of 100 bytes: a whole frame of it does not fit even if it was asked for.
    ("unrequested", |asked, bytes| vec![part(asked, |h| h.chunk = 128, bytes)]),
    ("of another blob", |asked, bytes| vec![part(asked, |h| h.blob += 1, bytes)]),
    ("beyond the end", |asked, bytes| vec![part(asked, |h| h.chunk = 129, bytes)]),
    ("a list nobody asked for", |asked, bytes| vec![part(asked, |h| h.chunk = LIST, bytes)]),
    ("at the wrong place", |asked, bytes| vec![part(asked, |h| h.offset = 1, bytes)]),
    ("duplicate", |asked, bytes| vec![part(asked, |_| (), bytes), part(asked, |_| (), bytes)]),
    ("empty", |asked, _| vec![part(asked, |_| (), &[])]),
    ("over the limit", |asked, bytes| vec![part(asked, |_| (), &[bytes, b"x"].concat())]),
];

fn part(asked: &DataHeader, change: fn(&mut DataHeader), bytes: &[u8]) -> Out {
    let mut header = DataHeader { len: bytes.len() as u32, ..*asked };
    change(&mut header);
    Out::Data(header, bytes.to_vec())
}

/// Sends an unwanted frame in place of every chunk. The hash list is honest: without it no chunk would be
/// requested.
fn unwanted(content: &Content, what: Unwanted) -> Hostile {
    Hostile::listen(content.offerings(), move |_, honest| {
        let instead = |out| match out {
            Out::Data(header, bytes) if header.chunk != LIST => what(&header, &bytes),
            other => vec![other],
        };
        honest.into_iter().flat_map(instead).collect()
    })
}

#[test]
fn d11_three_frames_of_unwanted_data_end_a_session() {
    let content = Content::new(8 * MIB + 100, 11);
    let hostile: Vec<_> = UNWANTED.iter().map(|(name, what)| (*name, unwanted(&content, *what))).collect();
    let victim = Victim::knowing(hostile.iter().map(|(_, peer)| peer));
    let get = victim.get(&content.id());
    for (what, reason) in victim.bans(&hostile) {
        let expected = match what.as_str() {
            "empty" => "empty frame",
            "over the limit" => "more than allowed",
            _ => "not asked for",
        };
        assert!(reason.contains(expected), "{what}: {reason}");
    }
    victim.is_saved(get, &content);
    victim.ends_well();
}
