//! Memory of an earlier run, so that the node finds others and others find it: peers that gave us something,
//! and the node's own ports. Both files are only hints and may be deleted at any time.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::net::address::{endpoint, ip_of};
use crate::store::Store;

/// File under the home folder that lists the peers.
const PEERS: &str = "peers";
/// File under the home folder that lists our ports.
const PORTS: &str = "ports";
/// Age after which a peer that was not met again is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Time between two writes of the list.
const SAVE_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PeerCacheEntry {
    peer: String,
    addr: String,
    /// Time of the last meeting, seconds since 1970.
    met: u64,
}

/// Peers that gave us something, the last met first.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    entries: Vec<PeerCacheEntry>,
    unsaved: bool,
    saved: Option<Instant>,
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

impl Memory {
    /// Loads the peers of earlier runs.
    pub(crate) fn load(store: &Store) -> Self {
        let mut entries: Vec<PeerCacheEntry> =
            serde_json::from_slice(&store.kept(PEERS).unwrap_or_default()).unwrap_or_default();
        let now = now();
        // A time in the future comes from a wrong clock, now or then: the peer counts as met today.
        entries.iter_mut().for_each(|e| e.met = e.met.min(now));
        entries.retain(|e| now - e.met < FORGOTTEN_AFTER.as_secs());
        entries.truncate(limits::REMEMBERED_PEERS);
        Self { entries, unsaved: false, saved: None }
    }

    /// Returns the peers and their addresses.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (PeerId, Multiaddr)> {
        self.entries.iter().filter_map(|e| Some((e.peer.parse().ok()?, e.addr.parse().ok()?)))
    }

    /// Records a peer that gave us something, and its address.
    pub(crate) fn met(&mut self, peer: PeerId, addr: &Multiaddr) {
        let peer = peer.to_string();
        self.entries.retain(|e| e.peer != peer);
        self.entries.insert(0, PeerCacheEntry { peer, addr: addr.to_string(), met: now() });
        self.entries.truncate(limits::REMEMBERED_PEERS);
        self.unsaved = true;
    }

    /// Writes the changes at most once in [`SAVE_EVERY`]: a node may be killed without warning.
    pub(crate) fn save_now_and_then(&mut self, store: &Store) {
        if self.saved.is_none_or(|at| at.elapsed() >= SAVE_EVERY) {
            self.saved = Some(Instant::now());
            self.save(store);
        }
    }

    /// Writes the changes, if there are any.
    pub(crate) fn save(&mut self, store: &Store) {
        if std::mem::take(&mut self.unsaved)
            && let Ok(bytes) = serde_json::to_vec(&self.entries)
            && let Err(error) = store.keep(PEERS, &bytes)
        {
            tracing::warn!(%error, "the peers that were met cannot be kept");
        }
    }
}

/// Returns the address with the port that the last run used there, if that is free, so that peers that
/// remember us find us again.
pub(crate) fn with_last_port(store: &Store, addr: &Multiaddr) -> Option<Multiaddr> {
    let last: Vec<String> = serde_json::from_slice(&store.kept(PORTS)?).ok()?;
    let last = last.iter().filter_map(|text| text.parse::<Multiaddr>().ok());
    last.into_iter().find(|last| like(last) == like(addr) && is_free(last))
}

/// Remembers the ports we listen on for these addresses, whose own ports are any. An address without a
/// listener keeps its earlier port.
pub(crate) fn keep_ports(store: &Store, addrs: &[Multiaddr], listen: &[Multiaddr]) {
    let before = store.kept(PORTS).unwrap_or_default();
    let last: Vec<String> = serde_json::from_slice(&before).unwrap_or_default();
    let v4 = |addr: &Multiaddr| ip_of(addr).map(|ip| ip.is_ipv4());
    let alike = |l: &&Multiaddr, addr: &Multiaddr| v4(l) == v4(addr) && kind(l) == kind(addr);
    let port = |addr: &Multiaddr| {
        let now = listen.iter().find(|l| alike(l, addr)).and_then(port_of);
        let last = || last.iter().filter_map(|text| text.parse().ok()).find(|last| like(last) == like(addr));
        now.or_else(|| last().as_ref().and_then(port_of))
    };
    let ports: Vec<String> =
        addrs.iter().filter_map(|addr| Some(with_port(addr, port(addr)?).to_string())).collect();
    let Ok(bytes) = serde_json::to_vec(&ports) else { return };
    if before != bytes
        && let Err(error) = store.keep(PORTS, &bytes)
    {
        tracing::warn!(%error, "the ports cannot be kept");
    }
}

/// True for QUIC, false for TCP.
fn kind(addr: &Multiaddr) -> Option<bool> {
    endpoint(addr).map(|end| end.quic)
}

fn port_of(addr: &Multiaddr) -> Option<u16> {
    endpoint(addr).map(|end| end.port)
}

fn with_port(addr: &Multiaddr, port: u16) -> Multiaddr {
    let part = |part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(port),
        Protocol::Udp(_) => Protocol::Udp(port),
        other => other,
    };
    addr.iter().map(part).collect()
}

/// Returns the address with port 0.
fn like(addr: &Multiaddr) -> Multiaddr {
    with_port(addr, 0)
}

/// True if another program listens on exactly this port; port 0 is never taken.
pub(super) fn is_taken(addr: &Multiaddr) -> bool {
    port_of(addr).is_some_and(|port| port != 0) && ip_of(addr).is_some() && is_in_use(addr)
}

fn is_in_use(addr: &Multiaddr) -> bool {
    let Some((ip, port)) = ip_of(addr).zip(port_of(addr)) else { return false };
    let failed = match kind(addr) {
        Some(true) => UdpSocket::bind((ip, port)).err(),
        _ => TcpListener::bind((ip, port)).err(),
    };
    failed.is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// The transport shares ports with other processes of the same user, so a taken port must be noticed here.
fn is_free(addr: &Multiaddr) -> bool {
    let Some((ip, port)) = ip_of(addr).zip(port_of(addr)) else { return false };
    match kind(addr) {
        Some(true) => UdpSocket::bind((ip, port)).is_ok(),
        _ => TcpListener::bind((ip, port)).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_come_back_unless_somebody_has_them() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        let any: Vec<Multiaddr> =
            ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"].map(|a| a.parse().unwrap()).to_vec();
        assert_eq!(with_last_port(&store, &any[0]), None);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listen: Vec<Multiaddr> =
            [format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip4/127.0.0.1/udp/{port}/quic-v1")]
                .map(|a| a.parse().unwrap())
                .to_vec();
        keep_ports(&store, &any, &listen);
        assert_eq!(with_last_port(&store, &any[0]), None, "somebody has it");
        keep_ports(&store, &any, &listen[..1]);
        drop(taken);
        assert_eq!(with_last_port(&store, &any[0]).as_ref(), Some(&listen[0]));
        assert_eq!(with_last_port(&store, &any[1]).as_ref(), Some(&listen[1]));
        assert_eq!(with_last_port(&store, &"/ip6/::1/tcp/0".parse().unwrap()), None);
    }

    #[test]
    fn who_gave_is_remembered_and_not_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), None, false).unwrap();
        let mut memory = Memory::load(&store);
        let peers: Vec<PeerId> = (0..limits::REMEMBERED_PEERS + 5).map(|_| PeerId::random()).collect();
        let addr: Multiaddr = "/ip4/10.0.0.1/tcp/4001".parse().unwrap();
        peers.iter().chain(&peers[..1]).for_each(|peer| memory.met(*peer, &addr));
        memory.save(&store);
        let mut memory = Memory::load(&store);
        assert_eq!(memory.peers().count(), limits::REMEMBERED_PEERS);
        assert_eq!(memory.peers().next(), Some((peers[0], addr)));
        memory.entries.iter_mut().for_each(|entry| entry.met -= FORGOTTEN_AFTER.as_secs());
        memory.unsaved = true;
        memory.save(&store);
        assert_eq!(Memory::load(&store).peers().count(), 0);
    }
}
