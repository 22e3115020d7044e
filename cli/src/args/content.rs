//! Arguments of the commands that share and fetch.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use swarm_core::options::Audience;

use super::secret::Secret;
use crate::size;

/// Arguments of `publish`.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// File or folder to share, or - for standard input
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Name to offer it under [default: its file name]
    #[arg(long, value_name = "N")]
    pub(crate) name: Option<String>,
    /// Copy it into the store, do not share it in place
    #[arg(long)]
    pub(crate) copy: bool,
    /// Print a link with addresses of this node
    #[arg(long)]
    pub(crate) link: bool,
    /// Web address of the same file; may be repeated
    ///
    /// The link names the address, http:// or https://. Chunks that no peer has are read from there.
    #[arg(long, value_name = "URL", value_delimiter = ',', value_hint = ValueHint::Url)]
    pub(crate) webseed: Vec<String>,
    /// Write the hash list to this file
    ///
    /// Put it beside the file on the web server, as FILE.swarm: others can then begin without this node.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub(crate) hash_list: Option<PathBuf>,
    /// Encrypt it; only the printed link decrypts it
    ///
    /// Other nodes can hold it and pass it on without learning what it is.
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// Encrypt it, and protect the link with a password
    ///
    /// The password is read from --password-file or SWARM_PASSWORD, or asked for.
    #[arg(long)]
    pub(crate) password: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Only for this office member; may be repeated
    ///
    /// A member is given by its name or the first characters of its key.
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Vec<String>,
    /// Publish to the public network, not the office
    #[arg(long)]
    pub(crate) public: bool,
    /// Allow names that Windows and macOS cannot store
    #[arg(long, hide_short_help = true)]
    pub(crate) unix_names: bool,
    /// Leave out folders that are stores of swarm
    ///
    /// A store holds secret keys. Without this flag, a folder with a store in it is refused. Each folder that
    /// is left out is named.
    #[arg(long, hide_short_help = true)]
    pub(crate) skip_homes: bool,
    /// Keep relative symbolic links inside the folder
    #[arg(long)]
    pub(crate) symlinks: bool,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Ids or links; - reads them from standard input
    ///
    /// Of an id that this node knows, the first digits are enough. On standard input, each line is one.
    #[arg(required = true, value_name = "ID|LINK")]
    pub(crate) targets: Vec<String>,
    /// Destination file or folder; - is standard output
    ///
    /// [default: the name it was published under, in the current folder]
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace existing files (resuming needs no flag)
    ///
    /// Of a directory, only files with the same names are replaced; all others in the folder stay.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Delete files that the new version no longer has
    ///
    /// Of a directory, this deletes only files that swarm put there for an earlier version and that nobody
    /// has changed since. Each deleted file is named.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Fetch a directory to exactly PATH, not into it
    ///
    /// Without this flag, a directory goes into PATH under its own name if PATH is an existing folder.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Keep sharing it afterwards, until stopped
    #[arg(long)]
    pub(crate) seed: bool,
    /// Leave it to the daemon, and return at once
    ///
    /// The daemon goes on until it has everything, after a restart too. `swarm status` lists such downloads,
    /// and `swarm stop` ends one. If no daemon runs, the next one begins.
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) detach: bool,
    /// Give up after this time: 30s, 5m, 1h30m
    ///
    /// [default: never]
    #[arg(long, value_name = "DUR", value_parser = size::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Of a directory, fetch only matching paths
    ///
    /// May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Of a directory, skip matching paths
    ///
    /// May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Fetch from the public network, not the office
    #[arg(long)]
    pub(crate) public: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

impl Get {
    /// Tells whether it goes to standard output.
    pub(crate) fn to_stdout(&self) -> bool {
        self.output.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }
}

/// Arguments of `hold`.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// Id or link, or - to read it from standard input
    #[arg(value_name = "ID|LINK")]
    pub(crate) target: String,
    /// Hold the encrypted form; ignore a key in the link
    #[arg(long)]
    pub(crate) blind: bool,
    /// Fetch from the public network, not the office
    #[arg(long)]
    pub(crate) public: bool,
    /// Give up after this time: 30s, 5m, 1h30m
    ///
    /// [default: never]
    #[arg(long, value_name = "DUR", value_parser = size::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// Arguments of `cat`.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Id or link, or - to read it from standard input
    ///
    /// Of an id that this node knows, the first digits are enough.
    #[arg(value_name = "ID")]
    pub(crate) target: String,
    /// Fetch from the public network, not the office
    #[arg(long)]
    pub(crate) public: bool,
    /// Give up after this time: 30s, 5m, 1h30m
    ///
    /// [default: never]
    #[arg(long, value_name = "DUR", value_parser = size::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) secret: Secret,
}

/// Arguments of `allow`.
#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// Id, its first digits, or a link
    pub(crate) id: String,
    /// nobody, lan, office, anyone, or default
    ///
    /// lan: this machine and the local network. office: members of the office that the item belongs to.
    /// anyone: everyone who has the id. default: the node's own setting (--serve).
    #[arg(value_parser = who(), hide_possible_values = true)]
    pub(crate) who: Who,
}

/// An audience; `None` is the node's own setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who(pub(crate) Option<Audience>);

/// Reads an audience or `default`; completions offer the words.
fn who() -> impl TypedValueParser<Value = Who> {
    let words = Audience::ALL.map(Audience::name).into_iter().chain(["default"]);
    PossibleValuesParser::new(words.map(PossibleValue::new)).map(|word| Who(word.parse().ok()))
}
