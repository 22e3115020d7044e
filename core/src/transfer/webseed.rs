//! Web seeds: ranges of one file, read over HTTP from a server that a link names.
//!
//! Goals: no server is trusted for anything, so whoever calls verifies every byte; no link or redirect makes this machine
//! speak to something that its owner keeps from the internet; nothing of ours goes out but the request; what a server
//! sends costs a bounded amount of memory, and no server keeps a reader waiting for ever.
//!
//! Each name is looked up by us, each address it has is looked at, and the connection goes to one of those: there is no
//! second lookup that could say something else. Redirects are followed by us, and each target is looked at the same way.
//!
//! Absences: no proxies, no cookies, no credentials, no referer, no compression: bytes are taken as they are, whatever
//! `Content-Encoding` claims, for a file `x.gz` is often served with one. No `If-Range`: a file that changed is found out
//! by its bytes, and mirrors do not agree on tags. No HTTP/2: ranges in parallel are connections in parallel.

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

/// Who we say we are.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("swarm/", env!("CARGO_PKG_VERSION")));

/// Why nothing, or not everything, was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSeedError {
    /// The link's fault.
    #[error("the address of the web seed cannot be used: {0}")]
    Url(&'static str),
    /// The link's fault, the server's that redirects, or that of whoever answers for the name.
    #[error("the web seed leads to {host}, which is not on the internet: nothing is fetched from there")]
    Forbidden {
        /// The name or address.
        host: String,
    },
    /// The server's fault.
    #[error("the web server sends us to another address that is not followed: {0}")]
    Redirect(&'static str),
    /// The link's fault, or that of the line.
    #[error("no address was found for the web server {host}: {error}")]
    NoSuchHost {
        /// The name.
        host: String,
        /// The resolver's answer.
        #[source]
        error: io::Error,
    },
    /// The line's fault, or the server's.
    #[error("the web server {host} cannot be reached: {error}")]
    Unreachable {
        /// The name or address.
        host: String,
        /// The last address' failure.
        #[source]
        error: io::Error,
    },
    /// This machine's fault.
    #[error("the certificates that this machine trusts cannot be read: {0}")]
    NoAuthorities(String),
    /// The server's fault, or this machine does not know whom to trust.
    #[error("the certificate of the web server {host} {fault}")]
    Untrusted {
        /// The name or address.
        host: String,
        /// In words.
        fault: &'static str,
    },
    /// The server's fault, or that of the line.
    #[error("no secure connection with the web server {host}: {error}")]
    NotSecured {
        /// The name or address.
        host: String,
        /// What went wrong.
        #[source]
        error: io::Error,
    },
    /// The server's fault, or that of the line.
    #[error("the web server is slow: no {awaited} within {} s", within.as_secs_f32())]
    Slow {
        /// What did not come.
        awaited: &'static str,
        /// In this time.
        within: Duration,
    },
    /// The server's fault, or that of the line.
    #[error("the connection with the web server broke: {0}")]
    Lost(#[source] hyper::Error),
    /// The server's fault.
    #[error("the web server's answer makes no sense: {0}")]
    BadAnswer(&'static str),
    /// The server cannot do it.
    #[error("the web server gives files only as a whole, not in parts")]
    NoRanges,
    /// The server cannot do it.
    #[error("the web server does not say how long the file is")]
    NoLength,
    /// The server, or whoever keeps files there, took it away.
    #[error("the web server does not have the file (status {0})")]
    Missing(u16),
    /// The server does not want to.
    #[error("the web server refuses to give the file (status {0})")]
    Refused(u16),
    /// The server has too much to do, or has had enough of us.
    #[error("the web server is busy (status {status})")]
    Busy {
        /// Its answer.
        status: u16,
        /// It asks to be left alone for so long, [`limits::WEBSEED_WAIT`] at most.
        wait: Option<Duration>,
    },
    /// The server's fault.
    #[error("the web server failed (status {0})")]
    Failed(u16),
    /// Somebody changed the file.
    #[error("the file on the web server was {before} bytes long and is {now}")]
    Changed {
        /// Told first.
        before: u64,
        /// Told now.
        now: u64,
    },
    /// It is another file than was thought.
    #[error("the file on the web server ends before the bytes that were asked for")]
    PastEnd {
        /// Where it ends, if the server says so.
        length: Option<u64>,
    },
    /// The server's fault, or that of the line.
    #[error("the web server sent {got} of {asked} bytes")]
    Short {
        /// Bytes that came.
        got: u64,
        /// Bytes asked for.
        asked: u64,
    },
    /// The server's fault.
    #[error("the web server sent more bytes than it was asked for")]
    Long,
}

impl WebSeedError {
    /// Whether it is no use to try again.
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

/// One file at one web server. Reads may run side by side: each has a connection of its own then.
pub(crate) struct WebSeed {
    target: WebSeedUrl,
    reach: AddressScope,
    connections: Connections,
    /// The file's, as told first.
    length: OnceLock<u64>,
}

impl WebSeed {
    /// Connects to nothing yet. `private`: addresses that are not of the internet may be reached, because the owner of this
    /// machine said so.
    ///
    /// # Errors
    /// [`WebSeedError::Url`] when this is no address that is ever asked.
    pub(crate) fn new(url: &str, private: bool) -> Result<Self, WebSeedError> {
        Self::within(WebNetwork::system(), url, private)
    }

    fn within(network: WebNetwork, url: &str, private: bool) -> Result<Self, WebSeedError> {
        Ok(Self {
            target: WebSeedUrl::parse(url, limits::WEBSEED_URL_BYTES).map_err(WebSeedError::Url)?,
            reach: if private { AddressScope::Anywhere } else { AddressScope::Internet },
            connections: Connections::new(network),
            length: OnceLock::new(),
        })
    }

    /// The length of the file; a server that tells it to this serves ranges.
    ///
    /// # Errors
    /// [`WebSeedError`], whatever kept the server from telling.
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

    /// Reads exactly these bytes in order and hands each piece to `take` as it arrives, never more than was asked for. To
    /// cancel, drop the future: the connection is closed.
    ///
    /// # Errors
    /// [`WebSeedError`]; `take` may have got a part by then.
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

    /// The first answer that is no redirect.
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
                // Who is out there has no say about what is in here.
                reach = AddressScope::Internet;
            }
            drop(answer);
            self.connections.keep(connection);
        }
        Err(WebSeedError::Redirect("there are too many in a row"))
    }
}

const fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

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

/// Hands on a body of exactly so many bytes.
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
            // What is not data is a trailer.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            // hyper tells nobody an end that came too soon from a line that broke.
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
