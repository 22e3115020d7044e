//! The two requests that move content, with builders.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::link::Link;
use crate::content::share::Hidden;
use crate::id::ContentId;
use crate::options::Audience;

/// Request to publish a file or directory; see [`Command::Publish`](super::command::Command::Publish).
///
/// ```
/// use swarm_core::{Audience, Publish};
///
/// let publish = Publish::new("photos").name("Photos 2026").encrypt().serve(Audience::Anyone);
/// assert!(publish.path.is_absolute());
/// assert_eq!(publish.name.as_deref(), Some("Photos 2026"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Publish {
    /// Absolute path of a file or directory.
    #[serde(with = "crate::store::exact_path")]
    pub path: PathBuf,
    /// Name offered to getters; `None` for the last component of the path.
    pub name: Option<String>,
    /// True if a copy is taken into the store (a reflink where the file system can). Otherwise the source is
    /// served in place and must not change.
    pub copy: bool,
    /// True if the path is a temporary file in the store's own folder, which is moved in. Standard input
    /// arrives so.
    pub take: bool,
    /// True if names that Windows and macOS cannot store are allowed.
    pub unix_names: bool,
    /// HTTP addresses of the same bytes, for the link; only for a file.
    #[serde(default)]
    pub webseeds: Vec<String>,
    /// Absolute path of a file that the hash list is written to; only for a file.
    #[serde(with = "crate::store::exact_path::option", default)]
    pub hash_list: Option<PathBuf>,
    /// True if relative symbolic links that stay inside the tree are kept. Otherwise a link is an error.
    pub symlinks: bool,
    /// True if folders that are homes of swarms, which hold keys, are left out. Otherwise such a folder is an
    /// error.
    #[serde(default)]
    pub skip_homes: bool,
    /// True if the content is published as a share: peers are given ciphertext, and only the link has the
    /// key.
    #[serde(default)]
    pub encrypt: bool,
    /// Audience of the content; `None` for the default of the node.
    #[serde(default)]
    pub serve: Option<Audience>,
    /// With `encrypt`: password that opens the link.
    #[serde(default)]
    pub password: Option<Hidden>,
    /// Network in which the content is offered.
    #[serde(default)]
    pub network: Network,
    /// In an office: names or keys of the members that the content is for; empty for all members.
    #[serde(default)]
    pub to: Vec<String>,
}

impl Publish {
    /// Returns a request to publish this path, served in place to the default audience of the node. A
    /// relative path is taken from the current directory of this process.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: absolute(path.as_ref()),
            name: None,
            copy: false,
            take: false,
            unix_names: false,
            webseeds: Vec::new(),
            hash_list: None,
            symlinks: false,
            skip_homes: false,
            encrypt: false,
            serve: None,
            password: None,
            network: Network::Usual,
            to: Vec::new(),
        }
    }

    /// Sets the name offered to getters.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Takes a copy into the store, so that the source may change.
    #[must_use]
    pub const fn copy(mut self) -> Self {
        self.copy = true;
        self
    }

    /// Allows names that Windows and macOS cannot store.
    #[must_use]
    pub const fn unix_names(mut self) -> Self {
        self.unix_names = true;
        self
    }

    /// Adds an HTTP address of the same bytes; only for a file.
    #[must_use]
    pub fn webseed(mut self, url: impl Into<String>) -> Self {
        self.webseeds.push(url.into());
        self
    }

    /// Writes the hash list to this file, for a web server to have beside the content; only for a file.
    #[must_use]
    pub fn hash_list(mut self, path: impl AsRef<Path>) -> Self {
        self.hash_list = Some(absolute(path.as_ref()));
        self
    }

    /// Keeps relative symbolic links that stay inside the tree.
    #[must_use]
    pub const fn symlinks(mut self) -> Self {
        self.symlinks = true;
        self
    }

    /// Leaves out folders that are homes of swarms.
    #[must_use]
    pub const fn skip_homes(mut self) -> Self {
        self.skip_homes = true;
        self
    }

    /// Publishes the content encrypted; only the link has the key.
    #[must_use]
    pub const fn encrypt(mut self) -> Self {
        self.encrypt = true;
        self
    }

    /// Publishes the content encrypted, with a link that opens only with this password.
    #[must_use]
    pub fn password(mut self, password: impl Into<Hidden>) -> Self {
        self.password = Some(password.into());
        self.encrypt()
    }

    /// Sets the peers that may fetch the content.
    #[must_use]
    pub const fn serve(mut self, audience: Audience) -> Self {
        self.serve = Some(audience);
        self
    }

    /// Sets the network in which the content is offered.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Adds a member of the office, by name or key, that the content is for.
    #[must_use]
    pub fn to(mut self, member: impl Into<String>) -> Self {
        self.to.push(member.into());
        self
    }
}

/// Network in which content is offered or looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// The network of the only office of the node, or the public network if the node belongs to none. A node
    /// in several offices must name one.
    #[default]
    Usual,
    /// The network that [`Network::Usual`] means for a bare id, whatever network the link names: the hints of
    /// the link come from the command line.
    Own,
    /// The public network.
    Public,
    /// The network of the office with this name or id prefix.
    Office(String),
}

/// Place of fetched content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Destination {
    /// Exactly this absolute path. If it is an existing directory: a file inside it, under the offered name.
    Path(#[serde(with = "crate::store::exact_path")] PathBuf),
    /// A file or directory under the offered name in this absolute directory.
    Into(#[serde(with = "crate::store::exact_path")] PathBuf),
    /// The store. `Prefix` events tell how many bytes from the start are verified, and where they lie.
    Store,
    /// The store, to be held for other peers: a share as it travels, without its key.
    Hold,
}

/// Request to fetch content; see [`Command::Get`](super::command::Command::Get).
///
/// ```
/// use std::time::Duration;
/// use swarm_core::{ContentId, Get};
///
/// let id: ContentId = "ab".repeat(32).parse().expect("64 hex digits");
/// let get = Get::new(id).output("film.mkv").overwrite().timeout(Duration::from_secs(60));
/// assert_eq!(get.timeout_ms, Some(60_000));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Get {
    /// Id, unique prefix or link. A link that is locked with a password must be opened before.
    pub target: Hidden,
    /// Place of the content.
    pub output: Destination,
    /// True if files at the destination are replaced: of a directory, the files of the same names and nothing
    /// else.
    pub overwrite: bool,
    /// For a directory: true if files of an earlier version are deleted that are not in this one. Files that
    /// were changed since they were fetched stay.
    #[serde(default)]
    pub delete: bool,
    /// True if the path of the output is the item itself, even where a folder is.
    #[serde(default)]
    pub exact: bool,
    /// Milliseconds after which the download gives up; `None` for never.
    pub timeout_ms: Option<u64>,
    /// For a directory: globs of the paths to fetch; empty for all.
    pub include: Vec<String>,
    /// For a directory: globs of the paths to leave out.
    pub exclude: Vec<String>,
    /// Peers that may fetch the content from this node; `None` for the default of the node.
    #[serde(default)]
    pub serve: Option<Audience>,
    /// Network in which the content is looked for.
    #[serde(default)]
    pub network: Network,
}

impl Get {
    /// Returns a request to fetch an id, unique prefix or link into the store.
    #[must_use]
    pub fn new(target: impl Into<Hidden>) -> Self {
        Self {
            target: target.into(),
            output: Destination::Store,
            overwrite: false,
            delete: false,
            exact: false,
            timeout_ms: None,
            include: Vec::new(),
            exclude: Vec::new(),
            serve: None,
            network: Network::Usual,
        }
    }

    /// Puts the content at this path; in a folder that exists, under the offered name. A relative path is
    /// taken from the current directory of this process.
    #[must_use]
    pub fn output(mut self, path: impl AsRef<Path>) -> Self {
        self.output = Destination::Path(absolute(path.as_ref()));
        self
    }

    /// Puts the content under its offered name into this folder.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.output = Destination::Into(absolute(folder.as_ref()));
        self
    }

    /// Holds the content in the store for other peers; a share stays encrypted.
    #[must_use]
    pub fn hold(mut self) -> Self {
        self.output = Destination::Hold;
        self
    }

    /// Sets the place of the content.
    #[must_use]
    pub fn destination(mut self, output: Destination) -> Self {
        self.output = output;
        self
    }

    /// Replaces files at the destination.
    #[must_use]
    pub const fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// Deletes unchanged files of an earlier version of the directory that are not in this one.
    #[must_use]
    pub const fn delete(mut self) -> Self {
        self.delete = true;
        self
    }

    /// Takes the output's path for the item itself, even where a folder is.
    #[must_use]
    pub const fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Gives up after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Adds a glob of paths to fetch from a directory.
    #[must_use]
    pub fn include(mut self, glob: impl Into<String>) -> Self {
        self.include.push(glob.into());
        self
    }

    /// Adds a glob of paths to leave out of a directory.
    #[must_use]
    pub fn exclude(mut self, glob: impl Into<String>) -> Self {
        self.exclude.push(glob.into());
        self
    }

    /// Sets the peers that may fetch the content from this node.
    #[must_use]
    pub const fn serve(mut self, audience: Audience) -> Self {
        self.serve = Some(audience);
        self
    }

    /// Sets the network in which the content is looked for.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }
}

impl From<ContentId> for Hidden {
    fn from(id: ContentId) -> Self {
        id.to_string().into()
    }
}

impl From<&Link> for Hidden {
    fn from(link: &Link) -> Self {
        link.to_string().into()
    }
}

impl From<&String> for Hidden {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// Makes a path absolute without asking the disk. An empty path stays as it is; the node refuses it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
