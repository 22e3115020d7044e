//! What a node is told at start: plain values, already merged from flags, environment and files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::timetable::Timetable;

/// Who may fetch what a node has. Everybody else is told that it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Nobody.
    Nobody,
    /// This machine and the local network: peers at private addresses that come without a relay. Of an office's content: members
    /// there.
    #[default]
    Lan,
    /// The members of the office that it is of, as far as it is for them.
    Office,
    /// Whoever has the id and finds a way.
    Anyone,
}

impl Audience {
    /// All, the fewest first.
    pub const ALL: [Self; 4] = [Self::Nobody, Self::Lan, Self::Office, Self::Anyone];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Lan => "lan",
            Self::Office => "office",
            Self::Anyone => "anyone",
        }
    }

    /// As a person reads it.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Nobody => "nobody may fetch it",
            Self::Lan => "the local network may fetch it",
            Self::Office => "the members of the office may fetch it",
            Self::Anyone => "anyone who has the id may fetch it",
        }
    }

    /// Whether a peer may fetch; `near` if it is of the local network, `member` if it is of the office that this is about.
    #[must_use]
    pub const fn admits(self, near: bool, member: bool) -> bool {
        match self {
            Self::Nobody => false,
            Self::Lan => near,
            Self::Office => member,
            Self::Anyone => true,
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is nobody, lan, office or anyone")]
pub struct BadAudience;

impl FromStr for Audience {
    type Err = BadAudience;

    fn from_str(text: &str) -> Result<Self, BadAudience> {
        Self::ALL.into_iter().find(|audience| audience.name() == text).ok_or(BadAudience)
    }
}

/// How one node runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything lives; created (0700) when missing.
    pub home: PathBuf,
    /// Multiaddrs to listen on; empty: all interfaces, TCP and QUIC, any port.
    pub listen: Vec<String>,
    /// Multiaddrs of peers to dial, with or without `/p2p/..`.
    pub peers: Vec<String>,
    /// Multiaddrs of trackers, with or without `/p2p/..`.
    pub trackers: Vec<String>,
    /// Whether the DHT is used, as soon as one of its servers is known.
    pub dht: bool,
    /// Multiaddrs of servers of the DHT, with or without `/p2p/..`.
    pub dht_servers: Vec<String>,
    /// Be a server of the DHT at once, without having seen that others reach this node.
    pub dht_server: bool,
    /// Multiaddrs at which this node is reached from outside, where it cannot tell itself: a router passes them on.
    pub external: Vec<String>,
    /// The router is asked to let others in (UPnP).
    pub upnp: bool,
    /// Multiaddrs of relays, with `/p2p/..`; trackers are relays as well.
    pub relays: Vec<String>,
    /// Others may find a way to each other through this node, which must be reachable for all of them.
    pub relay_server: bool,
    /// Content may be fetched through relays where no direct way is found; a relay of ours lets it pass.
    pub allow_relayed: bool,
    /// Web seeds may be in private networks: whoever makes a link can then have this node ask servers there.
    pub private_webseeds: bool,
    /// Who may fetch, where nothing else was said of a content. Without: the local network, and once it is of an office, that office.
    pub audience: Option<Audience>,
    /// The office that is meant where this node is of several, by its name or the first digits of its id.
    pub office: Option<String>,
    /// It runs until it is stopped, whatever is asked of it: other processes may leave their work to it.
    pub daemon: bool,
    /// It stays: trackers are told of everything it holds, not only of what it fetches and publishes.
    pub resident: bool,
    /// Whether nodes of the same LAN are found by multicast DNS.
    pub mdns: bool,
    /// The site this node belongs to: nodes of one name are near each other, wherever their addresses are. Without a name
    /// a site is a subnet.
    pub site: Option<String>,
    /// Bytes per second sent at most, over all peers.
    pub limit_up: Option<u64>,
    /// Bytes per second received at most, over all peers.
    pub limit_down: Option<u64>,
    /// Limits by day and hour instead, where it has a rule for the moment.
    pub timetable: Timetable,
    /// Everything else on this machine and its links goes first.
    pub background: bool,
    /// The limits are for peers outside: this machine's and the local network's are not held back.
    pub limit_lan: bool,
    /// Bytes the store may hold itself (not counting files served in place) before finished blobs are evicted.
    pub max_store: Option<u64>,
    /// No sockets at all: for commands that only look at the store.
    pub offline: bool,
    /// The store is only read: nothing is fetched or marked; what is whole is served.
    pub read_only: bool,
}

impl Options {
    /// A node in `home` with every default.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            listen: Vec::new(),
            peers: Vec::new(),
            trackers: Vec::new(),
            dht: true,
            dht_servers: Vec::new(),
            dht_server: false,
            external: Vec::new(),
            upnp: false,
            relays: Vec::new(),
            relay_server: false,
            allow_relayed: false,
            private_webseeds: false,
            audience: None,
            office: None,
            daemon: false,
            resident: false,
            mdns: true,
            site: None,
            limit_up: None,
            limit_down: None,
            timetable: Timetable::default(),
            background: false,
            limit_lan: true,
            max_store: None,
            offline: false,
            read_only: false,
        }
    }
}
