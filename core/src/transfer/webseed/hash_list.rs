//! The hash list beside a file on a web server.

use std::time::Duration;

use super::{WebSeed, WebSeedError};
use crate::content::geometry::Geometry;
use crate::content::kind::ContentKind;
use crate::content::tree::{HashList, encoded_len};
use crate::id::ContentId;

/// Ending of the file with the hash list on the server, behind the URL of the file.
pub(crate) const LIST_NAME: &str = ".swarm";

/// The reason for which a server gives no usable hash list. Its text begins with the list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListFault {
    /// The server does not give it.
    #[error("the hash list beside the file ({LIST_NAME}) cannot be read: {0}")]
    Unread(#[from] WebSeedError),
    /// It has another length than that of a file of this length.
    #[error("the hash list beside the file ({LIST_NAME}) has {got} bytes and should have {want}")]
    Size {
        /// Its length on the server, in bytes.
        got: u64,
        /// The right length, in bytes.
        want: u64,
    },
    /// It is that of other content.
    #[error("the hash list beside the file ({LIST_NAME}) is that of another file")]
    Other,
}

impl ListFault {
    /// Returns the time for which the server asks for a pause, if it does.
    pub(crate) const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Unread(error) => error.wait(),
            Self::Size { .. } | Self::Other => None,
        }
    }

    /// Returns true if the list stays as it is until somebody puts another one there.
    pub(crate) const fn is_final(&self) -> bool {
        match self {
            Self::Unread(error) => error.is_final(),
            Self::Size { .. } | Self::Other => true,
        }
    }
}

/// Reads the hash list of a file of more than one chunk from beside its URL, and verifies it. `private` is
/// true if the server may have an address that is not of the internet.
///
/// # Errors
/// [`ListFault`] if the server gives no list, or that of other content.
pub(crate) async fn read_hash_list(
    url: &str,
    private: bool,
    id: ContentId,
    geometry: Geometry,
) -> Result<Vec<u8>, ListFault> {
    let want = encoded_len(geometry) as u64;
    let seed = WebSeed::new(&format!("{url}{LIST_NAME}"), private)?;
    let got = seed.len().await?;
    if got != want {
        return Err(ListFault::Size { got, want });
    }
    let mut bytes = Vec::new();
    seed.read(0..want, |piece| bytes.extend_from_slice(piece)).await?;
    HashList::decode(id, ContentKind::File, geometry, &bytes).map_err(|_| ListFault::Other)?;
    Ok(bytes)
}
