//! Typed calls about offices, the private networks of a node.
//!
//! Where a call names an office, it is the name or the beginning of the id, and `None` for the only one.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use swarm_core::api::call::office::{FoundOffice, InviteNodes, ListMembers};
//! use swarm_core::office::certificate::Role;
//! use swarm_core::{Node, Options};
//!
//! let folder = tempfile::tempdir()?;
//! let options = Options::new(folder.path()).listen("/ip4/127.0.0.1/tcp/0").without_mdns().without_dht();
//! swarm_core::runtime()?.block_on(async {
//!     let node = Node::start(options).await?;
//!     let found = FoundOffice { name: "Northwind".into(), node: None, password: "a long password".into() };
//!     let founded = node.ask(found).await?;
//!     println!("write this down: {}", founded.backup.expose());
//!     let invited = node.ask(InviteNodes::new(Role::Member).uses(20)).await?;
//!     println!("on each machine: swarm office join {}", invited.code.expose());
//!     assert_eq!(node.ask(ListMembers { office: None }).await?.len(), 1);
//!     node.stop().await;
//!     Ok(())
//! })
//! # }
//! ```

use std::path::PathBuf;
use std::time::Duration;

use super::Call;
use crate::api::command::{Command, OfficeCommand};
use crate::api::event::{EntryRow, Event};
use crate::api::status::{MemberRow, OfficeRow};
use crate::content::share::Hidden;
use crate::office::certificate::Role;

/// Returns the only office of an answer.
fn only_office(last: Event) -> Option<OfficeRow> {
    let Event::Offices { offices } = last else { return None };
    let [office] = <[OfficeRow; 1]>::try_from(offices).ok()?;
    Some(office)
}

/// Lists the offices of the node, sorted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOffices;

impl Call for ListOffices {
    type Answer = Vec<OfficeRow>;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::List)
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Vec<OfficeRow>> {
        if let Event::Offices { offices } = last { Some(offices) } else { None }
    }
}

/// Founds an office with this node as its first registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundOffice {
    /// Name of the office.
    pub name: String,
    /// Name of this node in the office; `None` for the name of the machine.
    pub node: Option<String>,
    /// Password that will lock the root's key.
    pub password: Hidden,
}

/// Answer to [`FoundOffice`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Founded {
    /// The new office.
    pub office: OfficeRow,
    /// Backup of its root's key, to be written down.
    pub backup: Hidden,
}

impl Call for FoundOffice {
    type Answer = Founded;

    fn command(self) -> Command {
        let Self { name, node, password } = self;
        Command::Office(OfficeCommand::Init { name, node, password })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Founded> {
        if let Event::Founded { office, backup } = last { Some(Founded { office, backup }) } else { None }
    }
}

/// Makes an invitation, for one member within a day unless it is set otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use swarm_core::api::call::office::InviteNodes;
/// use swarm_core::office::certificate::Role;
///
/// let invite = InviteNodes::new(Role::Member).uses(20).expires_in(Duration::from_secs(3600));
/// assert_eq!((invite.uses, invite.password), (20, None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InviteNodes {
    /// Name or id prefix of the office; `None` for the only one.
    pub office: Option<String>,
    /// Role of the nodes that join by the invitation.
    pub role: Role,
    /// Number of nodes that may join by it.
    pub uses: u32,
    /// Time until it expires, in whole seconds, at least one.
    pub expires_in: Duration,
    /// Absolute path of a new file that the invitation is written to, in place of the answer.
    pub file: Option<PathBuf>,
    /// Password of the root's key; required for a registrar.
    pub password: Option<Hidden>,
}

impl InviteNodes {
    /// Invites one node with this role into the only office of this node, within a day.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        let expires_in = Duration::from_secs(24 * 60 * 60);
        Self { office: None, role, uses: 1, expires_in, file: None, password: None }
    }

    /// Sets the office, by name or id prefix.
    #[must_use]
    pub fn office(mut self, office: Option<String>) -> Self {
        self.office = office;
        self
    }

    /// Sets the number of nodes that may join.
    #[must_use]
    pub fn uses(mut self, uses: u32) -> Self {
        self.uses = uses;
        self
    }

    /// Sets the time until the invitation expires.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = time;
        self
    }

    /// Sets the new file that the invitation is written to.
    #[must_use]
    pub fn file(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }

    /// Sets the password of the root's key.
    #[must_use]
    pub fn password(mut self, password: Option<Hidden>) -> Self {
        self.password = password;
        self
    }
}

/// Answer to [`InviteNodes`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invited {
    /// Code to hand on; empty if it was written to a file.
    pub code: Hidden,
    /// The office that it invites to.
    pub office: OfficeRow,
}

impl Call for InviteNodes {
    type Answer = Invited;

    fn command(self) -> Command {
        let Self { office, role, uses, expires_in, file, password } = self;
        let secs = expires_in.as_secs().max(1);
        Command::Office(OfficeCommand::Invite { office, role, uses, secs, file, password })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Invited> {
        if let Event::Invited { code, office } = last { Some(Invited { code, office }) } else { None }
    }
}

/// Joins an office. The answer is the office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinOffice {
    /// The invitation.
    pub code: Hidden,
    /// Name of this node in the office; `None` for the name of the machine.
    pub node: Option<String>,
}

impl Call for JoinOffice {
    type Answer = OfficeRow;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::Join { code: self.code, node: self.node })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<OfficeRow> {
        only_office(last)
    }
}

/// Lists the known members of an office, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListMembers {
    /// Name or id prefix of the office; `None` for the only one.
    pub office: Option<String>,
}

impl Call for ListMembers {
    type Answer = Vec<MemberRow>;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::Members { office: self.office })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<Vec<MemberRow>> {
        if let Event::Members { members, .. } = last { Some(members) } else { None }
    }
}

/// Expels a member from an office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpelMember {
    /// Name or id prefix of the office; `None` for the only one.
    pub office: Option<String>,
    /// Name or key of the member.
    pub who: String,
    /// Password of the root's key; required for a registrar.
    pub password: Option<Hidden>,
}

/// Answer to [`ExpelMember`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpelledMember {
    /// The member.
    pub member: MemberRow,
    /// Number of connected members that were told.
    pub told: u32,
}

impl Call for ExpelMember {
    type Answer = ExpelledMember;

    fn command(self) -> Command {
        let Self { office, who, password } = self;
        Command::Office(OfficeCommand::Expel { office, who, password })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<ExpelledMember> {
        let Event::Members { members, told, .. } = last else { return None };
        let [member] = <[MemberRow; 1]>::try_from(members).ok()?;
        Some(ExpelledMember { member, told })
    }
}

/// Changes the secret of an office. The answer is the office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateSecret {
    /// Name or id prefix of the office; `None` for the only one.
    pub office: Option<String>,
}

impl Call for RotateSecret {
    type Answer = OfficeRow;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::Rotate { office: self.office })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<OfficeRow> {
        only_office(last)
    }
}

/// Leaves an office and deletes its keys. The answer is the offices that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveOffice {
    /// Name or id prefix of the office; `None` for the only one.
    pub office: Option<String>,
}

impl Call for LeaveOffice {
    type Answer = Vec<OfficeRow>;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::Leave { office: self.office })
    }

    fn answer(last: Event, entries: Vec<EntryRow>) -> Option<Vec<OfficeRow>> {
        ListOffices::answer(last, entries)
    }
}

/// Restores the root's key from its backup on this node, which must be a member, and makes the node a
/// registrar. The answer is the office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRoot {
    /// The backup as it was written down.
    pub backup: Hidden,
    /// New password that will lock the root's key.
    pub password: Hidden,
}

impl Call for RestoreRoot {
    type Answer = OfficeRow;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::Restore { backup: self.backup, password: self.password })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<OfficeRow> {
        only_office(last)
    }
}

/// Renews the certificate of this node as a registrar; the root's key must be here. The answer is the office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewRegistrar {
    /// Name or id prefix of the office; `None` for the only one.
    pub office: Option<String>,
    /// Password of the root's key.
    pub password: Hidden,
}

impl Call for RenewRegistrar {
    type Answer = OfficeRow;

    fn command(self) -> Command {
        Command::Office(OfficeCommand::Renew { office: self.office, password: self.password })
    }

    fn answer(last: Event, _: Vec<EntryRow>) -> Option<OfficeRow> {
        only_office(last)
    }
}
