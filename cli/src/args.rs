//! The command line: clap, and nothing else. The doc comments are the help: the first paragraph for `-h`, all
//! of it for `--help` and the manual pages.

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use clap_complete::Shell;

mod content;
mod groups;
mod man;
mod node;
pub(crate) mod office;
mod secret;
mod settings;
mod store;

pub(crate) use content::{Allow, Cat, Get, Hold, Publish};
pub(crate) use node::{Config, Daemon, Demo, Man, Status};
pub(crate) use secret::Secret;
pub(crate) use store::{Gc, Item, Ls, Verify};

use crate::settings::{Layer, variable};

/// Share and fetch files and folders, peer to peer
///
/// Every machine that has a part of a file passes it on, so a file crosses a slow line about once, not once
/// per machine. The first `swarm` process on a store is its node; later ones talk to it.
#[derive(Debug, Parser)]
#[command(name = "swarm", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(
    after_help = "`swarm COMMAND -h` lists the options of a command, `swarm help COMMAND` explains them."
)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

/// The verb of a command line.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Share a file or folder and print its id
    ///
    /// The file is hashed and shared in place, so do not change it. This command shares it until Ctrl-C,
    /// unless a daemon runs for the store: then the daemon shares it and this command ends. Other machines
    /// fetch it with `swarm get ID`.
    #[command(after_long_help = "\
Examples:
  swarm publish update.bin                 share it with the local network
  swarm publish film.mkv --serve anyone    share it with everyone who has the id
  swarm publish photos --encrypt           print a link that only its receivers can read
  tar c . | swarm publish - --name a.tar   share standard input")]
    Publish(Publish),
    /// Fetch content by id or link
    ///
    /// Chunks come from all peers that have some, near ones first, and are verified before they are written.
    /// Run an interrupted `get` again and it resumes.
    #[command(visible_aliases = ["download", "recv"])]
    #[command(after_long_help = "\
Examples:
  swarm get ID                             into the current folder, under its own name
  swarm get ID -o /srv/app --overwrite     update a folder to this version
  swarm get ID --include '*.deb' --seed    only some files, and share them afterwards
  swarm get ID --detach                    have the daemon fetch it, after a restart too
  swarm get - < links.txt                  every link in a file")]
    Get(Get),
    /// End a download that the daemon goes on with
    ///
    /// What it has fetched is kept, and `swarm get` goes on from there. A download in another terminal is
    /// ended there, with Ctrl-C.
    Stop(Item),
    /// Write a file to standard output as it arrives
    ///
    /// Every byte is verified before it is written.
    Cat(Cat),
    /// Keep an item in the store and share it
    ///
    /// Beside a daemon, the daemon goes on until it has everything, whatever becomes of this command, unless
    /// --timeout is given; `swarm stop` ends that.
    ///
    /// With --blind, this node can hold encrypted items that it cannot read.
    Hold(Hold),
    /// List the store, or the files of a directory
    Ls(Ls),
    /// Show details of one item
    Info(Item),
    /// Forget an item; files outside the store stay
    Rm(Item),
    /// Check stored data against its hashes
    ///
    /// Reads everything, or one item, from the disk. Exit code 4 if something is damaged.
    Verify(Verify),
    /// Delete data that nothing refers to
    Gc(Gc),
    /// Show what the node is doing
    Status(Status),
    /// Set who may fetch an item
    Allow(Allow),
    /// Explain why a download waits or is slow
    ///
    /// Prints one line per reason, then one line for each way of finding sources and what it found.
    Why(Item),
    /// List connected and banned peers
    Peers,
    /// Private networks: create, invite, join, expel
    ///
    /// Only members of an office can fetch what is shared in it. A node can be in several offices and also
    /// share publicly. Without a command, this lists the offices of this node.
    Office {
        #[command(subcommand)]
        what: Option<office::Office>,
    },
    /// Run a node that shares the store, until stopped
    ///
    /// Other commands on the same store use this node. It runs in the foreground; a service manager can run
    /// it in the background.
    Daemon(Daemon),
    /// Try it: one publisher, five getters, this machine
    ///
    /// The six processes are real ones with stores of their own, in a temporary folder that is removed at the
    /// end.
    Demo(Demo),
    /// Show the settings and where they come from
    Config {
        #[command(subcommand)]
        what: Config,
    },
    /// Print a completion script for a shell
    Completions {
        /// Shell to complete commands in
        shell: Shell,
    },
    /// Write manual pages to a folder
    Man(Man),
    /// Explain a command, or the exit codes
    Help {
        /// Command, such as `get` or `office invite`, or exit-codes
        topic: Vec<String>,
    },
}

impl Verb {
    /// Standard output is the content itself.
    pub(crate) fn writes_content(&self) -> bool {
        match self {
            Self::Cat(_) => true,
            Self::Get(get) => get.to_stdout(),
            _ => false,
        }
    }
}

/// The command line, read.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The verb with its arguments.
    pub(crate) verb: Verb,
    /// Settings of the environment.
    pub(crate) environment: Layer,
    /// Settings of the flags.
    pub(crate) flags: Layer,
}

/// A command line that could not be read, or that asks for help or the version.
#[derive(Debug)]
pub(crate) struct NotParsed {
    /// The text to show, without and with colours.
    pub(crate) text: [String; 2],
    /// True when it was help that was asked for.
    pub(crate) wanted: bool,
    /// JSON was asked for as well.
    pub(crate) json: bool,
}

/// Ends the help of each command.
const MORE: &str = "\
More options, for all commands: swarm --help
Every option also has a variable: SWARM_LIMIT_UP sets --limit-up.";
/// Ends the longer help of each command, unless it has examples.
const MORE_LONG: &str = "\
Every option can also be given by an environment variable: --limit-up 5M by SWARM_LIMIT_UP=5M. \
Options of all commands can be in ~/.config/swarm/config.toml as well: limit-up = \"5M\".";
/// Ends the longer help of the whole program.
const MORE_WHOLE: &str = "\
`swarm COMMAND -h` shows the options of a command, `swarm help COMMAND` explains all of them, and \
`swarm help exit-codes` lists the exit codes. SWARM_LOG takes a filter for the log: swarm_core=debug.\n\n";

/// The whole command. Each (sub)command has the settings as flags of its own: clap's `global` forgets the
/// values before the verb of a flag that is repeated after it.
fn command() -> Command {
    fn complete(command: Command) -> Command {
        let command = with_variables(command.mut_subcommands(complete).args(settings::flags()));
        let examples = command.get_after_long_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
        command.after_help(MORE).after_long_help(examples + MORE_LONG)
    }
    let whole = CommandLine::command().mut_subcommands(complete).args(settings::flags());
    with_variables(whole).after_long_help(format!("{MORE_WHOLE}{MORE_LONG}")).max_term_width(100)
}

/// Gives every flag its environment variable, and a boolean one the words that are usual there.
fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        // The variable of that name is the password itself.
        let flag = arg.get_long().filter(|flag| *flag != "password").map(variable);
        let named = flag.or_else(|| Some(arg.get_env()?.to_string_lossy().into_owned()));
        let arg = match named {
            Some(name) if is_empty(&name) => arg.env(Resettable::Reset),
            Some(name) => arg.env(name),
            None => arg,
        };
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        let arg = if is_switch { arg.value_parser(BoolishValueParser::new()) } else { arg };
        arg.hide_env(true)
    })
}

/// True for a variable that is set to nothing. Compose files and service managers make such variables for
/// values that nobody gave, so it counts as one that is not set.
fn is_empty(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.to_string_lossy().trim().is_empty())
}

/// Puts the variable in the place of a flag that was not typed, and says in words which numbers fit.
fn in_words(mut error: clap::Error, args: &[OsString]) -> [String; 2] {
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        let Some(ContextValue::String(shown)) = error.get(kind) else { continue };
        if let Some(name) = untyped(shown, args) {
            error.insert(kind, ContextValue::String(format!("environment variable {name}")));
        }
    }
    let text = error.render();
    [text.to_string(), text.ansi().to_string()].map(|mut text| {
        for (raw, words) in RAW_NUMBERS {
            text = text.replace(raw, words);
        }
        text
    })
}

/// Reasons of the standard library for which a text is no number, and words for a person.
const RAW_NUMBERS: [(&str, &str); 3] = [
    ("invalid digit found in string", "a whole number is needed, such as 3"),
    ("cannot parse integer from empty string", "a whole number is needed, such as 3"),
    ("number too large to fit in target type", "the number is too large"),
];

/// Returns the variable that gave the value of a flag; `None` if the flag was typed.
fn untyped(shown: &str, args: &[OsString]) -> Option<String> {
    let flag = shown.strip_prefix("--")?.split([' ', '=', '[', '.']).next()?;
    let name = variable(flag);
    let is_typed = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        arg.strip_prefix("--").is_some_and(|arg| arg == flag || arg.starts_with(&format!("{flag}=")))
    };
    let is_set = std::env::var_os(&name).is_some() && !is_empty(&name);
    (is_set && !args.iter().any(is_typed)).then_some(name)
}

/// Reads the command line.
///
/// # Errors
/// The text to show instead, when it is wrong or asks for help.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, NotParsed> {
    let args: Vec<_> = args.into_iter().collect();
    let not_parsed = |error: clap::Error| NotParsed {
        wanted: !error.use_stderr(),
        text: in_words(error, &args),
        json: args.iter().any(|arg| arg == "--json"),
    };
    let matches = groups::grouped(command()).try_get_matches_from(&args).map_err(not_parsed)?;
    let line = CommandLine::from_arg_matches(&matches).map_err(not_parsed)?;
    let mut levels = vec![&matches];
    while let Some((_, inner)) = levels.last().and_then(|level| level.subcommand()) {
        levels.push(inner);
    }
    let flags = levels.iter().map(|level| settings::layer(level, ValueSource::CommandLine));
    let flags = flags.reduce(Layer::join).unwrap_or_default();
    Ok(Parsed { verb: line.verb, environment: settings::layer(&matches, ValueSource::EnvVariable), flags })
}

/// The completion script for a shell.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "swarm", &mut script);
    if shell == Shell::Bash {
        // Bash offers flags and commands together. As in git, flags come once a dash is typed.
        let offer = "            if [[ ${cur} == -* || ";
        let filter = "            [[ ${cur} == -* ]] || opts=\"$(printf '%s\\n' ${opts} | grep -v '^-')\"\n";
        script = String::from_utf8_lossy(&script).replace(offer, &format!("{filter}{offer}")).into_bytes();
    }
    script
}

/// The manual pages: of each, the name of its file and its text.
pub(crate) fn manual() -> Vec<(String, Vec<u8>)> {
    // Each option is explained once: those of all commands in swarm(1).
    man::pages(with_variables(CommandLine::command().mut_subcommands(with_variables)), settings::flags())
}

/// The long help of a command, given by its words (of the whole program without), without and with colours;
/// `None` when there is no such command.
pub(crate) fn help(topic: &[String]) -> Option<[String; 2]> {
    let mut whole = groups::grouped(command());
    whole.build();
    let mut found = &mut whole;
    for word in topic {
        found = found.find_subcommand_mut(word)?;
    }
    let text = found.render_long_help();
    Some([text.to_string(), text.ansi().to_string()])
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
