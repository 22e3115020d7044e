//! The state of one peer with a running session.
//!
//! [`Peer`] holds who the peer is, its session, its last signs of life, and two counts: the office messages
//! it has sent and those it was sent. It knows which addresses of the peer are worth telling others or
//! dialling again.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::WebSeedId;
use crate::content::path::cut;
use crate::distance::Distance;
use crate::limits;
use crate::net::address::ip_of;
use crate::office::membership::Membership;
use crate::transfer::session::Session;
use crate::wire::{Hello, Message, PeerAddrs};

/// The time in which a peer may send [`limits::OFFICE_MESSAGES`].
const OFFICE_WINDOW: Duration = Duration::from_secs(10);

/// A count of messages in a window of time.
#[derive(Debug)]
struct Lately {
    since: Instant,
    count: u32,
}

impl Lately {
    /// Returns an empty window that starts at this time.
    const fn new(since: Instant) -> Self {
        Self { since, count: 0 }
    }

    /// True if the window has room for `more` messages, with at most `most` in it.
    fn has_room(&self, now: Instant, window: Duration, more: u32, most: u32) -> bool {
        let count = if now.duration_since(self.since) >= window { 0 } else { self.count };
        count.saturating_add(more) <= most
    }

    /// Counts one more message. False if that makes more than `most` in this window.
    fn one_more(&mut self, now: Instant, window: Duration, most: u32) -> bool {
        if now.duration_since(self.since) >= window {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }
}

/// A peer with a running session.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its identity, proven by the handshake; for a web seed a stand-in, see [`WebSeedId`].
    pub(crate) id: PeerId,
    /// The connection with the session's control stream; for a web seed a stand-in, see [`WebSeedId`].
    pub(crate) connection: ConnectionId,
    /// The address it is seen at.
    pub(crate) addr: Multiaddr,
    /// How far away it is.
    pub(crate) class: Distance,
    /// Its first message; `None` until it has introduced itself.
    pub(crate) hello: Option<Hello>,
    /// True if it is a web seed, which is never banned: its owner may not even know of this network.
    pub(crate) web: bool,
    /// The session.
    pub(crate) session: Session,
    /// True if we dialled it, false if it dialled us.
    pub(crate) dialled: bool,
    /// True if this end opens further connections. If both ends dial at once, exactly one of them does.
    pub(crate) called: bool,
    /// True if it is in the local network, by [`super::is_near`]. Never true through a relay.
    pub(crate) near: bool,
    /// Its membership; `None` without an office.
    pub(crate) member: Option<Membership>,
    /// The office messages that it sent.
    office_said: Lately,
    /// The office messages that it was sent.
    office_told: Lately,
    /// Office messages that wait until it may be sent more. At most [`limits::OFFICE_WAITING`].
    pub(super) office_waits: VecDeque<Message>,
    /// The start of the session.
    pub(super) since: Instant,
    /// The last time something arrived.
    pub(super) heard: Instant,
    /// Payload bytes received when they were last looked at.
    pub(super) heard_bytes: u64,
    /// Payload bytes received and sent when they were last looked at.
    pub(super) moved_bytes: u64,
    /// The unanswered ping: its number and the time it was sent.
    pub(super) ping: Option<(u64, Instant)>,
    /// The time of the last ping.
    pub(super) pinged: Instant,
    /// The last measured round trip.
    pub(super) rtt: Option<Duration>,
    /// The shortest measured round trip.
    pub(super) nearest: Option<Duration>,
    /// The number of chunks of which it says that they did not verify.
    pub(crate) bads: u32,
    /// The number of its data streams when they were last counted.
    pub(crate) width: usize,
    /// The last time that a further connection with it failed, or was ended by it.
    pub(crate) not_widened: Option<Instant>,
}

impl Peer {
    /// Returns the state of a peer whose session has just started.
    pub(crate) fn new(
        id: PeerId,
        connection: ConnectionId,
        addr: Multiaddr,
        class: Distance,
        session: Session,
    ) -> Self {
        let heard = Instant::now();
        Self {
            dialled: false,
            called: false,
            near: false,
            member: None,
            office_said: Lately::new(heard),
            office_told: Lately::new(heard),
            office_waits: VecDeque::new(),
            since: heard,
            id,
            connection,
            addr,
            class,
            hello: None,
            web: false,
            session,
            heard,
            heard_bytes: 0,
            moved_bytes: 0,
            ping: None,
            pinged: heard,
            rtt: None,
            nearest: None,
            bads: 0,
            width: 1,
            not_widened: None,
        }
    }

    /// Returns the state of a web seed whose session has just started.
    pub(crate) fn of_web_seed(id: WebSeedId, session: Session) -> Self {
        Self { web: true, ..Self::new(id.peer, id.connection, id.addr, Distance::Wan, session) }
    }

    /// Keeps the first message of the peer, with at most [`limits::AGENT_BYTES`] of the name of its program:
    /// a control frame could hold a thousand times as many.
    pub(crate) fn introduce(&mut self, mut hello: Hello) {
        hello.agent = cut(&hello.agent, limits::AGENT_BYTES).to_owned();
        self.hello = Some(hello);
    }

    /// Returns the shortest measured round trip: the one with the least queueing on the way.
    pub(crate) const fn nearest(&self) -> Option<Duration> {
        self.nearest
    }

    /// Counts one office message from the peer. False if those are too many.
    pub(crate) fn may_say(&mut self, now: Instant) -> bool {
        self.office_said.one_more(now, OFFICE_WINDOW, limits::OFFICE_MESSAGES)
    }

    /// Counts one office message to the peer. False if that would be too many. The window is twice the
    /// peer's, for half of its limit, because the peer's window starts at another time.
    pub(super) fn may_hear(&mut self) -> bool {
        self.office_told.one_more(Instant::now(), 2 * OFFICE_WINDOW, limits::OFFICE_MESSAGES / 2)
    }

    /// True if the peer may be sent this many more office messages now.
    pub(super) fn may_hear_more(&self, more: u32) -> bool {
        self.office_told.has_room(Instant::now(), 2 * OFFICE_WINDOW, more, limits::OFFICE_MESSAGES / 2)
    }

    /// Counts one office message to the peer, unless others wait before it.
    pub(super) fn may_hear_in_turn(&mut self) -> bool {
        self.office_waits.is_empty() && self.may_hear()
    }

    /// Returns the peer and an address if it is worth dialling in another run: we dialled it and it sent
    /// something, or it is a member of an office.
    pub(crate) fn worth(&self) -> Option<(PeerId, Multiaddr)> {
        let gave = self.dialled && (self.session.traffic.down() > 0 || self.member.is_some());
        if gave {
            return Some((self.id, self.addr.clone()));
        }
        self.member.as_ref()?;
        let first = self.reachable()?.addrs.into_iter().next()?;
        Some((self.id, Multiaddr::try_from(first).ok()?))
    }

    /// Returns the addresses at which others can reach it: the address it is seen at, with the ports on which
    /// it listens, and its addresses at relays. `None` until it has introduced itself, or without any.
    pub(crate) fn reachable(&self) -> Option<PeerAddrs> {
        let (ip, hello) = (ip_of(&self.addr)?, self.hello.as_ref()?);
        let base = || match ip {
            IpAddr::V4(ip) => Multiaddr::from(ip),
            IpAddr::V6(ip) => Multiaddr::from(ip),
        };
        let tcp = hello.tcp.iter().map(|port| base().with(Protocol::Tcp(*port)));
        let quic = hello.quic.iter().map(|port| base().with(Protocol::Udp(*port)).with(Protocol::QuicV1));
        let direct = tcp.chain(quic).map(|a| a.to_vec()).take(limits::PEER_ADDRS - hello.relayed.len());
        let addrs: Vec<Vec<u8>> = direct.chain(hello.relayed.iter().cloned()).collect();
        (!addrs.is_empty()).then(|| PeerAddrs { peer: self.id.to_bytes(), addrs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn a_long_name_of_a_program_is_cut_at_a_character() {
        let introduced = |agent: String| {
            let (session, _messages) = Session::without_peer();
            let connection = ConnectionId::new_unchecked(0);
            let mut peer =
                Peer::new(PeerId::random(), connection, Multiaddr::empty(), Distance::Wan, session);
            peer.introduce(Hello {
                version: wire::VERSION,
                agent,
                tcp: Vec::new(),
                quic: Vec::new(),
                site: None,
                relayed: Vec::new(),
                dht: Vec::new(),
            });
            peer.hello.map(|hello| hello.agent).unwrap_or_default()
        };
        assert_eq!(introduced("swarm/1.0".to_owned()), "swarm/1.0");
        assert_eq!(introduced("a".repeat(60_000)), "a".repeat(limits::AGENT_BYTES));
        let cut = introduced("a".to_owned() + &"ü".repeat(1000));
        assert_eq!(cut, "a".to_owned() + &"ü".repeat(31), "63 bytes: the next character takes two");
    }

    #[test]
    fn what_is_told_of_an_office_is_never_too_much_for_who_counts_it() {
        let start = Instant::now();
        for offset in 0..40 {
            let (mut told, mut heard) = (Lately::new(start), Lately::new(start));
            for step in 0..20_000_u32 {
                let now = start + Duration::from_millis(u64::from(step) * 5);
                if told.one_more(now, 2 * OFFICE_WINDOW, limits::OFFICE_MESSAGES / 2) {
                    let there = now + Duration::from_millis(500 * offset);
                    assert!(heard.one_more(there, OFFICE_WINDOW, limits::OFFICE_MESSAGES), "{offset} {step}");
                }
            }
        }
    }
}
