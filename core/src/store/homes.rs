//! Home folders of swarm, which are never published: a home has the keys of the node, of its offices and of
//! shares.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::disk::{DiskError, PrintablePath};
use super::{OpenError, StoreError, state_files};
use crate::platform;

/// First bytes of the version file of every store.
const VERSION: &[u8] = b"swarm store ";
/// First bytes of a node's key file: an Ed25519 key pair of 64 bytes follows.
const KEY: [u8; 4] = [8, 1, 18, 64];
/// Length of a node's key file, in bytes.
const KEY_BYTES: u64 = 68;

/// Refuses a home that belongs to another user, or that others may write to. They could put a program behind
/// its control socket, and keys of theirs in place of ours.
pub(super) fn refuse_meddlers(home: &Path) -> Result<(), OpenError> {
    let why = platform::meddlers(home).map_err(|e| DiskError::new("inspect", home, e))?;
    let Some(why) = why else { return Ok(()) };
    let shown = PrintablePath(home.to_owned());
    Err(OpenError::Meddlers(
        format!("{shown} {why}, and would learn and change what this node is told"),
        format!(
            "--home names another folder, such as a new one in it; chmod go-w {shown} closes one of your own"
        ),
    ))
}

/// True if a folder is the home of a swarm, whatever its name.
pub(super) fn is_home(folder: &Path) -> bool {
    begins(&folder.join("store/version"), VERSION) || is_key(&folder.join("identity")) || has_offices(folder)
}

/// True for names that occur in a home: a folder with one of them may be a home.
pub(super) fn may_be_home(name: &str) -> bool {
    matches!(name, "store" | "identity" | "offices")
}

fn is_key(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == KEY_BYTES) && begins(path, &KEY)
}

fn has_offices(folder: &Path) -> bool {
    let offices = fs::read_dir(folder.join("offices")).into_iter().flatten().flatten();
    let is_office = |name: &str| name.parse::<crate::office::OfficeId>().is_ok();
    offices.filter(|entry| entry.file_name().to_str().is_some_and(is_office)).any(|entry| {
        let charter = entry.path().join(state_files::CHARTER);
        charter.is_file() || charter.with_extension("old").is_file()
    })
}

fn begins(path: &Path, with: &[u8]) -> bool {
    let mut head = vec![0; with.len()];
    // A FIFO would block the open.
    let is_file = fs::metadata(path).is_ok_and(|meta| meta.is_file());
    is_file && fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == with
}

/// Finds the home that is, or contains, a path.
fn home_of(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let ways = [path, real.as_path()];
    ways.iter().flat_map(|way| way.ancestors()).find(|way| is_home(way)).map(Path::to_owned)
}

/// Refuses to publish a path in a home, except content that arrived there on standard input.
pub(super) fn refuse_home(path: &Path, takes: bool) -> Result<(), StoreError> {
    let Some(home) = home_of(path) else { return Ok(()) };
    let incoming = home.join("incoming").canonicalize();
    let is_input = || Some(path.canonicalize().ok()?.parent()? == incoming.ok()?);
    if takes && is_input() == Some(true) {
        return Ok(());
    }
    Err(refusal(path, &home))
}

/// Returns the refusal of a path that is, or lies in, a home.
pub(super) fn refusal(path: &Path, home: &Path) -> StoreError {
    let (path, home) = (PrintablePath(path.to_owned()), PrintablePath(home.to_owned()));
    StoreError::User(format!(
        "{path}: {home} is the home of a swarm, with secret keys in it, and is not published; what lies beside it can be, \
         with --skip-homes"
    ))
}
