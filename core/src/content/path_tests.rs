#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::Rules::{Portable, Unix};
use super::names::Verdict::{Bad, Good, UnixOnly};
use super::names::{COMPONENTS, PATHS, Verdict};
use super::*;

#[test]
fn an_entry_of_a_log_is_one_line_and_json_keeps_its_meaning() {
    let planted = "a\u{1b}[2J\u{7}b\nforged ERROR\r\u{202e}\u{9b}c\u{e0041}";
    let line = escape_entry(format!("{planted}\n").as_bytes());
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.ends_with('\n') && line.chars().filter(|c| is_unshowable(*c)).count() == 1, "{line}");
    assert_eq!(escape_entry(b"\xff\n"), "\u{fffd}\n");
    assert_eq!(escape_json("{\"a\":\"x\u{202e}\u{e0041}ü\"}"), r#"{"a":"x\u202e\udb40\udc41ü"}"#);
}

fn verdict(check: impl Fn(Rules) -> bool) -> Verdict {
    match (check(Portable), check(Unix)) {
        (true, true) => Good,
        (false, true) => UnixOnly,
        (false, false) => Bad,
        (true, false) => panic!("unix rules are stricter"),
    }
}

/// D14, D16: every name of the policy has its verdict, on every platform. `manifest_tests` checks with the
/// same tables that no manifest gets past it with a bad name among good ones.
#[test]
fn d14_d16_hostile_names() {
    const { assert!(COMPONENTS.len() + PATHS.len() >= 80) };
    for &(name, expected) in COMPONENTS {
        let shown = name.escape_ascii();
        assert_eq!(verdict(|rules| check_component_bytes(name, rules).is_ok()), expected, "{shown}");
    }
    for &(path, expected) in PATHS {
        assert_eq!(verdict(|rules| check_path(path, rules).is_ok()), expected, "{path:?}");
    }
}

#[test]
fn lengths_are_exact() {
    let ok = |name: &str| check_component(name, Portable).is_ok();
    assert!(ok(&"a".repeat(COMPONENT_UTF16)));
    assert!(!ok(&"a".repeat(COMPONENT_UTF16 + 1)));
    assert!(ok(&"語".repeat(COMPONENT_BYTES / 3)));
    assert!(!ok(&format!("{}a", "語".repeat(COMPONENT_BYTES / 3))));
    // Four bytes and two units each: the limit of bytes is the tighter one.
    assert!(ok(&"👍".repeat(63)) && !ok(&"👍".repeat(64)));

    let path = |depth: usize| vec!["a"; depth].join("/");
    assert!(check_path(&path(PATH_DEPTH), Portable).is_ok());
    assert_eq!(
        check_path(&path(PATH_DEPTH + 1), Portable),
        Err(PathError::TooDeep { path: path(PATH_DEPTH + 1), depth: PATH_DEPTH + 1 })
    );
    let long = format!("{0}/{0}/{0}/{0}/{1}", "b".repeat(200), "b".repeat(PATH_BYTES - 804));
    assert!(check_path(&long, Portable).is_ok());
    assert!(matches!(check_path(&format!("{long}b"), Portable), Err(PathError::PathTooLong { .. })));
}

#[test]
fn errors_name_the_rule() {
    let shown = |name: &str| check_component(name, Portable).unwrap_err().to_string();
    assert_eq!(shown("a:b"), "':' is not portable, in the name \"a:b\"");
    assert_eq!(shown("a\u{202e}b"), "invisible character '\\u{202e}' in the name \"a\\u{202e}b\"");
    assert_eq!(shown("aux.h"), "a device name on Windows: \"aux.h\"");
    assert_eq!(shown(".."), "\"..\" is not a name");
    assert_eq!(
        check_component_bytes(b"\xc0\xae\x1b", Portable).unwrap_err().to_string(),
        "not UTF-8: \"\\xc0\\xae\\x1b\""
    );
    let huge = check_component(&"\u{1b}".repeat(1 << 20), Portable).unwrap_err().to_string();
    assert!(huge.len() < 4096, "{}", huge.len());
}

#[test]
fn twins_collide() {
    for (a, b) in [
        ("README", "readme"),
        ("straße", "STRASSE"),
        ("ſet", "set"),
        ("\u{212a}", "k"),
        ("é", "e\u{301}"),
        ("É", "e\u{301}"),
        ("ﬁ", "FI"),
        ("Σ", "ς"),
        ("ᾳ", "ΑΙ"),
        ("\u{345}\u{301}", "\u{301}\u{399}"),
        ("Å", "\u{212b}"),
        ("가", "\u{1100}\u{1161}"),
        ("Dir/File", "dir/file"),
    ] {
        assert_eq!(fold_key(a), fold_key(b), "{a:?} {b:?}");
    }
    for (a, b) in [("a", "b"), ("e", "é"), ("i", "ı"), ("a/b", "ab"), ("ß", "s")] {
        assert_ne!(fold_key(a), fold_key(b), "{a:?} {b:?}");
    }
    assert_eq!(normal_key("é"), normal_key("e\u{301}"));
    assert_ne!(normal_key("a"), normal_key("A"));
}

#[test]
fn symlinks_stay_inside() {
    let check = |link: &str, target: &str| check_symlink_target(link, target, Portable);
    for (link, target) in [
        ("a", "b"),
        ("a", "b/c/d"),
        ("a", "./b"),
        ("a", "b/"),
        ("a", "b//c"),
        ("a", "."),
        ("d/a", ".."),
        ("d/a", "../x"),
        ("d/e/a", "../../x/y"),
        ("d/e/a", ".././../x"),
        ("a", "a"),
        ("a", "..."), // judged as a name below
    ] {
        assert_eq!(check(link, target).is_ok(), target != "...", "{link} -> {target}");
    }
    for (link, target) in [("a", ".."), ("a", "../x"), ("a", "./.."), ("d/a", "../.."), ("d/a", "../../d/x")]
    {
        assert!(matches!(check(link, target), Err(PathError::LinkEscapes { .. })), "{link} -> {target}");
    }
    // Inside by counting, but outside if `b` or `up` is itself a symlink to the root.
    for (link, target) in [("a", "b/.."), ("d/a", "../up/.."), ("a", "b/c/../../..")] {
        assert!(matches!(check(link, target), Err(PathError::LinkDetour { .. })), "{link} -> {target}");
    }
    for target in
        ["/etc/passwd", "//x", "C:/x", "C:x", "\\x", "\\\\h\\s", "", "b\0", "b\nc", "NUL", "b/x.", "a\\b"]
    {
        assert!(check("a", target).is_err(), "{target:?}");
    }
    assert!(check("a", &"b/".repeat(PATH_BYTES)).is_err());
    assert!(check_symlink_target("a", "x:y", Unix).is_ok());
    assert!(check_symlink_target("a", "/x", Unix).is_err());
}

#[test]
fn warns_of_short_names() {
    assert!(warns("PROGRA~1") && warns("a~9.txt"));
    assert!(!warns("a~") && !warns("~a1") && !warns("a1~b"));
}

/// D17: no character is shown raw that a terminal acts on or that hides.
#[test]
fn d17_escapes() {
    assert_eq!(escape("a\u{1b}[31mb\u{7}\n"), "a\\u{1b}[31mb\\u{7}\\u{a}");
    assert_eq!(escape("\u{202e}gpj.exe\u{7f}\u{9b}\u{200b}"), "\\u{202e}gpj.exe\\u{7f}\\u{9b}\\u{200b}");
    assert_eq!(escape("plain \\ \"text\" ü 日本 👍🏽"), "plain \\ \"text\" ü 日本 👍🏽");
    for name in ["\u{1b}]0;x\u{7}", "a\u{202e}b", "a\nb", "\u{9b}2J", "../\u{1b}"] {
        for error in [check_component(name, Portable).unwrap_err(), check_path(name, Portable).unwrap_err()] {
            assert!(!error.to_string().chars().any(is_unshowable), "{error:?}");
        }
        let error = check_symlink_target("a", &format!("../{name}"), Portable).unwrap_err();
        assert!(!error.to_string().chars().any(is_unshowable), "{error:?}");
    }
}

#[test]
fn sanitizes() {
    for (offered, name) in [
        ("report.pdf", "report.pdf"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\evil.exe", "evil.exe"),
        ("C:\\x\\y.txt", "y.txt"),
        ("C:", "C_"),
        ("dir/", "dir"),
        ("", "download"),
        ("../..", "download"),
        (" . ", "download"),
        (".bashrc", "bashrc"),
        ("a. .", "a"),
        ("NUL", "_NUL"),
        ("com¹.txt", "_com¹.txt"),
        ("a\u{202e}b\nc\u{1b}", "a_b_c_"),
        ("what?*.txt", "what__.txt"),
        ("~root", "_root"),
        ("~", "_"),
        ("日本語", "日本語"),
    ] {
        assert_eq!(sanitize_name(offered), name, "{offered:?}");
    }
    assert_eq!(sanitize_name(&"語".repeat(100)).len(), 198);
    // Cutting makes these names end in a space and name a device.
    assert_eq!(sanitize_name(&format!("CON{}x", " ".repeat(300))), "_CON");
    assert_eq!(sanitize_name(&format!("NUL.{}", "x".repeat(300))).len(), 200);
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-a-zA-Z0-9./\\\\ ~:$*?\u{0}-\u{1f}\u{200b}-\u{200f}\u{2028}]{0,40}",
        "(CON|nul|COM¹|lpt9|clock\\$)[. :x]{0,250}",
        "[. /~語a]{150,260}",
    ]
}

proptest! {
    #[test]
    fn nothing_panics(text in any_text(), link in any_text(), bytes in any::<Vec<u8>>()) {
        for rules in [Portable, Unix] {
            let _ = check_path(&text, rules);
            let _ = check_component_bytes(&bytes, rules);
            let _ = check_symlink_target(&link, &text, rules);
        }
        let _ = warns(&text);
    }

    #[test]
    fn sanitized_is_allowed(text in any_text()) {
        let name = sanitize_name(&text);
        prop_assert_eq!(check_component(&name, Portable), Ok(()), "{:?}", name);
        prop_assert_eq!(check_path(&name, Portable), Ok(()), "{:?}", name);
        prop_assert!(name.len() <= 200);
        prop_assert_eq!(sanitize_name(&name), name);
    }

    #[test]
    fn escaped_is_showable(text in any_text()) {
        let shown = escape(&text);
        prop_assert!(!shown.chars().any(is_unshowable));
        prop_assert_eq!(escape(&shown), shown);
    }

    #[test]
    fn unix_allows_what_portable_allows(text in any_text()) {
        prop_assert!(check_path(&text, Portable).is_err() || check_path(&text, Unix).is_ok());
    }

    /// The oracle: caseless matching as the Unicode standard defines it.
    #[test]
    fn fold_key_is_canonical_caseless_matching(a in any_text(), b in any_text()) {
        prop_assert_eq!(fold_key(&a) == fold_key(&b), caseless::canonical_caseless_match_str(&a, &b));
        prop_assert_eq!(fold_key(&a), fold_key(&a.nfd().collect::<String>()));
        let whole: Vec<String> = a.split('/').map(fold_key).collect();
        prop_assert_eq!(fold_key(&a), whole.join("/"));
    }

    /// The oracle: walking a target by hand in a tree without other symlinks never goes above the root.
    #[test]
    fn allowed_symlinks_never_leave(
        link in "[ab](/[ab]){0,4}",
        target in "(\\.\\.|[ab]|\\.|)(/(\\.\\.|[ab]|\\.|)){0,6}",
    ) {
        if check_symlink_target(&link, &target, Portable).is_ok() {
            let mut at: Vec<&str> = link.split('/').collect();
            at.pop();
            for step in target.split('/') {
                match step {
                    "" | "." => {}
                    ".." => prop_assert!(at.pop().is_some()),
                    name => at.push(name),
                }
            }
        }
    }
}
