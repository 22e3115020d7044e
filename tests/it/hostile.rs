//! Peers that lie, corrupt, stall and flood, against the built `swarm`: tests D1 to D17 of the trust design.
//!
//! Most tests have two halves. First a victim meets hostile peers alone: each must be found out, and nothing may come of
//! what it said. Then an honest holder joins, and the victim must finish as if nothing had been.

mod chunks;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use swarm_tests::fixture::{Daemon, Home, Process, Seeder, fill};
use swarm_tests::hostile::{Hostile, Offering};

/// What a slow or busy machine may add to a time that is compared.
const SLACK: Duration = Duration::from_secs(3);

/// `--peer A --peer B ..`
fn peers<'a>(addrs: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    addrs.into_iter().flat_map(|addr| ["--peer", addr]).collect()
}

/// Who is banned, and why.
fn banned(home: &Home) -> BTreeMap<String, String> {
    let answer = home.ask(&["peers"]);
    let rows = answer["banned"].as_array().cloned().unwrap_or_default();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(row, "peer"), text(row, "reason"))).collect()
}

/// Content of a file in two shapes: as an honest publisher has it, and as hostile peers pretend to.
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

    /// An honest publisher, with further arguments.
    fn publish(&self, args: &[&str]) -> Seeder {
        self.home.publish_with(&self.home.path("content"), args)
    }
}

/// Fetches to `out` in a home of its own; the time it took.
fn timed_get(id: &str, addrs: &[&str]) -> (Home, swarm_tests::fixture::Ran, Duration) {
    let home = Home::new();
    let began = Instant::now();
    let ran = home.get(id, &[&["-o", "out"][..], &peers(addrs.iter().copied())].concat());
    let took = began.elapsed();
    ran.success();
    assert_eq!(swarm_tests::fixture::b3(&home.path("out")), id);
    (home, ran, took)
}
