//! Effects: the decisions of downloads and uploads for one event, which the actor carries out afterwards.
//!
//! Nothing in this module touches a session. [`Effects`] holds the time of the event and facts about the
//! peers, and collects orders to the peers' sessions in the order in which they must be carried out. So every
//! decision about a peer can be tested without a connection.

use std::collections::BTreeMap;

use super::orders::{ReceiveCommand, SendCommand};
use crate::distance::Distance;
use crate::id::ContentId;
use crate::limits;
use crate::schedule::{Now, PeerKey};
use crate::signed::PublicKey;
use crate::wire::{Message, PeerAddrs};

/// Facts about a peer with a running session.
#[derive(Debug, Clone)]
pub struct PeerFacts {
    /// How far away it is.
    pub class: Distance,
    /// True if content for the local network may be given to it.
    pub near: bool,
    /// Its key in the office; `None` in a network without an office.
    pub member: Option<PublicKey>,
}

/// A source of facts about peers.
pub trait KnownPeers {
    /// Returns the facts about a peer with a running session.
    fn facts(&self, key: PeerKey) -> Option<PeerFacts>;
    /// Returns the addresses at which others can reach a peer, once it has introduced itself.
    fn reachable(&self, key: PeerKey) -> Option<PeerAddrs>;
    /// Returns the name of the peer behind a session that runs, or ended lately. Each peer has one name, in
    /// all of its sessions.
    fn name(&self, key: PeerKey) -> Option<String>;
    /// True if a session that runs, or ended lately, is that of a web seed.
    fn is_web(&self, key: PeerKey) -> bool;
    /// True if the peer behind a session that runs, or ended lately, is banned.
    fn is_banned(&self, key: PeerKey) -> bool;
    /// Returns the free places in the queue of messages to a peer; 0 without a session.
    fn room(&self, key: PeerKey) -> usize;
    /// True if a peer may be sent this many more vouchers now.
    fn may_hear(&self, key: PeerKey, more: u32) -> bool;
    /// Returns the number of peers that have introduced themselves.
    fn introduced(&self) -> usize;
    /// Returns the number of peers that are useful to a download. `offers` tells, for a peer that offers
    /// something, whether it delivers; other peers count only while they are new.
    fn useful(&self, offers: &dyn Fn(PeerKey) -> Option<bool>) -> usize;
}

/// An order to one peer's session.
#[derive(Debug)]
pub enum Effect<B> {
    /// Sends a message.
    Send(PeerKey, Message),
    /// Sends a message that the peer can do without, unless its queue is half full.
    Hint(PeerKey, Message),
    /// Counts a voucher that goes with the next offer.
    Vouch(PeerKey),
    /// Tells the receiving side what may arrive.
    Expect(PeerKey, ReceiveCommand<B>),
    /// Tells the sending side what to send.
    Serve(PeerKey, SendCommand<B>),
    /// Ends the session; `ban` keeps the peer away for a while.
    Drop {
        /// The session.
        peer: PeerKey,
        /// The reason, for logs and for the peer.
        reason: String,
        /// True if the peer broke the rules.
        ban: bool,
    },
    /// Writes to the log that a download waits for the disk.
    Paused {
        /// The content.
        id: ContentId,
        /// The error of the disk.
        error: String,
    },
}

/// The orders that one event leads to.
pub struct Effects<'a, B> {
    /// The time of the event, counted from the start of the network.
    now: Now,
    /// The facts about peers.
    peers: &'a dyn KnownPeers,
    /// The orders, first to last.
    list: Vec<Effect<B>>,
    /// Messages in `list` for each peer, by ascending key. Most events lead to a few.
    sends: Vec<(PeerKey, usize)>,
    /// Vouchers in `list` for each peer.
    vouchers: BTreeMap<PeerKey, u32>,
}

impl<'a, B> Effects<'a, B> {
    /// Returns an empty list for an event at `now`.
    pub fn new(now: Now, peers: &'a dyn KnownPeers) -> Self {
        Self { now, peers, list: Vec::new(), sends: Vec::new(), vouchers: BTreeMap::new() }
    }

    /// Returns the time of the event, counted from the start of the network.
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Returns the facts about a peer with a running session.
    pub fn get(&self, key: PeerKey) -> Option<PeerFacts> {
        self.peers.facts(key)
    }

    /// Returns the addresses at which others can reach a peer.
    pub fn reachable(&self, key: PeerKey) -> Option<PeerAddrs> {
        self.peers.reachable(key)
    }

    /// Returns the name of the peer behind a session that runs, or ended lately.
    pub fn name(&self, key: PeerKey) -> Option<String> {
        self.peers.name(key)
    }

    /// Returns the name of a peer that is not banned yet.
    pub fn not_banned(&self, key: PeerKey) -> Option<String> {
        self.peers.name(key).filter(|_| !self.peers.is_banned(key))
    }

    /// Returns true if a session that runs, or ended lately, is that of a web seed.
    pub fn is_web(&self, key: PeerKey) -> bool {
        self.peers.is_web(key)
    }

    /// Sends a message to a peer.
    pub fn send(&mut self, key: PeerKey, message: Message) {
        self.count(key);
        self.list.push(Effect::Send(key, message));
    }

    /// Sends a message that the peer can do without, unless its queue is half full.
    pub fn hint(&mut self, key: PeerKey, message: Message) {
        if self.room(key) > limits::OUTBOX / 2 {
            self.count(key);
            self.list.push(Effect::Hint(key, message));
        }
    }

    /// Returns the free places in the queue of messages to a peer, after the messages in this list.
    pub fn room(&self, key: PeerKey) -> usize {
        let sent = self.sends.binary_search_by_key(&key, |(to, _)| *to).map_or(0, |at| self.sends[at].1);
        self.peers.room(key).saturating_sub(sent)
    }

    /// Counts a message to a peer.
    fn count(&mut self, key: PeerKey) {
        match self.sends.binary_search_by_key(&key, |(to, _)| *to) {
            Ok(at) => self.sends[at].1 += 1,
            Err(at) => self.sends.insert(at, (key, 1)),
        }
    }

    /// Counts a voucher to a peer; false if it may not be sent one more now.
    pub fn may_vouch(&mut self, key: PeerKey) -> bool {
        let more = self.vouchers.entry(key).or_default();
        if !self.peers.may_hear(key, *more + 1) {
            return false;
        }
        *more += 1;
        self.list.push(Effect::Vouch(key));
        true
    }

    /// Tells a peer's receiving side what may arrive.
    pub fn expect(&mut self, key: PeerKey, command: ReceiveCommand<B>) {
        self.list.push(Effect::Expect(key, command));
    }

    /// Tells a peer's sending side what to send.
    pub fn serve(&mut self, key: PeerKey, command: SendCommand<B>) {
        self.list.push(Effect::Serve(key, command));
    }

    /// Ends the session with a peer once the event is dealt with.
    pub fn doom(&mut self, peer: PeerKey, reason: impl Into<String>, ban: bool) {
        self.list.push(Effect::Drop { peer, reason: reason.into(), ban });
    }

    /// Writes to the log that a download waits for the disk.
    pub fn paused(&mut self, id: ContentId, error: &str) {
        self.list.push(Effect::Paused { id, error: error.to_owned() });
    }

    /// Returns the orders, first to last.
    pub fn into_list(self) -> Vec<Effect<B>> {
        self.list
    }
}
