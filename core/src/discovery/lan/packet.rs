//! Packets of libp2p's [multicast DNS](https://github.com/libp2p/specs/blob/master/discovery/mdns.md).
//!
//! A question is of type PTR for `_p2p._udp.local`. An announcement has a PTR record of that name that points
//! to a random name of the node, and TXT records of the random name, each with strings of the form
//! `dnsaddr=<multiaddr>/p2p/<peer id>`. Some implementations put the TXT records into the section of answers,
//! others (as the specification says) into that of additional records; both are read.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::limits;
use crate::net::address::split_peer;
use crate::net::{Multiaddr, PeerId, Protocol};
use crate::random::Random;

/// Name of the service.
const SERVICE: &str = "_p2p._udp.local.";
/// Begin of a string that holds an address.
const ADDRESS: &[u8] = b"dnsaddr=";
/// Longest string of a TXT record.
const TEXT: usize = 255;
/// Characters of the random name of a node, at most 63.
const NAME: usize = 40;
/// Strings of one packet that are looked at: as many as a packet of libp2p holds.
const TEXTS: usize = 64;

/// Packet that was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Somebody asks where nodes are.
    Question,
    /// Peers with their addresses, and the time for which that holds.
    Announcement { found: Vec<(PeerId, Vec<Multiaddr>)>, ttl: Duration },
    /// A packet of another service, or none at all.
    Other,
}

/// Reader and writer of the packets of one node.
#[derive(Debug)]
pub(super) struct Packets {
    own: PeerId,
    service: Name,
    name: Name,
    question: Vec<u8>,
}

impl Packets {
    /// Makes it for the node with this id, with a random name from `seed`; `None` if a name cannot be
    /// encoded, which does not happen.
    pub(super) fn new(own: PeerId, seed: u64) -> Option<Self> {
        let service = Name::from_ascii(SERVICE).ok()?;
        let mut random = Random::new(seed);
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let label: Vec<u8> = (0..NAME).map(|_| letters[random.below(letters.len())]).collect();
        let name = Name::from_labels([label.as_slice()]).ok()?.append_domain(&service).ok()?;
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(service.clone(), RecordType::PTR));
        let question = message.to_vec().ok()?;
        Some(Self { own, service, name, question })
    }

    /// Returns the question.
    pub(super) fn question(&self) -> &[u8] {
        &self.question
    }

    /// Returns the announcement of these addresses of this node; `None` if there are none.
    pub(super) fn announcement<'a>(&self, addrs: impl Iterator<Item = &'a Multiaddr>) -> Option<Vec<u8>> {
        let texts: Vec<String> = addrs
            .map(|addr| format!("dnsaddr={}", split_peer(addr).0.with(Protocol::P2p(self.own))))
            .filter(|text| text.len() <= TEXT)
            .collect();
        if texts.is_empty() {
            return None;
        }
        let ttl = limits::LAN_TTL.as_secs() as u32;
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = true;
        let pointer = RData::PTR(PTR(self.name.clone()));
        message.add_answer(Record::from_rdata(self.service.clone(), ttl, pointer));
        for text in texts {
            let text = RData::TXT(TXT::from_bytes(vec![text.as_bytes()]));
            message.add_additional(Record::from_rdata(self.name.clone(), ttl, text));
        }
        message.to_vec().ok()
    }

    /// Reads a packet.
    pub(super) fn read(&self, packet: &[u8]) -> Heard {
        let Ok(message) = Message::from_vec(packet) else { return Heard::Other };
        if message.metadata.message_type == MessageType::Query {
            let ours = message.queries.iter().any(|query| *query.name() == self.service);
            return if ours { Heard::Question } else { Heard::Other };
        }
        let all = || message.answers.iter().chain(&message.additionals);
        let names: Vec<&Name> = all()
            .filter(|record| record.name == self.service)
            .filter_map(|record| if let RData::PTR(name) = &record.data { Some(&name.0) } else { None })
            .collect();
        let texts = all().filter(|record| names.contains(&&record.name));
        let mut ttl = limits::LAN_TTL;
        let mut found: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
        let strings = texts.filter_map(|record| match &record.data {
            RData::TXT(text) => Some((record.ttl, &text.txt_data)),
            _ => None,
        });
        for (lives, text) in strings.flat_map(|(ttl, texts)| texts.iter().map(move |t| (ttl, t))).take(TEXTS)
        {
            let Some((addr, peer)) = address(text) else { continue };
            ttl = ttl.min(Duration::from_secs(lives.into()));
            match found.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, addrs)) => addrs.push(addr),
                None => found.push((peer, vec![addr])),
            }
        }
        if found.is_empty() { Heard::Other } else { Heard::Announcement { found, ttl } }
    }
}

/// Reads `dnsaddr=<multiaddr>/p2p/<peer id>`.
fn address(text: &[u8]) -> Option<(Multiaddr, PeerId)> {
    let text = std::str::from_utf8(text.strip_prefix(ADDRESS)?).ok()?;
    let (addr, peer) = split_peer(&text.parse().ok()?);
    Some((addr, peer?))
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
