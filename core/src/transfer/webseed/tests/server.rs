//! A web server that follows the script of a test.

use std::io;
use std::sync::Mutex;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::*;

/// One step of the answer to a request.
pub(super) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Does nothing for ever.
    Stall,
    /// Sends bytes without end, until the reader is gone.
    Flood,
    /// Ends the connection.
    Close,
}

/// A request that the server got.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The number of its connection, from 0.
    pub(super) connection: usize,
    /// All lines of its head.
    pub(super) head: String,
}

type Script = dyn Fn(&str, usize) -> Vec<Step> + Send + Sync;

/// A running server. It ends when it is dropped.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    secure: bool,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Starts a server that answers each request with the steps that the script returns for its head and
    /// number.
    pub(super) async fn start(script: impl Fn(&str, usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", None, script).await
    }

    /// Starts a server at this address, with TLS if settings for it are given.
    pub(super) async fn start_at(
        ip: &str,
        tls: Option<ServerConfig>,
        script: impl Fn(&str, usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, script): (Arc<Mutex<Vec<Asked>>>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let (end, ended) = watch::channel(0);
        let (secure, tls) = (tls.is_some(), tls.map(|tls| TlsAcceptor::from(Arc::new(tls))));
        let log = asked.clone();
        let accepting = tokio::spawn(async move {
            let (mut connections, end) = (JoinSet::new(), Arc::new(end));
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, log, script, end) = (tls.clone(), log.clone(), script.clone(), end.clone());
                connections.spawn(async move {
                    let _ = match tls {
                        None => serve(stream, connection, &log, &*script).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, connection, &log, &*script).await,
                            Err(error) => Err(error),
                        },
                    };
                    end.send_modify(|ended| *ended += 1);
                });
            }
        });
        Self { addr, secure, asked, ended, accepting }
    }

    /// Starts a server that serves ranges of a file.
    pub(super) async fn honest() -> Self {
        Self::start(|head, _| part(head, &file())).await
    }

    /// Returns a URL on this server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url_as(&self.addr.ip().to_string()))
    }

    /// Returns a URL on this server under one of its names.
    pub(super) fn url_as(&self, name: &str) -> String {
        format!("http{}://{name}:{}", if self.secure { "s" } else { "" }, self.addr.port())
    }

    /// Returns all requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns the number of the connection of each request.
    pub(super) fn connections(&self) -> Vec<usize> {
        self.asked().iter().map(|asked| asked.connection).collect()
    }

    /// Waits until this many connections have ended.
    pub(super) async fn ended(&self, connections: usize) {
        let mut ended = self.ended.clone();
        timeout(LONG, ended.wait_for(|ended| *ended >= connections)).await.expect("connections end").unwrap();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    log: &Mutex<Vec<Asked>>,
    script: &Script,
) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let number = {
            let mut log = log.lock().unwrap();
            log.push(Asked { connection, head: head.clone() });
            log.len() - 1
        };
        for step in script(&head, number) {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                // The end of a connection is noticed while nothing is sent.
                Step::Stall => return stream.read_u8().await.map(drop),
                Step::Flood => loop {
                    stream.write_all(&[b'x'; 1 << 14]).await?;
                },
                Step::Close => return stream.shutdown().await,
            }
        }
    }
}

/// Returns the range that a request asks for.
pub(super) fn range(head: &str) -> Range<u64> {
    let line = head.lines().find_map(|line| line.strip_prefix("range: bytes=")).expect("a range");
    let (first, last) = line.split_once('-').unwrap();
    first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
}

/// Returns the correct answer of a server that has this file.
pub(super) fn part(head: &str, file: &[u8]) -> Vec<Step> {
    part_and(head, file, "")
}

/// Returns the correct answer with more lines in its head.
pub(super) fn part_and(head: &str, file: &[u8], lines: &str) -> Vec<Step> {
    let range = range(head);
    let bytes = &file[range.start as usize..range.end as usize];
    let head = format!(
        "HTTP/1.1 206 Partial Content{lines}\nContent-Length: {}\nContent-Range: bytes {}-{}/{}",
        bytes.len(),
        range.start,
        range.end - 1,
        file.len()
    );
    raw(&head, bytes)
}
