//! Rust source as far as the tidy test has to understand it: what is code and what is text, which paths are used, and
//! where functions begin and end.

use std::fs;
use std::path::Path;

/// A source file.
pub(crate) struct Source {
    /// Relative to the project, with `/`.
    pub(crate) name: String,
    /// Lines of the whole file.
    pub(crate) lines: usize,
    /// Numbered lines without comments and without what is inside literals, leaving out unit tests of the file.
    pub(crate) code: Vec<(usize, String)>,
    /// The same with the unit tests.
    all: Vec<(usize, String)>,
}

/// A function and its length.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        Self::parse(name, &text)
    }

    fn parse(name: String, text: &str) -> Self {
        let numbered =
            |code: &str| code.lines().enumerate().map(|(i, line)| (i + 1, line.to_owned())).collect();
        let code = without_text(text);
        let all = numbered(&code);
        Self { name, lines: text.lines().count(), code: numbered(&without_tests(&code)), all }
    }

    /// A file of nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.name.ends_with("_tests.rs") || self.name.ends_with("/tests.rs")
    }
}

/// The same text with comments and the insides of literals blanked; line numbers stay.
fn without_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
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
            out.push(c);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
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

/// The end of `r"..."`, `br#"..."#` and the like that begins here, if one does.
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

/// The end of a character literal; a lifetime is none and ends where it begins.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (find(chars, at + 3, |i| chars[i] == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Blanks what follows `#[cfg(test)]`: a module in braces or a declaration.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let open = out[start..].find(['{', ';']).map_or(out.len(), |i| start + i);
        let end = if out[open..].starts_with('{') { closing(&out, open) } else { (open + 1).min(out.len()) };
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Just after the brace that closes the one at `open`.
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

/// Whether a name occurs in code as a word of its own; a name with `::` in it as it stands.
pub(crate) fn word(code: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part);
        let after = code[at + name.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// Every path that is imported, with groups taken apart, and every `crate::` path used in place; with line numbers.
/// `super` is written out as far as it leads out of the file's own module.
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

/// `a::{b,c::{d,e}}` into its paths.
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

/// With as many `super` as lead to the crate's root from a file that lies `depth` folders deep, the root is meant.
fn out_of_super(path: &str, depth: usize) -> String {
    let up = path.split("::").take_while(|part| *part == "super").count();
    match path.splitn(up + 1, "::").nth(up) {
        Some(rest) if up > 0 && up >= depth => format!("crate::{rest}"),
        _ => path.to_owned(),
    }
}

/// Where the head of a function ends: at its body, or at the semicolon of one without.
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

/// Every function with a body, tests too.
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
}
