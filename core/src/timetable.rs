//! Limits of the rates of sending and receiving, by day and hour.

/// A set of days of the week: bit 0 is Monday, bit 6 Sunday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub u8);

impl Days {
    /// All seven days.
    pub const ALL: Self = Self(0x7f);

    const fn has(self, day: u8) -> bool {
        self.0 >> (day % 7) & 1 == 1
    }
}

/// A moment of the week in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Days since Monday, 0 to 6.
    pub day: u8,
    /// Seconds since midnight.
    pub second: u32,
}

/// A range of seconds of a day, from `from` to before `to`. A range that ends before it begins goes on past
/// midnight, and belongs to the day on which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The first second.
    pub from: u32,
    /// The second after the last; at most 86,400.
    pub to: u32,
}

/// A rate that a rule sets, in bytes per second. `Some(None)` lifts the limit; `None` leaves the limit that
/// is set elsewhere.
pub type Setting = Option<Option<u64>>;

/// One line of a timetable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The text of the rule as its author wrote it, for reports.
    pub text: String,
    /// The days on which the rule holds.
    pub days: Days,
    /// The hours at which the rule holds; `None` for all day.
    pub hours: Option<Hours>,
    /// The limit for sending.
    pub up: Setting,
    /// The limit for receiving.
    pub down: Setting,
}

impl Rule {
    fn fits(&self, at: Moment) -> bool {
        let yesterday = (at.day + 6) % 7;
        match self.hours {
            None => self.days.has(at.day),
            Some(Hours { from, to }) if from < to => self.days.has(at.day) && (from..to).contains(&at.second),
            Some(Hours { from, to }) => {
                self.days.has(at.day) && at.second >= from || self.days.has(yesterday) && at.second < to
            }
        }
    }
}

/// Rules in order. The first one that fits a moment is in force.
///
/// ```
/// use swarm_core::timetable::{Days, Hours, Moment, Rule, Timetable};
///
/// let night = Hours { from: 22 * 3600, to: 6 * 3600 };
/// let rule = Rule {
///     text: "22:00-06:00 unlimited".to_owned(),
///     days: Days::ALL,
///     hours: Some(night),
///     up: Some(None),
///     down: Some(None),
/// };
/// let timetable = Timetable { rules: vec![rule] };
/// assert!(timetable.at(Moment { day: 0, second: 3 * 3600 }).is_some());
/// assert!(timetable.at(Moment { day: 0, second: 12 * 3600 }).is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timetable {
    /// The rules, at most [`crate::limits::TIMETABLE_RULES`].
    pub rules: Vec<Rule>,
}

impl Timetable {
    /// Returns the rule that is in force at this moment, or `None`.
    #[must_use]
    pub fn at(&self, moment: Moment) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3600;

    fn rule(text: &str, days: u8, hours: Option<(u32, u32)>) -> Rule {
        let hours = hours.map(|(from, to)| Hours { from: from * HOUR, to: to * HOUR });
        Rule { text: text.to_owned(), days: Days(days), hours, up: Some(Some(1)), down: None }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let table = Timetable {
            rules: vec![
                rule("work", 0b001_1111, Some((8, 18))),
                rule("friday night", 0b001_0000, Some((22, 6))),
                rule("else", 0x7f, None),
            ],
        };
        for (day, second, want) in [
            (0, 8 * HOUR - 1, "else"),
            (0, 8 * HOUR, "work"),
            (0, 18 * HOUR - 1, "work"),
            (0, 18 * HOUR, "else"),
            (5, 9 * HOUR, "else"),
            (4, 22 * HOUR, "friday night"),
            (5, 6 * HOUR - 1, "friday night"),
            (5, 6 * HOUR, "else"),
            (4, 5 * HOUR, "else"),
            (6, 23 * HOUR, "else"),
        ] {
            let found = table.at(Moment { day, second }).map(|rule| rule.text.as_str());
            assert_eq!(found, Some(want), "day {day}, second {second}");
        }
        assert_eq!(Timetable::default().at(Moment { day: 0, second: 0 }), None);
    }

    #[test]
    fn a_night_of_sunday_ends_on_monday() {
        let table = Timetable { rules: vec![rule("sunday night", 0b100_0000, Some((22, 6)))] };
        assert!(table.at(Moment { day: 0, second: HOUR }).is_some());
        assert!(table.at(Moment { day: 1, second: HOUR }).is_none());
    }
}
