//! Links, and the other texts by which a person may name content.
//!
//! ```text
//! swarm:<64 hex digits>[?name=<name>][&peer=<multiaddr>]...[&tracker=<multiaddr>]...
//!     [&dht=<multiaddr>]...[&webseed=<url>]...[&office=<digits>][#<key>]
//! ```
//!
//! It is all one line. Only the id counts. Name, peers, trackers, servers of the DHT and web seeds are hints
//! of the link's author and are never trusted: the name passes [`super::path::sanitize_name`] before it
//! touches a disk and [`super::path::escape`] before a terminal, and only bytes that verify are taken from a
//! peer. Values are percent-encoded UTF-8; `+` means itself. A written link has no character that a shell
//! acts on except `?` and `&`. Accepted as well are upper case in scheme and id, `swarm://` and a `/` before
//! the `?` (chat programs make those), and query keys of later versions, which are ignored. After a `#`
//! stands the key of a share ([`super::share`]); any other text there is refused, and never shown, because it
//! may be a key.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::path::{cut, escape};
use super::share::{Fragment, LOCKED};
use crate::id::ContentId;
use crate::limits::{
    ADDR_BYTES, LINK_BYTES, LINK_DHT, LINK_NAME_BYTES, LINK_PEERS, LINK_TRACKERS, LINK_WEBSEEDS,
    WEBSEED_URL_BYTES,
};

const SCHEME: &str = "swarm:";
/// A prefix that an id may have, in either case.
const HASH: &str = "blake3:";
const ID_DIGITS: usize = 64;
/// The digits of an office's id that a link carries.
const OFFICE_DIGITS: usize = 16;
/// The room in bytes that hints leave for a key: a locked one in base64, its name and the mark.
const FRAGMENT_BYTES: usize = LOCKED.div_ceil(3) * 4 + 8;
/// The fewest digits of an id that are accepted. A shorter text is more likely a word than a name.
const PREFIX_DIGITS: usize = 4;
/// The characters that stay as they are: names and multiaddrs consist of them, and neither URLs nor shells
/// give them a meaning there.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'/').remove(b':').remove(b'@');

/// A content id with hints for finding it.
///
/// ```
/// use swarm_core::{ContentId, Link};
///
/// let id = ContentId::from(blake3::hash(b"hello"));
/// let mut link = Link::to(id);
/// link.name = Some("hello.txt".to_owned());
/// link.peers.push("/ip4/192.0.2.1/tcp/4001".to_owned());
/// let text = link.to_string();
/// assert!(text.starts_with(&format!("swarm:{id}?name=hello.txt&")));
/// assert_eq!(text.parse::<Link>(), Ok(link));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The id of the content.
    pub id: ContentId,
    /// A name for the content: untrusted, raw, 1 to [`LINK_NAME_BYTES`] bytes.
    pub name: Option<String>,
    /// Addresses of peers that may know holders: untrusted multiaddr text, at most [`LINK_PEERS`], each
    /// printable ASCII of 1 to [`ADDR_BYTES`] bytes.
    pub peers: Vec<String>,
    /// Addresses of trackers that may know holders: untrusted multiaddr text, at most [`LINK_TRACKERS`] of up
    /// to [`ADDR_BYTES`] bytes.
    pub trackers: Vec<String>,
    /// Addresses of servers of the DHT: untrusted multiaddr text, at most [`LINK_DHT`] of up to
    /// [`ADDR_BYTES`] bytes.
    pub dht: Vec<String>,
    /// HTTP addresses of the content's bytes: untrusted, at most [`LINK_WEBSEEDS`], each printable ASCII of 1
    /// to [`WEBSEED_URL_BYTES`] bytes.
    pub webseeds: Vec<String>,
    /// The first 16 hex digits of the id of the office whose members the content is for.
    pub office: Option<String>,
    /// The key of a share.
    pub fragment: Option<Fragment>,
}

/// A text by which a person may name content.
///
/// ```
/// use swarm_core::content::link::Target;
///
/// assert_eq!("ab12".parse::<Target>(), Ok(Target::Prefix("ab12".to_owned())));
/// assert!(matches!("ab".repeat(32).parse::<Target>(), Ok(Target::Id(_))));
/// assert!("film.mkv".parse::<Target>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A whole link.
    Link(Link),
    /// A whole id, as 64 hex digits or after `blake3:`.
    Id(ContentId),
    /// The first 4 to 63 hex digits, in lower case, of an id that the node may know.
    Prefix(String),
}

/// The reason why a text names no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The text is longer than any link.
    #[error("the link has {bytes} bytes, the limit is {LINK_BYTES}")]
    TooLong {
        /// The length of the text in bytes.
        bytes: usize,
    },
    /// The text does not start with `swarm:`.
    #[error("a link starts with \"{SCHEME}\": \"{}\"", escape(.text))]
    Scheme {
        /// The start of the text.
        text: String,
    },
    /// No id follows the scheme.
    #[error("not an id of {ID_DIGITS} hex digits: \"{}\"", escape(.text))]
    Id {
        /// The text in place of the id.
        text: String,
    },
    /// The part after the `#` is no key.
    #[error(
        "what stands after the \"#\" is no key: the link is cut off or damaged, or a newer swarm made it"
    )]
    Fragment,
    /// A value has a `%` without two hex digits, or bytes that are not UTF-8.
    #[error("badly encoded: \"{}\"", escape(.text))]
    Encoding {
        /// The value.
        text: String,
    },
    /// The link has more than one name.
    #[error("the link has more than one name")]
    TwoNames,
    /// The name is too long.
    #[error("the name has {bytes} bytes, the limit is {LINK_NAME_BYTES}")]
    NameTooLong {
        /// The length of the decoded name in bytes.
        bytes: usize,
    },
    /// The link has more than [`LINK_PEERS`] peers.
    #[error("the link has more than {LINK_PEERS} peers")]
    TooManyPeers,
    /// The link has more than [`LINK_TRACKERS`] trackers.
    #[error("the link has more than {LINK_TRACKERS} trackers")]
    TooManyTrackers,
    /// The link has more than [`LINK_DHT`] servers of the DHT.
    #[error("the link has more than {LINK_DHT} DHT servers")]
    TooManyDht,
    /// The link has more than [`LINK_WEBSEEDS`] web seeds.
    #[error("the link has more than {LINK_WEBSEEDS} web seeds")]
    TooManyWebSeeds,
    /// A hint cannot be an address.
    #[error("not an address, or too long: \"{}\"", escape(.text))]
    Peer {
        /// The decoded value.
        text: String,
    },
    /// The text is neither a link, an id nor a prefix of one.
    #[error("not an id, the first {PREFIX_DIGITS} or more digits of one, or a link: \"{}\"", escape(.text))]
    Target {
        /// The start of the text.
        text: String,
    },
}

/// Writes the link as text that [`FromStr`] reads. Hints beyond the limits are left out: a link without a
/// hint still works, but one that nobody reads does not.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{SCHEME}{}", self.id);
        let name = cut(self.name.as_deref().unwrap_or_default(), LINK_NAME_BYTES);
        if !name.is_empty() {
            write!(text, "?name={}", utf8_percent_encode(name, PLAIN))?;
        }
        let peers = self
            .peers
            .iter()
            .filter(|peer| is_addr(peer, ADDR_BYTES))
            .take(LINK_PEERS)
            .map(|peer| ("peer", peer));
        let trackers = self.trackers.iter().filter(|addr| is_addr(addr, ADDR_BYTES)).take(LINK_TRACKERS);
        let webseeds = self.webseeds.iter().filter(|url| is_addr(url, WEBSEED_URL_BYTES)).take(LINK_WEBSEEDS);
        let trackers = trackers.map(|addr| ("tracker", addr));
        let dht = self.dht.iter().filter(|addr| is_addr(addr, ADDR_BYTES)).take(LINK_DHT);
        let dht = dht.map(|addr| ("dht", addr));
        let office = self.office.iter().filter(|digits| is_office(digits)).map(|digits| ("office", digits));
        let webseeds = webseeds.map(|url| ("webseed", url));
        for (key, addr) in office.chain(peers).chain(trackers).chain(dht).chain(webseeds) {
            let mark = if text.contains('?') { '&' } else { '?' };
            let hint = format!("{mark}{key}={}", utf8_percent_encode(addr, PLAIN));
            if text.len() + hint.len() + FRAGMENT_BYTES <= LINK_BYTES {
                text.push_str(&hint);
            }
        }
        f.write_str(&text)?;
        self.fragment.as_ref().map_or(Ok(()), |fragment| write!(f, "#{fragment}"))
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.len() > LINK_BYTES {
            return Err(LinkError::TooLong { bytes: text.len() });
        }
        let rest = strip(text, SCHEME).ok_or_else(|| LinkError::Scheme { text: clip(text) })?;
        let (rest, fragment) = match rest.split_once('#') {
            Some((rest, fragment)) => (rest, Some(Fragment::read(fragment).ok_or(LinkError::Fragment)?)),
            None => (rest, None),
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (digits, query) = rest.split_once('?').unwrap_or((rest, ""));
        let digits = digits.strip_suffix('/').unwrap_or(digits);
        // No more of it than an id has, because a key may follow a "#" that was lost on the way.
        let bad_id = || LinkError::Id { text: clip(cut(digits, ID_DIGITS)) };
        let id = digits.parse().map_err(|_| bad_id())?;
        let mut link = Self { fragment, ..Self::to(id) };
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("name", name)) => link.read_name(name)?,
                Some(("peer", addr)) => {
                    let most = (LINK_PEERS, ADDR_BYTES);
                    read_addr(addr, &mut link.peers, most, LinkError::TooManyPeers)?;
                }
                Some(("tracker", addr)) => {
                    let most = (LINK_TRACKERS, ADDR_BYTES);
                    read_addr(addr, &mut link.trackers, most, LinkError::TooManyTrackers)?;
                }
                Some(("dht", addr)) => {
                    let most = (LINK_DHT, ADDR_BYTES);
                    read_addr(addr, &mut link.dht, most, LinkError::TooManyDht)?;
                }
                Some(("office", digits)) if is_office(digits) => link.office = Some(digits.to_owned()),
                Some(("webseed", url)) => {
                    let most = (LINK_WEBSEEDS, WEBSEED_URL_BYTES);
                    read_addr(url, &mut link.webseeds, most, LinkError::TooManyWebSeeds)?;
                }
                _ => {}
            }
        }
        link.name = link.name.filter(|name| !name.is_empty());
        Ok(link)
    }
}

impl Link {
    /// Returns a link without hints.
    #[must_use]
    pub const fn to(id: ContentId) -> Self {
        Self {
            id,
            name: None,
            peers: Vec::new(),
            trackers: Vec::new(),
            dht: Vec::new(),
            webseeds: Vec::new(),
            office: None,
            fragment: None,
        }
    }

    fn read_name(&mut self, value: &str) -> Result<(), LinkError> {
        let name = decode(value)?;
        if self.name.is_some() {
            return Err(LinkError::TwoNames);
        }
        if name.len() > LINK_NAME_BYTES {
            return Err(LinkError::NameTooLong { bytes: name.len() });
        }
        self.name = Some(name.into_owned());
        Ok(())
    }
}

/// Reads an address into a list. `most` is the greatest number of addresses, and the greatest length of one
/// in bytes.
fn read_addr(
    value: &str,
    into: &mut Vec<String>,
    most: (usize, usize),
    too_many: LinkError,
) -> Result<(), LinkError> {
    if into.len() == most.0 {
        return Err(too_many);
    }
    let addr = decode(value)?;
    if !is_addr(&addr, most.1) {
        return Err(LinkError::Peer { text: clip(&addr) });
    }
    into.push(addr.into_owned());
    Ok(())
}

impl FromStr for Target {
    type Err = LinkError;

    /// Reads a text that a person typed. Spaces around it are ignored, because they come with copying.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim_ascii();
        if strip(text, SCHEME).is_some() {
            return text.parse().map(Self::Link);
        }
        let digits = strip(text, HASH).unwrap_or(text);
        if let Ok(id) = digits.parse() {
            return Ok(Self::Id(id));
        }
        let is_prefix = (PREFIX_DIGITS..ID_DIGITS).contains(&digits.len());
        if is_prefix && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Self::Prefix(digits.to_ascii_lowercase()));
        }
        Err(LinkError::Target { text: clip(text) })
    }
}

/// Returns the start of a text for an error, without the part after a `#`.
fn clip(text: &str) -> String {
    super::path::clip(text.split('#').next().unwrap_or_default())
}

/// Returns the text after a scheme, which may be in either case.
fn strip<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Returns a value without its percent-encoding. Refuses a stray `%`, which the crate would pass through.
fn decode(value: &str) -> Result<Cow<'_, str>, LinkError> {
    let bad = || LinkError::Encoding { text: clip(value) };
    let is_code =
        |after: &str| after.len() >= 2 && after.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !value.split('%').skip(1).all(is_code) {
        return Err(bad());
    }
    percent_decode_str(value).decode_utf8().map_err(|_| bad())
}

/// Returns true for the first digits of an office's id.
fn is_office(digits: &str) -> bool {
    digits.len() == OFFICE_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_addr(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
