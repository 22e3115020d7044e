//! The twelve bytes before each frame ([yamux specification](https://github.com/hashicorp/yamux/blob/master/spec.md)).

/// Bytes of a header.
pub(super) const HEADER: usize = 12;

/// The first frame of a stream.
pub(super) const SYN: u16 = 1;
/// The first frame back.
pub(super) const ACK: u16 = 2;
/// The sender will send no more.
pub(super) const FIN: u16 = 4;
/// The stream is gone.
pub(super) const RST: u16 = 8;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `len` bytes of a stream follow.
    Data,
    /// The peer may send `len` bytes more of a stream.
    Window,
    /// With [`SYN`] a question, with [`ACK`] the answer; `len` is any number.
    Ping,
    /// The connection ends; `len` says why.
    GoAway,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: u16,
    pub(super) stream: u32,
    pub(super) len: u32,
}

impl Header {
    pub(super) const fn new(kind: Kind, flags: u16, stream: u32, len: u32) -> Self {
        Self { kind, flags, stream, len }
    }

    pub(super) const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::Window => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        let mut bytes = [0; HEADER];
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&self.flags.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// `None` for another version or an unknown kind of frame. Unknown flags mean nothing, as the specification has it.
    pub(super) fn decode(bytes: [u8; HEADER]) -> Option<Self> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let kind = match (version, kind) {
            (0, 0) => Kind::Data,
            (0, 1) => Kind::Window,
            (0, 2) => Kind::Ping,
            (0, 3) => Kind::GoAway,
            _ => return None,
        };
        let flags = u16::from_be_bytes([f0, f1]);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Some(Self { kind, flags, stream, len: u32::from_be_bytes([l0, l1, l2, l3]) })
    }
}
