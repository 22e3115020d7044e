//! What a registrar does: take in, make leave, change the secret; some of it with the root.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::OfficeState;
use crate::api::status::MemberRow;
use crate::content::path::cut;
use crate::limits;
use crate::membership::directory::DirectoryEntry;
use crate::membership::files::{self, Invitation};
use crate::membership::join::Welcome;
use crate::membership::random;
use crate::net::Multiaddr;
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::expulsion::Void;
use crate::office::invite::{Invite, InviteSecret};
use crate::office::root::RootSeed;
use crate::office::trust::Statement;
use crate::office::{PublicKey, Signer, is_name};
use crate::store::DiskError;

/// Who signs what needs a root or a registrar.
pub(super) struct Pen<'a> {
    pub(super) signer: &'a Signer,
    /// What makes it a registrar; nothing of the root.
    pub(super) by: Vec<u8>,
}

impl OfficeState {
    pub(super) fn pen<'a>(&'a self, root: Option<&'a Signer>) -> Result<Pen<'a>, String> {
        match root {
            Some(signer) if signer.public() == self.book.charter().root => Ok(Pen { signer, by: Vec::new() }),
            Some(_) => Err("that is not the root of this office".to_owned()),
            None if self.is_registrar() => Ok(Pen { signer: &self.signer, by: self.chain.0[0].clone() }),
            None => Err("only a registrar can do this, and this node is none".to_owned()),
        }
    }

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

    pub(super) fn take_in(
        &mut self,
        invite: [u8; 16],
        key: PublicKey,
        name: &str,
        at: u64,
    ) -> Result<Chain, String> {
        let mark = self.mark();
        let (role, known) = {
            let open = self.invites.get(&invite).filter(|i| i.expires > at && i.mark == mark);
            let open = open.ok_or("its invitation has ended")?;
            let known = open.used.contains(key.as_bytes());
            if !known && open.left == 0 {
                return Err("its invitation was used up".to_owned());
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
                let root = self.roots.get(&invite).ok_or("the root is locked")?.signer();
                Chain(vec![certificate.sign(self.book.office(), &root)])
            }
            Role::Member | Role::Publisher => {
                let pen = self.pen(None)?;
                Chain(vec![pen.by, certificate.sign(self.book.office(), pen.signer)])
            }
        };
        self.book.verify(&chain, at).map_err(|e| e.to_string())?;
        if let Some(open) = self.invites.get_mut(&invite)
            && !known
        {
            open.left -= 1;
            open.used.push(*key.as_bytes());
        }
        self.keep_invites().map_err(|e| e.to_string())?;
        self.members.met(&certificate, &chain, at);
        Ok(chain)
    }

    /// A name that no other member has: who is meant by a name must not depend on who was asked.
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

    pub(super) fn keep_invites(&self) -> Result<(), DiskError> {
        let kept: Vec<Invitation> =
            self.invites.values().filter(|i| i.role != Role::Registrar).cloned().collect();
        files::keep_invites(&self.store, &kept)
    }

    /// A new invitation. With the root for a registrar.
    pub(crate) fn invite(
        &mut self,
        (role, uses, secs): (Role, u32, u64),
        root: Option<RootSeed>,
        addrs: &[Multiaddr],
        at: u64,
    ) -> Result<String, String> {
        self.pen(None)?;
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        self.stand(at);
        if self.invites.len() >= limits::INVITES {
            return Err(format!("{} invitations are open: wait until some have ended", limits::INVITES));
        }
        let secret = random()?;
        let invite = InviteSecret::from_bytes(secret);
        let name = invite.name();
        if let Some(root) = root {
            if root.signer().public() != self.book.charter().root {
                return Err("that is not the root of this office".to_owned());
            }
            self.roots.insert(name, root);
        } else if role == Role::Registrar {
            return Err("inviting a registrar takes the root's password".to_owned());
        }
        let (expires, mark) = (at + secs.min(limits::INVITE_SECS), self.mark());
        let invitation = Invitation { secret, role, left: uses.max(1), expires, mark, used: Vec::new() };
        self.invites.insert(name, invitation);
        self.keep_invites().map_err(|e| e.to_string())?;
        self.stand(at);
        let addrs = addrs.iter().map(Multiaddr::to_vec).collect();
        Ok(Invite { office: self.book.office(), secret: invite, addrs }.to_string())
    }

    /// Makes somebody leave, and changes the secret. What others are to be told: first who had to leave, then the secret, which
    /// he must not be told any longer.
    pub(crate) fn expel(
        &mut self,
        who: &str,
        root: Option<&RootSeed>,
        at: u64,
    ) -> Result<(MemberRow, [Statement; 2]), String> {
        let key = self.find(who)?;
        if key == self.own.subject {
            return Err("that is this node itself: swarm office leave".to_owned());
        }
        let known = self.members.get(key).cloned();
        let member = known.unwrap_or_else(|| DirectoryEntry::unknown(who));
        if member.role == Role::Registrar && root.is_none() {
            return Err(format!("{} is a registrar: it takes the root's password", member.name));
        }
        let root = root.map(RootSeed::signer);
        let pen = self.pen(root.as_ref())?;
        // Whatever other registrars have signed meanwhile, and by whatever clock.
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
            self.book.hear(told, at).map_err(|e| e.to_string())?;
        }
        files::keep_book(&self.store, &self.book).map_err(|e| e.to_string())?;
        self.invites.clear();
        self.believed(at);
        self.keep_invites().map_err(|e| e.to_string())?;
        let row = self.row(&key, &member, &BTreeSet::new());
        Ok((row, told))
    }

    /// Changes the secret.
    pub(crate) fn rotate(&mut self, at: u64) -> Result<Statement, String> {
        let pen = self.pen(None)?;
        let told = self.book.renew_secret(pen.signer, &pen.by, random()?, at);
        self.book.hear(&told, at).map_err(|e| e.to_string())?;
        files::keep_book(&self.store, &self.book).map_err(|e| e.to_string())?;
        self.believed(at);
        self.keep_invites().map_err(|e| e.to_string())?;
        Ok(told)
    }

    /// The root makes this node a registrar, or goes on with that.
    pub(crate) fn appoint(&mut self, root: &RootSeed, at: u64) -> Result<(), String> {
        let signer = root.signer();
        if signer.public() != self.book.charter().root {
            return Err("that is not the root of this office".to_owned());
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
