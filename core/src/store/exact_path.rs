//! Paths as they are stored and sent: as text, or as bytes where they are no text. In postcard the two look
//! the same; in JSON the bytes are a list of numbers.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::Serializer;

use crate::platform::{path_bytes, path_from_bytes};

/// Longest path that is read, in bytes; Linux's is 4096.
const MOST: usize = 64 << 10;

/// Writes a path.
pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => to.serialize_str(text),
        None => to.serialize_bytes(path_bytes(path)),
    }
}

/// Reads a path.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    match from.is_human_readable() {
        true => from.deserialize_any(PathVisitor),
        false => from.deserialize_byte_buf(PathVisitor),
    }
}

struct PathVisitor;

impl<'de> Visitor<'de> for PathVisitor {
    type Value = PathBuf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PathBuf, E> {
        Ok(PathBuf::from(text))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<PathBuf, E> {
        Ok(path_from_bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<PathBuf, E> {
        Ok(path_from_bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PathBuf, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            if bytes.len() == MOST {
                return Err(A::Error::invalid_length(MOST, &self));
            }
            bytes.push(byte);
        }
        Ok(path_from_bytes(bytes))
    }
}

/// Paths that may be absent.
pub(crate) mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::PathBuf;

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "super")] PathBuf);

    /// Writes a path or its absence.
    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.clone().map(Exact).serialize(to)
    }

    /// Reads a path or its absence.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Exact>::deserialize(from)?.map(|exact| exact.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super")]
        path: PathBuf,
        #[serde(with = "super::option", default)]
        other: Option<PathBuf>,
    }

    #[test]
    fn every_path_comes_back() {
        let odd = path_from_bytes(b"/caf\xe9/\xff".to_vec());
        for path in [PathBuf::from("/caf\u{e9}"), odd] {
            for other in [None, Some(path.clone())] {
                let both = Both { path: path.clone(), other };
                let json = serde_json::to_string(&both).unwrap();
                assert_eq!(serde_json::from_str::<Both>(&json).unwrap(), both, "{json}");
                let stored = postcard::to_stdvec(&both).unwrap();
                assert_eq!(postcard::from_bytes::<Both>(&stored).unwrap(), both);
            }
        }
        assert_eq!(serde_json::from_str::<Both>(r#"{"path":"/a"}"#).unwrap().other, None);
    }

    #[test]
    fn text_is_stored_and_sent_as_before() {
        let path = PathBuf::from("/caf\u{e9}");
        let both = Both { path: path.clone(), other: Some(path.clone()) };
        let before = (path.clone(), Some(path));
        assert_eq!(postcard::to_stdvec(&both).unwrap(), postcard::to_stdvec(&before).unwrap());
        let json = serde_json::to_string(&both).unwrap();
        assert_eq!(json, "{\"path\":\"/caf\u{e9}\",\"other\":\"/caf\u{e9}\"}");
    }
}
