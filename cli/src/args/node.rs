//! Arguments of the commands about this node and this program.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Explain why this download waits (see `swarm why`)
    #[arg(long, value_name = "ID")]
    pub(crate) why: Option<String>,
}

/// Arguments of `daemon`.
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Be a tracker too, on port 4770
    ///
    /// A tracker is a meeting point for nodes of different networks.
    #[arg(long)]
    pub(crate) tracker_server: bool,
    /// Be a relay that helps other nodes to connect
    ///
    /// Nodes that cannot reach each other open a direct connection with its help (hole punching). All of them
    /// must be able to reach this node.
    #[arg(long)]
    pub(crate) relay_server: bool,
    /// Be a DHT server from which other nodes can start
    ///
    /// It listens on port 4772, or on another port if that one is taken.
    #[arg(long)]
    pub(crate) dht_server: bool,
    /// Join an office with this invitation
    ///
    /// A file that contains the invitation is better: arguments are visible to other users of this machine.
    /// Nothing happens if this node is in that office already.
    #[arg(long, value_name = "CODE|FILE")]
    pub(crate) join: Option<String>,
    /// With --join: name of this node in the office
    ///
    /// [default: the name of the machine]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// File to spread [default: 64 MiB of random data]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

/// Commands of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the settings in force, as a configuration file
    Show {
        /// Show where each setting comes from
        #[arg(long)]
        origin: bool,
    },
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Folder to write to, such as ~/.local/share/man/man1
    ///
    /// It is created if it does not exist. Files that `swarm man` did not write are left alone.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}
