//! Rows of the reports about an office.

use std::collections::BTreeSet;

use super::OfficeState;
use crate::api::status::{MemberRow, OfficeRow};
use crate::membership::directory::DirectoryEntry;
use crate::membership::{files, peer_of};
use crate::net::Multiaddr;
use crate::office::certificate::Role;
use crate::signed::PublicKey;

impl OfficeState {
    /// Returns the row of one member. `connected` are the keys of connected members.
    pub(super) fn row(
        &self,
        key: &PublicKey,
        member: &DirectoryEntry,
        connected: &BTreeSet<PublicKey>,
    ) -> MemberRow {
        let expelled = self.book.expelled();
        let registrar = member.role == Role::Registrar;
        MemberRow {
            node: key.to_string(),
            name: member.name.clone(),
            role: member.role,
            expires: member.expires,
            met: member.met,
            connected: connected.contains(key),
            expelled: expelled.by_root(*key, member.serial)
                || (!registrar && expelled.by_anybody(*key, member.serial)),
            own: *key == self.own.subject,
        }
    }

    /// Returns the rows of all known members, by name.
    pub(crate) fn rows(&self, connected: &BTreeSet<PublicKey>) -> Vec<MemberRow> {
        let mut rows: Vec<MemberRow> =
            self.members.iter().map(|(key, member)| self.row(key, member, connected)).collect();
        rows.sort_unstable_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        rows
    }

    /// Returns the row of the office. `connected` is the number of connected members.
    pub(crate) fn office(&self, listen: &[Multiaddr], connected: usize) -> OfficeRow {
        OfficeRow {
            id: self.book.office().to_string(),
            name: self.book.charter().name.clone(),
            node: self.own.subject.to_string(),
            peer: peer_of(self.own.subject).map(|peer| peer.to_string()).unwrap_or_default(),
            called: self.own.name.clone(),
            role: self.own.role,
            expires: self.own.expires,
            root: files::root(&self.store).is_some(),
            listen: listen.iter().map(ToString::to_string).collect(),
            connected: connected as u32,
            members: self.members.len() as u32,
            invited: self.invites.values().fold(0, |sum, invite| sum.saturating_add(invite.left)),
            epoch: self.epoch(),
            trouble: self.trouble.map(|trouble| trouble.to_string()),
        }
    }
}
