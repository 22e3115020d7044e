//! Getting through address translation: relays, where we are seen, direct connections in place of relayed ones.

use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, dcutr, identify};

use super::Actor;
use crate::discovery::candidates::Name;
use crate::discovery::port_mapping::Mapped;
use crate::limits;
use crate::net::address::{ip_of, is_one_host, is_relayed, split_peer};
use crate::net::behaviour::BehaviourEvent;

impl Actor {
    /// Once a second, and when there may be something to do: asks relays, and gives up what took too long.
    pub(super) fn reach_out(&mut self, now: Instant) {
        self.ask_router();
        self.release(now);
        let wanting = !self.downloads.is_idle();
        let due = self.reach.due(wanting, &self.listen.borrow(), now);
        for (peer, address) in due {
            match self.network.listen_on(address.clone()) {
                Ok(listener) => self.reach.asked(peer, listener),
                Err(error) => tracing::debug!(%address, %error, "not through this relay"),
            }
        }
        for (connection, punch) in self.reach.overdue(now) {
            self.network.close_connection(connection);
            self.not_punched(punch.peer, punch.dialled, now);
        }
    }

    /// Takes in what the router lets in.
    fn ask_router(&mut self) {
        let Some(mapped) = self.mapped.as_mut().filter(|mapped| mapped.has_changed().unwrap_or(false)) else {
            return;
        };
        let Mapped { addrs, state } = mapped.borrow_and_update().clone();
        tracing::info!(%state, "the router");
        self.reach.mapped(addrs);
        self.trackers.moved();
    }

    /// A link says that a peer is reached through a relay: that relay can tell where we are seen.
    pub(super) fn relayed_hint(&mut self, way: Multiaddr, peer: PeerId) {
        self.through(&way, false);
        if self.held.len() < limits::DIAL_QUEUE {
            self.held.push((peer, vec![way], None));
        }
        self.reach_out(Instant::now());
    }

    /// The relay on this way may be used; `named` when a stranger says so.
    pub(super) fn through(&mut self, way: &Multiaddr, named: bool) {
        let relay: Multiaddr = way.iter().take_while(|part| *part != Protocol::P2pCircuit).collect();
        if let Some(relay) = if named { self.reach.named(relay) } else { self.reach.relay(relay) } {
            self.network.behaviour_mut().identify.with(relay);
        }
    }

    fn not_punched(&mut self, peer: PeerId, dialled: bool, now: Instant) {
        if dialled && self.peers.key_of(&peer).is_none() {
            let reason = "it is behind a router that lets nobody in, and so are we".to_owned();
            self.discovery.failed(&Name::Peer(peer), reason, !self.downloads.is_idle(), now);
        }
    }

    /// Where we listen has changed.
    pub(super) fn listens(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } if is_relayed(&address) => {
                tracing::info!(%address, "reached through a relay");
                self.reach.reserved(split_peer(&address).0);
                self.trackers.moved();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } if is_relayed(&address) => {
                self.reach.expired(&split_peer(&address).0);
            }
            // A relay tells those who are reached through it where it is.
            SwarmEvent::NewListenAddr { address, .. } if self.network.behaviour().relay.is_enabled() => {
                self.network.add_external_address(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.network.remove_external_address(&address);
                if let Some(gone) = ip_of(&address).filter(|ip| !ip.is_loopback() && is_one_host(*ip)) {
                    let listen: Vec<Multiaddr> = self.network.listeners().cloned().collect();
                    self.reach.moved(gone, &listen);
                }
            }
            _ => {}
        }
    }

    /// Through which relays others reach us: for peers to pass on.
    pub(super) fn relayed_at(&self) -> Vec<Vec<u8>> {
        let circuits = self.reach.circuits().iter().map(Multiaddr::to_vec);
        circuits.filter(|addr| addr.len() <= limits::TRACKED_ADDR_BYTES).take(limits::RELAYS).collect()
    }

    /// What else the network tells.
    pub(super) fn traversal_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. }
                if endpoint.is_relayed() && !self.reach.allow_relayed =>
            {
                self.dials.remove(&connection_id);
                self.reach.begin(connection_id, peer_id, endpoint.is_dialer(), now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.not_widened(connection_id);
                if let Some(punch) = self.reach.ended(connection_id) {
                    self.not_punched(peer_id, punch.dialled, now);
                }
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.reach.closed(listener_id, now);
                tracing::debug!(?addresses, ?reason, "stopped listening");
            }
            SwarmEvent::ExternalAddrConfirmed { address } if !is_relayed(&address) => {
                tracing::info!(%address, "reached from outside");
                self.reach.confirmed(split_peer(&address).0);
            }
            SwarmEvent::ExternalAddrExpired { address } => self.reach.refuted(&split_peer(&address).0),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                if let Some(address) = self.reach.look(&peer_id, &info.listen_addrs) {
                    let other = DialOpts::peer_id(peer_id).addresses(vec![address]);
                    let other = other.condition(PeerCondition::Always).build();
                    self.network.behaviour_mut().gate.decided(other.connection_id());
                    // It only shows where we are seen.
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
