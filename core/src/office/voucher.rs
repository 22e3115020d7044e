//! Vouchers: signed statements that say which members may be offered a blob. Without a voucher nothing is
//! offered in an office, and nothing is taken.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`crate::signed`] |
//! | issued | 8 | |
//! | ids | 1 | number of ids, 1 to [`limits::VOUCHER_IDS`] |
//! | each id | 32 | ascending |
//! | members | 4 | number of members, at most [`limits::VOUCHER_MEMBERS`]; 0: the whole office |
//! | each member | 32 | the member's key, ascending |
//! | issuer, signature | 32, 64 | of the publisher |
//!
//! A voucher for a directory or a share names its own id and that of its files' bytes.
//!
//! A voucher goes from holder to holder with the certificates of its issuer. They must have been valid when
//! it was made, by its own time, and must not have been revoked since. A voucher for the whole office needs a
//! publisher; any member may issue one for members that it names.

use std::collections::BTreeSet;

use super::certificate::{Chain, Role};
use super::trust::TrustState;
use super::{OfficeId, Rejected, VOUCHER};
use crate::id::ContentId;
use crate::limits;
use crate::signed::{PublicKey, Signer, begin, open, sign};

/// The members that may be offered a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum For {
    /// The whole office.
    All,
    /// These members, and the issuer.
    Members(BTreeSet<PublicKey>),
}

/// The content of a voucher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// Time of issue, in seconds since 1970.
    pub issued: u64,
    /// The ids of the blobs.
    pub ids: BTreeSet<ContentId>,
    /// The members that may be offered them.
    pub members: For,
}

impl Voucher {
    /// Returns the signed bytes of the voucher.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office.as_bytes());
        bytes.extend(self.issued.to_le_bytes());
        bytes.push(self.ids.len() as u8);
        self.ids.iter().for_each(|id| bytes.extend(id.as_bytes()));
        let nobody = BTreeSet::new();
        let members = if let For::Members(members) = &self.members { members } else { &nobody };
        bytes.extend((members.len() as u32).to_le_bytes());
        members.iter().for_each(|member| bytes.extend(member.as_bytes()));
        sign(bytes, VOUCHER, issuer)
    }

    /// Reads a voucher and checks its signature. Returns it with its signer. Whether that signer may issue it
    /// is checked by [`Believed::read`].
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        if bytes.len() > limits::VOUCHER_BYTES {
            return Err(Rejected::Malformed);
        }
        let (mut fields, issuer) = open(bytes, VOUCHER, office.as_bytes())?;
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
            let member = PublicKey::from_bytes(fields.array()?);
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

/// A voucher whose issuer may make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    voucher: Voucher,
    /// The issuer's key.
    pub issuer: PublicKey,
    /// The issuer's name.
    pub name: String,
}

impl Believed {
    /// Reads a voucher and checks that its issuer may make it.
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

    /// True if the voucher covers this id.
    #[must_use]
    pub fn is_of(&self, id: ContentId) -> bool {
        self.voucher.ids.contains(&id)
    }

    /// True if this member may be offered the blob.
    #[must_use]
    pub fn is_for(&self, member: PublicKey) -> bool {
        match &self.voucher.members {
            For::All => true,
            For::Members(members) => member == self.issuer || members.contains(&member),
        }
    }

    /// Returns the members that the voucher names, `None` if it is for the whole office.
    #[must_use]
    pub const fn members(&self) -> Option<&BTreeSet<PublicKey>> {
        match &self.voucher.members {
            For::All => None,
            For::Members(members) => Some(members),
        }
    }
}
