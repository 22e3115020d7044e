//! Messages cut to the limits of their receiver, which bans a sender that exceeds them, for whatever reason.

use super::{Hello, Message, Offer, PeerAddrs};
use crate::limits;

/// Returns the text, cut between characters to at most `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// Splits a count of chunks into parts that one message may name.
fn parts(count: u32) -> impl Iterator<Item = u32> {
    let most = limits::REQUESTS_PER_PEER as u32;
    (0..count.div_ceil(most)).map(move |part| most.min(count - part * most))
}

/// Splits peers into groups that one message may name, each peer with as many addresses as it may have.
fn groups(peers: Vec<PeerAddrs>) -> impl Iterator<Item = Vec<PeerAddrs>> {
    let short = |bytes: &Vec<u8>| bytes.len() <= limits::ADDR_BYTES;
    let mut fit: Vec<PeerAddrs> = peers.into_iter().filter(|peer| short(&peer.peer)).collect();
    for peer in &mut fit {
        peer.addrs.retain(short);
        peer.addrs.truncate(limits::PEER_ADDRS);
    }
    let mut left = fit.into_iter();
    std::iter::from_fn(move || {
        let group: Vec<PeerAddrs> = left.by_ref().take(limits::EXCHANGE_PEERS).collect();
        (!group.is_empty()).then_some(group)
    })
}

impl Hello {
    /// Returns the message without what exceeds the limits.
    pub(super) fn fit(mut self) -> Self {
        self.tcp.truncate(limits::PEER_ADDRS);
        self.quic.truncate(limits::PEER_ADDRS);
        self.dht.truncate(limits::DHT_ADDRS);
        self.relayed.retain(|addr| addr.len() <= limits::ADDR_BYTES);
        self.relayed.truncate(limits::RELAYS);
        // A part of a name would be the name of another site.
        self.site = self.site.filter(|site| site.len() <= limits::SITE_BYTES);
        self
    }
}

impl Message {
    /// Splits the message into as many messages as it takes, and leaves out the parts that its receiver would
    /// refuse.
    #[must_use]
    pub fn fit(self) -> Vec<Self> {
        match self {
            Self::Hello(hello) => vec![Self::Hello(hello.fit())],
            Self::Offer(offer) => {
                let name = offer.name.map(|name| cut(name, limits::COMPONENT_BYTES));
                vec![Self::Offer(Offer { name, ..offer })]
            }
            Self::Request { blob, first, count } if count as usize > limits::REQUESTS_PER_PEER => {
                let starts = (first..).step_by(limits::REQUESTS_PER_PEER);
                starts.zip(parts(count)).map(|(first, count)| Self::Request { blob, first, count }).collect()
            }
            Self::Grant { blob, count, hint } => {
                let hints = std::iter::once(hint).chain(std::iter::repeat(None));
                parts(count).zip(hints).map(|(count, hint)| Self::Grant { blob, count, hint }).collect()
            }
            Self::Refuse { blob, count, busy } => {
                parts(count).map(|count| Self::Refuse { blob, count, busy }).collect()
            }
            Self::Peers { blob, peers } => groups(peers).map(|peers| Self::Peers { blob, peers }).collect(),
            Self::Members { peers } => groups(peers).map(|peers| Self::Members { peers }).collect(),
            Self::Gateways { id, mut beats } => {
                beats.truncate(limits::GATEWAYS);
                vec![Self::Gateways { id, beats }]
            }
            Self::FindMember { name } if name.len() > limits::OFFICE_NAME_BYTES => Vec::new(),
            Self::FoundMembers { mut chains } => {
                chains.truncate(limits::OFFICE_CALLED);
                vec![Self::FoundMembers { chains }]
            }
            Self::Banned { secs, reason } => {
                vec![Self::Banned { secs, reason: cut(reason, limits::REASON_BYTES) }]
            }
            Self::Closing { reason } => vec![Self::Closing { reason: cut(reason, limits::REASON_BYTES) }],
            other => vec![other],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::content::kind::ContentKind;
    use crate::id::ContentId;
    use crate::wire::{GatewayBeat, Have, VERSION};

    /// Encodes and decodes all parts of a message, as its receiver does.
    fn taken(message: Message) -> Vec<Message> {
        let fit = message.fit();
        for message in &fit {
            assert_eq!(Message::decode(&message.encode().unwrap()), Ok(Some(message.clone())));
        }
        fit
    }

    #[test]
    fn a_hello_of_many_ports_and_long_names_is_one_that_is_taken() {
        let hello = Hello {
            version: VERSION,
            agent: "a".repeat(1000),
            tcp: (1..10).collect(),
            quic: (1..100).collect(),
            site: Some("s".repeat(limits::SITE_BYTES + 1)),
            relayed: vec![vec![0; 300], vec![1; 8], vec![2; 8], vec![3; 8]],
            dht: (1..10).collect(),
        };
        let fit = taken(Message::Hello(hello));
        let [Message::Hello(hello)] = fit.as_slice() else { panic!("{fit:?}") };
        assert_eq!((hello.tcp.len(), hello.quic.len(), &hello.site), (8, 8, &None));
        assert_eq!(hello.relayed, [vec![1; 8], vec![2; 8]]);
    }

    #[test]
    fn what_is_too_much_for_one_message_goes_in_several() {
        let peer = |n: u8| PeerAddrs { peer: vec![n; 38], addrs: vec![vec![n; 8]; 12] };
        let peers: Vec<PeerAddrs> =
            (0..45).map(peer).chain([PeerAddrs { peer: vec![0; 999], addrs: vec![] }]).collect();
        assert_eq!(taken(Message::Peers { blob: 1, peers: peers.clone() }).len(), 3);
        assert_eq!(taken(Message::Members { peers }).len(), 3);
        let asked = taken(Message::Request { blob: 1, first: 10, count: 600 });
        let [.., Message::Request { first: 522, count: 88, .. }] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        let granted = taken(Message::Grant { blob: 1, count: 513, hint: Some(4) });
        let last = Message::Grant { blob: 1, count: 1, hint: None };
        assert_eq!(granted, [Message::Grant { blob: 1, count: 512, hint: Some(4) }, last]);
        assert_eq!(taken(Message::Refuse { blob: 1, count: 1025, busy: true }).len(), 3);
        let beat = GatewayBeat { tag: 1, number: 1, whole: true, age: 0 };
        taken(Message::Gateways { id: ContentId::from_bytes([1; 32]), beats: vec![beat; 9] });
        taken(Message::FoundMembers { chains: vec![Vec::new(); 9] });
        assert!(taken(Message::FindMember { name: "n".repeat(65) }).is_empty());
    }

    #[test]
    fn words_are_cut_between_characters() {
        let name = format!("a{}", "\u{20ac}".repeat(100));
        let offer =
            |name| Offer { blob: 1, kind: ContentKind::File, len: 1, name, origin: true, have: Have::All };
        let fit = taken(Message::Offer(offer(Some(name.clone()))));
        let [Message::Offer(Offer { name: Some(cut), .. })] = fit.as_slice() else { panic!("{fit:?}") };
        assert!(name.starts_with(cut.as_str()) && cut.len() == 253, "{}", cut.len());
        taken(Message::Offer(offer(Some("n".repeat(255)))));
        taken(Message::Banned { secs: 600, reason: "\u{20ac}".repeat(100) });
        taken(Message::Closing { reason: "\u{20ac}".repeat(100) });
    }
}
