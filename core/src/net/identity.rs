//! The node's key: made once, kept in its home folder, readable by its owner alone.

use std::fs;
use std::io::Write;
use std::path::Path;

use libp2p::identity::Keypair;

use crate::platform;
use crate::store::DiskError;

/// Reads the key of a home folder, or makes one. A key that others may read is refused.
pub(crate) fn load(home: &Path) -> Result<Keypair, DiskError> {
    let path = home.join("identity");
    match fs::read(&path) {
        Ok(bytes) => {
            let mode = fs::metadata(&path).map_or(0, |m| platform::permissions(&m));
            if mode & 0o077 != 0 {
                let error = std::io::Error::other("others may read it: run chmod 600 on it");
                return Err(DiskError::new("use the key", &path, error));
            }
            Keypair::from_protobuf_encoding(&bytes)
                .map_err(|_| DiskError::corrupt(&path, "not a key of this program"))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(&path),
        Err(e) => Err(DiskError::new("read", &path, e)),
    }
}

fn create(path: &Path) -> Result<Keypair, DiskError> {
    let keypair = Keypair::generate_ed25519();
    let error = |e| DiskError::new("write", path, e);
    let bytes = keypair.to_protobuf_encoding().map_err(|e| error(std::io::Error::other(e)))?;
    let temp = path.with_extension("new");
    let _ = fs::remove_file(&temp);
    let mut file = platform::create_new(&temp, 0o600).map_err(error)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(error)?;
    fs::rename(&temp, path).map_err(error)?;
    Ok(keypair)
}
