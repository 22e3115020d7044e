//! Tests of proxies: which one is used, and what it is told.

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::super::address::WebOrigin;
use super::super::proxy::Proxies;
use super::*;

/// Returns the proxies of these variables.
fn proxies(variables: &[(&str, &str)]) -> Arc<Proxies> {
    let find =
        |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
    Arc::new(Proxies::read(find))
}

/// Returns a web seed that is reached through the proxies of these variables. No name has an address.
fn reader(url: &str, private: bool, variables: &[(&str, &str)]) -> WebSeed {
    let network = WebNetwork { proxies: proxies(variables), ..named(|_| Vec::new()) };
    WebSeed::within(network, url, private).unwrap()
}

/// Returns the port of the proxy for a URL; `None` if there is none.
fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<u16> {
    let origin: WebOrigin = WebSeedUrl::parse(url, 1024).unwrap().origin();
    proxies(variables).of(&origin).unwrap().map(|proxy| proxy.port)
}

#[test]
fn f20_the_proxy_of_a_url() {
    let all = [("http_proxy", "p:1"), ("https_proxy", "http://p:2"), ("ALL_PROXY", "p:3"), ("no_proxy", "")];
    assert_eq!((chosen("http://a.example/", &all), chosen("https://a.example/", &all)), (Some(1), Some(2)));
    assert_eq!(chosen("http://a.example/", &[("HTTP_PROXY", "p:1")]), None, "a CGI program's client sets it");
    assert_eq!(chosen("https://a.example/", &[("HTTPS_PROXY", "p:1"), ("https_proxy", "")]), Some(1));
    assert_eq!(chosen("http://a.example/", &[("ALL_PROXY", "p:3")]), Some(3));
    let except = "localhost, .corp.example,*.lan  1.2.3.4,10.0.0.0/8,fd00::/8,b.example:8080,[2000::1]";
    let but = |url: &str| chosen(url, &[("all_proxy", "p:3"), ("no_proxy", except)]);
    for url in [
        "http://localhost/",
        "http://corp.example/",
        "https://www.CORP.example/",
        "http://x.lan/",
        "http://1.2.3.4/",
        "http://10.200.0.1/",
        "http://[fd12::1]/",
        "http://[2000::1]/",
        "http://b.example:8080/",
    ] {
        assert_eq!(but(url), None, "{url}");
    }
    for url in ["http://notcorp.example/", "http://b.example/", "http://1.2.3.5/", "http://11.0.0.1/"] {
        assert_eq!(but(url), Some(3), "{url}");
    }
    assert_eq!(chosen("http://a.example/", &[("all_proxy", "p:3"), ("NO_PROXY", "*")]), None);
}

#[tokio::test]
async fn f20_http_goes_through_the_proxy() {
    let server = Server::honest().await;
    let variable = format!("http://user:p%40ss@{}", server.addr);
    let seed = reader("http://a.example:8080/file?x", false, &[("http_proxy", &variable)]);
    for range in [0..10, 20..31] {
        let (got, ended) = read(&seed, range.clone()).await;
        ended.unwrap();
        assert_eq!(got, file()[range.start as usize..range.end as usize]);
    }
    for asked in server.asked() {
        assert!(asked.head.starts_with("GET http://a.example:8080/file?x HTTP/1.1\r\n"), "{}", asked.head);
        assert!(asked.head.contains("\r\nhost: a.example:8080\r\n"), "{}", asked.head);
        assert!(asked.head.contains("\r\nproxy-authorization: Basic dXNlcjpwQHNz\r\n"), "{}", asked.head);
    }
    assert_eq!(server.connections(), [0, 0]);
}

/// A proxy must not become the way around the check of addresses.
#[tokio::test]
async fn d48_no_proxy_leads_inside() {
    let server = Server::honest().await;
    let variable = server.addr.to_string();
    let variables = [("http_proxy", variable.as_str())];
    for host in
        ["127.0.0.1", "10.0.0.1", "[::1]", "localhost", "printer", "x.localhost", "nas.local", "a.lan."]
    {
        let url = format!("http://{host}/file");
        let why = refusal(&reader(&url, false, &variables), 0..10).await;
        assert!(matches!(why, WebSeedError::Forbidden { .. }), "{host}: {why}");
        assert!(server.asked().is_empty());
    }
    // A name with one address of the internet and one of a local network: the proxy could take either.
    let both = named(|_| vec![([1, 1, 1, 1], 80).into(), ([10, 0, 0, 1], 80).into()]);
    let both = WebNetwork { proxies: proxies(&variables), ..both };
    let seed = WebSeed::within(both, "http://rebound.example/file", false).unwrap();
    assert!(matches!(refusal(&seed, 0..10).await, WebSeedError::Forbidden { .. }));
    assert!(server.asked().is_empty());
    assert_eq!(reader("http://10.0.0.1/file", true, &variables).len().await.unwrap(), 100_000);
}

/// Starts a proxy that answers with this line, and connects to `to` if it is 200. Returns its address, and
/// the head of the request.
async fn tunnel(to: SocketAddr, line: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(format!("HTTP/1.1 {line}\r\nVia: x\r\n\r\n").as_bytes()).await.unwrap();
        if line.starts_with("200") {
            let mut far = TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut far).await });
        }
        String::from_utf8(head).unwrap()
    });
    (addr, asked)
}

#[tokio::test]
async fn f20_https_goes_through_a_tunnel() {
    let key_pair = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key_pair).unwrap();
    let key = PrivateKeyDer::try_from(key_pair.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let server = Server::start_at("127.0.0.1", Some(tls), |head, _| part(head, &file())).await;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let tls = Some(Arc::new(authorities::with_roots(roots).unwrap()));
    for (line, said) in [
        ("200 Connected", None),
        ("407 Who", Some("wants a user name and a password, or other ones (status 407)")),
        ("403 No", Some("refuses the connection (status 403)")),
    ] {
        let (addr, asked) = tunnel(server.addr, line).await;
        let variable = format!("http://u:p@{addr}");
        let through = proxies(&[("https_proxy", variable.as_str())]);
        let network = WebNetwork { proxies: through, tls: tls.clone(), ..named(|_| Vec::new()) };
        let seed = WebSeed::within(network, "https://a.example/file", false).unwrap();
        let length = timeout(LONG, seed.len()).await.unwrap();
        match said {
            None => assert_eq!(length.unwrap(), 100_000),
            Some(said) => assert_eq!(length.unwrap_err().to_string(), format!("the proxy {addr} {said}")),
        }
        let head = asked.await.unwrap();
        let expected = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\
            Proxy-Authorization: Basic dTpw\r\n\r\n";
        assert_eq!(head, expected);
    }
    let head = &server.asked()[0].head;
    assert!(head.starts_with("GET /file HTTP/1.1\r\n") && !head.contains("proxy"), "{head}");
}

#[tokio::test]
async fn f20_a_proxy_that_cannot_be_used_is_said() {
    let why =
        refusal(&reader("http://a.example/", false, &[("all_proxy", "socks5://127.0.0.1:9")]), 0..1).await;
    let words = "the proxy of all_proxy is of another kind than http://, the only one that is used";
    assert_eq!(why.to_string(), words);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let variable = closed.to_string();
    let why = refusal(&reader("http://a.example/", false, &[("all_proxy", &variable)]), 0..1).await;
    assert!(why.to_string().starts_with(&format!("the proxy {closed} cannot be reached: ")), "{why}");
}

#[tokio::test]
async fn f20_proxies_of_the_environment_are_used() {
    let nobody = "http://127.0.0.1:9";
    let variables = [("http_proxy", nobody), ("no_proxy", "localhost")];
    if in_child("proxy::f20_proxies_of_the_environment_are_used", &variables) {
        let server = Server::honest().await;
        let through = WebSeed::new(&server.url("/file"), true).unwrap();
        assert!(matches!(refusal(&through, 0..10).await, WebSeedError::Proxy(_)));
        let direct = WebSeed::new(&server.url_as("localhost"), true).unwrap();
        assert_eq!(direct.len().await.unwrap(), 100_000);
    }
}
