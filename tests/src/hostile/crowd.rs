//! Many connections that do nothing but be there.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::{block_on, net};

/// Handshakes a crowd has under way at once: fewer than a node takes from everybody.
const AT_ONCE: usize = 24;

/// Connections that a victim holds open, each of another identity. They close with this value.
pub struct Crowd {
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    tried: AtomicUsize,
    open: AtomicUsize,
    sessions: AtomicUsize,
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd")
            .field("tried", &self.tried())
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl Crowd {
    /// Connects `count` times, opens a session each time, and stays.
    ///
    /// # Panics
    /// When the address cannot be read.
    #[must_use]
    pub fn connect(addr: &str, count: usize) -> Self {
        let addr: Multiaddr = addr.parse().unwrap_or_else(|error| panic!("{addr}: {error}"));
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::clone(&counts);
        let run = async move {
            let turns = Arc::new(Semaphore::new(AT_ONCE));
            let mut members = JoinSet::new();
            for _ in 0..count {
                members.spawn(member(addr.clone(), Arc::clone(&turns), Arc::clone(&shared)));
            }
            let _ = stopped.await;
        };
        let thread = std::thread::spawn(move || block_on(run));
        Self { counts, stop: Some(stop), thread: Some(thread) }
    }

    /// How many have tried.
    #[must_use]
    pub fn tried(&self) -> usize {
        self.counts.tried.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// How many came as far as a session, ever.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.counts.sessions.load(Ordering::Relaxed)
    }
}

async fn member(addr: Multiaddr, turns: Arc<Semaphore>, counts: Arc<Counts>) {
    let turn = turns.acquire_owned().await;
    let connected = net::connect(&Keypair::generate_ed25519(), addr).await;
    let session = match &connected {
        Ok(connection) => connection.open_session().await.ok(),
        Err(_) => None,
    };
    counts.tried.fetch_add(1, Ordering::Relaxed);
    let (Ok(mut connection), Some(_streams)) = (connected, session) else { return };
    counts.sessions.fetch_add(1, Ordering::Relaxed);
    counts.open.fetch_add(1, Ordering::Relaxed);
    drop(turn);
    while connection.arrived.recv().await.is_some() {}
    counts.open.fetch_sub(1, Ordering::Relaxed);
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// TCP connections on which nothing is ever said.
///
/// # Panics
/// When the address is not one of TCP, or cannot be connected to.
#[must_use]
pub fn silent(addr: &str, count: usize) -> Vec<TcpStream> {
    let addr = socket_addr(addr);
    (0..count).map(|_| TcpStream::connect(addr).unwrap_or_else(|error| panic!("{addr}: {error}"))).collect()
}

/// The socket address in a multiaddr of TCP.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn socket_addr(addr: &str) -> SocketAddr {
    let parsed: Multiaddr = addr.parse().unwrap_or_else(|error| panic!("{addr}: {error}"));
    let mut parts = parsed.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) => (ip, port).into(),
        _ => panic!("{addr} is not an address of TCP"),
    }
}
