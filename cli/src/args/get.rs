//! The arguments of `get`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};

use super::Secret;
use crate::size;

/// Arguments of [`get`](super::Verb::Get).
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Ids, links, or the first digits of an id this node knows; - reads them from standard input, a line each
    #[arg(required = true, value_name = "ID|LINK")]
    pub(crate) targets: Vec<String>,
    /// Where it goes: a file name or a folder; - is standard output [default: the offered name, here]
    #[arg(short, long, env = "SWARM_OUTPUT", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace what is there; of a directory only the files of the same names: all others in the folder stay. Going on with what
    /// an earlier run began needs no flag
    #[arg(long, env = "SWARM_OVERWRITE", value_parser = BoolishValueParser::new())]
    pub(crate) overwrite: bool,
    /// Of a directory, delete files that swarm put there for an earlier version, if nobody has changed them since; each is named
    #[arg(long, env = "SWARM_DELETE", value_parser = BoolishValueParser::new())]
    pub(crate) delete: bool,
    /// PATH of -o is the directory itself, also if a folder is there: it is not put into that folder
    #[arg(long, env = "SWARM_EXACT", value_parser = BoolishValueParser::new())]
    pub(crate) exact: bool,
    /// Go on sharing when it is complete, until stopped
    #[arg(long, env = "SWARM_SEED", value_parser = BoolishValueParser::new())]
    pub(crate) seed: bool,
    /// Give up after this long: 30s, 5m, 1h30m [default: never]
    #[arg(long, env = "SWARM_TIMEOUT", value_name = "DUR", value_parser = size::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Of a directory, only paths that match; may be repeated
    #[arg(long, env = "SWARM_INCLUDE", value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Of a directory, not the paths that match; may be repeated
    #[arg(long, env = "SWARM_EXCLUDE", value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// In the network of all nodes, although this node is of an office
    #[arg(long, env = "SWARM_PUBLIC", value_parser = BoolishValueParser::new())]
    pub(crate) public: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

impl Get {
    /// Tells whether it goes to standard output.
    pub(crate) fn to_stdout(&self) -> bool {
        self.output.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }
}
