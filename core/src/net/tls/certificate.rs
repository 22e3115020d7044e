//! Certificates of peers: an X.509 certificate, signed with its own key, whose libp2p extension holds the key
//! of the peer and a signature of the certificate's key with it. That signature proves the peer.
//!
//! libp2p's own reader refuses a certificate whose dates do not hold now. A machine without a battery for its
//! clock would then reach nobody, and the dates prove nothing: every node signs its certificate itself, anew
//! at each start. So this reader does not look at them.

use libp2p::PeerId;
use libp2p::identity::PublicKey;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::SubjectPublicKeyInfoDer;

/// Reason why a certificate proves no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateFault {
    /// The bytes are no certificate, or one without exactly one libp2p extension.
    #[error("its certificate cannot be read")]
    Malformed,
    /// An extension that must be understood is not.
    #[error("its certificate has a critical extension that is not known here")]
    CriticalExtension,
    /// The certificate is not signed with its own key, or with an algorithm that is too weak or unknown.
    #[error("its certificate is not signed with its own key")]
    NotSelfSigned,
    /// The peer's key is of a kind that this program does not verify.
    #[error("it has {0}: keys of this kind are not spoken here, only Ed25519")]
    KeyKind(&'static str),
    /// The peer's key has not signed the key of the certificate.
    #[error("its certificate does not prove its key")]
    NotProven,
}

/// A certificate that proves a peer.
#[derive(Debug)]
pub(crate) struct PeerCertificate<'a> {
    /// The peer.
    pub(crate) peer: PeerId,
    /// The key of the certificate, with which the peer signs the handshake.
    pub(crate) key: SubjectPublicKeyInfoDer<'a>,
}

/// Text before the certificate's key in the message that the peer signs; from the libp2p TLS spec.
const PREFIX: &[u8] = b"libp2p-tls-handshake:";

/// Identifier of the libp2p extension, 1.3.6.1.4.1.53594.1.1.
const EXTENSION: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01];

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// Tag of the version of a certificate, `[0]`.
const VERSION: u8 = 0xa0;
/// Tags of the unique ids of issuer and subject, `[1]` and `[2]`, which nobody uses any more.
const UNIQUE_IDS: [u8; 2] = [0x81, 0x82];
/// Tag of the extensions, `[3]`.
const EXTENSIONS: u8 = 0xa3;

/// Elements in DER (ITU-T X.690) that follow each other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Takes the next element, which must have this tag: all of it, and its contents.
    fn whole(&mut self, tag: u8) -> Result<(&'a [u8], &'a [u8]), CertificateFault> {
        self.optional(tag).ok_or(CertificateFault::Malformed)
    }

    /// Takes the next element, which must have this tag, and returns its contents.
    fn take(&mut self, tag: u8) -> Result<&'a [u8], CertificateFault> {
        self.whole(tag).map(|(_, contents)| contents)
    }

    /// Takes the next element if it has this tag. Lengths have three bytes at most: no certificate is longer.
    fn optional(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (&[found, first], rest) = self.0.split_first_chunk::<2>()?;
        let more = match first {
            0..=0x7f => 0,
            0x81..=0x83 => usize::from(first & 0x0f),
            _ => return None,
        };
        let number = rest.get(..more)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let len = if more == 0 { usize::from(first) } else { number };
        // The shortest form of a length is the only one in DER.
        let is_shortest = more == 0 || (number > 0x7f && number >> (8 * (more - 1)) > 0);
        let contents = rest.get(more..more.checked_add(len)?)?;
        let (all, left) = self.0.split_at_checked(2 + more + len)?;
        if found != tag || !is_shortest {
            return None;
        }
        self.0 = left;
        Some((all, contents))
    }

    fn ends(&self) -> Result<(), CertificateFault> {
        if self.0.is_empty() { Ok(()) } else { Err(CertificateFault::Malformed) }
    }
}

/// Returns the bytes of a BIT STRING of whole bytes.
fn bits(contents: &[u8]) -> Result<&[u8], CertificateFault> {
    contents.strip_prefix(&[0]).ok_or(CertificateFault::Malformed)
}

/// Reads a certificate and checks all of its signatures. Its dates may be any.
///
/// # Errors
/// [`CertificateFault`] if it does not prove a peer.
pub(crate) fn read(certificate: &[u8]) -> Result<PeerCertificate<'_>, CertificateFault> {
    let mut outer = Der(certificate);
    let mut parts = Der(outer.take(SEQUENCE)?);
    outer.ends()?;
    let (signed, contents) = parts.whole(SEQUENCE)?;
    let algorithm = parts.take(SEQUENCE)?;
    let signature = bits(parts.take(BIT_STRING)?)?;
    parts.ends()?;

    let mut fields = Der(contents);
    fields.take(VERSION)?;
    fields.take(INTEGER)?;
    if fields.take(SEQUENCE)? != algorithm {
        return Err(CertificateFault::Malformed);
    }
    // Issuer, dates, subject: nobody vouches for them.
    for _ in 0..3 {
        fields.take(SEQUENCE)?;
    }
    let (key, key_parts) = fields.whole(SEQUENCE)?;
    for tag in UNIQUE_IDS {
        let _ = fields.optional(tag);
    }
    let mut extensions = Der(fields.take(EXTENSIONS)?);
    fields.ends()?;
    let proof = extension(extensions.take(SEQUENCE)?)?;
    extensions.ends()?;

    check_self_signature(key_parts, algorithm, signed, signature)?;
    let peer = proven_peer(proof, key)?;
    Ok(PeerCertificate { peer, key: SubjectPublicKeyInfoDer::from(key) })
}

/// Returns the contents of the libp2p extension, of which there must be exactly one.
fn extension(list: &[u8]) -> Result<&[u8], CertificateFault> {
    let (mut list, mut found) = (Der(list), None);
    while !list.0.is_empty() {
        let mut parts = Der(list.take(SEQUENCE)?);
        let id = parts.take(OBJECT_ID)?;
        let critical = parts.optional(BOOLEAN).is_some_and(|(_, value)| value != [0]);
        let value = parts.take(OCTET_STRING)?;
        parts.ends()?;
        if id == EXTENSION {
            if found.replace(value).is_some() {
                return Err(CertificateFault::Malformed);
            }
        } else if critical {
            return Err(CertificateFault::CriticalExtension);
        }
    }
    found.ok_or(CertificateFault::Malformed)
}

/// Checks that a certificate is signed with its own key, by an algorithm whose hash has 256 bits or more.
fn check_self_signature(
    key: &[u8],
    algorithm: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<(), CertificateFault> {
    let mut parts = Der(key);
    let kind = parts.take(SEQUENCE)?;
    let key = bits(parts.take(BIT_STRING)?)?;
    parts.ends()?;
    let known = aws_lc_rs::default_provider().signature_verification_algorithms;
    let fits = known
        .all
        .iter()
        .find(|one| *one.signature_alg_id() == *algorithm && *one.public_key_alg_id() == *kind)
        .ok_or(CertificateFault::NotSelfSigned)?;
    fits.verify_signature(key, signed, signature).map_err(|_| CertificateFault::NotSelfSigned)
}

/// Returns the peer whose key has signed the key of the certificate.
fn proven_peer(proof: &[u8], key: &[u8]) -> Result<PeerId, CertificateFault> {
    let mut outer = Der(proof);
    let mut parts = Der(outer.take(SEQUENCE)?);
    outer.ends()?;
    let (public, signature) = (parts.take(OCTET_STRING)?, parts.take(OCTET_STRING)?);
    parts.ends()?;
    let public = PublicKey::try_decode_protobuf(public).map_err(|_| kind_of(public))?;
    if !public.verify(&[PREFIX, key].concat(), signature) {
        return Err(CertificateFault::NotProven);
    }
    Ok(public.to_peer_id())
}

/// Returns the fault of a public key that cannot be decoded: its message begins with the number of its kind.
fn kind_of(public: &[u8]) -> CertificateFault {
    match public {
        [0x08, 0, ..] => CertificateFault::KeyKind("an RSA key"),
        [0x08, 2, ..] => CertificateFault::KeyKind("a secp256k1 key"),
        [0x08, 3, ..] => CertificateFault::KeyKind("an ECDSA key"),
        [0x08, kind, ..] if *kind > 3 => CertificateFault::KeyKind("a key of a later kind"),
        _ => CertificateFault::Malformed,
    }
}
