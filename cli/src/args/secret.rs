//! The option that names a file with a password. The arguments of a program are for all users of a machine to
//! see.

use std::path::PathBuf;

use clap::{Args, ValueHint};

// No doc comment: it would become the help.
#[derive(Debug, Default, Args)]
pub(crate) struct Secret {
    /// Read the password from this file
    ///
    /// [default: the variable SWARM_PASSWORD, or else it is asked for]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) password_file: Option<PathBuf>,
}
