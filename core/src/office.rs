//! Offices: private networks of nodes that trust one root. What is signed, by whom, and what is believed of it; bytes in, verdicts
//! out. Who is connected to whom is not decided here.
//!
//! An office has a **root** key, which is used seldom and lies encrypted. The root makes **registrars**, which take in all others.
//! Each node has an ed25519 key of its own in each office, and a [`certificate`] that names it. Who must leave is named in a list
//! ([`expulsion`]) that every node passes on and none forgets. A [`secret`] that all members know lets them find each other
//! without anybody else noticing ([`beacon`]). A newcomer shows what an [`invite`] says. What a member believes of all this stands in
//! its [`trust`]; what may be offered to whom, in [`voucher`]s.
//!
//! # What they have in common
//!
//! Integers are little endian, times are seconds since 1970. What is signed begins with the byte 1, the version, and the office's
//! id; it ends with the signer's key (32 bytes) and the signature (64 bytes, ed25519, RFC 8032, checked strictly: no small-order
//! keys, no second form). The signature is of the statement's name, a byte 0, and all bytes before the signature. The names are
//! the contexts in this module ([`CERTIFICATE`] and so on), so that no statement can stand for another. There is one encoding of each
//! statement, and nothing may follow it.
//!
//! # The charter
//!
//! | field | bytes | |
//! |---|---|---|
//! | magic | 8 | `swarmoff` |
//! | version | 1 | 1 |
//! | root | 32 | its public key |
//! | made | 8 | when |
//! | name length, name | 1, name length | 1 to 64 bytes of UTF-8, without control and invisible characters, no space around it |
//!
//! The office's id is the BLAKE3 of the charter in derive-key mode under [`CHARTER`]: whoever knows the id knows the root.

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

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::limits;

/// Names charters.
pub const CHARTER: &str = "swarm 2026-11 office charter v1";
/// Names certificates.
pub const CERTIFICATE: &str = "swarm 2026-11 office certificate v1";
/// Names lists of who was expelled.
pub const EXPULSION: &str = "swarm 2026-11 office expulsion v1";
/// Names secrets.
pub const SECRET: &str = "swarm 2026-11 office secret v1";
/// Names vouchers.
pub const VOUCHER: &str = "swarm 2026-11 office voucher v1";

const MAGIC: &[u8; 8] = b"swarmoff";
const VERSION: u8 = 1;
const SIGNATURE: usize = 64;

/// The id of an office.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfficeId([u8; 32]);

impl OfficeId {
    /// The id made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
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

/// A public key: of a node, or of a root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key made of these bytes, which may be none.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let bytes = data_encoding::BASE32_NOPAD.decode(text.to_uppercase().as_bytes());
        let bytes = bytes.map_err(|_| Rejected::Malformed)?;
        Ok(Self(bytes.try_into().map_err(|_| Rejected::Malformed)?))
    }
}

/// In base32 (RFC 4648, lower case, without filling): short enough to be typed in part.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE32_NOPAD.encode(&self.0).to_lowercase())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}..)", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// What signs: the root's key, or that of a registrar's node. Never shown, wiped when it is dropped.
pub struct Signer(SigningKey);

impl Signer {
    /// The key whose seed this is.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Whom it signs as.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.public())
    }
}

/// Why a statement is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is not in the one form it may have.
    #[error("it is malformed")]
    Malformed,
    /// A later format.
    #[error("it is of a later version: a newer swarm made it")]
    Version,
    /// Of another office.
    #[error("it is of another office")]
    Office,
    /// The signature is not that of who is said to have signed.
    #[error("its signature is not right")]
    Signature,
    /// Signed by somebody who may not.
    #[error("whoever signed it may not do so")]
    Issuer,
    /// It has not begun, beyond what clocks may differ by.
    #[error("it is from the future: a clock is wrong")]
    Future,
    /// It has ended.
    #[error("it has expired")]
    Expired,
    /// Whom it names had to leave.
    #[error("whom it names was expelled")]
    Expelled,
    /// It names somebody else than who shows it.
    #[error("it names another node")]
    Subject,
}

/// What an office is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// Whose signature counts most.
    pub root: PublicKey,
    /// When it was made.
    pub made: u64,
    /// What people call it: for themselves alone, it proves nothing.
    pub name: String,
}

impl Charter {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend(self.root.as_bytes());
        bytes.extend(self.made.to_le_bytes());
        put_name(&mut bytes, &self.name);
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Rejected::Malformed`] or [`Rejected::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut fields = Fields(bytes);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(Rejected::Malformed);
        }
        fields.version()?;
        let charter = Self { root: PublicKey(fields.array()?), made: fields.u64()?, name: fields.name()? };
        fields.end()?;
        Ok(charter)
    }

    /// The office's id.
    #[must_use]
    pub fn id(&self) -> OfficeId {
        OfficeId(blake3::derive_key(CHARTER, &self.encode()))
    }
}

/// Whether this may be the name of an office or a node.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=limits::OFFICE_NAME_BYTES).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || is_invisible(c))
}

/// What makes one name look like another: characters without a shape, and those that change the direction.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The end of a statement: who signs, and the signature.
fn sign(mut statement: Vec<u8>, context: &str, signer: &Signer) -> Vec<u8> {
    statement.extend(signer.public().as_bytes());
    let signature = signer.0.sign(&signed(context, &statement));
    statement.extend(signature.to_bytes());
    statement
}

/// Signs any bytes as the body of a statement, whatever they say: for those who test what readers make of it.
#[must_use]
pub fn sign_body(context: &str, body: &[u8], signer: &Signer) -> Vec<u8> {
    sign(body.to_vec(), context, signer)
}

fn signed(context: &str, statement: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], statement].concat()
}

/// A statement whose signature is right, to be read: its body and who signed it. Whether they may is for the caller to say.
fn open<'a>(bytes: &'a [u8], context: &str, office: OfficeId) -> Result<(Fields<'a>, PublicKey), Rejected> {
    let (statement, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(Rejected::Malformed)?;
    let (body, signer) = statement.split_last_chunk::<32>().ok_or(Rejected::Malformed)?;
    let mut fields = Fields(body);
    fields.version()?;
    if fields.array()? != office.0 {
        return Err(Rejected::Office);
    }
    let key = VerifyingKey::from_bytes(signer).map_err(|_| Rejected::Signature)?;
    key.verify_strict(&signed(context, statement), &Signature::from_bytes(signature))
        .map_err(|_| Rejected::Signature)?;
    Ok((fields, PublicKey(*signer)))
}

/// How a statement of this office begins.
fn begin(office: OfficeId) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(office.as_bytes());
    bytes
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(name.len() as u8);
    bytes.extend(name.as_bytes());
}

/// Bytes, read from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Rejected> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Rejected::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Rejected> {
        self.take(N)?.try_into().map_err(|_| Rejected::Malformed)
    }

    fn u8(&mut self) -> Result<u8, Rejected> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Rejected> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Rejected> {
        self.array().map(u64::from_le_bytes)
    }

    fn version(&mut self) -> Result<(), Rejected> {
        if self.u8()? == VERSION { Ok(()) } else { Err(Rejected::Version) }
    }

    fn name(&mut self) -> Result<String, Rejected> {
        let len = usize::from(self.u8()?);
        let name = std::str::from_utf8(self.take(len)?).map_err(|_| Rejected::Malformed)?;
        if is_name(name) { Ok(name.to_owned()) } else { Err(Rejected::Malformed) }
    }

    /// Nothing is left.
    fn end(self) -> Result<(), Rejected> {
        if self.0.is_empty() { Ok(()) } else { Err(Rejected::Malformed) }
    }
}

#[cfg(test)]
#[path = "office_tests.rs"]
mod tests;
