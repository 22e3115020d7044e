//! The control endpoint of a node: the Unix socket `control.sock` in its home folder.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

pub(crate) use tokio::net::unix::{OwnedReadHalf as ControlReader, OwnedWriteHalf as ControlWriter};
pub(crate) use tokio::net::{UnixListener as ControlListener, UnixStream as ControlStream};

use super::folder::{FolderHandle, rename_new};
use crate::platform::NotPut;

/// Longest path that is used directly, in bytes: a socket's address has 108 bytes with its final zero.
const DIRECT_BYTES: usize = 100;

/// Name of the socket.
const NAME: &str = "control.sock";
/// Name of the socket until its rights are set: before that, everybody might connect.
const NEW: &str = "control.new";

fn socket(home: &Path) -> PathBuf {
    home.join(NAME)
}

/// Returns a path of the socket that is short enough for the system, however long the folder's path is. It is
/// valid while `dir`, the open home folder, stays open.
fn address(home: &Path, name: &str, dir: &fs::File) -> PathBuf {
    let direct = home.join(name);
    if direct.as_os_str().len() < DIRECT_BYTES {
        return direct;
    }
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// Opens the endpoint of a home folder in place of an old one. Only the owner may connect, from the first
/// moment. The caller holds the store's lock.
pub(crate) fn listen(home: &Path) -> io::Result<ControlListener> {
    let dir = fs::File::open(home)?;
    let (new, path) = (home.join(NEW), socket(home));
    remove_socket(&new)?;
    let listener = ControlListener::bind(address(home, NEW, &dir))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    remove_socket(&path)?;
    let folder = FolderHandle::from(dir);
    match rename_new((&folder, NEW.as_ref()), (&folder, NAME.as_ref())) {
        Ok(()) => Ok(listener),
        Err(NotPut::Taken) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(NotPut::Disk(error)) => Err(error),
    }
}

/// Removes a socket; fails if something else has the name.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::other(format!("{} is there and is no socket", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes the endpoint, so that no further client finds it.
pub(crate) fn remove_endpoint(home: &Path) {
    let _ = remove_socket(&socket(home));
}

/// Connects to the endpoint of a home folder. The error is [`io::ErrorKind::WouldBlock`] while too many other
/// clients wait to be accepted.
pub(crate) async fn connect(home: &Path) -> io::Result<ControlStream> {
    let dir = fs::File::open(home)?;
    ControlStream::connect(address(home, NAME, &dir)).await
}

/// Returns the process at the other end, as the system knows it.
pub(crate) fn peer_process(stream: &ControlStream) -> Option<u32> {
    stream.peer_cred().ok().and_then(|cred| u32::try_from(cred.pid()?).ok())
}
