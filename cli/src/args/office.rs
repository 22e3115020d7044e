//! Arguments of `office`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand, ValueHint};
use swarm_core::office::certificate::Role;

use super::secret::Secret;
use crate::size;

/// Commands of `office`.
#[derive(Debug, Subcommand)]
pub(crate) enum Office {
    /// List the offices of this node
    List,
    /// Create an office; this node becomes its first registrar
    ///
    /// Prints the root key of the office: write it down. It is needed to create registrars, and to go on if
    /// this machine is lost.
    Init(Init),
    /// Print an invitation for new members
    ///
    /// This command, or a daemon on this node, must run until they have joined.
    Invite(Invite),
    /// Join an office with an invitation
    ///
    /// From then on, publish and get use this office. --public uses the public network.
    Join(Join),
    /// List the known members of an office
    Members,
    /// Remove a member at once; open invitations end
    ///
    /// Members that are offline learn of it when they next connect to another member.
    Expel(Expel),
    /// Leave an office and delete this node's key for it
    Leave,
    /// Change the secret by which members find each other
    ///
    /// All open invitations end.
    Rotate,
    /// Restore the root key from backup, on a member
    ///
    /// This node must be a member. It becomes a registrar.
    Restore(Restore),
    /// Extend this registrar by two years; needs the root key
    Renew(Renew),
}

/// Arguments of `office init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Name of the office
    pub(crate) name: String,
    /// Name of this node in the office
    ///
    /// [default: the name of the machine]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// Arguments of `office invite`.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Role of the new members
    ///
    /// member: fetch, and share with members that they name. publisher: also publish to all members.
    /// registrar: also invite and expel (asks for the root password).
    #[arg(long, value_name = "ROLE", default_value = "member", value_parser = role())]
    pub(crate) role: Role,
    /// Number of machines that may join
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) uses: u32,
    /// Valid for: 1h, 1d
    #[arg(long, value_name = "DUR", default_value = "1d", value_parser = size::parse_duration)]
    pub(crate) expires: Duration,
    /// Write it to this file instead of printing it
    ///
    /// Only you can read the file.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    let known = |name: String| Role::ALL.into_iter().find(|role| role.name() == name).unwrap_or(Role::Member);
    PossibleValuesParser::new(Role::ALL.map(Role::name)).map(known)
}

/// Arguments of `office join`.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Invitation, or a file that contains it
    ///
    /// - reads it from standard input. Arguments are visible to other users of this machine: a file is
    /// better.
    #[arg(env = "SWARM_JOIN", value_name = "CODE|FILE")]
    pub(crate) code: String,
    /// Name of this node in the office
    ///
    /// [default: the name of the machine]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// Arguments of `office expel`.
#[derive(Debug, Args)]
pub(crate) struct Expel {
    /// Name of the member, or first characters of its key
    ///
    /// `swarm office members` lists both.
    #[arg(value_name = "NODE")]
    pub(crate) who: String,
    /// Required to expel a registrar
    ///
    /// Asks for the root password.
    #[arg(long)]
    pub(crate) registrar: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// Arguments of `office restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// File with the backup [default: standard input]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) backup: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// Arguments of `office renew`.
#[derive(Debug, Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    pub(crate) secret: Secret,
}
