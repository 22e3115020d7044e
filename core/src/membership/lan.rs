//! Announcements of an office on the local network: multicast DNS packets whose only record is an
//! announcement that members alone can read ([`crate::office::beacon`]). A listener sees that there is a node
//! of some office, and nothing else.
//!
//! A node announces itself when it starts, when its addresses change, when it looks for others, and at
//! intervals. A member that asks is answered by a few members, however many there are: each waits for a
//! random time, and is silent if enough others have answered by then.

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

/// The multicast group of multicast DNS (RFC 6762).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The port of multicast DNS (RFC 6762).
const PORT: u16 = 5353;
/// The name of the record. All offices use one name, so that it says nothing about the office.
const SERVICE: &str = "_swarm-member._udp.local.";
/// Seconds for which others on the network may cache the record.
const TTL: u32 = 120;
/// Most bytes of one text in a record (RFC 1035).
const TEXT: usize = 255;
/// Bytes of the receive buffer; a packet with an announcement is shorter.
const PACKET: usize = 1024;
/// Times after the start at which the node asks for announcements. There are several, because packets get
/// lost.
const ASK_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(700), Duration::from_secs(3), Duration::from_secs(10)];
/// Least time between two announcements that nobody asked for.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The time between two such announcements for each known member, so that all members together do not
/// announce themselves more often than this.
const PER_MEMBER: Duration = Duration::from_millis(200);
/// The time within which a member answers, before [`ANSWER_LATER`] is added.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// The time that is added to [`ANSWER_WITHIN`] for each known member.
const ANSWER_LATER: Duration = Duration::from_millis(2);
/// The longest time that a member waits with an answer.
const ANSWER_AT_LAST: Duration = Duration::from_secs(5);
/// The number of answers that are enough. A member that has heard as many does not answer.
const ENOUGH: u32 = 8;
/// Least time between two questions of a node that looks for others.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// The task that announces a node and hears others.
pub(crate) struct Announcer {
    /// The office's state: secrets, known members, this node's own key.
    pub(crate) standing: watch::Receiver<Arc<Snapshot>>,
    /// The addresses to announce.
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    /// Notified when the node looks for members.
    pub(crate) look: Arc<Notify>,
    /// Takes the members that were heard: peer, addresses, epoch of the secret that the announcement used.
    pub(crate) found: mpsc::Sender<(PeerId, Vec<Multiaddr>, u32)>,
}

/// The running task.
struct LanState {
    with: Announcer,
    /// [`SERVICE`], parsed.
    service: Name,
    /// The socket that receives from all interfaces.
    receiver: UdpSocket,
    /// The sending sockets, by the addresses of their interfaces.
    senders: BTreeMap<Ipv4Addr, UdpSocket>,
    /// Nonces of announcements that were seen, as a set and in their order. At most [`limits::BEACONS_SEEN`].
    seen: (BTreeSet<[u8; 24]>, VecDeque<[u8; 24]>),
    /// The present second and the number of packets examined in it.
    looked: (u64, u32),
    /// The time of this node's answer, and the number of answers heard since the question. `None` if nobody
    /// asked.
    answer: Option<(Instant, u32)>,
    /// The time of the next announcement that nobody asked for.
    tell: Instant,
    /// The times of the next questions.
    asks: VecDeque<Instant>,
    /// The time of the last question.
    asked: Option<Instant>,
}

impl Announcer {
    /// Runs until the network ends. Returns at once if the local network cannot be listened to.
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

/// Returns the socket that receives. It shares its port with other processes on this machine.
fn listen() -> io::Result<StdSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    share_port(&socket)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    Ok(socket.into())
}

/// Returns a socket that sends on the interface with this address.
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
    /// Receives, announces and asks until the node's addresses have no sender any more.
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

    /// Opens sockets for new interfaces and closes those of interfaces that are gone. Returns true if there
    /// are new ones.
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
            // An error means that the socket is in the group there already.
            let _ = self.receiver.join_multicast_v4(GROUP, ip);
            match sender(ip).and_then(UdpSocket::from_std) {
                Ok(socket) => new |= self.senders.insert(ip, socket).is_none(),
                Err(error) => tracing::debug!(%ip, %error, "not announced there"),
            }
        }
        new
    }

    /// Sends the announcement that is due.
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

    /// Sends an announcement on all interfaces. `asks` asks others for theirs.
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

    /// Handles a received packet.
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
        // An announcement that is replayed must not make members answer.
        let fresh = beacon.time.abs_diff(second) <= limits::BEACON_FRESH.as_secs();
        if beacon.peer == standing.own.subject || !fresh || !self.is_new(*nonce) {
            return;
        }
        // An old secret counts only for a known member that may have been away, because expelled members know
        // it as well. Nobody answers an announcement under an old secret.
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

    /// Remembers a nonce. Returns true if it was not seen before.
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

/// Returns a random time up to this one.
fn part_of(whole: Duration) -> Duration {
    let [byte, more] = random().unwrap_or([128, 0]);
    whole * u32::from(u16::from_le_bytes([byte, more])) / 65_536
}

/// Returns the packet with an announcement.
fn packet(service: &Name, announcement: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    let texts: Vec<&[u8]> = announcement.chunks(TEXT).collect();
    message.add_answer(Record::from_rdata(service.clone(), TTL, RData::TXT(TXT::from_bytes(texts))));
    message.to_vec().ok()
}

/// Returns the announcement in a packet, `None` for any other packet.
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
