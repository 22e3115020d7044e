//! Texts that name no content: what they are instead, and what to type.

use std::path::Path;

use swarm_core::content::link::LinkError;

use crate::platform::shell_quote;
use crate::redact::without_key;

/// Digits of an id.
const DIGITS: usize = 64;
/// Prefixes of an id and of a link.
const OURS: [&str; 2] = ["blake3:", "swarm:"];

/// Returns the message and the hint for a text that was refused.
pub(super) fn explained(text: &str, error: &LinkError) -> (String, String) {
    let text = text.trim();
    let (message, hint) =
        foreign(text).or_else(|| digits(text)).unwrap_or_else(|| (None, other(text, error)));
    (message.unwrap_or_else(|| error.to_string()), hint)
}

/// A message of its own, if the library's does not fit, and the hint.
type Said = (Option<String>, String);

/// Names of other things than content, and of content elsewhere.
fn foreign(text: &str) -> Option<Said> {
    let lower = text.to_ascii_lowercase();
    let begins = |starts: &[&str]| starts.iter().any(|start| lower.starts_with(start));
    let said = |what: &str, hint: &str| {
        Some((Some(format!("{what}: not an id or a link of swarm")), hint.to_owned()))
    };
    // The text opens an office, so it is not shown.
    if begins(&["swarm-join:"]) {
        return said(
            "this is an invitation to an office",
            "swarm office join CODE, or a file that contains the code",
        );
    }
    if begins(&["swarm-root:"]) {
        return said("this is the root key of an office", "swarm office restore reads it, on a member");
    }
    if begins(&["magnet:"]) || lower.ends_with(".torrent") && !Path::new(text).exists() {
        return said(
            "this is a link or file of BitTorrent",
            "fetch it with a BitTorrent program, then share it: swarm publish FILE",
        );
    }
    if begins(&["http://", "https://", "ftp://"]) {
        let hint = "download it with a browser or curl, then share it: swarm publish FILE --webseed URL";
        return said("this is a web address", hint);
    }
    if begins(&["ipfs://", "/ipfs/", "bafy"]) || lower.starts_with("qm") && lower.len() == 46 {
        return said(
            "this is a name of IPFS",
            "fetch it with an IPFS program, then share it: swarm publish FILE",
        );
    }
    if begins(&["/ip4/", "/ip6/", "/dns"]) {
        return said(
            "this is the address of a peer",
            "swarm get ID --peer ADDRESS fetches an item from there",
        );
    }
    if text.starts_with("12D3Koo") {
        return said("this is the id of a peer", "swarm peers lists peers, swarm ls lists the ids of items");
    }
    let path = without_key(text);
    (!path.is_empty() && Path::new(path).exists()).then(|| {
        let hint = format!("to share it: swarm publish {}", shell_quote(path));
        (Some(format!("{path} is a file or folder here: not an id or a link")), hint)
    })
}

/// Ids with digits that are missing, too many or wrong.
fn digits(text: &str) -> Option<Said> {
    let lower = text.to_ascii_lowercase();
    let bare =
        OURS.iter().find_map(|start| lower.strip_prefix(start)).unwrap_or(&lower).trim_start_matches('/');
    let id = bare.split(['?', '#', '/']).next().unwrap_or_default();
    let count = id.chars().count();
    let odd = id.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit());
    if count == 0 || count == DIGITS && odd.is_none() || !id.chars().all(char::is_alphanumeric) {
        return None;
    }
    let is_link = lower.starts_with("swarm:");
    let copy = if is_link {
        "copy the whole link again"
    } else {
        "copy the whole id again; swarm ls lists the ids in this store"
    };
    match odd {
        None if count < 4 && !is_link => {
            Some((None, "type at least 4 digits; swarm ls lists the ids in this store".to_owned()))
        }
        None => Some((Some(format!("an id has {DIGITS} digits, and this has {count}")), copy.to_owned())),
        Some((at, c)) if count + 8 > DIGITS && count < DIGITS + 8 => {
            let why =
                format!("an id has only the digits 0 to 9 and a to f, and character {} is `{c}`", at + 1);
            Some((Some(why), copy.to_owned()))
        }
        Some(_) => None,
    }
}

/// The hint for all else.
fn other(text: &str, error: &LinkError) -> String {
    if text.is_empty() {
        return "swarm ls lists the ids in this store".to_owned();
    }
    match error {
        LinkError::Target { .. } => {
            "its publisher gives an id or a link; to share a file of your own: swarm publish FILE".to_owned()
        }
        _ => "the link is damaged: copy the whole link again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use swarm_core::content::link::Target;

    use super::*;

    fn of(text: &str) -> (String, String) {
        explained(text, &text.parse::<Target>().expect_err(text))
    }

    #[test]
    fn each_mistake_has_its_hint() {
        for (text, message, hint) in [
            ("update.bin", "not an id", "swarm publish FILE"),
            ("Cargo.toml", "is a file or folder here", "swarm publish Cargo.toml"),
            ("magnet:?xt=urn:btih:aa", "BitTorrent", "BitTorrent program"),
            ("film.torrent", "BitTorrent", "BitTorrent program"),
            ("https://example.org/a.iso", "web address", "--webseed"),
            ("/ip4/10.0.0.1/tcp/4001", "address of a peer", "--peer"),
            ("12D3KooWLRPJAA5o6", "id of a peer", "swarm peers"),
            ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "IPFS", "IPFS program"),
            ("swarm-join:AfD_jqDF", "invitation", "swarm office join"),
            ("abc", "first 4 or more", "at least 4 digits"),
            ("swarm:1234", "has 64 digits, and this has 4", "whole link again"),
            ("", "not an id", "swarm ls"),
        ] {
            let (said, next) = of(text);
            assert!(said.contains(message) && next.contains(hint), "{text}: {said} / {next}");
        }
        assert!(!of("swarm-join:AfD_jqDF").0.contains("AfD"));
        assert!(of(&"a".repeat(65)).0.contains("has 64 digits, and this has 65"));
        assert!(of(&format!("swarm:{}?name=x", "a".repeat(63))).0.contains("this has 63"));
        let typo = format!("{}o{}", "a".repeat(10), "b".repeat(53));
        assert!(of(&typo).0.contains("character 11 is `o`"), "{:?}", of(&typo));
    }
}
