//! Lines on standard error.
#![allow(clippy::print_stderr, reason = "progress and messages are printed here")]

use std::io::{self, Write as _};

/// Prints a line as it is. A failure is ignored: there is nobody left to report it to.
pub(crate) fn plain_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
