//! Connections and streams: our own transport, driven by hand.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, mpsc::Sender};
use std::task::Poll;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, Transport, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc::{Receiver, Sender as AsyncSender, channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Shared, session};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The streams of a session, in the order in which an honest dialler opens them.
pub(super) const PROTOCOLS: [&str; 2] = ["/swarm/chunk/1/data", "/swarm/chunk/1/control"];
/// First message of every negotiation; from the multistream-select spec.
const MULTISTREAM: &str = "/multistream/1.0.0";

/// Streams of the other end that wait to be taken.
const STREAMS: usize = 64;

/// A connection that runs in a task of its own until this goes away.
pub(super) struct Connection {
    /// Peer at the other end.
    pub(super) peer: PeerId,
    open: AsyncSender<oneshot::Sender<SubstreamBox>>,
    /// Streams the other end opened. Ends with the connection.
    pub(super) arrived: Receiver<SubstreamBox>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Breaks it off.
    pub(super) fn hangup(&self) -> AbortHandle {
        self.task.clone()
    }

    fn new((peer, mut muxer): (PeerId, StreamMuxerBox)) -> Self {
        let (open, mut wanted) = channel::<oneshot::Sender<SubstreamBox>>(1);
        let (arrive, arrived) = channel(STREAMS);
        let mut reply = None;
        let run = futures::future::poll_fn(move |cx| {
            loop {
                if muxer.poll_unpin(cx)?.is_ready() {
                    continue;
                }
                if reply.is_none()
                    && let Poll::Ready(Some(next)) = wanted.poll_recv(cx)
                {
                    reply = Some(next);
                }
                if reply.is_some()
                    && let Poll::Ready(stream) = muxer.poll_outbound_unpin(cx)?
                    && let Some(reply) = reply.take()
                {
                    // Whoever asked may have gone.
                    let _ = reply.send(stream);
                    continue;
                }
                if let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx)? {
                    // One that nobody takes is refused.
                    let _ = arrive.try_send(stream);
                    continue;
                }
                return Poll::<io::Result<()>>::Pending;
            }
        });
        let task = tokio::spawn(run).abort_handle();
        Self { peer, open, arrived, task }
    }

    /// Opens a stream and negotiates a protocol on it.
    pub(super) async fn open(&self, protocol: &str) -> Outcome<SubstreamBox> {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.map_err(|_| "the connection is gone")?;
        let mut stream = stream.await?;
        propose(&mut stream, protocol).await?;
        Ok(stream)
    }

    /// Both streams of a session, opened by us.
    pub(super) async fn open_session(&self) -> Outcome<[SubstreamBox; 2]> {
        let [data, control] = PROTOCOLS;
        Ok([self.open(data).await?, self.open(control).await?])
    }

    /// Both streams of a session, opened by the other end.
    async fn accept_session(&mut self) -> Outcome<[SubstreamBox; 2]> {
        let (mut data, mut control) = (None, None);
        while data.is_none() || control.is_none() {
            let mut stream = self.arrived.recv().await.ok_or("the connection is gone")?;
            match accept(&mut stream).await?.as_str() {
                protocol if protocol == PROTOCOLS[0] => data = Some(stream),
                _ => control = Some(stream),
            }
        }
        Ok([data.ok_or("no data")?, control.ok_or("no control")?])
    }
}

/// Connects, with the identity of `key`.
pub(super) async fn connect(key: &Keypair, addr: Multiaddr) -> Outcome<Connection> {
    let mut transport = swarm_core::net::transport::build(key, false)?;
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let bare = addr.iter().filter(|part| !matches!(part, libp2p::multiaddr::Protocol::P2p(_))).collect();
    Ok(Connection::new(transport.dial(bare, options)?.await?))
}

/// Dials once and runs the session to its end.
pub(super) async fn dial(key: &Keypair, addr: Multiaddr, shared: Arc<Shared>) -> Outcome<()> {
    let connection = connect(key, addr).await?;
    let streams = connection.open_session().await?;
    session::run(connection, streams, shared).await;
    Ok(())
}

/// Listens, tells where, and runs a session with everybody who comes.
pub(super) async fn listen(
    key: &Keypair,
    at: &str,
    shared: Arc<Shared>,
    tell: Sender<Multiaddr>,
) -> Outcome<()> {
    let mut transport = swarm_core::net::transport::build(key, false)?;
    transport.listen_on(ListenerId::next(), at.parse()?)?;
    loop {
        match futures::future::poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await {
            TransportEvent::NewAddress { listen_addr, .. } => tell.send(listen_addr)?,
            TransportEvent::Incoming { upgrade, .. } => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut connection = Connection::new(upgrade.await?);
                    let streams = connection.accept_session().await?;
                    session::run(connection, streams, shared).await;
                    Outcome::Ok(())
                });
            }
            TransportEvent::ListenerError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}

/// multistream-select as the one who proposes.
pub(super) async fn propose(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    protocol: &str,
) -> io::Result<()> {
    stream.write_all(&[line(MULTISTREAM), line(protocol)].concat()).await?;
    stream.flush().await?;
    for want in [MULTISTREAM, protocol] {
        let got = read_line(stream).await?;
        if got != want {
            return Err(io::Error::other(format!("{got} in place of {want}")));
        }
    }
    Ok(())
}

/// multistream-select as the one who agrees, to whatever it is.
async fn accept(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<String> {
    read_line(stream).await?;
    stream.write_all(&line(MULTISTREAM)).await?;
    stream.flush().await?;
    let protocol = read_line(stream).await?;
    stream.write_all(&line(&protocol)).await?;
    stream.flush().await?;
    Ok(protocol)
}

/// A length of one byte is enough for all names there are.
fn line(text: &str) -> Vec<u8> {
    let mut line = vec![text.len() as u8 + 1];
    line.extend(text.as_bytes());
    line.push(b'\n');
    line
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut len = [0];
    stream.read_exact(&mut len).await?;
    let mut text = vec![0; usize::from(len[0])];
    stream.read_exact(&mut text).await?;
    text.pop();
    String::from_utf8(text).map_err(io::Error::other)
}
