//! Invitations: the data with which a newcomer finds a registrar, recognises it, and is recognised by it.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | office | 32 | the office's id |
//! | secret | 16 | random; a node that knows it may join, as often and as long as the registrar allows |
//! | addresses | 1 | number of addresses, at most [`limits::INVITE_ADDRS`] |
//! | each: length, address | 1, length | a multiaddr, binary |
//! | check | 4 | the first bytes of the BLAKE3 of all before: a code that was cut off is recognised |
//!
//! The text form is `swarm-join:` and these bytes in base64url without padding (RFC 4648).
//!
//! The secret has a *name*: the first 16 bytes of its BLAKE3 in derive-key mode under [`NAME`]. The newcomer
//! sends the name first, and the registrar looks the secret up by it. Then both prove that they know the
//! secret, as members prove that they know the office's secret ([`super::secret`]). The registrar also
//! presents its certificate, which the office's id in the invitation verifies.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::OfficeId;
use super::secret::{HandshakeSide, door};
use crate::limits;
use crate::signed::{BadStatement, Fields, PublicKey, VERSION};

/// Derive-key context of the names of invitation secrets.
pub const NAME: &str = "swarm 2026-11 office invitation v1";
const SCHEME: &str = "swarm-join:";
/// Bytes of the check.
const CHECK: usize = 4;

/// The secret of an invitation, which admits its holder. It is never displayed, and its memory is wiped when
/// it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret([u8; 16]);

impl InviteSecret {
    /// Returns the secret with these random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the name of the secret. It may be sent in the open: it says nothing about the secret.
    #[must_use]
    pub fn name(&self) -> [u8; 16] {
        let mut name = [0; 16];
        name.copy_from_slice(&blake3::derive_key(NAME, &self.0)[..16]);
        name
    }

    /// Returns the proof that one end of a connection sends: see [`super::secret::OfficeSecret::door`].
    #[must_use]
    pub fn door(&self, end: HandshakeSide, caller: PublicKey, called: PublicKey) -> [u8; 32] {
        door(&self.0, end, caller, called)
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(..)")
    }
}

/// The content of an invitation.
///
/// ```
/// use swarm_core::office::OfficeId;
/// use swarm_core::office::invite::{Invite, InviteSecret};
///
/// let office = OfficeId::from_bytes([7; 32]);
/// let invite = Invite { office, secret: InviteSecret::from_bytes([1; 16]), addrs: Vec::new() };
/// let code = invite.to_string();
/// assert!(code.starts_with("swarm-join:"));
/// assert_eq!(code.parse::<Invite>(), Ok(invite));
/// assert!(code[..code.len() - 1].parse::<Invite>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The office to join.
    pub office: OfficeId,
    /// The secret that admits the newcomer.
    pub secret: InviteSecret,
    /// Addresses at which the registrar may be: binary multiaddrs, untrusted.
    pub addrs: Vec<Vec<u8>>,
}

/// A text that is no invitation. The error does not contain the text, because it may be a real invitation
/// with one wrong letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadInvite {
    /// The text begins otherwise.
    #[error("an invitation begins with \"{SCHEME}\"")]
    Scheme,
    /// The text was cut off or changed.
    #[error("the invitation is cut off or damaged: copy all of it")]
    Damaged,
    /// The version is a later one.
    #[error("the invitation is of a later version: a newer swarm made it")]
    Version,
}

impl Invite {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let addrs: Vec<_> = self
            .addrs
            .iter()
            .filter(|addr| (1..=limits::INVITE_ADDR_BYTES).contains(&addr.len()))
            .take(limits::INVITE_ADDRS)
            .collect();
        let len = 1 + 32 + 16 + 1 + addrs.iter().map(|addr| 1 + addr.len()).sum::<usize>() + CHECK;
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        bytes.push(VERSION);
        bytes.extend(self.office.as_bytes());
        bytes.extend(self.secret.0);
        bytes.push(addrs.len() as u8);
        for addr in addrs {
            bytes.push(addr.len() as u8);
            bytes.extend(addr);
        }
        let check = blake3::hash(&bytes);
        bytes.extend(&check.as_bytes()[..CHECK]);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, BadInvite> {
        let (body, check) = bytes.split_last_chunk::<CHECK>().ok_or(BadInvite::Damaged)?;
        if blake3::hash(body).as_bytes()[..CHECK] != *check {
            return Err(BadInvite::Damaged);
        }
        let damaged = |_: BadStatement| BadInvite::Damaged;
        let mut fields = Fields::new(body);
        fields.version().map_err(|_| BadInvite::Version)?;
        let office = OfficeId(fields.array().map_err(damaged)?);
        let secret = InviteSecret(fields.array().map_err(damaged)?);
        let count = fields.u8().map_err(damaged)?;
        if usize::from(count) > limits::INVITE_ADDRS {
            return Err(BadInvite::Damaged);
        }
        let mut addrs = Vec::with_capacity(count.into());
        for _ in 0..count {
            let len = usize::from(fields.u8().map_err(damaged)?);
            if !(1..=limits::INVITE_ADDR_BYTES).contains(&len) {
                return Err(BadInvite::Damaged);
            }
            addrs.push(fields.take(len).map_err(damaged)?.to_vec());
        }
        fields.end().map_err(damaged)?;
        Ok(Self { office, secret, addrs })
    }
}

/// Writes the invitation as text. Addresses beyond the limits are left out.
impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Zeroizing::new(BASE64URL_NOPAD.encode(&self.encode()));
        write!(f, "{SCHEME}{}", *text)
    }
}

impl FromStr for Invite {
    type Err = BadInvite;

    /// Reads an invitation. Spaces around the text are ignored, because copying may add them.
    fn from_str(text: &str) -> Result<Self, BadInvite> {
        let text = text.trim().strip_prefix(SCHEME).ok_or(BadInvite::Scheme)?;
        if text.len() > limits::INVITE_BYTES {
            return Err(BadInvite::Damaged);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadInvite::Damaged)?;
        Self::decode(&Zeroizing::new(bytes))
    }
}
