//! What belongs to a swarm and to nobody else: its home folder has the node's key, those of offices and of
//! shares.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::disk::Shown;
use super::{StoreError, kept};

/// How the file begins that every store has.
const VERSION: &[u8] = b"swarm store ";
/// How a key of a node begins that is written down: an Ed25519 key pair of 64 bytes.
const KEY: [u8; 4] = [8, 1, 18, 64];
/// Bytes of such a file.
const KEY_BYTES: u64 = 68;

/// Whether a folder is the home of a swarm, whatever it is called.
pub(super) fn is_home(folder: &Path) -> bool {
    begins(&folder.join("store/version"), VERSION) || is_key(&folder.join("identity")) || has_offices(folder)
}

/// A folder with these names in it may be a home.
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
        let charter = entry.path().join(kept::CHARTER);
        charter.is_file() || charter.with_extension("old").is_file()
    })
}

fn begins(path: &Path, with: &[u8]) -> bool {
    let mut head = vec![0; with.len()];
    // Not a FIFO, which would hold us.
    let is_file = fs::metadata(path).is_ok_and(|meta| meta.is_file());
    is_file && fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == with
}

/// The home in which a path lies, if it is in one, or is one.
fn home_of(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let ways = [path, real.as_path()];
    ways.iter().flat_map(|way| way.ancestors()).find(|way| is_home(way)).map(Path::to_owned)
}

/// What lies in a home is not published, but for what arrives there on standard input.
pub(super) fn refuse_home(path: &Path, takes: bool) -> Result<(), StoreError> {
    let Some(home) = home_of(path) else { return Ok(()) };
    let incoming = home.join("incoming").canonicalize();
    let is_input = || Some(path.canonicalize().ok()?.parent()? == incoming.ok()?);
    if takes && is_input() == Some(true) {
        return Ok(());
    }
    Err(refusal(path, &home))
}

/// The refusal of a folder that is a home, or of something in it.
pub(super) fn refusal(path: &Path, home: &Path) -> StoreError {
    let (path, home) = (Shown(path.to_owned()), Shown(home.to_owned()));
    StoreError::User(format!(
        "{path}: {home} is the home of a swarm, with secret keys in it, and is not published; what lies beside it can be, \
         with --skip-homes"
    ))
}
