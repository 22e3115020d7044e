//! The command line: clap, and nothing else. The doc comments are the help text. Every flag has an environment
//! variable, `SWARM_` and its name.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValue};
use clap::parser::ValueSource;
use clap::{
    ArgAction, ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    ValueEnum, ValueHint,
};

pub(crate) use clap_complete::Shell;
use swarm_core::options::Audience;

mod get;
pub(crate) mod office;

pub(crate) use get::Get;

use crate::config::{Layer, Level};
use crate::size::{self, Rate, Size};
use crate::timetable::Schedule;

/// Publish and fetch files and directories, peer to peer: every machine that has a part helps the others
#[derive(Debug, Parser)]
#[command(name = "swarm", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = "The first `swarm` process on a store is its node; later ones talk to it. \
    SWARM_LOG takes a filter for the log such as swarm_core=debug. `swarm help exit-codes` lists the exit codes.")]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Hash a file or folder, serve it to others and print its id
    Publish(Publish),
    /// Fetch content by id or link, from everybody who has some of it
    #[command(visible_aliases = ["download", "recv"])]
    Get(Get),
    /// Write a file to standard output while it is being fetched
    Cat(Cat),
    /// Keep content in the store and share it; with --blind what is encrypted, without being able to read it
    Hold(Hold),
    /// List the store, or the entries of a directory
    Ls(Ls),
    /// Show all that is known of one item
    Info(Item),
    /// Forget an item; files outside the store are left alone
    Rm(Item),
    /// Read everything (or one item) again and compare it with its hashes
    Verify(Verify),
    /// Delete what nothing refers to
    Gc(Gc),
    /// Show the node at a glance
    Status(Status),
    /// Say who may fetch an item
    Allow(Allow),
    /// Say why a download waits or is slow, and what every way of finding holders found
    Why(Item),
    /// List the peers it is connected to and those it has banned
    Peers,
    /// Private networks: found one, invite others, join, expel
    Office {
        #[command(subcommand)]
        what: Option<office::Office>,
    },
    /// Run a node until it is stopped
    Daemon(Daemon),
    /// Watch the real thing for a minute: one publisher and five getters on this machine
    Demo(Demo),
    /// Show the settings and where they come from
    Config {
        #[command(subcommand)]
        what: Config,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Explain a command, or the exit codes: `swarm help exit-codes`
    Help {
        /// A command, or exit-codes
        topic: Option<String>,
    },
}

/// See [`Verb::Publish`].
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// A file or folder; - reads standard input
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Offer it under this name [default: the last part of the path]
    #[arg(long, env = "SWARM_NAME", value_name = "N")]
    pub(crate) name: Option<String>,
    /// Take a copy into the store instead of serving the file where it is
    #[arg(long, env = "SWARM_COPY", value_parser = BoolishValueParser::new())]
    pub(crate) copy: bool,
    /// Print the link, with addresses of this node, instead of the id
    #[arg(long, env = "SWARM_LINK", value_parser = BoolishValueParser::new())]
    pub(crate) link: bool,
    /// The same file is at this http:// or https:// address: the link names it, and who finds a chunk nowhere else reads it
    /// there; may be repeated
    #[arg(long, env = "SWARM_WEBSEED", value_name = "URL", value_delimiter = ',', value_hint = ValueHint::Url)]
    pub(crate) webseed: Vec<String>,
    /// Write the hash list to this file: as FILE.swarm beside the file on the web server it lets others begin without this node
    #[arg(long, env = "SWARM_HASH_LIST", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) hash_list: Option<PathBuf>,
    /// Encrypt it: only the link, which is printed in place of the id, opens it. Others may hold it and pass it on without
    /// knowing what it is
    #[arg(long, env = "SWARM_ENCRYPT", value_parser = BoolishValueParser::new())]
    pub(crate) encrypt: bool,
    /// Encrypt it, and let the link ask for a password, from --password-file, SWARM_PASSWORD or the terminal
    #[arg(long)]
    pub(crate) password: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Of an office, only for this member (its name, or the first characters of its key); may be repeated
    #[arg(long, env = "SWARM_TO", value_name = "NODE")]
    pub(crate) to: Vec<String>,
    /// In the network of all nodes, although this node is of an office
    #[arg(long, env = "SWARM_PUBLIC", value_parser = BoolishValueParser::new())]
    pub(crate) public: bool,
    /// Allow names that Windows and macOS cannot store
    #[arg(long, env = "SWARM_UNIX_NAMES", value_parser = BoolishValueParser::new())]
    pub(crate) unix_names: bool,
    /// Leave out folders that are homes of swarms, with secret keys in them; each is named
    #[arg(long, env = "SWARM_SKIP_HOMES", value_parser = BoolishValueParser::new())]
    pub(crate) skip_homes: bool,
    /// Keep relative symbolic links that stay inside the folder
    #[arg(long, env = "SWARM_SYMLINKS", value_parser = BoolishValueParser::new())]
    pub(crate) symlinks: bool,
}

// Where passwords come from; the arguments of a program are for all to see. No doc comment: it would become the help.
#[derive(Debug, Default, Args)]
pub(crate) struct Secret {
    /// Read the password of a link from this file; without, from SWARM_PASSWORD or the terminal
    #[arg(long, env = "SWARM_PASSWORD_FILE", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) password_file: Option<PathBuf>,
}

/// See [`Verb::Hold`].
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// Id, link, or - to read it from standard input
    #[arg(value_name = "ID|LINK")]
    pub(crate) target: String,
    /// As it is encrypted: a key in the link is left alone
    #[arg(long, env = "SWARM_BLIND", value_parser = BoolishValueParser::new())]
    pub(crate) blind: bool,
    /// In the network of all nodes, although this node is of an office
    #[arg(long, env = "SWARM_PUBLIC", value_parser = BoolishValueParser::new())]
    pub(crate) public: bool,
    /// Give up after this long: 30s, 5m, 1h30m [default: never]
    #[arg(long, env = "SWARM_TIMEOUT", value_name = "DUR", value_parser = size::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// See [`Verb::Cat`].
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Id, link, or the first digits of an id this node knows; - reads it from standard input
    #[arg(value_name = "ID")]
    pub(crate) target: String,
    /// In the network of all nodes, although this node is of an office
    #[arg(long, env = "SWARM_PUBLIC", value_parser = BoolishValueParser::new())]
    pub(crate) public: bool,
    /// Give up after this long: 30s, 5m, 1h30m [default: never]
    #[arg(long, env = "SWARM_TIMEOUT", value_name = "DUR", value_parser = size::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// See [`Verb::Ls`].
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// A directory whose entries to list; the store's items without
    pub(crate) id: Option<String>,
}

/// One item of the store.
#[derive(Debug, Args)]
pub(crate) struct Item {
    /// Id, its first digits, or a link
    pub(crate) id: String,
}

/// See [`Verb::Allow`].
#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// Id, its first digits, or a link
    pub(crate) id: String,
    /// nobody, lan, office, anyone, or default: whom the node says for all of which nothing was said
    #[arg(value_parser = who)]
    pub(crate) who: Who,
}

/// Whom somebody may be allowed to be; none is the default.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who(pub(crate) Option<Audience>);

fn who(text: &str) -> Result<Who, String> {
    match text {
        "default" => Ok(Who(None)),
        text => {
            text.parse().map(|audience| Who(Some(audience))).map_err(|error| format!("{error}, or default"))
        }
    }
}

/// See [`Verb::Verify`].
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The item; everything without
    pub(crate) id: Option<String>,
    /// Fetch bad parts again from peers
    #[arg(long, env = "SWARM_REPAIR", value_parser = BoolishValueParser::new())]
    pub(crate) repair: bool,
}

/// See [`Verb::Gc`].
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would go
    #[arg(long, env = "SWARM_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,
}

/// See [`Verb::Status`].
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Say why this download waits or is slow, as `swarm why` does
    #[arg(long, env = "SWARM_WHY", value_name = "ID")]
    pub(crate) why: Option<String>,
}

/// See [`Verb::Daemon`].
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Be a tracker as well, on port 4770: a meeting point for nodes of other networks
    #[arg(long, env = "SWARM_TRACKER_SERVER", value_parser = BoolishValueParser::new())]
    pub(crate) tracker_server: bool,
    /// Be a relay: others that cannot reach each other find a direct way through this node, which all of them must reach
    #[arg(long, env = "SWARM_RELAY_SERVER", value_parser = BoolishValueParser::new())]
    pub(crate) relay_server: bool,
    /// Be a server of the DHT at once, on port 4772 if that is free: one that others can begin with
    #[arg(long, env = "SWARM_DHT_SERVER", value_parser = BoolishValueParser::new())]
    pub(crate) dht_server: bool,
    /// Join an office with this invitation, or the one in this file, unless this node is of it already
    #[arg(long, env = "SWARM_JOIN", value_name = "CODE|FILE")]
    pub(crate) join: Option<String>,
    /// With --join: what this node is to be called [default: the name of the machine]
    #[arg(long = "as", env = "SWARM_AS", value_name = "NAME")]
    pub(crate) node: Option<String>,
}

/// See [`Verb::Demo`].
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The file to spread [default: 64 MiB made up on the spot]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

/// See [`Verb::Config`].
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the settings that are in force, as a configuration file
    Show {
        /// Say where each comes from
        #[arg(long, env = "SWARM_ORIGIN", value_parser = BoolishValueParser::new())]
        origin: bool,
    },
}

// Flags of every command, taken before and after the verb. No doc comment: it would become the help of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// The store's folder [default: swarm in your data folder]
    #[arg(long, env = "SWARM_HOME", value_name = "DIR", value_hint = ValueHint::DirPath)]
    home: Option<PathBuf>,
    /// Listen here; may be repeated [default: every interface, any port]
    #[arg(long, env = "SWARM_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    listen: Vec<String>,
    /// Connect to this peer; may be repeated
    #[arg(long, env = "SWARM_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    peer: Vec<String>,
    /// Announce to this tracker and ask it who has what is wanted; may be repeated. Links carry it
    #[arg(long, env = "SWARM_TRACKER", value_name = "MULTIADDR", value_delimiter = ',')]
    tracker: Vec<String>,
    /// Find others through the DHT, beginning with this server of it; may be repeated. Links carry it, and peers tell of
    /// themselves
    #[arg(long, env = "SWARM_DHT", value_name = "MULTIADDR", value_delimiter = ',')]
    dht: Vec<String>,
    /// Use no DHT
    #[arg(long, env = "SWARM_NO_DHT", value_parser = BoolishValueParser::new())]
    no_dht: bool,
    /// Others reach this node at this address, which it cannot see itself: a router passes it on; may be repeated
    #[arg(long, env = "SWARM_EXTERNAL", value_name = "MULTIADDR", value_delimiter = ',')]
    external: Vec<String>,
    /// Ask the router to let others in (UPnP); given back at the end
    #[arg(long, env = "SWARM_UPNP", value_parser = BoolishValueParser::new())]
    upnp: bool,
    /// Let others find a way here through this relay; trackers are relays as well; may be repeated
    #[arg(long, env = "SWARM_RELAY", value_name = "MULTIADDR", value_delimiter = ',')]
    relay: Vec<String>,
    /// Fetch through relays where no direct way is found
    #[arg(long, env = "SWARM_ALLOW_RELAYED", value_parser = BoolishValueParser::new())]
    allow_relayed: bool,
    /// Who may fetch: nobody, lan (this machine and the local network), office (the members of the office that it is of) or
    /// anyone. With publish, get and hold it is said of that content; else of all of which nothing was said [default: lan, and
    /// office once this node is of one]
    #[arg(long, env = "SWARM_SERVE", value_name = "WHO")]
    serve: Option<Audience>,
    /// The office that is meant, by its name or the first digits of its id, where this node is of several
    #[arg(long, env = "SWARM_OFFICE", value_name = "NAME")]
    office: Option<String>,
    /// Let links lead to web servers of private networks
    #[arg(long, env = "SWARM_PRIVATE_WEBSEEDS", value_parser = BoolishValueParser::new())]
    private_webseeds: bool,
    /// Do not look for nodes on the local network
    #[arg(long, env = "SWARM_NO_MDNS", value_parser = BoolishValueParser::new())]
    no_mdns: bool,
    /// The site this machine belongs to, where a site is more than one subnet: its machines fetch from each other first, and
    /// each byte from outside once
    #[arg(long, env = "SWARM_SITE", value_name = "NAME")]
    site: Option<String>,
    /// Send at most this per second: 5M, 5MB/s, 100Mbit, none; bytes unless it says bits
    #[arg(long, env = "SWARM_LIMIT_UP", value_name = "RATE")]
    limit_up: Option<Rate>,
    /// Receive at most this per second
    #[arg(long, env = "SWARM_LIMIT_DOWN", value_name = "RATE")]
    limit_down: Option<Rate>,
    /// Limits by day and hour, local time: 'mon-fri 08:00-18:00 up=1M; else unlimited'; the first rule that fits counts, and
    /// what it does not mention stays as --limit-up and --limit-down say
    #[arg(long, env = "SWARM_SCHEDULE", value_name = "RULES")]
    schedule: Option<Schedule>,
    /// Let everything else go first: lowest CPU and disk priority, and back off as soon as the network gets busy
    #[arg(long, env = "SWARM_BACKGROUND", value_parser = BoolishValueParser::new())]
    background: bool,
    /// Do not count this machine's and the local network's peers against the two limits
    #[arg(long, env = "SWARM_NO_LIMIT_LAN", value_parser = BoolishValueParser::new())]
    no_limit_lan: bool,
    /// Keep at most this in the store, files served in place not counted: 20G
    #[arg(long, env = "SWARM_MAX_STORE", value_name = "SIZE")]
    max_store: Option<Size>,
    /// Change nothing in the store: fetch nothing, serve what is whole
    #[arg(long, env = "SWARM_READ_ONLY", value_parser = BoolishValueParser::new())]
    read_only: bool,
    /// Print JSON, one object a line (for cat and -o - on standard error)
    #[arg(long, env = "SWARM_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    /// Print results, warnings and errors only
    #[arg(short, long, env = "SWARM_QUIET", value_parser = BoolishValueParser::new())]
    quiet: bool,
    /// Log more; twice for more still
    #[arg(short, long, env = "SWARM_VERBOSE", action = ArgAction::Count)]
    verbose: u8,
    /// Show no progress
    #[arg(long, env = "SWARM_NO_PROGRESS", value_parser = BoolishValueParser::new())]
    no_progress: bool,
    /// Log from this level on: off, error, warn, info, debug, trace
    #[arg(long, env = "SWARM_LOG_LEVEL", value_name = "LEVEL", value_enum, hide_possible_values = true)]
    log_level: Option<Level>,
}

impl ValueEnum for Level {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
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
    /// What to do.
    pub(crate) verb: Verb,
    /// What the environment says.
    pub(crate) environment: Layer,
    /// What the flags say.
    pub(crate) flags: Layer,
}

/// The command line could not be read, or asked for help or the version.
#[derive(Debug)]
pub(crate) struct NotParsed {
    /// The text to show, without and with colours.
    pub(crate) text: [String; 2],
    /// True when it was help that was asked for.
    pub(crate) wanted: bool,
    /// JSON was asked for as well.
    pub(crate) json: bool,
}

/// The whole command. Each (sub)command has the global flags as its own: clap's `global` forgets the values before the
/// verb of a flag that is repeated after it.
fn command() -> Command {
    fn with_globals(command: Command) -> Command {
        let command = Globals::augment_args(command.mut_subcommands(with_globals));
        command.mut_args(|arg| arg.hide_env_values(true))
    }
    with_globals(Line::command()).max_term_width(100)
}

/// Reads the command line.
///
/// # Errors
/// What to show instead, when it is wrong or asks for help.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, NotParsed> {
    let args: Vec<_> = args.into_iter().collect();
    let not_parsed = |error: clap::Error| {
        let text = error.render();
        NotParsed {
            text: [text.to_string(), text.ansi().to_string()],
            wanted: !error.use_stderr(),
            json: args.iter().any(|arg| arg == "--json"),
        }
    };
    let matches = command().try_get_matches_from(&args).map_err(not_parsed)?;
    let line = Line::from_arg_matches(&matches).map_err(not_parsed)?;
    let mut levels = vec![&matches];
    while let Some((_, inner)) = levels.last().and_then(|level| level.subcommand()) {
        levels.push(inner);
    }
    let flags =
        levels.iter().map(|level| layer(level, ValueSource::CommandLine)).reduce(join).unwrap_or_default();
    Ok(Parsed { verb: line.verb, environment: layer(&matches, ValueSource::EnvVariable), flags })
}

/// What this source says at this level.
fn layer(matches: &ArgMatches, source: ValueSource) -> Layer {
    fn one<T: Clone + Send + Sync + 'static>(
        matches: &ArgMatches,
        id: &str,
        source: ValueSource,
    ) -> Option<T> {
        let here = matches.value_source(id) == Some(source);
        here.then(|| matches.get_one::<T>(id).cloned()).flatten()
    }
    fn many(matches: &ArgMatches, id: &str, source: ValueSource) -> Option<Vec<String>> {
        let here = matches.value_source(id) == Some(source);
        here.then(|| matches.get_many::<String>(id).map(|values| values.cloned().collect())).flatten()
    }
    Layer {
        home: one(matches, "home", source),
        listen: many(matches, "listen", source),
        peer: many(matches, "peer", source),
        tracker: many(matches, "tracker", source),
        dht: many(matches, "dht", source),
        no_dht: one(matches, "no_dht", source),
        external: many(matches, "external", source),
        upnp: one(matches, "upnp", source),
        relay: many(matches, "relay", source),
        allow_relayed: one(matches, "allow_relayed", source),
        serve: one(matches, "serve", source),
        office: one(matches, "office", source),
        private_webseeds: one(matches, "private_webseeds", source),
        no_mdns: one(matches, "no_mdns", source),
        site: one(matches, "site", source),
        limit_up: one(matches, "limit_up", source),
        limit_down: one(matches, "limit_down", source),
        schedule: one(matches, "schedule", source),
        background: one(matches, "background", source),
        no_limit_lan: one(matches, "no_limit_lan", source),
        max_store: one(matches, "max_store", source),
        read_only: one(matches, "read_only", source),
        json: one(matches, "json", source),
        quiet: one(matches, "quiet", source),
        verbose: one(matches, "verbose", source),
        no_progress: one(matches, "no_progress", source),
        log_level: one(matches, "log_level", source),
    }
}

/// The flags before and after a verb together: lists and counts add up, else the later one counts.
fn join(before: Layer, after: Layer) -> Layer {
    let lists = |before: Option<Vec<String>>, after: Option<Vec<String>>| match (before, after) {
        (Some(before), Some(after)) => Some([before, after].concat()),
        (before, after) => after.or(before),
    };
    Layer {
        home: after.home.or(before.home),
        listen: lists(before.listen, after.listen),
        peer: lists(before.peer, after.peer),
        tracker: lists(before.tracker, after.tracker),
        dht: lists(before.dht, after.dht),
        no_dht: after.no_dht.or(before.no_dht),
        external: lists(before.external, after.external),
        upnp: after.upnp.or(before.upnp),
        relay: lists(before.relay, after.relay),
        allow_relayed: after.allow_relayed.or(before.allow_relayed),
        serve: after.serve.or(before.serve),
        office: after.office.or(before.office),
        private_webseeds: after.private_webseeds.or(before.private_webseeds),
        no_mdns: after.no_mdns.or(before.no_mdns),
        site: after.site.or(before.site),
        limit_up: after.limit_up.or(before.limit_up),
        limit_down: after.limit_down.or(before.limit_down),
        schedule: after.schedule.or(before.schedule),
        background: after.background.or(before.background),
        no_limit_lan: after.no_limit_lan.or(before.no_limit_lan),
        max_store: after.max_store.or(before.max_store),
        read_only: after.read_only.or(before.read_only),
        json: after.json.or(before.json),
        quiet: after.quiet.or(before.quiet),
        verbose: match (before.verbose, after.verbose) {
            (Some(before), Some(after)) => Some(before.saturating_add(after)),
            (before, after) => after.or(before),
        },
        no_progress: after.no_progress.or(before.no_progress),
        log_level: after.log_level.or(before.log_level),
    }
}

/// The completion script for a shell.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "swarm", &mut script);
    script
}

/// The help of a command (of all without), without and with colours; `None` when there is no such command.
pub(crate) fn help(topic: Option<&str>) -> Option<[String; 2]> {
    let mut whole = command();
    whole.build();
    let found = match topic {
        Some(topic) => whole.find_subcommand_mut(topic)?,
        None => &mut whole,
    };
    let text = found.render_help();
    Some([text.to_string(), text.ansi().to_string()])
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
