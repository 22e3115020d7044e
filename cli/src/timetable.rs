//! Timetables as people write them: `mon-fri 08:00-18:00 up=1M down=5M; sat,sun up=5M; else unlimited`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use swarm_core::limits;
use swarm_core::timetable::{Days, Hours, Rule, Timetable};

use crate::size::Rate;

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const LONG: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const EXAMPLE: &str = "write it like: mon-fri 08:00-18:00 up=1M; else unlimited";

/// A timetable, with the text it was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Schedule {
    text: String,
    /// Its rules.
    pub(crate) table: Timetable,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Schedule {
    type Err = String;

    /// Rules separated by `;`, the first that fits counts; an empty text is an empty timetable.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let mut rules: Vec<Rule> = Vec::new();
        let mut closed = false;
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            if closed {
                return Err(format!("`{part}` comes after `else` and would never apply; {EXAMPLE}"));
            }
            if rules.len() == limits::TIMETABLE_RULES {
                return Err(format!("more than {} rules", limits::TIMETABLE_RULES));
            }
            let (rule, last) = rule(part)?;
            closed = last;
            rules.push(rule);
        }
        Ok(Self { text: text.to_owned(), table: Timetable { rules } })
    }
}

/// One rule, and whether it is the `else`.
fn rule(text: &str) -> Result<(Rule, bool), String> {
    let wrong = |why: String| format!("in `{text}`: {why}; {EXAMPLE}");
    let (mut days, mut hours, mut otherwise) = (None, None, false);
    let (mut up, mut down) = (None, None);
    let mut when = Vec::new();
    for word in text.split_whitespace() {
        let lower = word.to_ascii_lowercase();
        let set = if let Some((name, value)) = word.split_once('=') {
            let free = value.eq_ignore_ascii_case("unlimited");
            let rate: Rate = if free { Rate(None) } else { value.parse().map_err(wrong)? };
            match name.to_ascii_lowercase().as_str() {
                "up" => up.replace(rate.0).is_some(),
                "down" => down.replace(rate.0).is_some(),
                _ => return Err(wrong(format!("`{name}` is neither `up` nor `down`"))),
            }
        } else if lower == "unlimited" {
            up.replace(None).is_some() || down.replace(None).is_some()
        } else {
            when.push(word);
            if lower == "else" {
                std::mem::replace(&mut otherwise, true)
            } else if lower.starts_with(|c: char| c.is_ascii_digit()) {
                hours.replace(parse_hours(&lower).map_err(wrong)?).is_some()
            } else {
                days.replace(parse_days(&lower).map_err(wrong)?).is_some()
            }
        };
        if set {
            return Err(wrong(format!("`{word}` sets again what an earlier word sets")));
        }
    }
    if up.is_none() && down.is_none() {
        return Err(wrong("no limit is given: up=RATE, down=RATE or unlimited".to_owned()));
    }
    if otherwise != (days.is_none() && hours.is_none()) {
        return Err(wrong("a rule has either days and hours, or `else`".to_owned()));
    }
    let text = when.join(" ");
    Ok((Rule { text, days: days.unwrap_or(Days::ALL), hours, up, down }, otherwise))
}

/// `mon`, `mon-fri`, `sat,sun`, `fri-mon`, `daily`.
fn parse_days(word: &str) -> Result<Days, String> {
    let day = |name: &str| {
        let at = NAMES.iter().position(|n| *n == name).or_else(|| LONG.iter().position(|n| *n == name));
        at.ok_or_else(|| format!("`{name}` is not a day: mon, tue, wed, thu, fri, sat, sun or daily"))
    };
    let mut days = 0;
    for part in word.split(',') {
        if part == "daily" {
            days |= Days::ALL.0;
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        (first..=first + length).for_each(|d| days |= 1 << (d % 7));
    }
    Ok(Days(days))
}

/// `08:00-18:00`, `22-6`, `12:00:30-24:00`.
fn parse_hours(word: &str) -> Result<Hours, String> {
    let bad = || format!("`{word}` is not a time of day: write 08:00-18:00");
    let (from, to) = word.split_once('-').ok_or_else(bad)?;
    let (from, to) = (parse_clock(from).ok_or_else(bad)?, parse_clock(to).ok_or_else(bad)?);
    if from == to || from == limits::DAY {
        return Err(format!("`{word}` is an empty time; leave the hours out for a whole day"));
    }
    Ok(Hours { from, to })
}

/// `8`, `08:00` or `08:00:30` as seconds since midnight.
fn parse_clock(text: &str) -> Option<u32> {
    let mut seconds = 0;
    let mut parts = 0;
    for (part, (factor, below)) in text.split(':').zip([(3600, 25), (60, 60), (1, 60), (0, 0)]) {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let number = part.parse::<u32>().ok().filter(|n| digits && *n < below)?;
        seconds += number * factor;
        parts += 1;
    }
    (parts > 0 && seconds <= limits::DAY).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<Rule> {
        text.parse::<Schedule>().expect(text).table.rules
    }

    #[test]
    fn reads_what_the_help_says() {
        let rules = table("mon-fri 08:00-18:00 up=1M; else unlimited");
        assert_eq!(rules.len(), 2);
        assert_eq!((rules[0].text.as_str(), rules[0].days), ("mon-fri 08:00-18:00", Days(0b001_1111)));
        assert_eq!(rules[0].hours, Some(Hours { from: 8 * 3600, to: 18 * 3600 }));
        assert_eq!((rules[0].up, rules[0].down), (Some(Some(1 << 20)), None));
        assert_eq!((rules[1].days, rules[1].hours), (Days::ALL, None));
        assert_eq!((rules[1].up, rules[1].down), (Some(None), Some(None)));
        let rules =
            table(" Sat,SUN up=8Mbit down=none ;; fri-mon 22-6 down=unlimited; daily 0:00:05-24:00 up=1B;");
        assert_eq!((rules[0].days, rules[0].up), (Days(0b110_0000), Some(Some(1_000_000))));
        assert_eq!((rules[0].hours, rules[0].down), (None, Some(None)));
        assert_eq!(
            (rules[1].days, rules[1].hours),
            (Days(0b111_0001), Some(Hours { from: 79_200, to: 21_600 }))
        );
        assert_eq!((rules[2].days, rules[2].hours), (Days::ALL, Some(Hours { from: 5, to: 86_400 })));
        assert!(table("").is_empty());
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        for (text, part) in [
            ("mon-fri up=1M down", "not a day"),
            ("mon 08:00 up=1M", "not a time of day"),
            ("mon 08:00-08:00 up=1M", "empty time"),
            ("mon 24:00-08:00 up=1M", "empty time"),
            ("mon 08:60-09:00 up=1M", "not a time of day"),
            ("mon 1:2:3:4-5 up=1M", "not a time of day"),
            ("mon 08:00-24:01 up=1M", "not a time of day"),
            ("monn up=1M", "not a day"),
            ("up=1M", "either days"),
            ("else mon up=1M", "either days"),
            ("mon", "no limit is given"),
            ("else", "no limit is given"),
            ("mon up=x", "in `mon up=x`"),
            ("mon up=1Mb", "bits"),
            ("mon up=0", "means no limit"),
            ("mon left=1M", "neither"),
            ("mon up=1M up=2M", "again"),
            ("mon tue up=1M", "again"),
            ("mon up=1M unlimited", "again"),
            ("else up=1M; mon up=2M", "never apply"),
        ] {
            let error = text.parse::<Schedule>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!("mon up=1B;".repeat(200).parse::<Schedule>().is_err());
    }
}
