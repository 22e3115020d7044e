//! The place of a blob's bytes: one file, or the files of a tree end to end. A share whose key is here is
//! kept as plain bytes alone; reads seal them and writes decrypt them. [`Extents`] is used by any number of
//! readers and writers at once.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::beneath::Folder;
use super::disk::{self, DiskError};
use super::local::runs::LocalFiles;
use super::own::{Own, ROOT};
use super::survey::{Spot, WritePlan};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::manifest::{EntryKind, Manifest};
use crate::content::seal::{BODY, SEGMENT, Sealer};
use crate::content::zeros::is_zeros;
use crate::limits;
use crate::platform::{self, FolderHandle, stat_of};

/// Fewest bytes of zeros for which a hole is left, several pages of the disk.
const HOLE_MIN: u64 = 16 << 10;

/// The place of a blob's bytes, as seen by the blob.
#[derive(Debug)]
pub(super) struct Extents {
    plain: PlainBytes,
    seal: Option<Sealer>,
}

/// The plain bytes on disk.
#[derive(Debug)]
enum PlainBytes {
    One {
        file: File,
        path: PathBuf,
    },
    Tree(Box<Tree>),
    /// Other files that may have the bytes, and the number of the attempt.
    Spread(Arc<LocalFiles>, usize),
}

/// The regular files of a tree that are not empty, in manifest order: each begins where the one before ends.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// Root folder. All paths are resolved beneath it: no link, however it got there, leads outside.
    dir: Dir,
    files: Vec<TreeFile>,
    /// The files used last. The lock is held for a look-up, never across I/O or an await.
    open: Mutex<Vec<(usize, Arc<File>)>>,
    /// Files made here, if files may be written.
    own: Option<Own>,
    /// The destination, if it exists already.
    beside: Option<Folder>,
}

/// Place of a file of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    /// In the tree's folder.
    Here,
    /// At the destination already: read there, and not written.
    Beside,
    /// Left out.
    Nowhere,
}

#[derive(Debug)]
struct TreeFile {
    path: String,
    start: u64,
    size: u64,
    executable: bool,
    lies: Lies,
}

impl Extents {
    pub(super) fn one(file: File, path: PathBuf) -> Self {
        Self { plain: PlainBytes::One { file, path }, seal: None }
    }

    pub(super) fn tree(tree: Tree) -> Self {
        Self { plain: PlainBytes::Tree(Box::new(tree)), seal: None }
    }

    /// Returns the bytes of other files that may have those of the blob.
    pub(super) fn spread(sources: Arc<LocalFiles>, attempt: usize) -> Self {
        Self { plain: PlainBytes::Spread(sources, attempt), seal: None }
    }

    /// Adds a seal: the bytes on disk are then the plain content of a share.
    pub(super) fn sealed(self, seal: Option<Sealer>) -> Self {
        Self { seal, ..self }
    }

    /// Bytes on disk for a blob of `len` bytes.
    pub(super) fn plain_len(&self, len: u64) -> u64 {
        self.seal.as_ref().map_or(len, Sealer::len)
    }

    /// Bytes on disk, from the start, for the first `of_blob` bytes of the blob, in whole chunks.
    pub(super) fn plain_bytes(&self, of_blob: u64) -> u64 {
        let open = |seal: &Sealer| seal.len().min(of_blob / SEGMENT as u64 * BODY as u64);
        self.seal.as_ref().map_or(of_blob, open)
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let Some(seal) = &self.seal else { return self.plain.read_at(offset, buffer) };
        let (mut at, mut rest) = (offset, buffer);
        let mut spare = Vec::new();
        while !rest.is_empty() {
            let (number, within) = (at / SEGMENT as u64, (at % SEGMENT as u64) as usize);
            let len = rest.len().min(SEGMENT - within);
            let (part, after) = rest.split_at_mut(len);
            if len == SEGMENT {
                self.read_segment(seal, number, part)?;
            } else {
                spare.resize(SEGMENT, 0);
                self.read_segment(seal, number, &mut spare)?;
                part.copy_from_slice(&spare[within..within + len]);
            }
            at += len as u64;
            rest = after;
        }
        Ok(())
    }

    fn read_segment(&self, seal: &Sealer, number: u64, segment: &mut [u8]) -> Result<(), DiskError> {
        let body = seal.body(number);
        let (plain, filling) = segment.split_at_mut((body.end - body.start) as usize);
        self.plain.read_at(body.start, plain)?;
        filling.fill(0);
        seal.seal(number, segment, &[]);
        Ok(())
    }

    /// Writes bytes at an offset of the blob; sealed bytes are decrypted within `bytes` first.
    ///
    /// # Errors
    /// The disk, or [`std::io::ErrorKind::InvalidData`] if the maker of the share sealed it wrongly.
    pub(super) fn write_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        let Some(seal) = &self.seal else { return self.plain.write_at(offset, bytes) };
        let first = offset / SEGMENT as u64;
        let mut bodies = Vec::with_capacity(bytes.len().div_ceil(SEGMENT));
        for (number, segment) in (first..).zip(bytes.chunks_mut(SEGMENT)) {
            let malformed = |e| self.error("decrypt into", io::Error::new(io::ErrorKind::InvalidData, e));
            bodies.push(seal.open(number, segment, &[]).map_err(malformed)?);
        }
        self.plain.write_all_of(seal.body(first).start, &bodies)
    }

    /// Flushes written bytes.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        match &self.plain {
            PlainBytes::One { file, path } => disk::sync(file, path),
            PlainBytes::Tree(tree) => {
                disk::sync_fs(&tree.root)?;
                tree.own.as_ref().map_or(Ok(()), Own::sync)
            }
            PlainBytes::Spread(..) => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match &self.plain {
            PlainBytes::One { path, .. } => path,
            PlainBytes::Tree(tree) => &tree.root,
            PlainBytes::Spread(..) => Path::new(""),
        }
    }

    /// The file and its path, if the bytes lie in one file.
    pub(super) fn file(&self) -> Option<(&File, &Path)> {
        match &self.plain {
            PlainBytes::One { file, path } => Some((file, path)),
            PlainBytes::Tree(_) | PlainBytes::Spread(..) => None,
        }
    }

    /// The open folder of a tree that is written, and the files made there.
    pub(super) fn made(&self) -> Option<(&Dir, &Own)> {
        match &self.plain {
            PlainBytes::Tree(tree) => Some((&tree.dir, tree.own.as_ref()?)),
            PlainBytes::One { .. } | PlainBytes::Spread(..) => None,
        }
    }

    pub(super) fn error(&self, verb: &'static str, source: io::Error) -> DiskError {
        DiskError::new(verb, self.path(), source)
    }

    /// Chunks that overlap no file that is written; `None` if no file is left out.
    pub(super) fn skipped(&self, geometry: Geometry) -> Option<Bitmap> {
        let PlainBytes::Tree(tree) = &self.plain else { return None };
        if tree.files.iter().all(|f| f.lies != Lies::Nowhere) {
            return None;
        }
        let mut skipped = Bitmap::full(geometry.chunks());
        for file in tree.files.iter().filter(|f| f.lies == Lies::Here) {
            self.chunks(geometry, file.start..file.start + file.size).for_each(|c| skipped.clear(c));
        }
        Some(skipped)
    }

    /// Chunks that reach into a file that is left out: they cannot be read back whole.
    pub(super) fn unreadable(&self, geometry: Geometry) -> Bitmap {
        let mut unreadable = Bitmap::new(geometry.chunks());
        let PlainBytes::Tree(tree) = &self.plain else { return unreadable };
        for file in tree.files.iter().filter(|f| f.lies == Lies::Nowhere) {
            self.chunks(geometry, file.start..file.start + file.size).for_each(|c| unreadable.set(c));
        }
        unreadable
    }

    /// Bytes on disk of these chunks, within files that are written.
    pub(super) fn bytes_of(&self, geometry: Geometry, chunks: &Bitmap) -> u64 {
        let plain = |chunk: u32| {
            let chunk = geometry.chunk(chunk)?;
            let (start, size) = (geometry.offset(chunk), geometry.size(chunk) as u64);
            Some(self.plain_bytes(start)..self.plain_bytes(start + size))
        };
        let ranges = chunks.iter().filter_map(plain);
        let PlainBytes::Tree(tree) = &self.plain else {
            return ranges.map(|range| range.end - range.start).sum();
        };
        let in_files = |range: Range<u64>| {
            let first = tree.files.partition_point(|f| f.start + f.size <= range.start);
            let files = tree.files[first..].iter().take_while(move |f| f.start < range.end);
            let kept = files.filter(|f| f.lies == Lies::Here);
            let shared = |f: &TreeFile| range.end.min(f.start + f.size) - range.start.max(f.start);
            kept.map(shared).sum::<u64>()
        };
        ranges.map(in_files).sum()
    }

    /// Chunks that have bytes on disk, as far as the system tells; all chunks for a tree.
    pub(super) fn allocated(&self, geometry: Geometry) -> Bitmap {
        let PlainBytes::One { file, .. } = &self.plain else { return Bitmap::full(geometry.chunks()) };
        let mut allocated = Bitmap::new(geometry.chunks());
        platform::each_written(file, self.plain_len(geometry.len()), |range| {
            self.chunks(geometry, range).for_each(|c| allocated.set(c));
        });
        allocated
    }

    /// Chunks that overlap a range of bytes on disk.
    fn chunks(&self, geometry: Geometry, bytes: Range<u64>) -> impl Iterator<Item = u32> + use<> {
        let at = |byte: u64| match &self.seal {
            Some(_) => byte / BODY as u64 * SEGMENT as u64,
            None => byte,
        };
        let chunk = |byte| geometry.chunk_at(at(byte)).map(|c| c.get());
        let ends = bytes.end.checked_sub(1).filter(|last| *last >= bytes.start);
        let ends = ends.and_then(|last| Some((chunk(bytes.start)?, chunk(last)?)));
        ends.into_iter().flat_map(|(first, last)| first..=last)
    }
}

impl PlainBytes {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        match self {
            Self::One { file, path } => {
                platform::read_exact_at(file, buffer, offset).map_err(|e| DiskError::new("read", path, e))
            }
            Self::Tree(tree) => tree.each(offset, buffer.len(), |at, within, range| {
                let file = match tree.files[at].lies {
                    Lies::Here => tree.file(at)?,
                    Lies::Beside => tree.file_beside(at)?,
                    Lies::Nowhere => return Err(tree.error("read", at, io::ErrorKind::NotFound.into())),
                };
                platform::read_exact_at(&file, &mut buffer[range], within)
                    .map_err(|e| tree.error("read", at, e))
            }),
            Self::Spread(sources, attempt) => sources.read_at(*attempt, offset, buffer),
        }
    }

    /// Writes parts that lie end to end.
    fn write_all_of(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        match self {
            Self::One { file, path } => {
                let len = parts.iter().map(|part| part.len() as u64).sum();
                let write = match parts.iter().all(|part| is_zeros(part)) && leaves_hole(file, offset, len) {
                    true => Ok(()),
                    false => platform::write_all_of(file, parts, offset),
                };
                write.map_err(|e| DiskError::new("write", path, e))
            }
            Self::Tree(_) | Self::Spread(..) => {
                let mut at = offset;
                for part in parts {
                    self.write_at(at, part)?;
                    at += part.len() as u64;
                }
                Ok(())
            }
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        match self {
            Self::One { file, path } => {
                write(file, bytes, offset).map_err(|e| DiskError::new("write", path, e))
            }
            Self::Tree(tree) => tree.each(offset, bytes.len(), |at, within, range| {
                if tree.files[at].lies != Lies::Here {
                    return Ok(());
                }
                let file = tree.file(at)?;
                write(&file, &bytes[range], within).map_err(|e| tree.error("write", at, e))
            }),
            Self::Spread(..) => Err(DiskError::new("write", Path::new(""), io::ErrorKind::PermissionDenied)),
        }
    }
}

/// Writes bytes to a file. Where they are zeros, a hole in the file stays one.
fn write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    if is_zeros(bytes) && leaves_hole(file, offset, bytes.len() as u64) {
        return Ok(());
    }
    platform::write_all_at(file, bytes, offset)
}

/// Returns true if a part of a file is a hole and need not be written. Short parts are written: asking costs
/// as much.
fn leaves_hole(file: &File, offset: u64, len: u64) -> bool {
    len >= HOLE_MIN && platform::leave_hole(file, offset..offset + len).unwrap_or(false)
}

/// The files of a manifest that have bytes.
fn files(manifest: &Manifest, lies: impl Fn(usize) -> Lies) -> Vec<TreeFile> {
    let (mut files, mut start) = (Vec::new(), 0_u64);
    for (at, entry) in manifest.entries.iter().enumerate() {
        if let EntryKind::File { size, executable, .. } = entry.kind
            && size > 0
        {
            files.push(TreeFile { path: entry.path.clone(), start, size, executable, lies: lies(at) });
            start = start.saturating_add(size);
        }
    }
    files
}

/// Opens the root of a tree. A folder to write to is never opened through a link; a folder to read may be
/// one.
fn open_root(root: &Path, writable: bool) -> io::Result<Dir> {
    if !writable {
        return Dir::open_ambient_dir(root, ambient_authority());
    }
    Ok(Dir::from_std_file(FolderHandle::open(root, false)?.into_file()))
}

impl Tree {
    /// Opens the files of a manifest under `root` for reading.
    pub(super) fn new(root: &Path, manifest: &Manifest) -> Result<Self, DiskError> {
        let dir = open_root(root, false).map_err(|e| DiskError::new("open", root, e))?;
        let files = files(manifest, |_| Lies::Here);
        Ok(Self { root: root.to_owned(), dir, files, open: Mutex::default(), own: None, beside: None })
    }

    /// Opens the files of a manifest that a plan fetches for writing under `root`, which exists. Files that
    /// are already in place are read at `dest`. Parent folders are made.
    pub(super) fn to_write(
        root: &Path,
        manifest: &Manifest,
        plan: &WritePlan,
        dest: &Path,
        own: Own,
    ) -> Result<Self, DiskError> {
        let dir = open_root(root, true).map_err(|e| DiskError::new("open", root, e))?;
        let seen = stat_of(&dir).map_err(|e| DiskError::new("inspect", root, e))?;
        if !own.made(ROOT, seen.identity()) {
            let error = io::Error::other("another program has put something there");
            return Err(DiskError::new("write", root, error));
        }
        let beside = if plan.merges { Some(Folder::open_itself(dest)?) } else { None };
        let lies = |entry: usize| match plan.spots.get(entry) {
            Some(Spot::Missing | Spot::Differs) => Lies::Here,
            Some(Spot::InPlace) => Lies::Beside,
            Some(Spot::LeftOut) | None => Lies::Nowhere,
        };
        let files = files(manifest, lies);
        let mut parent = "";
        for file in files.iter().filter(|file| file.lies == Lies::Here) {
            let above = file.path.rsplit_once('/').map_or("", |(above, _)| above);
            // Entries are sorted, so files of one folder mostly follow each other: one call per folder, not
            // per file.
            if above != parent {
                dir.create_dir_all(above).map_err(|e| DiskError::new("create", &root.join(above), e))?;
                parent = above;
            }
        }
        Ok(Self { root: root.to_owned(), dir, files, open: Mutex::default(), own: Some(own), beside })
    }

    /// Calls `act(file, offset within it, range of the caller's bytes)` for each part of `offset .. offset +
    /// len`.
    fn each(
        &self,
        offset: u64,
        len: usize,
        mut act: impl FnMut(usize, u64, Range<usize>) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let end = offset + len as u64;
        let first = self.files.partition_point(|f| f.start + f.size <= offset);
        for (at, file) in self.files.iter().enumerate().skip(first).take_while(|(_, f)| f.start < end) {
            let (from, to) = (offset.max(file.start), end.min(file.start + file.size));
            act(at, from - file.start, (from - offset) as usize..(to - offset) as usize)?;
        }
        Ok(())
    }

    fn file(&self, at: usize) -> Result<Arc<File>, DiskError> {
        let entry = &self.files[at];
        let small = entry.size <= limits::CHUNK_MIN;
        if !small {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, file)) = open.iter().find(|(i, _)| *i == at) {
                return Ok(Arc::clone(file));
            }
        }
        let file = match &self.own {
            Some(own) => self.open_own(at, own)?,
            None => self.open_in(&self.dir, at, OpenOptions::new().read(true))?,
        };
        let file = Arc::new(file);
        if !small {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= limits::OPEN_FILES {
                open.remove(0);
            }
            open.push((at, Arc::clone(&file)));
        }
        Ok(file)
    }

    fn open_in(&self, dir: &Dir, at: usize, options: &mut OpenOptions) -> Result<File, DiskError> {
        // A FIFO or device put in the place of a file must not block us.
        platform::never_wait(options);
        let opened = dir.open_with(&self.files[at].path, options);
        Ok(opened.map_err(|e| self.error("open", at, e))?.into_std())
    }

    /// Opens a file that was made here, or makes it. Fails for a file that somebody else put there.
    fn open_own(&self, at: usize, own: &Own) -> Result<File, DiskError> {
        let mode = if self.files[at].executable { 0o777 } else { 0o666 };
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let mut create = OpenOptions::new();
        create.read(true).write(true).create_new(true);
        platform::with_mode(&mut create, mode);
        let mut open = OpenOptions::new();
        open.read(true).write(true);
        let inspect = |file: &File| stat_of(file).map_err(|e| self.error("inspect", at, e));
        // Two threads may come to the same new file.
        let _one_at_a_time = own.making();
        match self.open_in(&self.dir, at, &mut open) {
            Ok(file) => {
                let seen = inspect(&file)?;
                if seen.is_file() && seen.names == 1 && own.made(number, seen.identity()) {
                    return Ok(file);
                }
                let error = io::Error::other("another program has put something there");
                Err(self.error("write", at, error))
            }
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {
                let file = self.open_in(&self.dir, at, &mut create)?;
                own.note(number, inspect(&file)?.identity())?;
                Ok(file)
            }
            Err(e) => Err(e),
        }
    }

    /// Opens a file that is at the destination already.
    fn file_beside(&self, at: usize) -> Result<Arc<File>, DiskError> {
        let beside = self.beside.as_ref().map(|folder| folder.read(&self.files[at].path));
        let file = beside.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
        file.map(Arc::new).map_err(|e| self.error("open", at, e))
    }

    fn error(&self, verb: &'static str, at: usize, source: io::Error) -> DiskError {
        DiskError::new(verb, &self.root.join(&self.files[at].path), source)
    }
}
