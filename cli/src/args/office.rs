//! `swarm office`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand, ValueHint};
use swarm_core::office::certificate::Role;

use super::Secret;
use crate::size;

/// What is done with offices.
#[derive(Debug, Subcommand)]
pub(crate) enum Office {
    /// List the offices that this node is of
    List,
    /// Found an office, with this node as its first registrar
    Init(Init),
    /// Print an invitation, to be handed to who is to join
    Invite(Invite),
    /// Join an office with an invitation
    Join(Join),
    /// List the members that this node knows of
    Members,
    /// Make a member leave: it is cut off at once, everywhere, and all open invitations end
    Expel(Expel),
    /// Leave an office, and delete this node's key there
    Leave,
    /// Change the secret by which members find each other; all open invitations end
    Rotate,
    /// Bring the root, as it was written down, to this node, which is a member: it becomes a registrar
    Restore(Restore),
    /// Make this node, which has the root, a registrar for two more years
    Renew(Renew),
}

/// See [`Office::Init`].
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What people call the office
    pub(crate) name: String,
    /// What this node is called there [default: the name of the machine]
    #[arg(long = "as", env = "SWARM_AS", value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// See [`Office::Invite`].
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// What who joins may do: member (fetch, and share with those it names), publisher (also offer to all), registrar (also invite and
    /// expel; asks for the root's password)
    #[arg(long, env = "SWARM_ROLE", value_name = "ROLE", default_value = "member", value_parser = role())]
    pub(crate) role: Role,
    /// How many may join with it
    #[arg(long, env = "SWARM_USES", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) uses: u32,
    /// How long it holds: 1h, 1d
    #[arg(long, env = "SWARM_EXPIRES", value_name = "DUR", default_value = "1d", value_parser = size::parse_duration)]
    pub(crate) expires: Duration,
    /// Write it to this file, which only its owner can read, instead of printing it
    #[arg(long, env = "SWARM_FILE", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    let known = |name: String| Role::ALL.into_iter().find(|role| role.name() == name).unwrap_or(Role::Member);
    PossibleValuesParser::new(Role::ALL.map(Role::name)).map(known)
}

/// See [`Office::Join`].
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invitation, or the file that it is in; - reads it from standard input
    #[arg(env = "SWARM_JOIN", value_name = "CODE|FILE")]
    pub(crate) code: String,
    /// What this node is to be called [default: the name of the machine]
    #[arg(long = "as", env = "SWARM_AS", value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// See [`Office::Expel`].
#[derive(Debug, Args)]
pub(crate) struct Expel {
    /// Its name, or the first characters of its key (see `swarm office members`)
    #[arg(value_name = "NODE")]
    pub(crate) who: String,
    /// It is a registrar: takes the root's password
    #[arg(long, env = "SWARM_REGISTRAR", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) registrar: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// See [`Office::Restore`].
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Read the backup from this file; without, from standard input
    #[arg(long, env = "SWARM_BACKUP", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) backup: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// See [`Office::Renew`].
#[derive(Debug, Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    pub(crate) secret: Secret,
}
