//! `swarm`: publish and fetch files and directories, peer to peer.

mod args;
mod commands;
mod config;
mod conversation;
mod exit;
mod json;
mod logging;
mod progress;
mod seeding;
mod signals;
mod size;
mod summary;
mod table;
mod ui;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(std::env::args_os()).into()
}
