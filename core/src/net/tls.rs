//! TLS 1.3 between peers: the libp2p handshake `/tls/1.0.0` with a cipher order that suits the processor.
//!
//! It follows the [libp2p TLS spec](https://github.com/libp2p/specs/blob/master/tls/tls.md) byte for byte, so
//! that we talk to every libp2p node. AES comes first where the processor has instructions for it: libp2p-tls
//! 0.7 puts ChaCha20 first, which costs half the speed of a LAN. No input of a peer can make us panic.
//! `libp2p::tls::certificate` makes the certificates; [`certificate`] reads those of peers.
//!
//! There is no TLS 1.2, no SNI, no key log, and no session resumption: every peer shows its certificate on
//! every connection, and all peers have the same server name, so a cache could never find the right session.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::tls::certificate::{GenError, generate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible,
    ServerConfig, SignatureScheme, SupportedCipherSuite,
};

use certificate::CertificateFault;
use handshake::Handshake;
use record::SecureStream;

pub(crate) mod certificate;
mod cipher;
mod handshake;
pub(crate) mod record;

/// Name of TLS in the negotiation before the handshake; from the libp2p TLS spec.
pub(crate) const PROTOCOL: &str = "/tls/1.0.0";

/// Application protocol (ALPN) within TLS; from the libp2p TLS spec.
const ALPN: &[u8] = b"libp2p";

/// Signature schemes that a peer's certificate may use in the handshake, best first. TLS 1.3 forbids RSA with
/// PKCS #1 there.
const SIGNATURES: [SignatureScheme; 6] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

/// Reason why a TLS handshake with a peer failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The connection broke, or one side refused the other's messages, certificate or signature.
    #[error("TLS handshake: {0}")]
    Handshake(#[source] io::Error),
    /// rustls could not begin the handshake or end it.
    #[error("TLS: {0}")]
    Rustls(#[source] rustls::Error),
    /// The handshake completed without exactly one certificate, so that nobody was identified.
    #[error("TLS handshake: the peer did not present exactly one certificate")]
    NotOneCertificate,
    /// The certificate does not prove a libp2p identity.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
}

/// Reason why our own side of TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSetupError {
    /// The identity cannot sign a certificate.
    #[error("make a TLS certificate: {0}")]
    Certificate(#[from] GenError),
    /// rustls refuses our configuration.
    #[error("configure TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// Upgrade of a byte stream to a TLS connection with a known peer. Cheap to clone. One certificate lasts for
/// the life of the node, as the spec allows.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a fresh certificate that proves the identity of `keypair`.
    ///
    /// # Errors
    /// [`TlsSetupError`] if the key cannot sign or the configuration is refused.
    pub(crate) fn new(keypair: &Keypair) -> Result<Self, TlsSetupError> {
        let (certificate, key) = generate(keypair)?;
        Self::with_chain(vec![certificate], &key)
    }

    /// Makes an upgrade that presents `chain`, whose first certificate belongs to `key`. Nothing about the
    /// chain is checked.
    fn with_chain(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, TlsSetupError> {
        // `CertifiedKey::from_der` would refuse our own certificate for its critical libp2p extension.
        let key = aws_lc_rs::sign::any_ecdsa_type(key)?;
        let identity = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        let provider = Arc::new(provider());
        let versions = &[&rustls::version::TLS13];

        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(identity.clone());
        server.enable_secret_extraction = true;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Stock clients put ChaCha20 first. The server's order wins, because the server has looked at its
        // processor.
        server.ignore_client_order = true;
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(identity);
        client.enable_secret_extraction = true;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = Resumption::disabled();

        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// Returns the cryptography that we offer, best first.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: cipher_suites(has_aes()),
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

/// Returns the cipher suites, best first, for a processor with or without AES instructions.
fn cipher_suites(aes: bool) -> Vec<SupportedCipherSuite> {
    let chacha = cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    let mut suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384];
    suites.insert(if aes { suites.len() } else { 0 }, chacha);
    suites
}

/// True if this processor computes both parts of AES-GCM, the cipher and its checksum, in hardware.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C> InboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, SecureStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        Box::pin(async move {
            let handshake = UnbufferedServerConnection::new(self.server).map_err(TlsError::Rustls)?;
            shake_hands(handshake, socket).await
        })
    }
}

impl<C> OutboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, SecureStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        Box::pin(async move {
            // The spec forbids SNI, and an IP address is never sent as one.
            let nobody = ServerName::from(std::net::IpAddr::from(Ipv4Addr::UNSPECIFIED));
            let handshake = UnbufferedClientConnection::new(self.client, nobody).map_err(TlsError::Rustls)?;
            shake_hands(handshake, socket).await
        })
    }
}

/// Runs a handshake and returns the peer at the other end with the encrypted stream.
async fn shake_hands<C, H>(mut handshake: H, mut socket: C) -> Result<(PeerId, SecureStream<C>), TlsError>
where
    C: AsyncRead + AsyncWrite + Send + Unpin,
    H: Handshake,
{
    let rest = handshake::run(&mut handshake, &mut socket).await.map_err(TlsError::Handshake)?;
    let common = handshake.common();
    let Some([only]) = common.peer_certificates() else {
        return Err(TlsError::NotOneCertificate);
    };
    let peer = certificate::read(only)?.peer;
    let group = common.negotiated_key_exchange_group().map(|group| group.name());
    tracing::trace!(%peer, suite = ?common.negotiated_cipher_suite(), ?group, "TLS");
    let keys = handshake.keys().map_err(TlsError::Rustls)?;
    Ok((peer, SecureStream::new(socket, keys, rest).map_err(TlsError::Rustls)?))
}

/// Certificate verifier that accepts every peer with a proven libp2p identity. libp2p's connection pool knows
/// which peer was dialled, and compares the peer id.
#[derive(Debug)]
struct Verifier;

impl Verifier {
    /// Checks the rules of the spec: exactly one certificate, self-signed, and carrying a signature of its
    /// key by the peer's identity. The dates are not looked at.
    fn check_chain(
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        if !rest.is_empty() {
            return Err(rustls::Error::General("libp2p peers present exactly one certificate".into()));
        }
        certificate::read(certificate).map_err(invalid)?;
        Ok(())
    }

    /// Checks that the peer holds the certificate's key: `signature` over the handshake so far proves it.
    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let certificate = certificate::read(certificate).map_err(invalid)?;
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &certificate.key, signature, &known)
    }

    /// Refuses TLS 1.2. It is never offered; a peer that gets here nevertheless is refused rather than
    /// trusted.
    fn refuse_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }
}

/// Makes the error for rustls, which tells the peer by an alert.
fn invalid(fault: CertificateFault) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(fault))).into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::check_chain(certificate, rest)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.to_vec()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::check_chain(certificate, rest)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.to_vec()
    }
}

#[cfg(test)]
pub(crate) mod tests;
