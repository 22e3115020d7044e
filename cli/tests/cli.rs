//! The built binary where no network is needed: help, mistakes, configuration.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A person with nothing but a home.
struct Person(TempDir);

impl Person {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarm"));
        command.env_clear().env("HOME", self.path()).current_dir(self.path()).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().expect("starts"))
    }

    fn configure(&self, text: &str) {
        let folder = self.path().join(".config/swarm");
        std::fs::create_dir_all(&folder).expect("creates");
        std::fs::write(folder.join("config.toml"), text).expect("writes");
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// Standard output as the one line of JSON it must be.
    fn json(&self) -> Value {
        assert_eq!((self.out.lines().count(), self.err.as_str()), (1, ""), "{}", self.out);
        let value: Value = serde_json::from_str(&self.out).expect(&self.out);
        assert_eq!(value["v"], 1, "{value}");
        value
    }
}

#[test]
fn help_and_version_are_data() {
    let person = Person::new();
    let codes = person.run(&["help", "exit-codes"]);
    assert_eq!((codes.code, codes.err.as_str()), (Some(0), ""));
    for code in ["  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  5 ", "  6 ", "  7 ", "  8 ", " 65 ", "130 "] {
        assert!(codes.out.contains(code), "{code}: {}", codes.out);
    }
    assert!(codes.out.contains("bad manifest"), "{}", codes.out);
    for args in [&["help"][..], &["--help"], &["help", "get"], &["get", "--help"], &["--version"]] {
        let help = person.run(args);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(help.out.contains("swarm") && !help.out.contains('\u{1b}'), "{}", help.out);
        assert!(help.out.lines().all(|line| line.chars().count() <= 100), "{}", help.out);
    }
}

#[test]
fn a_wrong_line_is_exit_2_and_talk() {
    let person = Person::new();
    for args in
        [&[][..], &["frobnicate"], &["get"], &["get", "x", "--timeout", "soon"], &["help", "frobnicate"]]
    {
        let ran = person.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {}", ran.err);
        assert!(!ran.err.is_empty() && !ran.err.contains('\u{1b}'), "{args:?}: {}", ran.err);
    }
    let two = person.run(&["get", "aaaa", "bbbb", "-o", "-"]);
    assert_eq!((two.code, two.out.as_str()), (Some(2), ""), "{}", two.err);
}

#[test]
fn what_names_nothing_is_exit_1_before_a_node_is_started() {
    let person = Person::new();
    for verb in ["get", "cat", "info", "rm", "ls", "verify"] {
        for bad in ["update.bin", "swarm:1234", "", "swarm:x\u{1b}[2Jy"] {
            let ran = person.run(&[verb, bad]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{verb} {bad}: {}", ran.err);
            assert!(ran.err.starts_with("error: ") && ran.err.contains("  hint: "), "{}", ran.err);
            assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
        }
    }
    std::fs::write(person.path().join("mine.bin"), "x").expect("writes");
    let hint = person.run(&["get", "mine.bin"]).err;
    assert!(hint.contains("hint: to share it: swarm publish mine.bin"), "{hint}");
    let missing = person.run(&["publish", "no-such-file"]);
    assert_eq!(missing.code, Some(1), "{}", missing.err);
    assert!(missing.err.contains("no-such-file"), "{}", missing.err);
    assert!(!person.path().join(".local").exists());
}

#[test]
fn mistakes_are_json_when_asked() {
    let person = Person::new();
    let bad = person.run(&["--json", "get", "\"\u{1b}\n\\"]);
    assert_eq!(bad.code, Some(1));
    let value = bad.json();
    assert_eq!(
        (&value["event"], &value["fault"], &value["exit"]),
        (&"failed".into(), &"user".into(), &1.into())
    );
    let usage = person.run(&["frobnicate", "--json"]);
    assert_eq!(usage.code, Some(2));
    assert_eq!(usage.json()["fault"], "usage");
    let by_environment = person.command(&["get", "?"]).env("SWARM_JSON", "true").output().expect("starts");
    assert_eq!(Ran::from(by_environment).json()["event"], "failed");
    person.configure("limit-up = []");
    let configuration = person.run(&["status", "--json"]);
    assert_eq!(configuration.code, Some(1));
    assert!(configuration.json()["message"].as_str().is_some_and(|text| text.contains("config.toml")));
}

#[test]
fn shows_settings_and_where_they_come_from() {
    let person = Person::new();
    person.configure("limit-up = \"5MB/s\"\nlimit-down = \"1M\"\n");
    let args = ["config", "show", "--origin", "--no-mdns"];
    let ran = person.command(&args).env("SWARM_LIMIT_DOWN", "100Mbit").output().expect("starts");
    let ran = Ran::from(ran);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let line = |key: &str| ran.out.lines().find(|line| line.starts_with(key)).expect(key);
    assert!(
        line("home").contains("/.local/share/swarm\" ") && line("home").ends_with("# default"),
        "{}",
        ran.out
    );
    assert!(line("limit-up").contains(".config/swarm/config.toml"), "{}", ran.out);
    assert!(line("limit-down").ends_with("# environment SWARM_LIMIT_DOWN"), "{}", ran.out);
    assert!(line("no-mdns").ends_with("# flag --no-mdns"), "{}", ran.out);
    assert!(ran.out.parse::<toml::Table>().is_ok(), "{}", ran.out);
    let value = person.run(&["config", "show", "--json", "--home", "relative"]).json();
    let home = person.path().join("relative");
    assert_eq!(value["settings"][0]["value"].as_str().map(Path::new), Some(home.as_path()));
    assert_eq!(value["settings"][0]["origin"], "flag --home");
}

#[test]
fn a_wrong_setting_is_exit_1_and_names_file_and_key() {
    let person = Person::new();
    person.configure("limit_up = 1");
    let ran = person.run(&["config", "show"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains(".config/swarm/config.toml") && ran.err.contains("`limit_up`"), "{}", ran.err);
    person.configure("");
    let filter = person.command(&["config", "show"]).env("SWARM_LOG", "a=b=c").output().expect("starts");
    let filter = Ran::from(filter);
    assert_eq!(filter.code, Some(1));
    assert!(filter.err.contains("SWARM_LOG"), "{}", filter.err);
    let homeless =
        person.command(&["config", "show", "--home", "/x"]).env_remove("HOME").output().expect("starts");
    assert_eq!(Ran::from(homeless).code, Some(0));
}

#[test]
fn an_empty_variable_is_an_unset_one_and_a_wrong_one_is_named() {
    let person = Person::new();
    let with = |name: &str, value: &str, args: &[&str]| {
        Ran::from(person.command(args).env(name, value).output().expect("starts"))
    };
    for name in ["LIMIT_UP", "MAX_STORE", "PEER", "JSON", "HOME", "SERVE", "VERBOSE", "TIMEOUT", "SCHEDULE"] {
        for empty in ["", " "] {
            let ran = with(&format!("SWARM_{name}"), empty, &["config", "show", "--origin"]);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{name}");
            assert!(!ran.out.contains("environment"), "{name}: {}", ran.out);
        }
    }
    for (name, value) in [("LIMIT_UP", "5q"), ("JSON", "maybe"), ("VERBOSE", "x"), ("SERVE", "all")] {
        let name = format!("SWARM_{name}");
        let ran = with(&name, value, &["config", "show"]);
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(ran.err.contains(&name) && !ran.err.contains("--lim"), "{}", ran.err);
        assert!(!ran.err.contains("invalid digit"), "{}", ran.err);
    }
    let typed = with("SWARM_LIMIT_UP", "5M", &["config", "show", "--limit-up", "5q"]);
    assert!(typed.err.contains("--limit-up") && !typed.err.contains("SWARM_"), "{}", typed.err);
}

#[test]
fn a_part_of_an_unknown_id_is_exit_1_at_once() {
    let person = Person::new();
    for part in ["5fc0701a0915be713d8387d3cb3d76", &"a".repeat(63)] {
        let ran = person.run(&["get", part, "--no-mdns", "--no-dht", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        let said = format!("begins with {part}: a whole id has 64 digits, and this has {}", part.len());
        assert!(ran.err.contains(&said) && ran.err.contains("hint: "), "{}", ran.err);
    }
}

#[test]
fn addresses_are_checked_in_every_layer_and_written_out() {
    let person = Person::new();
    person.configure("peer = [\"192.168.1.10\"]\nlisten = [\"8080\"]\n");
    let shown = person.run(&["config", "show"]);
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""));
    for part in ["/ip4/192.168.1.10/tcp/4001", "/ip4/192.168.1.10/udp/4001/quic-v1", "/ip4/0.0.0.0/tcp/8080"]
    {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let bad = person.run(&["config", "show", "--peer", "host:port"]);
    assert_eq!(bad.code, Some(1), "{}", bad.err);
    assert!(bad.err.contains("--peer `host:port`"), "{}", bad.err);
    person.configure("\ndht = [\"nowhere at all\"]\n");
    for verb in [&["config", "show"][..], &["status"], &["ls"]] {
        let bad = person.run(verb);
        assert_eq!((bad.code, bad.out.as_str()), (Some(1), ""), "{}", bad.err);
        assert!(
            bad.err.contains("config.toml, line 2, key `dht`") && !bad.err.contains("--dht"),
            "{}",
            bad.err
        );
    }
}

#[test]
fn the_flag_that_does_not_fit_is_the_one_that_is_blamed() {
    let person = Person::new();
    std::fs::create_dir(person.path().join("folder")).expect("creates");
    std::fs::write(person.path().join("file"), "x").expect("writes");
    for (args, said) in [
        (["publish", "folder", "--hash-list", "list"], "--hash-list is for a file, and "),
        (["publish", "folder", "--webseed", "https://example.org/x"], "--webseed is for a file, and "),
        (
            ["publish", "file", "--hash-list", "folder"],
            "--hash-list names a file to write, and folder is a folder",
        ),
    ] {
        let ran = person.run(&args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
        assert!(ran.err.contains(said) && !ran.err.contains("web seed"), "{}", ran.err);
    }
    let number = person.run(&["office", "invite", "--uses", "x"]);
    assert_eq!(number.code, Some(2));
    assert!(
        number.err.contains("--uses") && number.err.contains("a whole number is needed"),
        "{}",
        number.err
    );
}

#[test]
fn completes_for_every_shell() {
    let person = Person::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = person.run(&["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        assert!(ran.out.contains("publish") && ran.out.contains("limit-up"), "{shell}");
    }
}

/// The words that the shell itself offers, with the script loaded.
#[cfg(unix)]
#[test]
fn bash_offers_commands_first_and_the_words_of_an_audience() {
    let person = Person::new();
    let script = person.path().join("swarm.bash");
    std::fs::write(&script, person.run(&["completions", "bash"]).out).expect("writes");
    let offered = |words: &[&str]| {
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let line = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _swarm swarm '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
        );
        let ran = Command::new("bash").args(["--norc", "-c", &line]).output().ok()?;
        Some(String::from_utf8(ran.stdout).expect("UTF-8").split_whitespace().map(str::to_owned).collect())
    };
    // Not every machine has bash.
    let Some(first): Option<Vec<String>> = offered(&["swarm", ""]) else { return };
    assert!(
        first.contains(&"publish".to_owned()) && !first.iter().any(|word| word.starts_with('-')),
        "{first:?}"
    );
    let flags = offered(&["swarm", "--lim"]).expect("bash");
    assert!(flags.contains(&"--limit-up".to_owned()), "{flags:?}");
    let who = offered(&["swarm", "publish", "x", "--serve", ""]).expect("bash");
    assert_eq!(who, ["nobody", "lan", "office", "anyone"]);
    let office = offered(&["swarm", "office", ""]).expect("bash");
    assert!(
        office.contains(&"init".to_owned()) && !office.iter().any(|word| word.starts_with('-')),
        "{office:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let person = Person::new();
    let mut child = person
        .command(&["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().expect("ends"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn manual_pages_replace_only_manual_pages() {
    let person = Person::new();
    for _ in 0..2 {
        let ran = person.run(&["man", "man/man1"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
    }
    let page = person.path().join("man/man1/swarm-get.1");
    let text = std::fs::read_to_string(&page).expect("a page");
    assert!(text.contains(".SH OPTIONS") && text.contains("overwrite"), "{text}");
    std::fs::write(&page, "a page of mine").expect("writes");
    std::fs::remove_file(person.path().join("man/man1/swarm.1")).expect("removes");
    let refused = person.run(&["man", "man/man1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("swarm-get.1 exists"), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(&page).expect("reads"), "a page of mine");
    assert!(!person.path().join("man/man1/swarm.1").exists(), "nothing was written");
}

#[test]
fn short_help_is_short_and_long_help_explains() {
    let person = Person::new();
    for verb in [&["publish"][..], &["get"], &["office", "invite"]] {
        let [short, long] = ["-h", "--help"].map(|flag| person.run(&[verb, &[flag]].concat()).out);
        assert!(!short.contains("--limit-up <RATE>") && long.contains("--limit-up <RATE>"), "{short}{long}");
        let by_help = person.run(&[&["help"], verb].concat()).out;
        assert_eq!(by_help, long);
    }
}
