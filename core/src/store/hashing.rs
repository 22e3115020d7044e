//! Hashing for a publication: id and hash list from one pass over the bytes, on all cores.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use blake3::hazmat::ChainingValue;
use rayon::prelude::*;

use super::StoreError;
use super::beneath::Folder;
use super::disk::{self, DiskError};
use super::extents::Extents;
use super::import_request::{Import, changed};
use crate::content::geometry::{ChunkIndex, Geometry};
use crate::content::kind::ContentKind;
use crate::content::tree::HashList;
use crate::id::ContentId;
use crate::limits;
use crate::platform::read_exact_at;

/// Bytes of many files that are read and hashed at a time: enough chunks for every core, little memory.
const WINDOW: u64 = 16 << 20;

/// Bytes of one file that are read before they are hashed: they stay in the core's own cache (measured: a
/// third less time than 1 MiB and a separate pass for the hashes).
const PART: usize = 128 << 10;

/// One file among the hashed bytes: its path, its offset among all bytes, and its length in bytes.
pub(super) struct FilePiece {
    pub(super) file: PathBuf,
    /// For a file of a folder: the open folder, and the path in it. A link that somebody puts on the way
    /// leads nowhere then.
    pub(super) beneath: Option<(Arc<Folder>, String)>,
    pub(super) start: u64,
    pub(super) size: u64,
}

impl FilePiece {
    fn open(&self) -> Result<File, DiskError> {
        match &self.beneath {
            Some((folder, path)) => folder.read(path).map_err(|e| folder.error("open", path, e)),
            None => disk::open(&self.file),
        }
    }
}

/// Hashes `len` bytes that lie in `pieces`, window by window: within a window, files are read and chunks and
/// whole files hashed in parallel. `whole(piece, id)` gets the id of each piece, but only if there are
/// several: the id of a lone piece is that of the list.
pub(super) fn hash(
    len: u64,
    pieces: &[FilePiece],
    import: &Import<'_>,
    whole: &mut dyn FnMut(usize, ContentId),
) -> Result<HashList, StoreError> {
    let geometry = Geometry::new(len).map_err(|e| StoreError::User(e.to_string()))?;
    if let [only] = pieces {
        let list = one(only, geometry, import)?;
        whole(0, list.id());
        return Ok(list);
    }
    let window = WINDOW.max(geometry.chunk_size());
    let mut last = Vec::new();
    let mut values = Vec::with_capacity(geometry.chunks() as usize);
    let mut buffer = vec![0_u8; window.min(len) as usize];
    let mut running = blake3::Hasher::new();
    let mut first = 0;
    for start in (0..len).step_by(window as usize) {
        if import.cancel.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled);
        }
        let end = len.min(start + window);
        let bytes = &mut buffer[..(end - start) as usize];
        let parts = cut(pieces, &mut first, start, bytes);
        let ids: Vec<Option<ContentId>> =
            parts.into_par_iter().map(|part| part.fill()).collect::<Result<_, _>>()?;
        let from = geometry.chunk_at(start).map_or(0, |c| c.get());
        let to = geometry.chunk_at(end - 1).map_or(0, |c| c.get());
        let value = |c: u32| {
            let chunk = geometry.chunk(c)?;
            let at = (geometry.offset(chunk) - start) as usize;
            Some(ContentKind::File.chunk_value(geometry, chunk, &bytes[at..at + geometry.size(chunk)]))
        };
        values.par_extend((from..=to).into_par_iter().filter_map(value));
        // Windows are whole chunks, so the last window contains the last chunk whole.
        if let Some(chunk) = geometry.last().filter(|_| end == len) {
            last.extend_from_slice(&bytes[(geometry.offset(chunk) - start) as usize..]);
        }
        finish_files(pieces, start, bytes, &ids, &mut running, whole);
        (import.progress)(end, len);
    }
    HashList::from_values(ContentKind::File, geometry, values, &last)
        .map_err(|e| StoreError::User(e.to_string()))
}

/// Hashes one file: every core takes the next chunk, reads a little and hashes it. The file is read in order,
/// which suits a spinning disk, and no core waits for the others.
fn one(piece: &FilePiece, geometry: Geometry, import: &Import<'_>) -> Result<HashList, StoreError> {
    let file = piece.open()?;
    let (next, done) = (AtomicU32::new(0), AtomicU64::new(0));
    let some = |_: rayon::BroadcastContext<'_>| {
        let (mut values, mut buffer) = (Vec::new(), Vec::new());
        while let Some(chunk) = geometry.chunk(next.fetch_add(1, Ordering::Relaxed)) {
            if import.cancel.load(Ordering::Relaxed) {
                return Err(StoreError::Cancelled);
            }
            values.push((chunk, read_and_hash(&file, &piece.file, geometry, chunk, &mut buffer)?));
            let size = geometry.size(chunk) as u64;
            (import.progress)(done.fetch_add(size, Ordering::Relaxed) + size, piece.size);
        }
        Ok(values)
    };
    let shares = rayon::broadcast(some);
    let mut values = Vec::with_capacity(geometry.chunks() as usize);
    for share in shares {
        values.extend(share?);
    }
    // A file that grew was being written to.
    if file.metadata().is_ok_and(|m| m.len() != piece.size) {
        return Err(changed(&piece.file));
    }
    values.sort_unstable_by_key(|(chunk, _)| *chunk);
    let values = values.into_iter().map(|(_, value)| value).collect();
    let mut last = vec![0; geometry.last().map_or(0, |chunk| geometry.size(chunk))];
    let at = geometry.len() - last.len() as u64;
    read_exact_at(&file, &mut last, at).map_err(|e| read_error(e, &piece.file))?;
    HashList::from_values(ContentKind::File, geometry, values, &last).map_err(|_| changed(&piece.file))
}

fn read_and_hash(
    file: &File,
    path: &Path,
    geometry: Geometry,
    chunk: ChunkIndex,
    buffer: &mut Vec<u8>,
) -> Result<ChainingValue, StoreError> {
    let mut hasher = ContentKind::File.chunk_hasher(geometry, chunk);
    let (mut at, end) = (geometry.offset(chunk), geometry.offset(chunk) + geometry.size(chunk) as u64);
    while at < end {
        buffer.resize(PART.min((end - at) as usize), 0);
        read_exact_at(file, buffer, at).map_err(|e| read_error(e, path))?;
        hasher.update(buffer);
        at += buffer.len() as u64;
    }
    Ok(hasher.value())
}

/// Hashes the bytes that other peers receive, wherever they lie and however they are sealed: every core takes
/// the next chunk.
pub(super) fn extents(
    extents: &Extents,
    geometry: Geometry,
    import: &Import<'_>,
) -> Result<HashList, StoreError> {
    let (next, done) = (AtomicU32::new(0), AtomicU64::new(0));
    let read = |at, bytes: &mut [u8]| match extents.read_at(at, bytes) {
        Err(e) if e.source.kind() == std::io::ErrorKind::UnexpectedEof => Err(changed(extents.path())),
        other => Ok(other?),
    };
    let some = |_: rayon::BroadcastContext<'_>| {
        let (mut values, mut buffer) = (Vec::new(), Vec::new());
        while let Some(chunk) = geometry.chunk(next.fetch_add(1, Ordering::Relaxed)) {
            if import.cancel.load(Ordering::Relaxed) {
                return Err(StoreError::Cancelled);
            }
            let mut hasher = ContentKind::File.chunk_hasher(geometry, chunk);
            let size = geometry.size(chunk);
            for start in (0..size).step_by(PART) {
                buffer.resize(PART.min(size - start), 0);
                read(geometry.offset(chunk) + start as u64, &mut buffer)?;
                hasher.update(&buffer);
            }
            values.push((chunk, hasher.value()));
            (import.progress)(done.fetch_add(size as u64, Ordering::Relaxed) + size as u64, geometry.len());
        }
        Ok(values)
    };
    let mut values = Vec::with_capacity(geometry.chunks() as usize);
    for share in rayon::broadcast(some) {
        values.extend(share?);
    }
    values.sort_unstable_by_key(|(chunk, _)| *chunk);
    let values = values.into_iter().map(|(_, value)| value).collect();
    let mut last = vec![0; geometry.last().map_or(0, |chunk| geometry.size(chunk))];
    read(geometry.len() - last.len() as u64, &mut last)?;
    HashList::from_values(ContentKind::File, geometry, values, &last).map_err(|_| changed(extents.path()))
}

fn read_error(error: std::io::Error, path: &Path) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => changed(path),
        _ => DiskError::new("read", path, error).into(),
    }
}

/// The part of a window that lies in one piece.
struct WindowPart<'a> {
    piece: &'a FilePiece,
    within: u64,
    bytes: &'a mut [u8],
}

impl WindowPart<'_> {
    /// Reads the part. Returns the id of a file that lies whole in this window.
    fn fill(self) -> Result<Option<ContentId>, StoreError> {
        let path = &self.piece.file;
        let file = self.piece.open()?;
        read_exact_at(&file, self.bytes, self.within).map_err(|e| read_error(e, path))?;
        let ends = self.within + self.bytes.len() as u64 == self.piece.size;
        // A file that grew was being written to.
        if ends && file.metadata().is_ok_and(|m| m.len() != self.piece.size) {
            return Err(changed(path));
        }
        let is_whole = self.within == 0 && ends;
        Ok(is_whole.then(|| blake3::hash(self.bytes).into()))
    }
}

/// Cuts a window into the parts of the pieces in it. Large pieces are cut into several parts, so that all
/// cores read.
fn cut<'a>(
    pieces: &'a [FilePiece],
    first: &mut usize,
    start: u64,
    mut bytes: &'a mut [u8],
) -> Vec<WindowPart<'a>> {
    let end = start + bytes.len() as u64;
    while pieces.get(*first).is_some_and(|p| p.start + p.size <= start) {
        *first += 1;
    }
    let mut parts = Vec::new();
    for piece in pieces[*first..].iter().take_while(|p| p.start < end).filter(|p| p.size > 0) {
        let (mut at, to) = (start.max(piece.start), end.min(piece.start + piece.size));
        while at < to {
            // A file that lies whole in the window stays one part: its id is computed from that part.
            let step = if to - at == piece.size { to - at } else { (to - at).min(limits::CHUNK_MAX) };
            let (head, tail) = bytes.split_at_mut(step as usize);
            bytes = tail;
            parts.push(WindowPart { piece, within: at - piece.start, bytes: head });
            at += step;
        }
    }
    parts
}

/// Reports the ids of the files that end in this window. Files within the window have theirs already; longer
/// ones are hashed on in `running`.
fn finish_files(
    pieces: &[FilePiece],
    start: u64,
    bytes: &[u8],
    ids: &[Option<ContentId>],
    running: &mut blake3::Hasher,
    whole: &mut dyn FnMut(usize, ContentId),
) {
    let end = start + bytes.len() as u64;
    let mut known = ids.iter().flatten();
    let first = pieces.partition_point(|p| p.start + p.size <= start);
    let in_window =
        pieces.iter().enumerate().skip(first).take_while(|(_, p)| p.start < end).filter(|(_, p)| p.size > 0);
    for (i, piece) in in_window {
        let (from, to) = (start.max(piece.start), end.min(piece.start + piece.size));
        if to - from == piece.size {
            if let Some(id) = known.next() {
                whole(i, *id);
            }
            continue;
        }
        running.update_rayon(&bytes[(from - start) as usize..(to - start) as usize]);
        if to == piece.start + piece.size {
            whole(i, running.finalize().into());
            running.reset();
        }
    }
}
