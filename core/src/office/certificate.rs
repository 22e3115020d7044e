//! Who is of an office, and as what.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`super`] |
//! | subject | 32 | the node's public key |
//! | role | 1 | 0 member, 1 publisher, 2 registrar |
//! | serial | 8 | grows with every certificate of this subject; at most 2^40 |
//! | issued, expires | 8, 8 | |
//! | name length, name | 1, name length | what the node is called, as names of offices are |
//! | issuer, signature | 32, 64 | the root's, or of a registrar |
//!
//! The root signs registrars, and others if need be; a registrar signs members and publishers. So what a node shows is one
//! certificate that the root signed, or two: its registrar's, then its own.

use serde::{Deserialize, Serialize};

use super::expulsion::Expelled;
use super::{CERTIFICATE, Charter, OfficeId, PublicKey, Rejected, Signer, begin, open, put_name, sign};
use crate::limits;

/// What somebody may do in an office.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Fetch what is offered to all, and share with those it names.
    Member,
    /// Also offer to all.
    Publisher,
    /// Also take in others, and make them leave.
    Registrar,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Member, Self::Publisher, Self::Registrar];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Publisher => "publisher",
            Self::Registrar => "registrar",
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Of whom.
    pub subject: PublicKey,
    /// As what.
    pub role: Role,
    /// Which of its certificates.
    pub serial: u64,
    /// Since when.
    pub issued: u64,
    /// Until when.
    pub expires: u64,
    /// What it is called.
    pub name: String,
}

impl Certificate {
    /// Its bytes, signed.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office);
        bytes.extend(self.subject.as_bytes());
        bytes.push(self.role as u8);
        for number in [self.serial, self.issued, self.expires] {
            bytes.extend(number.to_le_bytes());
        }
        put_name(&mut bytes, &self.name);
        sign(bytes, CERTIFICATE, issuer)
    }

    /// Reads it, with who signed it, which is as it says. Whether that one may, and whether it holds now, is not asked.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        if bytes.len() > limits::CERTIFICATE_BYTES {
            return Err(Rejected::Malformed);
        }
        let (mut fields, issuer) = open(bytes, CERTIFICATE, office)?;
        let subject = PublicKey(fields.array()?);
        let role = fields.u8()?;
        let role = Role::ALL.into_iter().find(|known| *known as u8 == role).ok_or(Rejected::Malformed)?;
        let (serial, issued, expires) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let name = fields.name()?;
        fields.end()?;
        // There must always be a greater one, by which it is made void.
        if serial > limits::SERIAL {
            return Err(Rejected::Malformed);
        }
        Ok((Self { subject, role, serial, issued, expires, name }, issuer))
    }

    /// Whether it holds at this time; clocks may differ by a day, but nothing is lengthened by that.
    fn holds(&self, now: u64) -> Result<(), Rejected> {
        if self.issued > now.saturating_add(limits::CLOCK_SKEW.as_secs()) {
            return Err(Rejected::Future);
        }
        if now >= self.expires { Err(Rejected::Expired) } else { Ok(()) }
    }
}

/// What a node shows of itself: its certificate, and before it that of the registrar who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain(pub Vec<Vec<u8>>);

impl Chain {
    /// Who it is of, if all of it is believed now.
    ///
    /// # Errors
    /// [`Rejected`]: the first reason why not.
    pub fn verify(&self, charter: &Charter, expelled: &Expelled, now: u64) -> Result<Certificate, Rejected> {
        let office = charter.id();
        match self.0.as_slice() {
            [own] => verify_by_root(own, charter, office, expelled, now),
            [registrar, own] => {
                let registrar = verify_by_root(registrar, charter, office, expelled, now)?;
                let (certificate, issuer) = Certificate::open(own, office)?;
                let may = registrar.role == Role::Registrar && issuer == registrar.subject;
                // Nobody makes of himself what the root has not made him.
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

/// What the root signed, only the root takes back.
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
