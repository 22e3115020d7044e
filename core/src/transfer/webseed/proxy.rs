//! Proxies of the environment, as curl reads them: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`.
//!
//! An upper-case name counts if the lower-case one is not set, but `HTTP_PROXY` is never read: a web server
//! that runs programs by CGI sets it to what a client sends. An empty variable is one that is not set.

use std::net::{IpAddr, Ipv6Addr};

use data_encoding::BASE64;
use hyper::Request;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::WebSeedError;
use super::address::WebOrigin;
use crate::limits;

/// Names of hosts that a proxy is not asked for without the owner's leave: they name machines of a local
/// network, or the proxy itself.
const LOCAL_NAMES: [&str; 6] = ["localhost", "local", "internal", "lan", "home.arpa", "intranet"];

/// The proxies of this machine.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    /// The proxy for URLs with `http`, or the fault of its variable.
    http: Option<Result<Proxy, String>>,
    /// The proxy for URLs with `https`, or the fault of its variable.
    https: Option<Result<Proxy, String>>,
    /// Hosts that are reached without a proxy.
    except: Vec<String>,
}

/// A proxy that speaks HTTP.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) host: Host,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`, if the URL has a user name.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxies {
    /// Returns the proxies that the environment of this process names.
    pub(super) fn of_environment() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Returns the proxies that these variables name.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            names.iter().find_map(|name| {
                let value = variable(name)?.trim().to_owned();
                (!value.is_empty()).then(|| (name.to_string(), value))
            })
        };
        let proxy = |names: &[&str]| {
            first(names)
                .map(|(name, value)| Proxy::parse(&value).map_err(|fault| format!("of {name} {fault}")))
        };
        let except = first(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
        Self {
            http: proxy(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            except: except
                .split([',', ' '])
                .filter(|one| !one.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
        }
    }

    /// Returns the proxy through which an origin is reached, if there is one.
    ///
    /// # Errors
    /// [`WebSeedError::Proxy`] if a variable names one that cannot be used.
    pub(super) fn of(&self, origin: &WebOrigin) -> Result<Option<&Proxy>, WebSeedError> {
        let proxy = if origin.secure { &self.https } else { &self.http };
        match proxy {
            None => Ok(None),
            Some(_) if self.except.iter().any(|one| is_excepted(one, origin)) => Ok(None),
            Some(Ok(proxy)) => Ok(Some(proxy)),
            Some(Err(fault)) => Err(WebSeedError::Proxy(fault.clone())),
        }
    }
}

impl Proxy {
    /// Reads the URL of a proxy. The scheme may be left out.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&url).map_err(|_| "is not a URL")?;
        if url.scheme() != "http" {
            return Err("is of another kind than http://, the only one that is used");
        }
        let host = url.host().ok_or("has no host")?.to_owned();
        let decode = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let named = !url.username().is_empty() || url.password().is_some();
        let authorization = named.then(|| {
            let user = [decode(url.username()), decode(url.password().unwrap_or_default())].join(&b':');
            let value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(&user)));
            value.map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        let authorization = authorization.transpose().map_err(|_| "has a name that cannot be sent")?;
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80), authorization })
    }

    /// Returns host and port, for a person.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Gives a request for an `http` URL the form in which a proxy takes it.
    pub(super) fn address(&self, request: &mut Request<String>) -> Result<(), WebSeedError> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let whole = format!("http://{host}{}", request.uri());
        *request.uri_mut() = whole.parse().map_err(|_| WebSeedError::Url("no proxy can be asked for it"))?;
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
        }
        Ok(())
    }

    /// Asks the proxy for a connection with an origin. Afterwards the bytes of the stream are the origin's.
    pub(super) async fn open(&self, stream: &mut TcpStream, origin: &WebOrigin) -> Result<(), WebSeedError> {
        let target = format!("{}:{}", origin.host, origin.port);
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let fault = |words: &str| WebSeedError::Proxy(format!("{} {words}", self.name()));
        let mut head = Vec::new();
        let answered = async {
            stream.write_all(&request).await?;
            // Byte by byte: what follows the head is not the proxy's.
            while !head.ends_with(b"\r\n\r\n") && head.len() < limits::WEBSEED_HEAD_BYTES {
                head.push(stream.read_u8().await?);
            }
            std::io::Result::Ok(())
        };
        answered.await.map_err(|error| fault(&format!("ended the connection: {error}")))?;
        let line = String::from_utf8_lossy(&head);
        let mut words = line.lines().next().unwrap_or_default().split(' ');
        let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
        let status = words.next().and_then(|word| word.parse::<u16>().ok());
        match status.filter(|_| http) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(fault("wants a user name and a password, or other ones (status 407)")),
            Some(status) => Err(fault(&format!("refuses the connection (status {status})"))),
            None => Err(fault("does not speak HTTP")),
        }
    }
}

/// Returns true if this name is one that local networks use.
pub(super) fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    !name.contains('.') || LOCAL_NAMES.iter().any(|local| is_below(&name, local))
}

/// Returns true if a name is this domain or one below it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Returns true if an entry of `no_proxy` is for this origin: `*`, a domain with those below it, an address,
/// or a network `ADDRESS/BITS`. A port may follow a domain or an IPv4 address.
fn is_excepted(entry: &str, origin: &WebOrigin) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(ip) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        return ip_of(&origin.host).is_some_and(|own| own == ip.to_canonical());
    }
    if let Some((net, bits)) = entry.split_once('/') {
        let network = net.parse::<IpAddr>().ok().zip(bits.parse::<u32>().ok());
        return network.zip(ip_of(&origin.host)).is_some_and(|((net, bits), ip)| is_within(ip, net, bits));
    }
    let (name, port) = match entry.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
        Some((name, Ok(port))) => (name, Some(port)),
        _ => (entry, None),
    };
    let domain = name.trim_start_matches('*').trim_start_matches('.');
    let host = origin.host.to_string();
    !domain.is_empty()
        && port.is_none_or(|port| port == origin.port)
        && is_below(host.trim_end_matches('.'), domain)
}

/// Returns the address that stands in place of a host's name.
fn ip_of(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
    }
}

/// Returns true if an address begins with this many bits of `net`.
fn is_within(ip: IpAddr, net: IpAddr, bits: u32) -> bool {
    let (ip, net, width) = match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => (u128::from(ip.to_bits()), u128::from(net.to_bits()), 32),
        (IpAddr::V6(ip), IpAddr::V6(net)) => (Ipv6Addr::to_bits(ip), Ipv6Addr::to_bits(net), 128),
        _ => return false,
    };
    bits <= width && (ip ^ net).checked_shr(width - bits).unwrap_or_default() == 0
}
