//! Shares: encrypted content that anybody with the link can read, and that others can hold and pass on
//! without knowing what it is.
//!
//! A share is two blobs. Its *content*, a plain blob like any other, is the bytes of a file, or of a
//! directory's files end to end, sealed in segments ([`super::seal`]). Its *envelope* names the content for
//! everybody, and describes it for the holders of the key: kind, name, length, manifest. The share's id is
//! the envelope's, hashed in a mode of its own ([`CONTEXT`]): no file and no directory has the same id.
//!
//! # The envelope's bytes
//!
//! | field | bytes | |
//! |---|---|---|
//! | magic | 8 | `swarmshr` |
//! | version | 1 | 1 |
//! | nothing | 7 | zeros |
//! | content | 32 | BLAKE3 of the sealed content |
//! | content length | 8 | bytes of the sealed content, little endian: whole segments |
//! | salt | 16 | see [`super::seal`]; the same for the description and the content |
//! | description | segments | sealed; the 72 bytes before are authenticated with each segment |
//!
//! The description, before it is sealed:
//!
//! | field | bytes | |
//! |---|---|---|
//! | kind | 1 | 0 file, 1 directory |
//! | length | 8 | plain bytes of the content, little endian |
//! | name length, name | 2, name length | the name, UTF-8, 1 to 255 bytes; its length little endian |
//! | manifest length, manifest | 4, manifest length | of a directory ([`super::manifest`]); 0 for a file |
//! | nothing | the rest | zeros to the end of the last segment |
//!
//! The payload in the manifest is the sealed content, with its plain length.
//!
//! Everybody can still see that it is a share, its length and that of its description in steps of 64 KiB, who
//! asks for it and when.
//!
//! # The key
//!
//! The key is 32 random bytes, new for each share, after the `#` of a link: `#key=` and the bytes in
//! base64url without filling (RFC 4648). Programs do not send that part of a link to anybody.
//!
//! With a password it is `#locked=` and these bytes instead, in the same encoding:
//!
//! | field | bytes | |
//! |---|---|---|
//! | version | 1 | 1: Argon2id (RFC 9106, version 0x13) and XChaCha20-Poly1305 |
//! | memory | 4 | KiB, little endian |
//! | passes | 1 | |
//! | lanes | 1 | |
//! | salt | 16 | random |
//! | nonce | 24 | random |
//! | wrapped key | 48 | the encrypted key, and a tag |
//!
//! The wrapping key is the 32 bytes that Argon2id makes of the password (UTF-8 in NFC) and the salt. The
//! share's id and the 47 bytes before the wrapped key are authenticated with it.
//!
//! So the password stands between the key and the owner of the link, helpers that hold the content have
//! nothing to guess it by, and it can be changed without encrypting the content again. A program that opens a
//! link spends no more than [`limits::LOCK_KIB`] and [`limits::LOCK_PASSES`], whatever the link says.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::manifest::{Manifest, ManifestError};
use super::path::sanitize_name;
use super::seal::{
    BODY, Forged, KEY, NONCE, SALT, SEGMENT, Sealer, ShareKey, SharePart, decrypt, encrypt, sealed_len,
};
use crate::id::ContentId;
use crate::limits;

/// The BLAKE3 derive-key context of share ids. It is part of the format and never changes.
pub const CONTEXT: &str = "swarm 2026-11 share envelope v1";

const MAGIC: &[u8; 8] = b"swarmshr";
const VERSION: u8 = 1;
/// The bytes of an envelope before the description.
const HEAD: usize = 8 + 1 + 7 + 32 + 8 + SALT;
/// The bytes of a description's fields of fixed length.
const FIXED: usize = 1 + 8 + 2 + 4;

const LOCK_VERSION: u8 = 1;
const LOCK_HEAD: usize = 1 + 4 + 1 + 1 + SALT + NONCE;
/// The bytes of a locked key.
pub const LOCKED: usize = LOCK_HEAD + KEY + 16;

/// The public part of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// The id of the sealed content.
    pub content: ContentId,
    /// The length of the sealed content in bytes.
    pub content_len: u64,
    /// The salt, which is the start of each nonce.
    pub salt: [u8; SALT],
}

/// The sealed part of an envelope, for holders of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name of the content: untrusted, as any name from elsewhere.
    pub name: String,
    /// The length of the plain content in bytes.
    pub len: u64,
    /// The files of a directory, whose payload is the sealed content; `None` for a file.
    pub manifest: Option<Manifest>,
}

/// The reason why bytes are no envelope, or none that this node can open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The bytes are no envelope; the field says why.
    #[error("bad share: {0}")]
    Bad(&'static str),
    /// The envelope has a later format, whose version is the field.
    #[error("a share of format version {0}, this swarm reads version {VERSION}: a newer swarm made it")]
    UnknownVersion(u8),
    /// The key does not open the envelope.
    #[error("the key of this link does not open the share: the link is damaged, or was put together wrongly")]
    Key,
    /// The manifest of the directory is bad.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Outside {
    /// Reads the public part of an envelope, without looking at the rest.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn decode(envelope: &[u8]) -> Result<Self, ShareError> {
        if envelope.len() > limits::ENVELOPE_BYTES {
            return Err(ShareError::Bad("it is larger than allowed"));
        }
        let head = envelope.get(..HEAD).ok_or(ShareError::Bad("it ends too early"))?;
        let (magic, rest) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ShareError::Bad("it does not begin as one"));
        }
        if rest[0] != VERSION {
            return Err(ShareError::UnknownVersion(rest[0]));
        }
        let described = envelope.len() - HEAD;
        if rest[1..8].iter().any(|byte| *byte != 0) || described == 0 || !described.is_multiple_of(SEGMENT) {
            return Err(ShareError::Bad("it is not in the form of one"));
        }
        let content_len = u64::from_le_bytes(array(&rest[40..48]));
        if !content_len.is_multiple_of(SEGMENT as u64) || content_len > limits::BLOB_BYTES {
            return Err(ShareError::Bad("its content has a length that no content has"));
        }
        Ok(Self {
            content: ContentId::from_bytes(array(&rest[8..40])),
            content_len,
            salt: array(&rest[48..]),
        })
    }

    fn encode(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(MAGIC);
        head[8] = VERSION;
        head[16..48].copy_from_slice(self.content.as_bytes());
        head[48..56].copy_from_slice(&self.content_len.to_le_bytes());
        head[56..].copy_from_slice(&self.salt);
        head
    }

    /// Returns the sealer of the content, which has `len` plain bytes.
    #[must_use]
    pub fn sealer(&self, key: &ShareKey, len: u64) -> Sealer {
        Sealer::new(key, &self.salt, SharePart::Content, len)
    }
}

/// Makes an envelope.
///
/// # Errors
/// [`ShareError`] for a directory that cannot be described, or a name that is too short or too long.
pub fn seal_envelope(
    outside: &Outside,
    description: &Description,
    key: &ShareKey,
) -> Result<Vec<u8>, ShareError> {
    let plain = description.encode()?;
    let head = outside.encode();
    let sealer = Sealer::new(key, &outside.salt, SharePart::Description, plain.len() as u64);
    Ok([&head[..], &sealer.seal_all(&plain, &head)].concat())
}

/// Opens an envelope.
///
/// # Errors
/// [`ShareError`] if the bytes are no envelope, the key does not open it, or it describes something
/// impossible.
pub fn open_envelope(envelope: &[u8], key: &ShareKey) -> Result<(Outside, Description), ShareError> {
    let outside = Outside::decode(envelope)?;
    let (head, sealed) = envelope.split_at(HEAD);
    let segments = sealed.len() / SEGMENT;
    let sealer = Sealer::new(key, &outside.salt, SharePart::Description, (segments * BODY) as u64);
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let mut segment = Zeroizing::new(vec![0; SEGMENT]);
    for (number, bytes) in sealed.chunks(SEGMENT).enumerate() {
        segment.copy_from_slice(bytes);
        let body = sealer.open(number as u64, &mut segment, head).map_err(|Forged| ShareError::Key)?;
        plain.extend_from_slice(body);
    }
    let description = Description::decode(&plain, &outside)?;
    Ok((outside, description))
}

impl Description {
    /// Returns the bytes to be sealed: whole segments, because the exact length would reveal that of the
    /// name.
    ///
    /// # Errors
    /// [`ShareError`] for a directory that cannot be described, or a name that is too short or too long.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ShareError> {
        let manifest = self.manifest.as_ref().map(Manifest::encode).transpose()?.unwrap_or_default();
        let name = self.name.as_bytes();
        if name.is_empty() || name.len() > limits::COMPONENT_BYTES {
            return Err(ShareError::Bad("its name is none"));
        }
        let len = (FIXED + name.len() + manifest.len()).div_ceil(BODY) * BODY;
        let mut plain = Zeroizing::new(Vec::with_capacity(len));
        plain.push(u8::from(self.manifest.is_some()));
        plain.extend(self.len.to_le_bytes());
        plain.extend((name.len() as u16).to_le_bytes());
        plain.extend(name);
        plain.extend((manifest.len() as u32).to_le_bytes());
        plain.extend(&manifest);
        plain.resize(len, 0);
        Ok(plain)
    }

    /// Reads the bytes that were sealed.
    ///
    /// # Errors
    /// [`ShareError::Bad`] or [`ShareError::Manifest`].
    pub fn decode(plain: &[u8], outside: &Outside) -> Result<Self, ShareError> {
        let bad = |text| move || ShareError::Bad(text);
        let short = bad("its description ends too early");
        let (kind, rest) = plain.split_first().ok_or_else(short)?;
        let (len, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (name_len, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let name_len = usize::from(u16::from_le_bytes(*name_len));
        let (name, rest) = rest.split_at_checked(name_len).ok_or_else(short)?;
        let (manifest_len, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let manifest_len = u32::from_le_bytes(*manifest_len) as usize;
        let (manifest, filling) = rest.split_at_checked(manifest_len).ok_or_else(short)?;
        if !plain.len().is_multiple_of(BODY) || filling.len() >= BODY || filling.iter().any(|byte| *byte != 0)
        {
            return Err(ShareError::Bad("its description is not in the one form it may have"));
        }
        let name = std::str::from_utf8(name).map_err(|_| ShareError::Bad("its name is not UTF-8"))?;
        if name.is_empty() || name.len() > limits::COMPONENT_BYTES {
            return Err(ShareError::Bad("its name is none"));
        }
        let len = u64::from_le_bytes(*len);
        // A length above the limit would overflow when it is rounded up.
        if len > limits::BLOB_BYTES || sealed_len(len) != outside.content_len {
            return Err(ShareError::Bad("its content has another length than it says"));
        }
        let manifest = match kind {
            0 if manifest.is_empty() => None,
            1 => Some(Manifest::decode(manifest)?),
            _ => return Err(ShareError::Bad("it is of no kind that there is")),
        };
        if manifest.as_ref().is_some_and(|m| m.payload != outside.content || m.payload_len != len) {
            return Err(ShareError::Bad("its files are not those of its content"));
        }
        Ok(Self { name: name.to_owned(), len, manifest })
    }

    /// Returns the name in a form that is safe on a disk.
    #[must_use]
    pub fn safe_name(&self) -> String {
        sanitize_name(&self.name)
    }
}

/// A secret text: a password, or a link that may have a key. It is never shown, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Returns the text, which must go only where secrets belong.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// The part of a link after the `#`.
#[derive(Clone, PartialEq, Eq)]
pub enum Fragment {
    /// The key.
    Key(ShareKey),
    /// The key, locked with a password.
    Locked(Box<[u8; LOCKED]>),
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Key(_)) { "Key(..)" } else { "Locked(..)" })
    }
}

/// The reason why a password does not open a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnlockError {
    /// The password is not the one that the key was locked with, or the link is damaged.
    #[error("wrong password (or a damaged link)")]
    Password,
    /// The link asks for more memory or time than this program spends.
    #[error(
        "opening this link would take {kib} KiB of memory and {passes} passes: more than the {most} KiB and {passes_most} that are \
         allowed; whoever made it means no good, or made a mistake",
        most = limits::LOCK_KIB, passes_most = limits::LOCK_PASSES
    )]
    Cost {
        /// The memory in KiB.
        kib: u32,
        /// The number of passes.
        passes: u32,
    },
    /// This machine does not have enough memory.
    #[error("opening this link takes {kib} KiB of memory, and there is not so much")]
    Memory {
        /// The memory in KiB.
        kib: u32,
    },
    /// The link is locked in a later format.
    #[error("the link is locked in a way that this version does not know")]
    Version,
}

/// Locks a key with a password, for the share of this id. `salt` and `nonce` must be random.
///
/// # Errors
/// [`UnlockError::Memory`] if this machine does not have enough memory.
pub fn lock(
    key: &ShareKey,
    id: ContentId,
    password: &str,
    salt: &[u8; SALT],
    nonce: &[u8; NONCE],
) -> Result<Fragment, UnlockError> {
    let mut locked = [0; LOCKED];
    locked[0] = LOCK_VERSION;
    locked[1..5].copy_from_slice(&limits::LOCK_KIB_OURS.to_le_bytes());
    (locked[5], locked[6]) = (limits::LOCK_PASSES_OURS, 1);
    locked[7..23].copy_from_slice(salt);
    locked[23..LOCK_HEAD].copy_from_slice(nonce);
    let wrapping = stretch(password, &locked)?;
    let wrapped = encrypt(&wrapping, nonce, &bound(id, &locked), key.expose());
    locked[LOCK_HEAD..].copy_from_slice(&wrapped);
    Ok(Fragment::Locked(Box::new(locked)))
}

/// Opens a locked key.
///
/// # Errors
/// [`UnlockError`].
pub fn unlock(locked: &[u8; LOCKED], id: ContentId, password: &str) -> Result<ShareKey, UnlockError> {
    let wrapping = stretch(password, locked)?;
    let nonce = array(&locked[23..LOCK_HEAD]);
    let key = decrypt(&wrapping, &nonce, &bound(id, locked), &locked[LOCK_HEAD..]);
    let key = key.map_err(|Forged| UnlockError::Password)?;
    Ok(ShareKey::from_bytes(array(&key)))
}

/// Returns the wrapping key that Argon2id makes of a password.
fn stretch(password: &str, locked: &[u8; LOCKED]) -> Result<Zeroizing<[u8; KEY]>, UnlockError> {
    let (kib, passes, lanes) = (u32::from_le_bytes(array(&locked[1..5])), locked[5].into(), locked[6].into());
    if locked[0] != LOCK_VERSION {
        return Err(UnlockError::Version);
    }
    let cost = UnlockError::Cost { kib, passes };
    if kib > limits::LOCK_KIB || passes > limits::LOCK_PASSES {
        return Err(cost);
    }
    let params = Params::new(kib, passes, lanes, Some(KEY)).map_err(|_| cost)?;
    let password: Zeroizing<String> = Zeroizing::new(password.nfc().collect());
    // The memory is requested beforehand: a stranger's link must not end the process.
    let blocks = params.block_count();
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(blocks).map_err(|_| UnlockError::Memory { kib })?;
    memory.resize(blocks, Block::default());
    let mut key = Zeroizing::new([0; KEY]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), &locked[7..23], &mut *key, &mut memory)
        .map_err(|_| cost)?;
    Ok(key)
}

/// Returns the bytes that are authenticated with a wrapped key, so that it opens nothing else.
fn bound(id: ContentId, locked: &[u8; LOCKED]) -> Vec<u8> {
    [id.as_bytes(), &locked[..LOCK_HEAD]].concat()
}

/// Writes the fragment as it stands in a link, without the `#`.
impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => {
                let text = Zeroizing::new(BASE64URL_NOPAD.encode(key.expose()));
                write!(f, "key={}", *text)
            }
            Self::Locked(locked) => write!(f, "locked={}", BASE64URL_NOPAD.encode(&**locked)),
        }
    }
}

impl Fragment {
    /// Reads the text after a `#`. Returns `None` if it is no key, without showing the text: it may be one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(value.as_bytes()).ok()?);
        match name {
            "key" => Some(Self::Key(ShareKey::from_bytes(bytes.as_slice().try_into().ok()?))),
            "locked" => Some(Self::Locked(Box::new(bytes.as_slice().try_into().ok()?))),
            _ => None,
        }
    }
}

/// Returns the bytes as an array; their number must be right.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
