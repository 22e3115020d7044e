//! Hostile names and their verdicts under the path policy, for every test that needs them.

use super::Rules;

/// The verdict of the policy on a name, under portable rules and under those of `--unix-names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    UnixOnly,
    Bad,
}
use Verdict::{Bad, Good, UnixOnly};

/// Names of one component each, as bytes.
pub(super) const COMPONENTS: &[(&[u8], Verdict)] = &[
    // The empty name, and the two names that are no names.
    (b"", Bad),
    (b".", Bad),
    (b"..", Bad),
    (b"...", Bad),
    (b".hidden", Good),
    (b"..two", Good),
    // Separators, drives, hosts.
    (b"/", Bad),
    (b"/etc", Bad),
    (b"a/b", Bad),
    (b"\\", UnixOnly),
    (b"a\\b", UnixOnly),
    (b"..\\..\\x", UnixOnly),
    (b"\\\\?\\C:\\x", UnixOnly),
    (b"\\\\host\\share", UnixOnly),
    (b"C:", UnixOnly),
    (b"C:x", UnixOnly),
    (b"file:stream", UnixOnly),
    // Control characters.
    (b"\0", Bad),
    (b"a\0b", Bad),
    (b"a\x01", Bad),
    (b"a\x07", Bad),
    (b"a\tb", Bad),
    (b"a\nb", Bad),
    (b"a\rb", Bad),
    (b"\x1b[2J", Bad),
    (b"a\x7f", Bad),
    ("a\u{80}".as_bytes(), Bad),
    ("a\u{9b}31m".as_bytes(), Bad),
    ("a\u{9f}".as_bytes(), Bad),
    // Not UTF-8: overlong, surrogates, stray and missing bytes, beyond Unicode.
    (b"\xc0\xae", Bad),
    (b"\xc0\xae\xc0\xae", Bad),
    (b"\xe0\x80\xae", Bad),
    (b"\xf0\x80\x80\xae", Bad),
    (b"a\xc0\xafb", Bad),
    (b"\xed\xa0\x80", Bad),
    (b"\xed\xbf\xbf", Bad),
    (b"\x80", Bad),
    (b"\xff", Bad),
    (b"a\xc3", Bad),
    (b"\xf4\x90\x80\x80", Bad),
    // Bidirectional and zero-width marks, at both ends of each range, and their neighbours.
    ("a\u{61b}".as_bytes(), Good),
    ("a\u{61c}".as_bytes(), Bad),
    ("a\u{200b}".as_bytes(), Bad),
    ("a\u{200d}b".as_bytes(), Bad),
    ("a\u{200f}".as_bytes(), Bad),
    ("a\u{2010}".as_bytes(), Good),
    ("a\u{202a}".as_bytes(), Bad),
    ("photo\u{202e}gpj.exe".as_bytes(), Bad),
    ("a\u{2060}".as_bytes(), Bad),
    ("a\u{2064}".as_bytes(), Bad),
    ("a\u{2066}".as_bytes(), Bad),
    ("a\u{2069}".as_bytes(), Bad),
    ("\u{feff}a".as_bytes(), Bad),
    // Ends that Windows cuts off.
    (b"a.", Bad),
    (b"a ", Bad),
    (b"a. .", Bad),
    (b" ", Bad),
    (b" a", Good),
    (b"a b.c", Good),
    ("a\u{a0}".as_bytes(), Good),
    // Device names.
    (b"CON", Bad),
    (b"con", Bad),
    (b"Con.txt", Bad),
    (b"con.tar.gz", Bad),
    (b"CON .txt", Bad),
    (b"PRN", Bad),
    (b"AUX", Bad),
    (b"aux.h", Bad),
    (b"NUL", Bad),
    (b"nul.", Bad),
    (b"CLOCK$", Bad),
    (b"conin$", Bad),
    (b"CONOUT$.log", Bad),
    (b"COM0", Bad),
    (b"com1", Bad),
    (b"COM9.dat", Bad),
    (b"LPT0", Bad),
    (b"lpt9.x", Bad),
    ("COM¹".as_bytes(), Bad),
    ("com².txt".as_bytes(), Bad),
    ("COM³".as_bytes(), Bad),
    ("LPT¹".as_bytes(), Bad),
    ("LPT².x".as_bytes(), Bad),
    ("lpt³".as_bytes(), Bad),
    (b"NUL:", Bad),
    (b"COM10", Good),
    (b"COM", Good),
    ("COM⁴".as_bytes(), Good),
    (b"console", Good),
    (b"CON1", Good),
    (b"aux_", Good),
    (b"my.con", Good),
    (b"CLOCK", Good),
    // Characters.
    (b"a<b", UnixOnly),
    (b"a>b", UnixOnly),
    (b"a\"b", UnixOnly),
    (b"a|b", UnixOnly),
    (b"a?b", UnixOnly),
    (b"a*b", UnixOnly),
    (b"a&b;c$d'e`f(g)[h]{i}!#%^=+,@~", Good),
    // Names that look odd but are good.
    (b"-rf", Good),
    (b"~root", Good),
    (b"PROGRA~1", Good),
    ("日本語".as_bytes(), Good),
    ("e\u{301}".as_bytes(), Good),
    ("👩🏽‍🚀".as_bytes(), Bad),
    ("👍🏽".as_bytes(), Good),
];

/// Whole paths.
pub(super) const PATHS: &[(&str, Verdict)] = &[
    ("", Bad),
    ("/", Bad),
    ("/etc/passwd", Bad),
    ("//host/share", Bad),
    ("a//b", Bad),
    ("a/", Bad),
    ("./a", Bad),
    ("a/./b", Bad),
    ("../a", Bad),
    ("a/../../b", Bad),
    ("a/..", Bad),
    ("C:/x", UnixOnly),
    ("c:x", UnixOnly),
    ("\\x", UnixOnly),
    ("\\\\?\\C:\\x", UnixOnly),
    ("\\\\host\\share\\x", UnixOnly),
    ("a/..\\..\\x", UnixOnly),
    ("~", Bad),
    ("~/.ssh/authorized_keys", Bad),
    ("~root/x", Bad),
    ("~+/x", Bad),
    ("~$report.docx", Good),
    ("a/~root", Good),
    ("a/NUL/b", Bad),
    ("a/b./c", Bad),
    ("a/b/c", Good),
    ("a b/ü.txt", Good),
];

/// Returns all paths of the tables that a manifest of these rules must not have, as bytes, and all that it
/// may have.
pub(crate) fn hostile_and_harmless(rules: Rules) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let components = COMPONENTS.iter().map(|&(name, verdict)| ([b"dir/", name].concat(), verdict));
    // It is bad as a component, but as a path it is two good ones.
    let components = components.filter(|(path, _)| path != b"dir/a/b");
    let paths = PATHS.iter().map(|&(path, verdict)| (path.as_bytes().to_vec(), verdict));
    let (good, bad): (Vec<_>, Vec<_>) = components
        .chain(paths)
        .partition(|&(_, verdict)| verdict == Good || (verdict == UnixOnly && rules == Rules::Unix));
    let names = |list: Vec<(Vec<u8>, Verdict)>| list.into_iter().map(|(path, _)| path).collect();
    (names(bad), names(good))
}
