//! Connections with web servers. They go to checked addresses only, and are kept for later ranges.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Host;

use super::address::{WebOrigin, of_internet};
use super::{WebSeedError, authorities};
use crate::limits;

/// A function that finds the addresses of a host name, with this port.
pub(super) type Lookup =
    Box<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The times for which a server is waited for. Each has its default in [`limits`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) progress: Duration,
}

/// The network between this machine and the servers. Tests replace it.
pub(super) struct WebNetwork {
    pub(super) lookup: Lookup,
    /// Returns true if an address is of the internet.
    pub(super) of_internet: fn(IpAddr) -> bool,
    /// The TLS settings; `None` for those of this machine.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) patience: Patience,
}

impl WebNetwork {
    /// Returns the network of this machine.
    pub(super) fn system() -> Self {
        Self {
            lookup: Box::new(|host, port| {
                Box::pin(async move { Ok(lookup_host((host.as_str(), port)).await?.collect()) })
            }),
            of_internet,
            tls: None,
            patience: Patience {
                connect: limits::WEBSEED_CONNECT,
                first_byte: limits::WEBSEED_FIRST_BYTE,
                progress: limits::WEBSEED_PROGRESS,
            },
        }
    }
}

/// The addresses to which connections may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressScope {
    /// Addresses of the internet.
    Internet,
    /// All addresses, also those of local networks and of this machine.
    Anywhere,
}

/// A connection on which nothing, or one answer, is under way.
pub(super) struct HttpConnection {
    origin: WebOrigin,
    /// True if it goes to an address of the internet.
    pub(super) of_internet: bool,
    sender: http1::SendRequest<String>,
    idle_since: Instant,
    _driver: Driver,
}

/// The task that moves a connection's bytes. It ends with the connection, so that a server sends no more of
/// an answer that is no longer read.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The connections of one web seed.
pub(super) struct Connections {
    pub(super) network: WebNetwork,
    /// Connections that are kept for later requests, the oldest first. At most [`limits::WEBSEED_IDLE`].
    idle: Mutex<Vec<HttpConnection>>,
}

impl Connections {
    /// Returns an empty set of connections over this network.
    pub(super) fn new(network: WebNetwork) -> Self {
        Self { network, idle: Mutex::default() }
    }

    /// Sends a request on a kept connection or on a new one. Returns the connection and the head of the
    /// answer.
    ///
    /// # Errors
    /// [`WebSeedError`] if no connection can be made, or if no answer comes in time.
    pub(super) async fn send(
        &self,
        origin: &WebOrigin,
        reach: AddressScope,
        request: impl Fn() -> Request<String>,
    ) -> Result<(HttpConnection, Response<Incoming>), WebSeedError> {
        if let Some(kept) = self.kept(origin, reach) {
            // A server may close a connection at the moment at which it is used again. Then there was no
            // answer, and the request goes over a new connection.
            match self.send_on(kept, request()).await {
                Err(WebSeedError::Lost(_)) => {}
                other => return other,
            }
        }
        let connecting = Box::pin(self.connect(origin, reach));
        let patience = self.network.patience.connect;
        let fresh = timeout(patience, connecting)
            .await
            .map_err(|_| WebSeedError::Slow { awaited: "connection", within: patience })??;
        self.send_on(fresh, request()).await
    }

    /// Sends a request on this connection and waits for the head of the answer.
    async fn send_on(
        &self,
        mut connection: HttpConnection,
        request: Request<String>,
    ) -> Result<(HttpConnection, Response<Incoming>), WebSeedError> {
        let patience = self.network.patience.first_byte;
        let answered = async {
            connection.sender.ready().await?;
            connection.sender.send_request(request).await
        };
        let answer = timeout(patience, answered)
            .await
            .map_err(|_| WebSeedError::Slow { awaited: "answer", within: patience })?
            .map_err(|error| match error.is_parse() {
                true => WebSeedError::BadAnswer("it is not HTTP, or its head is too long"),
                false => WebSeedError::Lost(error),
            })?;
        Ok((connection, answer))
    }

    /// Keeps a connection whose answer was read to its end or dropped. A connection that cannot be used again
    /// is recognised when it is looked for.
    pub(super) fn keep(&self, mut connection: HttpConnection) {
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(HttpConnection::is_fresh);
        if idle.len() >= limits::WEBSEED_IDLE {
            idle.remove(0);
        }
        idle.push(connection);
    }

    /// Makes all kept connections look idle for this much longer.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().for_each(|one| one.idle_since -= by);
    }

    /// Takes the kept connection that was used last, so that the others become idle and are closed.
    fn kept(&self, origin: &WebOrigin, reach: AddressScope) -> Option<HttpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(HttpConnection::is_fresh);
        let may = |one: &HttpConnection| {
            one.origin == *origin && (one.of_internet || reach == AddressScope::Anywhere)
        };
        let at = idle.iter().rposition(may)?;
        Some(idle.remove(at))
    }

    /// Makes a new connection with an address that may be used, with TLS if the origin has it.
    async fn connect(&self, origin: &WebOrigin, reach: AddressScope) -> Result<HttpConnection, WebSeedError> {
        let addrs = self.addresses(origin, reach).await?;
        let unreachable = |error| WebSeedError::Unreachable { host: origin.host.to_string(), error };
        let tcp = connect_any(addrs).await.map_err(unreachable)?;
        let _ = tcp.set_nodelay(true);
        let of_internet = (self.network.of_internet)(tcp.peer_addr().map_err(unreachable)?.ip());
        let (sender, driver) = if origin.secure {
            let config = match &self.network.tls {
                Some(config) => config.clone(),
                None => authorities::config().await?,
            };
            speak(shake_hands(config, tcp, &origin.host).await?).await?
        } else {
            speak(tcp).await?
        };
        let origin = origin.clone();
        Ok(HttpConnection { origin, of_internet, sender, idle_since: Instant::now(), _driver: driver })
    }

    /// Returns the addresses of a host to which connections may go. The name is not looked up again after the
    /// check.
    async fn addresses(
        &self,
        origin: &WebOrigin,
        reach: AddressScope,
    ) -> Result<Vec<SocketAddr>, WebSeedError> {
        let addrs = match &origin.host {
            Host::Domain(name) => (self.network.lookup)(name.clone(), origin.port)
                .await
                .map_err(|error| WebSeedError::NoSuchHost { host: name.clone(), error })?,
            Host::Ipv4(ip) => vec![SocketAddr::from((*ip, origin.port))],
            Host::Ipv6(ip) => vec![SocketAddr::from((*ip, origin.port))],
        };
        let host = || origin.host.to_string();
        if addrs.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "it has no address");
            return Err(WebSeedError::NoSuchHost { host: host(), error });
        }
        let may =
            |addr: &SocketAddr| reach == AddressScope::Anywhere || (self.network.of_internet)(addr.ip());
        let addrs = by_turns(addrs.into_iter().filter(may));
        if addrs.is_empty() { Err(WebSeedError::Forbidden { host: host() }) } else { Ok(addrs) }
    }
}

impl HttpConnection {
    /// Returns true if the server has not closed the connection, and it has not been idle for too long.
    fn is_fresh(&self) -> bool {
        !self.sender.is_closed() && self.idle_since.elapsed() < limits::WEBSEED_IDLE_FOR
    }
}

/// Returns each address once, in the resolver's order but IPv6 and IPv4 in turn (RFC 8305), and at most
/// [`limits::WEBSEED_ADDRS`].
pub(super) fn by_turns(addrs: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut order: Vec<SocketAddr> = Vec::new();
    for addr in addrs {
        if !order.contains(&addr) {
            order.push(addr);
        }
    }
    let first_is_v6 = order.first().is_some_and(SocketAddr::is_ipv6);
    let of_its_kind = |index: usize| {
        let same = order[..index].iter().filter(|other| other.is_ipv6() == order[index].is_ipv6());
        (same.count(), order[index].is_ipv6() != first_is_v6)
    };
    let mut turns: Vec<usize> = (0..order.len()).collect();
    turns.sort_by_key(|index| of_its_kind(*index));
    turns.into_iter().take(limits::WEBSEED_ADDRS).map(|index| order[index]).collect()
}

/// Connects to the first address that answers. Each gets a head start on the next (RFC 8305).
async fn connect_any(addrs: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let (mut rest, mut tries) = (addrs.into_iter(), FuturesUnordered::new());
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        tries.extend(rest.next().map(TcpStream::connect));
        let head_start = if rest.len() == 0 { Duration::MAX } else { limits::NEXT_ADDR };
        match timeout(head_start, tries.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) => return Err(failure),
            Err(_) => {}
        }
    }
}

/// Makes the TLS handshake with a server, which must prove its name.
async fn shake_hands(
    config: Arc<ClientConfig>,
    tcp: TcpStream,
    host: &Host,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, WebSeedError> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|_| WebSeedError::Url("TLS knows no such names as that of its host"))?,
        Host::Ipv4(ip) => ServerName::from(IpAddr::from(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::from(*ip)),
    };
    TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
        let host = host.to_string();
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(fault)) => {
                WebSeedError::Untrusted { host, fault: in_words(fault) }
            }
            _ => WebSeedError::NotSecured { host, error },
        }
    })
}

/// Returns the fault of a certificate in words. They hold no text of the server.
const fn in_words(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired (or this machine's clock is wrong)"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet (or this machine's clock is wrong)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another name"
        }
        CertificateError::UnknownIssuer => "is by nobody whom this machine trusts",
        CertificateError::Revoked => "was revoked",
        _ => "is not valid",
    }
}

/// Starts HTTP/1.1 on a new connection, and the task that moves its bytes.
async fn speak<S>(stream: S) -> Result<(http1::SendRequest<String>, Driver), WebSeedError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(limits::WEBSEED_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(WebSeedError::Lost)?;
    let driving = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection with a web seed");
        }
    });
    Ok((sender, Driver(driving.abort_handle())))
}
