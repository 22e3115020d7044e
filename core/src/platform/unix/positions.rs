//! Reads and writes at a position, which leave the file's cursor alone.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;

/// Slices that one call passes to the system (POSIX's `IOV_MAX` is at least 16, Linux's is 1024).
const PARTS: usize = 512;

/// Fills `buffer` with the bytes at `offset`.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Writes these parts end to end at `offset`. One call takes all parts of a chunk: a call for each would
/// touch the pages at their ends twice.
pub(crate) fn write_all_of(file: &File, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    // Empty slices in front would make the call return 0, which means that nothing can be written.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let at_once = left.len().min(PARTS);
        match rustix::io::pwritev(file, &left[..at_once], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut left, written);
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
