//! An office whose members are at several places.

use std::process::Command;

use serde_json::Value;
use swarm_tests::fixture::{Home, Internet, MIB, Nat, Process, Ran, Site, Tracker, b3, wait_until};

use super::{PATIENCE, ROOT};

/// A machine somewhere, which knows a tracker.
struct Place<'a> {
    net: &'a Internet,
    at: (u8, u8),
    home: Home,
    tracker: String,
}

impl Place<'_> {
    fn spawn(&self, args: &[&str]) -> Process {
        let mut command: Command = self.home.bare_command(args);
        command.env("SWARM_PASSWORD", ROOT).env("SWARM_TRACKER", &self.tracker);
        Process::spawn(self.net.as_installed(self.at.0, self.at.1, &command))
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.spawn(args).wait()
    }

    fn ask(&self, args: &[&str]) -> Value {
        self.run(&[&["--json"], args].concat()).success().last().clone()
    }

    fn daemon(&self) -> Process {
        let daemon = self.spawn(&["daemon", "-v"]);
        wait_until("the node runs", PATIENCE, || {
            daemon.must_run();
            daemon.err().contains("runs for")
        });
        daemon
    }
}

/// Two members at home behind routers that let no connection in, and a tracker that learns only keys that
/// members alone understand. The registrar has gone.
#[test]
fn members_at_home_find_each_other_by_a_tracker() {
    let nat = Site::nat(Nat::PortRestricted, 1);
    let net = Internet::new(&[nat, nat, Site::public(2)]);
    let meeting = Home::new();
    let listen = format!("/ip4/{}/tcp/4770", net.address(3, 1));
    let args = ["--listen", &listen, "--interval", "15"];
    let tracker = Tracker::start(net.on(3, 1, &Tracker::command(&meeting, &args)));
    let address = tracker.address("/ip4/45").to_owned();
    let place = |at| Place { net: &net, at, home: Home::new(), tracker: address.clone() };
    let (left, right, registrar) = (place((1, 1)), place((2, 1)), place((3, 2)));
    registrar.ask(&["office", "init", "Northwind", "--as", "hq"]);
    let hq = registrar.daemon();
    let invited = registrar.ask(&["office", "invite", "--uses", "2", "--role", "publisher"]);
    let code = invited["code"].as_str().unwrap();
    left.ask(&["office", "join", code, "--as", "left"]);
    right.ask(&["office", "join", code, "--as", "right"]);
    let _nodes = (left.daemon(), right.daemon());
    let _ = hq.interrupt();
    let file = left.home.file("update", 3 * MIB, 1);
    let published = left.ask(&["publish", file.to_str().unwrap()]);
    let id = published["id"].as_str().unwrap();
    let got = right.run(&["--json", "get", id, "-o", "out", "--timeout", "50s"]);
    got.success();
    assert_eq!(b3(&right.home.path("out")), b3(&file));
    // A node of no office that knows the id and the tracker finds nothing.
    let stranger = place((3, 2));
    stranger.run(&["--json", "get", id, "-o", "out", "--timeout", "5s"]).exits(3);
}
