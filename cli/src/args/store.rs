//! Arguments of the commands about the store.

use clap::Args;

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Directory to list [default: the whole store]
    pub(crate) id: Option<String>,
}

/// An item of the store.
#[derive(Debug, Args)]
pub(crate) struct Item {
    /// Id, its first digits, or a link
    pub(crate) id: String,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Item to check [default: everything]
    pub(crate) id: Option<String>,
    /// Fetch damaged chunks again from peers
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Arguments of `gc`.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only list what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}
