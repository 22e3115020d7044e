//! `swarm`: publish and fetch files and directories, peer to peer.

mod address;
mod args;
mod commands;
mod config;
mod conversation;
mod deadline;
mod exit;
mod json;
mod logging;
mod password;
mod platform;
mod progress;
mod redact;
mod seeding;
mod settings;
mod signals;
mod size;
mod summary;
mod table;
mod target;
mod target_hints;
mod timetable;
mod ui;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    platform::prepare_process();
    commands::run(std::env::args_os()).into()
}
