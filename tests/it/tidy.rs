//! The rules of the house that neither compiler nor lints hold: who may use whom, which outsider is named where, and how
//! long things may grow. `core/ARCHITECTURE.md` says why.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{Source, functions, paths, word};

/// What stands at the top level, besides dotfiles.
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
/// The layers inside core, from the bottom: a line uses only the lines above it, and names on one line do not know each
/// other.
const LAYERS: [&[&str]; 13] = [
    &["id", "limits", "timetable", "random", "distance"],
    &["options", "metrics"],
    &["content"],
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
/// So many of them are pure.
const PURE: usize = 5;
/// What the pure ring does not name: time, randomness and bytes come in as arguments.
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
/// The only places that name the operating system: the seam of each crate, and the tests.
const SYSTEM: &[&str] = &[
    "core/src/platform/",
    "cli/src/platform",
    "cli/src/main.rs",
    "cli/src/commands.rs",
    "cli/src/commands/publish.rs",
    "cli/src/commands/demo/process.rs",
    "cli/src/json.rs",
    "tracker-optional/src/main.rs",
    "tracker-optional/src/server.rs",
    "tracker-optional/benches/",
    "tests/",
];
/// Modules and types that only some systems have; [`SYSTEM`] alone names them.
const ONE_SYSTEM: [&str; 6] = [
    "std::os::unix",
    "std::os::linux",
    "std::os::fd",
    "std::os::windows",
    "tokio::net::unix",
    "tokio::net::Unix",
];
/// Outsiders, and the only places that name them.
const QUARANTINE: [(&str, &[&str]); 14] = [
    ("argon2", &["core/src/content/share.rs"]),
    ("chacha20", &["core/src/content/seal.rs"]),
    ("ed25519_dalek", &["core/src/office.rs"]),
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
    ("rustix", &["core/", "tracker-optional/", "tests/", "cli/src/platform.rs"]),
    ("indicatif", &["cli/src/progress.rs", "cli/src/progress/", "cli/src/ui.rs"]),
];
/// Names that say nothing.
const NAMELESS_FILES: [&str; 8] =
    ["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "types.rs", "misc.rs", "prelude.rs"];
/// See [`NAMELESS_FILES`].
const NAMELESS_TYPES: [&str; 4] = ["Manager", "Helper", "Service", "Impl"];
/// What is not written at all.
const NEVER: [&str; 6] = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "unsafe {", "mem::forget("];
/// What is not written where strangers can fill it; the peers that tests make up are not among those.
const NEVER_UNBOUNDED: [&str; 2] = ["unbounded_channel", "unbounded("];
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 80;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files of the project whose names end so; what is hidden or built is not the project.
fn files(ends: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && !name.as_encoded_bytes().starts_with(b".") && name != "target" {
                folders.push(path);
            } else if path.is_file() && name.to_string_lossy().ends_with(ends) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

fn sources() -> Vec<Source> {
    files(".rs").iter().map(|path| Source::read(&root(), path)).collect()
}

/// One line for each thing that is wrong; says all of them at once.
#[track_caller]
fn none(rule: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

/// The module of core's top level that a file belongs to.
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

/// The files of the command line that a path leads to from a file there: the one that defines its last module.
fn led_to(from: &str, path: &str, files: &[&str]) -> Option<String> {
    let own = from.strip_suffix(".rs")?;
    let own = if own == "cli/src/main" { "cli/src" } else { own };
    let mut place: Vec<&str> = own.split('/').collect();
    let mut parts = path.split("::").peekable();
    while let Some(part) = parts.next_if(|part| ["crate", "self", "super"].contains(part)) {
        match part {
            "crate" => place.truncate(2),
            "super" => drop(place.pop()),
            _ => {}
        }
    }
    let mut found = None;
    for part in parts {
        place.push(part);
        let file = format!("{}.rs", place.join("/"));
        if !files.contains(&file.as_str()) {
            break;
        }
        found = Some(file);
    }
    found
}

#[test]
fn no_files_of_the_command_line_use_each_other_in_a_circle() {
    let all = sources();
    let sources: Vec<&Source> =
        all.iter().filter(|source| source.name.starts_with("cli/src/") && !source.is_test()).collect();
    let mut left: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let names = left.clone();
    let uses = |name: &str| -> Vec<String> {
        let source = sources.iter().find(|source| source.name == name).unwrap();
        let used = paths(source).into_iter().filter_map(|(_, path)| led_to(name, &path, &names));
        used.filter(|used| used != name).collect()
    };
    assert!(uses("cli/src/commands/daemon.rs").contains(&"cli/src/commands/office.rs".to_owned()));
    assert!(uses("cli/src/args.rs").contains(&"cli/src/args/content.rs".to_owned()));
    // A file that uses none of those left is in no circle.
    while let Some(at) =
        left.iter().position(|name| !uses(name).iter().any(|used| left.contains(&used.as_str())))
    {
        left.swap_remove(at);
    }
    none("a circle of imports", left.into_iter().map(str::to_owned));
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
fn names_say_something() {
    let mut wrong = Vec::new();
    for source in sources() {
        let file = source.name.rsplit('/').next().unwrap_or_default();
        if NAMELESS_FILES.contains(&file) {
            wrong.push(format!("{}: a name for anything", source.name));
        }
        for (line, code) in &source.code {
            let mut words =
                code.split_whitespace().skip_while(|w| !["struct", "enum", "trait", "type"].contains(w));
            let Some(name) = words.nth(1) else { continue };
            let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
            if NAMELESS_TYPES.iter().any(|end| name.ends_with(end)) || name == "Swarm" {
                wrong.push(format!("{}:{line}: {name}", source.name));
            }
        }
    }
    none("names", wrong);
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
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.lines > FILE_LINES {
            wrong.push(format!("{}: {} lines of at most {FILE_LINES}", source.name, source.lines));
        }
        let long = functions(&source).into_iter().filter(|f| f.lines > FUNCTION_LINES);
        let say = |f: crate::source::Function| {
            format!(
                "{}:{}: {} has {} lines of at most {FUNCTION_LINES}",
                source.name, f.line, f.name, f.lines
            )
        };
        wrong.extend(long.map(say));
    }
    for script in files(".py") {
        let lines = fs::read_to_string(&script).unwrap().lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{}: {lines} lines of at most {FILE_LINES}", script.display()));
        }
    }
    none("length", wrong);
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
        // What is not text has no paths in it that anybody would follow.
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
