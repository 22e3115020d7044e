//! The bytes of a manifest, read and written one entry at a time, without a judgement on their content.

use super::{EntryKind, Flaw, Manifest, VERSION};
use crate::content::path::{PathError, Rules, clip, utf8};
use crate::id::ContentId;
use crate::limits::{MANIFEST_BYTES, MANIFEST_ENTRIES, PATH_BYTES};

const MAGIC: &[u8; 8] = b"swarmdir";
const UNIX_NAMES: u8 = 1;
/// The shortest entry in bytes: nothing shared, one byte of path, an empty directory.
const ENTRY_MIN: u64 = 4;

const FILE: u8 = 0;
const EXECUTABLE: u8 = 1;
const EMPTY_DIR: u8 = 2;
const SYMLINK: u8 = 3;

/// An entry without its path, borrowed from its owner.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    File { size: u64, id: ContentId, executable: bool },
    EmptyDir,
    Symlink { target: &'a str },
}

impl<'a> From<&'a EntryKind> for Shape<'a> {
    fn from(kind: &'a EntryKind) -> Self {
        match *kind {
            EntryKind::File { size, id, executable } => Self::File { size, id, executable },
            EntryKind::EmptyDir => Self::EmptyDir,
            EntryKind::Symlink { ref target } => Self::Symlink { target },
        }
    }
}

impl From<Shape<'_>> for EntryKind {
    fn from(shape: Shape<'_>) -> Self {
        match shape {
            Shape::File { size, id, executable } => Self::File { size, id, executable },
            Shape::EmptyDir => Self::EmptyDir,
            Shape::Symlink { target } => Self::Symlink { target: target.to_owned() },
        }
    }
}

/// The fields before the entries.
pub(super) struct Head {
    pub(super) rules: Rules,
    pub(super) payload: ContentId,
    pub(super) payload_len: u64,
    /// The number of entries that follow: no more than allowed, nor than the bytes could hold.
    pub(super) entries: usize,
}

/// A walk over the entries of an encoded manifest. It holds one path, whatever the bytes claim.
pub(super) struct EntryReader<'a> {
    rest: &'a [u8],
    left: usize,
    path: Vec<u8>,
}

/// Returns the version of a manifest, if it is one of another version than this code knows.
pub(super) fn foreign_version(bytes: &[u8]) -> Option<u8> {
    bytes.strip_prefix(MAGIC)?.first().copied().filter(|&found| found != VERSION)
}

impl<'a> EntryReader<'a> {
    /// Reads the head.
    pub(super) fn open(bytes: &'a [u8]) -> Result<(Head, Self), Flaw> {
        if bytes.len() > MANIFEST_BYTES {
            return Err(Flaw::TooLarge { bytes: bytes.len() });
        }
        let mut reader = Self { rest: bytes, left: 0, path: Vec::with_capacity(PATH_BYTES) };
        if reader.take(MAGIC.len() as u64).map_err(|_| Flaw::Magic)? != MAGIC || reader.byte()? != VERSION {
            return Err(Flaw::Magic);
        }
        let rules = match reader.byte()? {
            0 => Rules::Portable,
            UNIX_NAMES => Rules::Unix,
            flags => return Err(Flaw::Flags { flags }),
        };
        let payload = reader.id()?;
        let payload_len = reader.varint()?;
        let entries = reader.varint()?;
        if entries > MANIFEST_ENTRIES as u64 {
            return Err(Flaw::TooManyEntries { entries });
        }
        if entries * ENTRY_MIN > reader.rest.len() as u64 {
            return Err(Flaw::Truncated);
        }
        reader.left = entries as usize;
        Ok((Head { rules, payload, payload_len, entries: reader.left }, reader))
    }

    /// Reads the next entry. Returns `None` after the last one, which must be the end of the bytes.
    pub(super) fn next(&mut self) -> Result<Option<Shape<'a>>, Flaw> {
        let Some(left) = self.left.checked_sub(1) else {
            return match self.rest.len() {
                0 => Ok(None),
                bytes => Err(Flaw::TrailingBytes { bytes }),
            };
        };
        self.left = left;
        self.read_path()?;
        let shape = match self.byte()? {
            kind @ (FILE | EXECUTABLE) => {
                let size = self.varint()?;
                Shape::File { size, id: self.id()?, executable: kind == EXECUTABLE }
            }
            EMPTY_DIR => Shape::EmptyDir,
            SYMLINK => {
                let bytes = self.varint()?;
                Shape::Symlink { target: utf8(self.take(bytes)?).map_err(|error| self.path_flaw(error))? }
            }
            kind => {
                return Err(Flaw::Kind { path: self.shown_path(), kind });
            }
        };
        Ok(Some(shape))
    }

    /// Returns the path of the entry that [`EntryReader::next`] returned last.
    pub(super) fn path(&self) -> Result<&str, Flaw> {
        utf8(&self.path).map_err(|error| self.path_flaw(error))
    }

    /// Replaces the path by the next one. Paths ascend and share all the bytes they can, so the new part
    /// starts with a greater byte, or with any byte if the whole path before is shared.
    fn read_path(&mut self) -> Result<(), Flaw> {
        let shared = self.varint()?;
        let bytes = self.varint()?;
        let new = self.take(bytes)?;
        if shared > self.path.len() as u64 {
            return Err(Flaw::Shared { after: self.shown_path() });
        }
        let shared = shared as usize;
        let replaced = self.path.get(shared).copied();
        if replaced.is_some() && new.first().copied() == replaced {
            return Err(Flaw::Shared { after: self.shown_path() });
        }
        let ascends = new.first().copied() > replaced;
        self.path.truncate(shared);
        self.path.extend_from_slice(&new[..new.len().min(PATH_BYTES)]);
        if shared + new.len() > PATH_BYTES {
            let error = PathError::PathTooLong { path: self.shown_path(), bytes: shared + new.len() };
            return Err(self.path_flaw(error));
        }
        if ascends || self.path.is_empty() { Ok(()) } else { Err(Flaw::Order { path: self.shown_path() }) }
    }

    fn path_flaw(&self, error: PathError) -> Flaw {
        Flaw::Path { path: self.shown_path(), error }
    }

    fn shown_path(&self) -> String {
        clip(&String::from_utf8_lossy(&self.path))
    }

    fn take(&mut self, bytes: u64) -> Result<&'a [u8], Flaw> {
        let bytes = usize::try_from(bytes).map_err(|_| Flaw::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Flaw::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Flaw> {
        let (&byte, rest) = self.rest.split_first().ok_or(Flaw::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    fn id(&mut self) -> Result<ContentId, Flaw> {
        let (&id, rest) = self.rest.split_first_chunk().ok_or(Flaw::Truncated)?;
        self.rest = rest;
        Ok(ContentId::from_bytes(id))
    }

    fn varint(&mut self) -> Result<u64, Flaw> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Flaw::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(Flaw::Varint) } else { Ok(value) };
            }
        }
        Err(Flaw::Varint)
    }
}

/// Writes a manifest without checks, which [`Manifest::encode`] has made.
pub(super) fn write(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.push(if manifest.rules == Rules::Unix { UNIX_NAMES } else { 0 });
    out.extend_from_slice(manifest.payload.as_bytes());
    put_varint(&mut out, manifest.payload_len);
    put_varint(&mut out, manifest.entries.len() as u64);
    let mut before: &[u8] = &[];
    for entry in &manifest.entries {
        let path = entry.path.as_bytes();
        let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
        put_varint(&mut out, shared as u64);
        put_bytes(&mut out, &path[shared..]);
        match entry.kind {
            EntryKind::File { size, id, executable } => {
                out.push(if executable { EXECUTABLE } else { FILE });
                put_varint(&mut out, size);
                out.extend_from_slice(id.as_bytes());
            }
            EntryKind::EmptyDir => out.push(EMPTY_DIR),
            EntryKind::Symlink { ref target } => {
                out.push(SYMLINK);
                put_bytes(&mut out, target.as_bytes());
            }
        }
        before = path;
    }
    out
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
