//! What a person may ask of a node. The same values travel over the control socket as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::content::share::Hidden;
use crate::office::certificate::Role;
use crate::options::Audience;

/// One request to a node. The answer is a stream of [`super::event::Event`]s whose last one is final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Hash a file or directory and serve it. Final: `Published`.
    Publish(Publish),
    /// Fetch content and put it in place. Final: `Done`.
    Get(Get),
    /// The blobs of the store, or with an id the entries of a directory. Final: `Blobs` or `Entries`.
    Ls {
        /// Id or unique prefix.
        id: Option<String>,
    },
    /// All that is known of one blob. Final: `Info`.
    Info {
        /// Id, prefix or link.
        id: String,
    },
    /// Forget a blob. Bytes the store holds are deleted, files served in place are left alone. Final: `Removed`.
    Rm {
        /// Id or unique prefix.
        id: String,
    },
    /// Read everything (or one blob) again and compare with its hashes. Final: `Verified`.
    Verify {
        /// Id or unique prefix; all blobs without.
        id: Option<String>,
        /// Fetch bad chunks again from peers.
        repair: bool,
    },
    /// Delete what nothing refers to. Final: `Collected`.
    Gc {
        /// Only say what would go.
        dry_run: bool,
    },
    /// Say who may fetch a blob; whom the node says without. Final: `Info`.
    Serve {
        /// Id, prefix or link.
        id: String,
        /// Who.
        audience: Option<Audience>,
    },
    /// Private networks.
    Office(OfficeCommand),
    /// Go on sharing contents until this is cancelled: others are told of them. `Sharing` says when that has
    /// begun; there is no final event while it works.
    Share {
        /// Whole ids.
        ids: Vec<String>,
    },
    /// The node at a glance. Final: `Status`.
    Status,
    /// The peers it is connected to and those it has banned. Final: `Peers`.
    Peers,
    /// Why a download waits or is slow, and what every way of finding holders found. Final: `Why`.
    Why {
        /// Id, prefix or link.
        id: String,
    },
}

impl Command {
    /// True when it may wait for other nodes for as long as it takes, or waits for the end of this one.
    /// Another node can go on with it where it was.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Share { .. } | Self::Verify { repair: true, .. })
    }

    /// True when it is answered as fast as a disk answers, or within seconds.
    #[must_use]
    pub const fn is_quick(&self) -> bool {
        match self {
            Self::Publish(_) | Self::Get(_) | Self::Verify { .. } | Self::Share { .. } => false,
            Self::Office(office) => matches!(office, OfficeCommand::List | OfficeCommand::Members { .. }),
            Self::Ls { .. }
            | Self::Info { .. }
            | Self::Rm { .. }
            | Self::Gc { .. }
            | Self::Serve { .. }
            | Self::Status
            | Self::Peers
            | Self::Why { .. } => true,
        }
    }
}

/// See [`Command::Publish`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Absolute path of a file or directory.
    pub path: PathBuf,
    /// The name offered to getters; the path's last component without.
    pub name: Option<String>,
    /// Take a copy into the store (a reflink where the file system can) instead of serving the source in place.
    pub copy: bool,
    /// The path is a temporary file in the store's own folder: move it in (how standard input arrives).
    pub take: bool,
    /// Allow names that Windows and macOS cannot store.
    pub unix_names: bool,
    /// HTTP addresses of the same bytes, for the link; of a file only.
    #[serde(default)]
    pub webseeds: Vec<String>,
    /// Absolute path of a file to write the hash list to; of a file only.
    #[serde(default)]
    pub hash_list: Option<PathBuf>,
    /// Keep relative symbolic links that stay inside the tree; without, a link in the tree is an error.
    pub symlinks: bool,
    /// Leave out folders that are homes of swarms, which hold keys; without, such a folder is an error.
    #[serde(default)]
    pub skip_homes: bool,
    /// As a share: others are given it encrypted, and only the link has the key.
    #[serde(default)]
    pub encrypt: bool,
    /// Who may fetch it; whom the node says without.
    #[serde(default)]
    pub serve: Option<Audience>,
    /// With `encrypt`: a password that opens the link.
    #[serde(default)]
    pub password: Option<Hidden>,
    /// Where it is offered.
    #[serde(default)]
    pub network: Network,
    /// In an office: names or keys of the members that it is for; all without.
    #[serde(default)]
    pub to: Vec<String>,
}

/// In which network something is offered, or looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// In that of the office that this node is of; in that of all nodes if it is of none. Of several it must be said in which.
    #[default]
    Usual,
    /// The same, wherever the link leads: its hints are those of the command line.
    Own,
    /// In that of all nodes.
    Public,
    /// In that of the office with this name, or whose id begins so.
    Office(String),
}

/// What is done with offices, see [`Command::Office`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum OfficeCommand {
    /// Which there are. Final: `Offices`.
    List,
    /// Found one, with this node as its first registrar. Final: `Founded`.
    Init {
        /// Its name.
        name: String,
        /// What this node is called there.
        node: Option<String>,
        /// Of the root.
        password: Hidden,
    },
    /// A new invitation. Final: `Invited`.
    Invite {
        /// To which office.
        office: Option<String>,
        /// As what.
        role: Role,
        /// For how many.
        uses: u32,
        /// For how long, seconds.
        secs: u64,
        /// Absolute path of a new file that it is written to, in place of the answer.
        file: Option<PathBuf>,
        /// Of the root: for a registrar.
        password: Option<Hidden>,
    },
    /// Become a member. Final: `Offices`, with that one.
    Join {
        /// The invitation.
        code: Hidden,
        /// What this node is to be called.
        node: Option<String>,
    },
    /// Who is known. Final: `Members`.
    Members {
        /// Of which office.
        office: Option<String>,
    },
    /// Make somebody leave. Final: `Members`, with that one.
    Expel {
        /// Of which office.
        office: Option<String>,
        /// Name or key.
        who: String,
        /// Of the root: for a registrar.
        password: Option<Hidden>,
    },
    /// Change the secret. Final: `Offices`, with that one.
    Rotate {
        /// Of which office.
        office: Option<String>,
    },
    /// Be of it no longer, and delete the keys. Final: `Offices`, with those that are left.
    Leave {
        /// Which.
        office: Option<String>,
    },
    /// Take the root from its backup to this node, which must be a member, and make it a registrar. Final: `Offices`, with that one.
    Restore {
        /// As it was written down.
        backup: Hidden,
        /// A new one.
        password: Hidden,
    },
    /// Make this node, which has the root, a registrar for longer. Final: `Offices`, with that one.
    Renew {
        /// Of which office.
        office: Option<String>,
        /// Of the root.
        password: Hidden,
    },
}

/// Where fetched content goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Exactly this absolute path; if it is an existing directory, a file inside it under the offered name.
    Path(PathBuf),
    /// Under the offered name in this absolute directory.
    Into(PathBuf),
    /// Into the store; `Prefix` events tell how many bytes from the start are verified, and where to read them.
    Store,
    /// Into the store, to be held for others: a share as it travels, without its key.
    Hold,
}

/// See [`Command::Get`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// Id, unique prefix or link; a link that is locked with a password is not opened here.
    pub target: Hidden,
    /// Where it goes.
    pub output: Destination,
    /// Replace what is there; of a directory the files of the same names, and nothing else.
    pub overwrite: bool,
    /// Of a directory: delete files that were put there for an earlier version, are as they were put there, and are not in
    /// this one.
    #[serde(default)]
    pub delete: bool,
    /// The path of the output is the thing itself, also if a folder is there.
    #[serde(default)]
    pub exact: bool,
    /// Give up after this long, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Of a directory only paths that match one of these globs; all when empty.
    pub include: Vec<String>,
    /// Of a directory not the paths that match one of these globs.
    pub exclude: Vec<String>,
    /// Who may fetch it of us; whom the node says without.
    #[serde(default)]
    pub serve: Option<Audience>,
    /// Where it is looked for.
    #[serde(default)]
    pub network: Network,
}
