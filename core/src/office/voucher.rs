//! Who may be offered what: without a voucher nothing is offered in an office, and nothing is taken.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`super`] |
//! | issued | 8 | |
//! | ids | 1 | how many follow, 1 to [`limits::VOUCHER_IDS`]: of a directory or a share its own and that of its files' bytes |
//! | each id | 32 | ascending |
//! | members | 4 | how many follow, at most [`limits::VOUCHER_MEMBERS`]; 0: all of the office |
//! | each member | 32 | its key, ascending |
//! | issuer, signature | 32, 64 | of who published it |
//!
//! It goes from holder to holder with the certificates of its issuer. Those must have held when it was made, by its own word, and
//! nobody must have taken them back. For all of the office it takes a publisher; for those it names, any member.

use std::collections::BTreeSet;

use super::certificate::{Chain, Role};
use super::trust::TrustState;
use super::{OfficeId, PublicKey, Rejected, Signer, VOUCHER, begin, open, sign};
use crate::id::ContentId;
use crate::limits;

/// For whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum For {
    /// All of the office.
    All,
    /// These, and who issued it.
    Members(BTreeSet<PublicKey>),
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// When it was made.
    pub issued: u64,
    /// Of what.
    pub ids: BTreeSet<ContentId>,
    /// For whom.
    pub members: For,
}

impl Voucher {
    /// Its bytes, signed.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office);
        bytes.extend(self.issued.to_le_bytes());
        bytes.push(self.ids.len() as u8);
        self.ids.iter().for_each(|id| bytes.extend(id.as_bytes()));
        let nobody = BTreeSet::new();
        let members = if let For::Members(members) = &self.members { members } else { &nobody };
        bytes.extend((members.len() as u32).to_le_bytes());
        members.iter().for_each(|member| bytes.extend(member.as_bytes()));
        sign(bytes, VOUCHER, issuer)
    }

    /// Reads it, with who signed it. Whether that one may is not asked.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        if bytes.len() > limits::VOUCHER_BYTES {
            return Err(Rejected::Malformed);
        }
        let (mut fields, issuer) = open(bytes, VOUCHER, office)?;
        let issued = fields.u64()?;
        let count = usize::from(fields.u8()?);
        if !(1..=limits::VOUCHER_IDS).contains(&count) {
            return Err(Rejected::Malformed);
        }
        let mut ids = BTreeSet::new();
        for _ in 0..count {
            let id = ContentId::from_bytes(fields.array()?);
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(Rejected::Malformed);
            }
            ids.insert(id);
        }
        let count = fields.u32()? as usize;
        if count > limits::VOUCHER_MEMBERS {
            return Err(Rejected::Malformed);
        }
        let mut members = BTreeSet::new();
        for _ in 0..count {
            let member = PublicKey(fields.array()?);
            if members.last().is_some_and(|last| *last >= member) {
                return Err(Rejected::Malformed);
            }
            members.insert(member);
        }
        fields.end()?;
        let members = if members.is_empty() { For::All } else { For::Members(members) };
        Ok((Self { issued, ids, members }, issuer))
    }
}

/// A voucher that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    voucher: Voucher,
    /// Who issued it.
    pub issuer: PublicKey,
    /// What the issuer is called.
    pub name: String,
}

impl Believed {
    /// Reads a voucher and looks whether its issuer may make it.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn read(voucher: &[u8], chain: &Chain, book: &TrustState, now: u64) -> Result<Self, Rejected> {
        let (voucher, issuer) = Voucher::open(voucher, book.office())?;
        if voucher.issued > now.saturating_add(limits::CLOCK_SKEW.as_secs()) {
            return Err(Rejected::Future);
        }
        let certificate = book.verify(chain, voucher.issued)?;
        if certificate.subject != issuer {
            return Err(Rejected::Subject);
        }
        if voucher.members == For::All && certificate.role < Role::Publisher {
            return Err(Rejected::Issuer);
        }
        Ok(Self { voucher, issuer, name: certificate.name })
    }

    /// Whether it is about this.
    #[must_use]
    pub fn is_of(&self, id: ContentId) -> bool {
        self.voucher.ids.contains(&id)
    }

    /// Whether it is for this member.
    #[must_use]
    pub fn is_for(&self, member: PublicKey) -> bool {
        match &self.voucher.members {
            For::All => true,
            For::Members(members) => member == self.issuer || members.contains(&member),
        }
    }

    /// Whom it names; none for all.
    #[must_use]
    pub const fn members(&self) -> Option<&BTreeSet<PublicKey>> {
        match &self.voucher.members {
            For::All => None,
            For::Members(members) => Some(members),
        }
    }
}
