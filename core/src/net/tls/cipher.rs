//! Key of one direction of a TLS 1.3 connection: it seals and opens records.
//!
//! AES-GCM comes from two libraries, because each is twice as fast as the other on some processors: aws-lc
//! with AVX-512, ring with wide AES instructions but without AVX-512 (AMD's Zen 3, Intel's desktop
//! processors; measured on a Zen 3 in records of 16 KiB: 6.7 GB/s instead of 3.3). Elsewhere both are equally
//! fast.

use std::io;

use aws_lc_rs::aead::{self as aws, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305};
use ring::aead as wide;
use rustls::crypto::cipher::{self, Iv};
use rustls::{ConnectionTrafficSecrets, Error};

/// Bytes of a record's header: type, version, length.
pub(super) const HEADER: usize = 5;
/// Bytes of a record's authentication tag, in all three ciphers.
pub(super) const TAG: usize = 16;
/// Bytes that encryption adds to the plaintext of a record: header, content type, tag.
pub(super) const OVERHEAD: usize = HEADER + 1 + TAG;
/// Content type that the header of every encrypted record shows.
pub(super) const DATA: u8 = 23;

/// Key in the form of the library that uses it.
enum CipherKey {
    Aws(aws::LessSafeKey),
    Wide(Box<wide::LessSafeKey>),
}

/// Key of one direction. Each nonce is made from the record's number and used once.
pub(super) struct Protection {
    key: CipherKey,
    iv: Iv,
    /// Records sealed or opened so far.
    pub(super) seq: u64,
}

/// Location of the plaintext of a record.
pub(super) enum Plaintext {
    /// Bytes at the start of the reader's buffer.
    Moved(usize),
    /// Bytes at the start of the former ciphertext.
    InPlace(usize),
}

impl Protection {
    /// Makes a key with the library that is faster on this processor.
    pub(super) fn new(seq: u64, secrets: &ConnectionTrafficSecrets) -> Result<Self, Error> {
        Self::with(seq, secrets, has_wide_aes())
    }

    fn with(seq: u64, secrets: &ConnectionTrafficSecrets, wide: bool) -> Result<Self, Error> {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
        let aws = |algorithm, key: &[u8]| -> Result<CipherKey, Error> {
            let key = aws::UnboundKey::new(algorithm, key).map_err(|_| Error::EncryptError)?;
            Ok(CipherKey::Aws(aws::LessSafeKey::new(key)))
        };
        let ring = |algorithm, key: &[u8]| -> Result<CipherKey, Error> {
            let key = wide::UnboundKey::new(algorithm, key).map_err(|_| Error::EncryptError)?;
            Ok(CipherKey::Wide(Box::new(wide::LessSafeKey::new(key))))
        };
        let (key, iv) = match secrets {
            Aes128Gcm { key, iv } if wide => (ring(&wide::AES_128_GCM, key.as_ref()), iv),
            Aes256Gcm { key, iv } if wide => (ring(&wide::AES_256_GCM, key.as_ref()), iv),
            Aes128Gcm { key, iv } => (aws(&AES_128_GCM, key.as_ref()), iv),
            Aes256Gcm { key, iv } => (aws(&AES_256_GCM, key.as_ref()), iv),
            Chacha20Poly1305 { key, iv } => (aws(&CHACHA20_POLY1305, key.as_ref()), iv),
            _ => return Err(Error::General("an unknown cipher".into())),
        };
        let iv: [u8; 12] = iv.as_ref().try_into().map_err(|_| Error::EncryptError)?;
        Ok(Self { key: key?, iv: Iv::from(iv), seq })
    }

    fn next_nonce(&mut self) -> [u8; 12] {
        let nonce = cipher::Nonce::new(&self.iv, self.seq);
        // This is out of reach: keys change after 2^24 records, and a peer needs 2^64 records to get here.
        self.seq = self.seq.checked_add(1).expect("fewer than 2^64 records under one key");
        nonce.0
    }

    /// Seals `plain` as one record at the start of `out`, and returns the record's length in bytes.
    pub(super) fn seal(&mut self, content: u8, plain: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let (header, body) = out[..plain.len() + OVERHEAD].split_at_mut(HEADER);
        let len = body.len() as u16;
        header.copy_from_slice(&[DATA, 3, 3, (len >> 8) as u8, len as u8]);
        let nonce = self.next_nonce();
        let sealed = match &self.key {
            CipherKey::Aws(key) => {
                let (cipher, rest) = body.split_at_mut(plain.len());
                let (nonce, aad) = (aws::Nonce::assume_unique_for_key(nonce), aws::Aad::from(&*header));
                key.seal_out_of_place_scatter(nonce, aad, plain, cipher, &[content], rest).is_ok()
            }
            CipherKey::Wide(key) => {
                let (inner, tag) = body.split_at_mut(plain.len() + 1);
                copy(plain, inner);
                inner[plain.len()] = content;
                let (nonce, aad) = (wide::Nonce::assume_unique_for_key(nonce), wide::Aad::from(&*header));
                let made = key.seal_in_place_separate_tag(nonce, aad, inner);
                made.map(|made| tag.copy_from_slice(made.as_ref())).is_ok()
            }
        };
        if sealed { Ok(plain.len() + OVERHEAD) } else { Err(io::Error::other("TLS: cannot encrypt")) }
    }

    /// Opens the body of a record. The plaintext goes into `into` if that is long enough and the library can;
    /// the result is `None` for a forged record.
    pub(super) fn open(
        &mut self,
        header: [u8; HEADER],
        body: &mut [u8],
        into: &mut [u8],
    ) -> Option<Plaintext> {
        let nonce = self.next_nonce();
        let len = body.len().checked_sub(TAG)?;
        match &self.key {
            CipherKey::Aws(key) => {
                let (nonce, aad) = (aws::Nonce::assume_unique_for_key(nonce), aws::Aad::from(header));
                if let Some(into) = into.get_mut(..len) {
                    let (cipher, tag) = body.split_at(len);
                    key.open_separate_gather(nonce, aad, cipher, tag, into).ok()?;
                    return Some(Plaintext::Moved(len));
                }
                key.open_in_place(nonce, aad, body).ok()?;
            }
            CipherKey::Wide(key) => {
                let (nonce, aad) = (wide::Nonce::assume_unique_for_key(nonce), wide::Aad::from(header));
                key.open_in_place(nonce, aad, body).ok()?;
            }
        }
        Some(Plaintext::InPlace(len))
    }
}

/// Copies bytes in pieces of 1 KiB. The C library copies larger pieces with `rep movsb`, which is slow on
/// some processors when the target lies a few bytes behind the source within a page (figures in
/// `yamux/buffer.rs`).
pub(super) fn copy(from: &[u8], into: &mut [u8]) {
    const PIECE: usize = 1 << 10;
    for (from, into) in from.chunks(PIECE).zip(into.chunks_mut(PIECE)) {
        into[..from.len()].copy_from_slice(from);
    }
}

/// True if ring computes AES-GCM faster on this processor than aws-lc does; the module's text has the
/// figures.
fn has_wide_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("vaes") && has!("vpclmulqdq") && has!("avx2") && !has!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustls::crypto::cipher::AeadKey;

    use super::*;

    fn secrets() -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([7; 32]), iv: Iv::from([5; 12]) }
    }

    #[test]
    fn both_libraries_make_the_same_records() {
        for (plain, wide) in [0, 1, 100, 16 << 10].into_iter().flat_map(|len| [(len, true), (len, false)]) {
            let plain = vec![3; plain];
            let mut records = [vec![0; plain.len() + OVERHEAD], vec![0; plain.len() + OVERHEAD]];
            for (record, wide) in records.iter_mut().zip([true, false]) {
                let mut sealing = Protection::with(9, &secrets(), wide).unwrap();
                assert_eq!(sealing.seal(DATA, &plain, record).unwrap(), record.len());
                assert_eq!(sealing.seq, 10);
            }
            assert_eq!(records[0], records[1]);
            let [mut record, mut forged] = records;
            let header = *record.first_chunk().unwrap();
            let opening = || Protection::with(9, &secrets(), wide).unwrap();
            let mut into = vec![0; plain.len() + 1];
            let opened = opening().open(header, &mut record[HEADER..], &mut into).unwrap();
            let found = match opened {
                Plaintext::Moved(len) => &into[..len],
                Plaintext::InPlace(len) => &record[HEADER..HEADER + len],
            };
            assert_eq!((&found[..plain.len()], found[plain.len()..].to_vec()), (&plain[..], vec![DATA]));
            forged[HEADER] ^= 1;
            assert!(opening().open(header, &mut forged[HEADER..], &mut into).is_none());
        }
    }
}
