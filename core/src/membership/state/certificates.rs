//! Renewal of certificates, and certificates that members present in their sessions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::OfficeState;
use crate::limits;
use crate::membership::{files, peer_of};
use crate::net::PeerId;
use crate::office::Rejected;
use crate::office::certificate::{Certificate, Chain, Role};
use crate::office::membership::Membership;
use crate::signed::PublicKey;

/// Least age of a certificate that is renewed, in seconds.
const RENEW_PAUSE: u64 = 3600;
/// Least time between two requests for a new certificate.
const ASK_PAUSE: Duration = Duration::from_secs(60);

/// The effect of certificates that a member presents in its session.
pub(crate) enum Certified {
    /// They are newer ones of the member.
    Newer(Membership),
    /// They are new ones of this node, and valid from now on.
    Ours,
    /// Nothing is new.
    Nothing,
}

impl OfficeState {
    /// Returns new certificates for a member. `None` if its certificate is too new, or this node is no
    /// registrar.
    pub(crate) fn renew(&mut self, membership: &Membership, at: u64) -> Option<Chain> {
        let old = &membership.certificate;
        let due = old.issued.saturating_add(RENEW_PAUSE) < at;
        if old.role == Role::Registrar || !due || !self.holds(membership, at) {
            return None;
        }
        let pen = self.pen(None).ok()?;
        let serial = at.max(old.serial.saturating_add(1)).max(self.book.expelled().floor(old.subject));
        let fresh = Certificate { serial, issued: at, expires: at + limits::MEMBER_SECS, ..old.clone() };
        let chain = Chain(vec![pen.by, fresh.sign(self.book.office(), pen.signer)]);
        self.book.verify(&chain, at).ok()?;
        self.members.met(&fresh, &chain, at);
        Some(chain)
    }

    /// True if a registrar should be asked for a new certificate now. Counts as the request.
    pub(crate) fn wants_renewal(&mut self, at: u64) -> bool {
        let due = self.is_old(at) && self.asked.is_none_or(|asked| asked.elapsed() >= ASK_PAUSE);
        if due {
            self.asked = Some(Instant::now());
        }
        due
    }

    /// Verifies certificates that a peer presents in its session: newer ones of its own, or new ones of this
    /// node.
    ///
    /// # Errors
    /// [`Rejected`], also if they are those of a third node.
    pub(crate) fn certified(
        &mut self,
        from: PublicKey,
        chain: Chain,
        at: u64,
    ) -> Result<Certified, Rejected> {
        let certificate = self.book.verify(&chain, at)?;
        if certificate.subject == from {
            self.members.met(&certificate, &chain, at);
            self.answer_searches();
            return Ok(Certified::Newer(Membership { certificate, chain }));
        }
        if certificate.subject != self.own.subject {
            return Err(Rejected::Subject);
        }
        // A registrar must not lower this node's role.
        if certificate.serial > self.own.serial && certificate.role >= self.own.role {
            self.became(certificate, chain, at);
            return Ok(Certified::Ours);
        }
        Ok(Certified::Nothing)
    }

    /// Takes over a new certificate of this node.
    pub(super) fn became(&mut self, own: Certificate, chain: Chain, at: u64) {
        if let Err(error) = files::keep_chain(&self.store, &chain) {
            tracing::error!(%error, "the new certificate cannot be kept");
        }
        (self.own, self.chain) = (own, chain);
        self.members.met(&self.own, &self.chain, at);
        self.stand(at);
    }

    /// Returns the members that should be dialled however many are connected: those that lack the newest
    /// secret, and registrars if this node's certificate is old.
    pub(crate) fn urgent(&self, at: u64) -> BTreeSet<PeerId> {
        let mut urgent: BTreeSet<PeerId> = self.ways.behind.borrow().keys().copied().collect();
        if self.is_old(at) {
            let registrars = self.members.iter().filter(|(_, member)| member.role == Role::Registrar);
            urgent.extend(registrars.filter_map(|(key, _)| peer_of(*key)));
        }
        urgent
    }

    /// True if this node's certificate is old enough to be renewed by a registrar.
    fn is_old(&self, at: u64) -> bool {
        self.own.role != Role::Registrar && at.saturating_sub(self.own.issued) >= limits::RENEW_AFTER_SECS
    }
}
