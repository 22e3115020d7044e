//! Settings of all commands, in one table. The flags with their help and environment variables, the keys of
//! configuration files, and the node's options are all made from it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use swarm_core::api::command::Network;
use swarm_core::options::{Audience, Options};

use crate::size::{Rate, Size};
use crate::timetable::Schedule;

/// Hands the table to another macro. A row is
///
/// ```text
/// /// Help: a short paragraph, and after an empty line a longer one for --help
/// name ['s']: Type, "VALUE" = default, |options, value| options.field = value;
/// ```
///
/// with an optional letter as a short flag, the name of the value in the help, and what the node is told. The
/// flag is `--name`, the variable `SWARM_NAME`, the key of a file `name`, with `-` for `_`.
macro_rules! all_settings {
    ($then:ident) => {
        $then! {
            "Store options" {
                /// Folder of the store [default: swarm in your data folder]
                home: PathBuf, "DIR" = PathBuf::new();
                /// Largest size of the store: 20G
                ///
                /// Files that are shared in place do not count. To make room, the oldest complete items are
                /// deleted from the store.
                max_store: Size, "SIZE" = Size(None), |options, value| options.max_store = value.0;
                /// Change nothing in the store
                ///
                /// Nothing is fetched, and only complete items are served.
                read_only: bool = false, |options, value| options.read_only = value;
            }
            "Access options" {
                /// Audience: nobody, lan, office or anyone
                ///
                /// lan: this machine and the local network. office: members of the office that the item
                /// belongs to. anyone: everyone who has the id. With publish, get and hold this is for that
                /// item; otherwise it is the default for items without their own setting.
                ///
                /// [default: lan; in an office, all of its members and nobody else]
                serve: Audience, "WHO" = Audience::default();
                /// Office to use, if this node is in several
                ///
                /// An office is given by its name or the first digits of its id.
                office: String, "NAME" = String::new(), |options, value| options.office = named(value);
            }
            "Network options" {
                /// Port or address to listen on; may be repeated
                ///
                /// 4001 is that port on every interface, 192.168.1.20:4001 or a multiaddr only this address.
                ///
                /// [default: every interface, any port]
                listen: Vec<String>, "ADDR" = Vec::new(), |options, value| options.listen = value;
                /// Peer to connect to; may be repeated
                ///
                /// HOST:PORT, an IP address (port 4001), or a multiaddr such as /ip4/192.168.1.20/tcp/4001.
                peer: Vec<String>, "ADDR" = Vec::new(), |options, value| options.peers = value;
                /// Tracker to announce to and ask for sources; may be repeated
                ///
                /// Links that this node prints name its trackers.
                tracker: Vec<String>, "ADDR" = Vec::new(), |options, value| options.trackers = value;
                /// DHT server to start from; may be repeated
                ///
                /// Links that this node prints name its DHT servers, and peers tell each other about theirs.
                dht: Vec<String>, "ADDR" = Vec::new(), |options, value| options.dht_servers = value;
                /// Do not use the DHT
                no_dht: bool = false, |options, value| options.dht = !value;
                /// Do not look for nodes on the local network
                no_mdns: bool = false, |options, value| options.mdns = !value;
                /// Public address of this node, if a router forwards it
                ///
                /// May be repeated.
                external: Vec<String>, "ADDR" = Vec::new(), |options, value| options.external = value;
                /// Ask the router to forward a port (UPnP)
                ///
                /// The port is closed again when this node stops.
                upnp: bool = false, |options, value| options.upnp = value;
                /// Relay through which others can connect; may be repeated
                ///
                /// Trackers are relays too. A relay only helps to open a direct connection; see
                /// --allow-relayed.
                relay: Vec<String>, "ADDR" = Vec::new(), |options, value| options.relays = value;
                /// Fetch through a relay if no direct connection works
                allow_relayed: bool = false, |options, value| options.allow_relayed = value;
                /// Allow web seeds at private addresses
                ///
                /// Without this flag a link cannot make this node call web servers of its own network.
                private_webseeds: bool = false, |options, value| options.private_webseeds = value;
                /// Name of this machine's site, if it spans several subnets
                ///
                /// Machines of a site prefer each other, so data from outside comes in about once. Without a
                /// name, a site is a subnet.
                site: String, "NAME" = String::new(), |options, value| options.site = named(value);
            }
            "Limits" {
                /// Most to send per second: 5M, 5MB/s, 100Mbit, none
                ///
                /// 5M and 5MiB are 5 * 1024 * 1024 bytes, 5MB is 5,000,000 bytes, 100Mbit is 100,000,000
                /// bits.
                limit_up: Rate, "RATE" = Rate(None), |options, value| options.limit_up = value.0;
                /// Most to receive per second
                limit_down: Rate, "RATE" = Rate(None), |options, value| options.limit_down = value.0;
                /// Limits by weekday and local time
                ///
                /// Example: 'mon-fri 08:00-18:00 up=1M; else unlimited'. The first matching rule applies;
                /// limits it does not mention come from --limit-up and --limit-down.
                schedule: Schedule, "RULES" = Schedule::default(), |options, value| options.timetable = value.table;
                /// Use only what is idle: network, disk and processor
                ///
                /// This process gets the lowest CPU and disk priority, and backs off as soon as the network
                /// gets busy.
                background: bool = false, |options, value| options.background = value;
                /// Do not limit traffic with the local network
                no_limit_lan: bool = false, |options, value| options.limit_lan = !value;
            }
            "Output options" {
                /// Print JSON, one object per line
                ///
                /// cat, and get with -o -, print it on standard error.
                json: bool = false;
                /// Print only results, warnings and errors
                quiet ['q']: bool = false;
                /// Log more; -vv for even more
                verbose ['v']: u8 = 0;
                /// Show no progress
                no_progress: bool = false;
                /// Lowest level to log: off, error, warn, info, debug, trace
                log_level: Level, "LEVEL" = Level::Error;
            }
        }
    };
}
pub(crate) use all_settings;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// Possible failures, too.
    Warn,
    /// Events, too.
    Info,
    /// Their reasons, too.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// All levels.
    pub(crate) const ALL: [Self; 6] =
        [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its name in flags and files.
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

/// Source of a setting.
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
    /// Its name in `config show --origin`, of the setting called `key`.
    fn text(&self, key: &str) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Environment => format!("environment {}", variable(key)),
            Self::Flag => format!("flag --{key}"),
        }
    }
}

/// The environment variable of a flag.
pub(crate) fn variable(flag: &str) -> String {
    format!("SWARM_{}", flag.to_uppercase().replace('-', "_"))
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set<T> {
    /// The value in force.
    pub(crate) value: T,
    /// The source of the value: a flag, a variable, a file, or the default.
    pub(crate) origin: Origin,
}

/// Joins a value that is given twice on one command line.
trait Combine: Sized {
    /// The later one counts, unless values add up.
    fn join(self, later: Self) -> Self {
        later
    }
}

impl Combine for Vec<String> {
    fn join(self, later: Self) -> Self {
        [self, later].concat()
    }
}

impl Combine for u8 {
    fn join(self, later: Self) -> Self {
        self.saturating_add(later)
    }
}

impl Combine for PathBuf {}
impl Combine for String {}
impl Combine for bool {}
impl Combine for Audience {}
impl Combine for Rate {}
impl Combine for Size {}
impl Combine for Schedule {}
impl Combine for Level {}

macro_rules! define {
    ($( $heading:literal { $(
        $(#[doc = $help:literal])+
        $field:ident $([$short:literal])?: $type:ty $(, $unit:literal)? = $default:expr
            $(, |$options:ident, $value:ident| $told:expr)?;
    )+ } )+) => {
        /// Settings of one source (a file, the environment, the flags): only those that it mentions.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct Layer {
            $($( $(#[doc = $help])+ pub(crate) $field: Option<$type>, )+)+
        }

        impl Layer {
            /// Flags before and after a verb together: lists and counts add up, otherwise the later one
            /// counts.
            pub(crate) fn join(self, later: Self) -> Self {
                Self {
                    $($( $field: match (self.$field, later.$field) {
                        (Some(before), Some(after)) => Some(before.join(after)),
                        (before, after) => after.or(before),
                    }, )+)+
                }
            }
        }

        /// All settings of all commands, with their origins.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct Settings {
            $($( $(#[doc = $help])+ pub(crate) $field: Set<$type>, )+)+
            /// The audience of items without their own, where `serve` is about one item.
            serve_otherwise: Set<Audience>,
        }

        impl Settings {
            /// The defaults.
            pub(crate) fn defaults() -> Self {
                Self {
                    $($( $field: Set { value: $default, origin: Origin::Default }, )+)+
                    serve_otherwise: Set { value: Audience::default(), origin: Origin::Default },
                }
            }

            /// Lays a layer over what is there.
            pub(crate) fn put(&mut self, layer: Layer, origin: &Origin) {
                if *origin == Origin::Flag {
                    self.serve_otherwise = self.serve.clone();
                }
                $($( if let Some(value) = layer.$field {
                    self.$field = Set { value, origin: origin.clone() };
                } )+)+
            }

            /// Name, value and origin of each setting, in the order of the table.
            pub(crate) fn list(&self) -> Vec<Shown> {
                vec![ $($( Shown::new(stringify!($field), &self.$field), )+)+ ]
            }

            /// The options of a node.
            pub(crate) fn options(&self) -> Options {
                let mut options = Options::new(self.home.value.clone());
                options.audience = given(&self.serve);
                $($($( {
                    let $options = &mut options;
                    let $value = self.$field.value.clone();
                    $told;
                } )?)+)+
                options
            }
        }
    };
}

all_settings!(define);

impl Layer {
    /// The lists of addresses, each with its key.
    pub(crate) fn addresses(&mut self) -> [(&'static str, &mut Option<Vec<String>>); 6] {
        [
            ("listen", &mut self.listen),
            ("peer", &mut self.peer),
            ("tracker", &mut self.tracker),
            ("dht", &mut self.dht),
            ("external", &mut self.external),
            ("relay", &mut self.relay),
        ]
    }
}

impl Settings {
    /// The audience of the item that this command is about, if its flag gives one.
    pub(crate) fn audience_of_item(&self) -> Option<Audience> {
        (self.serve.origin == Origin::Flag).then_some(self.serve.value)
    }

    /// The options of a node for a command about one item: the flag is not about all others.
    pub(crate) fn for_item(&self, mut options: Options) -> Options {
        if self.audience_of_item().is_some() {
            options.audience = given(&self.serve_otherwise);
        }
        options
    }

    /// The office to use, if one is given.
    pub(crate) fn office(&self) -> Option<String> {
        named(self.office.value.clone())
    }

    /// The network to publish to or fetch from.
    pub(crate) fn network(&self, public: bool) -> Network {
        match (public, &self.office.origin) {
            (true, _) => Network::Public,
            // In a file it chooses among several offices; as a flag it also chooses an office at all.
            (false, Origin::Flag) => Network::Office(self.office.value.clone()),
            (false, _) => Network::Usual,
        }
    }

    /// The options of a node that stays.
    pub(crate) fn resident(&self) -> Options {
        self.options().resident()
    }

    /// The options of a node for a command that only looks at the store.
    pub(crate) fn offline(&self) -> Options {
        self.options().offline()
    }
}

/// A name, unless it is empty.
fn named(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

/// An audience, unless it is the built-in default.
fn given(serve: &Set<Audience>) -> Option<Audience> {
    (serve.origin != Origin::Default).then_some(serve.value)
}

/// One setting as `config show` shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    /// Its key in a file and the name of its flag.
    pub(crate) key: String,
    /// Its value, as a file would have it.
    pub(crate) value: serde_json::Value,
    /// The source of the value, in words.
    pub(crate) origin: String,
}

impl Shown {
    fn new<T: Serialize + std::fmt::Debug>(field: &str, set: &Set<T>) -> Self {
        let key = field.replace('_', "-");
        // Only a path that is not UTF-8 has no value there.
        let value = serde_json::to_value(&set.value).unwrap_or_else(|_| format!("{:?}", set.value).into());
        let origin = set.origin.text(&key);
        Self { key, value, origin }
    }

    /// A line of a configuration file. JSON's texts, numbers and lists of texts are TOML's too.
    pub(crate) fn toml(&self) -> String {
        format!("{} = {}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_name_file_variable_and_flag() {
        let text = |origin: Origin| origin.text("limit-up");
        assert_eq!(text(Origin::Default), "default");
        assert_eq!(text(Origin::Environment), "environment SWARM_LIMIT_UP");
        assert_eq!(text(Origin::Flag), "flag --limit-up");
        assert_eq!(text(Origin::File("/etc/swarm/config.toml".into())), "/etc/swarm/config.toml");
    }

    #[test]
    fn a_node_is_told_every_setting_that_is_about_it() {
        let mut settings = Settings::defaults();
        let usual = format!("{:?}", settings.options());
        settings.home.value = "/x".into();
        for list in [&mut settings.listen, &mut settings.peer, &mut settings.tracker] {
            list.value = vec!["/ip4/10.0.0.1/tcp/1".to_owned()];
        }
        (settings.site.value, settings.office.value) = ("s".to_owned(), "o".to_owned());
        (settings.no_dht.value, settings.no_mdns.value, settings.no_limit_lan.value) = (true, true, true);
        settings.limit_up.value = Rate(Some(1));
        let options = settings.options();
        assert_eq!((&options.listen, &options.trackers), (&options.peers, &options.peers));
        assert_eq!((options.site.as_deref(), options.office.as_deref()), (Some("s"), Some("o")));
        assert!(!options.dht && !options.mdns && !options.limit_lan && options.limit_up == Some(1));
        assert!(options.audience.is_none() && options.dht_servers.is_empty() && usual.contains("site: None"));
        settings.put(Layer { serve: Some(Audience::Nobody), ..Layer::default() }, &Origin::Environment);
        assert_eq!(settings.options().audience, Some(Audience::Nobody));
        settings.put(Layer { serve: Some(Audience::Anyone), ..Layer::default() }, &Origin::Flag);
        assert_eq!(settings.audience_of_item(), Some(Audience::Anyone));
        assert_eq!(settings.for_item(settings.options()).audience, Some(Audience::Nobody));
    }
}
