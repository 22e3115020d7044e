//! The tracker's end of the protocol: accepts connections under limits, reads announcements, and hands each
//! over for an answer. It decides nothing about them.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::TransportError;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, autonat, identify, relay};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::calls::{Called, Calls, Ready};
use super::frames;
use crate::discovery::peer_cache;
use crate::limits;
use crate::net::address::{ip_of, parse};
use crate::net::behaviour::{identify as show, relay_limits};
use crate::net::connection_limits::{ConnectionLimits, GateLimits};
use crate::net::error::{StartError, root_cause};
use crate::net::{identity, transport};
use crate::wire::tracker::{Announce, TrackerAnswer};

/// Options of a tracker's listener.
#[derive(Debug, Clone)]
pub struct DeskOptions {
    /// Multiaddrs to listen on.
    pub listen: Vec<String>,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address, behind which there may be a whole office.
    pub per_address: usize,
    /// Announcements per second that one connection may make in the long run.
    pub rate: u32,
    /// External multiaddrs, for a tracker that cannot find them out by itself.
    pub external: Vec<String>,
    /// True if content may pass through the tracker's relay.
    pub relay_content: bool,
}

/// An announcement that waits for its answer.
#[derive(Debug)]
pub struct AnnounceCall {
    /// Binary peer id of the node that announces, which it has proven.
    pub node: Vec<u8>,
    /// IP address of the node.
    pub from: IpAddr,
    /// Address of the node as a binary multiaddr.
    pub seen: Vec<u8>,
    /// The announcement.
    pub announce: Announce,
    /// Channel for the answer.
    pub reply: oneshot::Sender<TrackerAnswer>,
}

/// Counters of a listener.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that have a substream now.
    pub connections: AtomicU64,
    /// Messages that no honest node sends.
    pub bad: AtomicU64,
}

/// A running listener. It ends when this value is dropped.
#[derive(Debug)]
pub struct TrackerListener {
    /// Addresses at which the tracker is reached, with `/p2p/..`; more may come.
    pub listen: watch::Receiver<Vec<String>>,
    /// Announcements to be answered.
    pub calls: mpsc::Receiver<AnnounceCall>,
    /// Counters of this listener.
    pub counts: Arc<Counts>,
    /// Connections that were refused, by reason.
    pub refused: watch::Receiver<Vec<(String, u64)>>,
    _task: JoinSet<()>,
}

/// Time between updates of the counts of refusals.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Announcements that one connection may make ahead of its rate.
const BURST: u32 = 64;
/// Outbound connections at once.
const DIALS: usize = 32;
/// Bytes of capacity above which a buffer is freed after use.
const KEPT_BUFFER: usize = 4 << 10;

#[derive(NetworkBehaviour)]
struct ListenerBehaviour {
    gate: ConnectionLimits,
    calls: Calls,
    identify: identify::Behaviour,
    relay: relay::Behaviour,
    autonat: autonat::v2::server::Behaviour,
}

impl TrackerListener {
    /// Listens under the identity that is kept in `home`, which is made if it is missing.
    ///
    /// # Errors
    /// [`StartError`], if an address is invalid or taken, or if the key cannot be used.
    pub fn open(home: &Path, options: &DeskOptions) -> Result<Self, StartError> {
        let key = identity::load(home)?;
        let failed = |verb: String| move |source| StartError::Network { verb, source };
        let transport = transport::build(&key, false).map_err(failed("set up encryption".to_owned()))?;
        let behaviour = ListenerBehaviour {
            gate: ConnectionLimits::new(gate_limits(options)).guarded(),
            calls: Calls::default(),
            identify: identify::Behaviour::new(show(&key)),
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay_limits(options.relay_content)),
            autonat: autonat::v2::server::Behaviour::default(),
        };
        let mut network = transport::network(&key, transport, behaviour, limits::STREAM_TIMEOUT, Version::V1);
        let addresses = parse(&options.listen, "--listen")?;
        // This check comes before any listening: a listener for IPv6 makes its port look taken for IPv4 as
        // well.
        if let Some(taken) = addresses.iter().find(|address| peer_cache::is_taken(address)) {
            return Err(failed(format!("listen on {taken}"))(std::io::ErrorKind::AddrInUse.into()));
        }
        for address in addresses {
            let taken = |e: TransportError<std::io::Error>| {
                failed(format!("listen on {address}"))(std::io::Error::other(root_cause(&e)))
            };
            network.listen_on(address.clone()).map_err(taken)?;
        }
        for address in parse(&options.external, "--external")? {
            network.add_external_address(address);
        }
        let (addresses, listen) = watch::channel(Vec::new());
        let (refusals, refused) = watch::channel(Vec::new());
        let (sender, calls) = mpsc::channel(limits::SESSION_QUEUE);
        let counts = Arc::new(Counts::default());
        let door = ListenerTask {
            network,
            addresses,
            refusals,
            sender,
            counts: Arc::clone(&counts),
            rate: options.rate,
        };
        let mut task = JoinSet::new();
        task.spawn(door.run());
        Ok(Self { listen, calls, counts, refused, _task: task })
    }
}

fn gate_limits(options: &DeskOptions) -> GateLimits {
    GateLimits {
        pending_inbound: limits::TRACKER_PENDING,
        pending_per_host: limits::TRACKER_PENDING / 4,
        inbound: options.connections,
        // Dials test whether nodes that ask for it can be reached.
        outbound: DIALS,
        connections: options.connections + DIALS,
        // One to announce, one to be reached through us, and others to learn at which address a node is seen.
        per_peer: 4,
        per_public_ip: options.per_address,
        per_subnet: options.per_address * 4,
        lan_inbound: options.connections,
        per_lan_host: options.per_address,
        ..GateLimits::default()
    }
}

/// The task that accepts connections.
struct ListenerTask {
    network: libp2p::Swarm<ListenerBehaviour>,
    addresses: watch::Sender<Vec<String>>,
    refusals: watch::Sender<Vec<(String, u64)>>,
    sender: mpsc::Sender<AnnounceCall>,
    counts: Arc<Counts>,
    rate: u32,
}

impl ListenerTask {
    async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut count = tokio::time::interval(COUNT_EVERY);
        loop {
            tokio::select! {
                event = self.network.select_next_some() => self.event(event, &mut connections),
                Some(_) = connections.join_next() => {}
                _ = count.tick() => {
                    // Zeros as well: a monitor knows a counter before it grows.
                    let rows = self.network.behaviour().gate.refused().rows();
                    self.refusals.send_if_modified(|old| *old != rows && { *old = rows; true });
                }
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<ListenerBehaviourEvent>, connections: &mut JoinSet<()>) {
        match event {
            SwarmEvent::Behaviour(ListenerBehaviourEvent::Calls(Called::Ready(ready))) => {
                let (sender, counts, rate) = (self.sender.clone(), Arc::clone(&self.counts), self.rate);
                connections.spawn(async move {
                    counts.connections.fetch_add(1, Ordering::Relaxed);
                    let ended = converse(ready, &sender, rate).await;
                    counts.connections.fetch_sub(1, Ordering::Relaxed);
                    if let Err(reason) = ended {
                        counts.bad.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!(%reason, "a connection ends");
                    }
                });
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                // A relay tells its clients at which addresses it is reached.
                match &event {
                    SwarmEvent::NewListenAddr { address, .. } => {
                        self.network.add_external_address(address.clone())
                    }
                    SwarmEvent::ExpiredListenAddr { address, .. } => {
                        self.network.remove_external_address(address)
                    }
                    _ => {}
                }
                let peer = *self.network.local_peer_id();
                let full =
                    |addr: &Multiaddr| addr.clone().with(libp2p::multiaddr::Protocol::P2p(peer)).to_string();
                self.addresses.send_replace(self.network.listeners().map(full).collect());
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listening"),
            _ => {}
        }
    }
}

/// Reads and answers announcements until the other end goes (`Ok`) or sends what no honest node sends.
async fn converse(ready: Ready, calls: &mpsc::Sender<AnnounceCall>, rate: u32) -> Result<(), String> {
    let Ready { peer, from, mut stream } = ready;
    let Some(ip) = ip_of(&from) else { return Ok(()) };
    let (node, seen) = (peer.to_bytes(), from.to_vec());
    let mut buffer = Vec::new();
    let mut turn = Turn::new(rate);
    loop {
        let frame = timeout(limits::TRACKER_SILENCE, frames::read(&mut stream, &mut buffer)).await;
        let frame = match frame {
            Ok(Ok(frame)) => frame,
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::InvalidData => return Err(e.to_string()),
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        let announce = Announce::decode(frame).map_err(|e| e.to_string())?;
        if buffer.capacity() > KEPT_BUFFER {
            buffer = Vec::new();
        }
        let (reply, answer) = oneshot::channel();
        let call = AnnounceCall { node: node.clone(), from: ip, seen: seen.clone(), announce, reply };
        if calls.send(call).await.is_err() {
            return Ok(());
        }
        let Ok(mut answer) = answer.await else { return Ok(()) };
        let Ok(body) = answer.encode() else { return Ok(()) };
        match timeout(limits::TRACKER_TIMEOUT, frames::write(&mut stream, &body)).await {
            Ok(Ok(())) => {}
            _ => return Ok(()),
        }
        turn.wait().await;
    }
}

/// Rate limit of one connection, which may be [`BURST`] announcements ahead of its rate.
struct Turn {
    each: Duration,
    /// Time at which all announcements so far would have been answered at the regular rate.
    paid: Instant,
}

impl Turn {
    fn new(rate: u32) -> Self {
        Self { each: Duration::from_secs(1) / rate.max(1), paid: Instant::now() }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        self.paid = self.paid.max(now) + self.each;
        let ahead = self.each * BURST;
        if self.paid > now + ahead {
            sleep_until(self.paid - ahead).await;
        }
    }
}
