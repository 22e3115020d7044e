//! An office on the local network: multicast DNS packets whose only record is an announcement that members alone can read
//! ([`crate::office::beacon`]). Whoever listens sees that there is a node of some office, which is all that it sees of any.
//!
//! A node announces itself when it starts, when its addresses change, when it looks for others, and now and then; who asks is answered by
//! a few, however many there are: each waits for a moment of its own, and keeps quiet when enough others have spoken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Snapshot, now, peer_of, random};
use crate::limits;
use crate::net::address::ip_of;
use crate::net::{Multiaddr, PeerId};
use crate::office::beacon::{Beacon, LEN};
use crate::office::secret::OfficeSecret;
use crate::platform::share_port;

/// RFC 6762.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// The name of the record: the same in all offices.
const SERVICE: &str = "_swarm-member._udp.local.";
/// Seconds that others on the network may keep it.
const TTL: u32 = 120;
/// Bytes of a text in a record.
const TEXT: usize = 255;
/// A packet of ours is shorter.
const PACKET: usize = 1024;
/// After a start others are asked where they are: packets are lost.
const ASK_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(700), Duration::from_secs(3), Duration::from_secs(10)];
/// Later it says where it is so often, in a small office.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// In a large one all of them together say so at most this often.
const PER_MEMBER: Duration = Duration::from_millis(200);
/// Who asks is answered within this, and so much later for each member that is known.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// See [`ANSWER_WITHIN`].
const ANSWER_LATER: Duration = Duration::from_millis(2);
/// The longest that anybody waits with an answer.
const ANSWER_AT_LAST: Duration = Duration::from_secs(5);
/// So many answers are enough.
const ENOUGH: u32 = 8;
/// Who looks for others asks at most this often.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// What an announcer needs.
pub(crate) struct Announcer {
    pub(crate) standing: watch::Receiver<Arc<Snapshot>>,
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    /// Somebody is looked for.
    pub(crate) look: Arc<Notify>,
    /// Members, and where they are.
    pub(crate) found: mpsc::Sender<(PeerId, Vec<Multiaddr>, u32)>,
}

struct LanState {
    with: Announcer,
    service: Name,
    receiver: UdpSocket,
    /// One for each interface, by its address.
    senders: BTreeMap<Ipv4Addr, UdpSocket>,
    seen: (BTreeSet<[u8; 24]>, VecDeque<[u8; 24]>),
    /// How many were looked at in this second.
    looked: (u64, u32),
    /// When we answer, and how many have since somebody asked.
    answer: Option<(Instant, u32)>,
    tell: Instant,
    asks: VecDeque<Instant>,
    asked: Option<Instant>,
}

impl Announcer {
    /// Announces until it is dropped.
    pub(crate) async fn run(self) {
        let receiver = match listen().and_then(UdpSocket::from_std) {
            Ok(receiver) => receiver,
            Err(error) => return tracing::warn!(%error, "the local network cannot be listened to"),
        };
        let Ok(service) = Name::from_ascii(SERVICE) else { return };
        let start = Instant::now();
        let state = LanState {
            with: self,
            service,
            receiver,
            senders: BTreeMap::new(),
            seen: (BTreeSet::new(), VecDeque::new()),
            looked: (0, 0),
            answer: None,
            tell: start + TELL_EVERY,
            asks: ASK_AFTER.iter().map(|after| start + *after).collect(),
            asked: None,
        };
        state.run().await;
    }
}

/// The socket that hears all; others on this machine have it as well.
fn listen() -> io::Result<StdSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    share_port(&socket)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    Ok(socket.into())
}

/// A socket that speaks on one interface.
fn sender(at: Ipv4Addr) -> io::Result<StdSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((at, 0)).into())?;
    socket.set_multicast_if_v4(&at)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    Ok(socket.into())
}

impl LanState {
    async fn run(mut self) {
        self.interfaces();
        let mut buffer = [0; PACKET];
        loop {
            let ask = self.asks.front().copied();
            let next = [Some(self.tell), ask, self.answer.map(|(at, _)| at)].into_iter().flatten().min();
            let next = next.unwrap_or(self.tell);
            let look = Arc::clone(&self.with.look);
            tokio::select! {
                got = self.receiver.recv_from(&mut buffer) => match got {
                    Ok((len, _)) => self.heard(&buffer[..len]).await,
                    Err(error) => {
                        tracing::debug!(%error, "hearing the local network");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                changed = self.with.listen.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if self.interfaces() {
                        self.asks.push_front(Instant::now());
                    }
                }
                () = look.notified() => {
                    if self.asked.is_none_or(|at| at.elapsed() >= LOOK_PAUSE) {
                        self.asks.push_front(Instant::now());
                    }
                }
                () = sleep_until(next) => self.due().await,
            }
        }
    }

    /// Takes up interfaces that are new, leaves those that are gone. True if there are new ones.
    fn interfaces(&mut self) -> bool {
        let listen = self.with.listen.borrow_and_update().clone();
        let ip = |addr: &Multiaddr| match ip_of(addr) {
            Some(std::net::IpAddr::V4(ip)) if !ip.is_loopback() && !ip.is_unspecified() => Some(ip),
            _ => None,
        };
        let now: BTreeSet<Ipv4Addr> = listen.iter().filter_map(ip).collect();
        self.senders.retain(|ip, _| now.contains(ip));
        let mut new = false;
        for ip in now {
            if self.senders.contains_key(&ip) {
                continue;
            }
            // It may be a member of the group there already.
            let _ = self.receiver.join_multicast_v4(GROUP, ip);
            match sender(ip).and_then(UdpSocket::from_std) {
                Ok(socket) => new |= self.senders.insert(ip, socket).is_none(),
                Err(error) => tracing::debug!(%ip, %error, "not announced there"),
            }
        }
        new
    }

    /// It is time for something.
    async fn due(&mut self) {
        let at = Instant::now();
        if self.asks.front().is_some_and(|ask| *ask <= at) {
            self.asks.retain(|ask| *ask > at);
            self.asked = Some(at);
            self.say(true).await;
        } else if self.answer.is_some_and(|(when, _)| when <= at) {
            if self.answer.take().is_some_and(|(_, others)| others < ENOUGH) {
                self.say(false).await;
            }
        } else if self.tell <= at {
            self.say(false).await;
        }
        if self.tell <= at {
            let members = self.with.standing.borrow().known.len() as u32;
            let pause = TELL_EVERY.max(PER_MEMBER * members);
            self.tell = at + pause + part_of(pause);
        }
    }

    async fn say(&self, asks: bool) {
        let standing = Arc::clone(&self.with.standing.borrow());
        let (Some(secret), Ok(nonce)) = (standing.book.secrets().next(), random()) else { return };
        let listen = self.with.listen.borrow().clone();
        let of_use = |addr: &&Multiaddr| ip_of(addr).is_some_and(|ip| !ip.is_loopback());
        let addrs: Vec<Vec<u8>> = listen.iter().filter(of_use).map(Multiaddr::to_vec).collect();
        if addrs.is_empty() {
            return;
        }
        let beacon = Beacon { asks, time: now(), peer: standing.own.subject, addrs };
        let Some(packet) = packet(&self.service, &beacon.seal(&secret.lan_key(), nonce)) else { return };
        for (ip, socket) in &self.senders {
            if let Err(error) = socket.send_to(&packet, (GROUP, PORT)).await {
                tracing::debug!(%ip, %error, "an announcement was not sent");
            }
        }
    }

    async fn heard(&mut self, packet: &[u8]) {
        let second = now();
        if self.looked.0 != second {
            self.looked = (second, 0);
        }
        self.looked.1 += 1;
        if self.looked.1 > limits::BEACONS_PER_SECOND {
            return;
        }
        let Some(bytes) = announcement(&self.service, packet) else { return };
        let Some(nonce) = bytes.first_chunk::<24>() else { return };
        let standing = Arc::clone(&self.with.standing.borrow());
        let read = |secret: &OfficeSecret| Some((Beacon::open(&bytes, &secret.lan_key())?, secret.epoch));
        let Some((beacon, epoch)) = standing.book.secrets().find_map(read) else { return };
        // One that is played back must not make anybody show himself.
        let fresh = beacon.time.abs_diff(second) <= limits::BEACON_FRESH.as_secs();
        if beacon.peer == standing.own.subject || !fresh || !self.is_new(*nonce) {
            return;
        }
        // By an old secret only who is known to have been away: whoever had to leave knows it as well. Nobody shows himself to it.
        let newest = standing.book.secrets().next().is_some_and(|secret| secret.epoch == epoch);
        if !newest && !standing.may_be_behind(beacon.peer) {
            return;
        }
        if beacon.asks && newest {
            let spread = (ANSWER_WITHIN + ANSWER_LATER * standing.known.len() as u32).min(ANSWER_AT_LAST);
            self.answer.get_or_insert((Instant::now() + part_of(spread), 0));
        } else if let Some((_, others)) = &mut self.answer {
            *others += 1;
        }
        let addrs: Vec<Multiaddr> =
            beacon.addrs.into_iter().filter_map(|addr| Multiaddr::try_from(addr).ok()).collect();
        if let Some(peer) = peer_of(beacon.peer) {
            let _ = self.with.found.send((peer, addrs, epoch)).await;
        }
    }

    fn is_new(&mut self, nonce: [u8; 24]) -> bool {
        let (set, order) = &mut self.seen;
        if !set.insert(nonce) {
            return false;
        }
        order.push_back(nonce);
        if order.len() > limits::BEACONS_SEEN
            && let Some(oldest) = order.pop_front()
        {
            set.remove(&oldest);
        }
        true
    }
}

/// A random part of a time.
fn part_of(whole: Duration) -> Duration {
    let [byte, more] = random().unwrap_or([128, 0]);
    whole * u32::from(u16::from_le_bytes([byte, more])) / 65_536
}

/// The packet around an announcement.
fn packet(service: &Name, announcement: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    let texts: Vec<&[u8]> = announcement.chunks(TEXT).collect();
    message.add_answer(Record::from_rdata(service.clone(), TTL, RData::TXT(TXT::from_bytes(texts))));
    message.to_vec().ok()
}

/// The announcement in a packet, if it is one.
fn announcement(service: &Name, packet: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_vec(packet).ok()?;
    let [answer] = message.answers.as_slice() else { return None };
    if answer.name != *service {
        return None;
    }
    let RData::TXT(text) = &answer.data else { return None };
    let bytes = text.txt_data.concat();
    (bytes.len() == LEN).then_some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_carry_announcements_and_nothing_else() {
        let service = Name::from_ascii(SERVICE).unwrap();
        let bytes: Vec<u8> = (0..LEN).map(|at| at as u8).collect();
        let whole = packet(&service, &bytes).unwrap();
        assert_eq!(announcement(&service, &whole).unwrap(), bytes);
        assert!(whole.len() < PACKET);
        assert!((0..whole.len()).all(|len| announcement(&service, &whole[..len]).is_none()));
        assert_eq!(announcement(&Name::from_ascii("_p2p._udp.local.").unwrap(), &whole), None);
        assert_eq!(announcement(&service, &packet(&service, &bytes[1..]).unwrap()), None);
    }
}
