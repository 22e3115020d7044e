//! Small worlds in which much goes wrong, each from one number.

use swarm_core::random::Random;

use super::scenario::{Fault, Habit, Line, Scenario, Spec, Time};
use super::table;
use super::world::{Trace, World};

const MS: Time = 1_000_000;
const CHUNK: u64 = 64 << 10;

/// Time after the last fault in which all must come to an end: seconds, and times of what a calm run takes
/// at best.
const GRACE: (f64, f64) = (180.0, 40.0);

/// The world of this seed.
#[must_use]
pub fn scenario(seed: u64) -> Scenario {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut below = |n: usize| random.below(n) as u64;
    let getters = 1 + below(10) as usize;
    let sites = 1 + below(3) as u16;
    let rates = [2, 8, 20, 50, 100, 1000].map(|mbit| mbit * 1_000_000 / 8);
    let (mixed, rate) = (below(3) == 0, rates[below(6) as usize]);
    let hostile = below(2) == 0;
    let mut hosts = Vec::new();
    for i in 0..=getters {
        let (up, down) =
            if mixed { (rates[below(6) as usize], rates[1 + below(5) as usize]) } else { (rate, rate) };
        let habit = match below(8) {
            0 if hostile => match below(9) {
                0 => Habit::Corrupt(1 + below(500) as u16),
                1 => Habit::Silent,
                2 => Habit::Overclaims,
                3 => Habit::FreeRider,
                4 => Habit::Usurper,
                5 => Habit::Nagger,
                6 => Habit::Hoarder,
                7 => Habit::Drips,
                _ => Habit::Unread,
            },
            _ => Habit::Honest,
        };
        let origin = i == 0;
        hosts.push(Spec {
            up,
            down,
            site: below(usize::from(sites)) as u16,
            origin,
            reads: None,
            habit: if origin { Habit::Honest } else { habit },
            joins: (!origin && below(6) == 0).then(|| below(20_000) * MS),
            leaves: (!origin && below(10) == 0).then(|| below(5000) * MS),
        });
    }
    let lines =
        (0..sites).map(|_| (below(2) == 0).then(|| Line { rate: rates[below(4) as usize] })).collect();
    let chunks = 1 + below(40);
    let latency = [MS / 4, 5 * MS, 20 * MS, 80 * MS][below(4) as usize];
    let mut scenario = Scenario {
        seed,
        lines,
        len: chunks * CHUNK - below(CHUNK as usize),
        blocks: 1 << below(3),
        latency,
        far: latency + below(100) * MS,
        neighbours: [2, 4, 20][below(3) as usize],
        far_neighbours: 2 + below(3) as usize,
        link_names_origin: false,
        seeks: true,
        hosts,
        faults: Vec::new(),
    };
    // Most faults happen while there is something to disturb.
    let span = (table::bound(&scenario) * 2e9) as usize + 1;
    for _ in 0..below(7) {
        let at = below(span);
        scenario.faults.push((at, fault(&mut below, getters + 1)));
    }
    scenario
}

/// The world of this seed with company: two to five more hosts that do not keep the rules, of different
/// kinds, thin lines between sites, and more cuts and broken connections. All kinds of trouble are as likely
/// together as alone.
#[must_use]
pub fn crowded(seed: u64) -> Scenario {
    let mut scenario = scenario(seed);
    let mut random = Random::new(seed ^ 0xc0de_d00d);
    let mut below = |n: usize| random.below(n) as u64;
    for _ in 0..2 + below(4) {
        let habit = match below(7) {
            0 | 1 => Habit::Hoarder,
            2 => Habit::Drips,
            3 => Habit::Corrupt(1 + below(500) as u16),
            4 => Habit::Silent,
            5 => Habit::Overclaims,
            _ => Habit::Unread,
        };
        let like = scenario.hosts[below(scenario.hosts.len()) as usize].clone();
        let joins = (below(3) == 0).then(|| below(10_000) * MS);
        scenario.hosts.push(Spec { origin: false, habit, joins, leaves: None, ..like });
    }
    for line in &mut scenario.lines {
        if below(2) == 0 {
            *line = Some(Line { rate: [2, 8, 20][below(3) as usize] * 1_000_000 / 8 });
        }
    }
    let (hosts, span) = (scenario.hosts.len(), (table::bound(&scenario) * 2e9) as usize + 1);
    for _ in 0..below(5) {
        let at = below(span);
        scenario.faults.push((at, fault(&mut below, hosts)));
    }
    scenario
}

fn fault(below: &mut impl FnMut(usize) -> u64, hosts: usize) -> Fault {
    let one = below(hosts) as usize;
    match below(8) {
        0..=2 => {
            let back = (below(4) > 0).then(|| below(10_000) * MS);
            Fault::Crash { host: one, disk: below(2) == 0, back }
        }
        3 | 4 => {
            let other = (one + 1 + below(hosts - 1) as usize) % hosts;
            let mut after = || below(2) * below(25_000) * MS;
            Fault::Reset { one, other, one_after: after(), other_after: after() }
        }
        5 | 6 => {
            let hosts = (0..hosts).filter(|_| below(2) == 0).collect();
            Fault::Cut { hosts, lasts: below(40_000) * MS }
        }
        _ => Fault::Delay { by: below(2000) * MS, lasts: below(10_000) * MS },
    }
}

/// When the last fault of a scenario is over, seconds.
fn faults_end(scenario: &Scenario) -> f64 {
    let lasts = |fault: &Fault| match fault {
        Fault::Crash { back, .. } => back.unwrap_or(0),
        Fault::Cut { lasts, .. } | Fault::Delay { lasts, .. } => *lasts,
        _ => 0,
    };
    let faults = scenario.faults.iter().map(|(at, fault)| at + lasts(fault));
    faults.chain(scenario.hosts.iter().filter_map(|h| h.joins)).max().unwrap_or(0) as f64 / 1e9
}

/// Returns true if many hosts fill the lines with bytes that they do not need, a third of all hosts or half
/// of those of one line: they leave little of it.
fn is_hostile(scenario: &Scenario) -> bool {
    let count = |of: Option<u16>| {
        let hosts = scenario.hosts.iter().filter(|host| of.is_none_or(|site| host.site == site));
        let hostile = |hostile: usize, host: &Spec| hostile + usize::from(host.habit != Habit::Honest);
        (hosts.clone().count(), hosts.fold(0, hostile))
    };
    let thin = |site: u16| {
        let (all, hostile) = count(Some(site));
        scenario.lines[usize::from(site)].is_some() && hostile * 2 >= all.max(1)
    };
    let (all, hostile) = count(None);
    hostile * 3 >= all || (0..scenario.lines.len() as u16).any(thin)
}

/// Runs a world; with `trace`, every message is shown.
///
/// # Errors
/// What did not hold.
pub fn run(scenario: Scenario, trace: Option<Trace>) -> Result<(), String> {
    let (end, bound) = (faults_end(&scenario), table::bound(&scenario));
    let times = if is_hostile(&scenario) { 3.0 } else { 1.0 };
    let mut world = World::new(scenario);
    (world.codec, world.trace) = (true, trace);
    world.verdict(end, times * (GRACE.0 + GRACE.1 * bound))
}
