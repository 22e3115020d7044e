//! Progress: bars on a terminal, now and then a plain line elsewhere. The numbers are the node's; nothing
//! here estimates.

mod screen;
pub(crate) mod stderr;

use std::time::{Duration, Instant};

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike as _};
use swarm_core::content::path::escape;

use self::screen::Screen;
use self::stderr::plain_line;
use crate::size;

/// Least time between two lines about one thing, without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Redraws per second.
const REDRAWS: u8 = 15;

/// State of one thing's progress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    /// Bytes done.
    pub(crate) done: u64,
    /// Bytes in all. Without them only the note is shown.
    pub(crate) total: Option<u64>,
    /// Bytes per second.
    pub(crate) rate: Option<u64>,
    /// Seconds left.
    pub(crate) eta: Option<u64>,
    /// The rest in words, the longest form first: the longest that fits is shown.
    pub(crate) notes: Vec<String>,
}

impl Gauge {
    /// Makes a state that is only words.
    pub(crate) fn note(text: impl Into<String>) -> Self {
        Self { notes: vec![text.into()], ..Self::default() }
    }
}

/// The place where progress is shown.
#[derive(Debug, Clone)]
pub(crate) enum Display {
    /// Progress is not shown.
    Off,
    /// Lines on standard error.
    Lines,
    /// Bars on a terminal.
    Bars {
        /// All bars.
        bars: MultiProgress,
        /// True if colours are shown.
        colors: bool,
    },
}

impl Display {
    /// Bars on standard error.
    pub(crate) fn bars(colors: bool) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
            Box::new(Screen::stderr()),
            REDRAWS,
        ));
        Self::Bars { bars, colors }
    }

    /// Runs `print` while the bars are hidden.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match self {
            Self::Bars { bars, .. } => bars.suspend(print),
            Self::Off | Self::Lines => print(),
        }
    }

    /// Adds a bar below the others. It is removed when the meter is dropped.
    pub(crate) fn meter(&self, name: &str) -> Meter {
        let sink = match self {
            Self::Off => Sink::Off,
            Self::Lines => Sink::Lines { last: Instant::now() },
            Self::Bars { bars, colors } => {
                let bar = ProgressBar::hidden().with_style(message_only());
                Sink::Bar { bar: bars.add(bar), colors: *colors }
            }
        };
        Meter { name: name.to_owned(), sink }
    }
}

/// The line is laid out by [`line()`]: indicatif's own placeholders cannot drop what does not fit.
fn message_only() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The progress of one thing.
#[derive(Debug)]
pub(crate) struct Meter {
    name: String,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Off,
    Lines { last: Instant },
    Bar { bar: ProgressBar, colors: bool },
}

impl Meter {
    /// Changes the name, when a better one is known.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Removes the bar.
    pub(crate) fn hide(&mut self) {
        *self = Self { name: std::mem::take(&mut self.name), sink: Sink::Off };
    }

    /// Shows a state.
    pub(crate) fn show(&mut self, gauge: &Gauge) {
        match &mut self.sink {
            Sink::Off => {}
            Sink::Lines { last } if last.elapsed() < LINE_EVERY => {}
            Sink::Lines { last } => {
                *last = Instant::now();
                plain_line(&sentence(&self.name, gauge));
            }
            Sink::Bar { bar, colors } => {
                bar.set_message(line(&self.name, gauge, Screen::stderr().width().into(), *colors));
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Sink::Bar { bar, .. } = &self.sink {
            bar.finish_and_clear();
        }
    }
}

/// Returns one line for logs and pipes.
fn sentence(name: &str, gauge: &Gauge) -> String {
    let mut parts = Vec::new();
    if let Some(total) = gauge.total {
        let percent = percent(gauge.done, total);
        parts.push(format!("{} of {} ({percent}%)", size::bytes(gauge.done), size::bytes(total)));
    }
    parts.extend(gauge.rate.map(size::rate));
    parts.extend(gauge.eta.map(eta));
    parts.extend(gauge.notes.first().cloned());
    format!("{}: {}", escape(name), escape(&parts.join(", ")))
}

/// Returns whole percent; 100 only if all is done.
pub(crate) fn percent(done: u64, total: u64) -> u64 {
    if done >= total { 100 } else { (u128::from(done) * 100 / u128::from(total)) as u64 }
}

fn eta(seconds: u64) -> String {
    format!("ETA {}", size::seconds(seconds).replace(' ', ""))
}

/// Least columns of a bar, brackets included.
const BAR_MIN: usize = 8;
/// Most columns of a bar, brackets included.
const BAR_MAX: usize = 42;

/// One line of at most `width` columns: name, bar, done and total, rate, ETA, note. What does not fit goes,
/// the least important first.
fn line(name: &str, gauge: &Gauge, width: usize, colors: bool) -> String {
    let name = escape(name);
    let Some(total) = gauge.total else {
        let note =
            gauge.notes.iter().find(|note| measure_text_width(&name) + 2 + measure_text_width(note) <= width);
        let note = note.or(gauge.notes.last()).map(|note| escape(note)).unwrap_or_default();
        return truncate_str(&format!("{}  {note}", truncate_str(&name, width / 2, "..")), width, "..")
            .into_owned();
    };
    let counts = format!("{}/{}", size::bytes(gauge.done), size::bytes(total));
    let rate = gauge.rate.map(size::rate).unwrap_or_default();
    let eta = gauge.eta.map(eta).unwrap_or_default();
    let name_width = (width / 7).clamp(8, 30);
    let name = pad_str(&name, name_width, Alignment::Left, Some("..")).into_owned();
    let numbers = if rate.is_empty() { format!("{counts:>15}") } else { format!("{counts:>15} {rate:>10}") };
    let with_eta = if eta.is_empty() { numbers.clone() } else { format!("{numbers} {eta:<9}") };
    let noted = gauge.notes.iter().map(|note| format!("{with_eta} {}", escape(note)));
    for right in noted.chain([with_eta.as_str(), &numbers, &counts].map(str::to_owned)) {
        let used = name_width + 1 + 1 + measure_text_width(&right);
        if used + BAR_MIN <= width {
            let bar = bar(gauge.done, total, (width - used).min(BAR_MAX), colors);
            return format!("{name} {bar} {right}");
        }
    }
    truncate_str(&format!("{} {counts}", name.trim_end()), width, "..").into_owned()
}

/// Returns `[====>   ]`, exactly `width` columns.
fn bar(done: u64, total: u64, width: usize, colors: bool) -> String {
    let inner = width.saturating_sub(2);
    let full =
        if done >= total { inner } else { (u128::from(done) * inner as u128 / u128::from(total)) as usize };
    let mut filled = "=".repeat(full);
    if full < inner && done > 0 {
        filled.push('>');
    }
    let rest = " ".repeat(inner - filled.len());
    format!("[{}{rest}]", Style::new().cyan().force_styling(colors).apply_to(filled))
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
