//! The two forms in which the root's key is kept: locked with a password on a registrar's disk, and as a text
//! on paper.
//!
//! On disk it is locked like the key of a share ([`crate::content::share`]), with the office's id in place of
//! the share's. The text is `swarm-root:` and base64url without padding (RFC 4648) of:
//!
//! | field | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | office | 32 | the office's id |
//! | seed | 32 | the seed of the key |
//! | check | 4 | the first bytes of the BLAKE3 of all before |

use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Charter, OfficeId};
use crate::content::seal::ShareKey;
use crate::content::share::{Fragment, LOCKED, UnlockError, lock, unlock};
use crate::id::ContentId;
use crate::signed::{Signer, VERSION};

const SCHEME: &str = "swarm-root:";
const LEN: usize = 1 + 32 + 32 + 4;

/// The seed of a root's key. It is never displayed, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RootSeed([u8; 32]);

impl std::fmt::Debug for RootSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootSeed(..)")
    }
}

impl RootSeed {
    /// Returns the seed with these random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the root's key.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::from_seed(&self.0)
    }

    /// Locks the seed with a password. `salt` and `nonce` must be random.
    ///
    /// # Errors
    /// There is no memory for the password hash.
    pub fn lock(
        &self,
        office: OfficeId,
        password: &str,
        salt: &[u8; 16],
        nonce: &[u8; 24],
    ) -> Result<Vec<u8>, UnlockError> {
        let id = ContentId::from_bytes(*office.as_bytes());
        match lock(&ShareKey::from_bytes(self.0), id, password, salt, nonce)? {
            Fragment::Locked(locked) => Ok(locked.to_vec()),
            Fragment::Key(_) => Err(UnlockError::Version),
        }
    }

    /// Opens the bytes that [`RootSeed::lock`] returned.
    ///
    /// # Errors
    /// [`UnlockError`].
    pub fn unlock(locked: &[u8], charter: &Charter, password: &str) -> Result<Self, UnlockError> {
        let locked: &[u8; LOCKED] = locked.try_into().map_err(|_| UnlockError::Version)?;
        let id = ContentId::from_bytes(*charter.id().as_bytes());
        let seed = Self(*unlock(locked, id, password)?.expose());
        if seed.signer().public() == charter.root { Ok(seed) } else { Err(UnlockError::Password) }
    }

    /// Returns the text that a person writes down.
    #[must_use]
    pub fn backup(&self, office: OfficeId) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LEN));
        bytes.push(VERSION);
        bytes.extend(office.as_bytes());
        bytes.extend(self.0);
        let check = blake3::hash(&bytes);
        bytes.extend(&check.as_bytes()[..4]);
        Zeroizing::new(format!("{SCHEME}{}", *Zeroizing::new(BASE64URL_NOPAD.encode(&bytes))))
    }
}

/// A text that is no backup of a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBackup {
    /// The text begins otherwise.
    #[error("a backup of an office's root begins with \"{SCHEME}\"")]
    Scheme,
    /// The text was cut off or mistyped.
    #[error("the backup is cut off or has a mistake in it: compare it with what was written down")]
    Damaged,
}

/// The content of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The office's id.
    pub office: OfficeId,
    /// The seed of the root's key.
    pub seed: RootSeed,
}

impl FromStr for Backup {
    type Err = BadBackup;

    /// Reads a backup. Spaces and line ends are ignored, because the text was typed from paper.
    fn from_str(text: &str) -> Result<Self, BadBackup> {
        let text: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        let text = text.strip_prefix(SCHEME).ok_or(BadBackup::Scheme)?;
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadBackup::Damaged)?);
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(BadBackup::Damaged)?;
        if bytes.len() != LEN || blake3::hash(body).as_bytes()[..4] != *check || body[0] != VERSION {
            return Err(BadBackup::Damaged);
        }
        let array = |at: usize| -> [u8; 32] { body[at..at + 32].try_into().unwrap_or([0; 32]) };
        Ok(Self { office: OfficeId::from_bytes(array(1)), seed: RootSeed(array(33)) })
    }
}
