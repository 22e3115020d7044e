//! Rules on how long things may grow: files, functions, comment lines, and modules.

use std::collections::BTreeMap;
use std::fs;

use super::{files, none, root, sources};
use crate::source::functions;

/// Most lines of a file, tests included.
const FILE_LINES: usize = 500;
/// Most lines of a function, from `fn` to the closing brace.
const FUNCTION_LINES: usize = 70;
/// Most columns of a line with a comment on it. `.rustfmt.toml` says the same of code.
const COMMENT_COLUMNS: usize = 110;
/// Largest part of the lines of core and cli, in percent, that one top-level module of either may have.
const ROOM_PERCENT: usize = 15;

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.lines > FILE_LINES {
            wrong.push(format!("{}: {} lines of at most {FILE_LINES}", source.name, source.lines));
        }
        let long = functions(&source).into_iter().filter(|f| f.lines > FUNCTION_LINES);
        wrong.extend(long.map(|f| {
            format!(
                "{}:{}: {} has {} lines of at most {FUNCTION_LINES}",
                source.name, f.line, f.name, f.lines
            )
        }));
    }
    for script in files(".py") {
        let lines = fs::read_to_string(&script).unwrap().lines().count();
        if lines > FILE_LINES {
            let name = script.strip_prefix(root()).unwrap();
            wrong.push(format!("{}: {lines} lines of at most {FILE_LINES}", name.display()));
        }
    }
    none("length", wrong);
}

#[test]
fn lines_of_comment_stay_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let long = source.comments.iter().filter(|comment| comment.columns > COMMENT_COLUMNS);
        wrong.extend(long.map(|comment| {
            format!(
                "{}:{}: {} columns of at most {COMMENT_COLUMNS}",
                source.name, comment.line, comment.columns
            )
        }));
    }
    none("columns of comments", wrong);
}

#[test]
fn no_module_is_half_the_house() {
    let mut rooms: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources() {
        let mut place = source.name.split('/');
        let (Some(house @ ("core" | "cli")), Some("src"), Some(room)) =
            (place.next(), place.next(), place.next())
        else {
            continue;
        };
        if !source.is_test() {
            *rooms.entry(format!("{house} {}", room.trim_end_matches(".rs"))).or_default() +=
                source.own_lines;
        }
    }
    let all: usize = rooms.values().sum();
    let large = rooms.into_iter().filter(|(_, lines)| lines * 100 > all * ROOM_PERCENT);
    none("modules", large.map(|(room, lines)| format!("{room}: {lines} of {all} lines")));
}
