//! Rules of the house that neither compiler nor lints hold: which module may use which, where a foreign crate
//! is named, how long things may grow, and how comments are written. `core/ARCHITECTURE.md` says why.

mod circles;
mod documents;
mod length;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{Source, paths, word};

/// Files and folders of the top level, besides dotfiles.
const TOP: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "core",
    "cli",
    "tracker-optional",
    "tests",
];
/// Layers inside core, from the bottom. A module uses only modules of the lines above its own.
const LAYERS: [&[&str]; 14] = [
    &["id", "limits", "timetable", "random", "distance"],
    &["options", "metrics"],
    &["content"],
    &["signed"],
    &["delta", "office", "schedule", "release", "wire"],
    &["exchange"],
    &["platform"],
    &["store"],
    &["api"],
    &["net"],
    &["discovery", "transfer", "membership"],
    &["node", "install"],
    &["gateway"],
    &["control"],
];
/// Count of the layers that are pure, from the bottom.
const PURE: usize = 6;
/// Names that the pure ring does not use: time, randomness and bytes come in as arguments.
const IMPURE: [&str; 19] = [
    "tokio",
    "libp2p",
    "sled",
    "rustix",
    "rayon",
    "rand",
    "getrandom",
    "async",
    "await",
    "SystemTime",
    "println",
    "eprintln",
    "print",
    "eprint",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
];
/// Places that may name the operating system: the seam of each crate, and the tests.
const SYSTEM: &[&str] = &[
    "core/src/platform/",
    "cli/src/platform.rs",
    "tracker-optional/src/main.rs",
    "tracker-optional/src/server.rs",
    "tracker-optional/benches/",
    "tests/",
];
/// Modules and types of the standard library and tokio that only some systems have; only [`SYSTEM`] names
/// them.
const ONE_SYSTEM: [&str; 6] = [
    "std::os::unix",
    "std::os::linux",
    "std::os::fd",
    "std::os::windows",
    "tokio::net::unix",
    "tokio::net::Unix",
];
/// Foreign crates, and the places that may name them.
const QUARANTINE: [(&str, &[&str]); 15] = [
    ("argon2", &["core/src/content/share.rs"]),
    ("chacha20", &["core/src/content/seal.rs"]),
    ("ed25519_dalek", &["core/src/signed.rs"]),
    ("hickory_proto", &["core/src/discovery/lan/packet", "core/src/membership/lan.rs"]),
    ("if_addrs", &["core/src/net/multicast.rs"]),
    ("igd_next", &["core/src/discovery/port_mapping.rs"]),
    ("sled", &["core/src/store/meta.rs"]),
    ("rustix", SYSTEM),
    (
        "libp2p",
        &[
            "core/src/net.rs",
            "core/src/net/",
            "core/src/discovery/",
            "core/src/membership.rs",
            "core/src/membership/handshake.rs",
            "core/src/membership/join.rs",
            "core/src/node/actor",
            "core/src/node/launch.rs",
            "core/src/transfer/peers",
            "core/src/transfer/session",
            "tests/",
        ],
    ),
    ("clap", &["cli/src/args.rs", "cli/src/args/", "cli/src/args_tests.rs", "tracker-optional/src/args.rs"]),
    ("clap_complete", &["cli/src/args.rs"]),
    ("clap_mangen", &["cli/src/args/man.rs"]),
    ("shlex", &["cli/src/platform.rs"]),
    ("thread_priority", &["cli/src/platform.rs"]),
    ("indicatif", &["cli/src/progress.rs", "cli/src/progress/", "cli/src/ui.rs"]),
];
/// Code that is not written anywhere.
const NEVER: [&str; 6] = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "unsafe {", "mem::forget("];
/// Code that is not written where strangers can fill a queue. The peers that tests make up are no strangers.
const NEVER_UNBOUNDED: [&str; 2] = ["unbounded_channel", "unbounded("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns all files of the project whose names end like this, without hidden files and what is built.
fn files(ends: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && !name.as_encoded_bytes().starts_with(b".") && name != "target" {
                folders.push(path);
            } else if path.is_file() && name != ".git" && name.to_string_lossy().ends_with(ends) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

/// Returns all Rust files of the project.
fn sources() -> Vec<Source> {
    files(".rs").iter().map(|path| Source::read(&root(), path)).collect()
}

/// Fails with one line for each place that breaks the rule.
#[track_caller]
fn none(rule: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

/// Returns the top-level module of core that a file belongs to.
fn module(source: &Source) -> Option<&str> {
    let rest = source.name.strip_prefix("core/src/")?;
    let first = rest.split('/').next()?;
    let first = first.strip_suffix(".rs").unwrap_or(first);
    let first = first.strip_suffix("_tests").unwrap_or(first);
    (first != "lib").then_some(first)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

#[test]
fn a_layer_uses_only_what_stands_above_it() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = module(&source) else { continue };
        let Some(own_layer) = layer(own) else {
            wrong.push(format!("{}: in no layer; say in LAYERS where it stands", source.name));
            continue;
        };
        for (line, path) in paths(&source) {
            let Some(used) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else {
                continue;
            };
            let allowed = used == own || layer(used).is_none_or(|used| used < own_layer);
            if !allowed {
                wrong.push(format!("{}:{line}: {own} uses {path}", source.name));
            }
        }
    }
    none("the layers of core", wrong);
}

#[test]
fn the_pure_ring_is_pure() {
    let mut wrong = Vec::new();
    for source in sources() {
        let pure = module(&source).and_then(layer).is_some_and(|layer| layer < PURE);
        if !pure || source.is_test() {
            continue;
        }
        let used = paths(&source);
        for name in IMPURE {
            let here = source.code.iter().filter(|(_, code)| word(code, name)).map(|(line, _)| *line);
            let imported = used.iter().filter(|(_, path)| path.starts_with(name)).map(|(line, _)| *line);
            wrong.extend(here.chain(imported).map(|line| format!("{}:{line}: {name}", source.name)));
        }
        let clock = source.code.iter().filter(|(_, code)| code.contains("Instant::now"));
        wrong.extend(clock.map(|(line, _)| format!("{}:{line}: Instant::now", source.name)));
    }
    none("the pure ring", wrong);
}

#[test]
fn outsiders_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, places) in QUARANTINE {
            if places.iter().any(|place| source.name.starts_with(place)) {
                continue;
            }
            let here = source.code.iter().filter(|(_, code)| word(code, name));
            wrong.extend(here.map(|(line, _)| format!("{}:{line}: {name}", source.name)));
        }
    }
    none("outsiders are named in one place each", wrong);
}

#[test]
fn the_command_line_asks_the_system_in_one_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.name.starts_with("cli/src/") || source.name == "cli/src/platform.rs" {
            continue;
        }
        for name in ["std::os", "tokio::signal", "process_group"] {
            let here = source.code.iter().filter(|(_, code)| word(code, name));
            wrong.extend(here.map(|(line, _)| format!("{}:{line}: {name}", source.name)));
        }
    }
    none("calls of one system", wrong);
}

#[test]
fn only_the_seam_names_one_system() {
    let mut wrong = Vec::new();
    for source in sources() {
        if SYSTEM.iter().any(|place| source.name.starts_with(place)) {
            continue;
        }
        let used = paths(&source);
        for name in ONE_SYSTEM {
            let here = source.code.iter().filter(|(_, code)| code.contains(name)).map(|(line, _)| *line);
            let imported = used.iter().filter(|(_, path)| path.starts_with(name)).map(|(line, _)| *line);
            let lines: std::collections::BTreeSet<usize> = here.chain(imported).collect();
            wrong.extend(lines.into_iter().map(|line| format!("{}:{line}: {name}", source.name)));
        }
    }
    none("one system is named in the seam alone", wrong);
}

#[test]
fn some_things_are_never_written() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (line, code) in &source.code {
            let unbounded = if source.name.starts_with("tests/") { &[][..] } else { &NEVER_UNBOUNDED };
            let found = NEVER.iter().chain(unbounded).filter(|never| code.contains(**never));
            wrong.extend(found.map(|never| format!("{}:{line}: {never}", source.name)));
        }
    }
    none("never", wrong);
}

#[test]
fn the_top_level_holds_exactly_what_it_should() {
    let names =
        fs::read_dir(root()).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let seen: Vec<String> = names.filter(|name| !name.starts_with('.') && name != "target").collect();
    let missing = TOP.iter().filter(|name| !seen.iter().any(|seen| seen == *name));
    let missing = missing.map(|name| format!("missing: {name}"));
    let extra =
        seen.iter().filter(|name| !TOP.contains(&name.as_str())).map(|name| format!("not expected: {name}"));
    none("the top level", missing.chain(extra));
}

#[test]
fn nothing_depends_on_where_it_was_written() {
    let root_path = root().display().to_string();
    let mut here = vec![root_path, ["/wo", "rk/"].concat()];
    here.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1).map(|home| format!("{home}/.")));
    let mut wrong = Vec::new();
    for path in files("") {
        // Only text holds paths that a person follows.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if here.iter().any(|place| line.contains(place)) {
                let name = path.strip_prefix(root()).unwrap_or(&path);
                wrong.push(format!("{}:{}: {}", name.display(), number + 1, line.trim()));
            }
        }
    }
    none("paths of one machine", wrong);
}
