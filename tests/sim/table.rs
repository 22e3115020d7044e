//! The table: how near to the physical bound a whole rollout comes.

use super::world::{Line, Outcome, Scenario, Spec, World};

/// One row.
#[derive(Debug)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// What is simulated.
    pub scenario: Scenario,
    /// The slowest host may take so many times the bound.
    pub target: f64,
    /// The origin, or every site's line, may carry the blob so many times.
    pub once: Option<f64>,
}

/// What a row came to, in bounds and blobs.
#[derive(Debug)]
pub struct Figures {
    /// The median host.
    pub median: f64,
    /// The slowest host.
    pub slowest: f64,
    /// What the origin sent.
    pub origin: f64,
    /// The most that came into a site by its line.
    pub border: Option<f64>,
    /// Hosts that have not got all.
    pub unfinished: usize,
}

const MS: u64 = 1_000_000;
const CHUNKS: u64 = 1024;

fn mbit(rate: u64) -> u64 {
    rate * 1_000_000 / 8
}

fn scenario(seed: u64, hosts: Vec<Spec>, latency: u64) -> Scenario {
    let sites = hosts.iter().map(|h| h.site).max().map_or(1, |s| s as usize + 1);
    Scenario {
        seed,
        hosts,
        lines: vec![None; sites],
        len: CHUNKS << 20,
        blocks: 4,
        latency,
        far: 20 * MS,
        neighbours: 20,
        far_neighbours: 0,
    }
}

fn host(up: u64, down: u64, site: u16, origin: bool) -> Spec {
    Spec { up: mbit(up), down: mbit(down), site, origin }
}

/// Hosts with equal links.
#[must_use]
pub fn equal(seed: u64, count: usize, rate: u64, latency: u64) -> Scenario {
    let hosts = (0..=count).map(|i| host(rate, rate, 0, i == 0)).collect();
    scenario(seed, hosts, latency)
}

/// Broadband of three kinds, with less up than down.
#[must_use]
pub fn mixed(seed: u64, count: usize) -> Scenario {
    let link = |i: usize| match i % 10 {
        0..=4 => (20, 100),
        5..=7 => (50, 250),
        _ => (100, 1000),
    };
    let getters = (0..count).map(|i| host(link(i).0, link(i).1, 0, false));
    let hosts = std::iter::once(host(200, 200, 0, true)).chain(getters).collect();
    scenario(seed, hosts, 10 * MS)
}

/// Offices of fast machines behind thin lines; the origin is in the first (which may have nobody else).
#[must_use]
pub fn sites(seed: u64, counts: &[usize], line: u64) -> Scenario {
    let getters = counts.iter().enumerate().flat_map(|(site, count)| {
        std::iter::repeat_with(move || host(1000, 1000, site as u16, false)).take(*count)
    });
    let hosts = std::iter::once(host(1000, 1000, 0, true)).chain(getters).collect();
    let mut scenario = scenario(seed, hosts, MS / 4);
    scenario.lines = vec![Some(Line { rate: mbit(line) }); counts.len()];
    scenario.far_neighbours = 4;
    scenario
}

/// Every row; with `small` those of at most 300 hosts.
#[must_use]
pub fn rows(seed: u64, small: bool) -> Vec<Row> {
    let row = |name: &str, scenario, target, once| Row { name: name.to_owned(), scenario, target, once };
    let mut rows = vec![
        row("50/50 Mbit/s, N = 100", equal(seed, 100, 50, 10 * MS), 1.08, Some(1.05)),
        row("1 Gbit/s LAN, N = 200", equal(seed, 200, 1000, MS / 4), 1.06, None),
        row("mixed links, N = 300", mixed(seed, 300), 1.30, None),
        row("two sites of 100, line 100 Mbit/s", sites(seed, &[100, 100], 100), 1.05, Some(1.03)),
        row("five sites of 40 behind one line", sites(seed, &[0, 40, 40, 40, 40, 40], 100), 1.10, Some(1.03)),
    ];
    if !small {
        rows.push(row("50/50 Mbit/s, N = 1,000", equal(seed, 1000, 50, 10 * MS), 1.10, None));
        let mut large = equal(seed, 10_000, 50, 10 * MS);
        large.blocks = 2;
        rows.push(row("50/50 Mbit/s, N = 10,000", large, 1.15, None));
    }
    rows
}

/// Seconds that nobody can beat in the fluid model (Kumar and Ross 2006): the origin's link, the slowest downlink, all
/// uplinks together, the thinnest line.
#[must_use]
pub fn bound(scenario: &Scenario) -> f64 {
    let len = scenario.len as f64;
    let sum =
        |origin: bool| scenario.hosts.iter().filter(|h| h.origin == origin).map(|h| h.up as f64).sum::<f64>();
    let getters = scenario.hosts.iter().filter(|h| !h.origin);
    let slowest = getters.clone().map(|h| h.down as f64).fold(f64::INFINITY, f64::min);
    let line = scenario.lines.iter().flatten().map(|l| l.rate as f64).fold(f64::INFINITY, f64::min);
    let all = getters.count() as f64 * len / (sum(true) + sum(false));
    (len / sum(true)).max(len / slowest).max(len / line).max(all)
}

/// Runs a scenario.
#[must_use]
pub fn run(scenario: Scenario) -> Figures {
    let (bound, lines) = (bound(&scenario), scenario.lines.iter().any(Option::is_some));
    let Outcome { finished, origin, borders_in, unfinished, .. } = World::new(scenario).run(6.0 * bound);
    let at = |i: usize| finished.get(i).copied().unwrap_or(0.0) / bound;
    Figures {
        median: at(finished.len() / 2),
        slowest: at(finished.len().saturating_sub(1)),
        origin,
        border: lines.then(|| borders_in.iter().copied().fold(0.0, f64::max)),
        unfinished,
    }
}

impl Figures {
    /// The figures reach what the row asks for.
    #[must_use]
    pub fn reach(&self, row: &Row) -> bool {
        let once = self.border.unwrap_or(self.origin);
        self.unfinished == 0 && self.slowest <= row.target && row.once.is_none_or(|most| once <= most)
    }
}
