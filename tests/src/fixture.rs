//! Real processes of the built `swarm`, each with a home of its own, and what tests need to watch them.
//!
//! ```text
//! let (alice, bob) = (Home::new(), Home::new());
//! let seeder = alice.publish(&alice.file("update.bin", 5 * MIB, 1));
//! let got = bob.get(seeder.link(), &[]).success();
//! assert_eq!(b3(&bob.path("update.bin")), seeder.id());
//! ```
//!
//! Everything is bound to loopback and found by link or `--peer`, unless a test says otherwise. A process
//! that is still running when its handle goes away is killed and waited for; a home's folder is deleted with
//! the home.

mod faults;
mod files;
mod network;
mod nginx;
mod process;
mod tracker;

pub use faults::{Tmpfs, as_nobody, inject, needs, read_only, with_limit};
pub use files::{b3, damage, fill, listing, tree_hash, write_random};
pub use network::{Capture, Far, Internet, Lan, Nat, Site};
pub use nginx::Nginx;
pub use process::{Process, Ran, Signal, wait_until};
pub use tracker::Tracker;

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// One mebibyte, in bytes.
pub const KIB: u64 = 1 << 10;
/// One mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;

/// Time that any event a test waits for may take, on a machine that is busy with other tests. It is no
/// measure of speed: an event that takes this long does not come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where swarm listens in tests.
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// The built `swarm`: beside this test's executable, or what `SWARM_BIN` names (a release build, say).
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SWARM_BIN") {
        return named.into();
    }
    let own = std::env::current_exe().expect("this executable has a path");
    // target/<profile>/deps/it-<hash>
    let found = own.parent().and_then(Path::parent).map(|profile| profile.join("swarm"));
    match found {
        Some(path) if path.is_file() => path,
        _ => panic!(
            "there is no `swarm` in the folder above {}: build it with `cargo build -p swarm` \
             (`cargo test --workspace` does so itself)",
            own.display()
        ),
    }
}

/// One machine's folder: a store in `home/`, and room for files beside it. Deleted with this value.
#[derive(Debug)]
pub struct Home {
    root: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A new, empty one.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    #[must_use]
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("swarm-test-").tempdir().expect("a temporary folder");
        Self { root }
    }

    /// The folder commands are run in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.root.path()
    }

    /// A path in that folder.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir().join(name)
    }

    /// Returns the path that `--home` is given.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path("home")
    }

    /// The folder of a blob in the store.
    #[must_use]
    pub fn blob_dir(&self, id: &str) -> PathBuf {
        self.store().join("store/blobs").join(&id[..2]).join(id)
    }

    /// Makes a file of pseudo-random bytes, the same for the same seed.
    #[must_use]
    pub fn file(&self, name: &str, len: u64, seed: u64) -> PathBuf {
        let path = self.path(name);
        write_random(&path, len, seed);
        path
    }

    /// `swarm` with these arguments, with this home, on loopback and without discovery. Its environment is
    /// empty but for what any program needs.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.bare_command(args);
        command.args(["--listen", LOOPBACK, "--no-mdns"]);
        command
    }

    /// As [`Home::command`], finding others as swarm does by default: for tests in a network of their own.
    #[must_use]
    pub fn bare_command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", self.dir()).env("LANG", "C.UTF-8");
        for passed in ["PATH", "TMPDIR", "SWARM_LOG"] {
            if let Some(value) = std::env::var_os(passed) {
                command.env(passed, value);
            }
        }
        command.current_dir(self.dir()).stdin(Stdio::null()).args(args).arg("--home").arg(self.store());
        command
    }

    /// Starts a command and returns at once.
    #[must_use]
    pub fn spawn<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Process {
        Process::spawn(self.command(args))
    }

    /// Runs a command to its end.
    #[must_use]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.spawn(args).wait()
    }

    /// `swarm get --json TARGET ARGS..`, to its end.
    #[must_use]
    pub fn get(&self, target: &str, args: &[&str]) -> Ran {
        self.spawn_get(target, args).wait()
    }

    /// Starts `swarm get --json TARGET ARGS..`.
    #[must_use]
    pub fn spawn_get(&self, target: &str, args: &[&str]) -> Process {
        self.spawn(["get", "--json", target].iter().chain(args))
    }

    /// The last event of `swarm --json ARGS..`, which must end well.
    #[must_use]
    pub fn ask(&self, args: &[&str]) -> Value {
        self.run(["--json"].iter().chain(args)).success().last().clone()
    }

    /// The row of `swarm ls` for an id, if there is one.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<Value> {
        let blobs = self.ask(&["ls"])["blobs"].as_array().cloned().unwrap_or_default();
        blobs.into_iter().find(|blob| blob["id"] == id)
    }

    /// Returns the `--peer` address of the node that runs for this home.
    ///
    /// # Panics
    /// If no node runs for it.
    #[must_use]
    pub fn addr(&self) -> String {
        let status = self.ask(&["status"]);
        let listen = status["listen"].as_array().and_then(|all| all.first()).and_then(Value::as_str);
        let (addr, peer) =
            (listen.expect("a running node listens"), status["peer"].as_str().unwrap_or_default());
        format!("{addr}/p2p/{peer}")
    }

    /// Publishes a file or folder from this home and serves it.
    #[must_use]
    pub fn publish(&self, path: &Path) -> Seeder {
        self.publish_with(path, &[])
    }

    /// As [`Home::publish`], with more arguments.
    #[must_use]
    pub fn publish_with(&self, path: &Path, args: &[&str]) -> Seeder {
        let mut command = self.command(["publish", "--link"]);
        command.arg(path).args(args);
        Seeder::start(command)
    }

    /// Fetches something and goes on serving it; returns when it is complete.
    #[must_use]
    pub fn get_and_seed(&self, target: &str, args: &[&str]) -> Process {
        let process = self.spawn_get(target, &[&["--seed"], args].concat());
        process.wait_for_event("done");
        process
    }

    /// Runs a node and waits until it answers.
    #[must_use]
    pub fn daemon(&self, args: &[&str]) -> Daemon {
        let process = self.spawn(["daemon"].iter().chain(args));
        // A socket may be there from before: only its own word counts.
        wait_until("the daemon says that it runs", PATIENCE, || {
            process.must_run();
            process.err().contains("runs for")
        });
        let status = self.ask(&["status"]);
        assert_eq!(status["pid"], process.pid(), "somebody else answers for {}", self.store().display());
        let addr = self.addr();
        Daemon { process, addr }
    }
}

/// A running `publish`.
#[derive(Debug)]
pub struct Seeder {
    process: Process,
    link: String,
}

impl Seeder {
    /// Starts a `publish --link` and waits for the link.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    #[must_use]
    pub fn start(command: Command) -> Self {
        let process = Process::spawn(command);
        wait_until("publish prints its link", PATIENCE, || {
            process.must_run();
            process.out().ends_with(b"\n")
        });
        let link = String::from_utf8_lossy(&process.out()).trim().to_owned();
        assert!(link.starts_with("swarm:"), "{link}");
        Self { process, link }
    }

    /// `swarm:<id>?name=..&peer=..`
    #[must_use]
    pub fn link(&self) -> &str {
        &self.link
    }

    /// 64 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        self.link["swarm:".len()..].split('?').next().unwrap_or_default()
    }

    /// Returns its `--peer` address.
    ///
    /// # Panics
    /// When the link names no peer.
    #[must_use]
    pub fn addr(&self) -> &str {
        let peers = self.link.split(['?', '&', '#']).filter_map(|part| part.strip_prefix("peer="));
        peers.into_iter().next().expect("the link of a running node has its address")
    }

    /// Interrupts it as Ctrl-C does and waits for its end.
    #[must_use]
    pub fn stop(self) -> Ran {
        self.process.interrupt()
    }

    /// Kills it (SIGKILL) and waits.
    pub fn kill(self) {
        drop(self.process);
    }
}

impl Deref for Seeder {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// A running `daemon`.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    addr: String,
}

impl Daemon {
    /// Returns its `--peer` address.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Interrupts it as Ctrl-C does and waits for its end.
    #[must_use]
    pub fn stop(self) -> Ran {
        self.process.interrupt()
    }

    /// Kills it (SIGKILL) and waits.
    pub fn kill(self) {
        drop(self.process);
    }
}

impl Deref for Daemon {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
