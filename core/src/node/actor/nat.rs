//! Ways through address translation: relays, the addresses at which others see this node, and direct
//! connections in place of relayed ones.

use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, dcutr, identify};
use tokio::sync::watch;

use super::Actor;
use crate::discovery::candidates::{AddressSource, Candidates, Name, PeerSource};
use crate::discovery::port_mapping::Mapped;
use crate::discovery::reachability::Reachability;
use crate::limits;
use crate::net::address::{ip_of, is_one_host, is_relayed, split_peer};
use crate::net::behaviour::BehaviourEvent;

/// The ways of one node through address translation.
pub(in crate::node) struct Nat {
    /// The addresses at which others reach this node, and the relays that it uses.
    pub(super) reach: Reachability,
    /// Peers that are reached through relays, until this node knows at which address others see it. At most
    /// [`limits::DIAL_QUEUE`].
    held: Vec<HeldPeer>,
    /// The ports that the router has mapped; `None` if it is not asked.
    mapped: Option<watch::Receiver<Mapped>>,
}

/// A peer that is reached through relays.
struct HeldPeer {
    peer: PeerId,
    /// Its addresses through relays.
    addrs: Vec<Multiaddr>,
    /// The tracker or the server of the DHT that named the peer; `None` if a link did.
    by: Option<PeerSource>,
}

impl Nat {
    /// Returns the ways of a node that has just started.
    pub(in crate::node) const fn new(reach: Reachability, mapped: Option<watch::Receiver<Mapped>>) -> Self {
        Self { reach, held: Vec::new(), mapped }
    }

    /// Keeps a peer that is reached through relays, if there is room.
    pub(super) fn hold(&mut self, peer: PeerId, addrs: Vec<Multiaddr>, by: Option<PeerSource>) {
        if self.held.len() < limits::DIAL_QUEUE {
            self.held.push(HeldPeer { peer, addrs, by });
        }
    }

    /// Adds the held peers to the candidates for a dial, if others have seen this node lately.
    fn release(&mut self, candidates: &mut Candidates, now: Instant) {
        if self.held.is_empty() || !self.reach.is_seen(now) {
            return;
        }
        for HeldPeer { peer, addrs, by } in std::mem::take(&mut self.held) {
            match by {
                Some(by) => candidates.tracked(&addrs, peer, by, now),
                None => addrs.iter().for_each(|a| candidates.found(a, Some(peer), AddressSource::Link, now)),
            }
        }
    }

    /// Takes over the ports that the router has mapped. Returns true if they have changed.
    fn take_mapped(&mut self) -> bool {
        let Some(mapped) = self.mapped.as_mut().filter(|mapped| mapped.has_changed().unwrap_or(false)) else {
            return false;
        };
        let Mapped { addrs, state } = mapped.borrow_and_update().clone();
        tracing::info!(%state, "the router");
        self.reach.mapped(addrs);
        true
    }

    /// Returns the state of the router in words; `None` if it is not asked.
    pub(super) fn router(&self) -> Option<String> {
        self.mapped.as_ref().map(|mapped| mapped.borrow().state.clone())
    }
}

impl Actor {
    /// Asks relays to let others reach this node through them, and gives up attempts that took too long.
    /// Called once a second, and when there may be something to do.
    pub(super) fn reach_out(&mut self, now: Instant) {
        if self.nat.take_mapped() {
            self.trackers.moved();
        }
        self.release(now);
        let wanting = !self.downloads.is_idle();
        let due = self.nat.reach.due(wanting, &self.listen.borrow(), now);
        for (peer, address) in due {
            match self.network.listen_on(address.clone()) {
                Ok(listener) => self.nat.reach.asked(peer, listener),
                Err(error) => tracing::debug!(%address, %error, "not through this relay"),
            }
        }
        for (connection, punch) in self.nat.reach.overdue(now) {
            self.network.close_connection(connection);
            self.not_punched(punch.peer, punch.dialled, now);
        }
    }

    /// Handles a link that names a peer at a relay. The relay can tell this node at which address it is seen.
    pub(super) fn relayed_hint(&mut self, way: Multiaddr, peer: PeerId) {
        self.through(&way, false);
        self.nat.hold(peer, vec![way], None);
        self.reach_out(Instant::now());
    }

    /// Adds the relay of an address that leads through one. `named` is true if a stranger named the address.
    pub(super) fn through(&mut self, way: &Multiaddr, named: bool) {
        let relay: Multiaddr = way.iter().take_while(|part| *part != Protocol::P2pCircuit).collect();
        if let Some(relay) = if named { self.nat.reach.named(relay) } else { self.nat.reach.relay(relay) } {
            let behaviour = self.network.behaviour_mut();
            behaviour.identify.with(relay);
            behaviour.streams.share(relay);
        }
    }

    /// Adds the held peers to the candidates for a dial, if others have seen this node lately: only then can
    /// the peer and this node dial each other at the same time.
    pub(super) fn release(&mut self, now: Instant) {
        self.nat.release(&mut self.discovery, now);
    }

    /// Counts a dial through a relay as failed if it led to no direct connection.
    fn not_punched(&mut self, peer: PeerId, dialled: bool, now: Instant) {
        if dialled && self.peers.key_of(&peer).is_none() {
            let reason = "it is behind a router that lets nobody in, and so are we".to_owned();
            self.discovery.failed(&Name::Peer(peer), reason, !self.downloads.is_idle(), now);
        }
    }

    /// Handles a change of the addresses on which this node listens.
    pub(super) fn listens(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } if is_relayed(&address) => {
                tracing::info!(%address, "reached through a relay");
                self.nat.reach.reserved(split_peer(&address).0);
                self.trackers.moved();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } if is_relayed(&address) => {
                self.nat.reach.expired(&split_peer(&address).0);
            }
            // A relay tells the nodes that are reached through it its own address.
            SwarmEvent::NewListenAddr { address, .. } if self.network.behaviour().relay.is_enabled() => {
                self.network.add_external_address(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.network.remove_external_address(&address);
                if let Some(gone) = ip_of(&address).filter(|ip| !ip.is_loopback() && is_one_host(*ip)) {
                    let listen: Vec<Multiaddr> = self.network.listeners().cloned().collect();
                    self.nat.reach.moved(gone, &listen);
                }
            }
            _ => {}
        }
    }

    /// Returns the binary addresses at which others reach this node through relays, for peers to pass on.
    pub(super) fn relayed_at(&self) -> Vec<Vec<u8>> {
        let circuits = self.nat.reach.circuits().iter().map(Multiaddr::to_vec);
        circuits.filter(|addr| addr.len() <= limits::TRACKED_ADDR_BYTES).take(limits::RELAYS).collect()
    }

    /// Handles an event of libp2p that concerns address translation, and ignores all others.
    pub(super) fn traversal_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. }
                if endpoint.is_relayed() && !self.nat.reach.allow_relayed =>
            {
                self.dials.end(connection_id);
                self.nat.reach.begin(connection_id, peer_id, endpoint.is_dialer(), now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.not_widened(connection_id);
                if let Some(punch) = self.nat.reach.ended(connection_id) {
                    self.not_punched(peer_id, punch.dialled, now);
                }
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.nat.reach.closed(listener_id, now);
                tracing::debug!(?addresses, ?reason, "stopped listening");
            }
            SwarmEvent::ExternalAddrConfirmed { address } if !is_relayed(&address) => {
                tracing::info!(%address, "reached from outside");
                self.nat.reach.confirmed(split_peer(&address).0);
            }
            SwarmEvent::ExternalAddrExpired { address } => self.nat.reach.refuted(&split_peer(&address).0),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                if let Some(address) = self.nat.reach.look(&peer_id, &info.listen_addrs) {
                    let other = DialOpts::peer_id(peer_id).addresses(vec![address]);
                    let other = other.condition(PeerCondition::Always).build();
                    self.network.behaviour_mut().gate.decided(other.connection_id());
                    // The connection serves only to find out at which address this node is seen.
                    let _ = self.network.dial(other);
                }
                self.release(now);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Dcutr(dcutr::Event { remote_peer_id, result })) => {
                tracing::debug!(peer = %remote_peer_id, ?result, "a direct way");
            }
            _ => {}
        }
    }
}
