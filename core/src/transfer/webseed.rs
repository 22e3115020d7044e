//! Web seeds: ranges of one file, read over HTTP from a server that a link names.
//!
//! Goals: No server is trusted, so the caller verifies every byte. No link and no redirect makes this machine
//! speak to a service that its owner keeps from the internet. No data of this machine goes out but the
//! request. The bytes of a server cost a bounded amount of memory, and no server keeps a reader waiting for
//! ever.
//!
//! This module looks up each host name and checks each of its addresses, and connects to one of those: there
//! is no second lookup that could give another answer. It follows redirects itself, and checks each target in
//! this way.
//!
//! Absences: no proxies, no cookies, no credentials, no referer. No compression: bytes are taken as they are,
//! whatever `Content-Encoding` claims, because a file `x.gz` is often served with one. No `If-Range`: the
//! bytes show whether a file has changed, and mirrors do not agree on tags. No HTTP/2: parallel ranges have
//! parallel connections.

mod address;
mod answer;
mod authorities;
mod connection;

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue, LOCATION, RANGE, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use tokio::time::timeout;

use crate::limits;
use address::WebSeedUrl;
use connection::{AddressScope, Connections, HttpConnection, WebNetwork};

/// Name and version of this program, as servers are told.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("swarm/", env!("CARGO_PKG_VERSION")));

/// The reason for which not all requested bytes were read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSeedError {
    /// The link has a URL that is never requested.
    #[error("the address of the web seed cannot be used: {0}")]
    Url(&'static str),
    /// The link or a redirect leads to a host whose addresses are not of the internet.
    #[error("the web seed leads to {host}, which is not on the internet: nothing is fetched from there")]
    Forbidden {
        /// The host's name or address.
        host: String,
    },
    /// The server redirects to a URL that is never requested, or too often.
    #[error("the web server sends us to another address that is not followed: {0}")]
    Redirect(&'static str),
    /// The name of the host has no address, or cannot be looked up.
    #[error("no address was found for the web server {host}: {error}")]
    NoSuchHost {
        /// The host's name.
        host: String,
        /// The resolver's error.
        #[source]
        error: io::Error,
    },
    /// No address of the host accepts a connection.
    #[error("the web server {host} cannot be reached: {error}")]
    Unreachable {
        /// The host's name or address.
        host: String,
        /// The error at the last address.
        #[source]
        error: io::Error,
    },
    /// This machine has no list of trusted certificate authorities that can be read.
    #[error("the certificates that this machine trusts cannot be read: {0}")]
    NoAuthorities(String),
    /// The server's certificate is not valid, or this machine does not trust its issuer.
    #[error("the certificate of the web server {host} {fault}")]
    Untrusted {
        /// The host's name or address.
        host: String,
        /// The fault of the certificate, in words.
        fault: &'static str,
    },
    /// The TLS handshake failed for another reason.
    #[error("no secure connection with the web server {host}: {error}")]
    NotSecured {
        /// The host's name or address.
        host: String,
        /// The error of the handshake.
        #[source]
        error: io::Error,
    },
    /// The server, or the line to it, is too slow.
    #[error("the web server is slow: no {awaited} within {} s", within.as_secs_f32())]
    Slow {
        /// The event that did not come.
        awaited: &'static str,
        /// The time in which it did not come.
        within: Duration,
    },
    /// The connection broke.
    #[error("the connection with the web server broke: {0}")]
    Lost(#[source] hyper::Error),
    /// The answer breaks the rules of HTTP, or is not for this request.
    #[error("the web server's answer makes no sense: {0}")]
    BadAnswer(&'static str),
    /// The server does not serve ranges.
    #[error("the web server gives files only as a whole, not in parts")]
    NoRanges,
    /// The server serves ranges without the length of the file.
    #[error("the web server does not say how long the file is")]
    NoLength,
    /// The file is not on the server (any longer).
    #[error("the web server does not have the file (status {0})")]
    Missing(u16),
    /// The server refuses the request, with this status.
    #[error("the web server refuses to give the file (status {0})")]
    Refused(u16),
    /// The server has too much to do, or gets too many requests from this machine.
    #[error("the web server is busy (status {status})")]
    Busy {
        /// The status of the answer.
        status: u16,
        /// The time for which the server asks for a pause, at most [`limits::WEBSEED_WAIT`]; `None` if it
        /// does not.
        wait: Option<Duration>,
    },
    /// The server failed, with this status.
    #[error("the web server failed (status {0})")]
    Failed(u16),
    /// The file on the server has another length than before.
    #[error("the file on the web server was {before} bytes long and is {now}")]
    Changed {
        /// The length in the first answer, in bytes.
        before: u64,
        /// The length in this answer, in bytes.
        now: u64,
    },
    /// The file on the server is shorter than the requested range.
    #[error("the file on the web server ends before the bytes that were asked for")]
    PastEnd {
        /// The length of the file in bytes, if the server says it.
        length: Option<u64>,
    },
    /// The answer ended before all requested bytes had come.
    #[error("the web server sent {got} of {asked} bytes")]
    Short {
        /// Bytes that came.
        got: u64,
        /// Bytes that were requested.
        asked: u64,
    },
    /// The answer goes on after the requested bytes.
    #[error("the web server sent more bytes than it was asked for")]
    Long,
}

impl WebSeedError {
    /// Returns true if another attempt would be of no use.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Url(_)
            | Self::Forbidden { .. }
            | Self::Redirect(_)
            | Self::Untrusted { .. }
            | Self::NoRanges
            | Self::NoLength
            | Self::Missing(_)
            | Self::Refused(_)
            | Self::Changed { .. }
            | Self::PastEnd { .. } => true,
            Self::NoSuchHost { .. }
            | Self::Unreachable { .. }
            | Self::NoAuthorities(_)
            | Self::NotSecured { .. }
            | Self::Slow { .. }
            | Self::Lost(_)
            | Self::BadAnswer(_)
            | Self::Busy { .. }
            | Self::Failed(_)
            | Self::Short { .. }
            | Self::Long => false,
        }
    }
}

/// One file on one web server. Several reads may run at once, each on a connection of its own.
pub(crate) struct WebSeed {
    target: WebSeedUrl,
    reach: AddressScope,
    connections: Connections,
    /// Length of the file in bytes, from the first answer that says it.
    length: OnceLock<u64>,
}

impl WebSeed {
    /// Returns the file at this URL, without a connection yet. `private` is true if the owner of this machine
    /// allows addresses that are not of the internet.
    ///
    /// # Errors
    /// [`WebSeedError::Url`] if this URL is never requested.
    pub(crate) fn new(url: &str, private: bool) -> Result<Self, WebSeedError> {
        Self::within(WebNetwork::system(), url, private)
    }

    /// Returns the file at this URL, reached over this network.
    fn within(network: WebNetwork, url: &str, private: bool) -> Result<Self, WebSeedError> {
        Ok(Self {
            target: WebSeedUrl::parse(url, limits::WEBSEED_URL_BYTES).map_err(WebSeedError::Url)?,
            reach: if private { AddressScope::Anywhere } else { AddressScope::Internet },
            connections: Connections::new(network),
            length: OnceLock::new(),
        })
    }

    /// Returns the length of the file in bytes. Asks the server for the first byte if it is not known: a
    /// server that answers serves ranges.
    ///
    /// # Errors
    /// [`WebSeedError`] if the server does not say the length.
    pub(crate) async fn len(&self) -> Result<u64, WebSeedError> {
        if self.length.get().is_none() {
            match self.read(0..1, |_| {}).await {
                // An empty file has no first byte.
                Err(WebSeedError::PastEnd { length: Some(0) }) => return Ok(0),
                other => other?,
            }
        }
        self.length.get().copied().ok_or(WebSeedError::NoLength)
    }

    /// Reads exactly these bytes in order, and hands each piece to `take` as it arrives. To cancel, drop the
    /// future: it closes the connection.
    ///
    /// # Errors
    /// [`WebSeedError`] if not all bytes came. `take` may have got a part of them by then.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        take: impl FnMut(&[u8]) + Send,
    ) -> Result<(), WebSeedError> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(length) = self.length.get().copied().filter(|length| *length < range.end) {
            return Err(WebSeedError::PastEnd { length: Some(length) });
        }
        let (connection, answer) = self.ask(&range).await?;
        if let Some(now) = answer::check(&answer, &range)? {
            let before = *self.length.get_or_init(|| now);
            if before != now {
                return Err(WebSeedError::Changed { before, now });
            }
        }
        let patience = self.connections.network.patience.progress;
        receive(answer.into_body(), range.end - range.start, patience, take).await?;
        self.connections.keep(connection);
        Ok(())
    }

    /// Requests a range and follows redirects. Returns the first answer that is no redirect, and its
    /// connection.
    async fn ask(&self, range: &Range<u64>) -> Result<(HttpConnection, Response<Incoming>), WebSeedError> {
        let (mut followed, mut reach) = (None, self.reach);
        for _ in 0..=limits::WEBSEED_REDIRECTS {
            let target = followed.as_ref().unwrap_or(&self.target);
            let origin = target.origin();
            let sending = self.connections.send(&origin, reach, || request(target, range));
            let (connection, answer) = Box::pin(sending).await?;
            if !leads_on(answer.status()) {
                return Ok((connection, answer));
            }
            let location =
                answer.headers().get(LOCATION).ok_or(WebSeedError::Redirect("it is not stated"))?;
            let next = target.follow(location.as_bytes(), limits::WEBSEED_REDIRECT_BYTES);
            followed = Some(next.map_err(WebSeedError::Redirect)?);
            if connection.of_internet {
                // A server on the internet must not send this machine to addresses of its local network.
                reach = AddressScope::Internet;
            }
            drop(answer);
            self.connections.keep(connection);
        }
        Err(WebSeedError::Redirect("there are too many in a row"))
    }
}

/// Returns true if this is the status of a redirect.
const fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the request for a range of bytes that is not empty.
fn request(target: &WebSeedUrl, range: &Range<u64>) -> Request<String> {
    let mut request = Request::new(String::new());
    *request.uri_mut() = target.path().clone();
    let headers = request.headers_mut();
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    headers.insert(HOST, text(target.authority()));
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(RANGE, text(&format!("bytes={}-{}", range.start, range.end - 1)));
    request
}

/// Hands the body of an answer to `take`. It must have exactly as many bytes as were `asked` for, and each
/// piece must come within `patience`.
async fn receive(
    mut body: Incoming,
    asked: u64,
    patience: Duration,
    mut take: impl FnMut(&[u8]) + Send,
) -> Result<(), WebSeedError> {
    let mut got = 0;
    loop {
        let next = timeout(patience, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await;
        let piece = match next.map_err(|_| WebSeedError::Slow { awaited: "more", within: patience })? {
            // A frame without data is a trailer.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            // hyper gives the same error for an end that came too soon and for a line that broke.
            Some(Err(_)) if got < asked => return Err(WebSeedError::Short { got, asked }),
            Some(Err(error)) => return Err(WebSeedError::Lost(error)),
            None if got < asked => return Err(WebSeedError::Short { got, asked }),
            None => return Ok(()),
        };
        let room = usize::try_from(asked - got).unwrap_or(usize::MAX).min(piece.len());
        if room > 0 {
            take(&piece[..room]);
            got += room as u64;
        }
        if room < piece.len() {
            return Err(WebSeedError::Long);
        }
    }
}

#[cfg(test)]
mod tests;
