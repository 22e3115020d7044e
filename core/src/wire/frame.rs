//! Framing: the length before a control frame, the header before a data frame.

use super::{BadFrame, Handle, LIST};
use crate::content::geometry::Geometry;
use crate::content::tree;
use crate::limits;

/// Length in bytes of the length field before a control frame.
pub const PREFIX: usize = 4;

/// Length in bytes of the header of a data frame.
pub const HEADER: usize = 16;

/// Returns the length in bytes of the control frame that follows this prefix.
///
/// # Errors
/// [`BadFrame`] for a length of 0 or above [`limits::CONTROL_FRAME`], before anything is allocated for it.
pub fn control_len(prefix: [u8; PREFIX]) -> Result<usize, BadFrame> {
    let len = u32::from_le_bytes(prefix);
    match len as usize {
        0 => Err(BadFrame::Empty),
        n if n > limits::CONTROL_FRAME => Err(BadFrame::TooLong(u64::from(len))),
        n => Ok(n),
    }
}

/// The header of a data frame, which carries a part of a chunk or of the hash list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// The want that the frame answers.
    pub blob: Handle,
    /// The number of the chunk, or [`LIST`].
    pub chunk: u32,
    /// The position of these bytes in the chunk or in the encoded list.
    pub offset: u32,
    /// The number of bytes that follow, 1 to [`limits::DATA_FRAME`].
    pub len: u32,
}

impl DataHeader {
    /// Returns the header as it is sent: four `u32`, little endian.
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
    /// [`BadFrame::TooLong`] if the frame is larger than [`limits::DATA_FRAME`], [`BadFrame::Empty`] if it
    /// carries no bytes.
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

/// Returns the length in bytes of a chunk, or of the encoded hash list for [`LIST`], in a blob of this
/// geometry. Returns `None` for a chunk that does not exist. Only the fuzzers call it.
#[doc(hidden)]
#[must_use]
pub fn item_len(geometry: Geometry, chunk: u32) -> Option<usize> {
    match chunk {
        LIST => Some(tree::encoded_len(geometry)),
        number => geometry.chunk(number).map(|c| geometry.size(c)),
    }
}
