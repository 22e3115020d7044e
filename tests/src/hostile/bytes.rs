//! Bytes that no honest code would write: frames and manifests made by hand.

use swarm_core::content::manifest::CONTEXT;
use swarm_core::id::ContentId;
use swarm_core::wire::Message;

/// A message as it stands on the control stream.
///
/// # Panics
/// When it is too long for a frame.
#[must_use]
pub fn control(message: &Message) -> Vec<u8> {
    framed(&message.encode().expect("a message that fits its frame"))
}

/// A control frame around anything.
#[must_use]
pub fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_le_bytes()[..], frame].concat()
}

/// An unsigned LEB128.
#[must_use]
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An entry of a handmade manifest.
#[derive(Debug, Clone)]
pub enum Node {
    /// A file of so many bytes, by its own word.
    File(u64),
    /// A file with these bytes.
    Holding(Vec<u8>),
    /// A directory with nothing in it.
    EmptyDir,
    /// A symlink.
    Link(Vec<u8>),
    /// A kind that does not exist, and what follows it.
    Other(u8, Vec<u8>),
}

/// A manifest that is whatever it is made to be. Nothing is checked, nothing is sorted.
#[derive(Debug, Clone, Default)]
pub struct Handmade {
    entries: Vec<(Vec<u8>, Node)>,
    claimed_len: Option<u64>,
    claimed_count: Option<u64>,
    flags: u8,
    tail: Vec<u8>,
}

impl Handmade {
    /// One with these entries.
    #[must_use]
    pub fn of(entries: &[(&[u8], Node)]) -> Self {
        let entries = entries.iter().map(|(path, node)| (path.to_vec(), node.clone())).collect();
        Self { entries, ..Self::default() }
    }

    /// One with a single file.
    #[must_use]
    pub fn named(path: &[u8]) -> Self {
        Self::of(&[(path, Node::Holding(b"payload".to_vec()))])
    }

    /// Says that the payload is so long.
    #[must_use]
    pub const fn claiming(mut self, len: u64) -> Self {
        self.claimed_len = Some(len);
        self
    }

    /// Says that it has so many entries.
    #[must_use]
    pub const fn counting(mut self, entries: u64) -> Self {
        self.claimed_count = Some(entries);
        self
    }

    /// With these flags.
    #[must_use]
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// With something after the end.
    #[must_use]
    pub fn tail(mut self, tail: &[u8]) -> Self {
        self.tail = tail.to_vec();
        self
    }

    /// The files' bytes, as far as there are any.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let held = |(_, node): &(Vec<u8>, Node)| match node {
            Node::Holding(bytes) => bytes.clone(),
            _ => Vec::new(),
        };
        self.entries.iter().flat_map(held).collect()
    }

    /// As it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.payload();
        let len = self.claimed_len.unwrap_or_else(|| self.sum());
        let mut out = [b"swarmdir", &[1, self.flags][..], blake3::hash(&payload).as_bytes()].concat();
        out.extend(varint(len));
        out.extend(varint(self.claimed_count.unwrap_or(self.entries.len() as u64)));
        let mut before: &[u8] = &[];
        for (path, node) in &self.entries {
            let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
            out.extend(varint(shared as u64));
            out.extend(text(&path[shared..]));
            out.extend(node_bytes(node));
            before = path;
        }
        out.extend(&self.tail);
        out
    }

    fn sum(&self) -> u64 {
        let size = |(_, node): &(Vec<u8>, Node)| match node {
            Node::File(size) => *size,
            Node::Holding(bytes) => bytes.len() as u64,
            _ => 0,
        };
        self.entries.iter().map(size).fold(0, u64::wrapping_add)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ContentId {
        ContentId::from_bytes(blake3::derive_key(CONTEXT, &self.encode()))
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn node_bytes(node: &Node) -> Vec<u8> {
    let file =
        |size: u64, bytes: &[u8]| [vec![0], varint(size), blake3::hash(bytes).as_bytes().to_vec()].concat();
    match node {
        Node::File(size) => file(*size, b""),
        Node::Holding(bytes) => file(bytes.len() as u64, bytes),
        Node::EmptyDir => vec![2],
        Node::Link(target) => [vec![3], text(target)].concat(),
        Node::Other(kind, rest) => [vec![*kind], rest.clone()].concat(),
    }
}
