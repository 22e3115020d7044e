//! The simulator on the command line.
//!
//! ```text
//! sim --table                  every row (N = 10,000 takes some minutes)
//! sim --table --small          the same with at most 100 hosts
//! sim --table --seed 7         with other coin flips
//! sim --table --only crash     those whose name contains this
//! sim --hosts 8 --rate 50 --size 64 --latency 30
//!                              one network like the testbed's: hosts, Mbit/s, MiB, ms one way
//! sim --readers 3 --film 4000 --link 6000 --size 64
//!                              a publisher and readers of a film: kbit/s of the film and of each link
//! sim --faults 2000            so many small worlds in which much goes wrong
//! sim --faults 1 --seed 7      that of one seed, ...
//! sim --faults 1 --seed 7 --trace   ... with every message
//! sim --faults 2000 --crowded   the same worlds with more of everything that goes wrong
//! ```
//! Ends with 1 when a row misses its target, or something did not hold.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use swarm_tests::sim::table::{Figures, Row};
use swarm_tests::sim::{seeds, table};

struct Args(Vec<String>);

impl Args {
    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|arg| arg == flag)
    }

    fn value(&self, flag: &str) -> Option<&str> {
        let at = self.0.iter().position(|arg| arg == flag)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, flag: &str) -> Option<u64> {
        self.value(flag)?.parse().ok()
    }
}

fn main() -> ExitCode {
    let args = Args(std::env::args().skip(1).collect());
    let seed = args.number("--seed").unwrap_or(1);
    let ok = if let Some(count) = args.number("--faults") {
        faults(seed, count, args.has("--trace"), args.has("--crowded"))
    } else if let Some(hosts) = args.number("--hosts") {
        let number = |flag, default| args.number(flag).unwrap_or(default);
        let (rate, size, latency) = (number("--rate", 50), number("--size", 64), number("--latency", 30));
        let scenario = table::testbed(seed, hosts as usize, rate, size, latency);
        let figures = table::run(scenario);
        println!("slowest {:.3} median {:.3} origin {:.3}", figures.slowest, figures.median, figures.origin);
        let [request, refuse, grant, have, need, other] = figures.messages;
        println!(
            "messages a chunk: request {request:.2} refuse {refuse:.2} grant {grant:.2} have {have:.2} need {need:.2} \
             other {other:.2}"
        );
        figures.unfinished == 0
    } else if let Some(readers) = args.number("--readers") {
        let number = |flag, default| args.number(flag).unwrap_or(default);
        let (film, link, size) = (number("--film", 4000), number("--link", 6000), number("--size", 64));
        let figures = table::run(table::readers(seed, readers as usize, film, link, size));
        let (first, latest) = figures.reads.unwrap_or_default();
        println!(
            "first chunk after {first:.2} s, latest chunk at {latest:.2} of the time it was due, origin {:.3}",
            figures.origin
        );
        latest <= 1.0
    } else if args.has("--table") {
        print_table(seed, args.has("--small"), args.value("--only").unwrap_or(""))
    } else {
        eprintln!(
            "usage: sim --table [--small] [--only TEXT] [--seed N] | --faults COUNT [--seed N] [--trace] [--crowded] | --hosts N | --readers N"
        );
        return ExitCode::from(2);
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_table(seed: u64, small: bool, only: &str) -> bool {
    println!(
        "{:40} {:>7} {:>7} {:>7} {:>7} {:>7}",
        "scenario (bound = 1)", "slowest", "target", "median", "origin", "line in"
    );
    let rows: Vec<_> = table::rows(seed, small).into_iter().filter(|row| row.name.contains(only)).collect();
    let done: Vec<OnceLock<Figures>> = rows.iter().map(|_| OnceLock::new()).collect();
    let (next, shown) = (AtomicUsize::new(0), Mutex::new(0));
    let work = || {
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            let figures = table::run(row.scenario.clone());
            let at = rows.iter().position(|r| std::ptr::eq(r, row)).unwrap_or(0);
            let _ = done[at].set(figures);
            // In order, each as soon as all before it are known.
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(figures) = done.get(*shown).and_then(OnceLock::get) {
                print_row(&rows[*shown], figures);
                *shown += 1;
            }
        }
    };
    on_all_processors(&work);
    rows.iter().zip(&done).all(|(row, figures)| figures.get().is_some_and(|f| f.reach(row)))
}

fn print_row(row: &Row, figures: &Figures) {
    let border = figures.border.map_or_else(|| "-".to_owned(), |b| format!("{b:.3}"));
    println!(
        "{:40} {:>7.3} {:>7.2} {:>7.3} {:>7.3} {:>7}{}",
        row.name,
        figures.slowest,
        row.target,
        figures.median,
        figures.origin,
        border,
        if figures.reach(row) { "" } else { "  missed" }
    );
    if let Some((first, latest)) = figures.reads {
        println!("    first chunk after {first:.2} s, latest chunk at {latest:.2} of the time it was due");
    }
    if let Some(violation) = &figures.violation {
        println!("    {violation}");
    }
}

fn on_all_processors(work: &(impl Fn() + Sync)) {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
}

/// Runs the worlds of `count` seeds from `seed` on, on all processors.
fn faults(seed: u64, count: u64, trace: bool, crowded: bool) -> bool {
    let world = if crowded { seeds::crowded } else { seeds::scenario };
    let (next, failed) = (AtomicU64::new(seed), AtomicU64::new(0));
    let shown = |line: &str| eprintln!("{line}");
    let trace = trace.then_some(shown as fn(&str));
    let work = || {
        loop {
            let seed_now = next.fetch_add(1, Ordering::Relaxed);
            if seed_now >= seed + count {
                return;
            }
            let result = catch_unwind(|| seeds::run(world(seed_now), trace));
            let wrong = match result {
                Ok(Ok(())) => continue,
                Ok(Err(what)) => what,
                Err(_) => "it panicked: see above".to_owned(),
            };
            failed.fetch_add(1, Ordering::Relaxed);
            println!("seed {seed_now}: {wrong}\n{:#?}", world(seed_now));
            let more = if crowded { " --crowded" } else { "" };
            println!("again: sim --faults 1 --seed {seed_now} --trace{more}");
        }
    };
    on_all_processors(&work);
    let failed = failed.load(Ordering::Relaxed);
    println!("{count} worlds from seed {seed} on: {failed} failed");
    failed == 0
}
