//! Signed statements: keys, signatures, and the parts that all statements have in common.
//!
//! A statement is bytes that a key signs, and that are stored and passed on as received. The modules above
//! say what a statement means and who may make it: [`crate::office`] does so for offices.
//!
//! # Format
//!
//! Integers are little endian, times are seconds since 1970. A statement begins with the byte 1, the version,
//! and its *scope*: the 32 bytes of the id of the office that it is for. Its other fields follow. Each
//! statement has one encoding, and nothing may follow it.
//!
//! Signatures are ed25519 (RFC 8032) and are checked strictly: keys of small order and second forms of a
//! signature are refused. A signature covers the statement's *context*, a byte 0, and bytes of the statement.
//! Every kind of statement has a context of its own, so that no statement can stand for another.
//!
//! There are two endings:
//!
//! | ending | bytes | covered |
//! |---|---|---|
//! | one signature: [`sign`], [`open`] | 32 key, 64 signature | all before the signature |
//! | several: [`Signatures`] | 1 count; each, ascending: 32 key, 64 signature | all before the count |

mod fields;
mod several;

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

pub use fields::{Fields, begin, is_text, put_text};
pub use several::{MissingSignatures, Signatures};

/// Version of the format, the first byte of a statement.
pub const VERSION: u8 = 1;
/// Bytes of a public key.
const KEY: usize = 32;
/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// A public key: of a node, or of a root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey([u8; KEY]);

impl PublicKey {
    /// Returns the key with these bytes. They are not checked: they may be no point of the curve, and then no
    /// signature of the key is right.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// True if the signature covers this context and these bytes.
    fn has_signed(&self, context: &str, bytes: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(&covered(context, bytes), &Signature::from_bytes(signature)).is_ok()
    }
}

/// A text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 52 characters of base32")]
pub struct BadKey;

impl FromStr for PublicKey {
    type Err = BadKey;

    /// Reads a key as it is displayed. Upper case is accepted too.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = data_encoding::BASE32_NOPAD.decode(text.to_uppercase().as_bytes());
        Ok(Self(bytes.ok().and_then(|bytes| bytes.try_into().ok()).ok_or(BadKey)?))
    }
}

/// Writes the key in base32 (RFC 4648, lower case, without padding): 52 characters, short enough that a
/// person types the first of them.
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

/// A private key that signs statements. It is never displayed, and its memory is wiped when it is dropped.
pub struct Signer(SigningKey);

impl Signer {
    /// Returns the key with this seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns the public key that verifies the signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Returns the signature of this context and these bytes.
    fn signature(&self, context: &str, bytes: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(&covered(context, bytes)).to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.public())
    }
}

/// The subject of a statement that peers pass on. The number travels in messages (`wire`) and stands in files
/// of a node, so it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Topic {
    /// Members that were expelled from an office: an [`crate::office::expulsion::ExpulsionList`].
    Expulsion = 0,
    /// A secret of an office: an [`crate::office::secret::OfficeSecret`].
    Secret = 1,
}

impl Topic {
    /// All topics that this version knows.
    pub const ALL: [Self; 2] = [Self::Expulsion, Self::Secret];

    /// Returns the number of the topic.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the topic with this number, `None` for a topic of a later version.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.number() == number)
    }
}

/// A statement as peers pass it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The subject of the statement.
    pub topic: Topic,
    /// The certificate that allows the signer to make the statement; empty if the root signed.
    pub by: Vec<u8>,
    /// The bytes of the statement, with its signature.
    pub statement: Vec<u8>,
}

/// Reasons why bytes are no statement, whatever they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    /// The bytes do not have the one form that the format allows.
    #[error("it is malformed")]
    Malformed,
    /// The version is a later one.
    #[error("it is of a later version: a newer swarm made it")]
    Version,
    /// The statement is for another scope, for example another office.
    #[error("it is for something else")]
    Scope,
    /// The signature is not one of the key beside it.
    #[error("its signature is not right")]
    Signature,
}

/// Returns the bytes that a signature covers.
fn covered(context: &str, bytes: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], bytes].concat()
}

/// Appends the signer's key and its signature to a statement's fields. `body` should come from [`begin`], but
/// any bytes can be signed, also such that [`open`] refuses.
#[must_use]
pub fn sign(mut body: Vec<u8>, context: &str, signer: &Signer) -> Vec<u8> {
    body.extend(signer.public().as_bytes());
    let signature = signer.signature(context, &body);
    body.extend(signature);
    body
}

/// Checks the signature of a statement with one signature. Returns the fields after the scope, and the
/// signer. The caller decides whether that signer may make the statement.
///
/// # Errors
/// [`BadStatement`].
pub fn open<'a>(
    bytes: &'a [u8],
    context: &str,
    scope: &[u8; 32],
) -> Result<(Fields<'a>, PublicKey), BadStatement> {
    let (signed, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(BadStatement::Malformed)?;
    let (body, signer) = signed.split_last_chunk::<KEY>().ok_or(BadStatement::Malformed)?;
    let fields = Fields::within(body, scope)?;
    let signer = PublicKey(*signer);
    if signer.has_signed(context, signed, signature) {
        Ok((fields, signer))
    } else {
        Err(BadStatement::Signature)
    }
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
