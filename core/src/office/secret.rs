//! The secret of an office: 32 random bytes that all members know, and by which they recognise each other.
//!
//! The secret encrypts nothing that is fetched, and makes nobody a member. An expelled member may know it
//! until it is changed.
//!
//! | field | bytes | |
//! |---|---|---|
//! | version, office | 1, 32 | see [`crate::signed`] |
//! | epoch | 4 | grows with every change |
//! | issued | 8 | |
//! | secret | 32 | |
//! | issuer, signature | 32, 64 | of the root, or of a registrar |
//!
//! It is told to members only, in their sessions. The greatest secret counts: by epoch, then time, then
//! bytes. So two registrars that change it at the same time agree in the end.
//!
//! Three keys are derived from it by BLAKE3 in derive-key mode, each under a context of its own, so that
//! nothing seen of one says anything about another:
//!
//! | context | use |
//! |---|---|
//! | `swarm 2026-11 office door v1` | a key for proofs in the handshake, see below |
//! | `swarm 2026-11 office lan v1` | the key that encrypts announcements on the local network |
//! | `swarm 2026-11 office tracker v1` | a key for names at trackers, see below |
//!
//! A proof is the keyed BLAKE3 of the byte 0 (of the caller) or 1 (of the called node), the caller's public
//! key and the called node's. Trackers are told the keyed BLAKE3 of an id in place of a key derived from the
//! id alone.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{OfficeId, Rejected, SECRET};
use crate::id::ContentId;
use crate::signed::{PublicKey, Signer, begin, open, sign};

const DOOR: &str = "swarm 2026-11 office door v1";
const LAN: &str = "swarm 2026-11 office lan v1";
const TRACKER: &str = "swarm 2026-11 office tracker v1";

/// The secret of an office. It is never displayed, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct OfficeSecret {
    /// The number of the secret: it grows with every change.
    pub epoch: u32,
    /// Time of issue, in seconds since 1970.
    pub issued: u64,
    secret: [u8; 32],
}

impl fmt::Debug for OfficeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfficeSecret(epoch {}, ..)", self.epoch)
    }
}

/// An end of a connection. The numbers are part of the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeSide {
    /// The node that dialled.
    Caller,
    /// The node that was dialled.
    Called,
}

impl OfficeSecret {
    /// Returns a secret with these random bytes.
    #[must_use]
    pub const fn new(epoch: u32, issued: u64, secret: [u8; 32]) -> Self {
        Self { epoch, issued, secret }
    }

    /// Returns the signed bytes of the secret. Only members may see them.
    #[must_use]
    pub fn sign(&self, office: OfficeId, issuer: &Signer) -> Vec<u8> {
        let mut bytes = begin(office.as_bytes());
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.issued.to_le_bytes());
        bytes.extend(self.secret);
        sign(bytes, SECRET, issuer)
    }

    /// Reads a secret and checks its signature. Returns it with its signer. Whether that signer may issue it
    /// is not checked.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(bytes: &[u8], office: OfficeId) -> Result<(Self, PublicKey), Rejected> {
        let (mut fields, issuer) = open(bytes, SECRET, office.as_bytes())?;
        let (epoch, issued, secret) = (fields.u32()?, fields.u64()?, fields.array()?);
        fields.end()?;
        Ok((Self { epoch, issued, secret }, issuer))
    }

    /// Returns the proof that one end of a connection sends before anything else. Only a node that knows the
    /// secret can make it. It is bound to both keys, which the TLS handshake has proven before.
    #[must_use]
    pub fn door(&self, end: HandshakeSide, caller: PublicKey, called: PublicKey) -> [u8; 32] {
        door(&self.secret, end, caller, called)
    }

    /// Returns the key that encrypts announcements on the local network.
    #[must_use]
    pub fn lan_key(&self) -> [u8; 32] {
        blake3::derive_key(LAN, &self.secret)
    }

    /// Returns the key under which trackers know an id.
    #[must_use]
    pub fn tracker_key(&self, id: ContentId) -> [u8; 32] {
        *blake3::keyed_hash(&blake3::derive_key(TRACKER, &self.secret), id.as_bytes()).as_bytes()
    }
}

/// Returns the proof for a secret of an office or of an invitation.
pub(super) fn door(secret: &[u8], end: HandshakeSide, caller: PublicKey, called: PublicKey) -> [u8; 32] {
    let key = blake3::derive_key(DOOR, secret);
    let said = [&[end as u8][..], caller.as_bytes(), called.as_bytes()].concat();
    *blake3::keyed_hash(&key, &said).as_bytes()
}
