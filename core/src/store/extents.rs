//! Where a blob's bytes lie: in one file, or end to end in the files of a tree; as they are, or (the content of a share) as
//! what they are when they are sealed. Who has the key of a share keeps its plain bytes alone.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::disk::{self, DiskError};
use crate::content::bitmap::Bitmap;
use crate::content::geometry::Geometry;
use crate::content::manifest::{EntryKind, Manifest};
use crate::content::seal::{BODY, SEGMENT, Sealer};
use crate::limits;

/// Parts that the system takes at once (POSIX's `IOV_MAX` is at least 16, Linux' 1024).
const PARTS: usize = 512;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Extents {
    plain: Plain,
    seal: Option<Sealer>,
}

/// Bytes on disk.
#[derive(Debug)]
enum Plain {
    One { file: File, path: PathBuf },
    Tree(Tree),
}

/// A tree's regular files that are not empty, in manifest order: each begins where the one before ends.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// All paths are resolved beneath it: no link, however it got there, leads outside.
    dir: Dir,
    files: Vec<TreeFile>,
    /// The files used last. A lock held for a look-up, never across I/O or an await.
    open: Mutex<Vec<(usize, Arc<File>)>>,
    writable: bool,
}

#[derive(Debug)]
struct TreeFile {
    path: String,
    start: u64,
    size: u64,
    executable: bool,
    included: bool,
}

impl Extents {
    pub(super) fn one(file: File, path: PathBuf) -> Self {
        Self { plain: Plain::One { file, path }, seal: None }
    }

    pub(super) fn tree(tree: Tree) -> Self {
        Self { plain: Plain::Tree(tree), seal: None }
    }

    /// What is there is the plain content of a share, if there is a seal.
    pub(super) fn sealed(self, seal: Option<Sealer>) -> Self {
        Self { seal, ..self }
    }

    /// Bytes that are there when `len` of the blob are.
    pub(super) fn plain_len(&self, len: u64) -> u64 {
        self.seal.as_ref().map_or(len, Sealer::len)
    }

    /// Bytes from the start that are there when so many of the blob are, whole chunks.
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

    /// Writes bytes; what is sealed is opened in `bytes` for that.
    ///
    /// # Errors
    /// The disk, or [`std::io::ErrorKind::InvalidData`] if whoever made the share sealed it wrongly.
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

    /// Flushes what was written.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        match &self.plain {
            Plain::One { file, path } => disk::sync(file, path),
            Plain::Tree(tree) => disk::sync_fs(&tree.root),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match &self.plain {
            Plain::One { path, .. } => path,
            Plain::Tree(tree) => &tree.root,
        }
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<(&File, &Path)> {
        match &self.plain {
            Plain::One { file, path } => Some((file, path)),
            Plain::Tree(_) => None,
        }
    }

    /// The folder of a tree, as it was opened.
    pub(super) fn dir(&self) -> Option<&Dir> {
        match &self.plain {
            Plain::One { .. } => None,
            Plain::Tree(tree) => Some(&tree.dir),
        }
    }

    pub(super) fn error(&self, verb: &'static str, source: io::Error) -> DiskError {
        DiskError::new(verb, self.path(), source)
    }

    /// Chunks that overlap no included file; `None` when every file is included.
    pub(super) fn skipped(&self, geometry: Geometry) -> Option<Bitmap> {
        let Plain::Tree(tree) = &self.plain else { return None };
        if tree.files.iter().all(|f| f.included) {
            return None;
        }
        let mut skipped = Bitmap::full(geometry.chunks());
        for file in tree.files.iter().filter(|f| f.included) {
            self.chunks(geometry, file.start..file.start + file.size).for_each(|c| skipped.clear(c));
        }
        Some(skipped)
    }

    /// Chunks that reach into a file that is not included: they cannot be read back whole.
    pub(super) fn unreadable(&self, geometry: Geometry) -> Bitmap {
        let mut unreadable = Bitmap::new(geometry.chunks());
        let Plain::Tree(tree) = &self.plain else { return unreadable };
        for file in tree.files.iter().filter(|f| !f.included) {
            self.chunks(geometry, file.start..file.start + file.size).for_each(|c| unreadable.set(c));
        }
        unreadable
    }

    /// Chunks that have bytes on disk, as far as the system tells; all for a tree.
    pub(super) fn allocated(&self, geometry: Geometry) -> Bitmap {
        let Plain::One { file, .. } = &self.plain else { return Bitmap::full(geometry.chunks()) };
        let (mut allocated, mut at) = (Bitmap::new(geometry.chunks()), 0);
        let len = self.plain_len(geometry.len());
        let seek = |from| rustix::fs::seek(file, from).ok();
        while at < len {
            let Some(start) = seek(rustix::fs::SeekFrom::Data(at)) else { break };
            let end = seek(rustix::fs::SeekFrom::Hole(start)).unwrap_or(len);
            self.chunks(geometry, start..end.min(len)).for_each(|c| allocated.set(c));
            at = end.max(start + 1);
        }
        allocated
    }

    /// The chunks that bytes on disk are part of.
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

impl Plain {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        match self {
            Self::One { file, path } => {
                file.read_exact_at(buffer, offset).map_err(|e| DiskError::new("read", path, e))
            }
            Self::Tree(tree) => tree.each(offset, buffer.len(), |at, within, range| {
                if !tree.files[at].included {
                    return Err(tree.error("read", at, io::ErrorKind::NotFound.into()));
                }
                let file = tree.file(at)?;
                file.read_exact_at(&mut buffer[range], within).map_err(|e| tree.error("read", at, e))
            }),
        }
    }

    /// Parts that lie end to end.
    fn write_all_of(&self, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        match self {
            Self::One { file, path } => {
                write_parts(file, offset, parts).map_err(|e| DiskError::new("write", path, e))
            }
            Self::Tree(_) => {
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
                file.write_all_at(bytes, offset).map_err(|e| DiskError::new("write", path, e))
            }
            Self::Tree(tree) => tree.each(offset, bytes.len(), |at, within, range| {
                if !tree.files[at].included {
                    return Ok(());
                }
                let file = tree.file(at)?;
                file.write_all_at(&bytes[range], within).map_err(|e| tree.error("write", at, e))
            }),
        }
    }
}

/// Writes these parts, end to end: one call for all of a chunk, where one for each would touch the pages at its ends twice.
fn write_parts(file: &File, mut offset: u64, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    // Parts without bytes would look as if nothing could be written.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let at_once = left.len().min(PARTS);
        match rustix::io::pwritev(file, &left[..at_once], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut left, written);
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A folder to write to is never opened through a link, whoever put it there and when; one to read may be one.
fn open_root(root: &Path, writable: bool) -> io::Result<Dir> {
    use rustix::fs::{Mode, OFlags};
    if !writable {
        return Dir::open_ambient_dir(root, ambient_authority());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(root, flags, Mode::empty())?;
    Ok(Dir::from_std_file(File::from(handle)))
}

impl Tree {
    /// The files of a manifest under `root`, which exists. With `writable` parent folders are made.
    pub(super) fn new(
        root: &Path,
        manifest: &Manifest,
        included: impl Fn(&str) -> bool,
        writable: bool,
    ) -> Result<Self, DiskError> {
        let dir = open_root(root, writable).map_err(|e| DiskError::new("open", root, e))?;
        let mut files = Vec::new();
        let mut parent = String::new();
        for (entry, start, size) in manifest.file_offsets() {
            let EntryKind::File { executable, .. } = entry.kind else { continue };
            let included = included(&entry.path);
            let above = entry.path.rsplit_once('/').map_or("", |(above, _)| above);
            // Entries are sorted, so a folder's files mostly follow each other: one call per folder, not per file.
            if writable && included && above != parent {
                dir.create_dir_all(above).map_err(|e| DiskError::new("create", &root.join(above), e))?;
                above.clone_into(&mut parent);
            }
            if size > 0 {
                files.push(TreeFile { path: entry.path.clone(), start, size, executable, included });
            }
        }
        Ok(Self { root: root.to_owned(), dir, files, open: Mutex::new(Vec::new()), writable })
    }

    /// Calls `act(file, offset within it, range of the caller's bytes)` for each part of `offset .. offset + len`.
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
        let mut options = OpenOptions::new();
        options.read(true).write(self.writable).create(self.writable);
        if self.writable {
            options.mode(if entry.executable { 0o777 } else { 0o666 });
        }
        // A FIFO or device put in the place of a file must not block us.
        options.custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits() as i32);
        let file = self.dir.open_with(&entry.path, &options).map_err(|e| self.error("open", at, e))?;
        let file = Arc::new(file.into_std());
        if !small {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= limits::OPEN_FILES {
                open.remove(0);
            }
            open.push((at, Arc::clone(&file)));
        }
        Ok(file)
    }

    fn error(&self, verb: &'static str, at: usize, source: io::Error) -> DiskError {
        DiskError::new(verb, &self.root.join(&self.files[at].path), source)
    }
}
