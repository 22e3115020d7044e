//! The command line: clap, and nothing else. The doc comments are the help text.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Parser, ValueHint};

/// A meeting point for swarm nodes that cannot find each other by themselves
///
/// Nodes of one network find each other without a tracker. Nodes of different networks need one: start it
/// where all of them can reach it, and give its address to each node, or in one link. It learns which nodes
/// take part in what, by keys that reveal neither names nor contents, and introduces them to each other,
/// those of one site first. No content passes through it. It stores only its own key: stop it, start it again
/// or move it, and within a minute all nodes are back.
#[derive(Debug, Parser)]
#[command(name = "swarm-tracker", version, max_term_width = 100)]
#[command(after_help = "Use it:\n  \
    swarm-tracker                                        prints its addresses\n  \
    swarm publish update.bin --tracker ADDRESS           the link that it prints names the tracker\n  \
    swarm daemon --tracker ADDRESS                       every node, or tracker = [\"ADDRESS\"] in its config.toml\n\n\
    Several trackers: give all nodes the same list. Each item is announced to two of them, so one can fail.\n\
    A node can be a tracker too: swarm daemon --tracker-server.\n\
    Services, NAT and figures: tracker-optional/README.md.")]
pub(crate) struct Args {
    /// Address to listen on; may be repeated [default: every interface, TCP and QUIC, port 4770]
    #[arg(long, env = "SWARM_TRACKER_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// Public address of the tracker, if a router forwards it; may be repeated
    #[arg(long, env = "SWARM_TRACKER_EXTERNAL", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(crate) external: Vec<String>,
    /// Relay content for nodes with --allow-relayed; otherwise the tracker only helps to open direct
    /// connections
    #[arg(long, env = "SWARM_TRACKER_RELAY_CONTENT", value_parser = BoolishValueParser::new())]
    pub(crate) relay_content: bool,
    /// Folder for the key; the same key keeps the same addresses [default: swarm-tracker in your data folder]
    #[arg(long, env = "SWARM_TRACKER_HOME", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// Serve /, /healthz and /metrics (OpenMetrics) at this address; 0.0.0.0:4771 lets other machines look
    #[arg(long, env = "SWARM_TRACKER_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:4771")]
    pub(crate) http: SocketAddr,
    /// Serve no page
    #[arg(long, env = "SWARM_TRACKER_NO_HTTP", value_parser = BoolishValueParser::new())]
    pub(crate) no_http: bool,
    /// Most connections at once; each takes about 40 KB
    #[arg(long, env = "SWARM_TRACKER_CONNECTIONS", value_name = "N", default_value_t = 8192,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Most connections at once from one address; a whole office may be behind it
    #[arg(long, env = "SWARM_TRACKER_PER_ADDRESS", value_name = "N", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) per_address: u32,
    /// Most nodes to remember; each takes about 250 bytes, and 40 more for each item
    #[arg(long, env = "SWARM_TRACKER_NODES", value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) nodes: u32,
    /// Seconds between announcements of a node; raised automatically from 30,000 nodes on [default: 60]
    #[arg(long, env = "SWARM_TRACKER_INTERVAL", value_name = "S",
        value_parser = clap::value_parser!(u32).range(15..=3600))]
    pub(crate) interval: Option<u32>,
    /// Print JSON, one object per line
    #[arg(long, env = "SWARM_TRACKER_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

/// Reads the command line. Reports an error in it and ends the process with 2, or prints help and ends it
/// with 0.
pub(crate) fn parse() -> Args {
    Args::parse()
}
