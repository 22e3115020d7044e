//! Copies from one open file to another: nothing is opened by name on the way.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use rustix::io::Errno;

/// Bytes that the system is asked to copy at once.
const PART: usize = 64 << 20;

/// Fills the new, empty file `to` with the bytes of `from`: with the same blocks of the disk where the file
/// system can.
pub(super) fn copy(mut from: &File, mut to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut done = 0;
    loop {
        match rustix::fs::copy_file_range(from, Some(&mut { done }), to, Some(&mut { done }), PART) {
            // Some file systems say so of files that are not empty.
            Ok(0) if done == 0 => break,
            Ok(0) => return Ok(()),
            Ok(copied) => done += copied as u64,
            Err(Errno::INTR) => {}
            Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(e.into()),
            // Many file systems cannot; what was copied so far is where it belongs.
            Err(_) => break,
        }
    }
    from.seek(SeekFrom::Start(done))?;
    to.seek(SeekFrom::Start(done))?;
    io::copy(&mut from, &mut to).map(drop)
}
