//! The path policy: the names that a directory may hold, and how a name from outside is shown or made
//! harmless.
//!
//! A publisher refuses to make, and a receiver rejects *as a whole*, a manifest that breaks any rule here.
//! All rules are pure functions of the text, so every platform reaches the same verdict: a name that would be
//! dangerous on Windows is refused on Linux too, because the manifest travels on.
//!
//! Paths are relative, their components joined by `/`. "Twins" are names that some file system takes for the
//! same one (case, Unicode normalisation); [`fold_key`] finds them, `manifest` refuses them.

use std::borrow::Cow;

use caseless::Caseless as _;
use unicode_normalization::UnicodeNormalization as _;

use crate::limits::{COMPONENT_BYTES, COMPONENT_UTF16, PATH_BYTES, PATH_DEPTH};

/// The rules for names. A manifest carries the rules that it was made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rules {
    /// Names that mean the same on Linux, macOS and Windows. This is the default.
    Portable,
    /// The rules of `--unix-names`: they also allow `\ : < > " | ? *` and case twins, nothing else. Receivers
    /// on Windows and macOS must refuse such a manifest.
    Unix,
}

/// The rule that a path breaks, and the offending name.
///
/// The names in it are cut to about 255 bytes but otherwise raw; `Display` shows them through [`escape`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path, or a component between two slashes, has no characters.
    #[error("empty name in \"{}\"", escape(.path))]
    Empty {
        /// The whole path.
        path: String,
    },
    /// A component is `.` or `..`.
    #[error("\"{name}\" is not a name")]
    Dot {
        /// The component.
        name: String,
    },
    /// The path starts at a root (`/x`, and `\x` under portable rules).
    #[error("not a relative path: \"{}\"", escape(.path))]
    Absolute {
        /// The whole path.
        path: String,
    },
    /// The path starts with a Windows drive, device or host (`C:`, `\\?\`, `\\host\`).
    #[error("names a Windows drive or host: \"{}\"", escape(.path))]
    Drive {
        /// The whole path.
        path: String,
    },
    /// The path starts with `~` or `~name`, which shells and many programs take for a home directory.
    #[error("names a home directory: \"{}\"", escape(.path))]
    Home {
        /// The whole path.
        path: String,
    },
    /// A `/` stands inside a single component.
    #[error("\"/\" inside the name \"{}\"", escape(.name))]
    Slash {
        /// The component.
        name: String,
    },
    /// A component contains one of `\ : < > " | ? *` under portable rules.
    #[error("{found:?} is not portable, in the name \"{}\"", escape(.name))]
    Character {
        /// The component.
        name: String,
        /// The first such character.
        found: char,
    },
    /// A component contains NUL, another C0 or C1 control character, or DEL.
    #[error("control character {found:?} in the name \"{}\"", escape(.name))]
    Control {
        /// The component.
        name: String,
        /// The first such character.
        found: char,
    },
    /// A component contains a bidirectional or zero-width mark, which makes a name look like another.
    #[error("invisible character {found:?} in the name \"{}\"", escape(.name))]
    Invisible {
        /// The component.
        name: String,
        /// The first such character.
        found: char,
    },
    /// A name is not UTF-8 (overlong forms and surrogates included).
    #[error("not UTF-8: \"{name}\"")]
    NotUtf8 {
        /// The bytes; each that is not printable ASCII is written `\xNN`.
        name: String,
    },
    /// A component ends with a dot or space, which Windows drops.
    #[error("ends with a dot or space: \"{}\"", escape(.name))]
    Trailing {
        /// The component.
        name: String,
    },
    /// A component is a device name of Windows, with any extension, in any case.
    #[error("a device name on Windows: \"{}\"", escape(.name))]
    Reserved {
        /// The component.
        name: String,
    },
    /// A component is over [`COMPONENT_BYTES`] bytes or [`COMPONENT_UTF16`] UTF-16 units.
    #[error(
        "name of {bytes} bytes or {units} UTF-16 units, the limits are {COMPONENT_BYTES} and {COMPONENT_UTF16}: \"{}\"",
        escape(.name)
    )]
    ComponentTooLong {
        /// The component.
        name: String,
        /// The length of the component in UTF-8, in bytes.
        bytes: usize,
        /// The length of the component in UTF-16, in units of 16 bits.
        units: usize,
    },
    /// The path is over [`PATH_BYTES`] bytes.
    #[error("path of {bytes} bytes, the limit is {PATH_BYTES}: \"{}\"", escape(.path))]
    PathTooLong {
        /// The whole path.
        path: String,
        /// The length of the path in bytes.
        bytes: usize,
    },
    /// The path has more than [`PATH_DEPTH`] components.
    #[error("path of {depth} components, the limit is {PATH_DEPTH}: \"{}\"", escape(.path))]
    TooDeep {
        /// The whole path.
        path: String,
        /// The number of the path's components.
        depth: usize,
    },
    /// The target of a symlink leaves the tree.
    #[error("symlink \"{}\" leaves the directory: \"{}\"", escape(.link), escape(.target))]
    LinkEscapes {
        /// The path of the symlink.
        link: String,
        /// The target.
        target: String,
    },
    /// The target of a symlink goes up after it went down, so that its place depends on other symlinks.
    #[error("symlink \"{}\" has \"..\" after a name: \"{}\"", escape(.link), escape(.target))]
    LinkDetour {
        /// The path of the symlink.
        link: String,
        /// The target.
        target: String,
    },
}

/// Checks one component of a path.
///
/// # Errors
/// The first rule that the component breaks.
pub fn check_component(name: &str, rules: Rules) -> Result<(), PathError> {
    match name {
        "" => return Err(PathError::Empty { path: String::new() }),
        "." | ".." => return Err(PathError::Dot { name: name.to_owned() }),
        _ => {}
    }
    let (bytes, units) = (name.len(), name.encode_utf16().count());
    if bytes > COMPONENT_BYTES || units > COMPONENT_UTF16 {
        return Err(PathError::ComponentTooLong { name: clip(name), bytes, units });
    }
    for found in name.chars() {
        let name = || clip(name);
        if found == '/' {
            return Err(PathError::Slash { name: name() });
        } else if found.is_control() {
            return Err(PathError::Control { name: name(), found });
        } else if is_invisible(found) {
            return Err(PathError::Invisible { name: name(), found });
        } else if rules == Rules::Portable && is_unportable(found) {
            return Err(PathError::Character { name: name(), found });
        }
    }
    if name.ends_with(['.', ' ']) {
        return Err(PathError::Trailing { name: clip(name) });
    }
    if is_reserved(name) {
        return Err(PathError::Reserved { name: clip(name) });
    }
    Ok(())
}

/// Checks one component in bytes, and returns it as text.
///
/// # Errors
/// [`PathError::NotUtf8`], or the first rule that the component breaks.
pub fn check_component_bytes(name: &[u8], rules: Rules) -> Result<&str, PathError> {
    utf8(name).and_then(|name| check_component(name, rules).map(|()| name))
}

/// Checks a relative path: at most [`PATH_BYTES`] bytes and [`PATH_DEPTH`] components, each of them allowed,
/// and no form that any platform or shell takes for absolute.
///
/// # Errors
/// The first rule that the path breaks.
pub fn check_path(path: &str, rules: Rules) -> Result<(), PathError> {
    check_start(path, rules)?;
    if is_home(path) {
        return Err(PathError::Home { path: clip(path) });
    }
    let depth = path.split('/').count();
    if depth > PATH_DEPTH {
        return Err(PathError::TooDeep { path: clip(path), depth });
    }
    path.split('/').try_for_each(|name| {
        if name.is_empty() {
            return Err(PathError::Empty { path: clip(path) });
        }
        check_component(name, rules)
    })
}

/// Checks the target of the symlink at `link_path` (a path that [`check_path`] allows): it must be relative,
/// and inside the tree at every step.
///
/// `..` may only stand at the front, and only as often as the link has parents. The front is exact, because a
/// manifest has no symlink above a link; and all symlinks that the rest passes through obey the same rule, so
/// none leads outside. A `..` further back could start from the target of another symlink, so it is refused.
/// Empty steps (`a//b`, `a/`) and `.` are allowed, as in every file system. The target need not exist.
///
/// # Errors
/// The first rule that the target breaks.
pub fn check_symlink_target(link_path: &str, target: &str, rules: Rules) -> Result<(), PathError> {
    check_start(target, rules)?;
    let mut above = link_path.matches('/').count();
    let mut descended = false;
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." if descended => {
                return Err(PathError::LinkDetour { link: clip(link_path), target: clip(target) });
            }
            ".." if above == 0 => {
                return Err(PathError::LinkEscapes { link: clip(link_path), target: clip(target) });
            }
            ".." => above -= 1,
            name => {
                check_component(name, rules)?;
                descended = true;
            }
        }
    }
    Ok(())
}

/// Checks the rules that paths and symlink targets share: not empty, not too long, not absolute in any
/// dialect.
fn check_start(path: &str, rules: Rules) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty { path: String::new() });
    }
    if path.len() > PATH_BYTES {
        return Err(PathError::PathTooLong { path: clip(path), bytes: path.len() });
    }
    let portable = rules == Rules::Portable;
    let drive = matches!(path.as_bytes(), [b'a'..=b'z' | b'A'..=b'Z', b':', ..] | [b'\\', b'\\', ..]);
    if portable && drive {
        return Err(PathError::Drive { path: clip(path) });
    }
    if path.starts_with('/') || (portable && path.starts_with('\\')) {
        return Err(PathError::Absolute { path: clip(path) });
    }
    Ok(())
}

/// Returns true if a name looks like a generated 8.3 name of Windows (`PROGRA~1`). It is legal, but on
/// Windows it may be another name of a neighbour. That deserves a warning when publishing, never a refusal.
#[must_use]
pub fn warns(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0] == b'~' && pair[1].is_ascii_digit())
}

/// Returns the key under which two paths collide if any file system takes them for the same: canonical
/// caseless matching of the Unicode standard, that is full case folding with normalisation before and after,
/// in NFC. It works by component: the key of `a/b` is the keys of `a` and `b` joined by `/`.
#[must_use]
pub fn fold_key(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    path.chars().nfd().default_case_fold().nfc().collect()
}

/// Returns the weaker key of [`Rules::Unix`]: case twins may stand side by side, two normalisations of one
/// text may not.
pub(super) fn normal_key(path: &str) -> Cow<'_, str> {
    if path.is_ascii() { Cow::Borrowed(path) } else { Cow::Owned(path.nfc().collect()) }
}

/// Returns a text from outside in a form that a terminal may show. Control characters (among them ESC,
/// newline, DEL and C1), bidirectional, zero-width and other formatting marks become `\u{..}`. The rest,
/// backslashes included, stays.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unshowable(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Makes one safe component, under portable rules, of any offered name. It takes the last component, without
/// dots and spaces at either end, with `_` for every bad character and before a device name, and at most 200
/// bytes; or `download` if nothing is left. [`check_path`] allows the result.
///
/// ```
/// use swarm_core::content::path::{escape, sanitize_name};
///
/// assert_eq!(sanitize_name("../../etc/passwd"), "passwd");
/// assert_eq!(sanitize_name("..."), "download");
/// assert_eq!(escape("a\u{1b}[31mb"), "a\\u{1b}[31mb");
/// ```
#[must_use]
pub fn sanitize_name(offered: &str) -> String {
    const KEPT: usize = 200;
    const EDGE: [char; 2] = ['.', ' '];
    let last = offered.rsplit(['/', '\\']).map(|part| part.trim_matches(EDGE)).find(|part| !part.is_empty());
    // Cutting comes first, because no character is replaced by a longer one.
    let mut name: String = cut(last.unwrap_or("download"), KEPT)
        .chars()
        .map(|c| if is_unshowable(c) || is_unportable(c) { '_' } else { c })
        .collect();
    if name.starts_with('~') {
        name.replace_range(..1, "_");
    }
    name.truncate(name.trim_end_matches(EDGE).len());
    if is_reserved(&name) {
        name.insert(0, '_');
        name.truncate(cut(&name, KEPT).trim_end_matches(EDGE).len());
    }
    name
}

/// Returns the longest start of a text that has at most `bytes` bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

/// Returns a name cut for an error: hostile names may be as long as a manifest.
pub(super) fn clip(text: &str) -> String {
    match cut(text, COMPONENT_BYTES) {
        whole if whole.len() == text.len() => whole.to_owned(),
        start => format!("{start}..."),
    }
}

/// Returns the bytes as text, or [`PathError::NotUtf8`].
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, PathError> {
    std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8 {
        name: bytes[..bytes.len().min(COMPONENT_BYTES)].escape_ascii().to_string(),
    })
}

/// Returns true for bidirectional and zero-width marks, which names must not have. U+2065 and U+206A to
/// U+206F are among them because HFS+ ignores the deprecated ones when it compares names: twins again.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Returns true for characters that are not shown as they are. They are more than names must not have,
/// because notes and labels are shown too and hiding text is cheap.
/// Returns the bytes of one entry of a log as one line that a terminal may show, with its newline. Nothing
/// in the entry can begin another line or act on the terminal.
#[must_use]
pub fn escape_entry(entry: &[u8]) -> String {
    let text = String::from_utf8_lossy(entry);
    let mut line = escape(text.trim_end_matches('\n'));
    line.push('\n');
    line
}

/// Returns a line of JSON in which characters that act on a terminal are written by their numbers. Its
/// meaning stays: JSON has such characters in strings only.
#[must_use]
pub fn escape_json(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if is_unshowable(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_unshowable(c: char) -> bool {
    c.is_control()
        || is_invisible(c)
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

fn is_unportable(c: char) -> bool {
    matches!(c, '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*')
}

/// Returns true for a device name. Windows considers only the part before the first dot (or colon), without
/// spaces at its end.
fn is_reserved(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end_matches(' ');
    let is = |device: &str| stem.eq_ignore_ascii_case(device);
    if ["CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"].into_iter().any(is) {
        return true;
    }
    let is_number = |text: &str| matches!(text.as_bytes(), [b'0'..=b'9']) || matches!(text, "¹" | "²" | "³");
    stem.split_at_checked(3).is_some_and(|(port, number)| {
        ["COM", "LPT"].iter().any(|kind| port.eq_ignore_ascii_case(kind)) && is_number(number)
    })
}

/// Returns true for `~` and `~user` at the very start of a path. `~$report.docx`, which an open document
/// leaves behind, is no home.
fn is_home(path: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    path.strip_prefix('~').is_some_and(|user| user.is_empty() || user.starts_with(in_name))
}

#[cfg(test)]
#[path = "path_names_tests.rs"]
pub(super) mod names;
#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
