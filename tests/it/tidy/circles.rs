//! Rules on files that use each other: no circles of imports.

use std::collections::{BTreeMap, BTreeSet};

use super::{none, sources};
use crate::source::{Source, paths, paths_in_place};

/// Most files of core that may use each other in a circle: a part that was split in two, and no more.
const CORE_CIRCLE: usize = 2;

/// Returns the file that a path in the file `from` leads to: the one that defines the last module of the
/// path.
fn led_to(from: &str, path: &str, files: &BTreeSet<&str>) -> Option<String> {
    let own = from.strip_suffix(".rs")?;
    let own = own.strip_suffix("/main").or(own.strip_suffix("/lib")).unwrap_or(own);
    let mut place: Vec<&str> = own.split('/').collect();
    let mut parts = path.split("::").peekable();
    while let Some(part) = parts.next_if(|part| ["crate", "self", "super"].contains(part)) {
        match part {
            // The folder of the crate and its `src`.
            "crate" => place.truncate(2),
            "super" => drop(place.pop()),
            _ => {}
        }
    }
    let mut found = None;
    for part in parts {
        place.push(part);
        let file = format!("{}.rs", place.join("/"));
        if !files.contains(file.as_str()) {
            break;
        }
        found = Some(file);
    }
    found
}

/// Files of one crate, each with the other files that it uses.
struct Uses(BTreeMap<String, BTreeSet<String>>);

impl Uses {
    /// Reads the files below `folder`, without tests.
    fn of(folder: &str, sources: &[Source]) -> Self {
        let sources: Vec<&Source> =
            sources.iter().filter(|source| source.name.starts_with(folder) && !source.is_test()).collect();
        let files: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let uses = |source: &Source| {
            let imported = paths(source).into_iter().map(|(_, path)| path);
            let used = imported.chain(paths_in_place(source).into_iter().map(str::to_owned));
            let used = used.filter_map(|path| led_to(&source.name, &path, &files));
            used.filter(|used| *used != source.name).collect()
        };
        Self(sources.iter().map(|source| (source.name.clone(), uses(source))).collect())
    }

    /// Leaves out that a module uses the module that it is a part of.
    fn without_ancestors(mut self) -> Self {
        for (name, used) in &mut self.0 {
            used.retain(|used| !name.starts_with(&format!("{}/", used.trim_end_matches(".rs"))));
        }
        self
    }

    /// Returns all files that this file leads to, directly or through other files.
    fn reach<'a>(&'a self, name: &'a str) -> BTreeSet<&'a str> {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![name]);
        while let Some(name) = todo.pop() {
            let new = self.0[name].iter().map(String::as_str).filter(|used| seen.insert(*used));
            todo.extend(new);
        }
        seen
    }

    /// Returns the sets of more than `most` files that all lead to each other, a line of text for each.
    fn circles(&self, most: usize) -> BTreeSet<String> {
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|name| (name.as_str(), self.reach(name))).collect();
        let circle = |(name, seen): (&&str, &BTreeSet<&str>)| -> Vec<String> {
            let back = seen.iter().filter(|other| reach[*other].contains(name));
            back.map(|other| (*other).to_owned()).collect()
        };
        let circles = reach.iter().map(circle).filter(|circle| circle.len() > most);
        circles.map(|circle| format!("{} files: {}", circle.len(), circle.join(", "))).collect()
    }
}

#[test]
fn no_files_of_the_command_line_use_each_other_in_a_circle() {
    let uses = Uses::of("cli/src/", &sources());
    assert!(uses.0["cli/src/commands/daemon.rs"].contains("cli/src/commands/office.rs"));
    assert!(uses.0["cli/src/args.rs"].contains("cli/src/args/content.rs"));
    none("a circle of imports", uses.circles(1));
}

#[test]
fn no_more_than_two_files_of_core_use_each_other_in_a_circle() {
    let uses = Uses::of("core/src/", &sources()).without_ancestors();
    assert!(uses.0["core/src/net/tls.rs"].contains("core/src/net/tls/record.rs"));
    assert!(uses.0["core/src/node/jobs.rs"].contains("core/src/store.rs"));
    none("a circle of imports", uses.circles(CORE_CIRCLE));
}

#[test]
fn circles_are_found() {
    let sources = [
        ("a", "use crate::b::{self, c};\nmod d;\nfn f() { crate::b::f() }"),
        ("a/d", "fn f() { super::g(); crate::a::g() }"),
        ("b", "fn f() { crate::e::g() }"),
        ("b/c", "use super::super::e;"),
        ("e", "use super::a;"),
    ];
    let sources = sources.map(|(name, text)| Source::parse(format!("core/src/{name}.rs"), text));
    let uses = Uses::of("core/src/", &sources);
    assert_eq!(uses.0["core/src/a/d.rs"].len(), 1);
    let uses = uses.without_ancestors();
    assert!(uses.0["core/src/a/d.rs"].is_empty());
    let expected = "4 files: core/src/a.rs, core/src/b.rs, core/src/b/c.rs, core/src/e.rs";
    assert_eq!(uses.circles(2).into_iter().collect::<Vec<_>>(), [expected]);
}
