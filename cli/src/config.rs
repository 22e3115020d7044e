//! Settings and where each came from: defaults < system file < user file < environment < flag.
//!
//! The keys of a file are the names of the global flags: `limit-up = "5MB/s"`, `peer = ["/ip4/.."]`, `no-mdns = true`.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use swarm_core::node::command::Network;
use swarm_core::options::{Audience, Options};

use crate::exit::{Code, Failed};
use crate::size::{Rate, Size};
use crate::timetable::Schedule;

const SYSTEM_FILE: &str = "/etc/swarm/config.toml";

/// How much the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// And what may go wrong.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As it is written in flags and files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built in.
    Default,
    /// This file.
    File(PathBuf),
    /// The environment variable of the flag.
    Environment,
    /// The command line.
    Flag,
}

impl Origin {
    /// As `config show --origin` says it for the setting called `key`.
    fn text(&self, key: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Environment => format!("environment SWARM_{}", key.to_uppercase().replace('-', "_")),
            Self::Flag => format!("flag --{key}"),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set<T> {
    /// The value that counts.
    pub(crate) value: T,
    /// Who said so.
    pub(crate) origin: Origin,
}

macro_rules! settings {
    ($( $(#[$doc:meta])* $field:ident $key:literal: $type:ty = $default:expr; )*) => {
        /// What one source (a file, the environment, the flags) says: only what it mentions.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct Layer {
            $( $(#[$doc])* pub(crate) $field: Option<$type>, )*
        }

        /// Everything that can be set for all commands, with origins.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct Settings {
            $( $(#[$doc])* pub(crate) $field: Set<$type>, )*
            /// Who may fetch what nothing was said of, when the flag is about one content.
            serve_otherwise: Set<Audience>,
        }

        impl Settings {
            fn defaults() -> Self {
                Self {
                    $( $field: Set { value: $default, origin: Origin::Default }, )*
                    serve_otherwise: Set { value: Audience::default(), origin: Origin::Default },
                }
            }

            fn put(&mut self, layer: Layer, origin: &Origin) {
                $( if let Some(value) = layer.$field {
                    self.$field = Set { value, origin: origin.clone() };
                } )*
            }

            /// Name, value and origin of each setting, in a fixed order.
            pub(crate) fn list(&self) -> Vec<Shown> {
                vec![ $( Shown::new($key, &self.$field), )* ]
            }
        }
    };
}

settings! {
    /// The store's folder.
    home "home": PathBuf = PathBuf::new();
    /// Addresses to listen on.
    listen "listen": Vec<String> = Vec::new();
    /// Addresses to dial.
    peer "peer": Vec<String> = Vec::new();
    /// Trackers.
    tracker "tracker": Vec<String> = Vec::new();
    /// Servers of the DHT.
    dht "dht": Vec<String> = Vec::new();
    /// No DHT.
    no_dht "no-dht": bool = false;
    /// Addresses at which others reach us.
    external "external": Vec<String> = Vec::new();
    /// The router is asked to let others in.
    upnp "upnp": bool = false;
    /// Relays.
    relay "relay": Vec<String> = Vec::new();
    /// Content may come through relays.
    allow_relayed "allow-relayed": bool = false;
    /// Who may fetch.
    serve "serve": Audience = Audience::default();
    /// The office that is meant.
    office "office": String = String::new();
    /// Links may lead to web servers of private networks.
    private_webseeds "private-webseeds": bool = false;
    /// No multicast DNS.
    no_mdns "no-mdns": bool = false;
    /// The name of the site.
    site "site": String = String::new();
    /// Bytes per second sent.
    limit_up "limit-up": Rate = Rate(None);
    /// Bytes per second received.
    limit_down "limit-down": Rate = Rate(None);
    /// Limits by day and hour.
    schedule "schedule": Schedule = Schedule::default();
    /// Everything else goes first.
    background "background": bool = false;
    /// Peers of the local network are not limited.
    no_limit_lan "no-limit-lan": bool = false;
    /// Bytes the store may hold.
    max_store "max-store": Size = Size(None);
    /// Change nothing in the store.
    read_only "read-only": bool = false;
    /// JSON on standard output.
    json "json": bool = false;
    /// No talk.
    quiet "quiet": bool = false;
    /// More log.
    verbose "verbose": u8 = 0;
    /// No progress display.
    no_progress "no-progress": bool = false;
    /// How much the log says.
    log_level "log-level": Level = Level::Error;
}

impl Settings {
    /// Lays the files, the environment and the flags over the defaults.
    ///
    /// # Errors
    /// A file that cannot be read or has an unknown key or a bad value; no home to be found.
    pub(crate) fn load(environment: Layer, flags: Layer) -> Result<Self, Failed> {
        let dirs = etcetera::choose_base_strategy().ok();
        let user_file = dirs.as_ref().map(|dirs| dirs.config_dir().join("swarm/config.toml"));
        let default_home = dirs.map(|dirs| dirs.data_dir().join("swarm"));
        let files = std::iter::once(PathBuf::from(SYSTEM_FILE)).chain(user_file);
        let mut settings = Self::stack(default_home, files, environment, flags)?;
        let home = &settings.home.value;
        if home.as_os_str().is_empty() {
            let failed = Failed::new(Code::User, "cannot tell where your data folder is: HOME is not set");
            return Err(failed.hint("name a folder for the store with --home DIR or SWARM_HOME"));
        }
        settings.home.value = std::path::absolute(home).map_err(|error| Failed::io("find", home, &error))?;
        Ok(settings)
    }

    fn stack(
        default_home: Option<PathBuf>,
        files: impl Iterator<Item = PathBuf>,
        environment: Layer,
        flags: Layer,
    ) -> Result<Self, Failed> {
        let mut settings = Self::defaults();
        settings.put(Layer { home: default_home, ..Layer::default() }, &Origin::Default);
        for path in files {
            if let Some(layer) = Layer::from_file(&path)? {
                settings.put(layer, &Origin::File(path));
            }
        }
        settings.put(environment, &Origin::Environment);
        settings.serve_otherwise = settings.serve.clone();
        settings.put(flags, &Origin::Flag);
        Ok(settings)
    }

    /// What the node is told.
    pub(crate) fn options(&self) -> Options {
        Options {
            listen: self.listen.value.clone(),
            peers: self.peer.value.clone(),
            trackers: self.tracker.value.clone(),
            dht: !self.no_dht.value,
            dht_servers: self.dht.value.clone(),
            external: self.external.value.clone(),
            upnp: self.upnp.value,
            relays: self.relay.value.clone(),
            allow_relayed: self.allow_relayed.value,
            audience: said(&self.serve),
            office: self.office(),
            private_webseeds: self.private_webseeds.value,
            mdns: !self.no_mdns.value,
            site: Some(self.site.value.clone()).filter(|site| !site.is_empty()),
            limit_up: self.limit_up.value.0,
            limit_down: self.limit_down.value.0,
            timetable: self.schedule.value.table.clone(),
            background: self.background.value,
            limit_lan: !self.no_limit_lan.value,
            max_store: self.max_store.value.0,
            read_only: self.read_only.value,
            ..Options::new(self.home.value.clone())
        }
    }

    /// Who may fetch what this command is about, if its flag says so.
    pub(crate) fn said_of_content(&self) -> Option<Audience> {
        (self.serve.origin == Origin::Flag).then_some(self.serve.value)
    }

    /// What the node is told by a command about one content: the flag is not about all others.
    pub(crate) fn for_content(&self, options: Options) -> Options {
        match self.said_of_content() {
            Some(_) => Options { audience: said(&self.serve_otherwise), ..options },
            None => options,
        }
    }

    /// The office that is meant, if that is said.
    pub(crate) fn office(&self) -> Option<String> {
        Some(self.office.value.clone()).filter(|name| !name.is_empty())
    }

    /// Where something is offered, or looked for.
    pub(crate) fn network(&self, public: bool) -> Network {
        match (public, &self.office.origin) {
            (true, _) => Network::Public,
            // In a file it says which of several; here it says that it is to be an office.
            (false, Origin::Flag) => Network::Office(self.office.value.clone()),
            (false, _) => Network::Usual,
        }
    }

    /// What the node is told when it stays.
    pub(crate) fn resident(&self) -> Options {
        Options { resident: true, ..self.options() }
    }

    /// What the node is told when the command only looks at the store.
    pub(crate) fn offline(&self) -> Options {
        Options { offline: true, ..self.options() }
    }
}

/// What was said, if anything was.
fn said(serve: &Set<Audience>) -> Option<Audience> {
    (serve.origin != Origin::Default).then_some(serve.value)
}

impl Layer {
    /// What a file says; `None` when there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or holds something that is no setting: the message names file and key.
    fn from_file(path: &Path) -> Result<Option<Self>, Failed> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failed { code: Code::User, ..Failed::io("read", path, &error) }),
        };
        let mut layer: Self = toml::from_str(&text).map_err(|error| bad_file(path, &text, &error))?;
        layer.home = layer.home.map(|home| resolve(path, &home));
        Ok(Some(layer))
    }
}

/// Names the file, the line and the key.
fn bad_file(path: &Path, text: &str, error: &toml::de::Error) -> Failed {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
    let line = before.matches('\n').count() + 1;
    let line_text =
        before.rsplit('\n').next().unwrap_or_default().to_owned() + after.lines().next().unwrap_or_default();
    let key = line_text.split_once('=').map(|(key, _)| format!(", key `{}`", key.trim())).unwrap_or_default();
    let why = error.message().replace('\n', ", ");
    let path = path.display();
    Failed::new(Code::User, format!("configuration file {path}, line {line}{key}: {why}"))
        .hint(format!("edit {path}"))
}

/// In a file, `~/` is the user's folder, and another relative path starts where the file is.
fn resolve(file: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), etcetera::home_dir()) {
        (Ok(rest), Ok(home)) => home.join(rest),
        _ => file.parent().unwrap_or(Path::new("/")).join(path),
    }
}

/// One setting as `config show` shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    /// The key of a file and name of the flag.
    pub(crate) key: &'static str,
    /// Its value, as a file would have it.
    pub(crate) value: serde_json::Value,
    /// Who said so.
    pub(crate) origin: String,
}

impl Shown {
    fn new<T: Serialize + std::fmt::Debug>(key: &'static str, set: &Set<T>) -> Self {
        // Only a path that is not UTF-8 has no value there.
        let value = serde_json::to_value(&set.value).unwrap_or_else(|_| format!("{:?}", set.value).into());
        Self { key, value, origin: set.origin.text(key) }
    }

    /// As a line of a configuration file. JSON's texts, numbers and lists of texts are TOML's too.
    pub(crate) fn toml(&self) -> String {
        format!("{} = {}", self.key, self.value)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
