//! One process of a demo, held by its own handle from start to end.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use swarm_core::api::event::Event;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::exit::Failed;
use crate::platform;

/// Time to end in order before a process is killed.
const END_WITHIN: Duration = Duration::from_secs(8);
/// Time to end for a process that closed its output.
const EXIT_WITHIN: Duration = Duration::from_secs(5);

/// A message of a process on standard output.
pub(super) enum Heard {
    /// A line.
    Event(Box<Event>),
    /// Nothing more will come.
    Ended,
}

/// A running process of a demo.
pub(super) struct Process {
    /// For people.
    pub(super) name: String,
    /// Its store.
    pub(super) home: PathBuf,
    log: PathBuf,
    child: Child,
    /// Ends with it.
    _reader: JoinSet<()>,
}

impl Process {
    /// Starts `swarm` with a verb; what it says comes to `heard` under `number`.
    pub(super) fn start(
        name: &str,
        folder: &Path,
        verb: &[&OsStr],
        number: usize,
        heard: mpsc::Sender<(usize, Heard)>,
    ) -> Result<Self, Failed> {
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| Failed::io("find", Path::new("the program of swarm"), &error))?;
        let (home, log) = (folder.join(format!("home{number}")), folder.join(format!("log{number}")));
        let log_file = File::create(&log).map_err(|error| Failed::io("create", &log, &error))?;
        let mut command = Command::new(&program);
        // Only what is given here counts, whatever the person has configured for the own node.
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"SWARM_") && key != "SWARM_LOG" {
                command.env_remove(key);
            }
        }
        command
            .env("XDG_CONFIG_HOME", folder)
            .env("SWARM_READ_ONLY", "false")
            .args(["--json", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--limit-up", "none"])
            .args(["--limit-down", "none", "--max-store", "none", "--home"])
            .arg(&home)
            .args(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .kill_on_drop(true);
        // Ctrl-C reaches only us: we end the others in order.
        platform::shield_from_terminal(&mut command);
        let mut child = command.spawn().map_err(|error| Failed::io("start", &program, &error))?;
        let mut reader = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            reader.spawn(read(stdout, number, heard));
        }
        Ok(Self { name: name.to_owned(), home, log, child, _reader: reader })
    }

    /// How it ended, and the last line it wrote on standard error.
    pub(super) async fn last_words(&mut self) -> (String, String) {
        let how = match timeout(EXIT_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its output and did not end".to_owned(),
        };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        (how, last.unwrap_or("it gave no reason").to_owned())
    }

    /// Asks it to stop. Its handle has not been waited for, so the process id is still its own.
    fn interrupt(&self) {
        if let Some(pid) = self.child.id() {
            platform::ask_to_stop(pid);
        }
    }
}

async fn read(stdout: ChildStdout, number: usize, heard: mpsc::Sender<(usize, Heard)>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // What is no event of the contract cannot be shown; how it ended tells.
        let Ok(event) = serde_json::from_str(&line) else { continue };
        if heard.send((number, Heard::Event(Box::new(event)))).await.is_err() {
            return;
        }
    }
    // When nobody hears it any more, nobody needs to know.
    let _ = heard.send((number, Heard::Ended)).await;
}

/// Ends processes: all are asked at once, and those that are still there after a while are killed.
pub(super) async fn end<'a>(processes: impl Iterator<Item = &'a mut Process>) {
    let mut processes: Vec<_> = processes.collect();
    processes.iter().for_each(|process| process.interrupt());
    let deadline = Instant::now() + END_WITHIN;
    for process in &mut processes {
        if timeout_at(deadline, process.child.wait()).await.is_err() {
            // Fails only when it has ended.
            let _ = process.child.kill().await;
        }
    }
}
