//! The table: how near to the physical bound a whole rollout comes.

use swarm_core::random::Random;

use super::scenario::{Fault, Finish, Habit, Line, Scenario, Spec};
use super::world::World;

/// One row.
#[derive(Debug)]
pub struct Row {
    /// Name.
    pub name: String,
    /// The simulated world.
    pub scenario: Scenario,
    /// The slowest host may take so many times the bound.
    pub target: f64,
    /// The origin, or every site's line, may carry the blob so many times.
    pub once: Option<f64>,
}

/// The figures of a row, in bounds and blobs.
#[derive(Debug)]
pub struct Figures {
    /// The median host.
    pub median: f64,
    /// The slowest host.
    pub slowest: f64,
    /// Bytes that the origin sent.
    pub origin: f64,
    /// The most that came into a site by its line.
    pub border: Option<f64>,
    /// Hosts that have not got all.
    pub unfinished: usize,
    /// A property that did not hold.
    pub violation: Option<String>,
    /// Of the hosts that read along: the last one's first chunk, in seconds, and the latest chunk of all, in
    /// times of when it was due.
    pub reads: Option<(f64, f64)>,
    /// Control messages of each kind (see [`super::scenario::Outcome::kinds`]) for each chunk delivered.
    pub messages: [f64; 6],
}

/// A player begins after so many seconds.
pub const PLAYS_AFTER: f64 = 2.0;

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
        link_names_origin: false,
        seeks: false,
        faults: Vec::new(),
    }
}

fn host(up: u64, down: u64, site: u16, origin: bool) -> Spec {
    let (up, down) = (mbit(up), mbit(down));
    Spec { up, down, site, origin, habit: Habit::Honest, reads: None, joins: None, leaves: None }
}

/// Hosts with equal links.
#[must_use]
pub fn equal(seed: u64, count: usize, rate: u64, latency: u64) -> Scenario {
    let hosts = (0..=count).map(|i| host(rate, rate, 0, i == 0)).collect();
    scenario(seed, hosts, latency)
}

/// A rollout of the testbed with as many hosts: links of `rate` Mbit/s, a file of `mib` MiB, and the queue of
/// a shaped link that is kept full (50 ms at most) between any two.
#[must_use]
pub fn testbed(seed: u64, count: usize, rate: u64, mib: u64, latency: u64) -> Scenario {
    let mut scenario = equal(seed, count, rate, latency * MS);
    scenario.len = mib << 20;
    scenario
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
    scenario.link_names_origin = true;
    scenario
}

/// Of `count` hosts three in ten lose all they have at some time within the run, and are back after a second.
#[must_use]
pub fn crashes(seed: u64, count: usize) -> Scenario {
    let mut scenario = equal(seed, count, 50, 10 * MS);
    let (mut random, span) = (Random::new(seed), (bound(&scenario) * 1000.0) as usize);
    let mut hosts: Vec<usize> = (1..=count).collect();
    for _ in 0..count * 3 / 10 {
        let host = hosts.swap_remove(random.below(hosts.len()));
        let at = random.below(span) as u64 * MS;
        scenario.faults.push((at, Fault::Crash { host, disk: false, back: Some(1000 * MS) }));
    }
    scenario
}

/// The origin goes for good at the first moment at which the others have everything between them.
#[must_use]
pub fn origin_dies(seed: u64, count: usize) -> Scenario {
    let mut scenario = equal(seed, count, 50, 10 * MS);
    scenario.faults.push((0, Fault::OriginOnceSpread));
    scenario
}

/// In the second of two sites, who has imported most goes for good, three times.
#[must_use]
pub fn importers_die(seed: u64, count: usize) -> Scenario {
    let mut scenario = sites(seed, &[count, count], 100);
    let span = bound(&scenario) * 1e9;
    for part in [0.25, 0.5, 0.75] {
        scenario.faults.push(((span * part) as u64, Fault::Importer { site: 1 }));
    }
    scenario
}

/// So many who keep the rules, and three for each seven of them who take and never give.
#[must_use]
pub fn free_riders(seed: u64, count: usize) -> Scenario {
    let mut scenario = equal(seed, count + count * 3 / 7, 50, 10 * MS);
    scenario.hosts[count + 1..].iter_mut().for_each(|h| h.habit = Habit::FreeRider);
    scenario
}

/// So many hosts that keep the rules, and for each nine of them one that is in the way: by turns one that
/// sends a byte now and then, and one that requests and reads nothing.
#[must_use]
pub fn obstructors(seed: u64, count: usize) -> Scenario {
    let mut scenario = equal(seed, count + count / 9, 50, 10 * MS);
    let habits = [Habit::Drips, Habit::Unread].into_iter().cycle();
    scenario.hosts[count + 1..].iter_mut().zip(habits).for_each(|(h, habit)| h.habit = habit);
    scenario
}

/// One publisher, and readers that play a film of `film` kbit/s while it arrives, over links of `link`
/// kbit/s: too thin for the publisher to send everybody everything.
#[must_use]
pub fn readers(seed: u64, count: usize, film: u64, link: u64, mib: u64) -> Scenario {
    let rate = |kbit: u64| kbit * 1000 / 8;
    let mut scenario = equal(seed, count, 1, 10 * MS);
    scenario.len = mib << 20;
    for host in &mut scenario.hosts {
        (host.up, host.down) = (rate(link), rate(link));
        host.reads = (!host.origin).then(|| rate(film));
    }
    scenario
}

/// Every row; with `small`, of at most 101 hosts.
#[must_use]
pub fn rows(seed: u64, small: bool) -> Vec<Row> {
    let of = |count: usize| if small { count.min(100) } else { count };
    let row = |name: String, scenario, target, once| Row { name, scenario, target, once };
    let (lan, many, site, five) = (of(200), of(300), of(200) / 2, of(200) / 5);
    let mut rows = vec![
        row("50/50 Mbit/s, N = 100".to_owned(), equal(seed, 100, 50, 10 * MS), 1.08, Some(1.05)),
        row(format!("1 Gbit/s LAN, N = {lan}"), equal(seed, lan, 1000, MS / 4), 1.06, None),
        row(format!("mixed links, N = {many}"), mixed(seed, many), 1.30, None),
        row(format!("30 % crash, come back empty, N = {many}"), crashes(seed, many), 1.15, None),
        row(
            format!("two sites of {site}, line 100 Mbit/s"),
            sites(seed, &[site, site], 100),
            1.05,
            Some(1.03),
        ),
        row(
            format!("five sites of {five} behind one line"),
            sites(seed, &[0, five, five, five, five, five], 100),
            1.10,
            Some(1.03),
        ),
        row("origin killed once all is out, N = 100".to_owned(), origin_dies(seed, 100), 1.30, None),
        row(format!("3 importers killed, two sites of {site}"), importers_die(seed, site), 1.30, None),
    ];
    let (give, take) = (70, 30);
    rows.push(row(
        format!("{take} of {} never give: the others", give + take),
        free_riders(seed, give),
        1.15,
        None,
    ));
    rows.push(row(
        "3 play a film at 1.5 x its rate".to_owned(),
        readers(seed, 3, 4000, 6000, 64),
        1.2,
        Some(1.4),
    ));
    rows.push(row("5 of 100 drip, 5 never read: the others".to_owned(), obstructors(seed, 90), 1.30, None));
    if !small {
        rows.push(row("50/50 Mbit/s, N = 1,000".to_owned(), equal(seed, 1000, 50, 10 * MS), 1.10, None));
        let mut large = equal(seed, 10_000, 50, 10 * MS);
        large.blocks = 2;
        rows.push(row("50/50 Mbit/s, N = 10,000".to_owned(), large, 1.15, None));
    }
    rows
}

/// Seconds that nobody can beat in the fluid model (Kumar and Ross 2006): the origin's link, the slowest
/// downlink, all uplinks together, the thinnest line.
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
    let (fluid, lines) = (bound(&scenario), scenario.lines.iter().any(Option::is_some));
    let downs: Vec<f64> = scenario.hosts.iter().map(|h| scenario.len as f64 / h.down as f64).collect();
    let chunks = swarm_core::content::geometry::Geometry::new(scenario.len).map_or(1, |g| g.chunks().max(1));
    let outcome = World::new(scenario).run(6.0 * fluid);
    let delivered = outcome.finishes.len().max(1) as f64 * f64::from(chunks);
    // Who came back empty cannot be done before it has taken all once more.
    let ratio = |f: &Finish| {
        let least = if f.came > 0.0 { fluid.max(f.came + downs[f.host]) } else { fluid };
        f.done.unwrap_or(6.0 * fluid) / least
    };
    let mut ratios: Vec<f64> = outcome.finishes.iter().map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let read = outcome.finishes.iter().filter_map(|finish| finish.read);
    let reads = read.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
    let at = |i: usize| ratios.get(i).copied().unwrap_or(0.0);
    Figures {
        median: at(ratios.len() / 2),
        slowest: at(ratios.len().saturating_sub(1)),
        origin: outcome.origin,
        border: lines.then(|| outcome.borders_in.iter().copied().fold(0.0, f64::max)),
        unfinished: outcome.unfinished(),
        reads,
        violation: outcome.violation,
        messages: outcome.kinds.map(|count| count as f64 / delivered),
    }
}

impl Figures {
    /// The figures reach what the row asks for.
    #[must_use]
    pub fn reach(&self, row: &Row) -> bool {
        let once = self.border.unwrap_or(self.origin);
        let plays = self.reads.is_none_or(|(_, latest)| latest <= 1.0);
        plays
            && self.violation.is_none()
            && self.unfinished == 0
            && self.slowest <= row.target
            && row.once.is_none_or(|most| once <= most)
    }
}
