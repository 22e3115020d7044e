//! The control endpoint of a node: the Unix socket `control.sock` in its home folder.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

pub(crate) use tokio::net::unix::{OwnedReadHalf as ControlReader, OwnedWriteHalf as ControlWriter};
pub(crate) use tokio::net::{UnixListener as ControlListener, UnixStream as ControlStream};

/// Longest path that is used directly, in bytes: a socket's address has 108 bytes with its final zero.
const DIRECT_BYTES: usize = 100;

fn socket(home: &Path) -> PathBuf {
    home.join("control.sock")
}

/// Returns a path of the socket that is short enough for the system, however long the folder's path is. It is
/// valid while `dir`, the open home folder, stays open.
fn address(home: &Path, dir: &fs::File) -> PathBuf {
    let direct = socket(home);
    if direct.as_os_str().len() < DIRECT_BYTES {
        return direct;
    }
    PathBuf::from(format!("/proc/self/fd/{}/control.sock", dir.as_raw_fd()))
}

/// Opens the endpoint of a home folder in place of an old one. Only the owner may connect. The caller holds
/// the store's lock.
pub(crate) fn listen(home: &Path) -> io::Result<ControlListener> {
    let dir = fs::File::open(home)?;
    let (path, address) = (socket(home), address(home, &dir));
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = ControlListener::bind(&address)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the endpoint, so that no further client finds it.
pub(crate) fn remove_endpoint(home: &Path) {
    let _ = fs::remove_file(socket(home));
}

/// Connects to the endpoint of a home folder. The error is [`io::ErrorKind::WouldBlock`] while too many other
/// clients wait to be accepted.
pub(crate) async fn connect(home: &Path) -> io::Result<ControlStream> {
    let dir = fs::File::open(home)?;
    ControlStream::connect(address(home, &dir)).await
}

/// Returns the process at the other end, as the system knows it.
pub(crate) fn peer_process(stream: &ControlStream) -> Option<u32> {
    stream.peer_cred().ok().and_then(|cred| u32::try_from(cred.pid()?).ok())
}
