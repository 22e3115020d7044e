//! Names in an open folder: each call acts on a name beneath the handle and never through a link there.
//!
//! The calls are those that every file system has: file systems that know neither `openat2` nor the flags of
//! `renameat2` are served as well.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::files::{is_unknown, sync_names, sync_whole};
use crate::platform::NotPut;

/// Flags for a folder that is only passed through: it need not be readable for that.
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for a file: the open must not wait for a FIFO or device in its place.
const READ: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
/// Flags for a folder whose names are listed or flushed.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub(crate) struct FolderHandle(OwnedFd);

impl AsFd for FolderHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<File> for FolderHandle {
    fn from(file: File) -> Self {
        Self(file.into())
    }
}

impl FolderHandle {
    /// Opens the folder at a path. A link at the path itself is followed only with `follow`.
    pub(crate) fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let flags = if follow { LIST } else { LIST | OFlags::NOFOLLOW };
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The handle as a file of the standard library.
    pub(crate) fn into_file(self) -> File {
        File::from(self.0)
    }

    /// Opens this folder again.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, c".", WAY, Mode::empty())?))
    }

    /// Opens a folder in this one, to reach names in it. A link is [`io::ErrorKind::NotADirectory`].
    pub(crate) fn enter(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::openat(&self.0, name, WAY, Mode::empty()) {
            // Linux refuses a link as "not a directory", other systems as "too many links".
            Err(Errno::LOOP) => Err(io::ErrorKind::NotADirectory.into()),
            opened => Ok(Self(opened?)),
        }
    }

    /// Makes a folder in this one.
    pub(crate) fn make_folder(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name, Mode::from(0o777))?)
    }

    /// Metadata of a name; of a link itself if it is one.
    pub(crate) fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<FileStat> {
        look(self.as_fd(), name.as_ref())
    }

    /// Opens a name for reading, whatever it is.
    pub(crate) fn open_to_read(&self, name: &str) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.0, name, OFlags::RDONLY | READ, Mode::empty())?))
    }

    /// Creates a file for reading and writing with these permission bits; fails if the name is taken.
    pub(crate) fn create_new(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | READ;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::from(mode))?))
    }

    /// Target of a link.
    pub(crate) fn read_link(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Makes a symbolic link; fails if the name is taken.
    pub(crate) fn create_link(&self, name: &str, target: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Removes a file or link.
    pub(crate) fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Renames `from` to `to` in another folder, replacing a file or link of that name.
    pub(crate) fn rename_over(
        &self,
        from: impl AsRef<OsStr>,
        into: &Self,
        to: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from.as_ref(), &into.0, to.as_ref())?)
    }

    /// Flushes the names in this folder.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_names(&self.0)
    }

    /// Flushes everything written to the folder's file system.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        sync_whole(&self.0)
    }

    /// Calls `act` for each name beneath this folder, depth first: a folder comes after its contents. Links
    /// are not followed.
    pub(crate) fn each(&self, act: &mut dyn FnMut(&FolderEntry<'_>)) -> io::Result<()> {
        each(self.as_fd(), act)
    }
}

/// A name met by [`FolderHandle::each`].
#[derive(Debug)]
pub(crate) struct FolderEntry<'a> {
    folder: BorrowedFd<'a>,
    name: &'a CStr,
    /// Metadata of the name; of a link itself if it is one.
    pub(crate) stat: FileStat,
}

impl FolderEntry<'_> {
    /// Removes a file or link.
    pub(crate) fn remove_file(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.folder, self.name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.folder, self.name, AtFlags::REMOVEDIR)?)
    }
}

fn each(folder: BorrowedFd<'_>, act: &mut dyn FnMut(&FolderEntry<'_>)) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(stat) = look(folder, name) else { continue };
        if stat.is_dir()
            && let Ok(below) = rustix::fs::openat(folder, name, LIST | OFlags::NOFOLLOW, Mode::empty())
        {
            each(below.as_fd(), act)?;
        }
        act(&FolderEntry { folder, name, stat });
    }
    Ok(())
}

/// Renames with a flag that many file systems do not know.
fn rename_with_flag(from: (&FolderHandle, &OsStr), to: (&FolderHandle, &OsStr)) -> Result<(), Errno> {
    #[cfg(test)]
    if let Some(refusal) = tests::REFUSAL.get() {
        return Err(refusal);
    }
    rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)
}

/// Renames `from` to `to`, each a folder and a name in it, unless something has the new name.
pub(crate) fn rename_new(from: (&FolderHandle, &OsStr), to: (&FolderHandle, &OsStr)) -> Result<(), NotPut> {
    match rename_with_flag(from, to) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => return Err(NotPut::Taken),
        // The file system or the kernel does not know the flag.
        Err(e) if is_unknown(e) => {}
        Err(e) => return Err(NotPut::Disk(e.into())),
    }
    let failed = |e: Errno| NotPut::Disk(e.into());
    let stat = rustix::fs::statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        // A hard link never replaces anything; the first name goes once the second exists.
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
    // The rename of a folder replaces nothing but an empty folder, even if one appears meanwhile.
    match rustix::fs::renameat(from.0, from.1, to.0, to.1) {
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Err(NotPut::Taken),
        other => other.map_err(failed),
    }
}

/// Metadata of a name or an open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileStat {
    /// Length in bytes.
    pub(crate) size: u64,
    /// Count of its names (hard links).
    pub(crate) names: u64,
    /// Time of the last write: seconds since 1970, nanoseconds.
    pub(crate) modified: (i64, u32),
    kind: FileType,
    inode: u64,
    device: (u32, u32),
    born: (i64, u32),
}

impl FileStat {
    /// Returns a number that differs from file to file, even for a later file with a reused inode: a hash of
    /// inode and time of birth.
    pub(crate) fn identity(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.inode.to_le_bytes());
        hasher.update(&self.born.0.to_le_bytes()).update(&self.born.1.to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }

    /// True if both are of one file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// True for a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind.is_file()
    }

    /// True for a folder.
    pub(crate) fn is_dir(&self) -> bool {
        self.kind.is_dir()
    }

    /// True for a symbolic link.
    pub(crate) fn is_link(&self) -> bool {
        self.kind.is_symlink()
    }
}

impl From<Statx> for FileStat {
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
            // On a file system that keeps no time of birth, the inode alone must do.
            born: if has_birth { born } else { (0, 0) },
        }
    }
}

fn look(folder: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<FileStat> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, asked)?.into())
}

/// Metadata of an open file or folder.
pub(crate) fn stat_of(file: &impl AsFd) -> io::Result<FileStat> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, asked)?.into())
}

/// Metadata of a path, of a link itself if it is one; `None` if nothing can be seen there.
pub(crate) fn stat_at(path: &Path) -> Option<FileStat> {
    look(rustix::fs::CWD, path).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::Cell;
    use std::fs;

    use super::*;

    thread_local! {
        /// Error that stands for a file system that does not know the flag of a rename.
        pub(super) static REFUSAL: Cell<Option<Errno>> = const { Cell::new(None) };
    }

    #[test]
    fn names_are_given_where_the_flag_is_unknown_and_never_taken() {
        for refusal in [None, Some(Errno::INVAL), Some(Errno::NOSYS), Some(Errno::OPNOTSUPP)] {
            REFUSAL.set(refusal);
            let root = tempfile::tempdir().unwrap();
            let here = FolderHandle::open(root.path(), false).unwrap();
            let give = |from: &str, to: &str| rename_new((&here, from.as_ref()), (&here, to.as_ref()));
            for name in ["file", "taken"] {
                fs::write(root.path().join(name), name).unwrap();
            }
            for name in ["folder", "taken-folder", "empty"] {
                fs::create_dir(root.path().join(name)).unwrap();
            }
            fs::write(root.path().join("taken-folder/a"), "a").unwrap();
            fs::write(root.path().join("folder/b"), "b").unwrap();
            for from in ["file", "folder"] {
                for to in ["taken", "taken-folder", "empty"] {
                    assert!(matches!(give(from, to), Err(NotPut::Taken)), "{from} to {to}: {refusal:?}");
                }
                give(from, &format!("{from}-new")).unwrap();
            }
            assert_eq!(fs::read_to_string(root.path().join("taken")).unwrap(), "taken");
            assert_eq!(fs::read_to_string(root.path().join("file-new")).unwrap(), "file");
            assert_eq!(fs::read_to_string(root.path().join("folder-new/b")).unwrap(), "b");
            assert!(fs::read_dir(root.path().join("empty")).unwrap().next().is_none());
            assert!(matches!(give("gone", "new"), Err(NotPut::Disk(_))));
        }
        REFUSAL.set(None);
    }
}
