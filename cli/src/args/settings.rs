//! The settings as flags of every command.

use std::path::PathBuf;

use clap::builder::{
    BoolishValueParser, EnumValueParser, PossibleValue, PossibleValuesParser, TypedValueParser,
};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, ValueEnum, ValueHint, value_parser};
use swarm_core::options::Audience;

use crate::settings::{Layer, Level, all_settings};
use crate::size::{Rate, Size};
use crate::timetable::Schedule;

/// A type of settings as a flag.
trait Flag: Clone + Send + Sync + 'static {
    /// The flag that takes such a value.
    fn of(arg: Arg) -> Arg;

    /// Its value.
    fn value(matches: &ArgMatches, id: &str) -> Option<Self> {
        matches.get_one::<Self>(id).cloned()
    }
}

impl Flag for bool {
    fn of(arg: Arg) -> Arg {
        arg.action(ArgAction::SetTrue).value_parser(BoolishValueParser::new())
    }
}

impl Flag for u8 {
    fn of(arg: Arg) -> Arg {
        arg.action(ArgAction::Count)
    }
}

impl Flag for PathBuf {
    fn of(arg: Arg) -> Arg {
        arg.value_parser(value_parser!(PathBuf)).value_hint(ValueHint::DirPath)
    }
}

impl Flag for Vec<String> {
    fn of(arg: Arg) -> Arg {
        arg.action(ArgAction::Append).value_parser(value_parser!(String)).value_delimiter(',')
    }

    fn value(matches: &ArgMatches, id: &str) -> Option<Self> {
        // A list may end with a comma, or be nothing else.
        Some(matches.get_many::<String>(id)?.filter(|text| !text.is_empty()).cloned().collect())
    }
}

impl Flag for Level {
    fn of(arg: Arg) -> Arg {
        arg.value_parser(EnumValueParser::<Self>::new()).hide_possible_values(true)
    }
}

impl ValueEnum for Level {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

macro_rules! parsed {
    ($($type:ty)+) => { $(
        impl Flag for $type {
            fn of(arg: Arg) -> Arg {
                arg.value_parser(value_parser!($type))
            }
        }
    )+ };
}

impl Flag for Audience {
    fn of(arg: Arg) -> Arg {
        arg.value_parser(audience()).hide_possible_values(true)
    }
}

/// Reads an audience; completions offer its names.
fn audience() -> impl TypedValueParser<Value = Audience> {
    PossibleValuesParser::new(Audience::ALL.map(Audience::name)).try_map(|name| name.parse::<Audience>())
}

parsed!(String Rate Size Schedule);

macro_rules! flags {
    ($( $heading:literal { $(
        $(#[doc = $help:literal])+
        $field:ident $([$short:literal])?: $type:ty $(, $unit:literal)? = $default:expr
            $(, |$options:ident, $value:ident| $told:expr)?;
    )+ } )+) => {
        /// All settings as flags.
        pub(super) fn flags() -> Vec<Arg> {
            vec![ $($(
                flag::<$type>(stringify!($field), &[$($help),+])
                    .help_heading($heading)
                    $(.short($short))?
                    $(.value_name($unit))?,
            )+)+ ]
        }

        /// The settings that one source gives at one level of the command line.
        pub(super) fn layer(matches: &ArgMatches, source: ValueSource) -> Layer {
            Layer { $($( $field: given::<$type>(matches, stringify!($field), source), )+)+ }
        }
    };
}

all_settings!(flags);

fn flag<T: Flag>(field: &'static str, help: &[&str]) -> Arg {
    let paragraphs = paragraphs(help);
    let arg = T::of(Arg::new(field).long(field.replace('_', "-"))).hide_short_help(true);
    let arg = arg.help(paragraphs[0].clone());
    if paragraphs.len() > 1 { arg.long_help(paragraphs.join("\n\n")) } else { arg }
}

/// The paragraphs of a doc comment.
fn paragraphs(lines: &[&str]) -> Vec<String> {
    let words = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    lines.split(|line| line.trim().is_empty()).map(words).collect()
}

fn given<T: Flag>(matches: &ArgMatches, id: &str, source: ValueSource) -> Option<T> {
    (matches.value_source(id) == Some(source)).then(|| T::value(matches, id)).flatten()
}
