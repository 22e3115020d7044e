//! Connections with web servers: to checked addresses only, kept for later ranges.

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

/// Finds the addresses of a name.
pub(super) type Lookup =
    Box<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// How long a server is waited for; each from its namesake in [`limits`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) progress: Duration,
}

/// What lies between us and the servers. Tests put something else in its place.
pub(super) struct WebNetwork {
    pub(super) lookup: Lookup,
    pub(super) of_internet: fn(IpAddr) -> bool,
    /// Whom to trust with names: if nobody is given, those whom this machine trusts.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) patience: Patience,
}

impl WebNetwork {
    /// That of this machine.
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

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressScope {
    /// Those that anybody could reach.
    Internet,
    /// Those of local networks and of this machine, too.
    Anywhere,
}

/// A connection on which nothing is under way, or one answer.
pub(super) struct HttpConnection {
    origin: WebOrigin,
    /// It goes to an address of the internet.
    pub(super) of_internet: bool,
    sender: http1::SendRequest<String>,
    idle_since: Instant,
    _driver: Driver,
}

/// The task that moves a connection's bytes ends with it: who stops reading an answer is sent no more of it.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes connections and keeps some.
pub(super) struct Connections {
    pub(super) network: WebNetwork,
    /// Oldest first, [`limits::WEBSEED_IDLE`] at most.
    idle: Mutex<Vec<HttpConnection>>,
}

impl Connections {
    pub(super) fn new(network: WebNetwork) -> Self {
        Self { network, idle: Mutex::default() }
    }

    /// Sends a request on a kept connection, or on a new one.
    pub(super) async fn send(
        &self,
        origin: &WebOrigin,
        reach: AddressScope,
        request: impl Fn() -> Request<String>,
    ) -> Result<(HttpConnection, Response<Incoming>), WebSeedError> {
        if let Some(kept) = self.kept(origin, reach) {
            // A server may close a connection at the moment it is used again. That is nobody's fault, and nothing was
            // answered: a new one is made.
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

    /// Keeps a connection whose answer was read to its end, or dropped: one that cannot be used again is found out then.
    pub(super) fn keep(&self, mut connection: HttpConnection) {
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(HttpConnection::is_fresh);
        if idle.len() >= limits::WEBSEED_IDLE {
            idle.remove(0);
        }
        idle.push(connection);
    }

    /// As if all kept connections had been idle for so much longer.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().for_each(|one| one.idle_since -= by);
    }

    /// The kept connection that was used last: the others may come to rest.
    fn kept(&self, origin: &WebOrigin, reach: AddressScope) -> Option<HttpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(HttpConnection::is_fresh);
        let may = |one: &HttpConnection| {
            one.origin == *origin && (one.of_internet || reach == AddressScope::Anywhere)
        };
        let at = idle.iter().rposition(may)?;
        Some(idle.remove(at))
    }

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

    /// The addresses of a host that may be connected to; nobody looks the name up again before they are.
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
    fn is_fresh(&self) -> bool {
        !self.sender.is_closed() && self.idle_since.elapsed() < limits::WEBSEED_IDLE_FOR
    }
}

/// Each once, in the resolver's order but IPv6 and IPv4 by turns, and not too many.
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

/// The first of these that answers; each gets a head start on the next.
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

/// TLS, with a server that proves its name.
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

/// What is wrong with a certificate; nothing that its server wrote.
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

/// Begins HTTP on a new connection.
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
