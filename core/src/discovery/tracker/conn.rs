//! A node's connection with a tracker. It is dialled when there is something to say, and closed after an idle
//! time.

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, Stream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::calls::{Called, Calls, Ready};
use super::frames;
use crate::limits;
use crate::net::address::{endpoint, split_peer};
use crate::net::transport;
use crate::wire::tracker::{Announce, TrackerAnswer};

/// Addresses of one DNS name that are tried.
const RESOLVED: usize = 4;

/// An open connection with a tracker.
pub struct TrackerConnection {
    network: libp2p::Swarm<Calls>,
    stream: Stream,
    at: Multiaddr,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for TrackerConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("at", &self.at).finish_non_exhaustive()
    }
}

impl TrackerConnection {
    /// Dials a tracker under this identity. The operating system resolves names (`/dns4/..`). If the address
    /// has `/p2p/..`, only that peer is accepted.
    ///
    /// # Errors
    /// The reason for the failure, as a phrase for a person.
    pub async fn open(address: &Multiaddr, key: &Keypair) -> Result<Self, String> {
        let mut failure = "its name has no address".to_owned();
        let addresses = resolve(address).await?;
        // An address that does not answer does not keep the next one waiting.
        let calls = addresses.iter().zip(0_u32..).map(async |(address, turn)| {
            sleep(limits::NEXT_ADDR * turn).await;
            Self::dial(address, key).await
        });
        let mut calls: FuturesUnordered<_> = calls.collect();
        while let Some(ended) = calls.next().await {
            match ended {
                Ok(connection) => return Ok(connection),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    /// Dials a tracker by the text of its address, under a new identity. For programs that inspect trackers.
    ///
    /// # Errors
    /// The errors of [`Self::open`], or a text that is not a multiaddr.
    pub async fn open_anew(address: &str) -> Result<Self, String> {
        let address = address.parse().map_err(|_| format!("{address} is not a multiaddr"))?;
        Self::open(&address, &Keypair::generate_ed25519()).await
    }

    async fn dial(address: &Multiaddr, key: &Keypair) -> Result<Self, String> {
        if endpoint(&split_peer(address).0).is_none_or(|end| end.relayed) {
            return Err("no address of a tracker".to_owned());
        }
        let transport = transport::build(key, false).map_err(|e| e.to_string())?;
        let mut network = transport::network(key, transport, Calls::default(), Duration::ZERO, Version::V1);
        let options = DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build();
        network.dial(options).map_err(|e| why(&e))?;
        loop {
            match network.select_next_some().await {
                SwarmEvent::Behaviour(Called::Ready(Ready { stream, peer, .. })) => {
                    let at = split_peer(address).0.with(Protocol::P2p(peer));
                    return Ok(Self { network, stream, at, buffer: Vec::new() });
                }
                SwarmEvent::Behaviour(Called::Failed(reason)) => return Err(reason),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(why(&error)),
                SwarmEvent::ConnectionClosed { .. } => return Err("closed at once".to_owned()),
                _ => {}
            }
        }
    }

    /// Returns the numeric address of the tracker, with its peer id.
    #[must_use]
    pub const fn at(&self) -> &Multiaddr {
        &self.at
    }

    /// Announces, and waits for the answer.
    ///
    /// # Errors
    /// The reason why there is no answer, as a phrase for a person. The connection is then of no more use.
    pub async fn ask(&mut self, announce: &Announce) -> Result<TrackerAnswer, String> {
        let Self { network, stream, buffer, .. } = self;
        let body = announce.encode().map_err(|e| e.to_string())?;
        let exchange = async {
            frames::write(stream, &body).await.map_err(|e| e.to_string())?;
            let frame = frames::read(stream, buffer).await.map_err(|e| e.to_string())?;
            TrackerAnswer::decode(frame).map_err(|e| format!("not a tracker's answer: {e}"))
        };
        tokio::select! {
            answer = exchange => answer,
            reason = closed(network) => Err(reason),
        }
    }

    /// Waits until the connection is closed, which may happen at any time. Returns the reason.
    pub async fn closed(&mut self) -> String {
        closed(&mut self.network).await
    }
}

async fn closed(network: &mut libp2p::Swarm<Calls>) -> String {
    loop {
        if let SwarmEvent::ConnectionClosed { cause, .. } = network.select_next_some().await {
            return cause.map_or_else(|| "closed".to_owned(), |e| e.to_string());
        }
    }
}

fn why(error: &DialError) -> String {
    crate::net::error::in_short(error)
}

/// True for a numeric address of a known form, and for the same form with a DNS name in place of the IP
/// address.
pub(crate) fn is_endpoint(address: &Multiaddr) -> bool {
    let is_name =
        |part: &Protocol<'_>| matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_));
    let bare = split_peer(address).0;
    let mut parts = bare.iter();
    match parts.next() {
        Some(first) if is_name(&first) => {
            let any = Multiaddr::from(IpAddr::from([0, 0, 0, 1]));
            endpoint(&parts.fold(any, |addr, part| addr.with(part))).is_some()
        }
        _ => endpoint(&bare).is_some(),
    }
}

/// Returns the address itself, or the addresses of its DNS name.
async fn resolve(address: &Multiaddr) -> Result<Vec<Multiaddr>, String> {
    let (name, v4, v6) = match address.iter().next() {
        Some(Protocol::Dns(name)) => (name, true, true),
        Some(Protocol::Dns4(name)) => (name, true, false),
        Some(Protocol::Dns6(name)) => (name, false, true),
        _ => return Ok(vec![address.clone()]),
    };
    let rest: Vec<Protocol<'_>> = address.iter().skip(1).collect();
    let found = tokio::net::lookup_host((name.as_ref(), 0)).await.map_err(|e| e.to_string())?;
    let fits = |ip: &IpAddr| if ip.is_ipv4() { v4 } else { v6 };
    let with_rest = |ip: IpAddr| {
        let first = Multiaddr::from(ip);
        rest.iter().fold(first, |addr, part| addr.with(part.clone()))
    };
    Ok(found.map(|at| at.ip()).filter(fits).take(RESOLVED).map(with_rest).collect())
}

/// Outcome of one announcement.
#[derive(Debug)]
pub(crate) struct TrackerReply {
    /// Number of the tracker, given to its link.
    pub(crate) tracker: u64,
    /// True if this answers an announcement; false if the connection was lost while there was nothing to say.
    pub(crate) asked: bool,
    /// Numeric address of the tracker, with its peer id.
    pub(crate) at: Option<Multiaddr>,
    /// Answer of the tracker, or the reason why there is none.
    pub(crate) answer: Result<TrackerAnswer, String>,
}

/// A task that sends announcements to one tracker. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct TrackerLink {
    announcements: mpsc::Sender<Announce>,
    task: AbortHandle,
}

impl TrackerLink {
    /// Starts the task. It takes one announcement at a time, and answers each with one [`TrackerReply`].
    pub(crate) fn start(
        tracker: u64,
        address: Multiaddr,
        key: Keypair,
        replies: mpsc::Sender<TrackerReply>,
    ) -> Self {
        let (announcements, asked) = mpsc::channel(1);
        let task = tokio::spawn(run(tracker, address, key, asked, replies)).abort_handle();
        Self { announcements, task }
    }

    /// Makes a link whose announcements go nowhere, to test the timing of announcements without a network.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let (announcements, mut asked) = mpsc::channel(1);
        let task = tokio::spawn(async move { while asked.recv().await.is_some() {} }).abort_handle();
        Self { announcements, task }
    }

    /// Hands over an announcement; false if the one before has not been answered.
    pub(crate) fn announce(&self, announce: Announce) -> bool {
        self.announcements.try_send(announce).is_ok()
    }
}

impl Drop for TrackerLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    tracker: u64,
    address: Multiaddr,
    key: Keypair,
    mut asked: mpsc::Receiver<Announce>,
    replies: mpsc::Sender<TrackerReply>,
) {
    let mut open: Option<TrackerConnection> = None;
    let mut idle = limits::TRACKER_IDLE;
    loop {
        let announce = match &mut open {
            Some(connection) => tokio::select! {
                announce = timeout(idle, asked.recv()) => match announce {
                    Ok(announce) => announce,
                    Err(_) => {
                        open = None;
                        continue;
                    }
                },
                // The tracker has ended or restarted: the sooner it hears of us again, the better.
                reason = connection.closed() => {
                    open = None;
                    if replies.send(TrackerReply { tracker, asked: false, at: None, answer: Err(reason) }).await.is_err() {
                        return;
                    }
                    continue;
                }
            },
            None => asked.recv().await,
        };
        let Some(announce) = announce else { return };
        // A node that wants nothing has nothing to say for a while.
        idle = if announce.ask.is_empty() { limits::TRACKER_IDLE_QUIET } else { limits::TRACKER_IDLE };
        let answer = timeout(limits::TRACKER_TIMEOUT, ask(&mut open, &address, &key, &announce)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let at = open.as_ref().map(|connection| connection.at().clone());
        if answer.is_err() {
            open = None;
        }
        if replies.send(TrackerReply { tracker, asked: true, at, answer }).await.is_err() {
            return;
        }
    }
}

async fn ask(
    open: &mut Option<TrackerConnection>,
    address: &Multiaddr,
    key: &Keypair,
    announce: &Announce,
) -> Result<TrackerAnswer, String> {
    let connection = match open {
        Some(connection) => connection,
        None => open.insert(TrackerConnection::open(address, key).await?),
    };
    connection.ask(announce).await
}
