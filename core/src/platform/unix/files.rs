//! Files by their path or handle: opening, metadata, locks, copies, flushes and free space.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::positions::write_all_at;

/// The folder that holds the names of devices.
pub(crate) const DEVICES: &str = "/dev";

/// Bytes that the system is asked to copy at once.
const COPY_PART: usize = 64 << 20;

/// Flags for an existing file or folder whose rights are changed.
const IN_PLACE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Creates a folder and its missing parents, accessible to the owner alone.
pub(crate) fn create_private_folders(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Takes all rights of group and others from the files and folders of this user in a folder, and from the
/// folder. Links are not followed.
pub(crate) fn withdraw_rights(folder: &Path) -> io::Result<()> {
    let itself = File::from(rustix::fs::open(folder, IN_PLACE | OFlags::DIRECTORY, Mode::empty())?);
    withdraw_from(&itself)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            withdraw_rights(&entry.path())?;
        } else if meta.is_file() && permissions(&meta) & 0o077 != 0 {
            withdraw_from(&File::from(rustix::fs::open(entry.path(), IN_PLACE, Mode::empty())?))?;
        }
    }
    Ok(())
}

fn withdraw_from(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    match is_own(&meta) && permissions(&meta) & 0o077 != 0 {
        true => Ok(rustix::fs::fchmod(file, Mode::from(permissions(&meta) & 0o700))?),
        false => Ok(()),
    }
}

/// Creates a file for reading and writing with these permission bits; fails if the name is taken.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Opens, or with `create` makes, a file for reading and writing in place; never through a symbolic link.
pub(crate) fn open_in_place(path: &Path, mode: u32, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(mode)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// Opens an existing file for reading and writing; never through a symbolic link, and without waiting for the
/// other end if it is a FIFO.
pub(crate) fn open_itself_to_write(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Opens a file for reading without waiting for the other end if it is a FIFO.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// Makes an open beneath a `cap_std` folder refuse links, and not wait for the other end of a FIFO.
pub(crate) fn never_wait(options: &mut cap_std::fs::OpenOptions) {
    use cap_std::fs::OpenOptionsExt as _;
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32);
}

/// Sets the permission bits of a file that an open beneath a `cap_std` folder creates.
pub(crate) fn with_mode(options: &mut cap_std::fs::OpenOptions, mode: u32) {
    use cap_std::fs::OpenOptionsExt as _;
    options.mode(mode);
}

/// Fails if this process may not read the file.
pub(crate) fn can_read(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::READ_OK)?)
}

/// Gives a file the permissions of any new file: read and write, less the process's umask.
pub(crate) fn make_ordinary(file: &File) -> io::Result<()> {
    match rustix::fs::fchmod(file, Mode::from(0o666 & !umask())) {
        // File systems without permissions of their own give each file what the mount says.
        Err(e) if e == Errno::PERM || is_unknown(e) => Ok(()),
        done => Ok(done?),
    }
}

/// True if an error says that the file system or the kernel does not have a call, or a flag of it.
pub(super) const fn is_unknown(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY)
}

/// Returns the process's umask. The call that tells it also changes it, so it is read from `/proc`.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
    line.and_then(|v| u32::from_str_radix(v.trim(), 8).ok()).unwrap_or(0o022)
}

/// Time of the last write: seconds since 1970, nanoseconds.
pub(crate) fn modified_at(meta: &Metadata) -> (i64, i64) {
    (meta.mtime(), meta.mtime_nsec())
}

/// Time of the last change to bytes or metadata: seconds since 1970, nanoseconds. Programs cannot set it.
pub(crate) fn changed_at(meta: &Metadata) -> (i64, i64) {
    (meta.ctime(), meta.ctime_nsec())
}

/// Number of the file on its file system.
pub(crate) fn inode(meta: &Metadata) -> u64 {
    meta.ino()
}

/// Number of the file system's device; it may differ after a restart of the machine.
pub(crate) fn device(meta: &Metadata) -> u64 {
    meta.dev()
}

/// Count of the file's names (hard links).
pub(crate) fn names(meta: &Metadata) -> u64 {
    meta.nlink()
}

/// Permission bits of owner, group and others (nine bits).
pub(crate) fn permissions(meta: &Metadata) -> u32 {
    meta.mode() & 0o777
}

/// Bytes that the file takes up on the disk.
pub(crate) fn allocated_bytes(meta: &Metadata) -> u64 {
    meta.blocks() * 512
}

/// True if this process's user owns the file.
pub(crate) fn is_own(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Returns what lets other users meddle with a folder, as the rest of a sentence about it; `None` if nothing
/// does, or there is no folder. Root may do everything anyway.
pub(crate) fn meddlers(folder: &Path) -> io::Result<Option<&'static str>> {
    let meta = match fs::metadata(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    Ok(match meta.mode() & 0o022 {
        _ if !is_own(&meta) && meta.uid() != 0 => Some("belongs to another user"),
        0 => None,
        _ => Some("can be written by other users"),
    })
}

/// True for a character or block device.
pub(crate) fn is_device(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() || meta.file_type().is_block_device()
}

/// True if an error says that this process or the system has too many open files.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Takes an advisory lock on an open file without waiting, exclusive or shared; false if it was not had. The
/// system releases the lock when the file is closed or the process dies.
pub(crate) fn try_lock(file: &File, exclusive: bool) -> bool {
    let how = match exclusive {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    rustix::fs::flock(file, how).is_ok()
}

/// Outcome of a copy by the system.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SystemCopy {
    /// All bytes were copied.
    Whole,
    /// Bytes that were copied from the start; the system cannot copy the rest.
    Part(u64),
}

/// Fills the new, empty file `to` with the bytes of `from`: by sharing blocks where the file system can, else
/// within the kernel.
pub(crate) fn copy_by_system(from: &File, to: &File) -> io::Result<SystemCopy> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(SystemCopy::Whole);
    }
    let len = from.metadata()?.len();
    let mut written = Vec::new();
    each_written(from, len, |range| written.push(range));
    // A file without holes, or a file system that does not tell, is copied up to its end, wherever that is.
    let sparse = written.len() > 1 || written.first().is_some_and(|range| *range != (0..len));
    if !sparse {
        written.clear();
        written.push(0..u64::MAX);
    }
    for range in written {
        if let Some(done) = copy_range(from, to, range)? {
            return Ok(SystemCopy::Part(done));
        }
    }
    if sparse && to.metadata()?.len() < len {
        to.set_len(len)?;
    }
    Ok(SystemCopy::Whole)
}

/// Copies a range of bytes, or those up to the end of `from`, within the kernel. Returns the position from
/// which on the system cannot copy.
fn copy_range(from: &File, to: &File, range: Range<u64>) -> io::Result<Option<u64>> {
    let mut done = range.start;
    while done < range.end {
        let part = usize::try_from(range.end - done).unwrap_or(COPY_PART).min(COPY_PART);
        match rustix::fs::copy_file_range(from, Some(&mut { done }), to, Some(&mut { done }), part) {
            // Some file systems report an end at once for files that are not empty.
            Ok(0) if done == range.start => return Ok(Some(done)),
            Ok(0) => return Ok(None),
            Ok(copied) => done += copied as u64,
            Err(Errno::INTR) => {}
            Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(e.into()),
            // Many file systems cannot copy; the bytes copied so far are where they belong.
            Err(_) => return Ok(Some(done)),
        }
    }
    Ok(None)
}

/// Calls `act` for each range of the first `len` bytes that was ever written, as far as the file system
/// tells.
pub(crate) fn each_written(file: &File, len: u64, mut act: impl FnMut(Range<u64>)) {
    let seek = |from| rustix::fs::seek(file, from).ok();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No bytes follow.
            Err(Errno::NXIO) => break,
            // The file system does not tell holes.
            Err(_) => return act(at..len),
        };
        let end = seek(SeekFrom::Hole(start)).unwrap_or(len);
        act(start..end.min(len));
        at = end.max(start + 1);
    }
}

/// Makes a range of a file read as zeros if that takes no write: returns true if nothing was ever written
/// there, as far as the file system tells. The file is made long enough.
pub(crate) fn leave_hole(file: &File, range: Range<u64>) -> io::Result<bool> {
    match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(written) if written < range.end => return Ok(false),
        Ok(_) | Err(Errno::NXIO) => {}
        // The file system does not tell.
        Err(_) => return Ok(false),
    }
    if file.metadata()?.len() < range.end {
        // Setting the length could cut off bytes that another thread has just written behind the range.
        write_all_at(file, &[0], range.end - 1)?;
    }
    Ok(true)
}

/// Flushes everything written to the file system of an open folder.
pub(crate) fn sync_file_system(folder: &File) -> io::Result<()> {
    sync_whole(folder)
}

/// Flushes the file system of an open folder, or all file systems where one alone cannot be flushed.
pub(super) fn sync_whole(folder: impl std::os::fd::AsFd) -> io::Result<()> {
    match rustix::fs::syncfs(folder) {
        Err(e) if is_unknown(e) => {
            rustix::fs::sync();
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Flushes the names in an open folder. Some network file systems cannot do that and keep names safe
/// themselves.
pub(crate) fn sync_names(folder: impl std::os::fd::AsFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        Err(e) if is_unknown(e) => Ok(()),
        done => Ok(done?),
    }
}

/// Bytes that this user may still write to the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let s = rustix::fs::statvfs(path).ok()?;
    Some(s.f_bavail.saturating_mul(s.f_frsize))
}

/// The bytes of a path, to be stored.
pub(crate) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The path that [`path_bytes`] gave these bytes for.
pub(crate) fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
