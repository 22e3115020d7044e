//! What peers say in their sessions, handed to whom it concerns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::discovery::candidates::{AddressSource, PeerSource};
use crate::discovery::dht::Provider;
use crate::discovery::tracker::{self, Reply};
use crate::distance::Distance;
use crate::exchange::{Downloads, Effects, KnownPeers as _, Uploads, WantOutcome};
use crate::id::ContentId;
use crate::limits;
use crate::net::address::{class_of, ip_of, is_one_host, is_relayed, split_peer};
use crate::schedule::PeerKey;
use crate::store::record::StoredState;
use crate::store::{Blob, Sight};
use crate::transfer::peers::{same_site, site_of};
use crate::transfer::session::SessionEnd;
use crate::transfer::session::event::{Outcome, SessionEvent};
use crate::wire::{self, Hello, Message};

/// A handle to a blob of the store.
type Stored = Arc<Blob>;

/// Time between two ticks while nothing is fetched or given.
const IDLE_TICK: Duration = Duration::from_secs(1);

impl Actor {
    /// Lets downloads and uploads decide about an event, then carries out what they have decided.
    pub(super) fn exchange<T>(
        &mut self,
        decide: impl FnOnce(&mut Downloads<Stored>, &mut Uploads<Stored>, &mut Effects<'_, Stored>) -> T,
    ) -> T {
        let mut effects = Effects::new(self.now(), &self.peers);
        let decided = decide(&mut self.downloads, &mut self.uploads, &mut effects);
        let effects = effects.into_list();
        self.peers.carry_out(effects);
        self.watchers.publish(&mut self.downloads);
        decided
    }

    /// Returns the time at which downloads are due to look at the time.
    pub(super) fn next_tick(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.downloads.next_tick(self.now()).unwrap_or(IDLE_TICK)
    }

    pub(super) fn session(&mut self, key: PeerKey, event: SessionEvent) {
        // What a peer delivered before it went is as good as ever.
        if self.peers.get(key).is_none() && !matches!(event, SessionEvent::Chunk { .. }) {
            return;
        }
        match event {
            SessionEvent::Message(message) => {
                self.peers.heard(key, Instant::now());
                self.message(key, message);
            }
            SessionEvent::List { blob, bytes } => {
                self.exchange(|downloads, _, fx| downloads.list(key, blob, &bytes, fx))
            }
            SessionEvent::Only { blob, bytes } => {
                if bytes.is_some() {
                    self.gave(key, blob);
                }
                self.exchange(|downloads, _, fx| downloads.only_chunk(key, blob, bytes, fx));
            }
            SessionEvent::Bytes { blob, chunk, bytes } => {
                self.downloads.bytes(key, (blob, chunk, bytes), self.now())
            }
            SessionEvent::Chunk { blob, chunk, bytes, outcome } => {
                if matches!(outcome, Outcome::Written) {
                    self.gave(key, blob);
                }
                self.exchange(|downloads, uploads, fx| {
                    downloads.chunk(key, (blob, chunk, bytes), outcome, fx, uploads)
                });
            }
            SessionEvent::Sent { blob, whole } => {
                self.exchange(|downloads, uploads, fx| downloads.sent(key, (blob, whole), fx, uploads));
            }
            SessionEvent::SourceChanged(id) => self.source_changed(id),
            SessionEvent::Closed(end) => {
                let ban = matches!(end, SessionEnd::Protocol(_));
                self.peers.doom(key, end.to_string(), ban);
            }
        }
    }

    fn message(&mut self, key: PeerKey, message: Message) {
        let introduced = self.peers.get(key).is_some_and(|p| p.hello.is_some());
        match (message, introduced) {
            (Message::Banned { secs, reason }, _) => self.banned_by(key, &reason, secs),
            (Message::Hello(hello), false) => self.introduced(key, hello),
            (Message::Hello(_), true) | (_, false) => self.peers.doom(key, "spoke out of turn", true),
            (Message::Want { blob, id }, true) => self.want(key, blob, id),
            (Message::Offer(offer), true) => self.offered(key, offer),
            (Message::Bad { chunk, .. }, true) => {
                tracing::warn!(chunk, "a peer says that a chunk we sent did not verify");
            }
            (Message::Peers { blob, peers }, true) => self.exchanged(key, blob, peers),
            (Message::Ping(n), true) => self.peers.send(key, Message::Pong(n)),
            (Message::Pong(n), true) => {
                if let Some(took) = self.peers.pong(key, n, Instant::now()) {
                    self.downloads.round_trip(key, took, self.now());
                    self.widen(key);
                }
            }
            (Message::Seek { id, on }, true) => self.sought(key, id, on),
            (Message::HaveIt(id), true) => {
                self.downloads.is_known_to(key, id);
                if self.seeking.found(key, id) {
                    self.exchange(|_, uploads, fx| uploads.found(key, id, fx));
                }
            }
            // The session's own task keeps these.
            (Message::List { .. } | Message::Cancel { .. }, true) => {}
            (
                message @ (Message::StateDigest(_)
                | Message::Statement { .. }
                | Message::Certified { .. }
                | Message::Renew
                | Message::Members { .. }
                | Message::FindMember { .. }
                | Message::FoundMembers { .. }
                | Message::Voucher { .. }),
                true,
            ) => self.office_message(key, message),
            (message, true) => {
                self.exchange(|downloads, uploads, fx| drop(downloads.heard(key, message, fx, uploads)));
            }
        }
    }

    fn introduced(&mut self, key: PeerKey, hello: Hello) {
        if hello.version != wire::VERSION {
            let (theirs, ours) = (hello.version, wire::VERSION);
            return self.peers.doom(
                key,
                format!("speaks version {theirs} of the protocol, we speak {ours}"),
                false,
            );
        }
        if let Some(peer) = self.peers.get_mut(key) {
            let names = (self.site.as_deref(), hello.site.as_deref());
            let local = same_site(names, &peer.addr, &self.listen.borrow());
            if local {
                peer.class = peer.class.min(Distance::Site);
            }
            let elsewhere = (!local).then(|| site_of(names.1, &peer.addr));
            self.dht.peer(peer.id, &peer.addr, &hello.dht);
            peer.hello = Some(hello);
            let (class, dialled) = (peer.class, peer.dialled);
            if dialled {
                self.discovery.met(peer.id, &peer.addr, dialled, Instant::now());
                self.barred.let_in(&peer.id, &self.store);
            }
            self.downloads.peer_up(key, class, elsewhere, self.now());
            if !dialled {
                self.ask_first(key);
            }
            self.greet_member(key);
            self.seek();
        }
    }

    /// Asks a peer the first questions, right behind our Hello if we dialled it: how far it is, and what it has of
    /// what we want.
    pub(super) fn ask_first(&mut self, key: PeerKey) {
        // Before any bulk is between: how much may be under way follows from it.
        self.peers.ping(key, Instant::now());
        let only = self.web_of(key);
        self.exchange(|downloads, _, fx| downloads.ask_newcomer(key, only, fx));
    }

    /// Bytes of what we give are not what they were, or not there any longer.
    fn source_changed(&mut self, id: ContentId) {
        let gone = self
            .store
            .record(id)
            .is_some_and(|record| matches!(self.store.look(&record, true), Sight::Gone(_)));
        self.store.mark(id, if gone { StoredState::Missing } else { StoredState::Changed });
        self.lost(id);
    }

    /// A peer keeps us away from now on: whoever waits is told, and it is not dialled until then.
    fn banned_by(&mut self, key: PeerKey, reason: &str, secs: u64) {
        let Some(peer) = self.peers.id_of(key) else { return };
        self.barred.told(peer, reason, secs, &self.store);
        let Some((until, said)) = self.barred.until(&peer).zip(self.barred.sentence(&peer)) else { return };
        tracing::warn!("{said}");
        self.downloads.notice(&said);
        self.peers.doom(key, said.clone(), false);
        self.discovery.bar(peer, until, said);
    }

    /// Handles a holder's offer. In an office, an offer without a voucher is not taken.
    fn offered(&mut self, key: PeerKey, offer: wire::Offer) {
        let taken = self.is_vouched(key, offer.blob);
        if self.exchange(|downloads, uploads, fx| downloads.offered(key, offer, taken, fx, uploads)) {
            self.widen(key);
        }
    }

    fn want(&mut self, key: PeerKey, blob: u32, id: ContentId) {
        let admitted = self.admits(key, id);
        match self.exchange(|_, uploads, fx| uploads.want(key, (blob, id), admitted, fx)) {
            None => self.peers.doom(key, "wants more blobs at once than allowed", true),
            // Who may fetch nothing of us is told of nobody, whatever is here; others, to whom just this is denied, as if it were not.
            Some(WantOutcome::Denied) if self.admits_in_general(key) => {
                self.exchange(|_, uploads, fx| uploads.introduce(key, id, &[], fx));
            }
            Some(WantOutcome::Denied) => {}
            Some(next) => {
                let holders = self.downloads.holders(id);
                self.exchange(|_, uploads, fx| uploads.introduce(key, id, &holders, fx));
                if next == WantOutcome::Open {
                    self.open(id);
                }
            }
        }
    }

    /// Whether this peer may fetch this of us.
    fn admits(&mut self, key: PeerKey, id: ContentId) -> bool {
        let access = self.access(id);
        let admitted = self.peers.facts(key).is_some_and(|peer| access.admits(&peer));
        // What is not here is of nobody yet: who asks is introduced to others who do.
        let unknown = access.office.as_ref().is_some_and(Vec::is_empty)
            && !self.uploads.is_open(id)
            && self.store.record(id).is_none();
        admitted || (unknown && self.admits_in_general(key))
    }

    /// Whether it may fetch what nothing was said of.
    fn admits_in_general(&self, key: PeerKey) -> bool {
        self.peers.get(key).is_some_and(|peer| self.audience.admits(peer.near, peer.member.is_some()))
    }

    /// Asks around for what we want and nobody is known to have.
    pub(super) fn ask_around(&mut self, now: Instant) {
        let due = self.seeking.own(&self.downloads.searching(), now);
        for id in due {
            for peer in self.downloads.may_seek(id, self.now()) {
                self.peers.hint(peer, Message::Seek { id, on: true });
            }
        }
        self.seek();
    }

    /// Asks those we know for what others want of us.
    pub(super) fn seek(&mut self) {
        let (ready, uploads) = (self.peers.ready(), &self.uploads);
        for (peer, id) in self.seeking.due(&ready, |id| uploads.wanters(id), Instant::now()) {
            self.peers.hint(peer, Message::Seek { id, on: false });
        }
    }

    /// A peer looks for something, for itself (`on`) or for another.
    fn sought(&mut self, key: PeerKey, id: ContentId, on: bool) {
        let admitted = self.admits(key, id);
        if !admitted && !self.admits_in_general(key) {
            return;
        }
        let stored = || self.store.is_offered(id);
        if !admitted {
            // As if it were not here.
            if on {
                self.seeking.begin(id, key, Instant::now());
                self.seek();
            }
        } else if self.uploads.is_open(id) || self.downloads.is_active(id) || stored() {
            self.peers.send(key, Message::HaveIt(id));
        } else if on {
            self.seeking.begin(id, key, Instant::now());
            self.seek();
        }
    }

    fn exchanged(&mut self, key: PeerKey, blob: u32, peers: Vec<wire::PeerAddrs>) {
        let Some(by) = self.peers.get(key).map(|p| (p.id, p.class)) else { return };
        if self.downloads.id_of(blob).is_some() {
            self.named(by, peers);
        }
    }

    /// Peers that another one names.
    pub(super) fn named(&mut self, by: (PeerId, Distance), peers: Vec<wire::PeerAddrs>) {
        let own = *self.network.local_peer_id();
        for named in peers {
            let Ok(peer) = PeerId::from_bytes(&named.peer) else { continue };
            if peer == own || self.peers.key_of(&peer).is_some() {
                continue;
            }
            for addr in named.addrs {
                let Ok(addr) = Multiaddr::try_from(addr) else { continue };
                self.discovery.exchanged(&split_peer(&addr).0, peer, by, Instant::now());
            }
        }
    }

    /// A tracker has answered, or has not.
    pub(super) fn tracked(&mut self, reply: Reply) {
        let now = Instant::now();
        let Some(tracker::NamedMembers { by, at, seen, linked, peers }) = self.trackers.heard(reply, now)
        else {
            return;
        };
        seen.into_iter().for_each(|ip| self.reach.seen(ip));
        let ip = at.as_ref().and_then(ip_of);
        if let Some(relay) = at.and_then(|at| self.reach.relay(at)) {
            // It is spoken with on a connection of its own, and has no sessions.
            let behaviour = self.network.behaviour_mut();
            behaviour.streams.leave(relay);
            behaviour.identify.with(relay);
            if let Some(office) = &self.office {
                office.relay(relay);
            }
            let private = ip.is_some_and(|ip| class_of(ip) == Distance::Lan);
            behaviour.dcutr.private |= private;
            behaviour.autonat.private |= private;
            behaviour.gate.private |= private;
        }
        self.reach_out(now);
        for named in peers {
            let Ok(peer) = PeerId::from_bytes(&named.peer) else { continue };
            let addrs = named.addrs.into_iter().filter_map(|a| a.try_into().ok());
            self.suggested(peer, addrs, PeerSource::new(by, ip, linked), now);
        }
        self.release(now);
    }

    /// A tracker or the DHT says that a peer has what we want.
    fn suggested(
        &mut self,
        peer: PeerId,
        addrs: impl Iterator<Item = Multiaddr>,
        by: PeerSource,
        now: Instant,
    ) {
        if peer == *self.network.local_peer_id() || self.peers.key_of(&peer).is_some() {
            return;
        }
        let (relayed, direct): (Vec<Multiaddr>, Vec<Multiaddr>) = addrs.partition(is_relayed);
        self.discovery.tracked(&direct, peer, by, now);
        if !relayed.is_empty() && self.held.len() < limits::DIAL_QUEUE {
            self.held.push((peer, relayed, Some(by)));
        }
    }

    /// Once a second, and when it has told something: what the DHT is to look for and to be told, and whom it has named.
    pub(super) fn tend_dht(&mut self, now: Instant) {
        let near = self.dht.widest();
        // Who is elsewhere can do nothing with the addresses of a private network.
        let of_use =
            |addr: &&Multiaddr| ip_of(addr).is_some_and(|ip| is_one_host(ip) && class_of(ip) >= near);
        let listen = self.listen.borrow();
        let all = self.reach.addresses().chain(&*listen).filter(of_use);
        self.dht.addresses(all.take(limits::PEER_ADDRS).cloned().collect());
        drop(listen);
        self.dht.tend(self.downloads.room(&self.peers, self.now()) > 0, now);
        self.dht.save(&self.store, false);
        for Provider { peer, addrs } in self.dht.named(now) {
            // Whoever named the way through a relay knows no better than that this relay exists.
            for way in addrs.iter().filter(|addr| is_relayed(addr)) {
                if self.reach.relays().count() < limits::DHT_RELAYS {
                    self.through(way, true);
                }
            }
            self.suggested(peer, addrs.into_iter(), PeerSource::DHT, now);
            self.release(now);
        }
    }

    /// Ways through relays are taken when we know where we are seen.
    pub(super) fn release(&mut self, now: Instant) {
        if self.held.is_empty() || !self.reach.is_seen(now) {
            return;
        }
        for (peer, addrs, by) in std::mem::take(&mut self.held) {
            match by {
                Some(by) => self.discovery.tracked(&addrs, peer, by, now),
                None => {
                    addrs.iter().for_each(|a| self.discovery.found(a, Some(peer), AddressSource::Link, now))
                }
            }
        }
    }
}
