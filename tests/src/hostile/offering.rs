//! Content that a hostile peer claims to have, and the answers of an honest peer that has it.

use std::time::Duration;

use swarm_core::content::geometry::Geometry;
use swarm_core::content::kind::ContentKind;
use swarm_core::content::manifest;
use swarm_core::content::tree::HashList;
use swarm_core::id::ContentId;
use swarm_core::limits;
use swarm_core::wire::frame::DataHeader;
use swarm_core::wire::{Have, Hello, LIST, Message, Offer, VERSION};

use super::Out;

/// Some content, whole.
#[derive(Debug, Clone)]
pub struct Offering {
    /// Its id.
    pub id: ContentId,
    /// Kind of content that the id names.
    pub kind: ContentKind,
    /// The name it is offered under.
    pub name: Option<String>,
    geometry: Geometry,
    list: Vec<u8>,
    bytes: Bytes,
}

#[derive(Debug, Clone)]
enum Bytes {
    All(Vec<u8>),
    /// Only the last chunk exists: the rest was never made.
    Last(Vec<u8>),
}

impl Offering {
    /// A file of these bytes.
    #[must_use]
    pub fn file(bytes: Vec<u8>) -> Self {
        Self::of(ContentKind::File, bytes)
    }

    /// A directory with this manifest, which may be anything.
    #[must_use]
    pub fn directory(manifest: Vec<u8>) -> Self {
        let offering = Self::of(ContentKind::Directory, manifest);
        debug_assert_eq!(Some(offering.id), offering.whole().map(manifest::id_of));
        offering
    }

    /// A share with this envelope, which may be anything.
    #[must_use]
    pub fn share(envelope: Vec<u8>) -> Self {
        Self::of(ContentKind::Share, envelope)
    }

    fn of(kind: ContentKind, bytes: Vec<u8>) -> Self {
        let geometry = Geometry::new(bytes.len() as u64).expect("a length that is allowed");
        let list = HashList::of(kind, geometry, &bytes);
        Self { id: list.id(), kind, name: None, geometry, list: list.encode(), bytes: Bytes::All(bytes) }
    }

    /// Content of which nothing but the last chunk exists: its id was made from a list of invented hashes.
    #[must_use]
    pub fn hollow(kind: ContentKind, len: u64) -> Self {
        let geometry = Geometry::new(len).expect("a length that is allowed");
        let last = geometry.last().expect("a length that is not 0");
        let bytes = vec![0x5a; geometry.size(last)];
        let value = kind.chunk_value(geometry, last, &bytes);
        let invented = |chunk: u32| *blake3::hash(&chunk.to_le_bytes()).as_bytes();
        let values = (0..last.get()).map(invented).chain([value]).collect();
        let list = HashList::from_values(kind, geometry, values, &bytes).expect("one value a chunk");
        Self { id: list.id(), kind, name: None, geometry, list: list.encode(), bytes: Bytes::Last(bytes) }
    }

    /// Returns the offering under a name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How it is cut.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Its hash list as it travels.
    #[must_use]
    pub fn list(&self) -> &[u8] {
        &self.list
    }

    /// All its bytes, if there are any.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::All(bytes) => Some(bytes),
            Bytes::Last(_) => None,
        }
    }

    /// One chunk.
    #[must_use]
    pub fn chunk(&self, number: u32) -> Option<&[u8]> {
        let index = self.geometry.chunk(number)?;
        match &self.bytes {
            Bytes::All(bytes) => {
                bytes.get(self.geometry.offset(index) as usize..)?.get(..self.geometry.size(index))
            }
            Bytes::Last(bytes) => (Some(index) == self.geometry.last()).then_some(bytes),
        }
    }

    /// The honest offer of it, to whoever wants it under this number.
    #[must_use]
    pub fn offer(&self, blob: u32) -> Offer {
        let (kind, len, name) = (self.kind, self.geometry.len(), self.name.clone());
        Offer { blob, kind, len, name, origin: true, have: Have::All }
    }
}

/// How a session begins.
#[must_use]
pub fn hello() -> Message {
    let agent = "hostile/1".to_owned();
    Message::Hello(Hello {
        version: VERSION,
        agent,
        tcp: Vec::new(),
        quic: Vec::new(),
        site: None,
        relayed: Vec::new(),
        dht: Vec::new(),
    })
}

/// `bytes` as the frames of one answer.
#[must_use]
pub fn frames(blob: u32, chunk: u32, bytes: &[u8]) -> Vec<Out> {
    let parts = bytes.chunks(limits::DATA_FRAME).enumerate();
    let frame = |(number, part): (usize, &[u8])| {
        let header =
            DataHeader { blob, chunk, offset: (number * limits::DATA_FRAME) as u32, len: part.len() as u32 };
        Out::Data(header, part.to_vec())
    };
    parts.map(frame).collect()
}

/// State of an honest end of a session: the blob of each handle.
#[derive(Debug, Default)]
pub(super) struct Honest {
    wants: std::collections::BTreeMap<u32, usize>,
}

impl Honest {
    /// Returns the answers of an honest node.
    pub(super) fn answer(&mut self, offerings: &[Offering], heard: Option<&Message>) -> Vec<Out> {
        let Some(heard) = heard else { return vec![Out::Control(hello())] };
        match heard {
            Message::Want { blob, id } => match offerings.iter().position(|offering| offering.id == *id) {
                Some(at) => {
                    self.wants.insert(*blob, at);
                    vec![Out::Control(Message::Offer(offerings[at].offer(*blob)))]
                }
                None => vec![Out::Control(Message::Absent { blob: *blob })],
            },
            Message::List { blob } => self
                .of(offerings, *blob)
                .map_or_else(Vec::new, |offering| frames(*blob, LIST, offering.list())),
            Message::Request { blob, first, count } => {
                let Some(offering) = self.of(offerings, *blob) else { return Vec::new() };
                let end = first.saturating_add(*count).min(offering.geometry.chunks());
                let chunk = |number| frames(*blob, number, offering.chunk(number).unwrap_or_default());
                let place = Out::Control(Message::Grant { blob: *blob, count: *count, hint: None });
                (*first..end).flat_map(chunk).chain([place]).collect()
            }
            // Places enough, whenever something is needed.
            Message::Need { blob, .. } => {
                vec![Out::Control(Message::Grant { blob: *blob, count: 64, hint: None })]
            }
            // And again after a while, like a node whose uplink has a place free.
            Message::Refuse { blob, count, busy: true } => {
                let grant = Message::Grant { blob: *blob, count: *count, hint: None };
                let frame = grant.encode().expect("a message that fits");
                vec![Out::Trickle(super::bytes::framed(&frame), Duration::from_millis(10))]
            }
            Message::Ping(number) => vec![Out::Control(Message::Pong(*number))],
            _ => Vec::new(),
        }
    }

    fn of<'a>(&self, offerings: &'a [Offering], blob: u32) -> Option<&'a Offering> {
        self.wants.get(&blob).and_then(|at| offerings.get(*at))
    }
}
