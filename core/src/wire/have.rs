//! Have-maps as they are sent: sets of chunks, each in about its shortest form.

use serde::{Deserialize, Serialize};

use crate::content::bitmap::Bitmap;
use crate::limits;

/// A set of chunks in one of three encodings. [`Have::into_bitmap`] reads it and refuses a set that does not
/// fit the blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Have {
    /// Every chunk.
    All,
    /// Runs of (first, count): not empty, ascending and not touching each other.
    Runs(Vec<(u32, u32)>),
    /// One bit for each chunk, lowest bit of the first byte first; spare bits are zero.
    Bits(Vec<u8>),
}

/// A set of chunks that does not fit its blob. Only a broken or hostile peer sends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a have-map that does not fit the blob")]
pub struct Misfit;

impl Have {
    /// Returns a short form of this set: `All`, few runs, or bits.
    #[must_use]
    pub fn of(bitmap: &Bitmap) -> Self {
        if bitmap.is_full() {
            return Self::All;
        }
        let mut runs = Vec::new();
        for run in bitmap.runs() {
            if runs.len() == limits::HAVE_RUNS {
                return Self::Bits(bitmap.to_bytes());
            }
            runs.push(run);
        }
        // A run takes up to six bytes in postcard; the bitmap is shorter when the set is ragged.
        if runs.len() * 6 > bitmap.len() as usize / 8 + 8 {
            Self::Bits(bitmap.to_bytes())
        } else {
            Self::Runs(runs)
        }
    }

    /// Returns true if the set is no longer than a writer's form of a set ever is. So a set takes not much
    /// more memory than it had bytes on the wire.
    pub(super) fn within_limits(&self) -> bool {
        match self {
            Self::All => true,
            Self::Runs(runs) => runs.len() <= limits::HAVE_RUNS,
            Self::Bits(bytes) => bytes.len() <= limits::CHUNKS as usize / 8,
        }
    }

    /// Converts the set to a bitmap of a blob with `chunks` chunks.
    ///
    /// # Errors
    /// [`Misfit`] for a chunk that does not exist, bits of another length, spare bits that are set, or runs
    /// that are empty, out of order or touching.
    pub fn into_bitmap(self, chunks: u32) -> Result<Bitmap, Misfit> {
        match self {
            Self::All => Ok(Bitmap::full(chunks)),
            Self::Bits(bytes) => Bitmap::from_bytes(chunks, &bytes).ok_or(Misfit),
            Self::Runs(runs) => {
                let mut bitmap = Bitmap::new(chunks);
                let mut free = 0_u64;
                for (first, count) in runs {
                    let end = u64::from(first) + u64::from(count);
                    if u64::from(first) < free || count == 0 || end > u64::from(chunks) {
                        return Err(Misfit);
                    }
                    (first..first + count).for_each(|c| bitmap.set(c));
                    free = end + 1;
                }
                Ok(bitmap)
            }
        }
    }
}
