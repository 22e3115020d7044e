//! Fields of a statement: how they are written, and a reader that takes them from the front.

use super::{BadStatement, VERSION};

/// Returns the first bytes of a statement: the version and the scope.
#[must_use]
pub fn begin(scope: &[u8; 32]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(scope);
    bytes
}

/// Appends a text: one byte with its length, then UTF-8. The caller has checked the text with [`is_text`].
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
}

/// True if a text may stand in a statement: it has 1 to `most` bytes, no white space at its ends, no control
/// characters, and none of the characters that make one text look like another.
#[must_use]
pub fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || is_invisible(c))
}

/// True for characters without a shape, and for those that change the direction of writing.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A reader of fields. Every method fails with [`BadStatement::Malformed`] if the bytes end too early.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Returns a reader of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, at: 0 }
    }

    /// Returns a reader behind the version and the scope.
    ///
    /// # Errors
    /// [`BadStatement::Version`] for another version, [`BadStatement::Scope`] for another scope.
    pub fn within(bytes: &'a [u8], scope: &[u8; 32]) -> Result<Self, BadStatement> {
        let mut fields = Self::new(bytes);
        fields.version()?;
        if fields.array()? != *scope {
            return Err(BadStatement::Scope);
        }
        Ok(fields)
    }

    /// Returns the bytes that were read so far.
    #[must_use]
    pub fn read(&self) -> &'a [u8] {
        self.all.get(..self.at).unwrap_or_default()
    }

    /// Returns the bytes that are left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.all.get(self.at..).unwrap_or_default()
    }

    /// Reads this many bytes.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`].
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], BadStatement> {
        let taken = self.rest().get(..len).ok_or(BadStatement::Malformed)?;
        self.at += len;
        Ok(taken)
    }

    /// Reads an array.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BadStatement> {
        self.take(N)?.try_into().map_err(|_| BadStatement::Malformed)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`].
    pub fn u8(&mut self) -> Result<u8, BadStatement> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads a number of four bytes.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`].
    pub fn u32(&mut self) -> Result<u32, BadStatement> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads a number of eight bytes.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`].
    pub fn u64(&mut self) -> Result<u64, BadStatement> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads the version.
    ///
    /// # Errors
    /// [`BadStatement::Version`] if it is not [`VERSION`].
    pub fn version(&mut self) -> Result<(), BadStatement> {
        if self.u8()? == VERSION { Ok(()) } else { Err(BadStatement::Version) }
    }

    /// Reads a text of at most `most` bytes.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`], also if [`is_text`] is false.
    pub fn text(&mut self, most: usize) -> Result<String, BadStatement> {
        let len = usize::from(self.u8()?);
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| BadStatement::Malformed)?;
        if is_text(text, most) { Ok(text.to_owned()) } else { Err(BadStatement::Malformed) }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`BadStatement::Malformed`].
    pub fn end(self) -> Result<(), BadStatement> {
        if self.rest().is_empty() { Ok(()) } else { Err(BadStatement::Malformed) }
    }
}
