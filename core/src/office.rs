//! Offices: private networks of nodes that trust one root key. This module says what is signed, by whom, and
//! what a member believes of it. It takes bytes and returns verdicts; connections are decided elsewhere.
//!
//! An office has a **root** key, which is used seldom and is stored encrypted. The root makes **registrars**,
//! and they admit all other members. Each node has an ed25519 key of its own in each office, and a
//! [`certificate`] that names it. An [`expulsion`] list names members that must leave; every node passes the
//! lists on and none forgets them. All members know a [`secret`], by which they find each other without
//! anybody else noticing ([`beacon`]). A newcomer presents an [`invite`]. The statements that a member
//! believes are its [`trust`] state. A [`voucher`] says which members may be offered a blob.
//!
//! # Statements
//!
//! The statements of an office are [signed](crate::signed) by one key. Their scope is the office's id, and
//! their contexts are the constants of this module ([`CERTIFICATE`] and so on).
//!
//! # The charter
//!
//! | field | bytes | |
//! |---|---|---|
//! | magic | 8 | `swarmoff` |
//! | version | 1 | 1 |
//! | root | 32 | the root's public key |
//! | made | 8 | time of founding |
//! | name length, name | 1, name length | 1 to 64 bytes of UTF-8, see [`is_name`] |
//!
//! The office's id is the BLAKE3 of the charter in derive-key mode under [`CHARTER`]. So the id proves the
//! root key.

pub mod beacon;
pub mod certificate;
pub mod expulsion;
pub mod invite;
pub mod membership;
pub mod root;
pub mod secret;
pub mod trust;
pub mod voucher;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::signed::{BadStatement, Fields, PublicKey, VERSION, is_text, put_text};

/// Derive-key context of office ids.
pub const CHARTER: &str = "swarm 2026-11 office charter v1";
/// Context of certificates.
pub const CERTIFICATE: &str = "swarm 2026-11 office certificate v1";
/// Context of expulsion lists.
pub const EXPULSION: &str = "swarm 2026-11 office expulsion v1";
/// Context of secrets.
pub const SECRET: &str = "swarm 2026-11 office secret v1";
/// Context of vouchers.
pub const VOUCHER: &str = "swarm 2026-11 office voucher v1";

const MAGIC: &[u8; 8] = b"swarmoff";

/// The id of an office: a hash of its charter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfficeId([u8; 32]);

impl OfficeId {
    /// Returns the id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for OfficeId {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| Rejected::Malformed)?;
        Ok(Self(bytes.try_into().map_err(|_| Rejected::Malformed)?))
    }
}

impl fmt::Display for OfficeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for OfficeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfficeId({}..)", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// Reasons for which a statement is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The bytes do not have the one form that the format allows.
    #[error("it is malformed")]
    Malformed,
    /// The version is a later one.
    #[error("it is of a later version: a newer swarm made it")]
    Version,
    /// The statement is for another office.
    #[error("it is of another office")]
    Office,
    /// The signature is not one of the key beside it.
    #[error("its signature is not right")]
    Signature,
    /// The signer may not make this statement.
    #[error("whoever signed it may not do so")]
    Issuer,
    /// The statement begins later than clocks may differ.
    #[error("it is from the future: a clock is wrong")]
    Future,
    /// The certificate has expired.
    #[error("it has expired")]
    Expired,
    /// The member that the certificate names was expelled.
    #[error("whom it names was expelled")]
    Expelled,
    /// The statement names another node than the one that presents it.
    #[error("it names another node")]
    Subject,
}

impl From<BadStatement> for Rejected {
    fn from(error: BadStatement) -> Self {
        match error {
            BadStatement::Malformed => Self::Malformed,
            BadStatement::Version => Self::Version,
            BadStatement::Scope => Self::Office,
            BadStatement::Signature => Self::Signature,
        }
    }
}

/// The founding statement of an office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// The root's public key.
    pub root: PublicKey,
    /// Time of founding, in seconds since 1970.
    pub made: u64,
    /// Name of the office for people. It proves nothing.
    pub name: String,
}

impl Charter {
    /// Returns the bytes of the charter.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend(self.root.as_bytes());
        bytes.extend(self.made.to_le_bytes());
        put_text(&mut bytes, &self.name);
        bytes
    }

    /// Reads a charter.
    ///
    /// # Errors
    /// [`Rejected::Malformed`] or [`Rejected::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut fields = Fields::new(bytes);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(Rejected::Malformed);
        }
        fields.version()?;
        let (root, made) = (PublicKey::from_bytes(fields.array()?), fields.u64()?);
        let name = fields.text(limits::OFFICE_NAME_BYTES)?;
        fields.end()?;
        Ok(Self { root, made, name })
    }

    /// Returns the office's id.
    #[must_use]
    pub fn id(&self) -> OfficeId {
        OfficeId(blake3::derive_key(CHARTER, &self.encode()))
    }
}

/// True if an office or a node may have this name: 1 to [`limits::OFFICE_NAME_BYTES`] bytes that pass
/// [`is_text`].
#[must_use]
pub fn is_name(name: &str) -> bool {
    is_text(name, limits::OFFICE_NAME_BYTES)
}

#[cfg(test)]
#[path = "office_tests.rs"]
mod tests;
