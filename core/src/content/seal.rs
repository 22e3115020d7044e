//! Encrypted bytes that can be read at any offset: segments of 64 KiB, each sealed on its own.
//!
//! # Bytes
//!
//! The plain bytes are cut into parts of [`BODY`] (65,520) bytes; the last is filled up with zeros. Each part
//! becomes a segment of [`SEGMENT`] (65,536) bytes: the encrypted part and a tag of 16 bytes, by
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a key of 32 bytes and this nonce of 24:
//!
//! | bytes | |
//! |---|---|
//! | 0..16 | the salt, random for each share |
//! | 16 | the part of the share: 0 for its description ([`super::share`]), 1 for its content |
//! | 17..23 | the number of the segment, from 0, little endian |
//! | 23 | 1 for the last segment, else 0 |
//!
//! No bytes become no segments. The number and the mark of the last one make the construction STREAM (Hoang,
//! Reyhanitabar, Rogaway, Vizár 2015): segments cannot be left out, repeated or reordered. Segments begin
//! where chunks may begin, so a chunk is decrypted as soon as it is verified, and a read decrypts only the
//! segments it touches.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use chacha20::R20;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The bytes of a segment.
pub const SEGMENT: usize = 64 << 10;
/// The bytes of a tag.
pub const TAG: usize = 16;
/// The plain bytes of a segment.
pub const BODY: usize = SEGMENT - TAG;
/// The bytes of a key.
pub const KEY: usize = 32;
/// The bytes of a salt.
pub const SALT: usize = 16;
/// The bytes of a nonce.
pub const NONCE: usize = 24;

/// The key of a share. It is never shown, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ShareKey([u8; KEY]);

impl ShareKey {
    /// Returns the key made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the key, which must go only where keys belong.
    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl fmt::Debug for ShareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareKey(..)")
    }
}

/// An error for bytes that were not sealed with this key, or not as this segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was not encrypted with this key, or not as what it is said to be")]
pub struct Forged;

/// The part of a share that is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharePart {
    /// The description in the envelope.
    Description,
    /// The content.
    Content,
}

/// A cipher for the segments of one run of bytes.
///
/// ```
/// use swarm_core::content::seal::{Sealer, ShareKey, SharePart, sealed_len};
///
/// let key = ShareKey::from_bytes([1; 32]);
/// let sealer = Sealer::new(&key, &[2; 16], SharePart::Content, 5);
/// let mut sealed = sealer.seal_all(b"hello", b"");
/// assert_eq!(sealed.len() as u64, sealed_len(5));
/// assert_eq!(sealer.open(0, &mut sealed.clone(), b"")?, b"hello");
/// sealed[0] ^= 1;
/// assert!(sealer.open(0, &mut sealed, b"").is_err());
/// # Ok::<(), swarm_core::content::seal::Forged>(())
/// ```
pub struct Sealer {
    key: LessSafeKey,
    part: SharePart,
    segments: u64,
    len: u64,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("part", &self.part).field("len", &self.len).finish_non_exhaustive()
    }
}

/// Returns the length of `len` plain bytes when they are sealed.
#[must_use]
pub const fn sealed_len(len: u64) -> u64 {
    len.div_ceil(BODY as u64) * SEGMENT as u64
}

impl Sealer {
    /// Returns a sealer for `len` plain bytes.
    #[must_use]
    pub fn new(key: &ShareKey, salt: &[u8; SALT], part: SharePart, len: u64) -> Self {
        Self { key: inner_key(key.expose(), salt), part, segments: len.div_ceil(BODY as u64), len }
    }

    /// Returns the number of plain bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns true if there are no plain bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the range of plain bytes of a segment; it is empty if there is no such segment.
    #[must_use]
    pub fn body(&self, number: u64) -> Range<u64> {
        let start = number.saturating_mul(BODY as u64).min(self.len);
        start..self.len.min(start + BODY as u64)
    }

    /// Seals a segment in place. The plain bytes stand at the start of `segment`, filled up with zeros.
    ///
    /// # Panics
    /// If `segment` does not have [`SEGMENT`] bytes.
    pub fn seal(&self, number: u64, segment: &mut [u8], aad: &[u8]) {
        let (body, tag) = segment.split_at_mut(BODY);
        let sealed = self.key.seal_in_place_separate_tag(self.nonce(number), Aad::from(aad), body);
        tag.copy_from_slice(sealed.expect("fewer bytes than the cipher can count").as_ref());
    }

    /// Opens a segment in place and returns its plain bytes.
    ///
    /// # Errors
    /// [`Forged`], also if the filling is not zeros, because sealing it again must result in the same bytes.
    pub fn open<'a>(&self, number: u64, segment: &'a mut [u8], aad: &[u8]) -> Result<&'a [u8], Forged> {
        let (body, tag) = segment.split_at_mut_checked(BODY).ok_or(Forged)?;
        self.key
            .open_in_place_separate_tag(self.nonce(number), Aad::from(aad), tag, body)
            .map_err(|_| Forged)?;
        let range = self.body(number);
        let (plain, filling) = body.split_at((range.end - range.start) as usize);
        if filling.iter().any(|byte| *byte != 0) { Err(Forged) } else { Ok(plain) }
    }

    /// Returns all of these bytes, sealed.
    #[must_use]
    pub fn seal_all(&self, plain: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; sealed_len(plain.len() as u64) as usize];
        for (number, (segment, body)) in sealed.chunks_mut(SEGMENT).zip(plain.chunks(BODY)).enumerate() {
            segment[..body.len()].copy_from_slice(body);
            self.seal(number as u64, segment, aad);
        }
        sealed
    }

    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[4] = self.part as u8;
        nonce[5..11].copy_from_slice(&number.to_le_bytes()[..6]);
        nonce[11] = u8::from(number + 1 == self.segments);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Returns the cipher of a salt. XChaCha20-Poly1305 is ChaCha20-Poly1305 under a key derived with the nonce's
/// first 16 bytes, and a nonce of four zeros and the other 8.
fn inner_key(key: &[u8; KEY], salt: &[u8; SALT]) -> LessSafeKey {
    let mut derived = chacha20::hchacha::<R20>(&(*key).into(), &(*salt).into());
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, &derived);
    derived.as_mut_slice().zeroize();
    LessSafeKey::new(unbound.expect("a key of 32 bytes"))
}

/// Encrypts a few bytes with XChaCha20-Poly1305. Returns the ciphertext, then the tag.
pub(crate) fn encrypt(key: &[u8; KEY], nonce: &[u8; NONCE], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let (key, nonce) = split(key, nonce);
    let mut bytes = plain.to_vec();
    let sealed = key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut bytes);
    sealed.expect("fewer bytes than the cipher can count");
    bytes
}

/// Decrypts bytes of [`encrypt`]. The returned bytes are wiped when they are dropped.
pub(crate) fn decrypt(
    key: &[u8; KEY],
    nonce: &[u8; NONCE],
    aad: &[u8],
    sealed: &[u8],
) -> Result<zeroize::Zeroizing<Vec<u8>>, Forged> {
    let (key, nonce) = split(key, nonce);
    let mut bytes = zeroize::Zeroizing::new(sealed.to_vec());
    let len = key.open_in_place(nonce, Aad::from(aad), &mut bytes).map_err(|_| Forged)?.len();
    bytes.truncate(len);
    Ok(bytes)
}

fn split(key: &[u8; KEY], nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
    let mut inner = [0; NONCE_LEN];
    inner[4..].copy_from_slice(&nonce[SALT..]);
    let mut salt = [0; SALT];
    salt.copy_from_slice(&nonce[..SALT]);
    (inner_key(key, &salt), Nonce::assume_unique_for_key(inner))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chacha20poly1305::aead::{Aead as _, Payload};
    use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
    use proptest::prelude::*;

    use super::*;

    fn reference(key: [u8; KEY], nonce: [u8; NONCE], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        XChaCha20Poly1305::new(&key.into()).encrypt(&nonce.into(), Payload { msg: plain, aad }).unwrap()
    }

    #[test]
    fn segments_are_what_the_text_says() {
        let (key, salt) = ([7; KEY], [9; SALT]);
        let plain: Vec<u8> = (0..2 * BODY + 5).map(|i| (i % 251) as u8).collect();
        let sealer = Sealer::new(&ShareKey::from_bytes(key), &salt, SharePart::Content, plain.len() as u64);
        let sealed = sealer.seal_all(&plain, b"");
        assert_eq!(sealed.len() as u64, sealed_len(plain.len() as u64));
        for (number, (segment, body)) in sealed.chunks(SEGMENT).zip(plain.chunks(BODY)).enumerate() {
            let mut nonce = [0; NONCE];
            nonce[..SALT].copy_from_slice(&salt);
            nonce[16] = 1;
            nonce[17] = number as u8;
            nonce[23] = u8::from(number == 2);
            let mut filled = body.to_vec();
            filled.resize(BODY, 0);
            assert_eq!(segment, reference(key, nonce, b"", &filled), "segment {number}");
        }
    }

    #[test]
    fn segments_open_only_as_themselves() {
        let (key, salt) = (ShareKey::from_bytes([1; KEY]), [2; SALT]);
        let len = 3 * BODY as u64 - 10;
        let sealer = Sealer::new(&key, &salt, SharePart::Content, len);
        let plain = vec![5; len as usize];
        let sealed = sealer.seal_all(&plain, b"aad");
        let segment = |number: usize| sealed[number * SEGMENT..][..SEGMENT].to_vec();
        for number in 0..3_usize {
            let body = sealer.body(number as u64);
            assert_eq!(
                sealer.open(number as u64, &mut segment(number), b"aad").unwrap(),
                &plain[body.start as usize..body.end as usize]
            );
            assert!(sealer.open(number as u64 + 1, &mut segment(number), b"aad").is_err(), "another place");
            assert!(sealer.open(number as u64, &mut segment(number), b"").is_err(), "other data beside it");
            let mut bent = segment(number);
            bent[100] ^= 1;
            assert!(sealer.open(number as u64, &mut bent, b"aad").is_err(), "a bit");
        }
        let others = [
            Sealer::new(&ShareKey::from_bytes([3; KEY]), &salt, SharePart::Content, len),
            Sealer::new(&key, &[4; SALT], SharePart::Content, len),
            Sealer::new(&key, &salt, SharePart::Description, len),
        ];
        assert!(others.iter().all(|other| other.open(0, &mut segment(0), b"aad").is_err()));
        // If the bytes are cut short, the segment in the last place does not open as the last one.
        let shorter = Sealer::new(&key, &salt, SharePart::Content, 2 * BODY as u64);
        assert!(shorter.open(0, &mut segment(0), b"aad").is_ok());
        assert!(shorter.open(1, &mut segment(1), b"aad").is_err());
        assert!(sealer.open(0, &mut [0; 3], b"aad").is_err(), "no segment at all");
    }

    #[test]
    fn filling_that_is_not_zeros_is_refused() {
        let sealer = Sealer::new(&ShareKey::from_bytes([1; KEY]), &[2; SALT], SharePart::Content, 10);
        let mut segment = vec![0; SEGMENT];
        segment[10] = 1;
        sealer.seal(0, &mut segment, b"");
        assert_eq!(sealer.open(0, &mut segment, b""), Err(Forged));
    }

    #[test]
    fn keys_are_not_shown() {
        let key = ShareKey::from_bytes([0xab; KEY]);
        let sealer = Sealer::new(&key, &[0; SALT], SharePart::Content, 1);
        let shown = format!("{key:?} {sealer:?}").to_lowercase();
        assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
    }

    proptest! {
        #[test]
        fn small_things_are_as_the_reference_has_them(
            key: [u8; KEY], nonce: [u8; NONCE], aad in prop::collection::vec(any::<u8>(), 0..50),
            plain in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let sealed = encrypt(&key, &nonce, &aad, &plain);
            prop_assert_eq!(&sealed, &reference(key, nonce, &aad, &plain));
            prop_assert_eq!(&**decrypt(&key, &nonce, &aad, &sealed).unwrap(), &plain[..]);
            prop_assert!(decrypt(&key, &nonce, b"other", &sealed).is_err() || aad == b"other");
        }
    }
}
