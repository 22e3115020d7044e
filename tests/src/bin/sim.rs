//! The simulator on the command line.
//!
//! ```text
//! sim --table            every row (N = 10,000 takes some minutes)
//! sim --table --small    those of at most 300 hosts
//! sim --table --seed 7   with other coin flips
//! ```
//! Ends with 1 when a row misses its target.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use swarm_tests::sim::table;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| args.iter().position(|arg| arg == flag);
    let seed =
        given("--seed").and_then(|at| args.get(at + 1)).and_then(|text| text.parse().ok()).unwrap_or(1);
    if given("--table").is_none() {
        eprintln!("usage: sim --table [--small] [--seed N]");
        return ExitCode::from(2);
    }
    println!(
        "{:34} {:>7} {:>7} {:>7} {:>7} {:>7}",
        "scenario (bound = 1)", "slowest", "target", "median", "origin", "line in"
    );
    let mut missed = false;
    for row in table::rows(seed, given("--small").is_some()) {
        let figures = table::run(row.scenario.clone());
        let border = figures.border.map_or_else(|| "-".to_owned(), |b| format!("{b:.3}"));
        let verdict = if figures.reach(&row) { "" } else { "  missed" };
        missed |= !figures.reach(&row);
        println!(
            "{:34} {:>7.3} {:>7.2} {:>7.3} {:>7.3} {:>7}{verdict}",
            row.name, figures.slowest, row.target, figures.median, figures.origin, border
        );
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
