//! D17: names that peers choose, and the part of them that reaches a person.

use std::process::Command;

use serde_json::Value;
use swarm_core::content::path::sanitize_name;
use swarm_core::wire::{Message, Offer, PeerAddrs};
use swarm_tests::fixture::{Home, PATIENCE, Process, fill, needs, wait_until};
use swarm_tests::hostile::{Hostile, Offering, Out};

/// Names that control terminals, lead elsewhere as paths, or look like other names.
const NAMES: [&str; 9] = [
    "\u{1b}]0;owned\u{7}\u{1b}[2Jreport.pdf",
    "line\nbreak\r\u{8}.txt",
    "photo\u{202e}gpj.exe",
    "../../../outside",
    "/tmp/swarm-was-here",
    "..",
    "",
    "CON",
    "a\u{9b}31mb\u{0}c",
];

/// Returns true if a text holds a character sequence that no line on a screen may hold. Line ends are
/// allowed, and so are the program's own colours, which begin with ESC [.
fn acts(text: &str) -> bool {
    let foreign = ["\u{1b}]", "\u{1b}[2J", "\u{7}", "\u{202e}", "\u{9b}", "\u{0}", "\u{8}", "break\r"];
    foreign.iter().any(|sequence| text.contains(sequence))
}

/// A peer that offers some bytes under a name and gives itself a hostile name, too.
fn naming(name: &str, seed: u64) -> (Hostile, String) {
    let offering = Offering::file(fill(100_000, seed)).named(name);
    let id = offering.id.to_string();
    let agent = NAMES[0].to_owned();
    let hostile = Hostile::listen(vec![offering], move |_, honest| {
        let renamed = |out| match out {
            Out::Control(Message::Hello(mut hello)) => {
                hello.agent.clone_from(&agent);
                Out::Control(Message::Hello(hello))
            }
            other => other,
        };
        honest.into_iter().map(renamed).collect()
    });
    (hostile, id)
}

/// Returns the files in a home's folder.
fn files(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.dir()).expect("a folder to list").flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "home")
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn d17_offered_names_are_shown_escaped_and_used_sanitised() {
    for (seed, name) in NAMES.into_iter().enumerate() {
        let (hostile, id) = naming(name, seed as u64);
        let home = Home::new();
        let ran = home.run(["get", &id, "--peer", hostile.addr()]);
        ran.success();
        assert_eq!(files(&home), [sanitize_name(name)], "{name:?}");
        let path = std::path::PathBuf::from(ran.text());
        assert_eq!(path.parent(), Some(home.dir()), "{name:?}: {path:?}");
        let shown = home.run(["ls"]);
        let info = home.run(["info", &id]);
        for said in [&ran.err, &ran.text(), &shown.text(), &info.text(), &info.err] {
            assert!(!acts(said) && !said.contains('\u{1b}'), "{name:?}: {said:?}");
        }
    }
}

#[test]
fn d17_json_stays_json_whatever_a_peer_calls_things() {
    for (seed, name) in NAMES.into_iter().enumerate() {
        let (hostile, id) = naming(name, 100 + seed as u64);
        let home = Home::new();
        let getter = home.get_and_seed(&id, &["--peer", hostile.addr()]);
        let answers = ["ls", "peers", "status"].map(|verb| home.run(["--json", verb]).out);
        for out in answers.iter().chain([&getter.out()]) {
            let text = std::str::from_utf8(out).expect("UTF-8");
            assert!(!text.trim_end().is_empty(), "{name:?}");
            for line in text.lines() {
                let value: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert_eq!(value["v"], 1);
                assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
            }
        }
        assert_eq!(getter.event("found").unwrap_or_default()["name"], sanitize_name(name), "{name:?}");
        getter.interrupt().sane();
    }
}

#[test]
fn d17_a_terminal_sees_no_sequence_of_a_peer() {
    needs("script", "bsdutils");
    for (seed, name) in NAMES.into_iter().take(3).enumerate() {
        let (hostile, id) = naming(name, 200 + seed as u64);
        let home = Home::new();
        let swarm = home.command(["get", &id, "--peer", hostile.addr()]);
        let words: Vec<String> = std::iter::once(swarm.get_program())
            .chain(swarm.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut script = Command::new("script");
        script.args(["-qec", &words.join(" "), "/dev/null"]).current_dir(home.dir()).env("TERM", "xterm");
        let ran = Process::spawn(script).wait();
        ran.success();
        let seen = ran.text();
        assert!(!acts(&seen), "{name:?}: {seen:?}");
        assert!(seen.contains(&sanitize_name(name)), "{name:?}: {seen:?}");
    }
}

/// Text that acts on a terminal, forges a line of a log, and hides what follows it.
const PLANTED: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\nERROR forged\r\u{202e}\u{9b}31m";

/// Plants the text in every field of every message that has a text, and in addresses.
fn planting(honest: Vec<Out>) -> Vec<Out> {
    let addr: libp2p::Multiaddr = "/ip4/127.0.0.1/tcp/9".parse().expect("an address");
    let zoned = addr.with(libp2p::multiaddr::Protocol::Ip6zone(PLANTED.replace('/', "").into()));
    let mut all = Vec::new();
    for out in honest {
        let next = match out {
            Out::Control(Message::Hello(mut hello)) => {
                (hello.agent, hello.site) = (PLANTED.to_owned(), Some(PLANTED.to_owned()));
                hello.relayed = vec![zoned.to_vec()];
                Out::Control(Message::Hello(hello))
            }
            Out::Control(Message::Offer(offer)) => {
                let peer = libp2p::PeerId::random().to_bytes();
                let peers = vec![PeerAddrs { peer, addrs: vec![zoned.to_vec()] }];
                all.push(Out::Control(Message::Peers { blob: offer.blob, peers }));
                Out::Control(Message::Offer(Offer { name: Some(PLANTED.to_owned()), ..offer }))
            }
            other => other,
        };
        all.push(next);
    }
    all
}

fn is_clean(text: &str) -> bool {
    let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    !text.chars().any(acts) && !text.lines().any(|line| line.starts_with("ERROR forged"))
}

#[test]
fn nothing_of_a_peer_acts_on_a_terminal_or_forges_a_line_of_the_log() {
    let lasts = [
        Message::Banned { secs: 600, reason: PLANTED.to_owned() },
        Message::Closing { reason: PLANTED.to_owned() },
        Message::FindMember { name: PLANTED.chars().take(20).collect() },
    ];
    for last in lasts {
        let offering = Offering::file(fill(100_000, 1));
        let id = offering.id.to_string();
        let peer = Hostile::listen(vec![offering], move |turn, honest| match turn.heard {
            Some(Message::List { .. }) => vec![Out::Control(last.clone())],
            _ => planting(honest),
        });
        let home = Home::new();
        let mut command = home.command(["daemon", "-vvv", "--peer", peer.addr()]);
        command.env("SWARM_LOG", "trace");
        let daemon = Process::spawn(command);
        wait_until("it runs", PATIENCE, || daemon.err().contains("runs for"));
        let got = home.run(["get", &id, "-o", "out", "--timeout", "3s"]);
        let json = home.run(["get", &id, "-o", "other", "--json", "--timeout", "1s"]);
        let asked = [
            &["why", &id][..],
            &["status"],
            &["peers"],
            &["ls"],
            &["status", "--json"],
            &["peers", "--json"],
        ];
        let mut said: Vec<String> = asked.iter().map(|args| home.run(*args).text()).collect();
        said.extend([got.text(), json.text(), daemon.interrupt().text()]);
        for text in said {
            assert!(is_clean(&text), "{text:?}");
        }
    }
}
