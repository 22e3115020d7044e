//! Tests of TLS: the certificates that are trusted.

use std::net::Ipv4Addr;

use rcgen::{CertificateParams, CertifiedKey, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::*;

fn certificate(name: &str) -> CertifiedKey {
    certificate_by("us", name, KeyPair::generate().unwrap())
}

fn certificate_by(issuer: &str, name: &str, key_pair: KeyPair) -> CertifiedKey {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, issuer);
    CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair }
}

fn server_with(certified: &CertifiedKey, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let key = PrivateKeyDer::try_from(certified.key_pair.serialize_der()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap()
}

async fn honest(certified: &CertifiedKey, versions: &[&'static SupportedProtocolVersion]) -> Server {
    let tls = server_with(certified, versions);
    Server::start_at("127.0.0.1", Some(tls), |head, _| part(head, &file())).await
}

fn believing(certified: &CertifiedKey) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    Some(Arc::new(authorities::with_roots(roots).unwrap()))
}

fn reader(url: &str, tls: Option<Arc<ClientConfig>>) -> WebSeed {
    WebSeed::within(WebNetwork { tls, ..network() }, url, true).unwrap()
}

#[tokio::test]
async fn a_server_that_proves_its_name_is_read() {
    for name in ["localhost", "127.0.0.1"] {
        for version in [&TLS12, &TLS13] {
            let certified = certificate(name);
            let server = honest(&certified, &[version]).await;
            let seed = reader(&server.url_as(name), believing(&certified));
            assert_eq!(seed.len().await.unwrap(), 100_000);
            let (got, ended) = read(&seed, 0..100_000).await;
            ended.unwrap();
            assert!(got == file());
            assert_eq!(server.connections(), [0, 0]);
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_is_not() {
    let (ours, other) =
        (certificate("localhost"), certificate_by("others", "localhost", KeyPair::generate().unwrap()));
    let server = honest(&ours, &[&TLS13]).await;
    let why = refusal(&reader(&server.url_as("localhost"), believing(&other)), 0..1).await;
    let words = "the certificate of the web server localhost is by nobody whom this machine trusts";
    assert!(why.to_string() == words && why.is_final(), "{why}");
    let port = server.addr.port();
    let elsewhere =
        WebNetwork { tls: believing(&ours), ..named(move |_| vec![(Ipv4Addr::LOCALHOST, port).into()]) };
    let seed = WebSeed::within(elsewhere, "https://other.example/", true).unwrap();
    let why = refusal(&seed, 0..1).await;
    assert_eq!(why.to_string(), "the certificate of the web server other.example is for another name");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls() {
    let greeting = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = greeting.local_addr().unwrap();
    let greeted = tokio::spawn(async move {
        let (mut stream, _) = greeting.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example ESMTP\r\n").await.unwrap();
        stream
    });
    let why = refusal(&reader(&format!("https://{addr}/"), believing(&certificate("x"))), 0..1).await;
    assert!(matches!(why, WebSeedError::NotSecured { .. }) && !why.is_final(), "{why}");
    greeted.await.unwrap();
}

#[tokio::test]
async fn https_does_not_lead_to_http() {
    let plain = Server::honest().await;
    let certified = certificate("localhost");
    let (tls, location) = (server_with(&certified, &[&TLS13]), plain.url("/file"));
    let secure = Server::start_at("127.0.0.1", Some(tls), move |_, _| {
        raw(&format!("HTTP/1.1 302 Found\nLocation: {location}\nContent-Length: 0"), "")
    });
    let secure = secure.await;
    let why = refusal(&reader(&secure.url_as("localhost"), believing(&certified)), 0..1).await;
    assert!(matches!(why, WebSeedError::Redirect(_)), "{why}");
    assert!(plain.asked().is_empty());
    // A redirect from http to https is followed.
    let server = honest(&certified, &[&TLS13]).await;
    let location = server.url_as("localhost");
    let plain = Server::start(move |_, _| {
        raw(&format!("HTTP/1.1 301 Moved\nLocation: {location}\nContent-Length: 0"), "")
    });
    let plain = plain.await;
    let seed = reader(&plain.url("/"), believing(&certified));
    assert_eq!(seed.len().await.unwrap(), 100_000);
}

/// An authority that an administrator adds to the machine's list is trusted. Without it this server is not.
#[tokio::test]
async fn an_offices_own_authority_is_believed() {
    let ours = certificate("localhost");
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&cert, ours.cert.pem()).unwrap();
    std::fs::write(&key, ours.key_pair.serialize_pem()).unwrap();
    let variables = [("SSL_CERT_FILE", cert.to_str().unwrap()), ("SWARM_WEBSEED_KEY", key.to_str().unwrap())];
    if !in_child("secure::an_offices_own_authority_is_believed", &variables) {
        let server = honest(&ours, &[&TLS13]).await;
        let why = refusal(&reader(&server.url_as("localhost"), None), 0..1).await;
        assert!(matches!(why, WebSeedError::Untrusted { .. } | WebSeedError::NoAuthorities(_)), "{why}");
        return;
    }
    let text = |name: &str| std::fs::read_to_string(std::env::var_os(name).unwrap()).unwrap();
    let key = KeyPair::from_pem(&text("SWARM_WEBSEED_KEY")).unwrap();
    let server = honest(&certificate_by("us", "localhost", key), &[&TLS13]).await;
    let seed = reader(&server.url_as("localhost"), None);
    assert_eq!(seed.len().await.unwrap(), 100_000);
}
