//! Servers and members of the DHT that lie.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::{AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, RecordStore};
use libp2p::kad::{self, KBucketKey, Mode, ProviderRecord, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{Config, NetworkBehaviour, StreamProtocol, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify};
use swarm_core::id::ContentId;
use swarm_core::wire::dht::{MARK, PROTOCOL, key_of};
use tokio::sync::oneshot;

use super::net;

/// So many identities are made for each one that is used: those nearest the key.
const CHOICE: usize = 8;
/// Time after which a server that has not answered on loopback will not.
const NO_ANSWER: Duration = Duration::from_secs(2);
/// Records that are told at once.
const STREAMS: usize = 16;

fn key(id: &str) -> [u8; 32] {
    key_of(id.parse::<ContentId>().expect("an id"))
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

/// Servers of the DHT nearer to a content's key than chance would have them, that name each other and holders
/// that are none, and forget what they are told.
#[derive(Debug)]
pub struct Sybils {
    addrs: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sybils {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Sybils {
    /// So many around this content, on loopback; each makes itself known to the honest ones `known`.
    ///
    /// # Panics
    /// When they cannot be started.
    #[must_use]
    pub fn start(id: &str, count: usize, known: &[&str]) -> Self {
        let target = KBucketKey::new(RecordKey::new(&key(id)));
        let mut keys: Vec<Keypair> = (0..count * CHOICE).map(|_| Keypair::generate_ed25519()).collect();
        keys.sort_by_cached_key(|key| KBucketKey::from(key.public().to_peer_id()).distance(&target));
        keys.truncate(count);
        let known: Vec<Multiaddr> = known.iter().map(|addr| addr.parse().expect("an address")).collect();
        let record = key(id);
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = run(keys, record, known, tell) => {}
                    _ = stopped => {}
                }
            });
        });
        let patience = crate::fixture::PATIENCE;
        let addrs = told.recv_timeout(patience).expect("they listen");
        Self { addrs, stop: Some(stop), thread: Some(thread) }
    }

    /// Where they are.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addrs
    }
}

async fn run(keys: Vec<Keypair>, record: [u8; 32], known: Vec<Multiaddr>, tell: mpsc::Sender<Vec<String>>) {
    let mut swarms = Vec::new();
    let mut addrs: Vec<(PeerId, Multiaddr)> = Vec::new();
    for key in &keys {
        let mut swarm = sybil(key, record);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("a listener");
        let at = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        addrs.push((*swarm.local_peer_id(), at));
        swarms.push(swarm);
    }
    let mut running = futures::stream::FuturesUnordered::new();
    for mut swarm in swarms {
        let local = *swarm.local_peer_id();
        for (peer, addr) in addrs.iter().filter(|(peer, _)| *peer != local) {
            swarm.behaviour_mut().kad.add_address(peer, addr.clone());
        }
        for addr in &known {
            swarm.dial(addr.clone()).expect("a dial");
        }
        running.push(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
    }
    let whole = |(peer, addr): &(PeerId, Multiaddr)| addr.clone().with(Protocol::P2p(*peer)).to_string();
    let _ = tell.send(addrs.iter().map(whole).collect());
    let _: Option<()> = running.next().await;
}

fn sybil(key: &Keypair, record: [u8; 32]) -> Swarm<Behaviour> {
    let local = key.public().to_peer_id();
    let mut store = MemoryStore::new(local);
    for number in 0..15 {
        let nobody = Multiaddr::from(std::net::Ipv4Addr::new(127, 1, number, 1)).with(Protocol::Tcp(20_000));
        let nobody = nobody.with(Protocol::Sni(MARK.into()));
        let fake = ProviderRecord::new(RecordKey::new(&record), PeerId::random(), vec![nobody]);
        store.add_provider(fake).expect("room");
    }
    let mut config = kad::Config::new(StreamProtocol::new(PROTOCOL));
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    config.set_kbucket_inserts(kad::BucketInserts::Manual);
    config.set_periodic_bootstrap_interval(None);
    let mut kad = kad::Behaviour::with_config(local, store, config);
    kad.set_mode(Some(Mode::Server));
    let identify = identify::Behaviour::new(identify::Config::new("swarm/1".to_owned(), key.public()));
    let behaviour = Behaviour { kad, identify };
    let transport = swarm_core::net::transport::build(key, false).expect("a transport");
    let config = Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    Swarm::new(transport, behaviour, local, config)
}

/// Tells a server of the DHT, from wherever this thread is, that so many new identities hold this content,
/// and one of them so many others beside.
///
/// # Panics
/// When the server cannot be reached.
pub fn flood(server: &str, id: &str, identities: usize, others: u32) {
    let server: Multiaddr = server.parse().expect("an address");
    let wanted = key(id);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for number in 0..identities {
            let me = Keypair::generate_ed25519();
            let connection = net::connect(&me, server.clone()).await.expect("a connection");
            let hash = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
            let others = (0..if number == 0 { others } else { 0 }).map(hash);
            let keys = std::iter::once(wanted).chain(others);
            // Each has a stream of its own, as the protocol wants it.
            let told = keys.map(|key| tell(&connection, add_provider(&key, &me)));
            let () = futures::stream::iter(told).buffer_unordered(STREAMS).collect().await;
        }
    });
}

/// Requests of another implementation of the DHT, and the answers of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// A ping came back.
    pub ping: bool,
    /// A value was said to be stored.
    pub stored: bool,
}

/// Pings a server of the DHT, tells it of a record without addresses, and asks it to store a value.
///
/// # Panics
/// When the server cannot be reached.
#[must_use]
pub fn foreign(server: &str) -> Answers {
    let server: Multiaddr = server.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let me = Keypair::generate_ed25519();
        let connection = net::connect(&me, server).await.expect("a connection");
        let mut ping = connection.open("/ipfs/ping/1.0.0").await.expect("pings are spoken");
        let mut back = [0; 32];
        for number in 1..4 {
            ping.write_all(&[number; 32]).await.expect("written");
            ping.flush().await.expect("written");
            futures::AsyncReadExt::read_exact(&mut ping, &mut back).await.expect("a ping comes back");
        }
        let peer = [field(1, &me.public().to_peer_id().to_bytes()), vec![3 << 3, 1]].concat();
        tell(&connection, message(2, &[field(2, &[7; 32]), field(9, &peer)].concat())).await;
        let record = [field(1, &[8; 32]), field(2, b"a value")].concat();
        let mut stream = connection.open(PROTOCOL).await.expect("a stream");
        let put = message(0, &[field(2, &[8; 32]), field(3, &record)].concat());
        stream.write_all(&put).await.expect("written");
        stream.flush().await.expect("written");
        // A server that refuses gives no answer: libp2p closes the stream later, with the connection.
        let mut byte = [0; 1];
        let answer = futures::AsyncReadExt::read(&mut stream, &mut byte);
        let stored =
            tokio::time::timeout(NO_ANSWER, answer).await.is_ok_and(|read| read.is_ok_and(|n| n > 0));
        Answers { ping: back == [3; 32], stored }
    })
}

async fn tell(connection: &net::Connection, message: Vec<u8>) {
    let mut stream = connection.open(PROTOCOL).await.expect("a stream");
    stream.write_all(&message).await.expect("written");
    // There is no answer: the other end closes the stream once it has read all.
    stream.close().await.expect("closed");
    let _ = futures::AsyncReadExt::read(&mut stream, &mut [0; 1]).await;
}

/// A message of libp2p's `kad-dht` specification: `ADD_PROVIDER`.
fn add_provider(key: &[u8; 32], me: &Keypair) -> Vec<u8> {
    let addr = "/ip4/45.66.66.66/tcp/4001/sni/content".parse::<Multiaddr>().expect("an address");
    let peer = [field(1, &me.public().to_peer_id().to_bytes()), field(2, &addr.to_vec()), vec![3 << 3, 1]];
    message(2, &[field(2, key), field(9, &peer.concat())].concat())
}

/// A field of bytes, at most 127.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, bytes.len() as u8];
    field.extend(bytes);
    field
}

/// A message of this kind with its length before it: a varint, which must be as short as it can be.
fn message(kind: u8, fields: &[u8]) -> Vec<u8> {
    let body = [&[1 << 3, kind][..], fields].concat();
    let (low, high) = (body.len() as u8 & 0x7f, (body.len() >> 7) as u8);
    let mut message = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
    message.extend(body);
    message
}
