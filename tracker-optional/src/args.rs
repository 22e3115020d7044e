//! The command line: clap, and nothing else. The doc comments are the help text.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Parser, ValueHint};

/// A meeting point for swarm nodes that cannot find each other by themselves
///
/// Nodes of one network need no tracker: they find each other. Nodes of several networks do, once: start this where all of
/// them can reach it, and give each node (or one link) its address. It learns which nodes take part in what, known by keys
/// that tell nothing of names or contents, and introduces them to each other, those of one site first. No content passes
/// through it. It keeps nothing but its own key: stop it, start it again, move it, and within a minute everybody is back.
#[derive(Debug, Parser)]
#[command(name = "swarm-tracker", version, max_term_width = 100)]
#[command(after_help = "Use it:\n  \
    swarm-tracker                                        prints its addresses\n  \
    swarm publish update.bin --tracker ADDRESS           the link that it prints names the tracker\n  \
    swarm daemon --tracker ADDRESS                       every node, or tracker = [\"ADDRESS\"] in its config.toml\n\n\
    Several trackers: give all nodes the same list. Each content is kept at two of them, and one may be down.\n\
    A node can do this as well: swarm daemon --tracker-server.\n\
    As a service, behind NAT, numbers to expect: tracker-optional/README.md.")]
pub(crate) struct Args {
    /// Listen here; may be repeated [default: every interface, TCP and QUIC, port 4770]
    #[arg(long, env = "SWARM_TRACKER_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// It is reached at this address, which it cannot see itself: a router passes it on; may be repeated
    #[arg(long, env = "SWARM_TRACKER_EXTERNAL", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(crate) external: Vec<String>,
    /// Let content pass through it, for nodes with --allow-relayed; without, it only helps them to find a direct way
    #[arg(long, env = "SWARM_TRACKER_RELAY_CONTENT", value_parser = BoolishValueParser::new())]
    pub(crate) relay_content: bool,
    /// Its key is kept here; with the same key its addresses stay the same [default: swarm-tracker in your data folder]
    #[arg(long, env = "SWARM_TRACKER_HOME", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// Show /, /healthz and /metrics (OpenMetrics) here; 0.0.0.0:4771 lets others look
    #[arg(long, env = "SWARM_TRACKER_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:4771")]
    pub(crate) http: SocketAddr,
    /// No page at all
    #[arg(long, env = "SWARM_TRACKER_NO_HTTP", value_parser = BoolishValueParser::new())]
    pub(crate) no_http: bool,
    /// Connections at once; each takes some 40 KB
    #[arg(long, env = "SWARM_TRACKER_CONNECTIONS", value_name = "N", default_value_t = 8192,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Connections at once from one address; a whole office may be behind it
    #[arg(long, env = "SWARM_TRACKER_PER_ADDRESS", value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) per_address: u32,
    /// Nodes it knows at most; each takes some 250 bytes, and 40 for each content more
    #[arg(long, env = "SWARM_TRACKER_NODES", value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) nodes: u32,
    /// Seconds from one announcement of a node to the next; longer by itself from 30,000 nodes on [default: 60]
    #[arg(long, env = "SWARM_TRACKER_INTERVAL", value_name = "S",
        value_parser = clap::value_parser!(u32).range(15..=3600))]
    pub(crate) interval: Option<u32>,
    /// Print JSON, one object a line
    #[arg(long, env = "SWARM_TRACKER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// Reads the command line; says what is wrong with it and ends the process with 2, or helps and ends it with 0.
pub(crate) fn parse() -> Args {
    Args::parse()
}
