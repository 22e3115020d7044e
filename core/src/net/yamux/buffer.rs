//! Buffers for frames and for received bytes. They are reused while they are still in the processor's cache.

use super::FRAME;
use super::frame::{HEADER, Header};

/// Offset of a frame's header in its buffer, bytes. It is not 0, because glibc before 2.40 copies more than 2
/// KiB with `rep movsb`, which AMD's Zen 3 and 4 do byte by byte when the target lies 1 to 15 bytes behind
/// the source within a page (measured: 2 GB/s instead of 30). With this offset the payload starts 64 bytes
/// behind the start of a page.
const FRONT: usize = 64 - HEADER;

/// Bytes of a large buffer, which holds a full frame.
const LARGE: usize = FRONT + HEADER + FRAME;
/// Bytes of a small buffer, which holds messages.
const SMALL: usize = 4 << 10;
/// Large buffers kept for reuse: as many as a full queue to the socket holds, and one that is being written.
const SPARE: usize = 5;

/// Bytes in the middle of a larger buffer.
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

    /// Drops the first `count` bytes.
    pub(super) const fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Returns the unused room behind the bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// Takes the first `count` bytes of the room as filled.
    pub(super) fn grow(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }
}

/// Makes buffers, and keeps a few for reuse.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Vec<Box<[u8]>>,
}

impl Buffers {
    /// Returns an empty buffer with room for `expected` bytes, or for as many as a buffer may have. It is
    /// never very small, so that a peer that sends byte by byte does not cost us a buffer for each.
    pub(super) fn get(&mut self, expected: usize) -> Buffer {
        let bytes = match expected {
            0..=SMALL => vec![0; SMALL].into_boxed_slice(),
            _ => self.spare.pop().unwrap_or_else(|| vec![0; LARGE].into_boxed_slice()),
        };
        Buffer { bytes, start: 0, end: 0 }
    }

    /// Makes a frame with a payload.
    pub(super) fn frame(&mut self, header: Header, payload: &[u8]) -> Buffer {
        let mut frame = self.get(FRONT + HEADER + payload.len());
        (frame.start, frame.end) = (FRONT, FRONT + HEADER + payload.len());
        frame.bytes[FRONT..FRONT + HEADER].copy_from_slice(&header.encode());
        frame.bytes[FRONT + HEADER..frame.end].copy_from_slice(payload);
        frame
    }

    /// Makes a frame without a payload.
    pub(super) fn control(header: Header) -> Buffer {
        Buffer { bytes: header.encode().into(), start: 0, end: HEADER }
    }

    /// Takes a buffer back that is no longer needed.
    pub(super) fn put(&mut self, buffer: Buffer) {
        if buffer.bytes.len() == LARGE && self.spare.len() < SPARE {
            self.spare.push(buffer.bytes);
        }
    }
}
