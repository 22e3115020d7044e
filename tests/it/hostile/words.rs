//! D17: names that peers choose, and the part of them that reaches a person.

use std::process::Command;

use serde_json::Value;
use swarm_core::content::path::sanitize_name;
use swarm_core::wire::Message;
use swarm_tests::fixture::{Home, Process, fill, needs};
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
