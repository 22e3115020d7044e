//! What all members of an office know and nobody else: 32 random bytes, by which they recognise each other. It is no key to
//! anything that is fetched and makes nobody a member; who had to leave may know it until it is changed.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`super`] |
//! | epoch | 4 | grows with every change |
//! | issued | 8 | |
//! | secret | 32 | |
//! | issuer, signature | 32, 64 | the root's, or of a registrar |
//!
//! It is told to members only, in their sessions. The greatest counts: by epoch, then time, then bytes, so that two registrars who
//! change it at once agree in the end.
//!
//! What is made of it, each by BLAKE3 in derive-key mode under a name of its own, so that nothing seen of one says anything of
//! another:
//!
//! | name | what for |
//! |---|---|
//! | `swarm 2026-11 office door v1` | a key; a node at the door shows the keyed BLAKE3 of the byte 0 (who called) or 1 (who was called), the caller's key and the called one's |
//! | `swarm 2026-11 office lan v1` | a key that announcements on the local network are encrypted with |
//! | `swarm 2026-11 office tracker v1` | a key; trackers are told the keyed BLAKE3 of an id in place of what is made of the id alone |

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{OfficeId, PublicKey, Rejected, SECRET, Signer, begin, open, sign};
use crate::id::ContentId;

const DOOR: &str = "swarm 2026-11 office door v1";
const LAN: &str = "swarm 2026-11 office lan v1";
const TRACKER: &str = "swarm 2026-11 office tracker v1";

/// See the module's text. Never shown, wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct OfficeSecret {
    /// Which it is.
    pub epoch: u32,
    /// Since when.
    pub issued: u64,
    secret: [u8; 32],
}

impl fmt::Debug for OfficeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfficeSecret(epoch {}, ..)", self.epoch)
    }
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeSide {
    /// Who called.
    Caller,
    /// Who was called.
    Called,
}

impl OfficeSecret {
    /// A secret of random bytes.
    #[must_use]
    pub const fn new(epoch: u32, issued: u64, secret: [u8; 32]) -> Self {
        Self { epoch, issued, secret }
    }

    /// Its bytes, signed: for members alone.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office);
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.issued.to_le_bytes());
        bytes.extend(self.secret);
        sign(bytes, SECRET, issuer)
    }

    /// Reads it, with who signed it. Whether that one may is not asked.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        let (mut fields, issuer) = open(bytes, SECRET, office)?;
        let (epoch, issued, secret) = (fields.u32()?, fields.u64()?, fields.array()?);
        fields.end()?;
        Ok((Self { epoch, issued, secret }, issuer))
    }

    /// What one end of a connection shows the other before anything else is said: nobody else could, and both are who they
    /// are by the handshake before.
    #[must_use]
    pub fn door(&self, end: HandshakeSide, caller: PublicKey, called: PublicKey) -> [u8; 32] {
        door(&self.secret, end, caller, called)
    }

    /// What announcements on the local network are encrypted with.
    #[must_use]
    pub fn lan_key(&self) -> [u8; 32] {
        blake3::derive_key(LAN, &self.secret)
    }

    /// What trackers are told in place of an id.
    #[must_use]
    pub fn tracker_key(&self, id: ContentId) -> [u8; 32] {
        *blake3::keyed_hash(&blake3::derive_key(TRACKER, &self.secret), id.as_bytes()).as_bytes()
    }
}

/// The same with what an invitation has in place of the secret.
pub(super) fn door(secret: &[u8], end: HandshakeSide, caller: PublicKey, called: PublicKey) -> [u8; 32] {
    let key = blake3::derive_key(DOOR, secret);
    let said = [&[end as u8][..], caller.as_bytes(), called.as_bytes()].concat();
    *blake3::keyed_hash(&key, &said).as_bytes()
}
