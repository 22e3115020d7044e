//! The terminal that bars are drawn on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use console::Term;
use indicatif::TermLike;

/// Columns left free: for the `^C` that a terminal echoes where the cursor is, which would begin a new line
/// at the right edge and leave the bar behind.
pub(super) const MARGIN: u16 = 3;

/// Standard error, with the cursor left behind the text of the last line. indicatif itself fills every line
/// to the right edge and lets the terminal begin the next one: it writes each line and then its filler.
#[derive(Debug)]
pub(super) struct Screen {
    term: Term,
    filler_is_next: AtomicBool,
    line_is_full: AtomicBool,
}

impl Screen {
    /// A new one.
    pub(super) fn stderr() -> Self {
        Self {
            term: Term::buffered_stderr(),
            filler_is_next: AtomicBool::new(false),
            line_is_full: AtomicBool::new(false),
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.term.size().1.saturating_sub(MARGIN)
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.term.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if self.filler_is_next.swap(false, Ordering::Relaxed) {
            self.line_is_full.store(true, Ordering::Relaxed);
            return Ok(());
        }
        self.filler_is_next.store(true, Ordering::Relaxed);
        if self.line_is_full.swap(false, Ordering::Relaxed) {
            self.term.write_line("")?;
        }
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }

    /// Ends a redraw.
    fn flush(&self) -> io::Result<()> {
        self.filler_is_next.store(false, Ordering::Relaxed);
        self.line_is_full.store(false, Ordering::Relaxed);
        self.term.flush()
    }
}
