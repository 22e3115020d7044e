//! Sizes, rates and durations as people write them. Bytes unless the word says bits; `M` and `MiB` are 2^20,
//! `MB` is 10^6, `Mbit` is 10^6 bits.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A bound in bytes per second that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub(crate) struct Rate(pub(crate) Option<u64>);

/// A bound in bytes that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub(crate) struct Size(pub(crate) Option<u64>);

/// Forms in which a file may give a size.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text such as \"20M\", or a number of bytes")]
enum Word {
    Number(u64),
    Text(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl TryFrom<Word> for Rate {
    type Error = String;

    fn try_from(word: Word) -> Result<Self, String> {
        word.to_string().parse()
    }
}

impl TryFrom<Word> for Size {
    type Error = String;

    fn try_from(word: Word) -> Result<Self, String> {
        word.to_string().parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.0.map_or_else(|| "none".to_owned(), |bytes| format!("{}/s", exact(bytes)))
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.0.map_or_else(|| "none".to_owned(), exact)
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `5M`, `5MB/s`, `100Mbit`, `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_limit(text, true).map(Self)
    }
}

impl FromStr for Size {
    type Err = String;

    /// `20M`, `1.5GiB`, `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_limit(text, false).map(Self)
    }
}

fn parse_limit(text: &str, rate: bool) -> Result<Option<u64>, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, word) = text.split_at(digits);
    let word = word.trim_start();
    let word = if rate { word.strip_suffix("/s").unwrap_or(word) } else { word };
    let unit = Unit::from_str(word)?;
    if unit.bits && !rate {
        return Err(format!("a size is given in bytes, not in bits: `{word}`"));
    }
    let bytes = scale(number, unit)?;
    if bytes == 0 {
        return Err("must be more than 0; `none` means no limit".to_owned());
    }
    Ok(Some(bytes))
}

/// Unit of a number: its factor, and whether it counts bits.
#[derive(Clone, Copy)]
struct Unit {
    factor: u64,
    bits: bool,
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if let [b'K' | b'M' | b'G' | b'T', b'b'] = word.as_bytes() {
            let letter = &word[..1];
            return Err(format!("`{word}` may mean bits or bytes: write `{letter}B` or `{letter}bit`"));
        }
        let lower = word.to_ascii_lowercase();
        let (power, rest) = match lower.as_bytes().first() {
            Some(b'k') => (1, &lower[1..]),
            Some(b'm') => (2, &lower[1..]),
            Some(b'g') => (3, &lower[1..]),
            Some(b't') => (4, &lower[1..]),
            _ => (0, lower.as_str()),
        };
        let (binary, bits) = match rest {
            "" | "ib" if power > 0 => (true, false),
            "ibit" if power > 0 => (true, true),
            "" | "b" => (false, false),
            "bit" => (false, true),
            _ => return Err(format!("unknown unit `{word}`: try 20M, 1.5GiB, 5MB or 100Mbit")),
        };
        let base: u64 = if binary { 1024 } else { 1000 };
        Ok(Self { factor: base.pow(power), bits })
    }
}

/// Multiplies a decimal fraction by a unit, exactly, in integers, and rounds down.
fn scale(number: &str, unit: Unit) -> Result<u64, String> {
    let bad = || format!("not a number: `{number}`");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 || fraction.contains('.') {
        return Err(bad());
    }
    let digits = format!("{whole}{fraction}");
    let value: u128 = digits.parse().map_err(|_| bad())?;
    let divisor = 10_u128.pow(fraction.len() as u32) * if unit.bits { 8 } else { 1 };
    value
        .checked_mul(u128::from(unit.factor))
        .and_then(|product| u64::try_from(product / divisor).ok())
        .ok_or_else(|| format!("too large: `{number}`"))
}

/// Reads a duration: `30s`, `5m`, `1h30m`, `500ms`; a bare number means seconds.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("not a duration: `{text}`; try 30s, 5m or 1h30m");
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (word, next) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let factor = match word {
            "ms" => 1,
            "s" => 1000,
            "" if sum.is_zero() && next.is_empty() => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let part = number.checked_mul(factor).map(Duration::from_millis);
        sum = part.and_then(|part| sum.checked_add(part)).ok_or_else(bad)?;
        rest = next.trim_start();
    }
    if sum.is_zero() { Err(bad()) } else { Ok(sum) }
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Writes bytes in at most four characters and a unit: `0 B`, `9.5 MiB`, `412 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = 0;
    // What rounds to 1024 belongs to the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Writes bytes per second.
pub(crate) fn rate(per_second: u64) -> String {
    format!("{}/s", bytes(per_second))
}

/// Writes bytes so that reading the text gives the same number.
fn exact(n: u64) -> String {
    let units = n.trailing_zeros() / 10;
    let unit = (units as usize).min(4);
    match n {
        0 => "0B".to_owned(),
        _ => format!("{}{}", n >> (10 * unit), UNITS[unit]),
    }
}

/// Writes a whole number with separators: `4,812`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a number and its noun: `1 file`, `4,812 chunks`.
pub(crate) fn plural(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(n)) }
}

/// Writes seconds for a person: `9s`, `1m 02s`, `3h 05m`, `2d 4h`.
pub(crate) fn seconds(n: u64) -> String {
    match n {
        0..60 => format!("{n}s"),
        60..3600 => format!("{}m {:02}s", n / 60, n % 60),
        3600..86_400 => format!("{}h {:02}m", n / 3600, n % 3600 / 60),
        _ => format!("{}d {}h", n / 86_400, n % 86_400 / 3600),
    }
}

/// Writes milliseconds as [`seconds`] does, with a tenth below ten seconds.
pub(crate) fn millis(n: u64) -> String {
    if n < 9_950 { format!("{:.1}s", n as f64 / 1000.0) } else { seconds((n + 500) / 1000) }
}

#[cfg(test)]
#[path = "size_tests.rs"]
mod tests;
