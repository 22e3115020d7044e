//! An office on the local network: multicast DNS packets whose only record is an announcement that members
//! alone can read ([`crate::office::beacon`]). Others see that there is a node of some office, and no more.
//!
//! From each local address a node announces the listen addresses with that IP, and of an announcement only
//! addresses count whose IP is the packet's source: a member cannot send others to a third host.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{Name, RData, Record};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::{Snapshot, now, peer_of, random};
use crate::limits;
use crate::net::Multiaddr;
use crate::net::multicast::station::{Station, StationEvent};
use crate::net::multicast::timing::{Due, Timing};
use crate::net::multicast::{LanAddress, Neighbour, PACKET, announced};
use crate::office::beacon::{Beacon, LEN};
use crate::office::secret::OfficeSecret;

/// Name of the record, the same in all offices.
const SERVICE: &str = "_swarm-member._udp.local.";
/// Seconds for which other programs on the network may keep the record.
const TTL: u32 = 120;
/// Longest string of a TXT record.
const TEXT: usize = 255;

/// Announcements of a node in one office: a task that asks, answers and listens.
pub(crate) struct Announcer {
    pub(crate) standing: watch::Receiver<Arc<Snapshot>>,
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    /// Notified when somebody is looked for.
    pub(crate) look: Arc<Notify>,
    /// News of members.
    pub(crate) found: mpsc::Sender<Neighbour>,
}

struct LanState {
    standing: watch::Receiver<Arc<Snapshot>>,
    found: mpsc::Sender<Neighbour>,
    service: Name,
    station: Station,
    seen: (BTreeSet<[u8; 24]>, VecDeque<[u8; 24]>),
    /// Announcements that were examined in this second.
    looked: (u64, u32),
}

impl Announcer {
    /// Runs until the node ends or drops it. It must run within a tokio runtime.
    pub(crate) async fn run(self) {
        let Self { standing, listen, look, found } = self;
        let (Ok(service), Ok(seed)) = (Name::from_ascii(SERVICE), random()) else { return };
        let timing = Timing::new(limits::BEACON_ANSWERS, u64::from_le_bytes(seed), Instant::now());
        let station = Station::open(timing, listen, look);
        let seen = (BTreeSet::new(), VecDeque::new());
        LanState { standing, found, service, station, seen, looked: (0, 0) }.run().await;
    }
}

impl LanState {
    async fn run(mut self) {
        let mut buffer = vec![0; PACKET];
        loop {
            let members = self.standing.borrow().known.len();
            match self.station.next(&mut buffer, members).await {
                Some(StationEvent::Packet(len, from)) => self.heard(&buffer[..len], from).await,
                Some(StationEvent::Due(Due::Ask { .. })) => {
                    self.say(true, self.station.multicast.addresses());
                }
                Some(StationEvent::Due(Due::Answer(from))) => self.say(false, from),
                Some(StationEvent::Due(Due::Tell)) => self.say(false, self.station.multicast.addresses()),
                None => return,
            }
        }
    }

    /// Announces this node from these local addresses, and asks others to do so if `asks`.
    fn say(&self, asks: bool, from: impl IntoIterator<Item = LanAddress>) {
        let standing = Arc::clone(&self.standing.borrow());
        let Some(secret) = standing.book.secrets().next() else { return };
        let listen = self.station.listen();
        for at in from {
            let addrs: Vec<Vec<u8>> = announced(at, &listen).map(Multiaddr::to_vec).collect();
            let Ok(nonce) = random() else { return };
            if addrs.is_empty() {
                continue;
            }
            let beacon = Beacon { asks, time: now(), peer: standing.own.subject, addrs };
            if let Some(packet) = packet(&self.service, &beacon.seal(&secret.lan_key(), nonce)) {
                self.station.multicast.send(at, &packet);
            }
        }
    }

    async fn heard(&mut self, packet: &[u8], from: LanAddress) {
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
        let standing = Arc::clone(&self.standing.borrow());
        let read = |secret: &OfficeSecret| Some((Beacon::open(&bytes, &secret.lan_key())?, secret.epoch));
        let Some((beacon, epoch)) = standing.book.secrets().find_map(read) else { return };
        // An announcement that is played back must not be answered.
        let fresh = beacon.time.abs_diff(second) <= limits::BEACON_FRESH.as_secs();
        if beacon.peer == standing.own.subject || !fresh || !self.is_new(*nonce) {
            return;
        }
        // An expelled member knows the older secrets as well. So they admit only members that are known to
        // have been away, and nobody answers them.
        let newest = standing.book.secrets().next().is_some_and(|secret| secret.epoch == epoch);
        if !newest && !standing.may_be_behind(beacon.peer) {
            return;
        }
        let multicast = &self.station.multicast;
        let here = multicast.towards(from);
        let addrs = beacon.addrs.into_iter().filter_map(|addr| Multiaddr::try_from(addr).ok());
        let addrs = multicast.of_sender(from, addrs);
        if beacon.asks && newest {
            self.station.timing.question(here, standing.known.len(), Instant::now());
        } else {
            self.station.timing.answered(from);
        }
        if let Some(peer) = peer_of(beacon.peer) {
            let _ = self.found.send(Neighbour::Found { peer, addrs, epoch }).await;
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

/// Returns the packet around an announcement.
fn packet(service: &Name, announcement: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    let texts: Vec<&[u8]> = announcement.chunks(TEXT).collect();
    message.add_answer(Record::from_rdata(service.clone(), TTL, RData::TXT(TXT::from_bytes(texts))));
    message.to_vec().ok()
}

/// Returns the announcement in a packet, if it is one.
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
