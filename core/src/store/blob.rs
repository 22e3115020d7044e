//! One open blob: chunks are read and written, and each is verified both ways.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::disk::DiskError;
use super::extents::Extents;
use super::have::HaveFile;
use super::{StoreError, record::Record};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::{ChunkIndex, Geometry};
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::exchange::OpenBlob;
use crate::id::ContentId;

/// Bytes read before they are hashed.
const READ_PART: usize = 256 << 10;

/// A blob whose bytes can be read or written. All sessions that serve or fill it share it; reads and writes
/// take no lock.
#[derive(Debug)]
pub struct Blob {
    pub(super) record: Record,
    pub(super) list: HashList,
    pub(super) extents: Extents,
    have: AtomicBitmap,
    /// Chunks whose bytes this process has hashed itself: just before it wrote them, or by reading them from
    /// disk.
    pub(super) proven: AtomicBitmap,
    /// True after a failed flush: nothing more is written until the blob is opened again.
    poisoned: AtomicBool,
    /// The have-map, which only the flushing thread uses; the lock makes it shareable.
    pub(super) map: Mutex<Option<HaveFile>>,
    resumed: u64,
    /// Place of an earlier run whose bytes could not be moved. It is removed when this blob is complete.
    pub(super) left: Option<std::path::PathBuf>,
}

/// Reason why a chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The chunk is not here.
    #[error("chunk {0} is not here")]
    Missing(u32),
    /// The bytes differ from those that were verified: an edited source, or bit rot.
    #[error("chunk {0} no longer has the bytes it was verified with")]
    Changed(u32),
    /// The disk failed.
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
            proven: AtomicBitmap::new(&Bitmap::new(have.len())),
            have: AtomicBitmap::new(have),
            poisoned: AtomicBool::new(false),
            map: Mutex::new(map),
            left: None,
            record,
            list,
            extents,
        }
    }

    /// Id of the blob.
    #[must_use]
    pub const fn id(&self) -> ContentId {
        self.record.id
    }

    /// Kind of content that the id names.
    #[must_use]
    pub const fn kind(&self) -> ContentKind {
        self.list.kind()
    }

    /// Name to offer to others; `None` for encrypted content.
    #[must_use]
    pub fn offered_name(&self) -> Option<&str> {
        let known = !self.record.is_private() && !self.record.name.is_empty();
        known.then_some(self.record.name.as_str())
    }

    /// True if the blob was published here.
    #[must_use]
    pub const fn is_origin(&self) -> bool {
        self.record.origin
    }

    /// Chunk layout of the blob.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.list.geometry()
    }

    /// Bytes on disk that correspond to the first `verified` bytes of the blob, in whole chunks.
    #[must_use]
    pub fn plain_bytes(&self, verified: u64) -> u64 {
        self.extents.plain_bytes(verified)
    }

    /// Bytes on disk of these chunks, within files that are written.
    #[must_use]
    pub fn bytes_of(&self, chunks: &Bitmap) -> u64 {
        self.extents.bytes_of(self.geometry(), chunks)
    }

    /// Hash list of the blob.
    #[must_use]
    pub const fn list(&self) -> &HashList {
        &self.list
    }

    /// Record of the blob as it was when the blob was opened.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Bytes that were verified before the blob was opened.
    #[must_use]
    pub const fn resumed(&self) -> u64 {
        self.resumed
    }

    /// True if this chunk is verified here.
    #[must_use]
    pub fn has(&self, chunk: ChunkIndex) -> bool {
        self.have.get(chunk.get())
    }

    /// Chunks that are verified here at this moment.
    #[must_use]
    pub fn have(&self) -> Bitmap {
        self.have.snapshot()
    }

    /// Chunks that need not be fetched although they are not here: they lie in files that were not requested.
    /// `None` if no file is left out.
    #[must_use]
    pub fn skipped(&self) -> Option<Bitmap> {
        self.extents.skipped(self.geometry())
    }

    /// Chunks that could be fetched and are not here: those of requested files, and those of files that are
    /// already in place.
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

    /// True if nothing need be fetched.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let lacking = self.lacking();
        self.skipped().map_or_else(|| lacking.is_empty(), |skipped| lacking.without(&skipped).is_empty())
    }

    /// True if no file was left out. A blob with files left out is not offered to others.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        self.skipped().is_none()
    }

    /// Reads a chunk into `buffer`, replacing its contents, and verifies it.
    ///
    /// # Errors
    /// [`ReadError`]; after any of them `buffer` must not be used.
    pub fn read(&self, chunk: ChunkIndex, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        buffer.resize(self.geometry().size(chunk), 0);
        self.read_into(chunk, buffer)
    }

    /// Reads and verifies a chunk into a slice of exactly the chunk's length.
    ///
    /// # Errors
    /// [`ReadError`]; after any of them `bytes` must not be used.
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
                // A truncated source, or a missing file of the tree, counts as changed.
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

    /// Writes a chunk that has just been verified in memory, and marks it as here; [`super::Store::written`]
    /// must follow. Sealed bytes are decrypted within `bytes`.
    ///
    /// # Errors
    /// The disk, or a share that was sealed wrongly ([`DiskError::is_malformed`]); the chunk then stays
    /// missing.
    pub fn write(&self, chunk: ChunkIndex, bytes: &mut [u8]) -> Result<(), DiskError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(self.extents.error("write", std::io::Error::other("an earlier flush failed")));
        }
        self.extents.write_at(self.geometry().offset(chunk), bytes)?;
        self.proven.set(chunk.get());
        self.have.set(chunk.get());
        Ok(())
    }

    /// Marks a chunk as missing, whose bytes turned out to be wrong.
    pub fn lost(&self, chunk: ChunkIndex) {
        self.have.clear(chunk.get());
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// A handle to an open blob of the store, as downloads, uploads and sessions hold it.
pub(crate) type Stored = Arc<Blob>;

impl OpenBlob for Stored {
    fn id(&self) -> ContentId {
        Blob::id(self)
    }

    fn kind(&self) -> ContentKind {
        Blob::kind(self)
    }

    fn geometry(&self) -> Geometry {
        Blob::geometry(self)
    }

    fn have(&self) -> Bitmap {
        Blob::have(self)
    }

    fn has(&self, chunk: ChunkIndex) -> bool {
        Blob::has(self, chunk)
    }

    fn skipped(&self) -> Option<Bitmap> {
        Blob::skipped(self)
    }

    fn is_origin(&self) -> bool {
        Blob::is_origin(self)
    }

    fn offered_name(&self) -> Option<&str> {
        Blob::offered_name(self)
    }
}

/// A set of chunks that several tasks read while one adds.
#[derive(Debug)]
pub(super) struct AtomicBitmap {
    words: Vec<AtomicU64>,
    len: u32,
}

impl AtomicBitmap {
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
