//! One open blob: chunks in, chunks out, every one verified on both ways.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::DiskError;
use super::extents::Extents;
use super::have::HaveFile;
use super::{StoreError, record::Record};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::{ChunkIndex, Geometry};
use crate::content::tree::{HashList, Kind};
use crate::id::ContentId;

/// Bytes read before they are hashed.
const READ_PART: usize = 256 << 10;

/// A blob whose bytes can be read or written. Shared by all sessions that serve or fill it; no lock on that way.
#[derive(Debug)]
pub struct Blob {
    pub(super) record: Record,
    pub(super) list: HashList,
    pub(super) extents: Extents,
    have: Shared,
    /// Chunks whose bytes this process has hashed itself: just before it wrote them, or by reading them from disk.
    pub(super) proven: Shared,
    /// A flush failed or bytes read back were wrong: nothing is written or believed before it is opened again.
    poisoned: AtomicBool,
    /// Only the flushing thread uses it; a lock because it must live somewhere.
    pub(super) map: Mutex<Option<HaveFile>>,
    resumed: u64,
    /// What an earlier run began at another place, and could not be moved: it goes when this one is complete.
    pub(super) left: Option<std::path::PathBuf>,
}

/// Why a chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not here.
    #[error("chunk {0} is not here")]
    Missing(u32),
    /// The bytes there are not those that were verified: an edited source, or bit rot.
    #[error("chunk {0} no longer has the bytes it was verified with")]
    Changed(u32),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Disk(e) => Self::Disk(e),
            other => Self::Changed(other.to_string()),
        }
    }
}

impl Blob {
    pub(super) fn new(
        record: Record,
        list: HashList,
        extents: Extents,
        have: &Bitmap,
        map: Option<HaveFile>,
    ) -> Self {
        let size = |c| list.geometry().chunk(c).map_or(0, |c| list.geometry().size(c) as u64);
        Self {
            resumed: have.iter().map(size).sum(),
            proven: Shared::new(&Bitmap::new(have.len())),
            have: Shared::new(have),
            poisoned: AtomicBool::new(false),
            map: Mutex::new(map),
            left: None,
            record,
            list,
            extents,
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ContentId {
        self.record.id
    }

    /// What the id names.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.list.kind()
    }

    /// The name to offer; none for what is encrypted.
    #[must_use]
    pub fn offered_name(&self) -> Option<&str> {
        let known = !self.record.is_private() && !self.record.name.is_empty();
        known.then_some(self.record.name.as_str())
    }

    /// Published here.
    #[must_use]
    pub const fn is_origin(&self) -> bool {
        self.record.origin
    }

    /// Its chunks.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.list.geometry()
    }

    /// Bytes on disk when so many from the start are verified, whole chunks.
    #[must_use]
    pub fn plain_bytes(&self, verified: u64) -> u64 {
        self.extents.plain_bytes(verified)
    }

    /// Bytes on disk that these chunks are, of files that are written.
    #[must_use]
    pub fn bytes_of(&self, chunks: &Bitmap) -> u64 {
        self.extents.bytes_of(self.geometry(), chunks)
    }

    /// Its hash list.
    #[must_use]
    pub const fn list(&self) -> &HashList {
        &self.list
    }

    /// Its record as it was when the blob was opened.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Bytes that were verified before it was opened.
    #[must_use]
    pub const fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Whether this chunk is verified here.
    #[must_use]
    pub fn has(&self, chunk: ChunkIndex) -> bool {
        self.have.get(chunk.get())
    }

    /// The chunks that are verified here, now.
    #[must_use]
    pub fn have(&self) -> Bitmap {
        self.have.snapshot()
    }

    /// Chunks that need not be fetched although they are not here: they lie in files that were not asked for.
    #[must_use]
    pub fn skipped(&self) -> Option<Bitmap> {
        self.extents.skipped(self.geometry())
    }

    /// The chunks that can be had and are not here: of files that were asked for, and of those that are in place already.
    #[must_use]
    pub fn lacking(&self) -> Bitmap {
        let all = Bitmap::full(self.geometry().chunks()).without(&self.have());
        match self.skipped() {
            Some(skipped) => {
                let unreadable = self.extents.unreadable(self.geometry());
                all.without(&skipped.and(&unreadable))
            }
            None => all,
        }
    }

    /// Nothing need be fetched.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let lacking = self.lacking();
        self.skipped().map_or_else(|| lacking.is_empty(), |skipped| lacking.without(&skipped).is_empty())
    }

    /// False for a blob of which some files were left out: it is not offered to others.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        self.skipped().is_none()
    }

    /// Reads a chunk into `buffer` (its old content is replaced) and verifies it.
    ///
    /// # Errors
    /// [`ReadError`]; on any of them `buffer` must not be used.
    pub fn read(&self, chunk: ChunkIndex, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        buffer.resize(self.geometry().size(chunk), 0);
        self.read_into(chunk, buffer)
    }

    /// As [`Blob::read`], into bytes that are exactly as many as the chunk has.
    ///
    /// # Errors
    /// As [`Blob::read`].
    pub fn read_into(&self, chunk: ChunkIndex, bytes: &mut [u8]) -> Result<(), ReadError> {
        if !self.has(chunk) {
            return Err(ReadError::Missing(chunk.get()));
        }
        self.read_exact(chunk, bytes)
    }

    /// Reads and verifies a chunk whatever the have-map says.
    pub(super) fn read_anyway(&self, chunk: ChunkIndex, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        buffer.resize(self.geometry().size(chunk), 0);
        self.read_exact(chunk, buffer)
    }

    /// Reads and hashes by turns, so that each part is hashed while it is in the processor's cache.
    fn read_exact(&self, chunk: ChunkIndex, bytes: &mut [u8]) -> Result<(), ReadError> {
        let mut check = self.list.check(chunk);
        let mut at = self.geometry().offset(chunk);
        for part in bytes.chunks_mut(READ_PART) {
            match self.extents.read_at(at, part) {
                Ok(()) => check.update(part),
                // Truncated, or a file of the tree gone: changed as well.
                Err(e)
                    if matches!(
                        e.source.kind(),
                        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound
                    ) =>
                {
                    return Err(ReadError::Changed(chunk.get()));
                }
                Err(e) => return Err(ReadError::Disk(e)),
            }
            at += part.len() as u64;
        }
        if check.passes() { Ok(()) } else { Err(ReadError::Changed(chunk.get())) }
    }

    /// Writes a chunk that has just been verified in memory, and marks it as here. Call [`super::Store::written`] after. What
    /// is sealed is opened in `bytes`.
    ///
    /// # Errors
    /// The disk, or a share that was sealed wrongly ([`DiskError::is_malformed`]); the chunk then stays missing.
    pub fn write(&self, chunk: ChunkIndex, bytes: &mut [u8]) -> Result<(), DiskError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.extents.error("write", std::io::Error::other("an earlier flush failed")));
        }
        self.extents.write_at(self.geometry().offset(chunk), bytes)?;
        self.proven.set(chunk.get());
        self.have.set(chunk.get());
        Ok(())
    }

    /// A chunk turned out not to hold what was verified.
    pub fn lost(&self, chunk: ChunkIndex) {
        self.have.clear(chunk.get());
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// A set of chunks that several tasks read while one adds.
#[derive(Debug)]
pub(super) struct Shared {
    words: Vec<AtomicU64>,
    len: u32,
}

impl Shared {
    fn new(bitmap: &Bitmap) -> Self {
        let shared = Self {
            words: (0..bitmap.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            len: bitmap.len(),
        };
        bitmap.iter().for_each(|c| shared.set(c));
        shared
    }

    pub(super) fn get(&self, chunk: u32) -> bool {
        self.words[chunk as usize / 64].load(Ordering::Acquire) >> (chunk % 64) & 1 == 1
    }

    pub(super) fn set(&self, chunk: u32) {
        self.words[chunk as usize / 64].fetch_or(1 << (chunk % 64), Ordering::AcqRel);
    }

    fn clear(&self, chunk: u32) {
        self.words[chunk as usize / 64].fetch_and(!(1 << (chunk % 64)), Ordering::AcqRel);
    }

    fn snapshot(&self) -> Bitmap {
        let mut bitmap = Bitmap::new(self.len);
        (0..self.len).filter(|c| self.get(*c)).for_each(|c| bitmap.set(c));
        bitmap
    }
}
