//! Rules on documents: they name only files that exist, and the architecture names every file of core.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{TOP, files, none, root};

/// Document whose paths are relative to [`CORE`], and which maps that folder.
const MAP: &str = "core/ARCHITECTURE.md";
const CORE: &str = "core/src";
/// Begin and end of the map in [`MAP`].
const SECTION: (&str, &str) = ("\n## Modules\n", "\n## How data flows\n");
/// Hidden folders of the top level that documents name files of.
const HIDDEN: [&str; 3] = [".cargo", ".ci", ".github"];

/// Returns the names of the documents that describe the project, relative to it.
fn documents() -> Vec<String> {
    let mut found: Vec<String> =
        [MAP, "core/PROTOCOL.md", "core/FORMATS.md", "README.md"].map(str::to_owned).into();
    for folder in ["cli/docs", ".github"] {
        let names = fs::read_dir(root().join(folder)).unwrap().flatten().map(|entry| entry.file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        found.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")));
    }
    found.sort_unstable();
    found
}

/// Returns the words of a text that consist of what paths consist of, with line numbers.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |c: char| c.is_alphanumeric() || "_-./{},".contains(c);
    let numbered = text.lines().zip(1..);
    let words = numbered.flat_map(move |(line, number)| {
        line.split(move |c| !part(c)).map(move |word| (number, word.trim_end_matches(['.', ','])))
    });
    words.filter(|(_, word)| !word.is_empty())
}

/// Writes `a/{b,c}.rs` out as its paths.
fn expand(word: &str) -> Vec<String> {
    let Some((head, (group, tail))) =
        word.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)))
    else {
        return vec![word.to_owned()];
    };
    group.split(',').map(|part| format!("{head}{part}{tail}")).collect()
}

/// Returns the targets of the links of a document, without anchors, with line numbers. Those of the web are
/// left out.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let targets = text.lines().zip(1..).flat_map(|(line, number)| {
        line.split("](").skip(1).filter_map(move |rest| Some((number, rest.split_once(')')?.0)))
    });
    let targets = targets.map(|(number, target)| (number, target.split('#').next().unwrap_or_default()));
    targets.filter(|(_, target)| !target.is_empty() && !target.contains(':'))
}

/// Returns true if a word looks like a file or folder of the project: it begins with one of these folders, or
/// is a Rust file.
fn is_of_the_project(word: &str, folders: &BTreeSet<String>) -> bool {
    match word.split_once('/') {
        Some((first, _)) => folders.contains(first),
        None => word.len() > ".rs".len() && word.ends_with(".rs"),
    }
}

/// Returns the folders that the paths of a document may begin with.
fn folders(document: &str) -> BTreeSet<String> {
    let mut folders: BTreeSet<String> = TOP.iter().chain(&HIDDEN).map(|name| (*name).to_owned()).collect();
    if document == MAP {
        let names = fs::read_dir(root().join(CORE)).unwrap().flatten().map(|entry| entry.file_name());
        folders.extend(names.map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned()));
    }
    folders
}

#[test]
fn documents_name_only_files_that_exist() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        let here = root().join(&document).parent().unwrap().to_owned();
        let dead = links(&text).filter(|(_, target)| !here.join(target).exists());
        wrong.extend(dead.map(|(line, target)| format!("{document}:{line}: {target}")));
        let folders = folders(&document);
        let base = root().join(if document == MAP { CORE } else { "" });
        let exists = |path: &str| {
            // The map calls modules by their names too.
            let module = base.join(format!("{path}.rs"));
            root().join(path).exists() || base.join(path).exists() || (document == MAP && module.exists())
        };
        for (line, word) in words(&text).filter(|(_, word)| is_of_the_project(word, &folders)) {
            let missing = expand(word).into_iter().filter(|path| !exists(path));
            wrong.extend(missing.map(|path| format!("{document}:{line}: {path}")));
        }
    }
    wrong.sort();
    wrong.dedup();
    none("files that do not exist", wrong);
}

#[test]
fn the_architecture_names_every_file_of_core() {
    let text = fs::read_to_string(root().join(MAP)).unwrap();
    let map = text.split_once(SECTION.0).and_then(|(_, rest)| rest.split_once(SECTION.1));
    let map = map.expect("the section with the map").0;
    let named: BTreeSet<String> = words(map).flat_map(|(_, word)| expand(word)).collect();
    let core = root().join(CORE);
    let sources = files(".rs")
        .into_iter()
        .filter_map(|path| Some(path.strip_prefix(&core).ok()?.to_string_lossy().into_owned()));
    let is_test = |name: &String| name.ends_with("tests.rs") || name.contains("/tests/");
    // A folder with a slash at its end stands for all files in it.
    let in_folder = |name: &str| {
        let above = Path::new(name).ancestors().skip(1);
        above.filter_map(Path::to_str).any(|folder| named.contains(&format!("{folder}/")))
    };
    let missing = sources.filter(|name| !is_test(name) && !named.contains(name) && !in_folder(name));
    none("files that the map of ARCHITECTURE.md leaves out", missing);
}

#[test]
fn paths_are_recognised() {
    let text =
        "See `a/{b,c}.rs`, [that](core/x.md#y), core/z/.\n[there](https://example.org/a.md) and/or d.rs";
    let found: Vec<_> = words(text).collect();
    for word in ["a/{b,c}.rs", "core/x.md", "core/z/"] {
        assert!(found.contains(&(1, word)), "{word}: {found:?}");
    }
    assert_eq!(expand("a/{b,c}.rs"), ["a/b.rs", "a/c.rs"]);
    assert_eq!(links(text).collect::<Vec<_>>(), [(1, "core/x.md")]);
    let folders = BTreeSet::from(["core".to_owned()]);
    let of_the_project = |word: &str| is_of_the_project(word, &folders);
    assert!(of_the_project("core/x") && of_the_project("d.rs"));
    assert!(!of_the_project("and/or") && !of_the_project("/core/x") && !of_the_project("core"));
}
