//! Framing: the length before a control frame, the header before a data frame.

use super::{BadFrame, Handle};
use crate::limits;

/// Bytes of the length before a control frame.
pub const PREFIX: usize = 4;

/// Bytes of the header of a data frame.
pub const HEADER: usize = 16;

/// The length of the control frame that follows.
///
/// # Errors
/// [`BadFrame`] before anything is allocated for it.
pub fn control_len(prefix: [u8; PREFIX]) -> Result<usize, BadFrame> {
    let len = u32::from_le_bytes(prefix);
    match len as usize {
        0 => Err(BadFrame::Empty),
        n if n > limits::CONTROL_FRAME => Err(BadFrame::TooLong(u64::from(len))),
        n => Ok(n),
    }
}

/// The header of a data frame: a part of a chunk, or of the hash list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// The want it answers.
    pub blob: Handle,
    /// Number of the chunk, or [`LIST`](super::LIST).
    pub chunk: u32,
    /// Where in the chunk these bytes belong.
    pub offset: u32,
    /// Bytes that follow.
    pub len: u32,
}

impl DataHeader {
    /// As it travels.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        for (place, value) in bytes.chunks_exact_mut(4).zip([self.blob, self.chunk, self.offset, self.len]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`BadFrame::TooLong`] when the frame is larger than allowed, [`BadFrame::Empty`] when it carries nothing.
    pub fn decode(bytes: [u8; HEADER]) -> Result<Self, BadFrame> {
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        let header = Self { blob: word(0), chunk: word(4), offset: word(8), len: word(12) };
        match header.len as usize {
            0 => Err(BadFrame::Empty),
            n if n > limits::DATA_FRAME => Err(BadFrame::TooLong(n as u64)),
            _ => Ok(header),
        }
    }
}
