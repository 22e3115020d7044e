//! Failures of commands about an office, in words for a person.

use crate::limits;
use crate::office::Rejected;
use crate::store::DiskError;

/// A reason why this node is no valid member of its office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// The node was expelled.
    #[error("this node was expelled")]
    Expelled,
    /// The node's certificate is not valid now.
    #[error("this node's certificate: {0}")]
    Certificate(Rejected),
}

impl From<Rejected> for Trouble {
    fn from(reason: Rejected) -> Self {
        match reason {
            Rejected::Expelled => Self::Expelled,
            other => Self::Certificate(other),
        }
    }
}

/// A failure of a command about an office.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfficeError {
    /// The given root key belongs to another office.
    #[error("that is not the root of this office")]
    OtherRoot,
    /// The command needs a registrar.
    #[error("only a registrar can do this, and this node is none")]
    NotRegistrar,
    /// The command needs a publisher.
    #[error(
        "only a publisher may offer something to the whole office: name members with --to, or ask a registrar to \
         make this node a publisher"
    )]
    NotPublisher,
    /// A registrar is invited without the root key.
    #[error("inviting a registrar takes the root's password")]
    InvitesRegistrar,
    /// A registrar is expelled without the root key. Contains the registrar's name.
    #[error("{0} is a registrar: it takes the root's password")]
    ExpelsRegistrar(String),
    /// The node would expel itself.
    #[error("that is this node itself: swarm office leave")]
    ExpelsItself,
    /// The node is no valid member.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// There are [`limits::INVITES`] open invitations.
    #[error("{} invitations are open: wait until some have ended", limits::INVITES)]
    ManyInvitations,
    /// A voucher would name more than [`limits::VOUCHER_MEMBERS`] members.
    #[error("more than {} members", limits::VOUCHER_MEMBERS)]
    ManyMembers,
    /// No known member has this name, or a key that begins so. Contains the escaped name.
    #[error("nobody in the office is called {0}, as far as this node knows")]
    Unknown(String),
    /// Several members may be meant. Contains the escaped name.
    #[error("{0} may be several: give the first characters of the node's key")]
    Ambiguous(String),
    /// The invitation of a newcomer has ended, or is not known.
    #[error("its invitation has ended")]
    InvitationEnded,
    /// The invitation of a newcomer has been used as often as it may be.
    #[error("its invitation was used up")]
    InvitationUsedUp,
    /// The invitation is for a registrar, and the root key that belongs to it is no longer in memory.
    #[error("the root is locked")]
    RootLocked,
    /// A statement that this node made is not valid.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The system returned no random bytes.
    #[error("the system has no random numbers")]
    Random,
}

/// A failure to join an office.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// This node's key is not an ed25519 key.
    #[error("this node has an odd key")]
    OddKey,
    /// The invitation contains no address.
    #[error("the invitation has no address of its registrar")]
    NoAddress,
    /// No address led to a registrar that accepts the invitation. Contains the failure of each address.
    #[error("{}", .0.join("; "))]
    NoRegistrar(Vec<String>),
}
