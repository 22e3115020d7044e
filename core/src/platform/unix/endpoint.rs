//! The control endpoint of a node: the Unix socket `control.sock` in its home folder, or for a read-only
//! store a socket in a folder of the user elsewhere.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

pub(crate) use tokio::net::unix::{OwnedReadHalf as ControlReader, OwnedWriteHalf as ControlWriter};
pub(crate) use tokio::net::{UnixListener as ControlListener, UnixStream as ControlStream};

use super::files::{create_private_folders, is_own, open_in_place, permissions, try_lock};
use super::folder::{FolderHandle, rename_new};
use crate::platform::NotPut;

/// Longest path that is used directly, in bytes: a socket's address has 108 bytes with its final zero.
const DIRECT_BYTES: usize = 100;

/// Name of the socket.
const NAME: &str = "control.sock";
/// Name of the socket until its rights are set: before that, everybody might connect.
const NEW: &str = "control.new";

/// An endpoint in use.
#[derive(Debug)]
pub(crate) struct ControlEndpoint {
    path: PathBuf,
    /// Lock that keeps other nodes from an endpoint outside of the home folder.
    #[expect(dead_code, reason = "held until it is dropped")]
    lock: Option<fs::File>,
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

/// Opens the endpoint of a home folder in place of an old one; returns what is to be kept while it is in use.
/// Only the owner may connect, from the first moment. The caller holds the store's lock.
pub(crate) fn listen(home: &Path) -> io::Result<(ControlListener, ControlEndpoint)> {
    listen_at(home, NAME, NEW)
}

/// Opens an endpoint for a home folder that may not be written, in a folder of this user elsewhere. Several
/// nodes may read one store: the first has the endpoint, the others fail.
pub(crate) fn listen_outside(home: &Path) -> io::Result<(ControlListener, ControlEndpoint)> {
    let (name, mut last) = (name_outside(home), io::ErrorKind::NotFound.into());
    for folder in folders_outside() {
        let listened = private_folder(&folder).and_then(|()| {
            let lock = open_in_place(&folder.join(format!("{name}.lock")), 0o600, true)?;
            if !try_lock(&lock, true) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (listener, endpoint) = listen_at(&folder, &name, &format!("{name}.new"))?;
            Ok((listener, ControlEndpoint { lock: Some(lock), ..endpoint }))
        });
        match listened {
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => last = e,
            listened => return listened,
        }
    }
    Err(last)
}

fn listen_at(folder: &Path, name: &str, new: &str) -> io::Result<(ControlListener, ControlEndpoint)> {
    let dir = fs::File::open(folder)?;
    let (before, path) = (folder.join(new), folder.join(name));
    remove_socket(&before)?;
    let listener = ControlListener::bind(address(folder, new, &dir))?;
    fs::set_permissions(&before, fs::Permissions::from_mode(0o600))?;
    remove_socket(&path)?;
    let dir = FolderHandle::from(dir);
    match rename_new((&dir, new.as_ref()), (&dir, name.as_ref())) {
        Ok(()) => Ok((listener, ControlEndpoint { path, lock: None })),
        Err(NotPut::Taken) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(NotPut::Disk(error)) => Err(error),
    }
}

/// Folders of this user in which the endpoint of a read-only store may lie, the best first.
fn folders_outside() -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let given = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute());
    let mut all: Vec<PathBuf> = given.into_iter().map(|dir| Path::new(&dir).join("swarm")).collect();
    all.push(PathBuf::from(format!("/run/user/{user}/swarm")));
    all.push(PathBuf::from(format!("/tmp/swarm-{user}")));
    all.dedup();
    all
}

/// Name of the endpoint of a home folder, outside of it.
fn name_outside(home: &Path) -> String {
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    let hash = blake3::hash(home.as_os_str().as_encoded_bytes()).to_hex();
    format!("{}.sock", &hash[..16])
}

/// Makes a folder that nobody else can look into; fails if another user's or another kind of thing is there.
fn private_folder(folder: &Path) -> io::Result<()> {
    let above = folder.parent().unwrap_or(folder);
    if !above.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    create_private_folders(folder)?;
    let meta = fs::symlink_metadata(folder)?;
    match meta.is_dir() && is_own(&meta) && permissions(&meta) & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
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

/// Removes an endpoint, so that no further client finds it.
pub(crate) fn remove_endpoint(endpoint: &ControlEndpoint) {
    let _ = remove_socket(&endpoint.path);
}

/// Connects to the endpoint of a home folder, in the folder or outside of it. The error is
/// [`io::ErrorKind::WouldBlock`] while too many other clients wait to be accepted, and
/// [`io::ErrorKind::PermissionDenied`] if another user listens there.
pub(crate) async fn connect(home: &Path) -> io::Result<ControlStream> {
    let dir = fs::File::open(home)?;
    let mut connected = ControlStream::connect(address(home, NAME, &dir)).await;
    let is_nobody =
        |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
    if connected.as_ref().is_err_and(is_nobody) {
        let name = name_outside(home);
        for folder in folders_outside() {
            if let Ok(stream) = ControlStream::connect(folder.join(&name)).await {
                connected = Ok(stream);
                break;
            }
        }
    }
    let stream = connected?;
    match is_trusted(&stream) {
        true => Ok(stream),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// True if the process at the other end runs as this user or as root, as the system knows it.
pub(crate) fn is_trusted(stream: &ControlStream) -> bool {
    stream.peer_cred().is_ok_and(|cred| is_trusted_user(cred.uid()))
}

fn is_trusted_user(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Returns the process at the other end, as the system knows it.
pub(crate) fn peer_process(stream: &ControlStream) -> Option<u32> {
    stream.peer_cred().ok().and_then(|cred| u32::try_from(cred.pid()?).ok())
}
