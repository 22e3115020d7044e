//! Many small things in one daemon: `SWARM_BIN=PATH scale [CONTENTS [DOWNLOADS [GETS]]]`, 10,000 contents,
//! 1,000 waiting downloads and 10,000 gets by default. Prints times, memory and descriptors, and fails if one
//! of them grows where it must not. It needs 2,000 descriptors (`ulimit -n`).
#![allow(clippy::print_stdout)]

use std::error::Error;

use swarm_tests::scale::{Counts, measure};

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let count = |at: usize, usual: usize| given.get(at).copied().unwrap_or(usual);
    let counts = Counts { contents: count(0, 10_000), downloads: count(1, 1000), gets: count(2, 10_000) };
    println!("{}", measure(counts)?);
    Ok(())
}
