//! Peers that lie, corrupt, stall and flood, against the built `swarm`: tests D1 to D17 of the trust design.
//!
//! Most tests have two halves. First a victim meets only hostile peers: each must be found out, and its
//! messages must do no harm. Then an honest holder joins, and the victim must finish as if nothing had been.

mod amplify;
mod chunks;
mod claims;
mod crowds;
mod extraction;
mod floods;
mod frames;
mod idlers;
pub(crate) mod names;
mod silent;
mod trees;
mod versions;
mod words;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use swarm_tests::fixture::{Daemon, Home, PATIENCE, Process, Ran, Seeder, b3, fill, wait_until};
use swarm_tests::hostile::{Hostile, Offering};

/// One mebibyte, in bytes.
const MIB: usize = 1 << 20;
/// Time that a busy machine may add to a duration that is compared.
const SLACK: Duration = Duration::from_secs(3);
/// Time that counts as "at once" on such a machine.
const PROMPT: Duration = Duration::from_secs(2);
/// Most memory that a victim may ever hold, in KiB.
const MEMORY: u64 = 256 << 10;

/// Most memory that a process may hold after an attack in addition to its memory before, in KiB.
const GROWTH: u64 = 64 << 10;

/// Returns the most memory that a process ever held, in KiB.
fn peak(process: &Process) -> u64 {
    process.memory_kib("VmHWM").unwrap_or(u64::MAX)
}

/// Returns the arguments `--peer A --peer B ..`.
fn peers<'a>(addrs: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    addrs.into_iter().flat_map(|addr| ["--peer", addr]).collect()
}

/// Returns the banned peers, each with the reason.
fn banned(home: &Home) -> BTreeMap<String, String> {
    let answer = home.ask(&["peers"]);
    let rows = answer["banned"].as_array().cloned().unwrap_or_default();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(row, "peer"), text(row, "reason"))).collect()
}

/// Returns the bytes that a folder takes on disk.
fn on_disk(folder: &Path) -> u64 {
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => on_disk(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(size).sum()
}

/// A file in two shapes: one that an honest publisher has, and one that hostile peers claim to have.
struct Content {
    home: Home,
    offering: Offering,
}

impl Content {
    fn new(len: usize, seed: u64) -> Self {
        let home = Home::new();
        let bytes = fill(len, seed);
        std::fs::write(home.path("content"), &bytes).expect("a file is written");
        Self { home, offering: Offering::file(bytes).named("content") }
    }

    fn id(&self) -> String {
        self.offering.id.to_string()
    }

    fn offerings(&self) -> Vec<Offering> {
        vec![self.offering.clone()]
    }

    /// Starts an honest publisher with further arguments.
    fn publish(&self, args: &[&str]) -> Seeder {
        self.home.publish_with(&self.home.path("content"), args)
    }
}

/// Fetches to `out` in a home of its own, and returns the time it took.
fn timed_get(id: &str, addrs: &[&str]) -> Duration {
    let home = Home::new();
    let began = Instant::now();
    let ran = home.get(id, &[&["-o", "out"][..], &peers(addrs.iter().copied())].concat());
    let took = began.elapsed();
    ran.success();
    assert_eq!(b3(&home.path("out")), id);
    took
}

/// Starts a node that knows these peers and wants this content.
struct Victim {
    home: Home,
    daemon: Daemon,
}

impl Victim {
    fn knowing<'a>(hostile: impl IntoIterator<Item = &'a Hostile>) -> Self {
        let home = Home::new();
        let daemon = home.daemon(&peers(hostile.into_iter().map(Hostile::addr)));
        Self { home, daemon }
    }

    fn get(&self, id: &str) -> Process {
        self.home.spawn_get(id, &["-o", "out"])
    }

    /// Lets an honest holder connect to the victim: its download must then finish.
    fn is_saved(&self, get: Process, content: &Content) -> Ran {
        let _honest = content.publish(&["--peer", self.daemon.addr()]);
        let ran = get.wait();
        ran.success();
        assert_eq!(b3(&self.home.path("out")), content.id());
        ran
    }

    /// Checks that the victim lives, and that its memory was never large.
    fn ends_well(self) {
        self.daemon.must_run();
        let peak = peak(&self.daemon);
        assert!(peak <= MEMORY, "{peak} KiB of memory");
        self.daemon.stop().success();
    }

    /// Waits until each of these peers is banned for its reason.
    #[track_caller]
    fn bans(&self, hostile: &[(&str, Hostile)]) -> BTreeMap<String, String> {
        let mut bans = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE / 2;
        wait_until("all are banned, or time is up", PATIENCE, || {
            bans = banned(&self.home);
            Instant::now() > deadline || hostile.iter().all(|(_, h)| bans.contains_key(&h.peer()))
        });
        let missing: Vec<_> = hostile.iter().filter(|(_, h)| !bans.contains_key(&h.peer())).collect();
        assert!(missing.is_empty(), "not banned: {missing:?}; banned: {bans:?}");
        hostile
            .iter()
            .filter_map(|(what, h)| Some(((*what).to_owned(), bans.get(&h.peer())?.clone())))
            .collect()
    }
}
