//! Certificates: which node is a member of an office, and in which role.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`crate::signed`] |
//! | subject | 32 | the node's public key |
//! | role | 1 | 0 member, 1 publisher, 2 registrar |
//! | serial | 8 | grows with every certificate of this subject; at most 2^40 |
//! | issued, expires | 8, 8 | |
//! | name length, name | 1, name length | the node's name, see [`super::is_name`] |
//! | issuer, signature | 32, 64 | of the root, or of a registrar |
//!
//! The root signs certificates of registrars, and of others if need be. A registrar signs certificates of
//! members and publishers. So a node presents either one certificate, which the root signed, or two: its
//! registrar's, then its own.

use serde::{Deserialize, Serialize};

use super::expulsion::Expelled;
use super::{CERTIFICATE, Charter, OfficeId, Rejected};
use crate::limits;
use crate::signed::{PublicKey, Signer, begin, open, put_text, sign};

/// The role of a node in an office. A greater role includes the lesser ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May fetch blobs that are offered to all, and share blobs with members that it names.
    Member,
    /// May also offer blobs to the whole office.
    Publisher,
    /// May also admit and expel members.
    Registrar,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Publisher, Self::Registrar];

    /// Returns the name of the role in commands and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Publisher => "publisher",
            Self::Registrar => "registrar",
        }
    }
}

/// The content of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The node's public key.
    pub subject: PublicKey,
    /// The node's role.
    pub role: Role,
    /// A number that grows with every certificate of this subject.
    pub serial: u64,
    /// Time of issue, in seconds since 1970.
    pub issued: u64,
    /// End of validity, in seconds since 1970.
    pub expires: u64,
    /// The node's name.
    pub name: String,
}

impl Certificate {
    /// Returns the signed bytes of the certificate.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office.as_bytes());
        bytes.extend(self.subject.as_bytes());
        bytes.push(self.role as u8);
        for number in [self.serial, self.issued, self.expires] {
            bytes.extend(number.to_le_bytes());
        }
        put_text(&mut bytes, &self.name);
        sign(bytes, CERTIFICATE, issuer)
    }

    /// Reads a certificate and checks its signature. Returns it with its signer. Whether that signer may
    /// issue it, and whether it is valid now, is checked by [`Chain::verify`].
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        if bytes.len() > limits::CERTIFICATE_BYTES {
            return Err(Rejected::Malformed);
        }
        let (mut fields, issuer) = open(bytes, CERTIFICATE, office.as_bytes())?;
        let subject = PublicKey::from_bytes(fields.array()?);
        let role = fields.u8()?;
        let role = Role::ALL.into_iter().find(|known| *known as u8 == role).ok_or(Rejected::Malformed)?;
        let (serial, issued, expires) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let name = fields.text(limits::OFFICE_NAME_BYTES)?;
        fields.end()?;
        // An expulsion voids all smaller serials, so there must always be a greater one.
        if serial > limits::SERIAL {
            return Err(Rejected::Malformed);
        }
        Ok((Self { subject, role, serial, issued, expires, name }, issuer))
    }

    /// Checks that the certificate is valid at this time. Its start may lie in the future by as much as
    /// clocks differ; its end is not moved by that.
    fn holds(&self, now: u64) -> Result<(), Rejected> {
        if self.issued > now.saturating_add(limits::CLOCK_SKEW.as_secs()) {
            return Err(Rejected::Future);
        }
        if now >= self.expires { Err(Rejected::Expired) } else { Ok(()) }
    }
}

/// The certificates that a node presents: its own, and before it the one of the registrar that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain(pub Vec<Vec<u8>>);

impl Chain {
    /// Verifies the chain at this time. Returns the node's own certificate.
    ///
    /// # Errors
    /// [`Rejected`]: the first reason found.
    pub fn verify(&self, charter: &Charter, expelled: &Expelled, now: u64) -> Result<Certificate, Rejected> {
        let office = charter.id();
        match self.0.as_slice() {
            [own] => verify_by_root(own, charter, office, expelled, now),
            [registrar, own] => {
                let registrar = verify_by_root(registrar, charter, office, expelled, now)?;
                let (certificate, issuer) = Certificate::open(own, office)?;
                let may = registrar.role == Role::Registrar && issuer == registrar.subject;
                // A registrar must not issue itself a certificate that the root did not give it.
                let of_itself = certificate.subject == registrar.subject;
                if !may || of_itself || certificate.role == Role::Registrar {
                    return Err(Rejected::Issuer);
                }
                certificate.holds(now)?;
                if expelled.by_anybody(certificate.subject, certificate.serial) {
                    return Err(Rejected::Expelled);
                }
                Ok(certificate)
            }
            _ => Err(Rejected::Malformed),
        }
    }
}

/// Verifies a certificate that the root signed. Only the root can revoke it.
fn verify_by_root(
    bytes: &[u8],
    charter: &Charter,
    office: OfficeId,
    expelled: &Expelled,
    now: u64,
) -> Result<Certificate, Rejected> {
    let (certificate, issuer) = Certificate::open(bytes, office)?;
    if issuer != charter.root {
        return Err(Rejected::Issuer);
    }
    certificate.holds(now)?;
    if expelled.by_root(certificate.subject, certificate.serial) {
        return Err(Rejected::Expelled);
    }
    Ok(certificate)
}
