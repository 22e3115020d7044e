//! Frame headers of yamux: the twelve bytes before each frame
//! ([specification](https://github.com/hashicorp/yamux/blob/master/spec.md)).

/// Bytes of a frame header.
pub(super) const HEADER: usize = 12;

/// Flag on the first frame of a stream.
pub(super) const SYN: u16 = 1;
/// Flag on the first frame in reply.
pub(super) const ACK: u16 = 2;
/// Flag that says that the sender sends no more.
pub(super) const FIN: u16 = 4;
/// Flag that says that the stream is gone.
pub(super) const RST: u16 = 8;

/// Purpose of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// `len` bytes of a stream follow.
    Data,
    /// The peer may send `len` more bytes of a stream.
    Window,
    /// A question with [`SYN`], an answer with [`ACK`]; `len` is any number.
    Ping,
    /// The connection ends; `len` says why.
    GoAway,
}

/// Header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    pub(super) flags: u16,
    pub(super) stream: u32,
    pub(super) len: u32,
}

impl Header {
    pub(super) const fn new(kind: FrameKind, flags: u16, stream: u32, len: u32) -> Self {
        Self { kind, flags, stream, len }
    }

    pub(super) const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let kind = match self.kind {
            FrameKind::Data => 0,
            FrameKind::Window => 1,
            FrameKind::Ping => 2,
            FrameKind::GoAway => 3,
        };
        let mut bytes = [0; HEADER];
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&self.flags.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// Reads a header; `None` for another version or an unknown kind of frame. Unknown flags are ignored, as
    /// the specification says.
    pub(super) fn decode(bytes: [u8; HEADER]) -> Option<Self> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let kind = match (version, kind) {
            (0, 0) => FrameKind::Data,
            (0, 1) => FrameKind::Window,
            (0, 2) => FrameKind::Ping,
            (0, 3) => FrameKind::GoAway,
            _ => return None,
        };
        let flags = u16::from_be_bytes([f0, f1]);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Some(Self { kind, flags, stream, len: u32::from_be_bytes([l0, l1, l2, l3]) })
    }
}
