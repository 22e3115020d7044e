//! The file a demo spreads, and the hashes its copies are compared with.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::exit::{Code, Failed};

/// The size of a file made up for a demo.
const MADE: u64 = 64 << 20;
/// Written at once.
const PIECE: usize = 1 << 20;

/// The file that is spread.
pub(super) struct Source {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its bytes.
    pub(super) len: u64,
    /// Their BLAKE3.
    pub(super) hash: blake3::Hash,
}

impl Source {
    /// A file that exists.
    pub(super) fn of(path: &Path) -> Result<Self, Failed> {
        let failed = |error: io::Error| Failed { code: Code::User, ..Failed::io("read", path, &error) };
        let path = std::path::absolute(path).map_err(failed)?;
        if !path.metadata().map_err(failed)?.is_file() {
            let message = format!("{} is not a file", path.display());
            return Err(Failed::new(Code::User, message).hint("swarm demo FILE"));
        }
        let (hash, len) = hash(&path).map_err(failed)?;
        Ok(Self { path, len, hash })
    }

    /// Makes one of bytes that nobody has seen and that do not compress.
    pub(super) fn make(folder: &Path) -> Result<Self, Failed> {
        let path = folder.join("update.bin");
        write_noise(&path)
            .map_err(|error| Failed { code: Code::Disk, ..Failed::io("write", &path, &error) })?;
        Self::of(&path)
    }

    /// The id that `swarm publish` must print.
    pub(super) fn id(&self) -> String {
        self.hash.to_hex().to_string()
    }
}

fn write_noise(path: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut noise = blake3::Hasher::new().update(&now.as_nanos().to_le_bytes()).finalize_xof();
    let mut file = File::create_new(path)?;
    let mut piece = vec![0; PIECE];
    for _ in 0..MADE / PIECE as u64 {
        noise.fill(&mut piece);
        file.write_all(&piece)?;
    }
    Ok(())
}

/// The BLAKE3 and the length of what is really in a file.
pub(super) fn hash(path: &Path) -> io::Result<(blake3::Hash, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((hasher.finalize(), hasher.count()))
}
