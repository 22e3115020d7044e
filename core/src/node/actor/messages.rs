//! Events of sessions and messages of peers, each handed to the part of the node that decides about it.

use std::time::Instant;

use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::content::path::escape;
use crate::discovery::candidates::PeerSource;
use crate::discovery::dht::Provider;
use crate::discovery::tracker::{self, TrackerReply};
use crate::distance::Distance;
use crate::exchange::{KnownPeers as _, SendCommand, WantOutcome};
use crate::id::ContentId;
use crate::limits;
use crate::net::address::{class_of, ip_of, is_one_host, is_relayed, split_peer};
use crate::schedule::PeerKey;
use crate::store::Sight;
use crate::store::record::StoredState;
use crate::transfer::peers::{Parting, same_site, site_of};
use crate::transfer::session::SessionEnd;
use crate::transfer::session::event::{Outcome, SessionEvent};
use crate::wire::{self, Hello, Message};

impl Actor {
    /// Handles an event of a session.
    pub(super) fn session(&mut self, key: PeerKey, event: SessionEvent) {
        // A chunk that a peer delivered before its session ended counts.
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
            SessionEvent::Sending { blob, bytes } => {
                self.exchange(|downloads, uploads, fx| downloads.sending(key, (blob, bytes), fx, uploads));
            }
            SessionEvent::Sent { blob, whole } => {
                self.exchange(|downloads, uploads, fx| downloads.sent(key, (blob, whole), fx, uploads));
            }
            SessionEvent::SourceChanged(id) => self.source_changed(id),
            SessionEvent::Closed(SessionEnd::Refused(reason)) => {
                self.peers.part(key, reason, Parting::Theirs);
            }
            SessionEvent::Closed(end) => {
                let ban = matches!(end, SessionEnd::Protocol(_));
                self.peers.doom(key, end.to_string(), ban);
            }
        }
    }

    /// Handles a control message of a peer. A peer that says anything else before its `Hello` is banned.
    fn message(&mut self, key: PeerKey, message: Message) {
        let introduced = self.peers.get(key).is_some_and(|p| p.hello.is_some());
        match (message, introduced) {
            (Message::Banned { secs, reason }, _) => self.banned_by(key, &reason, secs),
            (Message::Closing { reason }, _) => {
                let reason = format!("it ended the session, because \"{}\"", escape(&reason));
                self.peers.part(key, reason, Parting::Theirs);
            }
            (Message::Hello(hello), false) => self.introduced(key, hello),
            (Message::OtherVersion(version), false) => self.speaks_another_version(key, version),
            (Message::Hello(_) | Message::OtherVersion(_), true) | (_, false) => {
                self.peers.doom(key, "spoke out of turn", true)
            }
            (Message::Want { blob, id }, true) => self.want(key, blob, id),
            (Message::Offer(offer), true) => self.offered(key, offer),
            (Message::Bad { .. }, true) => self.sent_bad(key),
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
            // In the order of the requests that it takes back.
            (Message::Cancel { blob, chunk }, true) => {
                self.peers.serve(key, SendCommand::Cancel { blob, chunk });
            }
            // The session's own task answers this message.
            (Message::List { .. }, true) => {}
            (
                message @ (Message::StateDigest(_)
                | Message::Statement(_)
                | Message::Certified { .. }
                | Message::Renew
                | Message::Members { .. }
                | Message::FindMember { .. }
                | Message::FoundMembers { .. }
                | Message::Voucher { .. }),
                true,
            ) => self.office_message(key, message),
            (message, true) => {
                let units = self.downloads.work_of(key, &message, &self.uploads);
                if let Some(peer) = self.peers.get(key).filter(|_| units > 0) {
                    peer.session.traffic.worked(units);
                }
                self.exchange(|downloads, uploads, fx| drop(downloads.heard(key, message, fx, uploads)));
            }
        }
    }

    /// Ends the session with a peer of another version, in words.
    fn speaks_another_version(&mut self, key: PeerKey, theirs: u16) {
        let ours = wire::VERSION;
        let older = if theirs > ours { "this program is too old" } else { "that program is too old" };
        let reason = format!(
            "it speaks version {theirs} of the protocol and this node version {ours}: {older} for the other"
        );
        self.peers.part(key, reason, Parting::Ours);
    }

    /// Handles the `Hello` of a peer.
    fn introduced(&mut self, key: PeerKey, hello: Hello) {
        if let Some(peer) = self.peers.get_mut(key) {
            let names = (self.settings.site.as_deref(), hello.site.as_deref());
            let local = same_site(names, &peer.addr, &self.listen.borrow());
            if local {
                peer.class = peer.class.min(Distance::Site);
            }
            let elsewhere = (!local).then(|| site_of(names.1, &peer.addr));
            self.dht.peer(peer.id, &peer.addr, &hello.dht);
            peer.introduce(hello);
            let (class, dialled) = (peer.class, peer.dialled);
            self.partings.met(&peer.id);
            if dialled {
                self.discovery.met(peer.id, &peer.addr, dialled, Instant::now());
                self.remembered.refusals.let_in(&peer.id, &self.store);
            }
            self.downloads.peer_up(key, class, elsewhere, self.now());
            if !dialled {
                self.ask_first(key);
            }
            self.greet_member(key);
            self.seek();
        }
    }

    /// Sends a peer a ping and the wants of this node: right behind our `Hello` if we dialled the peer, else
    /// after its `Hello`.
    pub(super) fn ask_first(&mut self, key: PeerKey) {
        // The round trip is measured before any bulk, because the amount that may be under way follows from
        // it.
        self.peers.ping(key, Instant::now());
        let only = self.webs.content_of(key);
        self.exchange(|downloads, _, fx| downloads.ask_newcomer(key, only, fx));
    }

    /// Marks a blob whose files have changed or are gone, and withdraws it.
    fn source_changed(&mut self, id: ContentId) {
        let gone = self
            .store
            .record(id)
            .is_some_and(|record| matches!(self.store.look(&record, true), Sight::Gone(_)));
        self.store.mark(id, if gone { StoredState::Missing } else { StoredState::Changed });
        self.lost(id);
    }

    /// Handles the news that a peer has banned this node, for this many seconds. Clients that wait are told,
    /// and the peer is not dialled before the ban ends.
    fn banned_by(&mut self, key: PeerKey, reason: &str, secs: u64) {
        let Some(peer) = self.peers.id_of(key) else { return };
        self.remembered.refusals.told(peer, reason, secs, &self.store);
        let Some((until, said)) =
            self.remembered.refusals.until(&peer).zip(self.remembered.refusals.sentence(&peer))
        else {
            return;
        };
        tracing::warn!("{said}");
        self.downloads.notice(&said);
        self.peers.doom(key, said.clone(), false);
        self.discovery.bar(peer, until, said);
    }

    /// Counts a chunk of which a peer says that it did not verify. An honest peer says so once and leaves.
    fn sent_bad(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.bads = peer.bads.saturating_add(1);
        if peer.bads > limits::BAD_REPORTS {
            self.peers.doom(key, "complains of one chunk after another and stays", true);
        }
    }

    /// Handles the offer of a holder. In an office an offer counts only with a voucher.
    fn offered(&mut self, key: PeerKey, offer: wire::Offer) {
        let taken = self.is_vouched(key, offer.blob);
        if self.exchange(|downloads, uploads, fx| downloads.offered(key, offer, taken, fx, uploads)) {
            self.widen(key);
        }
    }

    /// Handles the want of a peer.
    fn want(&mut self, key: PeerKey, blob: u32, id: ContentId) {
        let admitted = self.admits(key, id);
        match self.exchange(|_, uploads, fx| uploads.want(key, (blob, id), admitted, fx)) {
            None => self.peers.doom(key, "wants more blobs at once than allowed", true),
            // A peer that may fetch nothing of this node gets no introductions, whatever is here. A peer that
            // is denied only this blob is treated as if the blob were not here.
            Some(WantOutcome::Denied { look }) => {
                if self.admits_in_general(key) {
                    self.exchange(|_, uploads, fx| uploads.introduce(key, id, &[], fx));
                }
                if look {
                    self.refuse(id);
                }
            }
            Some(next) => {
                let holders = self.downloads.holders(id);
                self.exchange(|_, uploads, fx| uploads.introduce(key, id, &holders, fx));
                if next == WantOutcome::Open {
                    self.open(id);
                }
            }
        }
    }

    /// Returns true if a peer may fetch a blob of this node.
    fn admits(&mut self, key: PeerKey, id: ContentId) -> bool {
        let access = self.access(id);
        let admitted = self.peers.facts(key).is_some_and(|peer| access.admits(&peer));
        // A blob that is not here has no audience yet: peers that want it are introduced to each other.
        let unknown = access.office.as_ref().is_some_and(Vec::is_empty)
            && !self.uploads.is_open(id)
            && self.store.record(id).is_none();
        admitted || (unknown && self.admits_in_general(key))
    }

    /// Returns true if a peer may fetch blobs without an audience of their own.
    fn admits_in_general(&self, key: PeerKey) -> bool {
        self.peers
            .get(key)
            .is_some_and(|peer| self.settings.audience.admits(peer.near, peer.member.is_some()))
    }

    /// Asks the peers to look for blobs that this node wants and of which no holder is known.
    pub(super) fn ask_around(&mut self, now: Instant) {
        let due = self.seeking.own(&self.downloads.searching(), now);
        for id in due {
            for peer in self.downloads.may_seek(id, self.now()) {
                self.peers.hint(peer, Message::Seek { id, on: true });
            }
        }
        self.seek();
    }

    /// Asks the peers for blobs that other peers look for.
    pub(super) fn seek(&mut self) {
        let (ready, uploads) = (self.peers.ready(), &self.uploads);
        for (peer, id) in self.seeking.due(&ready, |id| uploads.wanters(id), Instant::now()) {
            self.peers.hint(peer, Message::Seek { id, on: false });
        }
    }

    /// Handles a peer's question for a blob. If it is `on`, and the blob is not here, our peers are asked in
    /// turn.
    fn sought(&mut self, key: PeerKey, id: ContentId, on: bool) {
        let admitted = self.admits(key, id);
        if !admitted && !self.admits_in_general(key) {
            return;
        }
        let stored = || self.store.is_offered(id);
        if !admitted {
            // The peer is denied this blob, and is treated as if the blob were not here.
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

    /// Handles the introductions of a holder.
    fn exchanged(&mut self, key: PeerKey, blob: u32, peers: Vec<wire::PeerAddrs>) {
        let Some(by) = self.peers.get(key).map(|p| (p.id, p.class)) else { return };
        if self.downloads.id_of(blob).is_some() {
            self.named(by, peers);
        }
    }

    /// Adds peers that another one names to the candidates for a dial.
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

    /// Handles the answer of a tracker, or its absence.
    pub(super) fn tracked(&mut self, reply: TrackerReply) {
        let now = Instant::now();
        let Some(tracker::NamedMembers { by, at, seen, linked, peers }) = self.trackers.heard(reply, now)
        else {
            return;
        };
        seen.into_iter().for_each(|ip| self.nat.reach.seen(ip));
        let ip = at.as_ref().and_then(ip_of);
        if let Some(relay) = at.and_then(|at| self.nat.reach.relay(at)) {
            // The node speaks with the tracker on a connection of its own and has no session with it.
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

    /// Adds a peer that a tracker or the DHT names as a holder to the candidates for a dial.
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
        if !relayed.is_empty() {
            self.nat.hold(peer, relayed, Some(by));
        }
    }

    /// Tells the DHT what to look for and what to announce, and dials the holders that it names. Called once
    /// a second, and when the DHT has news.
    pub(super) fn tend_dht(&mut self, now: Instant) {
        let near = self.dht.widest();
        // Addresses of a private network are of no use to nodes elsewhere.
        let of_use =
            |addr: &&Multiaddr| ip_of(addr).is_some_and(|ip| is_one_host(ip) && class_of(ip) >= near);
        let listen = self.listen.borrow();
        let all = self.nat.reach.addresses().chain(&*listen).filter(of_use);
        self.dht.addresses(all.take(limits::PEER_ADDRS).cloned().collect());
        drop(listen);
        self.dht.tend(self.downloads.room(&self.peers, self.now()) > 0, now);
        self.dht.save(&self.store, false);
        for Provider { peer, addrs } in self.dht.named(now) {
            // A node that names an address through a relay proves no more than that the relay exists.
            for way in addrs.iter().filter(|addr| is_relayed(addr)) {
                if self.nat.reach.relays().count() < limits::DHT_RELAYS {
                    self.through(way, true);
                }
            }
            self.suggested(peer, addrs.into_iter(), PeerSource::DHT, now);
            self.release(now);
        }
    }
}
