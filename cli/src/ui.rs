//! The only file that prints. Data goes to standard output, messages to standard error; `--json` turns data
//! into lines of JSON and silences messages. Text that may come from a peer is escaped here, whatever the
//! caller did.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where printing is at home")]

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use console::{Style, Term};
use serde::Serialize;
use swarm_core::api::event::Event;
use swarm_core::content::path::{escape, escape_entry, escape_json};

use crate::exit::{Code, Failed, Outcome, Stop};
use crate::json::{self, About};
use crate::progress::stderr::plain_line;
use crate::progress::{Display, Meter};
use crate::redact::without_keys;
use crate::settings::Settings;
use crate::table::{self, Column};

/// The screen of a command: standard output and standard error.
#[derive(Debug)]
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    /// True if standard output carries the content itself.
    content: bool,
    /// True if standard output is a terminal.
    terminal: bool,
    out_colors: bool,
    err_colors: bool,
    display: Display,
}

impl Ui {
    /// Makes the screen of the settings. `content` is true if standard output carries the content itself.
    pub(crate) fn new(settings: &Settings, content: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let (json, quiet) = (settings.json.value, settings.quiet.value);
        let err_colors = colors_on(io::stderr().is_terminal());
        let bars_fit = io::stderr().is_terminal() && !is_dumb() && !(content && terminal);
        let display = match (settings.no_progress.value || quiet || json, bars_fit) {
            (true, _) => Display::Off,
            (_, true) => Display::bars(err_colors),
            _ => Display::Lines,
        };
        Self { json, quiet, content, terminal, out_colors: colors_on(terminal), err_colors, display }
    }

    /// Makes a screen before the settings are known, to say what is wrong with them.
    pub(crate) fn plain(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let err_colors = colors_on(io::stderr().is_terminal());
        let out_colors = colors_on(terminal);
        Self { json, quiet: false, content: false, terminal, out_colors, err_colors, display: Display::Off }
    }

    /// True if `--json` was given.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// True if a person reads standard output.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Asks for a password on the terminal, without showing it.
    ///
    /// # Errors
    /// The terminal cannot be written or read.
    pub(crate) fn ask_secretly(&self, prompt: &str) -> std::io::Result<String> {
        let terminal = Term::stderr();
        terminal.write_str(prompt)?;
        terminal.read_secure_line()
    }

    /// True if bars are shown.
    pub(crate) const fn is_watched(&self) -> bool {
        matches!(self.display, Display::Bars { .. })
    }

    /// Makes a progress display for one thing.
    pub(crate) fn meter(&self, name: &str) -> Meter {
        self.display.meter(name)
    }

    /// Returns the writer of the log.
    pub(crate) fn log_writer(&self) -> LogWriter {
        LogWriter(self.display.clone())
    }

    /// Prints a line of data, escaped.
    ///
    /// # Errors
    /// Standard output is closed or full. All methods below that print data have this error.
    pub(crate) fn data(&self, text: &str) -> Outcome {
        self.out(format!("{}\n", escape(text)).as_bytes())
    }

    /// Prints a path as data: exactly its bytes for a program, escaped for a person.
    pub(crate) fn path(&self, path: &Path) -> Outcome {
        if self.terminal {
            return self.data(&path.to_string_lossy());
        }
        let mut line = path.as_os_str().as_encoded_bytes().to_vec();
        line.push(b'\n');
        self.out(&line)
    }

    /// Prints a text of several lines as data, plain or with colours. It is not escaped.
    pub(crate) fn text(&self, [plain, colored]: &[String; 2]) -> Outcome {
        self.out(if self.out_colors { colored } else { plain }.as_bytes())
    }

    /// Prints bytes unchanged.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Outcome {
        self.out(bytes)
    }

    /// Prints a table as data.
    pub(crate) fn table(&self, columns: &[Column], rows: &[Vec<String>]) -> Outcome {
        let width = self.terminal.then(|| usize::from(Term::stdout().size().1).saturating_sub(1));
        let lines = table::lines(columns, rows, width);
        let header = Style::new().bold().force_styling(self.out_colors);
        let first = lines.first().map(|line| header.apply_to(line).to_string());
        let all: Vec<_> = first.into_iter().chain(lines.into_iter().skip(1)).collect();
        self.out(format!("{}\n", all.join("\n")).as_bytes())
    }

    /// Prints an event as JSON, if `--json` was given.
    pub(crate) fn event(&self, about: About<'_>, event: &Event) -> Outcome {
        if self.json { self.json_line(&json::event(about, event)) } else { Ok(()) }
    }

    /// Prints a struct as JSON.
    pub(crate) fn object(&self, about: About<'_>, fields: &impl Serialize) -> Outcome {
        self.json_line(&json::object(about, fields))
    }

    fn json_line(&self, line: &str) -> Outcome {
        let line = escape_json(line);
        if self.content {
            plain_line(&line);
            return Ok(());
        }
        self.out(format!("{line}\n").as_bytes())
    }

    fn out(&self, bytes: &[u8]) -> Outcome {
        let print = || {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        };
        // Bars and data only meet on a terminal.
        let printed = if self.terminal { self.display.suspend(print) } else { print() };
        printed.map_err(|error| not_written(&error))
    }

    /// Prints a message, escaped.
    pub(crate) fn talk(&self, text: &str) {
        if !self.quiet && !self.json {
            self.err(&escape(text));
        }
    }

    /// Prints a warning: the command goes on, but the user should know.
    pub(crate) fn warn(&self, text: &str) {
        if !self.json {
            let word = Style::new().yellow().bold().force_styling(self.err_colors).apply_to("warning:");
            self.err(&format!("{word} {}", escape(text)));
        }
    }

    /// Prints a failure, and the next command to type.
    pub(crate) fn failed(&self, about: About<'_>, failed: &Failed) {
        if self.json {
            // The exit code says it as well; there is nobody to tell when this fails too.
            let _ = self.json_line(&json::failed(about, failed));
            return;
        }
        let word = Style::new().red().bold().force_styling(self.err_colors).apply_to("error:");
        self.err(&format!("{word} {}", escape(&failed.message)));
        if let Some(hint) = &failed.hint {
            let word = if failed.code == Code::Interrupted { "resume with" } else { "hint" };
            self.err(&format!("  {word}: {}", escape(hint)));
        }
    }

    /// Prints the text of a command line that was wrong, or that asked for help.
    pub(crate) fn usage(&self, text: &[String; 2], wanted: bool) -> Outcome {
        if wanted {
            return self.text(text);
        }
        // It may quote an argument.
        let text = [without_keys(&text[0]), without_keys(&text[1])];
        if self.json {
            let message = text[0].trim().trim_start_matches("error: ").to_owned();
            return self.json_line(&json::failed(About::It, &Failed::new(Code::Usage, message)));
        }
        let text = if self.err_colors { &text[1] } else { &text[0] };
        self.err(text.trim_end());
        Ok(())
    }

    fn err(&self, line: &str) {
        self.display.suspend(|| plain_line(line));
    }
}

/// Writes content to standard output. It blocks, so it is for a thread that may block.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn content(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| not_written(&error))
}

fn not_written(error: &io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::ReaderGone,
        _ => Failed::new(Code::Disk, format!("cannot write to standard output: {error}")).into(),
    }
}

fn colors_on(terminal: bool) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    terminal && !no_color && !is_dumb()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

/// Writes entries of the log to standard error between redraws of the bars. Each is one line, escaped: it
/// may hold text of peers, and libraries write there as well.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter(Display);

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = escape_entry(bytes);
        self.0.suspend(|| io::stderr().lock().write_all(line.as_bytes())).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
