//! One open folder: what is done in it is done beneath it, name by name, and never through a link.
//!
//! The calls are those that every file system has: one that knows neither `openat2` nor the flags of
//! `renameat2` is served as well.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::StoreError;
use super::disk::{DiskError, Shown};

/// Only the way to what lies in it: a folder need not be readable for that.
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A FIFO or device in the place of a file must not hold us.
const READ: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
/// Random characters in a name that nobody is to guess.
const RANDOM: usize = 12;

/// An open folder, with the path it was opened by, for messages.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
    /// The folder that was used last: entries are sorted, so that most follow one of their own folder.
    last: Mutex<Option<(String, Arc<OwnedFd>)>>,
}

/// Why a name was not given to what was to have it.
#[derive(Debug)]
pub(super) enum NotPut {
    /// Something has that name.
    Taken,
    /// The disk.
    Disk(io::Error),
}

impl Folder {
    /// Opens the folder of this path, which a person named: links on the way are followed.
    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, OFlags::empty())
    }

    /// Opens the folder of this path, unless a link stands there.
    pub(super) fn open_itself(path: &Path) -> Result<Self, DiskError> {
        Self::open_with(path, OFlags::NOFOLLOW)
    }

    fn open_with(path: &Path, more: OFlags) -> Result<Self, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
        let handle = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self::of(handle.map_err(|e| DiskError::new("open", path, e))?, path))
    }

    /// The folder of an open handle.
    pub(super) fn of(handle: OwnedFd, path: &Path) -> Self {
        Self { handle, path: path.to_owned(), last: Mutex::new(None) }
    }

    /// The folder in which a path lies, and the name there.
    pub(super) fn around(path: &Path) -> Result<(Self, &OsStr), StoreError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let shown = Shown(path.to_owned());
            return Err(StoreError::User(format!("{shown} is no place for a file: name one with -o")));
        };
        Ok((Self::open(parent)?, name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    pub(super) fn error(
        &self,
        verb: &'static str,
        name: impl AsRef<Path>,
        e: impl Into<io::Error>,
    ) -> DiskError {
        DiskError::new(verb, &self.path.join(name), e)
    }

    /// The folder in which `path` lies, and the name there.
    fn way<'a>(&self, path: &'a str) -> io::Result<(Arc<OwnedFd>, &'a str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.below(above, false)?, name))
    }

    /// A folder beneath this one, made if it is to be.
    fn below(&self, above: &str, make: bool) -> io::Result<Arc<OwnedFd>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, handle)) = last.filter(|(path, _)| path == above) {
            return Ok(handle);
        }
        let mut handle = rustix::fs::openat(&self.handle, c".", WAY, Mode::empty())?;
        for name in above.split('/').filter(|name| !name.is_empty()) {
            handle = match rustix::fs::openat(&handle, name, WAY, Mode::empty()) {
                Err(Errno::NOENT) if make => match rustix::fs::mkdirat(&handle, name, Mode::from(0o777)) {
                    Err(e) if e != Errno::EXIST => return Err(e.into()),
                    _ => rustix::fs::openat(&handle, name, WAY, Mode::empty())?,
                },
                // A link is refused as "not a directory" or as "too many links", by the system's mood.
                Err(Errno::LOOP) => return Err(io::ErrorKind::NotADirectory.into()),
                opened => opened?,
            };
        }
        let handle = Arc::new(handle);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((above.to_owned(), Arc::clone(&handle)));
        Ok(handle)
    }

    /// Makes a folder and those above it.
    pub(super) fn make(&self, path: &str) -> io::Result<()> {
        self.below(path, true).map(drop)
    }

    /// What stands at a path; `None` if nothing does.
    pub(super) fn stat(&self, path: &str) -> io::Result<Option<Seen>> {
        let found = self.way(path).and_then(|(folder, name)| look(folder.as_fd(), name));
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self, path: &str) -> io::Result<File> {
        let (folder, name) = self.way(path)?;
        let file = File::from(rustix::fs::openat(&*folder, name, OFlags::RDONLY | READ, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Where a link leads.
    pub(super) fn link(&self, path: &str) -> io::Result<Vec<u8>> {
        let (folder, name) = self.way(path)?;
        Ok(rustix::fs::readlinkat(&*folder, name, Vec::new())?.into_bytes())
    }

    /// Makes an empty file that was not there.
    pub(super) fn create(&self, path: &str, mode: u32) -> io::Result<File> {
        let (folder, name) = self.way(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | READ;
        Ok(File::from(rustix::fs::openat(&*folder, name, flags, Mode::from(mode))?))
    }

    /// Makes a link that was not there.
    pub(super) fn create_link(&self, path: &str, target: &str) -> io::Result<()> {
        let (folder, name) = self.way(path)?;
        Ok(rustix::fs::symlinkat(target, &*folder, name)?)
    }

    /// Makes an empty file under a name that nobody can guess; returns the name.
    pub(super) fn create_hidden(&self, about: &str, mode: u32) -> Result<(File, String), DiskError> {
        let name =
            format!(".{about}.{}.swarm-copy", random_word().map_err(|e| self.error("name", about, e))?);
        let file = self.create(&name, mode).map_err(|e| self.error("create", &name, e))?;
        Ok((file, name))
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.way(path)?;
        Ok(rustix::fs::unlinkat(&*folder, name, AtFlags::empty())?)
    }

    /// Removes a folder in which nothing is.
    pub(super) fn remove_dir(&self, path: &str) -> io::Result<()> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (folder, name) = self.way(path)?;
        Ok(rustix::fs::unlinkat(&*folder, name, AtFlags::REMOVEDIR)?)
    }

    /// Gives what stands at `from` the name `to` in another folder, if nothing has it.
    pub(super) fn put_new(&self, from: &str, into: &Self, to: &str) -> Result<(), NotPut> {
        let ((here, from), (there, to)) = (self.way(from)?, into.way(to)?);
        put_new((here.as_fd(), OsStr::new(from)), (there.as_fd(), OsStr::new(to)))
    }

    /// Gives the file at `from` the name `to` in another folder; a file or a link that has it goes.
    pub(super) fn put_over(&self, from: &str, into: &Self, to: &str) -> io::Result<()> {
        let ((here, from), (there, to)) = (self.way(from)?, into.way(to)?);
        Ok(rustix::fs::renameat(&*here, from, &*there, to)?)
    }

    /// Flushes the names in it.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        rustix::fs::fsync(&self.handle).map_err(|e| DiskError::new("flush", &self.path, e))
    }

    /// Flushes everything written to its file system: cheaper than ten thousand single flushes.
    pub(super) fn sync_all(&self) -> Result<(), DiskError> {
        rustix::fs::syncfs(&self.handle).map_err(|e| DiskError::new("flush", &self.path, e))
    }

    /// Calls `act` for each name in it: with the open folder, the name and what it is; depth first, a folder
    /// after what is in it.
    pub(super) fn each(&self, act: &mut dyn FnMut(BorrowedFd<'_>, &CStr, &Seen)) -> io::Result<()> {
        each(self.handle.as_fd(), act)
    }
}

impl From<io::Error> for NotPut {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Links inside are not followed.
fn each(folder: BorrowedFd<'_>, act: &mut dyn FnMut(BorrowedFd<'_>, &CStr, &Seen)) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(stat) = look(folder, name) else { continue };
        if is_dir(&stat) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(below) = rustix::fs::openat(folder, name, flags, Mode::empty()) {
                each(below.as_fd(), act)?;
            }
        }
        act(folder, name, &stat);
    }
    Ok(())
}

/// Gives what stands at one place another name, if nothing has that one.
pub(super) fn put_new(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr)) -> Result<(), NotPut> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => return Err(NotPut::Taken),
        // A file system or a kernel that does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        Err(e) => return Err(NotPut::Disk(e.into())),
    }
    let failed = |e: Errno| NotPut::Disk(e.into());
    let stat = rustix::fs::statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        // A second name is never given to what has a first one of that sort: then the first goes.
        match rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty()) {
            Ok(()) => return rustix::fs::unlinkat(from.0, from.1, AtFlags::empty()).map_err(failed),
            Err(Errno::EXIST) => return Err(NotPut::Taken),
            Err(_) => {}
        }
    }
    match rustix::fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Err(NotPut::Taken),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(e)),
    }
    // A folder replaces nothing but an empty folder, whatever comes to stand there meanwhile.
    match rustix::fs::renameat(from.0, from.1, to.0, to.1) {
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Err(NotPut::Taken),
        other => other.map_err(failed),
    }
}

/// Characters that nobody can guess.
pub(super) fn random_word() -> io::Result<String> {
    let mut bytes = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system has no random numbers"))?;
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// What the system says of a name or an open file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) size: u64,
    /// How many names it has.
    pub(super) names: u64,
    /// When it was last written to.
    pub(super) modified: (i64, u32),
    kind: FileType,
    inode: u64,
    device: (u32, u32),
    born: (i64, u32),
}

impl Seen {
    /// Tells a file from all others, also from a later one that was given its inode.
    pub(super) fn identity(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.inode.to_le_bytes());
        hasher.update(&self.born.0.to_le_bytes()).update(&self.born.1.to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }
}

impl From<Statx> for Seen {
    fn from(stat: Statx) -> Self {
        let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        Self {
            size: stat.stx_size,
            names: u64::from(stat.stx_nlink),
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
            inode: stat.stx_ino,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            // Where a file system keeps none, the inode must do.
            born: if has_birth { born } else { (0, 0) },
        }
    }
}

/// What stands under a name in an open folder.
fn look(folder: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<Seen> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, asked)?.into())
}

/// What an open file is.
pub(super) fn seen(file: impl AsFd) -> io::Result<Seen> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, asked)?.into())
}

/// What stands at a path, which may be a link; `None` if nothing does.
pub(super) fn seen_at(path: &Path) -> Option<Seen> {
    look(rustix::fs::CWD, path).ok()
}

/// Whether two handles or names are those of one file.
pub(super) fn is_same(one: &Seen, other: &Seen) -> bool {
    (one.device, one.inode) == (other.device, other.inode)
}

/// What stands under a name in an open folder; `None` if nothing does.
pub(super) fn stat_in(folder: &Folder, name: &OsStr) -> io::Result<Option<Seen>> {
    match look(folder.handle(), name) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn is_file(stat: &Seen) -> bool {
    stat.kind.is_file()
}

pub(super) fn is_dir(stat: &Seen) -> bool {
    stat.kind.is_dir()
}

pub(super) fn is_link(stat: &Seen) -> bool {
    stat.kind.is_symlink()
}
