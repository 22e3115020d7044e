//! Buffers for frames and for what streams have received; used again while they are still in the processor's cache.

use super::FRAME;
use super::frame::{HEADER, Header};

/// Where a frame's header lies in its buffer. Not at the start: glibc before 2.40 copies more than 2 KiB with
/// `rep movsb`, which AMD's Zen 3 and 4 do byte by byte when the target lies 1 to 15 bytes behind the source within a
/// page (measured: 2 GB/s instead of 30). So the payload goes 64 bytes behind the start of a page.
const FRONT: usize = 64 - HEADER;

/// Bytes of a large buffer: a frame of ours.
const LARGE: usize = FRONT + HEADER + FRAME;
/// Bytes of a small one, for messages.
const SMALL: usize = 4 << 10;
/// Large buffers kept for later: as many as a full queue to the socket holds, and one that is being written.
const SPARE: usize = 5;

/// Bytes in the middle of a buffer.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }

    /// The first `count` bytes are done with.
    pub(super) const fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Room behind the bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// `count` bytes of the room are bytes now.
    pub(super) fn grow(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }
}

/// Makes buffers, and keeps a few.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Vec<Box<[u8]>>,
}

impl Buffers {
    /// An empty buffer with room for `expected` bytes, or as many as a buffer may have; never very little, so that a
    /// peer who sends byte by byte does not cost us a buffer each.
    pub(super) fn get(&mut self, expected: usize) -> Buffer {
        let bytes = match expected {
            0..=SMALL => vec![0; SMALL].into_boxed_slice(),
            _ => self.spare.pop().unwrap_or_else(|| vec![0; LARGE].into_boxed_slice()),
        };
        Buffer { bytes, start: 0, end: 0 }
    }

    /// A frame.
    pub(super) fn frame(&mut self, header: Header, payload: &[u8]) -> Buffer {
        let mut frame = self.get(FRONT + HEADER + payload.len());
        (frame.start, frame.end) = (FRONT, FRONT + HEADER + payload.len());
        frame.bytes[FRONT..FRONT + HEADER].copy_from_slice(&header.encode());
        frame.bytes[FRONT + HEADER..frame.end].copy_from_slice(payload);
        frame
    }

    /// A frame without a payload.
    pub(super) fn control(header: Header) -> Buffer {
        Buffer { bytes: header.encode().into(), start: 0, end: HEADER }
    }

    /// This one is done with.
    pub(super) fn put(&mut self, buffer: Buffer) {
        if buffer.bytes.len() == LARGE && self.spare.len() < SPARE {
            self.spare.push(buffer.bytes);
        }
    }
}
