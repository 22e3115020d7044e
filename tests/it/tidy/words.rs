//! Rules on names and comments.

use std::collections::BTreeMap;

use super::{none, sources};
use crate::source::types;

/// File names that say nothing.
const NAMELESS_FILES: [&str; 8] =
    ["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "types.rs", "misc.rs", "prelude.rs"];
/// Ends of type names that say nothing.
const NAMELESS_TYPES: [&str; 4] = ["Manager", "Helper", "Service", "Impl"];
/// Beginnings of doc comments that have no subject, or that need another comment to be understood.
const VAGUE: [&str; 7] =
    ["What", "Who", "Whose", "Whoever", "The same", "Not any longer", "See the module's text"];
/// Sources of the crates whose types have distinct names.
const CRATES: [&str; 3] = ["core/src/", "cli/src/", "tracker-optional/src/"];

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
fn a_type_name_is_defined_once_in_a_crate() {
    let mut places: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    for source in sources() {
        let Some(home) = CRATES.iter().find(|home| source.name.starts_with(**home)) else { continue };
        if source.is_test() {
            continue;
        }
        // A type with a definition for each system, all in one file, is one type.
        let mut here: BTreeMap<String, usize> = BTreeMap::new();
        here.extend(types(&source).into_iter().map(|(line, name)| (name, line)));
        for (name, line) in here {
            places.entry((home, name)).or_default().push(format!("{}:{line}", source.name));
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    none("types of one name", twice.map(|((_, name), places)| format!("{name}: {}", places.join(", "))));
}

#[test]
fn a_doc_comment_says_what_it_speaks_of() {
    let mut wrong = Vec::new();
    for source in sources() {
        let mut before = (0, "");
        for comment in &source.comments {
            let Some((kind, text)) = doc(&comment.text) else { continue };
            let goes_on = before == (comment.line - 1, kind);
            before = (comment.line, kind);
            if !goes_on && VAGUE.iter().any(|vague| begins_with(text, vague)) {
                wrong.push(format!("{}:{}: {text}", source.name, comment.line));
            }
        }
    }
    none("beginnings of doc comments", wrong);
}

/// Takes a line of a doc comment apart: its mark and its text.
fn doc(comment: &str) -> Option<(&'static str, &str)> {
    let marks = ["///", "//!", "/**", "/*!"];
    let mark = marks.into_iter().find(|mark| comment.starts_with(mark))?;
    let text = &comment[mark.len()..];
    (!text.starts_with('/')).then_some((mark, text.trim()))
}

/// Returns true if a text begins with these words and the last of them ends there.
fn begins_with(text: &str, words: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.strip_prefix(words).is_some_and(|rest| !rest.starts_with(part))
}

#[test]
fn doc_comments_are_taken_apart() {
    assert_eq!(doc("/// Who"), Some(("///", "Who")));
    assert_eq!((doc("//// Who"), doc("// Who")), (None, None));
    assert!(begins_with("Who", "Who") && begins_with("Who's", "Who") && !begins_with("Whole", "Who"));
}
