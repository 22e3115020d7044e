//! Requests to a node. The same values travel over the control socket as JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use super::transfer::{Destination, Get, Network, Publish};
use crate::content::share::Hidden;
use crate::office::certificate::Role;
use crate::options::Audience;

/// One request to a node. The answer is a stream of [`Event`](super::event::Event)s whose last one is final.
///
/// [`Call`](super::call::Call) has the typed form of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Hashes a file or directory and serves it. Final event: `Published`.
    Publish(Publish),
    /// Fetches content and puts it in place. Final event: `Done`.
    Get(Get),
    /// Lists the blobs of the store or, with an id, the entries of a directory. Final event: `Blobs`, or
    /// `EntriesEnd` after the `Entries`.
    Ls {
        /// Id, unique prefix or link of a directory; `None` for the store.
        id: Option<String>,
    },
    /// Describes one blob. Final event: `Info`.
    Info {
        /// Id, unique prefix or link.
        id: String,
    },
    /// Removes a blob from the store. Bytes that the store holds are deleted; files that are served in place
    /// are left alone. Final event: `Removed`.
    Rm {
        /// Id, unique prefix or link.
        id: String,
    },
    /// Reads one blob or all blobs again and compares them with their hashes. Final event: `Verified`.
    Verify {
        /// Id, unique prefix or link; `None` for all blobs.
        id: Option<String>,
        /// True if bad chunks are fetched again from peers.
        repair: bool,
    },
    /// Deletes files of the store that nothing refers to. Final event: `Collected`.
    Gc {
        /// True if the files are only listed.
        dry_run: bool,
    },
    /// Sets the peers that may fetch a blob. Final event: `Info`.
    Serve {
        /// Id, unique prefix or link.
        id: String,
        /// The new audience; `None` for the default of the node.
        audience: Option<Audience>,
    },
    /// Acts on offices, which are private networks.
    Office(OfficeCommand),
    /// Shares contents, and announces them to trackers and the DHT, until the command is cancelled. `Sharing`
    /// says when that has begun; there is no final event while it works.
    Share {
        /// Ids of the contents, all digits of each.
        ids: Vec<String>,
    },
    /// Has the daemon of the store fetch content: it goes on until that is done or stopped, after a restart
    /// too. The answer comes when the download is on the disk. Final event: `Detached`.
    Detach(Get),
    /// Ends the detached downloads of an id. Verified data is kept. Final event: `Stopped`.
    Stop {
        /// Id, unique prefix or link.
        id: String,
    },
    /// Asks for the state of the node. Final event: `Status`.
    Status,
    /// Lists connected and banned peers. Final event: `Peers`.
    Peers,
    /// Asks why a download waits or is slow, and which holders each way of finding them has found. Final
    /// event: `Why`.
    Why {
        /// Id, unique prefix or link.
        id: String,
    },
}

impl Command {
    /// Returns true if the command may wait for other nodes, or for the end of this one, without a limit of
    /// time. Another node can go on with such a command where this one stopped.
    #[must_use]
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Share { .. } | Self::Verify { repair: true, .. })
    }

    /// Returns true if the command is answered as fast as the disk answers, or within seconds.
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
            | Self::Detach(_)
            | Self::Stop { .. }
            | Self::Status
            | Self::Peers
            | Self::Why { .. } => true,
        }
    }
}

/// Request about offices, the private networks of a node; see [`Command::Office`]. Their typed form is in
/// [`call::office`](super::call::office).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OfficeCommand {
    /// Lists the offices of the node. Final event: `Offices`.
    List,
    /// Founds an office with this node as its first registrar. Final event: `Founded`.
    Init {
        /// Name of the office.
        name: String,
        /// Name of this node in the office; `None` for the name of the machine.
        node: Option<String>,
        /// Password that will lock the root's key.
        password: Hidden,
    },
    /// Makes an invitation. Final event: `Invited`.
    Invite {
        /// Name or id prefix of the office; `None` for the only one.
        office: Option<String>,
        /// Role of the nodes that join by the invitation.
        role: Role,
        /// Number of nodes that may join by it.
        uses: u32,
        /// Seconds until it expires.
        secs: u64,
        /// Absolute path of a new file that the invitation is written to, in place of the answer.
        #[serde(with = "crate::store::exact_path::option", default)]
        file: Option<PathBuf>,
        /// Password of the root's key; required for a registrar.
        password: Option<Hidden>,
    },
    /// Joins an office. Final event: `Offices` with that office.
    Join {
        /// The invitation.
        code: Hidden,
        /// Name of this node in the office; `None` for the name of the machine.
        node: Option<String>,
    },
    /// Lists the known members. Final event: `Members`.
    Members {
        /// Name or id prefix of the office; `None` for the only one.
        office: Option<String>,
    },
    /// Expels a member. Final event: `Members` with that member.
    Expel {
        /// Name or id prefix of the office; `None` for the only one.
        office: Option<String>,
        /// Name or key of the member.
        who: String,
        /// Password of the root's key; required for a registrar.
        password: Option<Hidden>,
    },
    /// Changes the secret of an office. Final event: `Offices` with that office.
    Rotate {
        /// Name or id prefix of the office; `None` for the only one.
        office: Option<String>,
    },
    /// Leaves an office and deletes its keys. Final event: `Offices` with the offices that are left.
    Leave {
        /// Name or id prefix of the office; `None` for the only one.
        office: Option<String>,
    },
    /// Restores the root's key from its backup on this node, which must be a member, and makes the node a
    /// registrar. Final event: `Offices` with that office.
    Restore {
        /// The backup as it was written down.
        backup: Hidden,
        /// New password that will lock the root's key.
        password: Hidden,
    },
    /// Renews the certificate of this node as a registrar; the root's key must be here. Final event:
    /// `Offices` with that office.
    Renew {
        /// Name or id prefix of the office; `None` for the only one.
        office: Option<String>,
        /// Password of the root's key.
        password: Hidden,
    },
}
