//! The work of a registrar: it invites, admits and expels members, and changes the secret. Some of it needs
//! the root key.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::OfficeState;
use crate::api::status::MemberRow;
use crate::content::path::cut;
use crate::limits;
use crate::membership::directory::DirectoryEntry;
use crate::membership::error::OfficeError;
use crate::membership::files::{self, Invitation};
use crate::membership::join::Welcome;
use crate::membership::random;
use crate::net::Multiaddr;
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::expulsion::Void;
use crate::office::invite::{Invite, InviteSecret};
use crate::office::is_name;
use crate::office::root::RootSeed;
use crate::signed::{PublicKey, Signer, Statement};
use crate::store::DiskError;

/// A signer of statements that need the root or a registrar.
pub(super) struct Pen<'a> {
    /// The key that signs.
    pub(super) signer: &'a Signer,
    /// The certificate that makes the signer a registrar; empty for the root.
    pub(super) by: Vec<u8>,
}

impl OfficeState {
    /// Returns the signer: the root if it is given, else this node.
    ///
    /// # Errors
    /// [`OfficeError::OtherRoot`], or [`OfficeError::NotRegistrar`] without a root.
    pub(super) fn pen<'a>(&'a self, root: Option<&'a Signer>) -> Result<Pen<'a>, OfficeError> {
        match root {
            Some(signer) if signer.public() == self.book.charter().root => Ok(Pen { signer, by: Vec::new() }),
            Some(_) => Err(OfficeError::OtherRoot),
            None if self.is_registrar() => Ok(Pen { signer: &self.signer, by: self.chain.0[0].clone() }),
            None => Err(OfficeError::NotRegistrar),
        }
    }

    /// Welcomes a newcomer that proved to know an invitation. The reply is `None` if the invitation does not
    /// hold.
    pub(super) fn newcomer(
        &mut self,
        invite: [u8; 16],
        (key, name): (PublicKey, String),
        reply: oneshot::Sender<Option<Vec<u8>>>,
        at: u64,
    ) {
        let chain = match self.take_in(invite, key, &name, at) {
            Ok(chain) => chain,
            Err(why) => {
                tracing::info!(?key, %why, "a newcomer was not taken in");
                return drop(reply.send(None));
            }
        };
        let told = self.book.all().cloned().collect();
        let welcome = Welcome { charter: self.book.charter().encode(), chain, told };
        let _ = reply.send(postcard::to_allocvec(&welcome).ok());
        self.stand(at);
    }

    /// Admits a newcomer: uses its invitation and returns certificates for its key. A second visit with one
    /// invitation does not count. `name` is the name that the newcomer would like to have.
    ///
    /// # Errors
    /// The invitation does not hold, its root key is no longer in memory, or the disk fails.
    pub(super) fn take_in(
        &mut self,
        invite: [u8; 16],
        key: PublicKey,
        name: &str,
        at: u64,
    ) -> Result<Chain, OfficeError> {
        let mark = self.mark();
        let (role, known) = {
            let open = self.invites.get(&invite).filter(|i| i.expires > at && i.mark == mark);
            let open = open.ok_or(OfficeError::InvitationEnded)?;
            let known = open.used.contains(key.as_bytes());
            if !known && open.left == 0 {
                return Err(OfficeError::InvitationUsedUp);
            }
            (open.role, known)
        };
        let name = self.free_name(if is_name(name) { name } else { "node" }, key);
        let before = self.members.get(key).map_or(0, |member| member.serial.saturating_add(1));
        let serial = at.max(before).max(self.book.expelled().floor(key));
        let secs = if role == Role::Registrar { limits::REGISTRAR_SECS } else { limits::MEMBER_SECS };
        let certificate = Certificate { subject: key, role, serial, issued: at, expires: at + secs, name };
        let chain = match role {
            Role::Registrar => {
                let root = self.roots.get(&invite).ok_or(OfficeError::RootLocked)?.signer();
                Chain(vec![certificate.sign(self.book.office(), &root)])
            }
            Role::Member | Role::Publisher => {
                let pen = self.pen(None)?;
                Chain(vec![pen.by, certificate.sign(self.book.office(), pen.signer)])
            }
        };
        self.book.verify(&chain, at)?;
        if let Some(open) = self.invites.get_mut(&invite)
            && !known
        {
            open.left -= 1;
            open.used.push(*key.as_bytes());
        }
        self.keep_invites()?;
        self.members.met(&certificate, &chain, at);
        self.answer_searches();
        Ok(chain)
    }

    /// Returns a name that no other valid member has, the wanted one if possible. A name must mean the same
    /// member on every node.
    fn free_name(&self, wanted: &str, key: PublicKey) -> String {
        let others = self.members.iter().filter(|(other, member)| {
            **other != key && !self.book.expelled().by_anybody(**other, member.serial)
        });
        let all: BTreeSet<String> = others.map(|(_, member)| member.name.to_ascii_lowercase()).collect();
        let taken = |name: &str| all.contains(&name.to_ascii_lowercase());
        let mut name = wanted.to_owned();
        let mut number = 2;
        while taken(&name) {
            let end = format!("-{number}");
            name = format!("{}{end}", cut(wanted, limits::OFFICE_NAME_BYTES - end.len()).trim_end());
            number += 1;
        }
        name
    }

    /// Writes the open invitations, except those of registrars, which end with the process.
    pub(super) fn keep_invites(&self) -> Result<(), DiskError> {
        let kept: Vec<Invitation> =
            self.invites.values().filter(|i| i.role != Role::Registrar).cloned().collect();
        files::keep_invites(&self.store, &kept)
    }

    /// Makes an invitation for a role, a number of uses and a validity in seconds. Returns it as text. `root`
    /// is needed for the role of a registrar.
    ///
    /// # Errors
    /// This node may not invite, too many invitations are open, or the disk fails.
    pub(crate) fn invite(
        &mut self,
        (role, uses, secs): (Role, u32, u64),
        root: Option<RootSeed>,
        addrs: &[Multiaddr],
        at: u64,
    ) -> Result<String, OfficeError> {
        self.pen(None)?;
        if let Some(trouble) = self.trouble {
            return Err(trouble.into());
        }
        self.stand(at);
        if self.invites.len() >= limits::INVITES {
            return Err(OfficeError::ManyInvitations);
        }
        let secret = random()?;
        let invite = InviteSecret::from_bytes(secret);
        let name = invite.name();
        if let Some(root) = root {
            if root.signer().public() != self.book.charter().root {
                return Err(OfficeError::OtherRoot);
            }
            self.roots.insert(name, root);
        } else if role == Role::Registrar {
            return Err(OfficeError::InvitesRegistrar);
        }
        let (expires, mark) = (at + secs.min(limits::INVITE_SECS), self.mark());
        let invitation = Invitation { secret, role, left: uses.max(1), expires, mark, used: Vec::new() };
        self.invites.insert(name, invitation);
        self.keep_invites()?;
        self.stand(at);
        let addrs = addrs.iter().map(Multiaddr::to_vec).collect();
        Ok(Invite { office: self.book.office(), secret: invite, addrs }.to_string())
    }

    /// Expels a member and changes the secret. Returns the member's row and the statements for others in
    /// their order: first the list, then the secret, because the expelled member must not be told the secret.
    ///
    /// # Errors
    /// It is not clear which member `who` means, it is this node, this node may not expel it, or the disk
    /// fails.
    pub(crate) fn expel(
        &mut self,
        who: &str,
        root: Option<&RootSeed>,
        at: u64,
    ) -> Result<(MemberRow, [Statement; 2]), OfficeError> {
        let key = self.find(who)?;
        if key == self.own.subject {
            return Err(OfficeError::ExpelsItself);
        }
        let known = self.members.get(key).cloned();
        let member = known.unwrap_or_else(|| DirectoryEntry::unknown(who));
        if member.role == Role::Registrar && root.is_none() {
            return Err(OfficeError::ExpelsRegistrar(member.name));
        }
        let root = root.map(RootSeed::signer);
        let pen = self.pen(root.as_ref())?;
        // The entry must also void certificates that other registrars have signed meanwhile, by whatever
        // clock.
        let below = member.serial.max(at).max(self.book.expelled().floor(key));
        let below = below.saturating_add(limits::SERIAL_AHEAD);
        let longest = if root.is_some() { limits::REGISTRAR_SECS } else { limits::MEMBER_SECS };
        let until = member.expires.max(at + longest) + limits::CLOCK_SKEW.as_secs();
        let registrars: BTreeSet<PublicKey> =
            self.members.iter().filter(|(_, m)| m.role == Role::Registrar).map(|(key, _)| *key).collect();
        let list = self.book.expel(pen.signer, &pen.by, &[(key, Void { below, until })], &registrars, at);
        let secret = self.book.renew_secret(pen.signer, &pen.by, random()?, at);
        let told = [list, secret];
        for told in &told {
            self.book.hear(told, at)?;
        }
        files::keep_book(&self.store, &self.book)?;
        self.invites.clear();
        self.believed(at);
        self.keep_invites()?;
        let row = self.row(&key, &member, &BTreeSet::new());
        Ok((row, told))
    }

    /// Changes the secret. Returns the statement for others.
    ///
    /// # Errors
    /// This node is no registrar, or the disk fails.
    pub(crate) fn rotate(&mut self, at: u64) -> Result<Statement, OfficeError> {
        let pen = self.pen(None)?;
        let told = self.book.renew_secret(pen.signer, &pen.by, random()?, at);
        self.book.hear(&told, at)?;
        files::keep_book(&self.store, &self.book)?;
        self.believed(at);
        self.keep_invites()?;
        Ok(told)
    }

    /// Makes this node a registrar, or renews its certificate as one, with the root key.
    ///
    /// # Errors
    /// [`OfficeError::OtherRoot`].
    pub(crate) fn appoint(&mut self, root: &RootSeed, at: u64) -> Result<(), OfficeError> {
        let signer = root.signer();
        if signer.public() != self.book.charter().root {
            return Err(OfficeError::OtherRoot);
        }
        let serial =
            at.max(self.own.serial.saturating_add(1)).max(self.book.expelled().floor(self.own.subject));
        let (role, expires) = (Role::Registrar, at + limits::REGISTRAR_SECS);
        let own = Certificate { role, serial, issued: at, expires, ..self.own.clone() };
        let chain = Chain(vec![own.sign(self.book.office(), &signer)]);
        self.became(own, chain, at);
        Ok(())
    }
}
