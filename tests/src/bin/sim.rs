//! The simulator on the command line.
//!
//! ```text
//! sim --table                  every row (N = 10,000 takes some minutes)
//! sim --table --small          those of at most 300 hosts
//! sim --table --seed 7         with other coin flips
//! sim --table --only crash     those whose name contains this
//! sim --faults 2000            so many small worlds in which much goes wrong
//! sim --faults 1 --seed 7      that of one seed, ...
//! sim --faults 1 --seed 7 --trace   ... with every message
//! ```
//! Ends with 1 when a row misses its target, or something did not hold.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

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
        faults(seed, count, args.has("--trace"))
    } else if args.has("--table") {
        print_table(seed, args.has("--small"), args.value("--only").unwrap_or(""))
    } else {
        eprintln!(
            "usage: sim --table [--small] [--only TEXT] [--seed N] | --faults COUNT [--seed N] [--trace]"
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
    let mut ok = true;
    for row in table::rows(seed, small).into_iter().filter(|row| row.name.contains(only)) {
        let figures = table::run(row.scenario.clone());
        let border = figures.border.map_or_else(|| "-".to_owned(), |b| format!("{b:.3}"));
        let verdict = if figures.reach(&row) { "" } else { "  missed" };
        ok &= figures.reach(&row);
        println!(
            "{:40} {:>7.3} {:>7.2} {:>7.3} {:>7.3} {:>7}{verdict}",
            row.name, figures.slowest, row.target, figures.median, figures.origin, border
        );
        if let Some(violation) = figures.violation {
            println!("    {violation}");
        }
    }
    ok
}

/// Runs the worlds of `count` seeds from `seed` on, on all processors.
fn faults(seed: u64, count: u64, trace: bool) -> bool {
    let (next, failed) = (AtomicU64::new(seed), AtomicU64::new(0));
    let work = || {
        loop {
            let seed_now = next.fetch_add(1, Ordering::Relaxed);
            if seed_now >= seed + count {
                return;
            }
            let result = catch_unwind(|| seeds::run(seed_now, trace));
            let wrong = match result {
                Ok(Ok(())) => continue,
                Ok(Err(what)) => what,
                Err(_) => "it panicked: see above".to_owned(),
            };
            failed.fetch_add(1, Ordering::Relaxed);
            println!("seed {seed_now}: {wrong}\n{:#?}", seeds::scenario(seed_now));
            println!("again: sim --faults 1 --seed {seed_now} --trace");
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.load(Ordering::Relaxed);
    println!("{count} worlds from seed {seed} on: {failed} failed");
    failed == 0
}
