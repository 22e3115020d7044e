//! Checks of the addresses of web seeds: of URLs as text, and of the IP addresses behind a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use url::{Host, Url};

/// Ports below this one belong to well-known services. Of those only the ports of HTTP, 80 and 443, are used.
const SERVICE_PORTS: u16 = 1024;
/// Higher ports of services that could mistake a request for something else: those that browsers refuse as
/// well (the Fetch standard's "bad ports").
const OTHER_SERVICES: [u16; 19] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 10080,
];
/// Longest name in the DNS, in bytes (RFC 1035).
const NAME_BYTES: usize = 253;

/// Networks that are not of the internet, each with the number of its leading bits: IANA's registry of
/// special addresses, and 168.63.129.16, at which Azure serves the machine that asks, whatever its owner
/// allows.
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
/// The network of IPv6 that is of the internet, but for [`SPECIAL_V6`].
const INTERNET_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Networks within [`INTERNET_V6`] that are not of the internet: those of protocols (Teredo among them) and
/// of documentation.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Returns true if a host on the internet could have this address.
pub(super) fn of_internet(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => of_internet_v4(ip),
        IpAddr::V6(ip) => match wrapped(ip) {
            Some(ip) => of_internet_v4(ip),
            None => begins(ip, INTERNET_V6) && !SPECIAL_V6.into_iter().any(|special| begins(ip, special)),
        },
    }
}

/// Returns true if a host on the internet could have this IPv4 address.
fn of_internet_v4(ip: Ipv4Addr) -> bool {
    !SPECIAL_V4.into_iter().any(|(net, bits)| (ip.to_bits() ^ net.to_bits()) >> (32 - bits) == 0)
}

/// Returns true if an address begins with this many bits of `net`.
const fn begins(ip: Ipv6Addr, (net, bits): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ net.to_bits()) >> (128 - bits) == 0
}

/// Returns the IPv4 address at which packets to this address end: a mapped one, one behind NAT64, or one of
/// 6to4. The old "compatible" form is not among them, because it is not of the internet.
fn wrapped(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// The URL of a file. Its text has been checked.
#[derive(Debug, Clone)]
pub(super) struct WebSeedUrl {
    url: Url,
    /// Path and query of the URL, as a request line has them.
    path: Uri,
}

/// The server of a URL. Files of one origin share connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebOrigin {
    /// True if the connection uses TLS.
    pub(super) secure: bool,
    /// The host's name, or its address in canonical form.
    pub(super) host: Host,
    /// The port, also if the URL leaves it out.
    pub(super) port: u16,
}

impl WebSeedUrl {
    /// Reads a URL of at most `most` bytes.
    ///
    /// # Errors
    /// The fault of the URL in words.
    pub(super) fn parse(text: &str, most: usize) -> Result<Self, &'static str> {
        check_text(text, most)?;
        Self::check(Url::parse(text).map_err(|_| "it is not a URL")?)
    }

    /// Returns the target of a redirect from this URL. `location` has at most `most` bytes and may be
    /// relative.
    ///
    /// # Errors
    /// The fault of the target in words.
    pub(super) fn follow(&self, location: &[u8], most: usize) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(location).map_err(|_| "it is not text")?;
        check_text(text, most)?;
        let next = Self::check(self.url.join(text).map_err(|_| "it is not a URL")?)?;
        if self.is_secure() && !next.is_secure() {
            return Err("from https to http, where others can listen");
        }
        Ok(next)
    }

    /// Checks scheme, host and port of a URL, and that it has no credentials and no fragment.
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

    /// Returns true if the scheme is https.
    fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Returns the server of the URL.
    pub(super) fn origin(&self) -> WebOrigin {
        WebOrigin {
            secure: self.is_secure(),
            // Host and port were there when the URL was checked.
            host: self.url.host().map_or_else(|| Host::Domain(String::new()), |host| host.to_owned()),
            port: self.url.port_or_known_default().unwrap_or_default(),
        }
    }

    /// Returns the host, and the port unless it is that of the scheme.
    pub(super) fn authority(&self) -> &str {
        self.url.authority()
    }

    /// Returns the path and the query.
    pub(super) fn path(&self) -> &Uri {
        &self.path
    }
}

/// Checks the length of a URL, and that it has no blanks and no control characters. A URL parser drops some
/// of them silently, so that the URL that people read and the one that is requested would differ.
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
