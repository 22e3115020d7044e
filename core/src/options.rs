//! Settings of a node at its start: plain values, already merged from flags, environment and files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::timetable::Timetable;

/// The peers that may fetch the content of a node. All other peers are told that the content is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Nobody.
    Nobody,
    /// This machine and the local network: peers at private addresses that connect without a relay. For an
    /// office's content: the members there.
    #[default]
    Lan,
    /// The members of the office that the content belongs to, as far as the content is for them.
    Office,
    /// Anyone who has the id and can connect.
    Anyone,
}

impl Audience {
    /// All audiences, the smallest first.
    pub const ALL: [Self; 4] = [Self::Nobody, Self::Lan, Self::Office, Self::Anyone];

    /// Name in settings and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Lan => "lan",
            Self::Office => "office",
            Self::Anyone => "anyone",
        }
    }

    /// Sentence for people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Nobody => "nobody may fetch it",
            Self::Lan => "the local network may fetch it",
            Self::Office => "the members of the office may fetch it",
            Self::Anyone => "anyone who has the id may fetch it",
        }
    }

    /// True if a peer may fetch. `near` means that the peer is in the local network, `member` that it belongs
    /// to the content's office.
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

/// Error for a text that names no audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be nobody, lan, office or anyone")]
pub struct BadAudience;

impl FromStr for Audience {
    type Err = BadAudience;

    fn from_str(text: &str) -> Result<Self, BadAudience> {
        Self::ALL.into_iter().find(|audience| audience.name() == text).ok_or(BadAudience)
    }
}

/// Settings of one node. The fields may be set directly as well.
///
/// ```
/// use swarm_core::{Audience, Options};
///
/// let options = Options::new("/var/lib/swarm")
///     .listen("/ip4/127.0.0.1/tcp/0")
///     .without_mdns()
///     .audience(Audience::Anyone)
///     .limit_up(1_000_000);
/// assert_eq!(options.limit_up, Some(1_000_000));
/// assert!(options.dht && !options.mdns);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Folder of everything that the node keeps; created (0700) when missing.
    pub home: PathBuf,
    /// Multiaddrs to listen on. Empty: all interfaces, TCP and QUIC, any port.
    pub listen: Vec<String>,
    /// Multiaddrs of peers to dial, with or without `/p2p/..`.
    pub peers: Vec<String>,
    /// Multiaddrs of trackers, with or without `/p2p/..`.
    pub trackers: Vec<String>,
    /// True if the DHT is used, as soon as one of its servers is known.
    pub dht: bool,
    /// Multiaddrs of DHT servers, with or without `/p2p/..`.
    pub dht_servers: Vec<String>,
    /// True if the node is a DHT server at once, before it has seen that others reach it.
    pub dht_server: bool,
    /// Multiaddrs at which others reach this node from outside, where it cannot tell itself: a router
    /// forwards them.
    pub external: Vec<String>,
    /// True if the router is asked (by UPnP) to let others in.
    pub upnp: bool,
    /// Multiaddrs of relays, with `/p2p/..`. Trackers are relays as well.
    pub relays: Vec<String>,
    /// True if others may connect to each other through this node, which must be reachable for all of them.
    pub relay_server: bool,
    /// True if content may be fetched through relays where no direct connection is found. A relay run by this
    /// node lets content pass then.
    pub allow_relayed: bool,
    /// True if web seeds may be in private networks. Whoever makes a link can then have this node call
    /// servers there.
    pub private_webseeds: bool,
    /// Default audience for content without one of its own. `None`: the LAN, or the office once the node
    /// belongs to one.
    pub audience: Option<Audience>,
    /// The office that is meant where the node belongs to several: its name or the first digits of its id.
    pub office: Option<String>,
    /// True if the node runs until it is stopped, whatever it is asked to do. Other processes may leave their
    /// work to it.
    pub daemon: bool,
    /// True if trackers are told of everything that the node holds, not only of what it fetches and
    /// publishes.
    pub resident: bool,
    /// True if nodes of the same LAN are found by multicast DNS.
    pub mdns: bool,
    /// Site of this node. Nodes with the same site are near each other, wherever their addresses are. Without
    /// a name a site is a subnet.
    pub site: Option<String>,
    /// Most bytes per second sent, over all peers.
    pub limit_up: Option<u64>,
    /// Most bytes per second received, over all peers.
    pub limit_down: Option<u64>,
    /// Limits by day and hour. A rule for the present moment takes the place of the limits above.
    pub timetable: Timetable,
    /// True if everything else on this machine and its links goes first.
    pub background: bool,
    /// True if the limits are for outside peers only: this machine and the local network are not held back.
    pub limit_lan: bool,
    /// Most bytes that the store holds itself (not counting files served in place) before finished blobs are
    /// evicted.
    pub max_store: Option<u64>,
    /// True for no sockets at all: for commands that only look at the store.
    pub offline: bool,
    /// True if the store is only read: nothing is fetched or marked; complete blobs are served.
    pub read_only: bool,
}

impl Options {
    /// Returns the settings of a node in `home` with every default.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
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

    /// Adds a multiaddr to listen on.
    #[must_use]
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.listen.push(addr.into());
        self
    }

    /// Adds the multiaddr of a peer to dial.
    #[must_use]
    pub fn peer(mut self, addr: impl Into<String>) -> Self {
        self.peers.push(addr.into());
        self
    }

    /// Adds the multiaddr of a tracker.
    #[must_use]
    pub fn tracker(mut self, addr: impl Into<String>) -> Self {
        self.trackers.push(addr.into());
        self
    }

    /// Adds the multiaddr of a relay.
    #[must_use]
    pub fn relay(mut self, addr: impl Into<String>) -> Self {
        self.relays.push(addr.into());
        self
    }

    /// Does not use the DHT.
    #[must_use]
    pub const fn without_dht(mut self) -> Self {
        self.dht = false;
        self
    }

    /// Does not look for nodes of the LAN by multicast DNS.
    #[must_use]
    pub const fn without_mdns(mut self) -> Self {
        self.mdns = false;
        self
    }

    /// Sets the default audience for content without one of its own.
    #[must_use]
    pub const fn audience(mut self, audience: Audience) -> Self {
        self.audience = Some(audience);
        self
    }

    /// Sets the most bytes per second sent, over all peers.
    #[must_use]
    pub const fn limit_up(mut self, rate: u64) -> Self {
        self.limit_up = Some(rate);
        self
    }

    /// Sets the most bytes per second received, over all peers.
    #[must_use]
    pub const fn limit_down(mut self, rate: u64) -> Self {
        self.limit_down = Some(rate);
        self
    }

    /// Sets limits by day and hour.
    #[must_use]
    pub fn timetable(mut self, timetable: Timetable) -> Self {
        self.timetable = timetable;
        self
    }

    /// Lets everything else on this machine and its links go first.
    #[must_use]
    pub const fn background(mut self) -> Self {
        self.background = true;
        self
    }

    /// Sets the most bytes that the store holds itself.
    #[must_use]
    pub const fn max_store(mut self, bytes: u64) -> Self {
        self.max_store = Some(bytes);
        self
    }

    /// Announces everything that the node holds to trackers.
    #[must_use]
    pub const fn resident(mut self) -> Self {
        self.resident = true;
        self
    }

    /// Opens no sockets: the node only works on its store.
    #[must_use]
    pub const fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Only reads the store.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}
