//! Events of libp2p, and dials: sessions that begin and end, peers that are found and dialled.

use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::Actor;
use super::office::PeerAdmission;
use crate::discovery::candidates::Name;
use crate::distance::Distance;
use crate::limits;
use crate::net::address::{is_relayed, split_peer};
use crate::net::behaviour::BehaviourEvent;
use crate::net::error::in_short;
use crate::net::shaping::Near;
use crate::net::streams;
use crate::transfer::peers::{Doomed, Parting, Peer, class_at, is_near};
use crate::transfer::session::{LAST_WORDS, Session};
use crate::wire::{self, Hello, Message};

impl Actor {
    /// Handles an event of libp2p.
    pub(super) fn network_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.stream_event(event),
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.listens(event);
                let all = self.network.listeners().filter(|addr| !is_relayed(addr)).cloned().collect();
                self.listen.send_replace(all);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if self.not_widened(connection_id) {
                    tracing::debug!(%error, "no further connection");
                } else if let Some(name) = self.dials.end(connection_id) {
                    self.discovery.failed(&name, in_short(&error), !self.downloads.is_idle(), now);
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                if let Some(hidden) = self.listening.due(now) {
                    tracing::warn!(%error, hidden, "listening");
                }
            }
            event => self.traversal_event(event),
        }
    }

    /// Handles the start or the end of a session, or of a further data stream.
    fn stream_event(&mut self, event: streams::StreamEvent) {
        let now = Instant::now();
        match event {
            streams::StreamEvent::Ready { peer, connection, endpoint, control, data } => {
                self.dials.end(connection);
                for relayed in self.nat.reach.succeeded(peer).into_iter().filter(|id| *id != connection) {
                    self.network.close_connection(relayed);
                }
                let addr = remote(&endpoint);
                let member = match self.admission(&peer) {
                    PeerAdmission::Refused => {
                        return self.network.behaviour_mut().streams.close(peer, connection);
                    }
                    PeerAdmission::NoOffice => None,
                    PeerAdmission::Member(member) => Some(member),
                };
                self.discovery.connected(peer, &addr, endpoint.is_dialer(), now);
                if !endpoint.is_dialer() {
                    self.remembered.refusals.let_in(&peer, &self.store);
                }
                let class = class_at(&addr, &self.listen.borrow());
                let key = self.peers.next_key();
                let (outside, here) = (class > Distance::Lan, class == Distance::Host);
                let near = Near { limited: self.settings.limit_lan || outside, outside, here };
                self.tell_limits();
                let session = Session::start(key, control, data, &self.shared, near);
                let mut met = Peer::new(peer, connection, addr, class, session);
                met.member = member;
                met.dialled = endpoint.is_dialer();
                met.called = streams::is_caller(&endpoint);
                met.near = !endpoint.is_relayed() && is_near(&met.addr, class, &self.listen.borrow());
                self.peers.add(key, met);
                self.network.behaviour_mut().gate.carries_session(connection);
                let hello = self.hello();
                self.peers.send(key, Message::Hello(hello));
                // The dialler's wants do not depend on the peer's `Hello`, so they need not wait for it.
                if endpoint.is_dialer() {
                    self.ask_first(key);
                }
            }
            streams::StreamEvent::Further { peer, connection, data } => self.widened(peer, connection, data),
            streams::StreamEvent::Closed { peer, connection, error, replaced } => {
                tracing::debug!(%peer, ?error, "session ended");
                let key = self.peers.key_of(&peer);
                // The connection may be an old one whose session was replaced by another: that one goes on.
                if let Some(key) =
                    key.filter(|k| self.peers.get(*k).is_some_and(|p| p.connection == connection))
                {
                    let reason =
                        error.unwrap_or_else(|| "closed before the peer introduced itself".to_owned());
                    self.peer_down(key, (!replaced).then_some(&reason));
                }
            }
            streams::StreamEvent::Failed { peer, connection, reason } => {
                let name = self.dials.end(connection).unwrap_or(Name::Peer(peer));
                let reason = self.remembered.refusals.sentence(&peer).unwrap_or(reason);
                self.discovery.failed(&name, reason, !self.downloads.is_idle(), now);
            }
        }
    }

    /// Returns the first message of this node in a session.
    fn hello(&self) -> Hello {
        let listen = self.listen.borrow();
        let ports = |read: fn(&Protocol<'_>) -> Option<u16>| {
            let mut ports: Vec<u16> = listen.iter().filter_map(|a| a.iter().find_map(|p| read(&p))).collect();
            ports.sort_unstable();
            ports.dedup();
            ports.truncate(limits::PEER_ADDRS);
            ports
        };
        Hello {
            version: wire::VERSION,
            agent: concat!("swarm/", env!("CARGO_PKG_VERSION")).to_owned(),
            tcp: ports(|p| if let Protocol::Tcp(port) = p { Some(*port) } else { None }),
            quic: ports(|p| if let Protocol::Udp(port) = p { Some(*port) } else { None }),
            site: self.settings.site.clone(),
            relayed: self.relayed_at(),
            dht: self.dht.ports(),
        }
    }

    /// Ends the sessions that were doomed while the last event was handled.
    pub(super) fn end_doomed(&mut self) {
        for doomed in self.peers.take_doomed() {
            let Some(id) = self.peers.id_of(doomed.key) else { continue };
            tracing::debug!(peer = %id, reason = %doomed.reason, ban = doomed.ban, "session ends");
            let is_web = self.peers.is_web(doomed.key);
            if is_web {
                self.web_down(&doomed);
            }
            let ban = doomed.ban && !is_web;
            if let Some(by) = doomed.parting {
                self.part(&doomed, id, by);
            }
            if ban {
                let decided = self.peers.ban(id, doomed.key, doomed.reason.clone());
                let secs = decided.until.saturating_duration_since(Instant::now()).as_secs() + 1;
                self.peers.hint(doomed.key, Message::Banned { secs, reason: doomed.reason.clone() });
                self.network.behaviour_mut().gate.ban(&decided);
            }
            // A peer that is banned after its session ended may have another session by now.
            let key = if ban { self.peers.key_of(&id) } else { Some(doomed.key) };
            let Some((key, connection)) = key.and_then(|key| Some((key, self.peers.get(key)?.connection)))
            else {
                continue;
            };
            self.peer_down(key, Some(&doomed.reason));
            if ban || doomed.parting == Some(Parting::Ours) {
                self.closing.push((Instant::now(), id, connection));
            } else {
                self.network.behaviour_mut().streams.close(id, connection);
            }
        }
    }

    /// Records the end of a session that a person should know of, and tells the peer why if it is our doing.
    fn part(&mut self, doomed: &Doomed, id: PeerId, by: Parting) {
        let Some((addr, dialled)) = self.peers.get(doomed.key).map(|peer| (peer.addr.clone(), peer.dialled))
        else {
            return;
        };
        if by == Parting::Ours {
            self.peers.hint(doomed.key, Message::Closing { reason: doomed.reason.clone() });
        }
        let now = Instant::now();
        if dialled {
            self.discovery.rest(id, &addr, now + limits::REFUSED_REST);
        }
        let said = self.partings.add(id, &addr, &doomed.reason);
        if let Some(said) = said
            && let Some(hidden) = self.said.due(now)
        {
            tracing::warn!(hidden, "{said}");
        }
    }

    /// Closes the connections of peers that have had the time to read why.
    pub(super) fn close_parted(&mut self) {
        let streams = &mut self.network.behaviour_mut().streams;
        self.closing.retain(|(since, peer, connection)| {
            let waits = since.elapsed() < LAST_WORDS;
            if !waits {
                streams.close(*peer, *connection);
            }
            waits
        });
    }

    /// Makes the dials that are due.
    pub(super) fn dial(&mut self) {
        let now = Instant::now();
        let for_others = self.seeking.room(self.peers.ready().len());
        let contacts = self.contacts_lacking();
        let wanting = !self.downloads.is_idle() || for_others > 0 || contacts > 0;
        let clock = self.now();
        let room = || self.downloads.room(&self.peers, clock).max(for_others).max(contacts);
        for dial in self.discovery.due(wanting, room, &self.urgent, now) {
            let opts = match &dial.name {
                Name::Peer(peer) => DialOpts::peer_id(*peer)
                    .condition(PeerCondition::Always)
                    .addresses(dial.addrs.clone())
                    .allocate_new_port()
                    .build(),
                Name::Addr(addr) => {
                    DialOpts::unknown_peer_id().address(addr.clone()).allocate_new_port().build()
                }
            };
            let connection = opts.connection_id();
            self.dials.begin(connection, dial.name.clone());
            self.network.behaviour_mut().gate.decided(connection);
            if let Err(error) = self.network.dial(opts) {
                self.dials.end(connection);
                self.discovery.failed(&dial.name, in_short(&error), !self.downloads.is_idle(), now);
            }
        }
    }
}

/// Returns the address of the other end of a connection, without its peer id.
fn remote(endpoint: &ConnectedPoint) -> Multiaddr {
    let addr = match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
    };
    split_peer(addr).0
}
