//! The id of a piece of content.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// The 32 bytes that name content.
///
/// The id of a file is the plain BLAKE3 of its bytes, which `b3sum` prints too. The id of a directory is
/// BLAKE3 in derive-key mode over its manifest ([`crate::content::manifest`]), and that of a share over its
/// envelope ([`crate::content::share`]), so that no file can be mistaken for one. The text form is 64
/// hexadecimal digits.
///
/// ```
/// use swarm_core::ContentId;
///
/// let id = ContentId::from(blake3::hash(b"hello"));
/// assert_eq!(id.to_string().parse::<ContentId>(), Ok(id));
/// assert_eq!(id.short(), "ea8f163d");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentId([u8; 32]);

impl ContentId {
    /// Returns the id of exactly these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first eight hex digits. A person can tell ids apart by them, but they never suffice to
    /// name content.
    #[must_use]
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl From<blake3::Hash> for ContentId {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<ContentId> for String {
    fn from(id: ContentId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({}..)", self.short())
    }
}

/// A text that is not an id of 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: an id is 64 hexadecimal digits")]
pub struct BadId;

impl FromStr for ContentId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| BadId)?;
        bytes.try_into().map(Self).map_err(|_| BadId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_in_either_case() {
        let id = ContentId::from(blake3::hash(b"x"));
        let text = id.to_string();
        assert_eq!(text, blake3::hash(b"x").to_hex().as_str());
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn refuses_everything_else() {
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<ContentId>(), Err(BadId), "{bad}");
        }
    }
}
