//! How long a store with many blobs takes to open: `manyblobs [COUNT [FOLDER]]`, 100,000 in a temporary
//! folder by default. Prints seconds for an orderly reopen, for one after a crash, when the index lacks what
//! changed last, and for one after a power cut, when it is built from all records.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use swarm_core::content::path::Rules;
use swarm_core::store::{Import, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let count: u32 = args.next().map_or(Ok(100_000), |text| text.parse())?;
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let home = tempfile::tempdir_in(folder)?;
    let started = Instant::now();
    fill(home.path(), count)?;
    println!("{count} blobs published in {:.1} s", started.elapsed().as_secs_f64());
    println!("orderly reopen: {:.3} s", reopen(home.path(), count)?);
    std::fs::remove_file(home.path().join("store/clean"))?;
    println!("reopen after a crash: {:.3} s", reopen(home.path(), count)?);
    std::fs::remove_file(home.path().join("store/clean"))?;
    std::fs::remove_file(home.path().join("store/changes"))?;
    println!("reopen after a power cut: {:.3} s", reopen(home.path(), count)?);
    Ok(())
}

fn fill(home: &Path, count: u32) -> Result<(), Box<dyn Error>> {
    let store = Store::open(home, None, false)?;
    let path = home.join("incoming/one");
    for number in 0..count {
        std::fs::write(&path, number.to_le_bytes())?;
        store.import(&Import {
            path: &path,
            name: format!("blob {number}"),
            copy: false,
            take: true,
            rules: Rules::Portable,
            symlinks: false,
            skipped_homes: None,
            audience: None,
            domain: swarm_core::store::record::Domain::Public,
            progress: &|_, _| {},
            cancel: &AtomicBool::new(false),
        })?;
    }
    store.close();
    Ok(())
}

/// Seconds to open the store and look one blob up.
fn reopen(home: &Path, count: u32) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    let store = Store::open(home, None, false)?;
    let known = store.count();
    let took = started.elapsed().as_secs_f64();
    store.close();
    if known == u64::from(count) { Ok(took) } else { Err(format!("{known} blobs are known").into()) }
}
