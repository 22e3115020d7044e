//! The tracker's end of the protocol: takes connections under limits, reads announcements, and hands each over to be
//! answered. It decides nothing about them.

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
use crate::limits;
use crate::node::behaviour::{identify as show, relay_limits};
use crate::node::discovery::ip_of;
use crate::node::gate::{Gate, GateLimits};
use crate::node::launch::parse;
use crate::node::{StartError, identity, memory, root_cause, transport};
use crate::wire::tracker::{Announce, Answer};

/// How a desk is opened.
#[derive(Debug, Clone)]
pub struct DeskOptions {
    /// Multiaddrs to listen on.
    pub listen: Vec<String>,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address. A whole office may be behind it.
    pub per_address: usize,
    /// Announcements a second that one connection is answered in the long run.
    pub rate: u32,
    /// Multiaddrs at which it is reached where it cannot tell itself.
    pub external: Vec<String>,
    /// Content may pass through its relay.
    pub relay_content: bool,
}

/// An announcement that waits for its answer.
#[derive(Debug)]
pub struct Call {
    /// Who announces: its peer id, binary, which it has proven.
    pub node: Vec<u8>,
    /// Where it comes from.
    pub from: IpAddr,
    /// The same as a multiaddr, binary.
    pub seen: Vec<u8>,
    /// What it says.
    pub announce: Announce,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// Counters of a desk.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that can be spoken on now.
    pub connections: AtomicU64,
    /// Messages that no honest node sends.
    pub bad: AtomicU64,
}

/// An open desk. It closes when this value goes.
#[derive(Debug)]
pub struct Desk {
    /// Where it is reached, `/p2p/..` included; more may come.
    pub listen: watch::Receiver<Vec<String>>,
    /// What is to be answered.
    pub calls: mpsc::Receiver<Call>,
    /// Counters.
    pub counts: Arc<Counts>,
    /// How many connections were refused, by reason.
    pub refused: watch::Receiver<Vec<(String, u64)>>,
    _task: JoinSet<()>,
}

/// How often counts of refusals are brought up to date.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Announcements that one connection is answered at once.
const BURST: u32 = 64;
/// Nodes that are dialled at once.
const DIALS: usize = 32;
/// A buffer larger than this is given back after use.
const KEPT_BUFFER: usize = 4 << 10;

#[derive(NetworkBehaviour)]
struct Behaviour {
    gate: Gate,
    calls: Calls,
    identify: identify::Behaviour,
    relay: relay::Behaviour,
    autonat: autonat::v2::server::Behaviour,
}

impl Desk {
    /// Listens, under the identity that is kept in `home` (made when missing).
    ///
    /// # Errors
    /// [`StartError`]: an address that is none or is taken, a key that cannot be used.
    pub fn open(home: &Path, options: &DeskOptions) -> Result<Self, StartError> {
        let key = identity::load(home)?;
        let failed = |verb: String| move |source| StartError::Network { verb, source };
        let transport = transport::build(&key, false).map_err(failed("set up encryption".to_owned()))?;
        let behaviour = Behaviour {
            gate: Gate::new(gate_limits(options)).guarded(),
            calls: Calls::default(),
            identify: identify::Behaviour::new(show(&key)),
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay_limits(options.relay_content)),
            autonat: autonat::v2::server::Behaviour::default(),
        };
        let mut network = transport::network(&key, transport, behaviour, limits::STREAM_TIMEOUT, Version::V1);
        let addresses = parse(&options.listen, "--listen")?;
        // Before any of them is listened on: one for IPv6 is one for IPv4 as well to who only looks.
        if let Some(taken) = addresses.iter().find(|address| memory::is_taken(address)) {
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
        let door =
            Door { network, addresses, refusals, sender, counts: Arc::clone(&counts), rate: options.rate };
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
        // To see whether nodes can be reached that ask for it.
        outbound: DIALS,
        connections: options.connections + DIALS,
        // To announce, to be reached through us, and to see where it is seen.
        per_peer: 4,
        per_public_ip: options.per_address,
        per_subnet: options.per_address * 4,
        lan_inbound: options.connections,
        per_lan_host: options.per_address,
        ..GateLimits::default()
    }
}

/// The task that takes connections.
struct Door {
    network: libp2p::Swarm<Behaviour>,
    addresses: watch::Sender<Vec<String>>,
    refusals: watch::Sender<Vec<(String, u64)>>,
    sender: mpsc::Sender<Call>,
    counts: Arc<Counts>,
    rate: u32,
}

impl Door {
    async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut count = tokio::time::interval(COUNT_EVERY);
        loop {
            tokio::select! {
                event = self.network.select_next_some() => self.event(event, &mut connections),
                Some(_) = connections.join_next() => {}
                _ = count.tick() => {
                    let mut rows = self.network.behaviour().gate.refused().rows();
                    rows.retain(|(_, n)| *n > 0);
                    self.refusals.send_if_modified(|old| *old != rows && { *old = rows; true });
                }
            }
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>, connections: &mut JoinSet<()>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Calls(Called::Ready(ready))) => {
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
                // A relay tells where it is reached.
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

/// Reads and answers until the other end goes (`Ok`), or says what no honest node says.
async fn converse(ready: Ready, calls: &mpsc::Sender<Call>, rate: u32) -> Result<(), String> {
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
        let call = Call { node: node.clone(), from: ip, seen: seen.clone(), announce, reply };
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

/// When a connection is read from again: it may be [`BURST`] announcements ahead of its rate.
struct Turn {
    each: Duration,
    /// When all that was answered would have been, at its rate.
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
