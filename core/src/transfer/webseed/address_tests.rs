//! Tests of the checks of URLs and IP addresses.
#![allow(clippy::unwrap_used)]

use super::*;

fn parse(text: &str) -> Result<WebSeedUrl, &'static str> {
    WebSeedUrl::parse(text, 1024)
}

#[test]
fn addresses_that_may_be_asked() {
    for (text, authority, path) in [
        ("http://example.org/file", "example.org", "/file"),
        ("HTTPS://EXAMPLE.org:443", "example.org", "/"),
        ("https://example.org:8443/a%20b/c?x=1&y=|`", "example.org:8443", "/a%20b/c?x=1&y=|`"),
        ("http://[2606:4700::1111]:8080/ü", "[2606:4700::1111]:8080", "/%C3%BC"),
        ("http://bücher.example/", "xn--bcher-kva.example", "/"),
    ] {
        let target = parse(text).unwrap();
        assert_eq!((target.authority(), target.path().to_string().as_str()), (authority, path), "{text}");
        assert_eq!(target.origin().secure, text.to_lowercase().starts_with("https"));
    }
    let text = format!("http://a.example/{}", "x".repeat(1024 - 17));
    assert!(parse(&text).is_ok());
    assert!(parse(&(text + "x")).is_err(), "1025 bytes");
}

#[test]
fn addresses_that_are_never_asked() {
    for text in [
        "",
        "/file",
        "example.org/file",
        "file:///etc/passwd",
        "ftp://example.org/file",
        "gopher://example.org/",
        "data:,x",
        "javascript:1",
        "unix:/run/docker.sock",
        "http://",
        "http:///",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://:secret@example.org/",
        "http://example.org/file#part",
        "http://example.org/#",
        " http://example.org/",
        "http://example.org/a b",
        "http://example.org/\r\nHost: other",
        "ht\ntp://example.org/",
        "http://example.org/\u{85}",
        "http://exa\u{2003}mple.org/",
        "http://[::1/",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://example.org:65536/",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert!(parse(&format!("http://{}example/", "a.".repeat(126))).is_err(), "a name too long for the DNS");
}

#[test]
fn ports_of_other_services_are_never_asked() {
    let may = |port: u32| parse(&format!("http://example.org:{port}/")).is_ok();
    let low: Vec<u32> = (0..1024).filter(|port| may(*port)).collect();
    assert_eq!(low, [80, 443]);
    for port in [2049, 5060, 6000, 6566, 6667, 10080] {
        assert!(!may(port), "{port}");
    }
    for port in [1024, 3000, 8000, 8080, 8443, 9000, 49152, 65535] {
        assert!(may(port), "{port}");
    }
}

#[test]
fn a_redirect_is_looked_at_like_a_link() {
    let from = parse("https://example.org/a/b?c").unwrap();
    let to = |location: &str| from.follow(location.as_bytes(), 64).map(|to| to.url.to_string());
    assert_eq!(to("d").unwrap(), "https://example.org/a/d");
    assert_eq!(to("/d").unwrap(), "https://example.org/d");
    assert_eq!(to("//other.example/d").unwrap(), "https://other.example/d");
    assert_eq!(to("https://other.example:8443/").unwrap(), "https://other.example:8443/");
    assert_eq!(to("/dé").unwrap(), "https://example.org/d%C3%A9");
    for location in [
        "http://example.org/d",
        "file:///etc/passwd",
        "https://user@example.org/",
        "//user:secret@other.example/",
        "https://example.org:22/",
        "d#e",
        "d e",
        "https://",
        &"x".repeat(65),
    ] {
        assert!(to(location).is_err(), "{location}");
    }
    assert!(from.follow(b"/\xff", 64).is_err(), "not text");
    let plain = parse("http://example.org/").unwrap();
    assert!(plain.follow(b"https://example.org/", 64).is_ok());
}

#[test]
fn what_is_of_the_internet() {
    for ip in "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
        168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 \
        191.255.255.255 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 \
        198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000:: 2001:200::1 \
        2001:db7:: 2001:db9:: 2606:4700::1111 3ffe:ffff:ffff:: 3fff:1000:: ::ffff:1.1.1.1 \
        64:ff9b::1.1.1.1 2002:101:101::1"
        .split(' ')
    {
        assert!(of_internet(ip.parse().unwrap()), "{ip}");
    }
}

#[test]
fn what_is_not_of_the_internet() {
    let v4 = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 \
        127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 \
        172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255 192.52.193.1 192.88.99.1 \
        192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 \
        203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255"
        .split(' ');
    for ip in v4 {
        assert!(!of_internet(ip.parse().unwrap()), "{ip}");
        let octets = ip.parse::<Ipv4Addr>().unwrap().octets();
        let [a, b, c, d] = octets;
        for wrapped in [
            format!("::ffff:{ip}"),
            format!("::{ip}"),
            format!("64:ff9b::{ip}"),
            format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"),
        ] {
            assert!(!of_internet(wrapped.parse().unwrap()), "{wrapped}");
        }
    }
    for ip in
        ":: ::1 ::1.1.1.1 ::ffff:0:1.1.1.1 64:ff9b:1::1 100::1 1fff:ffff:: 2001::1 2001:1ff::1 2001:20::1 \
        2001:db8::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 \
        ff02::1 ff0e::1"
            .split(' ')
    {
        assert!(!of_internet(ip.parse().unwrap()), "{ip}");
    }
}

/// Spellings under which a careless check would not recognise an address.
#[test]
fn d48_an_address_is_known_in_every_spelling() {
    for host in "127.0.0.1 127.1 127.0.1 127.0.0.1. 2130706433 0x7f000001 0x7f.1 0X7F.0.0.1 0177.0.0.1 \
        017700000001 0 0x0 0.0.0.0 1２7.0.0.1 127。0。0。1 %31%32%37.0.0.1 10.1 0xa9fea9fe 169.254.43518 \
        [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] \
        [2002:7f00:1::] [fe80::1]"
        .split(' ')
    {
        let target = parse(&format!("http://{host}/")).unwrap_or_else(|why| panic!("{host}: {why}"));
        let ip = match target.origin().host {
            Host::Domain(name) => panic!("{host} was taken for the name {name}"),
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => IpAddr::V6(ip),
        };
        assert!(!of_internet(ip), "{host} is {ip}");
    }
}
