//! Private networks, tested with the built binary: members of an office find each other and fetch from each
//! other, and no other node learns anything.

mod afar;
mod before;
mod expelled;
mod joining;
mod roles;
mod strangers;

use std::time::Duration;

use serde_json::Value;
use swarm_tests::fixture::{Home, Lan, Process, Ran, b3, wait_until};

/// Time for ten processes that start at once on two cores.
const PATIENCE: Duration = Duration::from_secs(60);
const ROOT: &str = "the root's password of this test";

/// A machine on a switch, with a node.
struct Machine<'a> {
    lan: &'a Lan,
    host: u8,
    home: Home,
    daemon: Option<Process>,
}

impl<'a> Machine<'a> {
    fn new(lan: &'a Lan, host: u8) -> Self {
        Self { lan, host, home: Home::new(), daemon: None }
    }

    /// Starts a command on this machine.
    fn spawn(&self, args: &[&str]) -> Process {
        let mut command = self.home.bare_command(args);
        command.env("SWARM_PASSWORD", ROOT);
        Process::spawn(self.lan.on(self.host, &command))
    }

    /// Runs a command on this machine to its end.
    fn run(&self, args: &[&str]) -> Ran {
        self.spawn(args).wait()
    }

    /// Runs a command that must succeed, and returns its last event.
    fn ask(&self, args: &[&str]) -> Value {
        self.run(&[&["--json"], args].concat()).success().last().clone()
    }

    /// Starts the machine's node.
    fn start(&mut self) {
        self.start_with(&[]);
    }

    fn start_with(&mut self, args: &[&str]) {
        let daemon = self.spawn(&[&["daemon", "-v"], args].concat());
        wait_until("the node runs", PATIENCE, || {
            daemon.must_run();
            daemon.err().contains("runs for")
        });
        self.daemon = Some(daemon);
    }

    fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.interrupt();
        }
    }

    /// Founds an office.
    fn found(&self, name: &str) -> Value {
        self.ask(&["office", "init", name, "--as", &format!("host{}", self.host)])
    }

    /// Returns an invitation of the machine's node.
    fn invite(&self, args: &[&str]) -> String {
        let invited = self.ask(&[&["office", "invite"], args].concat());
        invited["code"].as_str().unwrap().to_owned()
    }

    fn join(&self, code: &str) -> Ran {
        self.run(&["--json", "office", "join", code, "--as", &format!("host{}", self.host)])
    }

    /// Returns the row of `swarm status` about the machine's office.
    fn office(&self) -> Value {
        self.ask(&["office"])["offices"][0].clone()
    }

    fn publish(&self, path: &std::path::Path, args: &[&str]) -> String {
        let published = self.ask(&[&["publish", path.to_str().unwrap()], args].concat());
        published["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Fetches a blob as `out` within some seconds. True if it came.
    fn gets(&self, id: &str, seconds: u32, args: &[&str]) -> bool {
        let within = format!("{seconds}s");
        let ran = self
            .run(&[&["--json", "get", id, "-o", "out", "--overwrite", "--timeout", &within], args].concat());
        let came = ran.last()["event"] == "done";
        if came {
            assert_eq!(b3(&self.home.path("out")), id);
        } else {
            // No node has it, or no node goes on with an unfinished download.
            assert!(matches!(ran.code, Some(3 | 5)), "{}", ran.text());
        }
        came
    }
}

/// An office of machines 1 to `count`, whose nodes all run. The first is the registrar, all others are
/// members.
fn office<'a>(lan: &'a Lan, count: u8, name: &str) -> Vec<Machine<'a>> {
    let mut machines: Vec<Machine<'_>> = (1..=count).map(|host| Machine::new(lan, host)).collect();
    machines[0].found(name);
    machines[0].start();
    let code = machines[0].invite(&["--uses", &count.to_string()]);
    for machine in &mut machines[1..] {
        machine.join(&code).success();
        machine.start();
    }
    machines
}
