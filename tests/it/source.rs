//! Rust source as far as the tidy test has to understand it: code apart from comments and literals, the paths
//! that are used, the types that are defined, and where functions begin and end.

use std::fs;
use std::path::Path;

/// A Rust file of the project.
pub(crate) struct Source {
    /// Relative to the project, with `/`.
    pub(crate) name: String,
    /// Count of lines of the whole file.
    pub(crate) lines: usize,
    /// Count of lines without the unit tests of the file.
    pub(crate) own_lines: usize,
    /// Numbered lines of code without the unit tests. Comments and the insides of literals are blanked.
    pub(crate) code: Vec<(usize, String)>,
    /// Comments of the whole file.
    pub(crate) comments: Vec<Comment>,
    /// Numbered lines of code with the unit tests, blanked like `code`.
    all: Vec<(usize, String)>,
}

/// One line with a comment on it.
pub(crate) struct Comment {
    pub(crate) line: usize,
    /// Columns of the whole line.
    pub(crate) columns: usize,
    /// The comment from its `//` on; empty in the middle of a block comment.
    pub(crate) text: String,
}

/// A function and its length.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    /// Reads the file at `path` in the project at `root`.
    pub(crate) fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        Self::parse(name, &text)
    }

    /// Reads a text as the file of this name.
    pub(crate) fn parse(name: String, text: &str) -> Self {
        let numbered =
            |code: &str| code.lines().enumerate().map(|(i, line)| (i + 1, line.to_owned())).collect();
        let (code, comments) = without_text(text);
        let all = numbered(&code);
        let (code, test_lines) = without_tests(&code);
        let lines = text.lines().count();
        Self { name, lines, own_lines: lines - test_lines, code: numbered(&code), comments, all }
    }

    /// True if the file holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        ["_tests.rs", "/tests.rs"].iter().any(|end| self.name.ends_with(end)) || self.name.contains("/tests/")
    }
}

/// Returns the text with comments and the insides of literals blanked, so that line numbers stay; and the
/// comments.
fn without_text(text: &str) -> (String, Vec<Comment>) {
    let chars: Vec<char> = text.chars().collect();
    let columns: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
    let mut out = String::with_capacity(text.len());
    let mut comments = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(&c) = chars.get(at) {
        let end = match (c, chars.get(at + 1)) {
            ('/', Some('/')) => find(&chars, at, |i| chars[i] == '\n'),
            ('/', Some('*')) => block_comment(&chars, at),
            ('r' | 'b' | 'c', _) if !before_is_word(&chars, at) => raw_string(&chars, at).unwrap_or(at),
            ('"', _) => string(&chars, at),
            ('\'', _) => character(&chars, at),
            _ => at,
        };
        if end == at {
            line += usize::from(c == '\n');
            out.push(c);
            at += 1;
            continue;
        }
        let part: String = chars[at..end].iter().collect();
        if c == '/' {
            comments.extend(part.lines().zip(line..).map(|(text, line)| Comment {
                line,
                columns: columns[line - 1],
                text: text.to_owned(),
            }));
        }
        line += part.matches('\n').count();
        out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    (out, comments)
}

fn find(chars: &[char], from: usize, stop: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| stop(*i)).unwrap_or(chars.len())
}

fn before_is_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// Returns the end of the raw string (`r"..."`, `br#"..."#` and the like) that begins here, if one does.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let after_prefix = find(chars, at, |i| !matches!(chars[i], 'r' | 'b' | 'c'));
    let quote = find(chars, after_prefix, |i| chars[i] != '#');
    let raw = chars[at..after_prefix].contains(&'r');
    if chars.get(quote) != Some(&'"') || after_prefix - at > 2 || !raw {
        return None;
    }
    let hashes = quote - after_prefix;
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((find(chars, quote + 1, closes) + 1 + hashes).min(chars.len()))
}

fn string(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// Returns the end of a character literal. A lifetime is none, and ends where it begins.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (find(chars, at + 3, |i| chars[i] == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Blanks the item that follows each `#[cfg(test)]`: a module in braces or a declaration. Also returns how
/// many lines the modules in braces take.
fn without_tests(code: &str) -> (String, usize) {
    let (mut out, mut lines) = (code.to_owned(), 0);
    while let Some(start) = out.find("#[cfg(test)]") {
        let open = out[start..].find(['{', ';']).map_or(out.len(), |i| start + i);
        let in_braces = out[open..].starts_with('{');
        let end = if in_braces { closing(&out, open) } else { (open + 1).min(out.len()) };
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        lines += if in_braces { blank.matches('\n').count() + 1 } else { 0 };
        out.replace_range(start..end, &blank);
    }
    (out, lines)
}

/// Returns the place just after the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + i + 1;
        }
    }
    code.len()
}

/// Returns true if a name occurs in code as a whole word. A name with `::` in it is compared as it stands.
pub(crate) fn word(code: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = code[at + name.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// Returns every path that is imported, with groups taken apart, and every `crate::` path used in place, with
/// line numbers. A `super` that leads to the crate's root is written as `crate`.
pub(crate) fn paths(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let whole: String = source.code.iter().map(|(_, line)| format!("{line}\n")).collect();
    let line_of = |at: usize| whole[..at].matches('\n').count() + 1;
    let starts = |keyword: &str| whole.match_indices(keyword).map(|(at, _)| at).collect::<Vec<_>>();
    for at in starts("use ")
        .into_iter()
        .filter(|at| !whole[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    {
        let end = whole[at..].find(';').map_or(whole.len(), |i| at + i);
        let tree: String = whole[at + 4..end].split_whitespace().collect();
        let mut flat = Vec::new();
        flatten("", &tree, &mut flat);
        found.extend(flat.into_iter().map(|path| (line_of(at), path)));
    }
    for at in starts("crate::") {
        let rest: String =
            whole[at..].chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        found.push((line_of(at), rest));
    }
    let depth = source.name.matches('/').count().saturating_sub(1);
    found.into_iter().map(|(line, path)| (line, out_of_super(&path, depth))).collect()
}

/// Takes a `use` tree apart: `a::{b,c::{d,e}}` into its paths.
fn flatten(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        out.push(format!("{prefix}{tree}"));
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (i, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 && start < i => {
                flatten(&format!("{prefix}{head}"), &group[start..i], out);
                start = i + 1;
            }
            _ => {}
        }
    }
}

/// Writes a path with `crate` if its `super`s lead to the crate's root from a file that lies `depth` folders
/// deep.
fn out_of_super(path: &str, depth: usize) -> String {
    let up = path.split("::").take_while(|part| *part == "super").count();
    match path.splitn(up + 1, "::").nth(up) {
        Some(rest) if up > 0 && up >= depth => format!("crate::{rest}"),
        _ => path.to_owned(),
    }
}

/// Returns where the head of a function ends: at its body, or at the semicolon of a function without one.
fn body_or_end(head: &str) -> usize {
    let mut depth = 0;
    let ends = head.char_indices().find(|(_, c)| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(c, '{' | ';')
    });
    ends.map_or(head.len(), |(at, _)| at)
}

/// Returns the paths that stand in code outside of imports: runs of words joined by `::`.
pub(crate) fn paths_in_place(source: &Source) -> Vec<&str> {
    let part = |c: char| c.is_alphanumeric() || "_:".contains(c);
    let words = source.code.iter().flat_map(|(_, line)| line.split(move |c| !part(c)));
    words.filter(|word| word.contains("::") && !word.starts_with(':')).collect()
}

/// Returns the name and line of each struct, enum, union, trait and alias at the level of a module, without
/// tests.
pub(crate) fn types(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // True for each open brace that is the body of a module.
    let mut open = Vec::new();
    let (mut head, mut line_of_head) = (String::new(), 1);
    for (number, line) in &source.code {
        for c in line.chars().chain([' ']) {
            if head.trim().is_empty() {
                line_of_head = *number;
            }
            if !matches!(c, '{' | '}' | ';') {
                head.push(c);
                continue;
            }
            let at_module = open.iter().all(|module| *module);
            let (kind, name) = kind_and_name(&head);
            if at_module && ["struct", "enum", "union", "trait", "type"].contains(&kind) && c != '}' {
                found.push((line_of_head, name.to_owned()));
            }
            match c {
                '{' => open.push(kind == "mod"),
                '}' => drop(open.pop()),
                _ => {}
            }
            head.clear();
        }
    }
    found
}

/// Returns the keyword and the name of the item that begins with this text, behind its attributes and
/// visibility.
fn kind_and_name(head: &str) -> (&str, &str) {
    let mut rest = head.trim_start();
    while rest.starts_with("#[") || rest.starts_with("#![") {
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ']' && depth == 0
        });
        rest = end.map_or("", |end| rest[end + 1..].trim_start());
    }
    if let Some(seen) = rest.strip_prefix("pub") {
        let inside = seen.strip_prefix('(').and_then(|seen| seen.split_once(')'));
        rest = inside.map_or(seen, |(_, after)| after);
    }
    let mut words = rest
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty() && *word != "unsafe");
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// Returns every function with a body, those of tests too.
pub(crate) fn functions(source: &Source) -> Vec<Function> {
    let whole: String = source.all.iter().map(|(_, line)| format!("{line}\n")).collect();
    let mut found = Vec::new();
    for (at, _) in whole.match_indices("fn ") {
        let after = &whole[at + 3..];
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let is_word = !whole[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let open = at + 3 + body_or_end(after);
        if name.is_empty() || !is_word || !whole[open..].starts_with('{') {
            continue;
        }
        let line = whole[..at].matches('\n').count() + 1;
        let lines = whole[at..closing(&whole, open)].matches('\n').count() + 1;
        found.push(Function { name, line, lines });
    }
    found
}

#[test]
fn reads_what_the_rules_need() {
    let text = concat!(
        "//! sled\nuse crate::{id::Id, wire::{A, B}};\nuse super::node;\n",
        "fn one<'a>(x: &'a str) -> char {\n    let _ = (\"tokio }\", r#\"sled \" {\"#, '{', '\\'');\n    crate::store::go()\n}\n",
        "/* async /* nested */ fn no() { */\n#[cfg(test)]\nmod tests {\n    fn two(_: [u8; 2]) {\n    }\n}\nfn three() {}\n"
    );
    let source = Source::parse("core/src/x.rs".into(), text);
    let code = source.code.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    for gone in ["sled", "tokio", "async", "two"] {
        assert!(!word(&code, gone), "{gone} in {code}");
    }
    assert!(word(&code, "three") && !word(&code, "thre") && word("a::fs;", "a::fs"));
    let used: Vec<String> = paths(&source).into_iter().map(|(line, path)| format!("{line} {path}")).collect();
    let expected = [
        "2 crate::id::Id",
        "2 crate::wire::A",
        "2 crate::wire::B",
        "3 crate::node",
        "2 crate::",
        "6 crate::store::go",
    ];
    assert_eq!(used, expected);
    let long: Vec<_> = functions(&source).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(long, [("one".into(), 4, 4), ("two".into(), 11, 2), ("three".into(), 14, 1)]);
    assert_eq!((source.lines, source.own_lines), (14, 9));
    let comments: Vec<_> = source.comments.iter().map(|c| (c.line, c.columns, c.text.as_str())).collect();
    assert_eq!(comments, [(1, 8, "//! sled"), (8, 34, "/* async /* nested */ fn no() { */")]);
}

#[test]
fn reads_the_types_of_modules_alone() {
    let text = concat!(
        "#[derive(Debug)]\n#[serde(rename = \"}\")]\npub(in crate::a) struct One<T: Into<[u8; 2]>> {\n    a: T,\n}\n",
        "impl Iterator for One { type Item = u8; fn next() { struct No; } }\npub mod a { enum Two {} }\n",
        "pub struct Three([u8; 32]);\ntrait Four { type No; }\ntype Five = u8;\nmacro_rules! m { () => { struct No; } }\n",
    );
    let found = types(&Source::parse("core/src/x.rs".into(), text));
    let found: Vec<_> = found.iter().map(|(line, name)| (*line, name.as_str())).collect();
    assert_eq!(found, [(1, "One"), (7, "Two"), (8, "Three"), (9, "Four"), (10, "Five")]);
    let source = Source::parse("core/src/x.rs".into(), "fn a() { b::c(super::d::E, <F>::g(), h.i::<J>()) }");
    assert_eq!(paths_in_place(&source), ["b::c", "super::d::E", "i::"]);
}
