//! Certificates of peers: forged ones, ones of any date, and keys that are not spoken.

use super::*;

/// DER of one element: its tag and contents.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match contents.len() {
        short @ ..=0x7f => out.push(short as u8),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(contents);
    out
}

/// Splits the first DER element off: (header and contents, length of the header, rest).
fn der_split(bytes: &[u8]) -> (&[u8], usize, &[u8]) {
    let (header, length) = match bytes[1] {
        0x81 => (3, usize::from(bytes[2])),
        0x82 => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
        short => (2, usize::from(short)),
    };
    (&bytes[..header + length], header, &bytes[header + length..])
}

/// Changes the signed part of `certificate` and signs it again with its own `key`: only a check of the libp2p
/// extension can now find the change.
fn resign(
    certificate: &[u8],
    key: &PrivateKeyDer<'_>,
    change: impl FnOnce(&mut [u8]),
) -> CertificateDer<'static> {
    let (_, header, _) = der_split(certificate);
    let (signed, _, rest) = der_split(&certificate[header..]);
    let (algorithm, _, _) = der_split(rest);
    let mut signed = signed.to_vec();
    change(&mut signed);
    let signer = aws_lc_rs::sign::any_ecdsa_type(key).unwrap();
    let signer = signer.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    let signature = [vec![0], signer.sign(&signed).unwrap()].concat();
    der(0x30, &[signed, algorithm.to_vec(), der(0x03, &signature)].concat()).into()
}

/// Returns the range of the contents of the libp2p extension (SEQUENCE of public key and signature).
fn extension(bytes: &[u8]) -> std::ops::Range<usize> {
    // 1.3.6.1.4.1.53594.1.1; then BOOLEAN TRUE (critical), then an OCTET STRING with the contents.
    let id = [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01, 0x01, 0x01, 0xff];
    let at = bytes.windows(id.len()).position(|window| window == id).unwrap() + id.len();
    let (element, header, _) = der_split(&bytes[at..]);
    at + header..at + element.len()
}

/// Checks that a peer that presents `chain` is refused, listening and dialling.
async fn refused(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) {
    let forger = Tls::with_chain(chain, key).unwrap();
    let honest = Tls::new(&Keypair::generate_ed25519()).unwrap();
    let (dialled, _) = handshake(honest.clone(), forger.clone()).await;
    assert!(matches!(dialled, Err(TlsError::Handshake(_))), "a forger that listens: {dialled:?}");
    let (_, accepted) = handshake(forger, honest).await;
    assert!(matches!(accepted, Err(TlsError::Handshake(_))), "a forger that dials: {accepted:?}");
}

#[tokio::test]
async fn forged_certificates_are_refused() {
    let victim = generate(&Keypair::generate_ed25519()).unwrap().0;
    let (own, key) = generate(&Keypair::generate_ed25519()).unwrap();

    // The tools themselves work: a certificate signed again without a change is still good.
    certificate::read(&resign(&own, &key, |_| ())).unwrap();

    // A bit of the certificate's own signature, of the identity's signature, of the extension's id.
    for at in [own.len() - 1, extension(&own).end - 1, extension(&own).start - 5] {
        let mut flipped = own.to_vec();
        flipped[at] ^= 1;
        refused(vec![flipped.into()], &key).await;
    }
    // The identity's signature is changed again, this time with a proper self-signature.
    let wrong = resign(&own, &key, |signed| signed[extension(signed).end - 1] ^= 1);
    refused(vec![wrong], &key).await;
    // Another peer's identity, with the signature for *its* key.
    let proof = victim[extension(&victim)].to_vec();
    let stolen = resign(&own, &key, |signed| {
        let place = extension(signed);
        signed[place].copy_from_slice(&proof);
    });
    refused(vec![stolen], &key).await;
    // Another peer's certificate as it is, without its key.
    refused(vec![victim.clone()], &key).await;
    // A second certificate; no certificate; nonsense.
    refused(vec![own, victim], &key).await;
    refused(vec![b"not a certificate".to_vec().into()], &key).await;
}

/// Replaces one run of bytes in the signed part of a certificate, and signs it again.
fn replaced(certificate: &[u8], key: &PrivateKeyDer<'_>, old: &[u8], new: &[u8]) -> CertificateDer<'static> {
    resign(certificate, key, |signed| {
        let at = signed.windows(old.len()).position(|window| window == old).unwrap();
        signed[at..at + new.len()].copy_from_slice(new);
    })
}

/// A clock may be at any time, 1970 for one: the dates of a certificate are those of its maker's clock.
#[tokio::test]
async fn the_dates_of_a_certificate_are_not_looked_at() {
    let keypair = Keypair::generate_ed25519();
    let (own, key) = generate(&keypair).unwrap();
    let begins = b"750101000000Z";
    let of_later = replaced(&own, &key, begins, b"490101000000Z");
    let ends = own.windows(15).find(|window| window.ends_with(b"0101000000Z") && window[0] == b'4').unwrap();
    let over = replaced(&own, &key, ends, b"19760101000000Z");
    for dated in [of_later, over] {
        libp2p::tls::certificate::parse(&dated).expect_err("its dates do not hold");
        let dated = Tls::with_chain(vec![dated], &key).unwrap();
        let honest = Tls::new(&Keypair::generate_ed25519()).unwrap();
        let (dialled, accepted) = handshake(honest.clone(), dated.clone()).await;
        assert_eq!(dialled.unwrap().0, keypair.public().to_peer_id());
        accepted.unwrap();
        let (dialled, accepted) = handshake(dated, honest).await;
        assert_eq!(accepted.unwrap().0, keypair.public().to_peer_id());
        dialled.unwrap();
    }
}

#[tokio::test]
async fn a_key_of_another_kind_is_refused_in_words_and_with_an_alert() {
    let (own, key) = generate(&Keypair::generate_ed25519()).unwrap();
    for (kind, name) in [(0, "an RSA key"), (2, "a secp256k1 key"), (3, "an ECDSA key")] {
        let other = replaced(&own, &key, &[0x08, 0x01, 0x12, 0x20], &[0x08, kind]);
        assert_eq!(certificate::read(&other).unwrap_err(), CertificateFault::KeyKind(name));
        let other = Tls::with_chain(vec![other], &key).unwrap();
        let honest = Tls::new(&Keypair::generate_ed25519()).unwrap();
        let (dialled, accepted) = handshake(honest.clone(), other.clone()).await;
        let said = dialled.unwrap_err().to_string();
        assert!(said.contains(name) && said.contains("are not spoken here"), "{said}");
        let alert = accepted.unwrap_err().to_string();
        assert!(alert.contains("received fatal alert"), "{alert}");
        // A listener refuses a dialler for which the handshake is over: the alert is the first that it reads.
        let (dialled, accepted) = handshake(other, honest).await;
        assert!(accepted.unwrap_err().to_string().contains(name));
        let end = dialled.unwrap().1.read(&mut [0]).await.unwrap_err().to_string();
        assert!(end.contains("refused our certificate"), "{end}");
    }
}

proptest! {
    /// No bytes do harm, and none but those of a certificate prove a peer.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), at: u16, bit in 0_u8..8) {
        prop_assert!(certificate::read(&bytes).is_err());
        let own = generate(&Keypair::generate_ed25519()).unwrap().0;
        let mut flipped = own.to_vec();
        let at = usize::from(at) % flipped.len();
        flipped[at] ^= 1 << bit;
        prop_assert!(certificate::read(&flipped).is_err(), "a bit of byte {} may be changed", at);
        prop_assert!(certificate::read(&own[..at]).is_err());
    }
}
