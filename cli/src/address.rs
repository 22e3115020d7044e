//! Addresses as people write them: a multiaddr, `HOST:PORT`, a bare IP address, and for `--listen` a port
//! alone.
//!
//! Everything but a multiaddr is written out as multiaddrs, by TCP and by QUIC where both are spoken.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use swarm_core::content::path::escape;

/// Port of a node whose address names none.
const NODE_PORT: u16 = 4001;
/// Port of a tracker whose address names none.
const TRACKER_PORT: u16 = 4770;
/// Port of a DHT server whose address names none.
const DHT_PORT: u16 = 4772;

/// Reads one address of the setting `key`, such as `peer`.
///
/// # Errors
/// A sentence that says what is wrong with the text and how an address looks.
pub(crate) fn read(key: &str, text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let bad = |why: &str| Err(format!("`{}` {why}; write {}", escape(text), example(key)));
    if text.starts_with('/') {
        return match multiaddr(key, text) {
            Ok(()) => Ok(vec![text.to_owned()]),
            Err(why) => bad(&why),
        };
    }
    if key == "relay" {
        return bad("does not end with /p2p/ and the peer id of the relay");
    }
    let (host, port) = match text.parse::<SocketAddr>() {
        Ok(at) => (Host::Ip(at.ip()), at.port()),
        Err(_) => match host_and_port(key, text) {
            Ok(read) => read,
            Err(why) => return bad(&why),
        },
    };
    match host {
        Host::Every => Ok(everywhere(port)),
        Host::Name(_) if key == "listen" || key == "external" => {
            bad("has a name where an IP address belongs")
        }
        Host::Name(name) => Ok(vec![format!("/dns/{name}/tcp/{port}")]),
        // A tracker is asked by one way, and few trackers can be given.
        Host::Ip(ip) if key == "tracker" || key == "dht" => Ok(both(ip, port)[..1].to_vec()),
        Host::Ip(ip) => Ok(both(ip, port)),
    }
}

/// A host in a short form.
enum Host {
    /// All interfaces of this machine.
    Every,
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Name(String),
}

/// Reads `PORT`, `:PORT`, `IP`, `[IP]`, `NAME` and `NAME:PORT`.
fn host_and_port(key: &str, text: &str) -> Result<(Host, u16), String> {
    let usual = match key {
        "tracker" => Some(TRACKER_PORT),
        "dht" => Some(DHT_PORT),
        "peer" => Some(NODE_PORT),
        _ => None,
    };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse() {
        return Ok((Host::Ip(ip), usual.ok_or("has no port")?));
    }
    if key == "listen" && text.trim_start_matches(':').bytes().all(|b| b.is_ascii_digit()) {
        return Ok((Host::Every, port(text.trim_start_matches(':'))?));
    }
    let (name, at) = match text.split_once(':') {
        Some((name, at)) => (name, port(at)?),
        None => (text, usual.ok_or("has no port")?),
    };
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name_of = name.strip_suffix('.').unwrap_or(name);
    if !name_of.split('.').all(is_label) || name_of.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("is not an address".to_owned());
    }
    Ok((Host::Name(name_of.to_owned()), at))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "has no port from 0 to 65535".to_owned())
}

/// Both ways to an IP address.
fn both(ip: IpAddr, port: u16) -> Vec<String> {
    let kind = if ip.is_ipv4() { "ip4" } else { "ip6" };
    vec![format!("/{kind}/{ip}/tcp/{port}"), format!("/{kind}/{ip}/udp/{port}/quic-v1")]
}

/// This port on all interfaces, by IPv6 where the machine has it.
fn everywhere(port: u16) -> Vec<String> {
    let mut all = both(IpAddr::from([0, 0, 0, 0]), port);
    if UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        all.extend(both(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    all
}

/// Checks that a multiaddr leads somewhere, part by part.
fn multiaddr(key: &str, text: &str) -> Result<(), String> {
    let mut parts = text.split('/').skip(1);
    let mut next = || parts.next().unwrap_or_default();
    let mut kind = next();
    if kind == "ip6zone" {
        (_, kind) = (next(), next());
    }
    let host = next();
    match kind {
        "ip4" if host.parse::<std::net::Ipv4Addr>().is_err() => {
            return Err("has no IPv4 address after /ip4".to_owned());
        }
        "ip6" if host.parse::<Ipv6Addr>().is_err() => return Err("has no IPv6 address after /ip6".to_owned()),
        "dns" | "dns4" | "dns6" if host.is_empty() => return Err(format!("has no name after /{kind}")),
        "ip4" | "ip6" | "dns" | "dns4" | "dns6" => {}
        _ => return Err("leads nowhere that swarm knows how to reach".to_owned()),
    }
    let way = next();
    match way {
        "tcp" | "udp" => port(next())?,
        _ => return Err("has no /tcp/ or /udp/ after the host".to_owned()),
    };
    if way == "udp" && next() != "quic-v1" {
        return Err("has no /quic-v1 after the port: over UDP, only QUIC is spoken".to_owned());
    }
    let rest: Vec<_> = parts.collect();
    match rest[..] {
        [] if key == "relay" => Err("does not end with /p2p/ and the peer id of the relay".to_owned()),
        [] => Ok(()),
        ["p2p", peer] | ["p2p", peer, "p2p-circuit"] | ["p2p", peer, "p2p-circuit", "p2p", _]
            if is_peer(peer) =>
        {
            Ok(())
        }
        ["p2p", ..] => Err("has no peer id after /p2p: it is cut off".to_owned()),
        _ => Err("leads nowhere that swarm knows how to reach".to_owned()),
    }
}

/// Tells whether a text may be a peer id: base58, of about the right length.
fn is_peer(text: &str) -> bool {
    (46..=60).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() && !b"0OIl".contains(&b))
}

/// An address of the setting, as it may be written.
fn example(key: &str) -> &'static str {
    match key {
        "listen" => "a port such as 4001, or /ip4/0.0.0.0/tcp/4001",
        "external" => "203.0.113.5:4001, or /ip4/203.0.113.5/tcp/4001",
        "tracker" => "tracker.example.org:4770, or /dns4/tracker.example.org/tcp/4770",
        "dht" => "192.168.1.20:4772, or /ip4/192.168.1.20/tcp/4772",
        "relay" => "/ip4/203.0.113.5/tcp/4001/p2p/12D3Koo..",
        _ => "192.168.1.20:4001, or /ip4/192.168.1.20/tcp/4001",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn short_forms_are_written_out() {
        for (key, text, want) in [
            (
                "peer",
                "192.168.1.10",
                &["/ip4/192.168.1.10/tcp/4001", "/ip4/192.168.1.10/udp/4001/quic-v1"][..],
            ),
            ("peer", "10.0.0.1:99", &["/ip4/10.0.0.1/tcp/99", "/ip4/10.0.0.1/udp/99/quic-v1"]),
            ("peer", "[fd00::1]:99", &["/ip6/fd00::1/tcp/99", "/ip6/fd00::1/udp/99/quic-v1"]),
            ("peer", "fd00::1", &["/ip6/fd00::1/tcp/4001", "/ip6/fd00::1/udp/4001/quic-v1"]),
            ("peer", "seeder.example.org:7", &["/dns/seeder.example.org/tcp/7"]),
            ("tracker", "hq", &["/dns/hq/tcp/4770"]),
            ("tracker", "10.0.0.1", &["/ip4/10.0.0.1/tcp/4770"]),
            ("dht", "10.0.0.1:8", &["/ip4/10.0.0.1/tcp/8"]),
            ("listen", "10.0.0.1:8", &["/ip4/10.0.0.1/tcp/8", "/ip4/10.0.0.1/udp/8/quic-v1"]),
            ("external", "203.0.113.5:8", &["/ip4/203.0.113.5/tcp/8", "/ip4/203.0.113.5/udp/8/quic-v1"]),
        ] {
            assert_eq!(read(key, text).expect(text), want, "{text}");
        }
        for text in ["8080", ":8080"] {
            let all = read("listen", text).expect(text);
            assert_eq!(all[..2], ["/ip4/0.0.0.0/tcp/8080", "/ip4/0.0.0.0/udp/8080/quic-v1"]);
        }
    }

    #[test]
    fn multiaddrs_stay_and_mistakes_are_named() {
        for text in [
            "/ip4/10.0.0.1/tcp/4001".to_owned(),
            "/ip6/::1/udp/4001/quic-v1".to_owned(),
            format!("/dns4/hq/tcp/1/p2p/{PEER}"),
            format!("/ip4/10.0.0.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}"),
        ] {
            assert_eq!(read("peer", &text).expect(&text), [text]);
        }
        for (key, text, why) in [
            ("peer", "/ip4/10.0.0.300/tcp/1", "no IPv4 address"),
            ("peer", "/ip4/10.0.0.1", "no /tcp/ or /udp/"),
            ("peer", "/ip4/10.0.0.1/tcp/99999", "no port from 0"),
            ("peer", "/ip4/10.0.0.1/udp/1", "only QUIC"),
            ("peer", "/ip4/10.0.0.1/tcp/1/p2p/12D3Koo", "cut off"),
            ("peer", "/unix/x", "leads nowhere"),
            ("peer", "host:port", "no port from 0"),
            ("peer", "1.2.3", "is not an address"),
            ("peer", "http://x", "no port"),
            ("peer", "a b", "is not an address"),
            ("listen", "99999", "no port from 0"),
            ("listen", "10.0.0.1", "has no port"),
            ("listen", "hq:1", "has a name"),
            ("external", "203.0.113.5", "has no port"),
            ("relay", "10.0.0.1:1", "peer id of the relay"),
            ("relay", "/ip4/10.0.0.1/tcp/1", "peer id of the relay"),
        ] {
            let said = read(key, text).expect_err(text);
            assert!(said.contains(why) && said.contains("; write "), "{text}: {said}");
        }
    }
}
