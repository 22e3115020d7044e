//! `swarm`: publish and fetch files and directories, peer to peer.

mod args;
mod commands;
mod config;
mod conversation;
mod deadline;
mod exit;
mod hints;
mod json;
mod logging;
mod progress;
mod secret;
mod seeding;
mod signals;
mod size;
mod summary;
mod table;
mod timetable;
mod ui;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator would have each thread's first bytes zeroed two megabytes at a time: half of a short command's time,
    // and most of an idle node's memory. A system that refuses is as good as one that does not do it.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    raise_open_files();
    commands::run(std::env::args_os()).into()
}

/// As many files and connections as the system lets us have; the usual soft limit is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
