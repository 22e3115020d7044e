//! Which addresses may be asked: as text, and as what a name turns out to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use url::{Host, Url};

/// Below this, ports belong to well-known services, of which only those of HTTP are asked anything.
const SERVICE_PORTS: u16 = 1024;
/// Services at higher ports that could mistake a request for something else: those that browsers refuse (Fetch standard,
/// "bad ports"), too.
const OTHER_SERVICES: [u16; 19] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
];
/// A name in the DNS, bytes.
const NAME_BYTES: usize = 253;

/// What is not of the internet, by its first bits (IANA's registry of special addresses; 168.63.129.16 is a service of
/// Azure's to the machine that asks, whatever its owner thinks of that).
const SPECIAL_V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The part of IPv6 that is of the internet...
const INTERNET_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// ...but for this: protocols' own (Teredo among them), documentation.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether anybody on the internet could have this address.
pub(super) fn of_internet(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => of_internet_v4(ip),
        IpAddr::V6(ip) => match wrapped(ip) {
            Some(ip) => of_internet_v4(ip),
            None => begins(ip, INTERNET_V6) && !SPECIAL_V6.into_iter().any(|special| begins(ip, special)),
        },
    }
}

fn of_internet_v4(ip: Ipv4Addr) -> bool {
    !SPECIAL_V4.into_iter().any(|(net, bits)| (ip.to_bits() ^ net.to_bits()) >> (32 - bits) == 0)
}

const fn begins(ip: Ipv6Addr, (net, bits): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ net.to_bits()) >> (128 - bits) == 0
}

/// The IPv4 address that packets to this one end at: mapped, behind NAT64, or by 6to4. The old "compatible" form is none
/// of these: it is not of the internet.
fn wrapped(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// The address of a file, looked at as text.
#[derive(Debug, Clone)]
pub(super) struct WebSeedUrl {
    url: Url,
    /// Its path and query, as a request line has them.
    path: Uri,
}

/// Where connections go: two files of one origin share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebOrigin {
    /// By TLS.
    pub(super) secure: bool,
    /// A name, or an address in whatever spelling.
    pub(super) host: Host,
    /// Always stated.
    pub(super) port: u16,
}

impl WebSeedUrl {
    /// Reads an address of at most so many bytes, or says what is wrong with it.
    pub(super) fn parse(text: &str, most: usize) -> Result<Self, &'static str> {
        check_text(text, most)?;
        Self::check(Url::parse(text).map_err(|_| "it is not a URL")?)
    }

    /// Where this one sends a reader: an address of at most so many bytes, often only a part of one.
    pub(super) fn follow(&self, location: &[u8], most: usize) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(location).map_err(|_| "it is not text")?;
        check_text(text, most)?;
        let next = Self::check(self.url.join(text).map_err(|_| "it is not a URL")?)?;
        if self.is_secure() && !next.is_secure() {
            return Err("from https to http, where others can listen");
        }
        Ok(next)
    }

    fn check(url: Url) -> Result<Self, &'static str> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it is neither http nor https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("there is a user name or a password in it");
        }
        if url.fragment().is_some() {
            return Err("there is a # in it: it names a part of a page, not a file");
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() || host.len() > NAME_BYTES {
            return Err("it names no host that can be");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !matches!(port, 80 | 443) && (port < SERVICE_PORTS || OTHER_SERVICES.contains(&port)) {
            return Err("its port is that of another service");
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", url.path()).parse().map_err(|_| "its path cannot be asked for")?;
        Ok(Self { url, path })
    }

    fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Where to connect to.
    pub(super) fn origin(&self) -> WebOrigin {
        WebOrigin {
            secure: self.is_secure(),
            // Both were there when this was made.
            host: self.url.host().map_or_else(|| Host::Domain(String::new()), |host| host.to_owned()),
            port: self.url.port_or_known_default().unwrap_or_default(),
        }
    }

    /// The host and, unless it goes without saying, the port.
    pub(super) fn authority(&self) -> &str {
        self.url.authority()
    }

    /// The path and the query.
    pub(super) fn path(&self) -> &Uri {
        &self.path
    }
}

/// A URL parser drops line breaks and the like without a word: what people read and what is asked would differ.
fn check_text(text: &str, most: usize) -> Result<(), &'static str> {
    if text.len() > most {
        return Err("it is too long");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("there are blanks or control characters in it");
    }
    Ok(())
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
